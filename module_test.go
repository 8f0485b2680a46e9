// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/measure"
	"github.com/wsgiparty/wsgiparty/internal/partytest"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func TestMain(m *testing.M) {
	partytest.Main(m, wsgiparty.Lookup, wsgiparty.Join, wsgiparty.OperatorFrom, wsgiparty.ErrHighAndDry)
}

func TestInvitedGuestsAnswerEachOther(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	partytest.Guest(t, "two", "2", "number")
	c := partytest.NewCaddy(t)
	c.Site(`
	wsgi_party {
		invite /one/__invite__/ /two/__invite__/
		handle_path /one/* {
			test_app one
		}
		handle_path /two/* {
			test_app two
		}
	}`)
	c.ExpectAnswers(wsgiparty.DefaultParty, "number", "1", "2")
	c.Expect("/one/", 200, "one")
	entries := partytest.LogEntries(t, "guest joined")
	check.Equal(t, len(entries), 2, "guests joined")
	for i, e := range entries {
		want := partytest.Entry{"level": "info", "logger": "http.handlers.wsgi_party", "party": "default",
			"guest": []string{"one", "two"}[i], "uri": []string{"/one/__invite__/", "/two/__invite__/"}[i]}
		for k, v := range want {
			check.Equal(t, e[k], v, k)
		}
		check.ErrorIf(t, fmt.Sprint(e["services"]) != "[number]" || e["duration"] == nil, e)
	}
}

func TestUnmatchedRequestsGoOnToTheNextHandler(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site(`
	wsgi_party {
		respond /inside "inside"
		handle /terminal {
			header X-Terminal yes
		}
	}
	respond "next"`)
	c.Expect("/inside", 200, "inside")
	c.Expect("/elsewhere", 200, "next")
	c.Expect("/terminal", 200, "next")
}

func TestAnEmptyPartyPassesEverythingOn(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party\nrespond next")
	c.Expect("/", 200, "next")
}

func TestMatchersOnTheDirective(t *testing.T) {
	partytest.Guest(t, "app", "pong", "ping")
	c := partytest.NewCaddy(t)
	c.Site(`
	@get method GET
	wsgi_party /a/* main {
		invite /a/__invite__/
		test_app @get app
	}
	respond next`)
	c.Expect("/a/", 200, "app")
	c.Expect("/b/", 200, "next")
	c.ExpectAnswers("main", "ping", "pong")
}

func TestErrorsGoUpToHandleErrors(t *testing.T) {
	partytest.App(t, "broken", func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error {
		return caddyhttp.Error(http.StatusTeapot, errors.New("broken"))
	})
	c := partytest.NewCaddy(t)
	c.Site(`
	wsgi_party {
		test_app broken
	}
	handle_errors {
		respond "handled {http.error.status_code}"
	}`)
	c.Expect("/", http.StatusTeapot, "handled 418")
}

