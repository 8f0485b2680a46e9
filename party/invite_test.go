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
)

func TestTheGuestsURIIsItsOwn(t *testing.T) {
	partytest.App(t, "app", func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		invitation, _ := wsgiparty.InvitationFrom(r)
		invitation.URI.Path = "/changed"
		return invitation.Operator.Connect("ping", partytest.Pong)
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
	for _, want := range []string{`guest "one" at /one/__invite__/`, "410", "strict_invites", "`not vars partyline one`"} {
		check.ErrorIf(t, err == nil || !strings.Contains(err.Error(), want), "the error does not contain %q: %v", want, err)
	}
	c.Expect("/", 200, "running")

	c.Site("wsgi_party main {\nstrict_invites\ninvite /one/__invite__/\ntest_app one\n}")
	c.ExpectAnswers("main", "ping", "pong")
}

func TestOneGuestsFaultIsNotAnothers(t *testing.T) {
	partytest.Guest(t, "good", "pong", "ping")
	partytest.App(t, "bad", func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		operator, _ := wsgiparty.OperatorFrom(r)
		if err := operator.Connect("ping", func(context.Context, any) (any, error) { panic("no pong") }); err != nil {
			return err
		}
		panic("no welcome")
	})
	c := partytest.NewCaddy(t)
	c.Site(`
	wsgi_party main {
		invite /bad/__invite__/ /good/__invite__/
		test_app /bad/* bad
		test_app /good/* good
	}`)
	answers, err := operatorOf(c, "main").AskAround(context.Background(), "ping", nil)
	check.Slices(t, answers, []any{"pong"}, "answers")
	var failure *wsgiparty.HandlerError
	check.ErrorIf(t, !errors.As(err, &failure) || failure.Guest != "bad", "error: %v", err)
}

func TestInvitesAreSentInOrder(t *testing.T) {
	var order []string
	partytest.App(t, "app", func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		operator, _ := wsgiparty.OperatorFrom(r)
		order = append(order, operator.Guest())
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
		"/blog/__invite__/?x=1": {
			"method": "GET", "host": "localhost", "uri": "/blog/__invite__/?x=1", "uri.path": "/blog/__invite__/", "scheme": "http",
			"vars.partyline": "blog", "remote.host": "192.0.2.1", "tls": "<nil>",
		},
		"https://example.com/blog/__invite__/": {
			"host": "example.com", "uri": "/blog/__invite__/", "scheme": "https", "vars.partyline": "blog", "local.port": "443",
		},
		"http://example.com:8080/__invite__/": {
			"hostport": "example.com:8080", "scheme": "http", "vars.partyline": "root", "local.port": "8080",
		},
	} {
		t.Run(uri, func(t *testing.T) {
			invited := false
			partytest.App(t, "app", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
				invitation, ok := wsgiparty.InvitationFrom(r)
				if !ok {
					return nil
				}
				invited = true
				replacer := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
				for name, want := range want {
					placeholder := "{http.request." + name + "}"
					if strings.HasPrefix(name, "vars.") {
						placeholder = "{http." + name + "}"
					}
					got := replacer.ReplaceAll(placeholder, "")
					if name == "tls" {
						got = fmt.Sprint(r.TLS)
					}
					check.Equal(t, got, want, placeholder)
				}
				check.ErrorIf(t, (r.TLS != nil) != strings.HasPrefix(uri, "https") || r.TLS != nil && (!r.TLS.HandshakeComplete || r.TLS.ServerName != "example.com"), "TLS: %+v", r.TLS)
				if server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); !ok || server.Name() != "srv0" {
					t.Errorf("the server is %v", server)
				}
				check.ErrorIf(t, invitation.URI.String() != uri || invitation.Prefix != "/apps", "invitation: %+v", invitation)
				w.WriteHeader(http.StatusOK)
				return nil
			})
			c := partytest.NewCaddy(t)
			// Host matchers inside the party work, remote_ip takes it for nobody.
			c.Site("wsgi_party main {\ninvite " + uri + "\nprefix /apps\n@here remote_ip private_ranges\nrespond @here local\n@hosts host localhost example.com\ntest_app @hosts app\n}")
			if !invited || partytest.InviteLogged(t)["msg"] != partytest.Message(wsgiparty.InviteJoined) {
				t.Error(partytest.InviteLogged(t))
			}
		})
	}
}

