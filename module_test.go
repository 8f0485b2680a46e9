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
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
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
	c.Site("wsgi_party {\ninvite /one/__invite__/ /two/__invite__/\ntest_app /one/* one\ntest_app /two/* two\n}")
	c.ExpectAnswers(wsgiparty.DefaultParty, "number", "1", "2")
	c.Expect("/one/", 200, "one")
	entries := partytest.LogEntries(t, "guest joined")
	check.Equal(t, len(entries), 2, "guests joined")
	for i, e := range entries {
		guest := []string{"one", "two"}[i]
		for k, v := range map[string]any{"level": "info", "logger": "http.handlers.wsgi_party", "party": "default", "guest": guest, "uri": "/" + guest + "/__invite__/"} {
			check.Equal(t, e[k], v, k)
		}
		check.ErrorIf(t, fmt.Sprint(e["services"]) != "[number]" || e["duration"] == nil, e)
	}
}

func TestUnmatchedRequestsGoOnToTheNextHandler(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party {\nrespond /inside inside\nhandle /terminal {\nheader X-Terminal yes\n}\n}\nrespond next")
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
	c.Site("@get method GET\nwsgi_party /a/* main {\ninvite /a/__invite__/\ntest_app @get app\n}\nrespond next")
	c.Expect("/a/", 200, "app")
	c.Expect("/b/", 200, "next")
	c.ExpectAnswers("main", "ping", "pong")
}

func TestErrorsGoUpToHandleErrors(t *testing.T) {
	partytest.App(t, "broken", func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error {
		return caddyhttp.Error(http.StatusTeapot, errors.New("broken"))
	})
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party {\ntest_app broken\n}\nhandle_errors {\nrespond \"handled {http.error.status_code}\"\n}")
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
	c.Load("&(named) {\nwsgi_party main {\ntest_app trace\n}\n}\nADDRESS {\nroute {\ninvoke named\nwsgi_party outer {\ninvoke named\n}\ninvoke named\nrespond \"the end\"\n}\n}")
	response := c.Raw("GET / HTTP/1.1\r\nHost: " + c.Address + "\r\n\r\n")
	check.ErrorIf(t, response.Body != "the end" || len(response.Header["Trace"]) != 3, "%v", response)
}

// TestTheNextHandlerIsRestored has a party's routes entered again from within, within
// these, too, and twice, and left with an error.
func TestTheNextHandlerIsRestored(t *testing.T) {
	var p *wsgiparty.Party
	depth := 0
	partytest.App(t, "reenter", func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		for range 2 {
			if depth++; depth <= 3 {
				inner := fmt.Errorf("inner %d", depth)
				check.Equal(t, p.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return inner })), inner)
			}
			depth--
		}
		return next.ServeHTTP(w, r)
	})
	p = provisioned(t, partytest.ProvisionContext(t), `"routes": [{"handle": [{"handler": "test_app", "key": "reenter"}]}]`)
	r := check.Value(http.NewRequest("GET", "http://localhost/", nil))(t)
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), partytest.Discard{}, new(caddyhttp.Server))
	reached := false
	outer := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { reached = true; return nil })
	err := p.ServeHTTP(partytest.Discard{}, r, outer)
	check.ErrorIf(t, err != nil || !reached, "the outer next handler is not reached: %v", err)
}

// provisioned returns the party with that config.
func provisioned(t testing.TB, ctx caddy.Context, config string) *wsgiparty.Party {
	t.Helper()
	return check.Value(ctx.LoadModuleByID("http.handlers.wsgi_party", []byte("{"+config+"}")))(t).(*wsgiparty.Party)
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
	c.Site("route {\ntest_app look\nwsgi_party {\ntest_app look\n}\ntest_app look\nvars done yes\nrespond {http.vars.done}\n}")
	c.Expect("/", 200, "yes")
	check.ErrorIf(t, len(all) != 3 || all[0] != all[1] || all[1] != all[2], "%v", all)
}

func TestTheVariablesOfOthersAreLeftAsTheyWere(t *testing.T) {
	partytest.App(t, "count", func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		vars := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
		before := maps.Clone(vars)
		err := next.ServeHTTP(w, r)
		after, own := maps.Clone(vars), 0
		maps.DeleteFunc(after, func(name string, _ any) bool {
			if !strings.HasPrefix(name, "wsgi_party.next.") {
				return false
			}
			own++
			return true
		})
		check.Deep(t, after, before, "variables afterwards")
		check.Equal(t, own, 1, "variables of the party") // which it cannot delete while a proxy may be reading
		return err
	})
	c := partytest.NewCaddy(t)
	c.Site("route {\ntest_app count\nwsgi_party {\nrespond inside\n}\n}")
	c.Expect("/", 200, "inside")
}

