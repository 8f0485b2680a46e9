// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/certmagic"
	"go.uber.org/goleak"

	"github.com/wsgiparty/wsgiparty/internal/testport"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "wsgiparty")
	if err != nil {
		log.Fatal(err)
	}
	for _, variable := range []string{"HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
		os.Setenv(variable, dir)
	}
	caddy.DefaultStorage.Path = filepath.Join(dir, "storage")
	caddy.ConfigAutosavePath = filepath.Join(dir, "autosave.json")
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// behaviour makes what an application of a test does, at its Provision.
type behaviour func(caddy.Context) (serveFunc, error)

// behaviours are those of the running test, by the argument of the directive
// test_app.
var behaviours sync.Map

// testApp is a handler whose behaviour is a function of the test.
type testApp struct {
	Key   string `json:"key"`
	serve serveFunc
}

func (*testApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_app", New: func() caddy.Module { return new(testApp) }}
}

func (a *testApp) Provision(ctx caddy.Context) (err error) {
	b, ok := behaviours.Load(a.Key)
	if !ok {
		return fmt.Errorf("the test has no application %q", a.Key)
	}
	a.serve, err = b.(behaviour)(ctx)
	return err
}

func (a *testApp) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return a.serve(w, r, next)
}

type serveFunc func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error

// behave makes `test_app key` behave like that until the test ends.
func behave(t testing.TB, key string, b behaviour) {
	t.Helper()
	behaviours.Store(key, b)
	t.Cleanup(func() { behaviours.Delete(key) })
}

// app is behave for an application that does nothing in Provision.
func app(t testing.TB, key string, serve serveFunc) {
	t.Helper()
	behave(t, key, func(caddy.Context) (serveFunc, error) { return serve, nil })
}

// onProvision is behave for an application that does nothing else.
func onProvision(t testing.TB, key string, provision func(caddy.Context) error) {
	t.Helper()
	behave(t, key, func(ctx caddy.Context) (serveFunc, error) {
		return func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
			return next.ServeHTTP(w, r)
		}, provision(ctx)
	})
}

// guest is an application that takes its invite, connects a handler that answers
// the given string under each service, and says its key to everybody else.
func guest(t testing.TB, key, answer string, services ...string) {
	t.Helper()
	boxed := any(answer)
	app(t, key, func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		if operator, ok := OperatorFrom(r); ok {
			for _, service := range services {
				if err := operator.Connect(service, func(context.Context, any) (any, error) { return boxed, nil }); err != nil {
					return err
				}
			}
		}
		_, err := io.WriteString(w, key)
		return err
	})
}

// memoryLog is a log output that keeps what is logged.
type memoryLog struct{}

var logged struct {
	sync.Mutex
	bytes.Buffer
}

func (memoryLog) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.writers.test_memory", New: func() caddy.Module { return new(memoryLog) }}
}
func (memoryLog) String() string                                 { return "memory" }
func (memoryLog) WriterKey() string                              { return "memory" }
func (memoryLog) OpenWriter() (io.WriteCloser, error)            { return memoryLog{}, nil }
func (*memoryLog) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }
func (memoryLog) Close() error                                   { return nil }
func (memoryLog) Write(p []byte) (int, error) {
	logged.Lock()
	defer logged.Unlock()
	return logged.Write(p)
}

func init() {
	caddy.RegisterModule(new(testApp))
	caddy.RegisterModule(memoryLog{})
	httpcaddyfile.RegisterHandlerDirective("test_app", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		a := new(testApp)
		h.Next()
		if !h.AllArgs(&a.Key) {
			return nil, h.ArgErr()
		}
		return a, nil
	})
	httpcaddyfile.RegisterDirectiveOrder("test_app", httpcaddyfile.Before, "respond")
}

type entry map[string]any

// logEntries returns what was logged with that message since the last load of
// the running test's first config.
func logEntries(t testing.TB, message string) []entry {
	t.Helper()
	logged.Lock()
	defer logged.Unlock()
	var entries []entry
	for line := range strings.Lines(logged.String()) {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		if e["msg"] == message {
			entries = append(entries, e)
		}
	}
	return entries
}

// testCaddy is a running Caddy.
type testCaddy struct {
	t       testing.TB
	address string
}