func TestPartylineKeyRenamesTheRequestVariable(t *testing.T) {
	partytest.App(t, "app", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		operator, _ := wsgiparty.OperatorFrom(r)
		if got := caddyhttp.GetVar(r.Context(), "line"); got != operator {
			t.Errorf("the variable holds %v", got)
		}
		if got := caddyhttp.GetVar(r.Context(), "partyline"); got != nil {
			t.Errorf("the variable of the default name holds %v", got)
		}
		return operator.Connect("ping", partytest.Pong)
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
		i, err := wsgiparty.Invite{URI: uri}.Parse()
		if err != nil {
			t.Errorf("%s: %v", uri, err)
		} else if (*i.Guest()) != want {
			t.Errorf("%s: guest %q, want %q", uri, (*i.Guest()), want)
		}
	}
}

// TestNestedParties has the outer party's invites run through the inner one, which
// has sent its own before.
func TestNestedParties(t *testing.T) {
	partytest.App(t, "app", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		if operator, ok := wsgiparty.OperatorFrom(r); ok {
			name := operator.Partyline().Name()
			return operator.Connect("party", func(context.Context, any) (any, error) { return name, nil })
		}
		_, err := io.WriteString(w, "app")
		return err
	})
	c := partytest.NewCaddy(t)
	c.Site(`
	wsgi_party outer {
		invite /app/__invite__/
		wsgi_party inner {
			invite /app/__invite__/
			test_app /app/* app
		}
	}
	respond next`)
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
		"a number":                {`"invites": [7]`, "an invite is the string of its URI, or an object"},
		"the same guest twice":    {`"invites": ["/a/__invite__/", "https://example.com/a/__invite__"]`, `guest "a" is invited twice: write "invite https://example.com/a/__invite__ as <guest>"`},
		"the root":                {`"invites": ["/"]`, `would hide everything`},
		"as in a matcher":         {`"invites": ["/blog/__invite__/*"]`, `leave out the *`},
		"the root of a host":      {`"invites": ["https://example.com"]`, `would hide everything`},
		"the root in disguise":    {`"invites": ["/.//x/..;y/"]`, `would hide everything`},
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
			err := caddy.Load([]byte(config), true)
			check.ErrorIf(t, err == nil || !strings.Contains(err.Error(), test.want), "the error does not contain %q: %v", test.want, err)
			c.Expect("/", 200, "running")
		})
	}
}

func TestAValidatedConfigLeavesNoTrace(t *testing.T) {
	invites := 0
	partytest.App(t, "app", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		if operator, ok := wsgiparty.OperatorFrom(r); ok {
			invites++
			return operator.Connect("ping", partytest.Pong)
		}
		return nil
	})
	c := partytest.NewCaddy(t)
	var config caddy.Config
	check.Must(t, caddy.StrictUnmarshalJSON(c.Adapt("ADDRESS {\nwsgi_party main {\ninvite /__invite__/\ntest_app app\n}\n}"), &config))
	check.Must(t, caddy.Validate(&config))
	check.Equal(t, invites, 1, "invites were sent")
	if _, ok := wsgiparty.Lookup("main"); ok {
		t.Error("the partyline is that of the running config")
	}
}

func TestInviteDuration(t *testing.T) {
	partytest.App(t, "app", func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		time.Sleep(20 * time.Millisecond)
		operator, _ := wsgiparty.OperatorFrom(r)
		return operator.Connect("ping", partytest.Pong)
	})
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\ninvite /__invite__/\ntest_app app\n}")
	seconds, _ := partytest.InviteLogged(t)["duration"].(float64)
	check.ErrorIf(t, seconds < .02 || seconds > 5, "duration: %v s", seconds)
}