// TestTheNextHandlerIsTheRightOne has one party's routes entered again from
// behind it, and within another party.
func TestTheNextHandlerIsTheRightOne(t *testing.T) {
	partytest.App(t, "trace", func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		w.Header().Add("Trace", "before")
		err := next.ServeHTTP(w, r)
		w.Header().Add("Trace", "after") // too late if somebody answered
		return err
	})
	c := partytest.NewCaddy(t)
	c.Load(`
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
	response := check.Value(http.Get("http://" + c.Address))(t)
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	if string(body) != "the end" || len(response.Header["Trace"]) != 3 {
		t.Errorf("%q %v", body, response.Header["Trace"])
	}
}

// TestTheNextHandlerIsRestored has a party's routes entered again from within, and
// left with an error.
func TestTheNextHandlerIsRestored(t *testing.T) {
	var p *wsgiparty.Party
	inside := false
	partytest.App(t, "reenter", func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		if !inside {
			inside = true
			inner := errors.New("inner")
			check.Equal(t, p.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return inner })), inner)
		}
		return next.ServeHTTP(w, r)
	})
	loaded := check.Value(partytest.ProvisionContext(t).LoadModuleByID("http.handlers.wsgi_party", []byte(`{"routes": [{"handle": [{"handler": "test_app", "key": "reenter"}]}]}`)))(t)
	p = loaded.(*wsgiparty.Party)
	r := check.Value(http.NewRequest("GET", "http://localhost/", nil))(t)
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), partytest.Discard{}, new(caddyhttp.Server))
	reached := false
	outer := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { reached = true; return nil })
	if err := p.ServeHTTP(partytest.Discard{}, r, outer); err != nil || !reached {
		t.Errorf("the outer next handler is not reached: %v", err)
	}
}

func TestNeitherTheRequestNorTheResponseWriterIsWrapped(t *testing.T) {
	type seen struct {
		w http.ResponseWriter
		r *http.Request
	}
	var all []seen
	partytest.App(t, "look", func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		all = append(all, seen{w, r})
		return next.ServeHTTP(w, r)
	})
	c := partytest.NewCaddy(t)
	c.Site(`
	route {
		test_app look
		wsgi_party {
			test_app look
		}
		test_app look
		vars done yes
		respond "{http.vars.done}"
	}`)
	c.Expect("/", 200, "yes")
	check.ErrorIf(t, len(all) != 3 || all[0] != all[1] || all[1] != all[2], "%v", all)
}

func TestTheVariablesAreLeftAsTheyWere(t *testing.T) {
	partytest.App(t, "count", func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		vars := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
		before := len(vars)
		err := next.ServeHTTP(w, r)
		check.Equal(t, len(vars), before, "variables afterwards: %v", vars)
		return err
	})
	c := partytest.NewCaddy(t)
	c.Site("route {\ntest_app count\nwsgi_party {\nrespond inside\n}\n}")
	c.Expect("/", 200, "inside")
}

func TestFlushingAndHijackingPassThrough(t *testing.T) {
	more := make(chan struct{})
	partytest.App(t, "flush", func(w http.ResponseWriter, _ *http.Request, _ caddyhttp.Handler) error {
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
	partytest.App(t, "hijack", func(w http.ResponseWriter, _ *http.Request, _ caddyhttp.Handler) error {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\nraw")
		return err
	})
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party {\ntest_app /flush flush\ntest_app /hijack hijack\n}")

	response := check.Value(http.Get("http://" + c.Address + "/flush"))(t)
	defer response.Body.Close()
	first := make([]byte, 3)
	if _, err := io.ReadFull(response.Body, first); err != nil || string(first) != "one" {
		t.Errorf("%q %v", first, err)
	}
	close(more)
	rest, err := io.ReadAll(response.Body)
	check.ErrorIf(t, err != nil || string(rest) != "two", "%q %v", rest, err)

	conn := check.Value(net.Dial("tcp", c.Address))(t)
	defer conn.Close()
	fmt.Fprintf(conn, "GET /hijack HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", c.Address)
	all, err := io.ReadAll(conn)
	check.ErrorIf(t, err != nil || !strings.HasSuffix(string(all), "\r\n\r\nraw"), "%q %v", all, err)
}

func TestInvitePathsDoNotExistFromOutside(t *testing.T) {
	partytest.Guest(t, "app", "pong", "ping")
	c := partytest.NewCaddy(t)
	_, port, _ := net.SplitHostPort(c.Address)
	c.Load("http://:" + port + ` {
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
				r := check.Value(http.NewRequest(method, "http://"+c.Address+path, nil))(t)
				r.Host = host
				response := check.Value(http.DefaultClient.Do(r))(t)
				body, _ := io.ReadAll(response.Body)
				response.Body.Close()
				check.ErrorIf(t, response.StatusCode != http.StatusNotFound || len(body) != 0, "%s %s of %q: %d %q", method, path, host, response.StatusCode, body)
			}
		}
	}
	for _, path := range []string{"/app/", "/app/__invite__x", "/app/x__invite__", "/other/__invite__/", "/"} {
		c.Expect(path, 200, "app")
	}
}

func TestAnOrdinaryRequestCarriesNoOperator(t *testing.T) {
	partytest.App(t, "app", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		_, hasOperator := wsgiparty.OperatorFrom(r)
		_, hasInvitation := wsgiparty.InvitationFrom(r)
		_, err := fmt.Fprint(w, hasOperator, hasInvitation, caddyhttp.GetVar(r.Context(), "partyline"))
		return err
	})
	c := partytest.NewCaddy(t)
	c.Site(`
	wsgi_party {
		invite /app/__invite__/
		rewrite /sneaky /app/__invite__/
		test_app app
	}`)
	for _, path := range []string{"/app/", "/sneaky"} {
		r := check.Value(http.NewRequest("GET", "http://"+c.Address+path, nil))(t)
		for _, header := range []string{"Partyline", "Party-Token", "X-Forwarded-For", "Wsgi-Party"} {
			r.Header.Set(header, "app")
		}
		response := check.Value(http.DefaultClient.Do(r))(t)
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		check.Equal(t, string(body), "false false <nil>", "%s: %s", path, body)
	}
}