// newCaddy returns a Caddy that runs nothing yet, and stops it when the test ends.
// Then no goroutine may be left that was not there before.
func newCaddy(t testing.TB) *testCaddy {
	t.Helper()
	before := goleak.IgnoreCurrent()
	logged.Lock()
	logged.Reset()
	logged.Unlock()
	// The manifests of another test's guests, or of this one's when it ran before, are no
	// guests' here.
	applications.clear()
	caddy.DefaultStorage = &certmagic.FileStorage{Path: t.TempDir()} // who ends later may still be using the old one
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
		goleak.VerifyNone(t, before,
			goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*Cache).maintainAssets"),
			goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"), // ends within 5 s
			goleak.IgnoreAnyFunction("github.com/caddyserver/caddy/v2/modules/caddytls.(*TLS).keepStorageClean.func1"))
	})
	return &testCaddy{t, testport.Address(t)}
}

const globalOptions = `{
	admin off
	persist_config off
	auto_https off
	skip_install_trust
	storage_check off
	storage_clean_interval off
	grace_period 5s
	log {
		output test_memory
		format json
		level DEBUG
	}
}
`

// adapt returns the JSON of a Caddyfile, in which ADDRESS stands for the server's.
func (c *testCaddy) adapt(config string) []byte {
	c.t.Helper()
	config = globalOptions + strings.ReplaceAll(config, "ADDRESS", "http://"+c.address)
	adapted, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, w := range warnings {
		if !strings.Contains(w.Message, "not formatted") {
			c.t.Log(w)
		}
	}
	return adapted
}

func (c *testCaddy) tryLoad(config string) error {
	c.t.Helper()
	return caddy.Load(c.adapt(config), true)
}

func (c *testCaddy) load(config string) {
	c.t.Helper()
	if err := c.tryLoad(config); err != nil {
		c.t.Fatal(err)
	}
}

// site loads a config of one site.
func (c *testCaddy) site(directives string) {
	c.t.Helper()
	c.load("ADDRESS {\n" + directives + "\n}")
}

// get returns the status and body of a response.
func (c *testCaddy) get(path string) (int, string) {
	c.t.Helper()
	status, body, err := c.tryGet(path)
	if err != nil {
		c.t.Fatal(err)
	}
	return status, body
}

func (c *testCaddy) tryGet(path string) (int, string, error) {
	response, err := http.Get("http://" + c.address + path)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

// expect fails the test unless path gives that response.
func (c *testCaddy) expect(path string, status int, body string) {
	c.t.Helper()
	if gotStatus, gotBody := c.get(path); gotStatus != status || gotBody != body {
		c.t.Errorf("GET %s: %d %q, want %d %q", path, gotStatus, gotBody, status, body)
	}
}

// expectSoon is expect after a config took over from another one: for a moment
// Caddy's old server resets a connection now and then, or answers it.
func (c *testCaddy) expectSoon(path string, status int, body string) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("GET %s: %d %q", path, status, body), func() bool {
		gotStatus, gotBody, err := c.tryGet(path)
		return err == nil && gotStatus == status && gotBody == body
	})
}

// line returns the running config's partyline of that name.
func (c *testCaddy) line(party string) *Operator {
	c.t.Helper()
	operator, ok := Lookup(party)
	if !ok {
		c.t.Fatalf("there is no party %q", party)
	}
	return operator
}

// expectAnswers fails the test unless asking around on the party gives them.
func (c *testCaddy) expectAnswers(party, service string, want ...any) {
	c.t.Helper()
	answers, err := c.line(party).AskAround(context.Background(), service, nil)
	var missing *NoSuchServiceError
	if err != nil && !(len(want) == 0 && errors.As(err, &missing)) {
		c.t.Error(err)
	}
	if !slices.Equal(answers, want) {
		c.t.Errorf("asking %s for %s: %v, want %v", party, service, answers, want)
	}
}

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func TestInvitedGuestsAnswerEachOther(t *testing.T) {
	guest(t, "one", "1", "number")
	guest(t, "two", "2", "number")
	c := newCaddy(t)
	c.site(`
	wsgi_party {
		invite /one/__invite__/ /two/__invite__/
		handle_path /one/* {
			test_app one
		}
		handle_path /two/* {
			test_app two
		}
	}`)
	c.expectAnswers(DefaultParty, "number", "1", "2")
	c.expect("/one/", 200, "one")
	entries := logEntries(t, "guest joined")
	if len(entries) != 2 {
		t.Errorf("%d guests joined", len(entries))
	}
	for i, e := range entries {
		want := entry{"level": "info", "logger": "http.handlers.wsgi_party", "party": "default",
			"guest": []string{"one", "two"}[i], "uri": []string{"/one/__invite__/", "/two/__invite__/"}[i]}
		for k, v := range want {
			if e[k] != v {
				t.Errorf("%s: %v, want %v", k, e[k], v)
			}
		}
		if fmt.Sprint(e["services"]) != "[number]" || e["duration"] == nil {
			t.Error(e)
		}
	}
}