// TestOutcomeOfAnInvite has what can become of an invite, with what is in the
// subtree: hazards of Caddy's own handlers among it.
func TestOutcomeOfAnInvite(t *testing.T) {
	take := func(r *http.Request, services ...string) {
		operator, ok := wsgiparty.OperatorFrom(r)
		if !ok {
			t.Error("the invite carries no operator")
			return
		}
		for _, s := range services {
			check.Nil(t, operator.Connect(s, partytest.Pong))
		}
	}
	for name, test := range map[string]struct {
		app        partytest.ServeFunc
		directives string // default: test_app app
		timeout    string // default: 30s
		want       wsgiparty.InviteResult
		status     int
		services   string
		err        string
		answer     string
		hint       string
	}{
		"connects and answers 200": {
			app: func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
				take(r, "ping", "url")
				_, err := io.WriteString(w, "welcome")
				return err
			},
			want: wsgiparty.InviteJoined, services: "ping url",
		},
		"takes the operator, connects nothing, answers 204": {
			app: func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
				take(r)
				w.WriteHeader(http.StatusNoContent)
				return nil
			},
			want: wsgiparty.InviteJoined,
		},
		"connects by way of the request variable": {
			app: func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
				operator := caddyhttp.GetVar(r.Context(), "partyline").(*wsgiparty.Operator)
				w.WriteHeader(http.StatusOK)
				return operator.Connect("ping", partytest.Pong)
			},
			want: wsgiparty.InviteJoined, services: "ping",
		},
		"connects and writes nothing, which net/http makes a 200": {
			app: func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
				take(r, "ping")
				return nil
			},
			want: wsgiparty.InviteJoined, services: "ping",
		},
		"early hints are no answer yet": {
			app: func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
				take(r)
				w.WriteHeader(http.StatusEarlyHints)
				w.WriteHeader(http.StatusOK)
				return nil
			},
			want: wsgiparty.InviteJoined,
		},
		"a catch-all's plain 200": {
			directives: `respond "hello"`,
			want:       wsgiparty.InviteNotAnswered, status: 200, answer: "hello", hint: "did not take the operator",
		},
		"nobody takes it": {
			directives: `respond /elsewhere "hello"`,
			want:       wsgiparty.InviteNotAnswered, status: 0, hint: "correct the invite's URI",
		},
		"404": {
			directives: `respond "no such page" 404`,
			want:       wsgiparty.InviteNotAnswered, status: 404, answer: "no such page", hint: "mount a guest there",
		},
		"file_server without the file": {
			directives: "root /nonexistent\nfile_server",
			want:       wsgiparty.InviteNotAnswered, status: 404,
		},
		"a redirect": {
			directives: "redir * /blog",
			want:       wsgiparty.InviteNotAnswered, status: 302, hint: "a redirect, to /blog, is not followed",
		},
		"403": {
			directives: "error 403",
			want:       wsgiparty.InviteRefused, status: 403, hint: "`not vars partyline app`",
		},
		"the guest takes the operator and refuses": {
			app: func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
				take(r)
				w.WriteHeader(http.StatusTeapot)
				return nil
			},
			want: wsgiparty.InviteRefused, status: 418,
		},
		"basic_auth": {
			directives: "basic_auth {\nbob $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n}\nrespond hello",
			want:       wsgiparty.InviteRefused, status: 401, err: "not authenticated", hint: "authentication",
		},
		"basic_auth that lets the party through": {
			directives: "@people not vars partyline app\nbasic_auth @people {\nbob $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n}\ntest_app app",
			app: func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
				take(r)
				w.WriteHeader(http.StatusOK)
				return nil
			},
			want: wsgiparty.InviteJoined,
		},
		"abort": {
			directives: "abort",
			want:       wsgiparty.InviteFailed, status: 0, err: "the response broke off", hint: "as `abort` does",
		},
		"a panic": {
			app:  func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error { panic("oh no") },
			want: wsgiparty.InviteFailed, status: 0, err: "panic: oh no",
		},
		"an error": {
			app:  func(http.ResponseWriter, *http.Request, caddyhttp.Handler) error { return errors.New("oh no") },
			want: wsgiparty.InviteFailed, status: 0, err: "oh no",
		},
		"500": {
			directives: `respond "<h1>Server Error</h1>" 500`,
			want:       wsgiparty.InviteFailed, status: 500, answer: "<h1>Server Error</h1>", hint: "what answers at this path fails",
		},
		"reverse_proxy with no backend": {
			directives: "reverse_proxy 127.0.0.1:1",
			want:       wsgiparty.InviteNotAnswered, status: 0, err: "an invite stays in this process", hint: "write `wsgi_party_guest` in front of",
		},
		"a hang until the request's context ends": {
			timeout: "100ms",
			app: func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
				take(r, "ping")
				<-r.Context().Done()
				return r.Context().Err()
			},
			want: wsgiparty.InviteFailed, status: 0, err: "it took longer than 100ms", hint: "invite_timeout",
		},
		"an answer, and then a hang": {
			timeout: "500ms",
			app: func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
				take(r, "ping")
				w.WriteHeader(http.StatusNoContent)
				<-r.Context().Done()
				return nil
			},
			want: wsgiparty.InviteFailed, status: 204, err: "it took longer than 500ms", hint: "invite_timeout",
		},
		"an answer, and then an error": {
			app: func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
				take(r, "ping")
				w.WriteHeader(http.StatusNotFound)
				return errors.New("oh no")
			},
			want: wsgiparty.InviteFailed, services: "ping", status: 404, err: "oh no", hint: "correct what fails",
		},
		"the guest takes the operator and answers nothing": {
			app: func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
				take(r)
				return nil
			},
			want: wsgiparty.InviteNotAnswered, status: 0, hint: "has to answer with a 2xx status",
		},
		"the guest takes the operator and redirects": {
			app: func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
				take(r)
				http.Redirect(w, r, "/elsewhere", http.StatusFound)
				return nil
			},
			want: wsgiparty.InviteNotAnswered, status: 302, hint: "has to answer with a 2xx status",
		},
		"304": {
			directives: `respond 304`,
			want:       wsgiparty.InviteNotAnswered, status: 304, hint: "did not take the operator",
		},
		"a stream without end": {
			app: func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
				take(r)
				for {
					if _, err := w.Write(make([]byte, 4096)); err != nil {
						return err
					}
					if err := http.NewResponseController(w).Flush(); err != nil {
						return err
					}
				}
			},
			want: wsgiparty.InviteFailed, status: 200, err: "longer than 1048576 bytes",
		},
		"hijacking": {
			app: func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
				take(r)
				if _, _, err := http.NewResponseController(w).Hijack(); !errors.Is(err, http.ErrNotSupported) {
					t.Errorf("hijacking: %v", err)
				}
				w.WriteHeader(http.StatusOK)
				return nil
			},
			want: wsgiparty.InviteJoined,
		},
		"templates, encode, groups and placeholders on the way": {
			directives: `
				encode
				templates
				vars local {http.request.local}
				header X-Local {http.request.local.host}:{http.request.local.port}
				header X-Shutdown {http.shutting_down}
				header X-Duration {http.request.duration_ms}
				header X-Id {http.request.uuid}
				rewrite /rewritten
				handle /elsewhere {
					respond wrong
				}
				handle /rewritten {
					request_body {
max_size 1MB
					}
					test_app app
				}`,
			app: func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
				take(r, "ping")
				w.Header().Set("Content-Type", "text/html")
				_, err := io.WriteString(w, `{{.ClientIP}} {{.RemoteIP}}`)
				return err
			},
			want: wsgiparty.InviteJoined, services: "ping",
		},
		"a template that fails": {
			directives: "templates\nheader Content-Type text/html\nrespond `{{httpInclude \"/\"}}`",
			want:       wsgiparty.InviteFailed, status: 500,
		},
		"invoke": {
			directives: "invoke named",
			want:       wsgiparty.InviteNotAnswered, status: 0, hint: "a named route, which invoke leads to, is not ready",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if test.app != nil {
				partytest.App(t, "app", test.app)
			}
			partytest.Guest(t, "named", "pong", "ping")
			c := partytest.NewCaddy(t)
			c.Load(fmt.Sprintf(`
			&(named) {
				route {
					test_app named
				}
			}
			ADDRESS {
				wsgi_party main {
					invite /app/__invite__/
					invite_timeout %s
					%s
				}
			}`, cmp.Or(test.timeout, "30s"), cmp.Or(test.directives, "test_app app")))
			got := partytest.InviteLogged(t)
			if got["msg"] != test.want.Message() {
				t.Fatalf("%v, want %q", got, test.want.Message())
			}
			if services := fmt.Sprint(got["services"]); services != "["+test.services+"]" {
				t.Errorf("services: %v, want [%s]", services, test.services)
			}
			if test.want == wsgiparty.InviteJoined {
				return
			}
			if got["status"] != float64(test.status) {
				t.Errorf("status: %v, want %d", got["status"], test.status)
			}
			for key, want := range map[string]string{"error": test.err, "answer": test.answer, "hint": test.hint} {
				if s, _ := got[key].(string); !strings.Contains(s, want) {
					t.Errorf("%s: %q does not contain %q", key, s, want)
				}
			}
			check.ErrorIf(t, got["level"] != "warn" || got["hint"] == "", got)
		})
	}
}

