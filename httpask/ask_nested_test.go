// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpask_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/token"
)

func TestTwoApplicationsAskEachOther(t *testing.T) {
	c := partytest.NewCaddy(t)
	other := map[string]string{"one": "two", "two": "one"}
	serve := func(a *partytest.Application, r *http.Request, service string) partytest.Reply {
		switch service {
		case "name":
			return partytest.Answer(200, a.Name)
		case "neighbour": // asked for by the page of the other
			answers, err := answersBack(a, r, "name")
			if err != nil || len(answers) != 1 {
				return partytest.Answer(500, fmt.Sprint(answers, err))
			}
			return partytest.Answer(200, fmt.Sprint(a.Name, " knows ", answers[0]))
		case "page":
			response, err := c.TryAsk(r.Context(), partytest.Asking{Key: a.Key, Path: "/neighbour"})
			if err != nil {
				return partytest.Answer(500, err.Error())
			}
			return partytest.Answer(response.Status, json.RawMessage(response.Body))
		}
		return partytest.Answer(404, nil)
	}
	one, two := c.NewGuest("one", serve), c.NewGuest("two", serve)
	c.Around(one.Directives("name", "neighbour") + two.Directives("name", "neighbour"))
	var group sync.WaitGroup
	for range 4 {
		for _, name := range []string{"one", "two"} {
			group.Go(func() {
				status, body, err := c.TryGet("/" + name + "/page")
				want := fmt.Sprintf(`"answers":["%s knows %s"]`, other[name], name)
				check.ErrorIf(t, err != nil || status != 200 || !strings.Contains(body, want), "%s: %d %s %v, want %s", name, status, body, err, want)
			})
		}
	}
	group.Wait()
}

// TestGuestsAreSkippedAcrossProcessesAsInOne has guests that ask around for the very
// service they are asked for before they answer: each combination of some in this
// process and some behind HTTP calls, and answers, what all in one process do.
func TestGuestsAreSkippedAcrossProcessesAsInOne(t *testing.T) {
	c := partytest.NewCaddy(t)
	var mu sync.Mutex
	var calls []string
	call := func(name string) {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, name)
	}
	called := func() []string {
		mu.Lock()
		defer mu.Unlock()
		all := slices.Sorted(slices.Values(calls))
		calls = nil
		return all
	}
	nesting := func(o *wsgiparty.Operator) wsgiparty.Handler {
		return func(ctx context.Context, _ any) (any, error) {
			call(o.Guest())
			answers, err := o.AskAround(ctx, "s", nil)
			if err != nil {
				return nil, err
			}
			return append([]any{o.Guest()}, answers...), nil
		}
	}
	apps := make(map[string]*partytest.Application)
	for _, name := range []string{"a", "b", "c"} {
		apps[name] = c.NewGuest(name, func(a *partytest.Application, r *http.Request, _ string) partytest.Reply {
			call(a.Name)
			answers, err := answersBack(a, r, "s")
			if err != nil {
				t.Errorf("%s is not answered: %v", a.Name, err)
				return partytest.Answer(500, err.Error())
			}
			return partytest.Answer(200, append([]any{a.Name}, answers...))
		})
	}
	for mask := 1; mask < 8; mask++ {
		reference := wsgiparty.NewPartyline("main", wsgiparty.Options{})
		directives := ""
		var local, remote []string
		for i, name := range []string{"a", "b", "c"} {
			if mask&(1<<i) != 0 {
				directives += apps[name].Directives("s")
				remote = append(remote, name)
			} else {
				local = append(local, name)
			}
		}
		check.Must(t, caddy.Stop())             // or the config before might still answer
		partytest.Client.CloseIdleConnections() // to it
		c.Around(directives)
		for _, name := range local {
			o := operatorOf(c, "main").Partyline().Operator(name)
			partytest.Connect(t, o, "s", nesting(o))
		}
		for _, name := range append(remote, local...) {
			o := reference.Operator(name)
			partytest.Connect(t, o, "s", nesting(o))
		}
		for _, asker := range []string{"", "a", "b", "c", "somebody"} {
			want := check.Value(reference.Operator(asker).AskAround(t.Context(), "s", nil))(t)
			wanted, _ := json.Marshal(want)
			wantCalls := called()
			expect := func(got any) {
				encoded, _ := json.Marshal(got)
				what := fmt.Sprintf("%q asks %q over HTTP and %q here", asker, remote, local)
				check.Equal(t, string(encoded), string(wanted), what)
				check.Slices(t, called(), wantCalls, what, ": calls")
			}
			expect(check.Value(operatorOf(c, "main").Partyline().Operator(asker).AskAround(t.Context(), "s", nil))(t))
			if slices.Contains(remote, asker) { // the same by the endpoint
				expect(asked(t, c.Ask(partytest.Asking{Key: apps[asker].Key, Path: "/s"}))[0].Answers)
			}
		}
	}
}