func TestUnmatchedRequestsGoOnToTheNextHandler(t *testing.T) {
	c := newCaddy(t)
	c.site(`
	wsgi_party {
		respond /inside "inside"
		handle /terminal {
			header X-Terminal yes
		}
	}
	respond "next"`)
	c.expect("/inside", 200, "inside")
	c.expect("/elsewhere", 200, "next")
	c.expect("/terminal", 200, "next")
}

func TestAnEmptyPartyPassesEverythingOn(t *testing.T) {
	c := newCaddy(t)
	c.site("wsgi_party\nrespond next")
	c.expect("/", 200, "next")
}

func TestMatchersOnTheDirective(t *testing.T) {
	guest(t, "app", "pong", "ping")
	c := newCaddy(t)
	c.site(`
	@get method GET
	wsgi_party /a/* main {
		invite /a/__invite__/
		test_app @get app
	}
	respond next`)
	c.expect("/a/", 200, "app")
	c.expect("/b/", 200, "next")
	c.expectAnswers("main", "ping", "pong")
}

func TestErrorsGoUpToHandleErrors(t *testing.T) {
	app(t, "broken", func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error {
		return caddyhttp.Error(http.StatusTeapot, errors.New("broken"))
	})
	c := newCaddy(t)
	c.site(`
	wsgi_party {
		test_app broken
	}
	handle_errors {
		respond "handled {http.error.status_code}"
	}`)
	c.expect("/", http.StatusTeapot, "handled 418")
}

// TestTheNextHandlerIsTheRightOne has one party's routes entered again from
// behind it, and within another party.
func TestTheNextHandlerIsTheRightOne(t *testing.T) {
	app(t, "trace", func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		w.Header().Add("Trace", "before")
		err := next.ServeHTTP(w, r)
		w.Header().Add("Trace", "after") // too late if somebody answered
		return err
	})
	c := newCaddy(t)
	c.load(`
	&(named) {
		wsgi_party main {
			test_app trace
		}
	}
	ADDRESS {
		route {
			invoke named
			wsgi_party outer {
				invoke named
			}
			invoke named
			respond "the end"
		}
	}`)
	response, err := http.Get("http://" + c.address)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	if string(body) != "the end" || len(response.Header["Trace"]) != 3 {
		t.Errorf("%q %v", body, response.Header["Trace"])
	}
}