func TestTheVariablePrintsAndMatchesAsTheGuestsName(t *testing.T) {
	var printed string
	partytest.App(t, "app", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		replacer := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		printed = replacer.ReplaceAll("{http.vars.partyline}", "")
		return nil
	})
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party {\ninvite /one/__invite__/\n@one vars partyline one\n@regexp vars_regexp partyline ^o\nroute {\nrespond @one matched\n}\n@other vars partyline two\nrespond @other wrong\ntest_app @regexp app\n}")
	check.Equal(t, partytest.InviteLogged(t)["answer"], "matched")
	c.Site("wsgi_party {\ninvite /one/__invite__/\n@regexp vars_regexp partyline ^o\ntest_app @regexp app\n}")
	check.Equal(t, printed, "one", "the variable prints as")
}

// TestWrappingCostsTheSameForAnyNumberOfRoutes counts what a request allocates.
func TestWrappingCostsTheSameForAnyNumberOfRoutes(t *testing.T) {
	var allocations []float64
	for _, routes := range []int{1, 256} {
		chain := partytest.NewBenchChain(t, routes, true)
		allocations = append(allocations, testing.AllocsPerRun(100, chain.Serve))
	}
	check.Equal(t, allocations[0], allocations[1], "allocations for 1 and 256 routes: %v", allocations)
}

// BenchmarkServe passes requests through a party with 1, 16 and 256 routes, of
// which the first matches, beside the same with Caddy's subroute.
func BenchmarkServe(b *testing.B) {
	for _, routes := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("routes=%d", routes), func(b *testing.B) {
			subroute, party := partytest.NewBenchChain(b, routes, false), partytest.NewBenchChain(b, routes, true)
			measure.SideBySide(b,
				measure.Contender{Metric: "subroute-ns/op", Against: 0, Do: subroute.Serve},
				measure.Contender{Metric: "ns/op", Against: 1, Do: party.Serve},
				measure.Contender{Metric: "x-subroute", Against: 0, Do: party.Serve},
			)
			b.ReportMetric(testing.AllocsPerRun(100, subroute.Serve), "subroute-allocs")
		})
	}
}

// TestWhoAnswersAsTheTimeEndsHasJoinedOrLeft has guests return at about the time
// their invite's ends.
func TestWhoAnswersAsTheTimeEndsHasJoinedOrLeft(t *testing.T) {
	var next time.Duration
	partytest.Behave(t, "app", func(caddy.Context) (partytest.ServeFunc, error) {
		wait := next
		return func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
			operator, _ := wsgiparty.OperatorFrom(r)
			deadline, _ := r.Context().Deadline()
			for time.Until(deadline) > wait {
				runtime.Gosched()
			}
			return operator.Connect("ping", partytest.Pong)
		}, nil
	})
	ctx := partytest.ProvisionContext(t)
	for i := range 300 {
		next = time.Duration(i%30-15) * 10 * time.Microsecond
		loaded, err := ctx.LoadModuleByID("http.handlers.wsgi_party", fmt.Appendf(nil,
			`{"name": "party%d", "invites": ["/__invite__/"], "invite_timeout": 500000, "routes": [{"handle": [{"handler": "test_app", "key": "app"}]}]}`, i))
		check.Must(t, err)
		p := loaded.(*wsgiparty.Party)
		asker := check.Value(wsgiparty.Join(ctx, p.Name, ""))(t)
		_, connected := asker.Partyline().Services()["ping"]
		result := p.Host().Invites()[0].Result
		check.FatalIf(t, (result == wsgiparty.InviteJoined) != connected, "%s, but connected: %v", result, connected)
	}
}