func TestAfterATimeoutTheOperatorHasLeft(t *testing.T) {
	late := make(chan error, 1)
	partytest.App(t, "app", func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		operator, _ := wsgiparty.OperatorFrom(r)
		if err := operator.Connect("ping", partytest.Pong); err != nil {
			return err
		}
		<-r.Context().Done()
		partytest.Eventually(t, "the operator leaves", func() bool { return operator.Connect("late", partytest.Pong) != nil })
		late <- operator.Connect("late", partytest.Pong)
		return nil
	})
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\ninvite /__invite__/\ninvite_timeout 10ms\ntest_app app\n}")
	if err := <-late; !errors.Is(err, wsgiparty.ErrLeft) {
		t.Errorf("connecting after the time-out: %v", err)
	}
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
	got := partytest.InviteLogged(t)
	check.ErrorIf(t, got["msg"] != partytest.Message(wsgiparty.InviteFailed), got)
}

func TestTheTimeoutIsForEachInvite(t *testing.T) {
	const takes = 50 * time.Millisecond
	var deadlines []time.Time
	partytest.App(t, "app", func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		deadline, _ := r.Context().Deadline()
		deadlines = append(deadlines, deadline)
		time.Sleep(takes)
		operator, _ := wsgiparty.OperatorFrom(r)
		return operator.Connect("ping", partytest.Pong)
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
