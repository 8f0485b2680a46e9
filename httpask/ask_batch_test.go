// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpask_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

func TestABatchOfAsksHasAResultForEachInOrder(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := c.LoadThreeGuests()
	connectMain(c, "slow", "slow", func(context.Context, any) (any, error) {
		time.Sleep(50 * time.Millisecond)
		return "slow", nil
	})
	connectMain(c, "echo", "echo", func(_ context.Context, payload any) (any, error) { return payload, nil })
	response := c.Ask(partytest.Asking{Key: one, Path: "/", Body: `[
		{"service": "slow"},
		{"service": "ping"},
		{"service": "ping", "first": true},
		{"service": "echo", "payload": {"n": 12345678901234567890}},
		{"service": "echo", "payload": null},
		{"service": "echo"},
		{"service": "nothing"},
		{},
		{"service": "", "payload": 1},
		null,
		{"service": "url", "payload": ["home", {}], "unknown": "member"}
	]`})
	var results []json.RawMessage
	if err := json.Unmarshal([]byte(response.Body), &results); err != nil || response.Status != http.StatusOK || len(results) != 11 {
		t.Fatalf("%d %s: %v", response.Status, response.Body, err)
	}
	for i, want := range map[int]string{
		0: answered(`"slow"`, "slow"), 1: answered(`"two", "keyless"`, "two /two", "keyless /keyless"), 2: answered(`"two"`, "two /two"),
		3: answered(`{"n": 12345678901234567890}`, "echo"), 4: answered("null", "echo"), 5: answered("null", "echo"), 10: lasting(answered(`"/two/"`, "two /two")),
	} {
		check.Equal(t, partytest.CompactJSON(t, string(results[i])), partytest.CompactJSON(t, want), "result ", i)
	}
	partytest.IsProblem(t, "result 6", string(results[6]), http.StatusNotFound, `"main"`, `"nothing"`)
	for _, i := range []int{7, 8, 9} {
		partytest.IsProblem(t, fmt.Sprint("result ", i), string(results[i]), http.StatusBadRequest, fmt.Sprintf("element %d ", i), "no service")
	}
	c.ExpectAsk(partytest.Asking{Key: one, Path: "/", Body: "[]"}, "[]")
	both := answered(`"two", "keyless"`, "two /two", "keyless /keyless")
	c.ExpectAsk(partytest.Asking{Key: one, Path: "/?first", Body: `[{"service": "ping", "first": false}]`}, "["+both+"]")
}

func TestWhatIsNoListOfAsksSaysSo(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := c.LoadThreeGuests()
	var asked atomic.Int64
	connectMain(c, "counting", "count", func(context.Context, any) (any, error) { return asked.Add(1), nil })
	for body, want := range map[string]string{
		``: "it is empty", `null`: "not a list", `{}`: "not a list", `{"a": 1, "a": 2}`: "not a list", `"ping"`: "not a list", `7`: "not a list",
		`[{"service": "count"}, "ping"]`: "/1 is not an object", `[[]]`: "/0 is not an object", `[1]`: "/0 is not an object",
		`[{"service": "count"}, {"service": 7}]`:                  "/1/service is not a string",
		`[{"service": "count", "first": "true"}]`:                 "/0/first is neither true nor false",
		`[{"service": "count"}`:                                   "EOF",
		`[{"service": "count"}] []`:                               "more than one JSON value, from byte 23 on",
		`[{"service": "count"}, {"service": "count", "payload"}]`: `within "/1/payload" after offset 53`,
		`[{"service": "count"}, {"payload": [1,]}]`:               `within "/1/payload" after offset 37`,
	} {
		c.ExpectProblem(partytest.Asking{Key: one, Path: "/", Body: body}, http.StatusBadRequest, `write a list of objects as in [{"service": "url", "payload": {"name": "home"}, "first": true}]: `, want)
	}
	n := asked.Load()
	check.ErrorIf(t, n > 0, "%d of them were asked", n)
}

func TestABatchIsAListOfUpTo256Asks(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := c.LoadThreeGuests()
	results := asked(t, c.Ask(partytest.Asking{Key: one, Path: "/", Body: listOf(256, "ping")}))
	check.Equal(t, len(results), 256, "results")
	for i, result := range results {
		check.Equal(t, fmt.Sprintf("%s", result.Answers), `["two" "keyless"]`, "result ", i)
	}
	var calls atomic.Int64
	connectMain(c, "counting", "ping", func(context.Context, any) (any, error) { return calls.Add(1), nil })
	c.ExpectProblem(partytest.Asking{Key: one, Path: "/", Body: listOf(257, "ping")}, http.StatusRequestEntityTooLarge, "257", "256", "another request")
	if n := calls.Load(); n > 0 {
		t.Errorf("%d of them were asked", n)
	}
}

