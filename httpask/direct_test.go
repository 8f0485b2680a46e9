// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpask_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/wire"
)

// neverAsked is a handler of a guest that a direct ask is not for.
func neverAsked(t testing.TB) func(context.Context, any) (any, error) {
	return func(context.Context, any) (any, error) { t.Error("another guest is asked"); return nil, nil }
}

func TestAGuestAsksOneGuestFromOutside(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, two := c.LoadThreeGuests()
	shop := connectMain(c, "shop", "price", partytest.Answers(7))
	partytest.Connect(t, shop, "price", partytest.Declines)
	partytest.Connect(t, shop, "price", partytest.Fails)
	partytest.Connect(t, shop, "price", func(_ context.Context, payload any) (any, error) { return payload, nil })
	connectMain(c, "other", "price", neverAsked(t))
	const replies = `{"guest": "shop", "mount": "", "status": "answered"}, {"guest": "shop", "mount": "", "status": "declined"},
		{"guest": "shop", "mount": "", "status": "failed", "error": "guest \"shop\" failed to answer \"price\": oh no"}, {"guest": "shop", "mount": "", "status": "answered"}`
	all := `{"answers": [7, "hi"], "replies": [` + replies + `]}`
	c.ExpectAsk(partytest.Asking{Key: one, Path: "/price?guest=shop", Body: `"hi"`}, all)
	c.ExpectAsk(partytest.Asking{Key: one, Path: "/price?guest=shop&first"}, answered("7", "shop"))
	c.ExpectAsk(partytest.Asking{Key: one, Path: "/ping?guest=keyless"}, answered(`"keyless"`, "keyless /keyless"))
	// The guests of HTTP, whichever asks; and links, which last.
	c.ExpectAsk(partytest.Asking{Key: one, Path: "/ping?guest=two"}, answered(`"two"`, "two /two"))
	c.ExpectAsk(partytest.Asking{Key: two, Path: "/ping?guest=one"}, answered(`"one"`, "one /one"))
	c.ExpectAsk(partytest.Asking{Key: one, Path: "/url?guest=two", Body: `{"name": "home"}`}, lasting(answered(`"/two/"`, "two /two")))

	c.ExpectAsk(partytest.Asking{Key: one, Path: "/", Body: `[
		{"service": "price", "payload": "hi", "guest": "shop"},
		{"service": "price", "first": true, "guest": "shop"},
		{"service": "ping", "guest": null},
		{"service": "ping", "guest": "two"}
	]`}, "["+all+","+answered("7", "shop")+","+answered(`"two", "keyless"`, "two /two", "keyless /keyless")+","+answered(`"two"`, "two /two")+"]")
}

func TestAGuestThatAsksItselfFromOutsideGetsNothing(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, two := c.LoadThreeGuests()
	const nothing = `{"answers": [], "replies": []}`
	c.ExpectAsk(partytest.Asking{Key: one, Path: "/ping?guest=one"}, nothing)
	c.ExpectAsk(partytest.Asking{Key: two, Path: "/ping?guest=two&first"}, nothing)
	c.ExpectAsk(partytest.Asking{Key: one, Path: "/", Body: `[{"service": "ping", "guest": "one"}]`}, "["+nothing+"]")
}

func TestAnAskFromOutsideOfAGuestThatIsNotConnected(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := c.LoadThreeGuests()
	connectMain(c, "shop", "price", neverAsked(t))
	expect := func(service, guest string) {
		t.Helper()
		want := []string{`guest "` + guest + `" on partyline "main" is not connected under service "` + service + `"`}
		c.ExpectProblem(partytest.Asking{Key: one, Path: "/" + service + "?guest=" + guest}, http.StatusNotFound, want...)
		response := c.Ask(partytest.Asking{Key: one, Path: "/", Body: fmt.Sprintf(`[{"service": %q, "guest": %q}, {"service": "ping", "guest": "two"}]`, service, guest)})
		var results []json.RawMessage
		check.FatalIf(t, json.Unmarshal([]byte(response.Body), &results) != nil || len(results) != 2, "%s", response.Body)
		partytest.IsProblem(t, service+" of "+guest, string(results[0]), http.StatusNotFound, want...)
		check.Equal(t, partytest.CompactJSON(t, string(results[1])), partytest.CompactJSON(t, answered(`"two"`, "two /two")), "the ask behind it")
	}
	expect("price", "nobody")
	expect("price", "two")
	expect("ping", "shop")
	expect("missing", "shop")
	expect("price", "one") // who asks

	for path, want := range map[string]string{
		"/price?guest=": "guest is empty: write the guest's name", "/price?guest": "guest is empty", "/price?guest=shop&guest=two": "guest is written 2 times", "/price?guest=%zz": "%zz",
	} {
		c.ExpectProblem(partytest.Asking{Key: one, Path: path}, http.StatusBadRequest, want)
	}
	response := c.Ask(partytest.Asking{Key: one, Path: "/", Body: `[{"service": "price", "guest": ""}]`})
	partytest.IsProblem(t, "no name", strings.Trim(response.Body, "[]\n"), http.StatusBadRequest, "element 0 of the list: guest is empty")
	c.ExpectProblem(partytest.Asking{Key: one, Path: "/", Body: `[{"service": "price", "guest": 7}]`}, http.StatusBadRequest, "/0/guest is not a string")
}

