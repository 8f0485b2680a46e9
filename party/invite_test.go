// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/party"
)

func TestTheGuestsURIIsItsOwn(t *testing.T) {
	onInvite(t, "app", func(i *wsgiparty.Invitation, _ *http.Request) error {
		i.URI.Path = "/changed"
		return i.Operator.Connect("ping", partytest.Pong)
	})
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\ninvite /__invite__/\ntest_app app\n}")
	check.Equal(t, partytest.InviteLogged(t)["uri"], "/__invite__/", "uri")
}

func TestAStrictInviteThatDoesNotJoinFailsTheLoad(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site("respond running")
	partytest.Guest(t, "one", "pong", "ping")
	err := c.TryLoad("ADDRESS {\nwsgi_party main {\nstrict_invites\ninvite /one/__invite__/ /two/__invite__/\nroute {\nrespond /one/* nobody 410\ntest_app one\n}\n}\n}")
	check.Fails(t, err, `guest "one" at /one/__invite__/`, "410", "strict_invites", "`not vars partyline one`")
	c.Expect("/", 200, "running")

	c.Site("wsgi_party main {\nstrict_invites\ninvite /one/__invite__/\ntest_app one\n}")
	c.ExpectAnswers("main", "ping", "pong")
}

func TestOneGuestsFaultIsNotAnothers(t *testing.T) {
	partytest.Guest(t, "good", "pong", "ping")
	onInvite(t, "bad", func(i *wsgiparty.Invitation, _ *http.Request) error {
		check.Nil(t, i.Operator.Connect("ping", func(context.Context, any) (any, error) { panic("no pong") }))
		panic("no welcome")
	})
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\ninvite /bad/__invite__/ /good/__invite__/\ntest_app /bad/* bad\ntest_app /good/* good\n}")
	answers, err := operatorOf(c, "main").AskAround(context.Background(), "ping", nil)
	check.Slices(t, answers, []any{"pong"}, "answers")
	var failure *wsgiparty.HandlerError
	check.ErrorIf(t, !errors.As(err, &failure) || failure.Guest != "bad", "error: %v", err)
}

func TestInvitesAreSentInOrder(t *testing.T) {
	var order []string
	onInvite(t, "app", func(i *wsgiparty.Invitation, _ *http.Request) error {
		order = append(order, i.Operator.Guest())
		return nil
	})
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\ninvite /c/__invite__/ /a/__invite__/\ninvite /b/__invite__/\ntest_app app\n}")
	check.Slices(t, order, []string{"c", "a", "b"}, "invited")
}

// TestTheInviteIsACompleteRequest says what a guest, and what stands before it,
// sees of an invite.
func TestTheInviteIsACompleteRequest(t *testing.T) {
	for uri, want := range map[string]map[string]string{
		"/blog/__invite__/?x=1": {"request.method": "GET", "request.host": "localhost", "request.uri": "/blog/__invite__/?x=1", "request.uri.path": "/blog/__invite__/",
			"request.scheme": "http", "request.remote.host": "192.0.2.1", "vars.partyline": "blog"},
		"https://example.com/blog/__invite__/": {"request.host": "example.com", "request.uri": "/blog/__invite__/", "request.scheme": "https", "vars.partyline": "blog", "request.local.port": "443"},
		"http://example.com:8080/__invite__/":  {"request.hostport": "example.com:8080", "request.scheme": "http", "vars.partyline": "root", "request.local.port": "8080"},
	} {
		t.Run(uri, func(t *testing.T) {
			invited := false
			onInvite(t, "app", func(i *wsgiparty.Invitation, r *http.Request) error {
				invited = true
				replacer := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
				for name, want := range want {
					check.Equal(t, replacer.ReplaceAll("{http."+name+"}", ""), want, name)
				}
				check.ErrorIf(t, (r.TLS != nil) != strings.HasPrefix(uri, "https") || r.TLS != nil && (!r.TLS.HandshakeComplete || r.TLS.ServerName != "example.com"), "TLS: %+v", r.TLS)
				check.Equal(t, r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server).Name(), "srv0", "the server")
				check.ErrorIf(t, i.URI.String() != uri || i.Prefix != "/apps", "invitation: %+v", i)
				return i.Operator.Connect("ping", partytest.Pong)
			})
			c := partytest.NewCaddy(t)
			// Host matchers inside the party work, remote_ip takes it for nobody.
			c.Site("wsgi_party main {\ninvite " + uri + "\nprefix /apps\n@here remote_ip private_ranges\nrespond @here local\n@hosts host localhost example.com\ntest_app @hosts app\n}")
			check.ErrorIf(t, !invited || partytest.InviteLogged(t)["msg"] != "guest joined", partytest.InviteLogged(t))
		})
	}
}

func TestPartylineKeyRenamesTheRequestVariable(t *testing.T) {
	onInvite(t, "app", func(i *wsgiparty.Invitation, r *http.Request) error {
		check.Equal(t, caddyhttp.GetVar(r.Context(), "line"), any(i.Operator), "the variable")
		check.Equal(t, caddyhttp.GetVar(r.Context(), "partyline"), nil, "the variable of the default name")
		return i.Operator.Connect("ping", partytest.Pong)
	})
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\npartyline_key line\ninvite /__invite__/\ntest_app app\n}")
	c.ExpectAnswers("main", "ping", "pong")
}

func TestPlaceholdersOfTheEnvironmentInAnInvite(t *testing.T) {
	t.Setenv("GUEST_HOST", "example.com")
	t.Setenv("GUEST_NAME", "bob")
	partytest.Guest(t, "app", "pong", "ping")
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\ninvite https://{env.GUEST_HOST}/__invite__/ as {env.GUEST_NAME}\n@host host example.com\ntest_app @host app\n}")
	c.ExpectAnswers("main", "ping", "pong")
	check.Equal(t, partytest.InviteLogged(t)["guest"], "bob", "guest")
	err := c.TryLoad("ADDRESS {\nwsgi_party main {\ninvite {env.NO_SUCH_VARIABLE}\n}\n}")
	check.Fails(t, err, "NO_SUCH_VARIABLE")
	c.ExpectAnswers("main", "ping", "pong")
}

func TestGuestNames(t *testing.T) {
	for uri, want := range map[string]string{
		"/__invite__/":                       "root",
		"/__invite__":                        "root",
		"/one/__invite__/":                   "one",
		"/one/two/__invite__/x":              "one/two",
		"https://example.com/one/__invite__": "one",
		"/one/hello/":                        "one/hello",
		"/one__invite__/":                    "one__invite__",
		"https://example.com/__invite__/":    "root",
	} {
		check.Equal(t, check.Value(party.GuestOf(uri))(t), want, uri)
	}
}

// TestNestedParties has the outer party's invites run through the inner one, which
// has sent its own before.
func TestNestedParties(t *testing.T) {
	onInvite(t, "app", func(i *wsgiparty.Invitation, _ *http.Request) error {
		return i.Operator.Connect("party", partytest.Answers(i.Operator.Partyline().Name()))
	})
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party outer {\ninvite /app/__invite__/\nwsgi_party inner {\ninvite /app/__invite__/\ntest_app /app/* app\n}\n}\nrespond next")
	c.ExpectAnswers("outer", "party", "outer")
	c.ExpectAnswers("inner", "party", "inner")
	c.Expect("/app/", 200, "app")
	c.Expect("/elsewhere", 200, "next")
	c.Expect("/app/__invite__/", 404, "")
}

func TestBadInvites(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site("respond running")
	for name, test := range map[string]struct{ party, want string }{
		"not a URI":               {`"invites": ["/%zz"]`, `invite "/%zz" is not a URI`},
		"control character":       {`"invites": ["/\u0001"]`, `is not a URI`},
		"relative":                {`"invites": ["blog/__invite__/"]`, `write "/blog/__invite__/"`},
		"another scheme":          {`"invites": [{"uri": "ftp://example.com/x"}]`, "scheme ftp: write a path"},
		"no host":                 {`"invites": ["https:///x"]`, "no host"},
		"opaque":                  {`"invites": ["http:x"]`, "no host"},
		"no scheme":               {`"invites": ["//example.com/x"]`, `write "https://example.com/x"`},
		"user":                    {`"invites": ["http://bob@example.com/x"]`, "leave out the user"},
		"empty":                   {`"invites": [""]`, "an invite is empty"},
		"null":                    {`"invites": [null]`, "an invite is empty"},
		"no URI":                  {`"invites": [{"guest": "bob"}]`, "an invite is empty"},
		"a number":                {`"invites": [7]`, "an invite is a string, its URI, or an object"},
		"the same guest twice":    {`"invites": ["/a/__invite__/", "https://example.com/a/__invite__"]`, `guest "a" is invited twice: write "invite https://example.com/a/__invite__ as <guest>"`},
		"the root":                {`"invites": ["/"]`, `would hide everything`},
		"as in a matcher":         {`"invites": ["/blog/__invite__/*"]`, `leave out the *`},
		"the root of a host":      {`"invites": ["https://example.com"]`, `would hide everything`},
		"the root in disguise":    {`"invites": ["/.//x/..;y/"]`, `would hide everything`},
		"dots":                    {`"invites": ["/../../x/__invite__/"]`, `would be called "../../x", as its path says, but it has ".." between slashes, which would lead elsewhere in a path: leave it out: write "invite /../../x/__invite__/ as <name>"`},
		"said dots":               {`"invites": [{"uri": "/x/__invite__/", "guest": "../../x"}]`, `the guest of invite "/x/__invite__/" cannot be called "../../x": it has ".."`},
		"a colon":                 {`"invites": ["/a:b/__invite__/"]`, `would be called "a:b", as its path says, but it has a ':'`},
		"no letter":               {`"invites": ["/caf%C3%A9/__invite__/"]`, `it has a 'é': write letters, digits and . _ / - only: write "invite /caf%C3%A9/__invite__/ as <name>" ("guest" in JSON)`},
		"65 letters":              {`"invites": ["/` + strings.Repeat("a", 65) + `/__invite__/"]`, `it has 65 bytes: write no more than 64`},
		"unknown field":           {`"invite": []`, `unknown field "invite"`},
		"unknown field of invite": {`"invites": [{"uri": "/x", "gest": "bob"}]`, `unknown field "gest"`},
		"negative duration":       {`"invite_timeout": "-5s"`, "invite_timeout is -5s"},
		"relative prefix":         {`"prefix": "apps"`, `prefix "apps"`},
		"prefix with a slash":     {`"prefix": "/apps/"`, `prefix "/apps/"`},
		"prefix with a query":     {`"prefix": "/apps?x"`, `prefix "/apps?x"`},
		"Caddy's variable":        {`"partyline_key": "client_ip"`, `partyline_key "client_ip" is one of Caddy's own`},
	} {
		t.Run(name, func(t *testing.T) {
			config := `{"admin": {"disabled": true, "config": {"persist": false}}, "apps": {"http": {"servers": {"srv0": {"listen": ["` + c.Address + `"],
				"routes": [{"handle": [{"handler": "wsgi_party", ` + test.party + `}]}]}}}}}`
			check.Fails(t, caddy.Load([]byte(config), true), test.want)
			c.Expect("/", 200, "running")
		})
	}
}

func TestAValidatedConfigLeavesNoTrace(t *testing.T) {
	invites := 0
	onInvite(t, "app", func(i *wsgiparty.Invitation, _ *http.Request) error {
		invites++
		return i.Operator.Connect("ping", partytest.Pong)
	})
	c := partytest.NewCaddy(t)
	check.Must(t, caddy.Validate(partytest.ParseConfig(t, c.Adapt("ADDRESS {\nwsgi_party main {\ninvite /__invite__/\ntest_app app\n}\n}"))))
	check.Equal(t, invites, 1, "invites were sent")
	_, ok := wsgiparty.Lookup("main")
	check.ErrorIf(t, ok, "the partyline is that of the running config")
}

func TestInviteDuration(t *testing.T) {
	onInvite(t, "app", func(i *wsgiparty.Invitation, _ *http.Request) error {
		time.Sleep(20 * time.Millisecond)
		return i.Operator.Connect("ping", partytest.Pong)
	})
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\ninvite /__invite__/\ntest_app app\n}")
	seconds, _ := partytest.InviteLogged(t)["duration"].(float64)
	check.ErrorIf(t, seconds < .02 || seconds > 60, "duration: %v s", seconds)
}

// TestOutcomeOfAnInvite has what can become of an invite, with what is in the
// subtree: hazards of Caddy's own handlers among it.
func TestOutcomeOfAnInvite(t *testing.T) {
	const joined, notAnswered, refused, failed = wsgiparty.InviteJoined, wsgiparty.InviteNotAnswered, wsgiparty.InviteRefused, wsgiparty.InviteFailed
	type answer func(w http.ResponseWriter, r *http.Request) error
	// takes is a guest that takes the operator, connects, and answers.
	takes := func(answer answer, services ...string) partytest.ServeFunc {
		return func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
			operator, ok := wsgiparty.OperatorFrom(r)
			check.ErrorIf(t, !ok, "the invite carries no operator")
			for _, s := range services {
				check.Nil(t, operator.Connect(s, partytest.Pong))
			}
			return answer(w, r)
		}
	}
	nothing := func(http.ResponseWriter, *http.Request) error { return nil }
	redirects := func(w http.ResponseWriter, r *http.Request) error {
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
		return nil
	}
	says := func(statuses ...int) answer {
		return func(w http.ResponseWriter, _ *http.Request) error {
			for _, status := range statuses {
				w.WriteHeader(status)
			}
			return nil
		}
	}
	ohNo := errors.New("oh no")
	bob := " {\nbob $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n}\n"
	for name, test := range map[string]struct {
		app                         partytest.ServeFunc
		directives, timeout         string // default: test_app app, 30s
		want                        wsgiparty.InviteResult
		status                      int
		services, err, answer, hint string
	}{
		"connects and answers 200":                                {app: takes(says(200), "ping", "url"), want: joined, services: "ping url"},
		"takes the operator, connects nothing, answers 204":       {app: takes(says(204)), want: joined},
		"connects and writes nothing, which net/http makes a 200": {app: takes(nothing, "ping"), want: joined, services: "ping"},
		"early hints are no answer yet":                           {app: takes(says(103, 200)), want: joined},
		"connects by way of the request variable": {want: joined, services: "ping", app: func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
			w.WriteHeader(http.StatusOK)
			return caddyhttp.GetVar(r.Context(), "partyline").(*wsgiparty.Operator).Connect("ping", partytest.Pong)
		}},
		"a catch-all's plain 200":      {directives: `respond "hello"`, want: notAnswered, status: 200, answer: "hello", hint: "did not take the operator"},
		"nobody takes it":              {directives: `respond /elsewhere "hello"`, want: notAnswered, hint: "correct the invite's URI"},
		"404":                          {directives: `respond "no such page" 404`, want: notAnswered, status: 404, answer: "no such page", hint: "mount a guest there"},
		"file_server without the file": {directives: "root /nonexistent\nfile_server", want: notAnswered, status: 404},
		"a redirect":                   {directives: "redir * /blog", want: notAnswered, status: 302, hint: "a redirect, to /blog, is not followed"},
		"403":                          {directives: "error 403", want: refused, status: 403, hint: "`not vars partyline app`"},
		"304":                          {directives: `respond 304`, want: notAnswered, status: 304, hint: "did not take the operator"},
		"the guest takes the operator and refuses":         {app: takes(says(418)), want: refused, status: 418},
		"the guest takes the operator and answers nothing": {app: takes(nothing), want: notAnswered, hint: "must answer with a 2xx status"},
		"the guest takes the operator and redirects":       {app: takes(redirects), want: notAnswered, status: 302, hint: "must answer with a 2xx status"},
		"basic_auth":                             {directives: "basic_auth" + bob + "respond hello", want: refused, status: 401, err: "not authenticated", hint: "authentication"},
		"basic_auth that lets the party through": {directives: "@people not vars partyline app\nbasic_auth @people" + bob + "test_app app", app: takes(says(200)), want: joined},
		"abort":                                  {directives: "abort", want: failed, err: "the response broke off", hint: "as `abort` does"},
		"a panic":                                {app: func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error { panic("oh no") }, want: failed, err: "panic: oh no"},
		"an error":                               {app: func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error { return ohNo }, want: failed, err: "oh no"},
		"500":                                    {directives: `respond "<h1>Server Error</h1>" 500`, want: failed, status: 500, answer: "<h1>Server Error</h1>", hint: "what answers at this path fails"},
		"reverse_proxy with no backend":          {directives: "reverse_proxy 127.0.0.1:1", want: notAnswered, err: "an invite stays in this process", hint: "write `wsgi_party_guest` in front of"},
		"a template that fails":                  {directives: "templates\nheader Content-Type text/html\nrespond `{{httpInclude \"/\"}}`", want: failed, status: 500},
		"invoke":                                 {directives: "invoke named", want: notAnswered, hint: "a named route, which invoke leads to, is not ready"},
		"a hang until the request's context ends": {timeout: "100ms", want: failed, err: "it took longer than 100ms", hint: "invite_timeout", app: takes(func(_ http.ResponseWriter, r *http.Request) error {
			<-r.Context().Done()
			return r.Context().Err()
		}, "ping")},
		"an answer, and then a hang": {timeout: "500ms", want: failed, status: 204, err: "it took longer than 500ms", hint: "invite_timeout", app: takes(func(w http.ResponseWriter, r *http.Request) error {
			w.WriteHeader(http.StatusNoContent)
			<-r.Context().Done()
			return nil
		}, "ping")},
		"an answer, and then an error": {want: failed, services: "ping", status: 404, err: "oh no", hint: "correct what fails", app: takes(func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusNotFound)
			return ohNo
		}, "ping")},
		"a stream without end": {want: failed, status: 200, err: "longer than 1048576 bytes", app: takes(func(w http.ResponseWriter, _ *http.Request) error {
			for {
				if _, err := w.Write(make([]byte, 4096)); err != nil {
					return err
				}
				if err := http.NewResponseController(w).Flush(); err != nil {
					return err
				}
			}
		})},
		"hijacking": {want: joined, app: takes(func(w http.ResponseWriter, _ *http.Request) error {
			_, _, err := http.NewResponseController(w).Hijack()
			check.ErrorIf(t, !errors.Is(err, http.ErrNotSupported), "hijacking: %v", err)
			w.WriteHeader(http.StatusOK)
			return nil
		})},
		"templates, encode, groups and placeholders on the way": {
			directives: "encode\ntemplates\nvars local {http.request.local}\nheader X-Local {http.request.local.host}:{http.request.local.port}\n" +
				"header X-Shutdown {http.shutting_down}\nheader X-Duration {http.request.duration_ms}\nheader X-Id {http.request.uuid}\n" +
				"rewrite /rewritten\nhandle /elsewhere {\nrespond wrong\n}\nhandle /rewritten {\nrequest_body {\nmax_size 1MB\n}\ntest_app app\n}",
			app: takes(func(w http.ResponseWriter, _ *http.Request) error {
				w.Header().Set("Content-Type", "text/html")
				_, err := io.WriteString(w, `{{.ClientIP}} {{.RemoteIP}}`)
				return err
			}, "ping"),
			want: joined, services: "ping",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if test.app != nil {
				partytest.App(t, "app", test.app)
			}
			partytest.Guest(t, "named", "pong", "ping")
			c := partytest.NewCaddy(t)
			c.Load(fmt.Sprintf("&(named) {\nroute {\ntest_app named\n}\n}\nADDRESS {\nwsgi_party main {\ninvite /app/__invite__/\ninvite_timeout %s\n%s\n}\n}",
				cmp.Or(test.timeout, "30s"), cmp.Or(test.directives, "test_app app")))
			got := partytest.InviteLogged(t)
			check.FatalIf(t, got["msg"] != partytest.Message(test.want), "%v, want %q", got, test.want)
			check.Equal(t, fmt.Sprint(got["services"]), "["+test.services+"]", "services")
			if test.want == joined {
				return
			}
			check.Equal(t, got["status"], any(float64(test.status)), "status")
			for key, want := range map[string]string{"error": test.err, "answer": test.answer, "hint": test.hint} {
				value, _ := got[key].(string)
				check.Has(t, value, want, key)
			}
			check.ErrorIf(t, got["level"] != "warn" || got["hint"] == "", got)
		})
	}
}

func TestAfterATimeoutTheOperatorHasLeft(t *testing.T) {
	late := make(chan error, 1)
	onInvite(t, "app", func(i *wsgiparty.Invitation, r *http.Request) error {
		check.Nil(t, i.Operator.Connect("ping", partytest.Pong))
		<-r.Context().Done()
		partytest.Eventually(t, "the operator leaves", func() bool { return i.Operator.Connect("late", partytest.Pong) != nil })
		late <- i.Operator.Connect("late", partytest.Pong)
		return nil
	})
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\ninvite /__invite__/\ninvite_timeout 10ms\ntest_app app\n}")
	err := <-late
	check.ErrorIf(t, !errors.Is(err, wsgiparty.ErrLeft), "connecting after the time-out: %v", err)
	check.Equal(t, len(operatorOf(c, "main").Partyline().Services()), 0, "still connected")
}

func TestAnInviteThatIgnoresItsContextIsAbandoned(t *testing.T) {
	release := make(chan struct{})
	partytest.App(t, "app", func(w http.ResponseWriter, _ *http.Request, _ caddyhttp.Handler) error {
		<-release
		_, err := io.WriteString(w, "late")
		return err
	})
	c := partytest.NewCaddy(t)
	defer close(release)
	c.Site("wsgi_party main {\ninvite /__invite__/\ninvite_timeout 10ms\ntest_app app\n}\nrespond up")
	check.Equal(t, partytest.InviteLogged(t)["msg"], "invite failed")
}

func TestTheTimeoutIsForEachInvite(t *testing.T) {
	const takes = 50 * time.Millisecond
	var deadlines []time.Time
	onInvite(t, "app", func(i *wsgiparty.Invitation, r *http.Request) error {
		deadline, _ := r.Context().Deadline()
		deadlines = append(deadlines, deadline)
		time.Sleep(takes)
		return i.Operator.Connect("ping", partytest.Pong)
	})
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\ninvite_timeout 1m\ninvite /a/__invite__/ /b/__invite__/\ntest_app app\n}")
	c.ExpectAnswers("main", "ping", "pong", "pong")
	check.ErrorIf(t, len(deadlines) != 2 || deadlines[1].Sub(deadlines[0]) < takes, "they have to answer until %v", deadlines)
}

func TestOnlyTheFirstBytesOfAnAnswerAreLogged(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\ninvite /__invite__/\nrespond " + strings.Repeat("é", 3000) + "\n}")
	answer, _ := partytest.InviteLogged(t)["answer"].(string)
	check.ErrorIf(t, len(answer) != 200 || strings.Trim(answer, "é") != "", "%d bytes are logged: %s", len(answer), answer)
}

func TestTheStackOfAPanicIsLogged(t *testing.T) {
	partytest.App(t, "app", func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error { panic("oh no") })
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\ninvite /__invite__/\ntest_app app\n}")
	stack, _ := partytest.InviteLogged(t)["stack"].(string)
	check.ErrorIf(t, !strings.Contains(stack, t.Name()), "stack: %q", stack)
}