// TestTheNextHandlerIsRestored has a party's routes entered again from within, and
// left with an error.
func TestTheNextHandlerIsRestored(t *testing.T) {
	var p *Party
	inside := false
	app(t, "reenter", func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		if !inside {
			inside = true
			inner := errors.New("inner")
			if err := p.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return inner })); err != inner {
				t.Error(err)
			}
		}
		return next.ServeHTTP(w, r)
	})
	loaded, err := provisionContext(t).LoadModuleByID("http.handlers.wsgi_party", []byte(`{"routes": [{"handle": [{"handler": "test_app", "key": "reenter"}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	p = loaded.(*Party)
	r, err := http.NewRequest("GET", "http://localhost/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), discard{}, new(caddyhttp.Server))
	reached := false
	outer := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { reached = true; return nil })
	if err := p.ServeHTTP(discard{}, r, outer); err != nil || !reached {
		t.Errorf("the outer next handler is not reached: %v", err)
	}
}

func TestNeitherTheRequestNorTheResponseWriterIsWrapped(t *testing.T) {
	type seen struct {
		w http.ResponseWriter
		r *http.Request
	}
	var all []seen
	app(t, "look", func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		all = append(all, seen{w, r})
		return next.ServeHTTP(w, r)
	})
	c := newCaddy(t)
	c.site(`
	route {
		test_app look
		wsgi_party {
			test_app look
		}
		test_app look
		vars done yes
		respond "{http.vars.done}"
	}`)
	c.expect("/", 200, "yes")
	if len(all) != 3 || all[0] != all[1] || all[1] != all[2] {
		t.Errorf("%v", all)
	}
}

func TestTheVariablesAreLeftAsTheyWere(t *testing.T) {
	app(t, "count", func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		vars := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
		before := len(vars)
		err := next.ServeHTTP(w, r)
		if len(vars) != before {
			t.Errorf("variables afterwards: %v", vars)
		}
		return err
	})
	c := newCaddy(t)
	c.site("route {\ntest_app count\nwsgi_party {\nrespond inside\n}\n}")
	c.expect("/", 200, "inside")
}

func TestFlushingAndHijackingPassThrough(t *testing.T) {
	more := make(chan struct{})
	app(t, "flush", func(w http.ResponseWriter, _ *http.Request, _ caddyhttp.Handler) error {
		if _, err := io.WriteString(w, "one"); err != nil {
			return err
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return err
		}
		<-more
		_, err := io.WriteString(w, "two")
		return err
	})
	app(t, "hijack", func(w http.ResponseWriter, _ *http.Request, _ caddyhttp.Handler) error {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\nraw")
		return err
	})
	c := newCaddy(t)
	c.site("wsgi_party {\ntest_app /flush flush\ntest_app /hijack hijack\n}")

	response, err := http.Get("http://" + c.address + "/flush")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	first := make([]byte, 3)
	if _, err := io.ReadFull(response.Body, first); err != nil || string(first) != "one" {
		t.Errorf("%q %v", first, err)
	}
	close(more)
	if rest, err := io.ReadAll(response.Body); err != nil || string(rest) != "two" {
		t.Errorf("%q %v", rest, err)
	}

	conn, err := net.Dial("tcp", c.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /hijack HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", c.address)
	if all, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(all), "\r\n\r\nraw") {
		t.Errorf("%q %v", all, err)
	}
}

func TestInvitePathsDoNotExistFromOutside(t *testing.T) {
	guest(t, "app", "pong", "ping")
	c := newCaddy(t)
	_, port, _ := net.SplitHostPort(c.address)
	c.load("http://:" + port + ` {
		wsgi_party {
			invite /app/__invite__/ https://example.com/__invite__/
			test_app app
		}
		handle_errors {
			respond "led back"
		}
	}`)
	for _, path := range []string{
		"/app/__invite__/", "/app/__invite__", "/app/__invite__/below", "/APP/__Invite__/", "//app//__invite__/",
		"/app/./__invite__/", "/x/../app/__invite__/", "/app/%5f%5finvite__/", "/app%2f__invite__/", "/app/__invite__;x/",
		"/app;y/__invite__/", "/app/__invite__/?x", "/__invite__", "/__INVITE__/x",
		"//host/app/__invite__/", "/app%5c__invite__/",
	} {
		for _, method := range []string{"GET", "POST", "HEAD", "OPTIONS"} {
			for _, host := range []string{"", "example.com", "other.example"} {
				r, err := http.NewRequest(method, "http://"+c.address+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Host = host
				response, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(response.Body)
				response.Body.Close()
				if response.StatusCode != http.StatusNotFound || len(body) != 0 {
					t.Errorf("%s %s of %q: %d %q", method, path, host, response.StatusCode, body)
				}
			}
		}
	}
	for _, path := range []string{"/app/", "/app/__invite__x", "/app/x__invite__", "/other/__invite__/", "/"} {
		c.expect(path, 200, "app")
	}
}

func TestAnOrdinaryRequestCarriesNoOperator(t *testing.T) {
	app(t, "app", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		_, hasOperator := OperatorFrom(r)
		_, hasInvitation := InvitationFrom(r)
		_, err := fmt.Fprint(w, hasOperator, hasInvitation, caddyhttp.GetVar(r.Context(), "partyline"))
		return err
	})
	c := newCaddy(t)
	c.site(`
	wsgi_party {
		invite /app/__invite__/
		rewrite /sneaky /app/__invite__/
		test_app app
	}`)
	for _, path := range []string{"/app/", "/sneaky"} {
		r, err := http.NewRequest("GET", "http://"+c.address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, header := range []string{"Partyline", "Party-Token", "X-Forwarded-For", "Wsgi-Party"} {
			r.Header.Set(header, "app")
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if string(body) != "false false <nil>" {
			t.Errorf("%s: %s", path, body)
		}
	}
}

func TestTheVariablePrintsAndMatchesAsTheGuestsName(t *testing.T) {
	var printed string
	app(t, "app", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		replacer := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		printed = replacer.ReplaceAll("{http.vars.partyline}", "")
		return nil
	})
	c := newCaddy(t)
	c.site("wsgi_party {\ninvite /one/__invite__/\n@one vars partyline one\n@regexp vars_regexp partyline ^o\nroute {\nrespond @one matched\n}\n@other vars partyline two\nrespond @other wrong\ntest_app @regexp app\n}")
	if got := outcomeOf(t); got["answer"] != "matched" {
		t.Error(got)
	}
	c.site("wsgi_party {\ninvite /one/__invite__/\n@regexp vars_regexp partyline ^o\ntest_app @regexp app\n}")
	if printed != "one" {
		t.Errorf("the variable prints as %q", printed)
	}
}

// TestWrappingCostsTheSameForAnyNumberOfRoutes counts what a request allocates.
func TestWrappingCostsTheSameForAnyNumberOfRoutes(t *testing.T) {
	var allocations []float64
	for _, routes := range []int{1, 256} {
		chain := newBenchChain(t, routes, true)
		allocations = append(allocations, testing.AllocsPerRun(100, chain.serve))
	}
	if allocations[0] != allocations[1] {
		t.Errorf("allocations for 1 and 256 routes: %v", allocations)
	}
}

// provisionContext returns the context of a config that runs nothing and logs
// nothing.
func provisionContext(t testing.TB) caddy.Context {
	t.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Admin: &caddy.AdminConfig{Disabled: true},
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{
			"default": {BaseLog: caddy.BaseLog{WriterRaw: json.RawMessage(`{"output": "discard"}`)}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return ctx
}

// benchChain is a handler with many routes, of which the first matches. Each has an
// application, and what stands in front of it.
type benchChain struct {
	handler caddyhttp.MiddlewareHandler
	request *http.Request
	writer  http.ResponseWriter
}

var emptyHandler = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })

func (c *benchChain) serve() {
	if err := c.handler.ServeHTTP(c.writer, c.request, emptyHandler); err != nil {
		panic(err)
	}
}

// discard is a ResponseWriter that costs nothing.
type discard http.Header

func (d discard) Header() http.Header       { return http.Header(d) }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

func newBenchChain(t testing.TB, routes int, party bool, handlers ...string) *benchChain {
	t.Helper()
	app(t, "bench", func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error { return nil })
	handlers = append(handlers, `{"handler": "test_app", "key": "bench"}`)
	var list []string
	for i := range routes {
		list = append(list, fmt.Sprintf(`{"match": [{"path": ["/app%d/*"]}], "handle": [%s], "terminal": true}`, i, strings.Join(handlers, ",")))
	}
	config := `{"routes": [` + strings.Join(list, ",") + `]}`
	ctx := provisionContext(t)
	id := "http.handlers.subroute"
	if party {
		id = "http.handlers.wsgi_party"
		config = `{"invites": ["/app0/__invite__/"], ` + config[1:]
	}
	handler, err := ctx.LoadModuleByID(id, []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest("GET", "http://localhost/app0/articles/2026/11/22", nil)
	if err != nil {
		t.Fatal(err)
	}
	writer := discard{}
	request = caddyhttp.PrepareRequest(request, caddy.NewReplacer(), writer, new(caddyhttp.Server))
	return &benchChain{handler.(caddyhttp.MiddlewareHandler), request, writer}
}

// BenchmarkServe passes requests through a party with 1, 16 and 256 routes, of
// which the first matches, beside the same with Caddy's subroute.
func BenchmarkServe(b *testing.B) {
	for _, routes := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("routes=%d", routes), func(b *testing.B) {
			subroute, party := newBenchChain(b, routes, false), newBenchChain(b, routes, true)
			sideBySide(b,
				contender{metric: "subroute-ns/op", against: 0, do: subroute.serve},
				contender{metric: "ns/op", against: 1, do: party.serve},
				contender{metric: "x-subroute", against: 0, do: party.serve},
			)
			b.ReportMetric(testing.AllocsPerRun(100, subroute.serve), "subroute-allocs")
		})
	}
}
