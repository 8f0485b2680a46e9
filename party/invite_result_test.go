// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

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
