// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package vars_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// answering connects a guest of main that answers each service as its function does.
func answering(t *testing.T, service string, answer func(payload any) (any, error)) {
	t.Helper()
	connectMain(t, "p", service, func(_ context.Context, payload any) (any, error) { return answer(payload) })
}

func TestAnswersArePlaceholders(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site(`
		wsgi_party main {
			wsgi_party_vars {
				ask user whoami
				ask page url ` + "`{\"name\": \"shop:item\", \"values\": {\"slug\": \"{query.slug}\"}}`" + `
			}
			` + shop + `
			respond /members "{http.wsgi_party.user.name}|{http.wsgi_party.user.deep.er}|{http.wsgi_party.user.none.at.all}|{http.wsgi_party.user.n}|{http.wsgi_party.user.yes}|{http.wsgi_party.user.list}|{http.wsgi_party.user.deep}"
			respond /url {http.wsgi_party.page}
			respond "<{http.wsgi_party.user}>"
		}`)
	var answer any
	answering(t, "whoami", func(any) (any, error) { return answer, nil })
	for _, one := range []struct {
		answer any
		want   string
	}{
		{"ada", "ada"}, {nil, ""}, {true, "true"}, {7, "7"}, {json.RawMessage(`1.50`), "1.50"}, {json.RawMessage(` "a\"b" `), `a"b`}, {[]int{1, 2}, "[1,2]"}, {"{env.HOME}{http.wsgi_party.page}", "{env.HOME}{http.wsgi_party.page}"},
		{"a\r\nb\x00", "a\r\nb\x00"}, {json.RawMessage(`{"b": 1, "a": "<"}`), `{"a":"\u003c","b":1}`}, {struct{ A int }{1}, `{"A":1}`}, {strings.Repeat("x", 1<<20), strings.Repeat("x", 1<<20)},
	} {
		answer = one.answer
		_, body := c.Get("/")
		check.ErrorIf(t, body != "<"+one.want+">", "%.200v: %.200q", one.answer, body)
	}
	answer = json.RawMessage(`{"name": "ada", "deep": {"er": "yes"}, "n": 12345678901234567890, "yes": true, "list": [1, {"a": null}], "none": 7}`)
	c.Expect("/members", 200, `ada|yes||12345678901234567890|true|[1,{"a":null}]|{"er":"yes"}`)
	c.Expect("/url?slug=a%26b%22%7B", 200, "/shop/items/a%26b%22%7B")
}

func TestWhatVisitorsSendStaysInItsString(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\nwsgi_party_vars {\nask x echo `{\"q\": \"{query.q}\", \"n\": \"{query.n}\", \"fixed\": [1]}`\npayload_types n\n}\nrespond {http.wsgi_party.x}\n}")
	answering(t, "echo", func(payload any) (any, error) { return payload, nil })
	for _, q := range []string{"", "a", `", "admin": "yes`, `\`, "{env.HOME}", "{http.request.host}", "{query.n}", "a\nb\x00", "\u2028", strings.Repeat("x", 10000)} {
		for n, want := range map[string]string{"7": "7", "true": "true", "null": "null", "a": `"a"`, `{"x":1}`: `"{\"x\":1}"`, "": `""`} {
			var quoted strings.Builder
			encoder := json.NewEncoder(&quoted)
			encoder.SetEscapeHTML(false)
			check.Must(t, encoder.Encode(q))
			c.Expect("/?q="+url.QueryEscape(q)+"&n="+url.QueryEscape(n), 200, `{"fixed":[1],"n":`+want+`,"q":`+strings.TrimSpace(quoted.String())+`}`)
		}
	}
}

func TestWhatIsMissing(t *testing.T) {
	c := partytest.NewCaddy(t)
	site := func(missing string) {
		c.Site("wsgi_party main {\nwsgi_party_vars {\nask a url `{\"name\": \"old\"}`\nask b ping\n" + missing + "\n}\nredir /redir {http.wsgi_party.a}\nrespond <{http.wsgi_party.a}{http.wsgi_party.b}>\n}\nhandle_errors {\nrespond \"error {err.status_code} <{http.wsgi_party.b}>\"\n}")
		connectMain(t, "p", "ping", partytest.Pong)
	}
	for _, missing := range []string{"", "missing empty"} {
		site(missing)
		c.ExpectSoon("/", 200, "<pong>")
	}
	site("missing 503")
	c.ExpectSoon("/", 503, "error 503 <pong>")
	var answer any
	answering(t, "url", func(any) (any, error) {
		if err, ok := answer.(error); ok {
			return nil, err
		}
		return answer, nil
	})
	for _, answer = range []any{errors.New("secret"), wsgiparty.ErrHighAndDry, "", "//evil.example/", "javascript:alert(1)", 7, nil, []string{"/a"}} {
		c.Expect("/redir", 503, "error 503 <pong>")
	}
	answer = json.RawMessage(`"/new"`)
	check.Equal(t, get(c, "/redir", nil).Header.Get("Location"), "/new")
	check.Has(t, partytest.Logged(), `nobody in party \"main\" answers service \"url\" for {http.wsgi_party.a}`)
	c.Site("wsgi_party main {\nwsgi_party_vars {\nask a ping `\"{query.x}{query.x}\"`\nmissing 418\n}\n}")
	connectMain(t, "p", "ping", func(_ context.Context, payload any) (any, error) { panic(payload) })
	c.ExpectSoon("/", 418, "")
}