// TestAsksNestedTooDeepEnd has two applications ask each other for one service after
// the other.
func TestAsksNestedTooDeepEnd(t *testing.T) {
	c := partytest.NewCaddy(t)
	var depth atomic.Int64
	var deepest atomic.Value
	serve := func(a *partytest.Application, r *http.Request, service string) partytest.Reply {
		depth.Add(1)
		response, err := a.AskBack(r, string(rune(service[0]+1)))
		if err != nil {
			return partytest.Answer(500, err.Error())
		}
		if response.Status != 200 {
			deepest.Store(response)
			return partytest.Answer(200, "deep")
		}
		var got struct{ Answers []json.RawMessage }
		if err := json.Unmarshal([]byte(response.Body), &got); err != nil || len(got.Answers) != 1 {
			return partytest.Answer(500, response.Body)
		}
		return partytest.Answer(200, got.Answers[0])
	}
	one, two := c.NewGuest("one", serve), c.NewGuest("two", serve)
	c.Around(one.Directives("a", "c", "e", "g", "i", "k") + two.Directives("b", "d", "f", "h", "j", "l"))
	for range 2 { // nobody is worse off for it
		depth.Store(0)
		c.ExpectAsk(partytest.Asking{Key: two.Key, Path: "/a"}, answered(`"deep"`, "one /one"))
		check.Equal(t, depth.Load(), 8, "asks led to the deepest")
		last := deepest.Load().(partytest.Response)
		check.ErrorIf(t, last.Status != http.StatusLoopDetected || last.Header.Get("Content-Type") != "application/problem+json", "the ninth ask gets %d %v", last.Status, last.Header)
		partytest.IsProblem(t, "the ninth ask", last.Body, http.StatusLoopDetected, "too deep", "8")
	}
}