// TestTheAsksOfABatchRunTogether has each wait for fifteen others.
func TestTheAsksOfABatchRunTogether(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := c.LoadThreeGuests()
	var here atomic.Int64
	all := make(chan struct{})
	partytest.ConnectRemote(t, operatorOf(c, "main").Partyline().Operator("waits"), "wait", func(ctx context.Context, _ any) (any, error) {
		if here.Add(1) == 16 {
			close(all)
		}
		select {
		case <-all:
			return "together", nil
		case <-time.After(time.Minute):
			return nil, errors.New("alone")
		}
	})
	response := c.Ask(partytest.Asking{Key: one, Path: "/", Body: listOf(50, "wait")})
	check.Equal(t, strings.Count(response.Body, `"answers":["together"]`), 50, "of 50: %.300s", response.Body)
}

// TestTheAsksOfBatchesWaitInLine has pages rendered at once ask more than a guest lets
// through of one asker: none fails for it.
func TestTheAsksOfBatchesWaitInLine(t *testing.T) {
	c := partytest.NewCaddy(t)
	var under, most atomic.Int64
	one := c.NewGuest("one", func(*partytest.Application, *http.Request, string) partytest.Reply {
		most.Store(max(most.Load(), under.Add(1)))
		defer under.Add(-1)
		time.Sleep(2 * time.Millisecond)
		return partytest.Answer(200, "answer")
	})
	asker := partytest.Key(t, "asker")
	c.Around(one.Directives("single", "double", "double") + partytest.Asker)
	for service, handlers := range map[string]int{"single": 1, "double": 2} {
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				response, err := c.TryAsk(t.Context(), partytest.Asking{Key: asker, Path: "/", Body: listOf(50, service)})
				if n := strings.Count(response.Body, `"status":"answered"`); err != nil || n != 50*handlers {
					t.Errorf("%s: %d of %d answered: %v %.300s", service, n, 50*handlers, err, response.Body)
				}
			})
		}
		group.Wait()
	}
	if n := most.Load(); n > 48 || n < 4 {
		t.Errorf("%d asks were under way together", n)
	}
}

// TestABatchDoesNotWaitForTheAskThatLedToIt has each ask of a batch come back to the
// guest, which asks a batch in turn.
func TestABatchDoesNotWaitForTheAskThatLedToIt(t *testing.T) {
	c := partytest.NewCaddy(t)
	serve := func(a *partytest.Application, r *http.Request, service string) partytest.Reply {
		body := map[string]string{"there": `[{"service": "back"}]`, "back": `[{"service": "last"}]`}[service]
		if body == "" {
			return partytest.Answer(200, "last")
		}
		response, err := c.TryAsk(r.Context(), partytest.Asking{Key: a.Key, Path: "/", Body: body, Header: http.Header{"Party-Token": r.Header["Party-Token"]}})
		var got []struct{ Answers []string }
		if err := errors.Join(err, json.Unmarshal([]byte(response.Body), &got)); err != nil || len(got) != 1 || len(got[0].Answers) != 1 {
			return partytest.Answer(500, response.Body)
		}
		return partytest.Answer(200, got[0].Answers[0])
	}
	one, two, three := c.NewGuest("one", serve), c.NewGuest("two", serve), c.NewGuest("three", serve)
	c.Around(one.Directives("back") + two.Directives("there") + three.Directives("last"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	response, err := c.TryAsk(ctx, partytest.Asking{Key: one.Key, Path: "/", Body: listOf(40, "there")})
	n := strings.Count(response.Body, `"answers":["last"]`)
	check.ErrorIf(t, err != nil || n != 40, "%d of 40: %v %.500s", n, err, response.Body)
}

// TestABatchIsAskedInTheContextOfItsToken has each ask of one skip who asks for it
// already.
func TestABatchIsAskedInTheContextOfItsToken(t *testing.T) {
	c := partytest.NewCaddy(t)
	one := c.NewGuest("one", func(a *partytest.Application, r *http.Request, service string) partytest.Reply {
		response, err := c.TryAsk(r.Context(), partytest.Asking{Key: a.Key, Path: "/", Body: `[{"service": "name"}, {"service": "other"}]`, Header: http.Header{"Party-Token": r.Header["Party-Token"]}})
		if err != nil {
			return partytest.Answer(500, err.Error())
		}
		return partytest.Answer(200, json.RawMessage(partytest.CompactJSON(t, response.Body)))
	})
	c.Around(one.Directives("name"))
	for _, guest := range []string{"x", "y"} {
		connectMain(c, guest, "name", partytest.Answers(guest))
		connectMain(c, guest, "other", partytest.Answers(guest))
	}
	answers, err := operatorOf(c, "main").Partyline().Operator("x").AskAround(t.Context(), "name", nil)
	check.FatalIf(t, err != nil || len(answers) != 2, answers, err)
	want := partytest.CompactJSON(t, `[
		{"answers": ["y"], "replies": [{"guest": "y", "mount": "", "status": "answered"}]},
		{"answers": ["x", "y"], "replies": [{"guest": "x", "mount": "", "status": "answered"}, {"guest": "y", "mount": "", "status": "answered"}]}]`)
	check.Equal(t, strings.TrimSpace(string(answers[0].(json.RawMessage))), want)
}