func TestAnIgnoredGuestThatIsNotConnectedIsNoProblem(t *testing.T) {
	c := partytest.NewCaddy(t)
	key := partytest.Key(t, "asker")
	c.Around("ignore_missing_services\n" + partytest.Asker)
	connectMain(c, "shop", "price", neverAsked(t))
	const nothing = `{"answers": [], "replies": []}`
	c.ExpectAsk(partytest.Asking{Key: key, Path: "/price?guest=nobody"}, nothing)
	c.ExpectAsk(partytest.Asking{Key: key, Path: "/", Body: `[{"service": "price", "guest": "nobody"}, {"service": "missing", "guest": "shop"}]`}, "["+nothing+","+nothing+"]")
	c.ExpectProblem(partytest.Asking{Key: key, Path: "/price?guest="}, http.StatusBadRequest, "guest is empty")
}

// TestApplicationsThatAskEachOtherDirectlyEnd has each of two ask the other one for the service that it is asked for.
func TestApplicationsThatAskEachOtherDirectlyEnd(t *testing.T) {
	c := partytest.NewCaddy(t)
	var calls atomic.Int64
	other := map[string]string{"one": "two", "two": "one"}
	serve := func(a *partytest.Application, r *http.Request, service string) partytest.Reply {
		calls.Add(1)
		answers, err := answersBack(a, r, service+"?guest="+other[a.Name])
		if err != nil {
			return partytest.Answer(500, err.Error())
		}
		return partytest.Answer(200, append([]any{a.Name}, answers...))
	}
	one, two := c.NewGuest("one", serve), c.NewGuest("two", serve)
	c.Around(one.Directives("s") + two.Directives("s"))
	c.ExpectAsk(partytest.Asking{Key: one.Key, Path: "/s?guest=two"}, answered(`["two"]`, "two /two"))
	answers, err := operatorOf(c, "main").Ask(t.Context(), "one", "s", nil)
	check.ErrorIf(t, err != nil || strings.Join(strings.Fields(fmt.Sprintf("%s", answers)), "") != `[["one",["two"]]]`, "%s, %v", answers, err)
	check.Equal(t, calls.Load(), 3, "calls")
}

// TestABatchOfDirectAsksOfOneApplication waits for it although others have handlers in this process.
func TestABatchOfDirectAsksOfOneApplication(t *testing.T) {
	c := partytest.NewCaddy(t)
	var mu sync.Mutex
	var asked []string
	shop := c.NewGuest("shop", func(_ *partytest.Application, _ *http.Request, service string) partytest.Reply {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, service)
		return partytest.Answer(200, service)
	})
	key := partytest.Key(t, "asker")
	c.Around(shop.Directives("price", "stock") + partytest.Asker)
	connectMain(c, "other", "price", neverAsked(t))
	response := c.Ask(partytest.Asking{Key: key, Path: "/", Body: strings.ReplaceAll(listOf(40, "price"), "}", `,"guest":"shop"}`)})
	var results []wire.Asked
	partytest.Decode(t, response, &results)
	check.Equal(t, len(results), 40, "results")
	for i, result := range results {
		check.Equal(t, fmt.Sprintf("%s", result.Answers), `["price"]`, "result ", i)
	}
	check.Equal(t, len(asked), 40, "asks")
}