func TestATokenThatIsNotTheAskersOrOldIsRefused(t *testing.T) {
	c := partytest.NewCaddy(t)
	var mu sync.Mutex
	tokens := make(map[string]string)
	serve := func(a *partytest.Application, r *http.Request, _ string) partytest.Reply {
		mu.Lock()
		defer mu.Unlock()
		tokens[a.Name] = r.Header.Get("Party-Token")
		return partytest.Answer(200, a.Name)
	}
	one, two := c.NewGuest("one", serve), c.NewGuest("two", serve)
	c.Around(one.Directives("name") + two.Directives("name"))
	answers, err := operatorOf(c, "main").AskAround(t.Context(), "name", nil)
	check.FatalIf(t, err != nil || len(answers) != 2, answers, err)
	mu.Lock()
	ofOne, ofTwo := tokens["one"], tokens["two"]
	mu.Unlock()
	with := func(key, token string) partytest.Asking {
		return partytest.Asking{Key: key, Path: "/name", Header: http.Header{"Party-Token": {token}}}
	}
	// The one who was asked is not asking for it: both are called by nobody.
	c.ExpectAsk(with(one.Key, ofOne), answered(`"two"`, "two /two"))
	c.ExpectProblem(with(one.Key, ofTwo), http.StatusBadRequest, "Party-Token")
	c.ExpectProblem(with(two.Key, ofOne), http.StatusBadRequest, "Party-Token")
	for _, garbage := range []string{"x", "a.b.c", ofOne[:len(ofOne)-2], ofOne + "A", strings.Repeat("x", 9000)} {
		c.ExpectProblem(with(one.Key, garbage), http.StatusBadRequest, "Party-Token")
		c.ExpectProblem(partytest.Asking{Key: one.Key, Path: "/", Body: `[{"service": "name"}]`, Header: http.Header{"Party-Token": {garbage}}}, http.StatusBadRequest, "Party-Token")
	}
	c.ExpectAsk(with(one.Key, ""), answered(`"two"`, "two /two"))

	keys := check.Value(token.NewKeys([]string{one.Key}))(t)
	signed := func(guest string, at time.Time, asks int) string {
		path := make([]token.Ask, asks)
		for i := range path {
			path[i] = token.Ask{Guest: "g", Service: fmt.Sprint("s", i)}
		}
		return check.Value(keys.Sign(token.Token{Guest: guest, Method: "POST", URI: "/one/name", Mount: "/one", Path: path}, at))(t)
	}
	now := time.Now()
	c.ExpectProblem(with(one.Key, signed("two", now, 0)), http.StatusBadRequest, "another guest")
	c.ExpectProblem(with(one.Key, signed("one", now.Add(-2*time.Minute), 0)), http.StatusBadRequest, "expired")
	c.ExpectProblem(with(one.Key, signed("one", now.Add(2*time.Minute), 0)), http.StatusBadRequest, "future")
	c.ExpectAsk(with(one.Key, signed("one", now, 8)), answered(`"two"`, "two /two")) // who led there is not the guest's to say
	response := c.Ask(with(one.Key, signed("one", now.Add(-time.Minute), 7)))
	check.ErrorIf(t, response.Status != 200 || !strings.Contains(response.Body, `"answers":["two"]`), "%d %s", response.Status, response.Body)
}

// TestNothingOfAnAskIsForwardedButItsTrace has a guest that wants headers: it gets
// those of a visitor's request, and none of those of a request to ask.
func TestNothingOfAnAskIsForwardedButItsTrace(t *testing.T) {
	c := partytest.NewCaddy(t)
	one := c.NewGuest("one", func(_ *partytest.Application, r *http.Request, _ string) partytest.Reply {
		return partytest.Answer(200, []string{r.Header.Get("Authorization"), r.Header.Get("X-Thing"), r.Header.Get("Traceparent"), r.Header.Get("Cookie")})
	})
	two := partytest.Key(t, "two")
	partytest.App(t, "asks", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		answers, err := operatorOf(c, "main").AskAround(r.Context(), "header", nil)
		if err != nil {
			return err
		}
		_, err = w.Write(answers[0].(json.RawMessage))
		return err
	})
	c.Around(strings.Replace(one.Directives("header"), "timeout", "forward Authorization X-Thing Cookie\ntimeout", 1) +
		"invite /two/__invite__/\nhandle_path /two/* {\nwsgi_party_guest {\nkey {env.two_PARTY_KEY}\nanswer x y\n}\ntest_app asks\n}")
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	header := http.Header{"X-Thing": {"thing"}, "Traceparent": {trace}, "Cookie": {"a=b"}}
	onlyTrace := answered(`["", "", "`+trace+`", ""]`, "one /one")
	c.ExpectAsk(partytest.Asking{Key: two, Path: "/header", Header: header}, onlyTrace)
	c.ExpectAsk(partytest.Asking{Key: two, Path: "/", Body: `[{"service": "header"}]`, Header: header}, "["+onlyTrace+"]")
	header.Set("Authorization", "Basic eDp5")
	_, body := c.Do("GET", "/two/", "", header)
	check.Equal(t, strings.TrimSpace(body), `["Basic eDp5","thing","`+trace+`","a=b"]`, "a visitor's headers")
}