func TestAnInviteEndsWithItsConfig(t *testing.T) {
	partytest.App(t, "hang", func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		<-r.Context().Done()
		return nil
	})
	ctx := partytest.ProvisionContext(t)
	var end context.CancelFunc
	ctx.Context, end = context.WithCancel(ctx.Context)
	time.AfterFunc(20*time.Millisecond, end)
	loaded := check.Value(ctx.LoadModuleByID("http.handlers.wsgi_party", []byte(`{"invites": ["/__invite__/"], "routes": [{"handle": [{"handler": "test_app", "key": "hang"}]}]}`)))(t)
	p := loaded.(*wsgiparty.Party)
	last := p.Host().Invites()[0]
	check.ErrorIf(t, last.Result != wsgiparty.InviteFailed || !errors.Is(last.Err, context.Canceled), "%s: %v", last.Result, last.Err)
	if p.InviteTimeout != caddy.Duration(5*time.Second) {
		t.Errorf("the default timeout is %v", time.Duration(p.InviteTimeout))
	}
}

// caddyfileGolden is a Caddyfile and what adapting it gives: the JSON or the error's text.
type caddyfileGolden struct{ name, caddyfile, want string }

func caddyfileGoldens(tb testing.TB) []caddyfileGolden {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "caddyfile", "*.caddyfiletest"))
	check.FatalIf(tb, err != nil || len(files) == 0, "no goldens: %v", err)
	// The file that file_server hides is written as the OS writes it.
	hidden := check.Value(json.Marshal("." + string(filepath.Separator) + "Caddyfile"))(tb)
	var all []caddyfileGolden
	for _, file := range files {
		content := check.Value(os.ReadFile(file))(tb)
		text := strings.ReplaceAll(string(content), "\r\n", "\n")
		input, want, _ := strings.Cut(text, "\n----------\n")
		want = strings.ReplaceAll(strings.TrimSpace(want), `"./Caddyfile"`, string(hidden))
		check.FatalIf(tb, want == "", "%s says nothing below its ----------", file)
		name := strings.TrimSuffix(filepath.Base(file), ".caddyfiletest")
		all = append(all, caddyfileGolden{name, input, want})
	}
	return all
}

func TestCaddyfile(t *testing.T) {
	for _, g := range caddyfileGoldens(t) {
		t.Run(g.name, func(t *testing.T) {
			config, warnings, err := partytest.AdaptCaddyfile(g.caddyfile)
			if !strings.HasPrefix(g.want, "{") {
				check.FatalIf(t, err == nil, "adapted, want the error\n%s", g.want)
				check.FatalIf(t, !strings.Contains(err.Error(), g.want), "got the error\n%v\nwant\n%s", err, g.want)
				return
			}
			check.Must(t, err)
			for _, warning := range warnings {
				check.Has(t, warning.Message, "not formatted", warning)
			}
			check.Equal(t, indentJSON(t, config), indentJSON(t, []byte(g.want)), "got\n\nwant\n%s", g.want)
			partytest.CheckAdaptedAgain(t, g.caddyfile, config)
			check.ErrorIf(t, checkParties(t, config) == 0, "no party in the JSON")
		})
	}
}

// FuzzCaddyfile checks that no Caddyfile makes the parser panic, and that what it
// makes of one is always the same and decodes into parties that encode to it.
func FuzzCaddyfile(f *testing.F) {
	for _, g := range caddyfileGoldens(f) {
		f.Add(g.caddyfile)
	}
	f.Fuzz(func(t *testing.T, input string) {
		if !strings.Contains(input, "wsgi_party") || importsFiles(input) {
			return
		}
		config, _, err := partytest.AdaptCaddyfile(input)
		if err != nil {
			return
		}
		partytest.CheckAdaptedAgain(t, input, config)
		checkParties(t, config)
	})
}

var importDirective = regexp.MustCompile(`import(?:[ \t]+([\w-]+)(?:\s|$))?`)

// importsFiles reports whether the Caddyfile may import anything but its own
// snippets.
func importsFiles(input string) bool {
	for _, match := range importDirective.FindAllStringSubmatch(input, -1) {
		if match[1] == "" || !strings.Contains(input, "("+match[1]+")") {
			return true
		}
	}
	return false
}

func indentJSON(t *testing.T, config []byte) string {
	t.Helper()
	var b bytes.Buffer
	check.Must(t, json.Indent(&b, config, "", "\t"))
	return b.String()
}

// checkParties checks that every party in the JSON decodes strictly, and encodes to
// what it was. It returns how many there are.
func checkParties(t *testing.T, config []byte) int {
	t.Helper()
	return partytest.CheckHandlers[wsgiparty.Party](t, config, "wsgi_party")
}