// TestAGuestIsAskedThroughTheHandlerThatAsks has the handler in front of the application that it asks.
func TestAGuestIsAskedThroughTheHandlerThatAsks(t *testing.T) {
	c := partytest.NewCaddy(t)
	var visitors, asked atomic.Int64
	a := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/whoami" {
			visitors.Add(1)
			_, _ = io.WriteString(w, "page for "+r.Header.Get("X-User"))
			return
		}
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"name": r.Header.Get("Cookie") + r.Header.Get("X-Other") + r.Header.Get("X-User")})
	})
	c.Site(`
		wsgi_party main {
			invite /a/__invite__/
			wsgi_party_vars {
				ask user whoami
				forward cookie
				missing 503
			}
			request_header X-User "{http.wsgi_party.user.name}"
			` + partytest.Mounted("a", "forward Cookie X-Other\nservice whoami GET /whoami", a) + `
		}`)
	for range 3 {
		status, body := c.Do("GET", "/a/", "", http.Header{"Cookie": {"ada"}, "X-Other": {"other"}})
		check.ErrorIf(t, status != 200 || body != "page for ada", status, body)
	}
	check.Equal(t, fmt.Sprint(visitors.Load(), asked.Load()), "3 3")
}

// TestAsksAreMadeTogether has each wait for the others.
func TestAsksAreMadeTogether(t *testing.T) {
	c := partytest.NewCaddy(t)
	var lines strings.Builder
	for i := range 16 {
		fmt.Fprintf(&lines, "ask n%d wait %d\n", i, i)
	}
	c.Site("wsgi_party main {\nwsgi_party_vars {\n" + lines.String() + "}\nrespond \"{http.wsgi_party.n0} {http.wsgi_party.n15}\"\n}")
	var here atomic.Int64
	all := make(chan struct{})
	main, _ := wsgiparty.Lookup("main")
	partytest.ConnectRemote(t, main.Partyline().Operator("p"), "wait", wsgiparty.Handler(func(ctx context.Context, payload any) (any, error) {
		if here.Add(1) == 16 {
			close(all)
		}
		select {
		case <-all:
			return payload, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}))
	c.Expect("/", 200, "0 15")
}

func TestWhatCannotBeMeantFailsTheConfig(t *testing.T) {
	c := partytest.NewCaddy(t)
	long := strings.Repeat("x", 65)
	for lines, want := range map[string]string{
		"ask url ping": `named "url"`, "ask guest ping": `named "guest"`, "ask a.b ping": `named "a.b", with a '.'`, `ask "" ping`: "has no name", "ask a ping\nask a pong": `two asks are named "a"`, "ask " + long + " ping": "65 bytes",
		`ask a ""`: "names no service", "ask a": "`ask <name> <service> [<json payload>]`", "ask a ping {x}": "in backquotes", "ask a ping `{\"a\": 1, \"a\": 2}`": "occurs twice", "ask a b `1` c": "`ask <name>",
		"": "asks for nothing", "ask a ping\nmissing 200": "missing is 200", "ask a ping\nmissing x": "missing is x", "ask a ping\nmissing 503\nmissing 503": "already specified", "ask a ping\nmissing": "`missing empty|<status>`",
		"ask a ping\nforward": "`forward <header>...`", "ask a ping\nforward a:b": "not a header", "ask a ping\npayload_types n": "no member of the payload has a placeholder", "ask a ping\nforwards x": "did you mean forward?",
		"ask a ping {\nx\n}": "takes no block", "ask a ping `{\"{query.a}\": 1}`": "in its name",
	} {
		_, _, err := c.TryAdapt("ADDRESS {\nwsgi_party_vars main {\n" + lines + "\n}\n}")
		if err == nil {
			t.Errorf("%s: no error", lines)
			continue
		}
		check.Has(t, err.Error(), want, lines)
	}
	check.Fails(t, c.TryLoad("ADDRESS {\nwsgi_party_vars {\nask a ping\n}\n}"), "it is in no party's routes", "wsgi_party_vars <party>")
	_, _, err := c.TryAdapt("ADDRESS {\nwsgi_party_vars \"\" {\nask a ping\n}\n}")
	check.Fails(t, err, "the party's name is empty")
	var many strings.Builder
	for i := range 17 {
		fmt.Fprintf(&many, "ask a%d ping\n", i)
	}
	_, _, err = c.TryAdapt("ADDRESS {\nwsgi_party_vars main {\n" + many.String() + "}\n}")
	check.Fails(t, err, "asks for 17")
}

func TestTheJSONOfTheDirective(t *testing.T) {
	const caddyfile = "localhost {\n\twsgi_party_vars /a/* main {\n\t\task user whoami\n\t\task page url `{\"name\": \"p\", \"values\": {\"n\": \"{query.n}\"}}`\n\t\tpayload_types n\n\t\tforward Cookie Authorization\n\t\tforward X-User\n\t\tmissing 503\n\t}\n\tvars a b\n}"
	config, _, err := partytest.AdaptCaddyfile(caddyfile)
	check.Must(t, err)
	partytest.CheckAdaptedAgain(t, caddyfile, config)
	handlers := partytest.HandlersIn(partytest.DecodeJSON(t, config), "wsgi_party_vars")
	check.FatalIf(t, len(handlers) != 1, string(config))
	encoded := check.Value(json.Marshal(handlers[0]))(t)
	check.Equal(t, string(encoded), `{"asks":[{"name":"user","service":"whoami"},{"name":"page","payload":{"name":"p","values":{"n":"{http.request.uri.query.n}"}},"service":"url"}],"forward":["Cookie","Authorization","X-User"],"handler":"wsgi_party_vars","missing":503,"party":"main","payload_types":["n"]}`)
	check.ErrorIf(t, strings.Index(string(config), `"handler":"vars"`) > strings.Index(string(config), "wsgi_party_vars"), "it comes before vars: %s", config)
}

// TestWhatAnAskCosts counts what a request allocates that asks a guest in Caddy.
func TestWhatAnAskCosts(t *testing.T) {
	partytest.Guest(t, "app", "pong", "ping")
	ctx := partytest.ProvisionContext(t)
	chain := func(asks string) func() {
		config := `{"name": "` + partytest.FreshParty() + `", "invites": ["/app/__invite__/"], "routes": [{"match": [{"path": ["/app/*"]}], "handle": [{"handler": "test_app", "key": "app"}], "terminal": true}` + asks + `]}`
		handler := check.Value(ctx.LoadModuleByID("http.handlers.wsgi_party", []byte(config)))(t).(caddyhttp.MiddlewareHandler)
		next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
		server, w := new(caddyhttp.Server), partytest.Discard{}
		return func() {
			r := check.Value(http.NewRequest("GET", "http://localhost/y", nil))(t)
			check.Nil(t, handler.ServeHTTP(w, caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, server), next))
		}
	}
	none := testing.AllocsPerRun(100, chain(""))
	one := testing.AllocsPerRun(100, chain(`, {"handle": [{"handler": "wsgi_party_vars", "asks": [{"name": "a", "service": "ping"}]}]}`))
	t.Log("an ask allocates", one-none)
	check.ErrorIf(t, one-none > 20, "%v allocations, %v without", one, none)
}