// TestTheVariablesMayBeReadInTheBackground has a handler do what a reverse_proxy does that begins to connect,
// and then has another connection: the race detector sees whoever writes meanwhile.
func TestTheVariablesMayBeReadInTheBackground(t *testing.T) {
	var reading sync.WaitGroup
	entered := 0
	partytest.App(t, "reads", func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		if entered++; entered%3 != 0 {
			return next.ServeHTTP(w, r)
		}
		reading.Go(func() {
			for range 1000 {
				caddyhttp.GetVar(r.Context(), "dial_info")
			}
		})
		return nil
	})
	c := partytest.NewCaddy(t)
	for _, site := range []string{ // in which the third one reads
		"route {\ntest_app reads\ntest_app reads\ninvoke named\n}",
		"route {\ninvoke named\ninvoke named\ninvoke named\n}",
		"route {\nwsgi_party outer {\ninvoke named\n}\ninvoke named\nwsgi_party inner {\ninvoke named\n}\n}",
	} {
		c.Load("&(named) {\nwsgi_party main {\ntest_app reads\n}\n}\nADDRESS {\n" + site + "\n}")
		for range 20 {
			c.Expect("/", 200, "")
		}
		reading.Wait()
	}
}

func TestFlushingAndHijackingPassThrough(t *testing.T) {
	more := make(chan struct{})
	partytest.App(t, "flush", func(w http.ResponseWriter, _ *http.Request, _ caddyhttp.Handler) error {
		_, _ = io.WriteString(w, "one")
		check.Nil(t, http.NewResponseController(w).Flush())
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
	_, err := io.ReadFull(response.Body, first)
	check.ErrorIf(t, err != nil || string(first) != "one", "%q %v", first, err)
	close(more)
	check.Equal(t, partytest.ReadAll(t, response), "two")

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
	c.Load("http://:" + port + " {\nwsgi_party {\ninvite /app/__invite__/ https://example.com/__invite__/\ntest_app app\n}\nhandle_errors {\nrespond back\n}\n}")
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
				response := check.Value(partytest.Send(r))(t)
				check.ErrorIf(t, response.Status != http.StatusNotFound || response.Body != "", "%s %s of %q: %v", method, path, host, response)
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
	c.Site("wsgi_party {\ninvite /app/__invite__/\nrewrite /sneaky /app/__invite__/\ntest_app app\n}")
	for _, path := range []string{"/app/", "/sneaky"} {
		_, body := c.Do("GET", path, "", http.Header{"Partyline": {"app"}, "Party-Token": {"app"}, "X-Forwarded-For": {"app"}, "Wsgi-Party": {"app"}})
		check.Equal(t, body, "false false <nil>", path)
	}
}

func TestTheVariablePrintsAndMatchesAsTheGuestsName(t *testing.T) {
	var printed string
	partytest.App(t, "app", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		printed = r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).ReplaceAll("{http.vars.partyline}", "")
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
		p := provisioned(t, ctx, fmt.Sprintf(`"name": "party%d", "invites": ["/__invite__/"], "invite_timeout": 500000, "routes": [{"handle": [{"handler": "test_app", "key": "app"}]}]`, i))
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
	p := provisioned(t, ctx, `"invites": ["/__invite__/"], "routes": [{"handle": [{"handler": "test_app", "key": "hang"}]}]`)
	last := p.Host().Invites()[0]
	check.ErrorIf(t, last.Result != wsgiparty.InviteFailed || !errors.Is(last.Err, context.Canceled), "%s: %v", last.Result, last.Err)
	check.Equal(t, time.Duration(p.InviteTimeout), 5*time.Second, "the default timeout")
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
				check.Fails(t, err, g.want)
				return
			}
			check.Must(t, err)
			for _, warning := range warnings {
				check.Has(t, warning.Message, "not formatted", warning)
			}
			check.Equal(t, indentJSON(t, config), indentJSON(t, []byte(g.want)), "got\n\nwant\n%s", g.want)
			partytest.CheckAdaptedAgain(t, g.caddyfile, config)
			check.ErrorIf(t, partytest.CheckHandlers[wsgiparty.Party](t, config, "wsgi_party") == 0, "no party in the JSON")
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
		if config, _, err := partytest.AdaptCaddyfile(input); err == nil {
			partytest.CheckAdaptedAgain(t, input, config)
			partytest.CheckHandlers[wsgiparty.Party](t, config, "wsgi_party")
		}
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
