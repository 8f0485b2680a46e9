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
		"the guest takes the operator and answers nothing": {app: takes(nothing), want: notAnswered, hint: "has to answer with a 2xx status"},
		"the guest takes the operator and redirects":       {app: takes(redirects), want: notAnswered, status: 302, hint: "has to answer with a 2xx status"},
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
