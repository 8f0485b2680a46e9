// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/token"
	"github.com/wsgiparty/wsgiparty/internal/wire"
)

// declaredGuests are three guests that answer ping. The last one has no key.
const declaredGuests = `
	invite /one/__invite__/ /two/__invite__/ /keyless/__invite__/
	handle_path /one/* {
		wsgi_party_guest {
			key {env.one_PARTY_KEY}
			answer ping one
		}
		respond "page of one"
	}
	handle_path /two/* {
		wsgi_party_guest {
			key {env.two_PARTY_KEY} {env.next_PARTY_KEY}
			answer ping two
			url home /
		}
		respond "page of two"
	}
	handle_path /keyless/* {
		wsgi_party_guest {
			answer ping keyless
		}
		respond "page of keyless"
	}`

func TestAGuestAsksFromOutsideAndIsNotAskedItself(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, two := threeGuests(c)
	c.ExpectAsk(partytest.Asking{Key: one, Path: "/ping"}, `{
		"answers": ["two", "keyless"],
		"replies": [{"guest": "two", "mount": "/two", "status": "answered"}, {"guest": "keyless", "mount": "/keyless", "status": "answered"}]}`)
	c.ExpectAsk(partytest.Asking{Key: two, Path: "/ping"}, `{
		"answers": ["one", "keyless"],
		"replies": [{"guest": "one", "mount": "/one", "status": "answered"}, {"guest": "keyless", "mount": "/keyless", "status": "answered"}]}`)
	c.ExpectAsk(partytest.Asking{Key: one, Path: "/url", Body: `{"name": "home"}`}, `{
		"answers": ["/two/"], "replies": [{"guest": "two", "mount": "/two", "status": "answered"}]}`)
	// A service that only the asker has is not missing.
	c.ExpectAsk(partytest.Asking{Key: two, Path: "/url", Body: `{"name": "home"}`}, `{"answers": [], "replies": []}`)
}

func TestEachReplySaysWhatBecameOfIt(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := threeGuests(c)
	connectMain(c, "a", "s", partytest.Answers(nil))
	connectMain(c, "b", "s", partytest.Declines)
	connectMain(c, "c", "s", partytest.Fails)
	connectMain(c, "d", "s", partytest.Answers(map[string]any{"text": "<&>"}))
	c.ExpectAsk(partytest.Asking{Key: one, Path: "/s"}, `{
		"answers": [null, {"text": "<&>"}],
		"replies": [
			{"guest": "a", "mount": "", "status": "answered"},
			{"guest": "b", "mount": "", "status": "declined"},
			{"guest": "c", "mount": "", "status": "failed", "error": "guest \"c\" failed to answer \"s\": oh no"},
			{"guest": "d", "mount": "", "status": "answered"}]}`)
	if body := c.Ask(partytest.Asking{Key: one, Path: "/s"}).Body; !strings.Contains(body, "<&>") {
		t.Errorf("HTML in answers is not as it was: %s", body)
	}
}

func TestTheUnescapedPathOfAnAskIsTheService(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := partytest.Key(t, "one"), partytest.Key(t, "two")
	partytest.Key(t, "next")
	c.Load("ADDRESS {\nwsgi_party main {\n" + declaredGuests + "\n}\n}\nhttp://" + c.Endpoint + " {\nhandle_path /party/line/* {\nwsgi_party_ask main\n}\nwsgi_party_ask main\n}")
	for _, service := range []string{"ping", "a/b", "/a", "a/", "größe", "a b", "100%", "%2F", "a?b#c", "q;r", "Ping"} {
		operator := connectMain(c, "late", service, partytest.Answers(service))
		encoded, err := json.Marshal(service)
		if err != nil {
			t.Fatal(err)
		}
		for _, below := range []string{"/", "/party/line/"} {
			response := c.Ask(partytest.Asking{Key: one, Path: below + url.PathEscape(service)})
			var got struct{ Answers []json.RawMessage }
			if err := json.Unmarshal([]byte(response.Body), &got); err != nil || len(got.Answers) == 0 || string(got.Answers[len(got.Answers)-1]) != string(encoded) {
				t.Errorf("%q below %s: %d %s", service, below, response.Status, response.Body)
			}
		}
		operator.Leave()
	}
	c.ExpectAsk(partytest.Asking{Key: one, Path: "/party/line/", Body: `[{"service": "ping", "first": true}]`},
		`[{"answers": ["two"], "replies": [{"guest": "two", "mount": "/two", "status": "answered"}]}]`)
}

func TestThePayloadOfAnAskIsItsBody(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := threeGuests(c)
	connectMain(c, "echo", "echo", func(_ context.Context, payload any) (any, error) {
		return fmt.Sprintf("%T %v", payload, payload), nil
	})
	for body, want := range map[string]string{
		"":                                  "<nil> <nil>",
		" \r\n\t":                           "<nil> <nil>",
		"null":                              "<nil> <nil>",
		" true\n":                           "bool true",
		`"text"`:                            "string text",
		"12345678901234567890.10":           "json.Number 12345678901234567890.10",
		`{"id": 1e300}`:                     "map[string]interface {} map[id:1e300]",
		`["home", {"id": 1}]`:               "[]interface {} [home map[id:1]]",
		strings.Repeat(" ", 1<<20-2) + "{}": "map[string]interface {} map[]",
	} {
		encoded, _ := json.Marshal(want)
		c.ExpectAsk(partytest.Asking{Key: one, Path: "/echo", Body: body}, fmt.Sprintf(`{"answers": [%s], "replies": [{"guest": "echo", "mount": "", "status": "answered"}]}`, encoded))
	}
	for body, want := range map[string]string{
		"{":                "the payload is no JSON",
		"undefined":        "invalid character 'u'",
		"1 2":              "more than one JSON value, from byte 2 on",
		`{"name": "home"`:  "unexpected EOF",
		"\xef\xbb\xbfnull": "the payload is no JSON",
		"name=home":        "the payload is no JSON",
	} {
		c.ExpectProblem(partytest.Asking{Key: one, Path: "/echo", Body: body}, http.StatusBadRequest, want)
	}
	c.ExpectProblem(partytest.Asking{Key: one, Path: "/echo", Body: strings.Repeat(" ", 1<<20) + "1"}, http.StatusRequestEntityTooLarge, "larger than 1048576 bytes")
	c.ExpectProblem(partytest.Asking{Key: one, Path: "/", Body: strings.Repeat(" ", 1<<20) + "[]"}, http.StatusRequestEntityTooLarge, "larger than 1048576 bytes")
}

func TestFirstEndsAnAskFromOutside(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := threeGuests(c)
	var asked atomic.Int64
	connectMain(c, "last", "ping", func(context.Context, any) (any, error) { asked.Add(1); return "last", nil })
	first := `{"answers": ["two"], "replies": [{"guest": "two", "mount": "/two", "status": "answered"}]}`
	for _, query := range []string{"?first", "?first=", "?first=true", "?first=1", "?x=y&first"} {
		c.ExpectAsk(partytest.Asking{Key: one, Path: "/ping" + query}, first)
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("%d asks went on", n)
	}
	for _, query := range []string{"", "?first=false", "?last"} {
		asked.Store(0)
		if c.Ask(partytest.Asking{Key: one, Path: "/ping" + query}); asked.Load() != 1 {
			t.Errorf("%q asks %d of the others", query, asked.Load())
		}
	}
	c.ExpectProblem(partytest.Asking{Key: one, Path: "/ping?first=maybe"}, http.StatusBadRequest, "first", "maybe", "true or false")
	c.ExpectProblem(partytest.Asking{Key: one, Path: "/ping?first=%zz"}, http.StatusBadRequest, "%zz")
}

func TestABatchOfAsksHasAResultForEachInOrder(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := threeGuests(c)
	connectMain(c, "slow", "slow", func(context.Context, any) (any, error) {
		time.Sleep(50 * time.Millisecond)
		return "slow", nil
	})
	connectMain(c, "echo", "echo", func(_ context.Context, payload any) (any, error) { return payload, nil })
	mounts := map[string]string{"two": "/two", "keyless": "/keyless"}
	answered := func(guest string) string {
		return fmt.Sprintf(`{"guest": %q, "mount": %q, "status": "answered"}`, guest, mounts[guest])
	}
	one1 := func(guest, answer string) string {
		return fmt.Sprintf(`{"answers": [%s], "replies": [%s]}`, answer, answered(guest))
	}
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
	for i, want := range []string{
		one1("slow", `"slow"`),
		`{"answers": ["two", "keyless"], "replies": [` + answered("two") + "," + answered("keyless") + `]}`,
		one1("two", `"two"`),
		one1("echo", `{"n": 12345678901234567890}`),
		one1("echo", `null`),
		one1("echo", `null`),
		"", "", "", "",
		one1("two", `"/two/"`),
	} {
		if want == "" {
			continue
		}
		if got, want := partytest.CompactJSON(t, string(results[i])), partytest.CompactJSON(t, want); got != want {
			t.Errorf("result %d is %s, want %s", i, got, want)
		}
	}
	partytest.IsProblem(t, "result 6", string(results[6]), http.StatusNotFound, `"main"`, `"nothing"`)
	for _, i := range []int{7, 8, 9} {
		partytest.IsProblem(t, fmt.Sprint("result ", i), string(results[i]), http.StatusBadRequest, fmt.Sprintf("element %d ", i), "no service")
	}
	c.ExpectAsk(partytest.Asking{Key: one, Path: "/", Body: "[]"}, "[]")
	c.ExpectAsk(partytest.Asking{Key: one, Path: "/?first", Body: `[{"service": "ping", "first": false}]`},
		`[{"answers": ["two", "keyless"], "replies": [`+answered("two")+","+answered("keyless")+`]}]`)
}

func TestWhatIsNoListOfAsksSaysSo(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := threeGuests(c)
	var asked atomic.Int64
	connectMain(c, "counting", "count", func(context.Context, any) (any, error) { return asked.Add(1), nil })
	for body, want := range map[string]string{
		``: "EOF", `null`: "no list", `{}`: "no list", `"ping"`: "no list", `7`: "no list",
		`[{"service": "count"}, "ping"]`: "/1 is no object", `[[]]`: "/0 is no object",
		`[{"service": "count"}, {"service": 7}]`:                  "/1/service is not a string",
		`[{"service": "count", "first": "true"}]`:                 "/0/first is neither true nor false",
		`[{"service": "count"}`:                                   "EOF",
		`[{"service": "count"}] []`:                               "more than one JSON value, from byte 23 on",
		`[{"service": "count"}, {"service": "count", "payload"}]`: `within "/1/payload" after offset 53`,
		`[{"service": "count"}, {"payload": [1,]}]`:               `within "/1/payload" after offset 37`,
	} {
		c.ExpectProblem(partytest.Asking{Key: one, Path: "/", Body: body}, http.StatusBadRequest, `write a list of objects as in [{"service": "url"`, want)
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("%d of them were asked", n)
	}
}

func TestABatchIsAListOfUpTo256Asks(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := threeGuests(c)
	for _, body := range []string{"", " ", "null", "{}", `{"service": "ping"}`, `"ping"`, `["ping"]`, "[1]", `[{"service": 1}]`,
		`[{"service": "ping", "first": "yes"}]`, `[{"service": "ping"}] 1`, "[", `[{"service": "ping"},]`} {
		c.ExpectProblem(partytest.Asking{Key: one, Path: "/", Body: body}, http.StatusBadRequest, `[{"service": "url", "payload": {"name": "home"}, "first": true}]`)
	}
	batch := func(n int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(`{"service":"ping"},`, n), ",") + "]"
	}
	var results []struct{ Answers []string }
	response := c.Ask(partytest.Asking{Key: one, Path: "/", Body: batch(256)})
	if err := json.Unmarshal([]byte(response.Body), &results); err != nil || len(results) != 256 {
		t.Errorf("%d %v: %.200s", len(results), err, response.Body)
	}
	for i, result := range results {
		if !slices.Equal(result.Answers, []string{"two", "keyless"}) {
			t.Errorf("result %d: %v", i, result.Answers)
		}
	}
	var asked atomic.Int64
	connectMain(c, "counting", "ping", func(context.Context, any) (any, error) { return asked.Add(1), nil })
	c.ExpectProblem(partytest.Asking{Key: one, Path: "/", Body: batch(257)}, http.StatusRequestEntityTooLarge, "257", "256", "another request")
	if n := asked.Load(); n > 0 {
		t.Errorf("%d of them were asked", n)
	}
}

// TestTheAsksOfABatchRunTogether has each wait for fifteen others.
func TestTheAsksOfABatchRunTogether(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := threeGuests(c)
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
	response := c.Ask(partytest.Asking{Key: one, Path: "/", Body: "[" + strings.Repeat(`{"service": "wait"},`, 49) + `{"service": "wait"}]`})
	if n := strings.Count(response.Body, `"answers":["together"]`); n != 50 {
		t.Errorf("%d of 50: %.300s", n, response.Body)
	}
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
	two := partytest.Key(t, "two")
	c.Around(one.Directives("single", "double", "double") + `
		invite /two/__invite__/
		handle_path /two/* {
			wsgi_party_guest {
				key {env.two_PARTY_KEY}
				answer x y
			}
		}`)
	for service, handlers := range map[string]int{"single": 1, "double": 2} {
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				batch := "[" + strings.Repeat(`{"service": "`+service+`"},`, 49) + `{"service": "` + service + `"}]`
				response, err := c.TryAsk(t.Context(), partytest.Asking{Key: two, Path: "/", Body: batch})
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
	response, err := c.TryAsk(ctx, partytest.Asking{Key: one.Key, Path: "/", Body: "[" + strings.Repeat(`{"service": "there"},`, 39) + `{"service": "there"}]`})
	if n := strings.Count(response.Body, `"answers":["last"]`); err != nil || n != 40 {
		t.Errorf("%d of 40: %v %.500s", n, err, response.Body)
	}
}

func TestGuestsSeeWhoIsThere(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := threeGuests(c)
	there := `{
		"services": {"ping": ["one", "two", "keyless"], "url": ["two"]},
		"guests": {"one": ["ping"], "two": ["ping", "url"], "keyless": ["ping"]}}`
	c.ExpectAsk(partytest.Asking{Key: one, Method: "GET", Path: "/"}, there)
	operator := connectMain(c, "late", "only", partytest.Pong)
	operator.join()
	c.ExpectAsk(partytest.Asking{Key: one, Method: "GET", Path: "/"}, strings.NewReplacer(
		`"services": {`, `"services": {"only": ["late"], `, `"guests": {`, `"guests": {"late": ["only"], `).Replace(there))
	operator.Leave()
	silent := operatorOf(c, "main").Partyline().Operator("silent")
	silent.join()
	c.ExpectAsk(partytest.Asking{Key: one, Method: "GET", Path: "/"}, strings.Replace(there, `"guests": {`, `"guests": {"silent": [], `, 1))
	silent.Leave()
	head := c.Ask(partytest.Asking{Key: one, Method: "HEAD", Path: "/"})
	if head.Status != http.StatusOK || head.Header.Get("Content-Type") != "application/json" || head.Body != "" {
		t.Errorf("HEAD /: %d %v %q", head.Status, head.Header, head.Body)
	}
}

func TestOnlyTheMethodsOfAskingAreAllowed(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := threeGuests(c)
	for _, method := range []string{"GET", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"} {
		response := c.ExpectProblem(partytest.Asking{Key: one, Method: method, Path: "/ping"}, http.StatusMethodNotAllowed, method, "POST")
		if allow := response.Header.Get("Allow"); allow != "POST" {
			t.Errorf("%s /ping: Allow: %q", method, allow)
		}
		if method == "GET" {
			continue
		}
		response = c.ExpectProblem(partytest.Asking{Key: one, Method: method, Path: "/"}, http.StatusMethodNotAllowed, method, "GET, HEAD, POST")
		if allow := response.Header.Get("Allow"); allow != "GET, HEAD, POST" {
			t.Errorf("%s /: Allow: %q", method, allow)
		}
	}
	if head := c.Ask(partytest.Asking{Key: one, Method: "HEAD", Path: "/ping"}); head.Status != http.StatusMethodNotAllowed || head.Header.Get("Allow") != "POST" {
		t.Errorf("HEAD /ping: %d %v", head.Status, head.Header)
	}
}

func TestWhoAsksNeedsAKey(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, two := threeGuests(c)
	var asked atomic.Int64
	connectMain(c, "counting", "count", func(context.Context, any) (any, error) { return asked.Add(1), nil })
	authorization := func(values ...string) http.Header { return http.Header{"Authorization": values} }
	for _, header := range []http.Header{
		{}, authorization(""), authorization("Bearer"), authorization("Bearer "), authorization(one), authorization("Basic " + one),
		authorization("Bearer " + one + "x"), authorization("Bearer " + one[1:]), authorization("Bearer " + strings.ToUpper(one)),
		authorization("Bearer {env.one_PARTY_KEY}"), authorization("Bearer [redacted]"), authorization("Bearer " + one + " " + two),
		{"Party-Token": {one}}, {"Cookie": {"key=" + one}},
	} {
		for _, a := range []partytest.Asking{{Method: "GET", Path: "/"}, {Path: "/"}, {Path: "/count"}, {Path: "/count?key=" + one}, {Path: "/nothing"}, {Method: "PUT", Path: "/count"}, {Path: "/count", Body: "{"}} {
			a.Header = header
			response := c.ExpectProblem(a, http.StatusUnauthorized, `"main"`, "key", "Authorization", "Bearer")
			if response.Header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%v", response.Header)
			}
			if strings.Contains(response.Body, one) || strings.Contains(response.Body, two) {
				t.Errorf("a key is shown: %s", response.Body)
			}
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("asked %d times without a key", n)
	}
	// The scheme may be written in any way, and each of several keys counts.
	for _, authorized := range []string{"bearer " + two, "BEARER  " + two, "Bearer next" + strings.Repeat("-Key", 8)} {
		c.ExpectAsk(partytest.Asking{Path: "/ping", Header: authorization(authorized)}, `{
			"answers": ["one", "keyless"],
			"replies": [{"guest": "one", "mount": "/one", "status": "answered"}, {"guest": "keyless", "mount": "/keyless", "status": "answered"}]}`)
	}
}

// TestAKeyIsForOneParty has two, with an endpoint each.
func TestAKeyIsForOneParty(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, two := partytest.Key(t, "one"), partytest.Key(t, "two")
	c.Load(`ADDRESS {
		route {
			wsgi_party a {
				invite /one/__invite__/
				handle_path /one/* {
					wsgi_party_guest {
						key {env.one_PARTY_KEY}
						answer ping a
					}
				}
			}
			wsgi_party b {
				invite /two/__invite__/
				handle_path /two/* {
					wsgi_party_guest {
						key {env.two_PARTY_KEY}
						answer ping b
					}
				}
			}
		}
	}
	http://` + c.Endpoint + ` {
		handle_path /a/* {
			wsgi_party_ask a
		}
		handle_path /b/* {
			wsgi_party_ask b
		}
		handle_path /default/* {
			wsgi_party_ask
		}
	}`)
	c.ExpectAsk(partytest.Asking{Key: one, Path: "/a/ping"}, `{"answers": [], "replies": []}`)
	c.ExpectAsk(partytest.Asking{Key: two, Path: "/b/ping"}, `{"answers": [], "replies": []}`)
	c.ExpectProblem(partytest.Asking{Key: one, Path: "/b/ping"}, http.StatusUnauthorized, `"b"`)
	c.ExpectProblem(partytest.Asking{Key: two, Path: "/a/ping"}, http.StatusUnauthorized, `"a"`)
	c.ExpectProblem(partytest.Asking{Key: two, Path: "/default/ping"}, http.StatusUnauthorized, `"default"`)
	if entries := partytest.LogEntries(t, "no wsgi_party handler names the party that was joined"); len(entries) != 1 || entries[0]["party"] != "default" {
		t.Errorf("the log says of a party that is not there: %v", entries)
	}
}

func TestAnUnknownServiceIsNotFound(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := threeGuests(c)
	c.ExpectProblem(partytest.Asking{Key: one, Path: "/nothing"}, http.StatusNotFound, `"main"`, `"nothing"`)
	c.ExpectProblem(partytest.Asking{Key: one, Path: "/nothing?first", Body: "1"}, http.StatusNotFound, `"nothing"`)
	c.Around("ignore_missing_services\n" + declaredGuests)
	partytest.Eventually(t, "the new config answers", func() bool {
		response, err := c.TryAsk(t.Context(), partytest.Asking{Key: one, Path: "/nothing"})
		return err == nil && response.Status == http.StatusOK && partytest.CompactJSON(t, response.Body) == `{"answers":[],"replies":[]}`
	})
}

func TestTheAskedPartyIsThatAroundTheHandlerOrTheDefault(t *testing.T) {
	c := partytest.NewCaddy(t)
	one := partytest.Key(t, "one")
	guest := `
		invite /one/__invite__/
		handle_path /one/* {
			wsgi_party_guest {
				key {env.one_PARTY_KEY}
			}
			respond 404
		}`
	c.Load("ADDRESS {\nwsgi_party around {\n" + guest + "\n}\n}\n" + "http://" + c.Endpoint + " {\nwsgi_party around {\nhandle_path /inside/* {\nwsgi_party_ask\n}\n}\nwsgi_party_ask around\n}")
	partytest.Connect(t, operatorOf(t, "around").Partyline().Operator("other"), "which", partytest.Answers("around"))
	for _, path := range []string{"/which", "/inside/which"} {
		c.ExpectAsk(partytest.Asking{Key: one, Path: path}, `{"answers": ["around"], "replies": [{"guest": "other", "mount": "", "status": "answered"}]}`)
	}
	c.Load("ADDRESS {\nwsgi_party {\n" + guest + "\n}\n}\n" + "http://" + c.Endpoint + " {\nwsgi_party_ask\n}")
	partytest.Connect(t, operatorOf(t, "default").Partyline().Operator("other"), "which", partytest.Answers("default"))
	partytest.Eventually(t, "the new config answers", func() bool {
		response, err := c.TryAsk(t.Context(), partytest.Asking{Key: one, Path: "/which"})
		return err == nil && response.Status == http.StatusOK && strings.Contains(response.Body, `"answers":["default"]`)
	})
}

func TestTwoApplicationsAskEachOther(t *testing.T) {
	c := partytest.NewCaddy(t)
	other := map[string]string{"one": "two", "two": "one"}
	serve := func(a *partytest.Application, r *http.Request, service string) partytest.Reply {
		switch service {
		case "name":
			return partytest.Answer(200, a.Name)
		case "neighbour": // asked for by the page of the other
			response, err := a.AskBack(r, "name")
			var got struct{ Answers []string }
			if err := errors.Join(err, json.Unmarshal([]byte(response.Body), &got)); err != nil || len(got.Answers) != 1 {
				return partytest.Answer(500, fmt.Sprint(response, err))
			}
			return partytest.Answer(200, a.Name+" knows "+got.Answers[0])
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
				if err != nil || status != 200 || !strings.Contains(body, want) {
					t.Errorf("%s: %d %s %v, want %s", name, status, body, err, want)
				}
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
	nesting := func(o *Operator) Handler {
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
			response, err := a.AskBack(r, "s")
			var got struct{ Answers []any }
			if err := errors.Join(err, json.Unmarshal([]byte(response.Body), &got)); err != nil || response.Status != 200 {
				return partytest.Answer(500, fmt.Sprint(response, err))
			}
			return partytest.Answer(200, append([]any{a.Name}, got.Answers...))
		})
	}
	for mask := 1; mask < 8; mask++ {
		reference := NewPartyline("main", Options{})
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
		if err := caddy.Stop(); err != nil { // or the config before might still answer
			t.Fatal(err)
		}
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
			want, err := reference.Operator(asker).AskAround(t.Context(), "s", nil)
			if err != nil {
				t.Fatal(err)
			}
			wantCalls := called()
			got, err := operatorOf(c, "main").Partyline().Operator(asker).AskAround(t.Context(), "s", nil)
			if err != nil {
				t.Errorf("%q asks %q and %q: %v", asker, remote, local, err)
				called()
				continue
			}
			gotCalls := called()
			encoded, _ := json.Marshal(got)
			wanted, _ := json.Marshal(want)
			if string(encoded) != string(wanted) || !slices.Equal(gotCalls, wantCalls) {
				t.Errorf("%q asks %q over HTTP and %q here: %s, want %s; calls %q, want %q", asker, remote, local, encoded, wanted, gotCalls, wantCalls)
			}
			if slices.Contains(remote, asker) { // the same by the endpoint
				response := c.Ask(partytest.Asking{Key: apps[asker].Key, Path: "/s"})
				var result struct{ Answers []json.RawMessage }
				err := json.Unmarshal([]byte(response.Body), &result)
				encoded, _ := json.Marshal(result.Answers)
				if gotCalls := called(); err != nil || string(encoded) != string(wanted) || !slices.Equal(gotCalls, wantCalls) {
					t.Errorf("%q asks %q over HTTP and %q here: %s, want %s; calls %q, want %q", asker, remote, local, encoded, wanted, gotCalls, wantCalls)
				}
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
		c.ExpectAsk(partytest.Asking{Key: two.Key, Path: "/a"}, `{"answers": ["deep"], "replies": [{"guest": "one", "mount": "/one", "status": "answered"}]}`)
		if n := depth.Load(); n != 8 {
			t.Errorf("%d asks led to the deepest, want 8", n)
		}
		last := deepest.Load().(partytest.Response)
		if last.Status != http.StatusLoopDetected || last.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("the ninth ask gets %d %v", last.Status, last.Header)
		}
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
	if answers, err := operatorOf(c, "main").AskAround(t.Context(), "name", nil); err != nil || len(answers) != 2 {
		t.Fatal(answers, err)
	}
	mu.Lock()
	ofOne, ofTwo := tokens["one"], tokens["two"]
	mu.Unlock()
	with := func(key, token string) partytest.Asking {
		return partytest.Asking{Key: key, Path: "/name", Header: http.Header{"Party-Token": {token}}}
	}
	// The one who was asked is not asking for it: both are called by nobody.
	c.ExpectAsk(with(one.Key, ofOne), `{"answers": ["two"], "replies": [{"guest": "two", "mount": "/two", "status": "answered"}]}`)
	c.ExpectProblem(with(one.Key, ofTwo), http.StatusBadRequest, "Party-Token")
	c.ExpectProblem(with(two.Key, ofOne), http.StatusBadRequest, "Party-Token")
	for _, garbage := range []string{"x", "a.b.c", ofOne[:len(ofOne)-2], ofOne + "A", strings.Repeat("x", 9000)} {
		c.ExpectProblem(with(one.Key, garbage), http.StatusBadRequest, "Party-Token")
		c.ExpectProblem(partytest.Asking{Key: one.Key, Path: "/", Body: `[{"service": "name"}]`, Header: http.Header{"Party-Token": {garbage}}}, http.StatusBadRequest, "Party-Token")
	}
	c.ExpectAsk(with(one.Key, ""), `{"answers": ["two"], "replies": [{"guest": "two", "mount": "/two", "status": "answered"}]}`)

	keys, err := token.NewKeys([]string{one.Key})
	if err != nil {
		t.Fatal(err)
	}
	signed := func(guest string, at time.Time, asks int) string {
		path := make([]token.Ask, asks)
		for i := range path {
			path[i] = token.Ask{Guest: "g", Service: fmt.Sprint("s", i)}
		}
		text, err := keys.Sign(token.Token{Guest: guest, Method: "POST", URI: "/one/name", Mount: "/one", Path: path}, at)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	now := time.Now()
	c.ExpectProblem(with(one.Key, signed("two", now, 0)), http.StatusBadRequest, "another guest")
	c.ExpectProblem(with(one.Key, signed("one", now.Add(-2*time.Minute), 0)), http.StatusBadRequest, "expired")
	c.ExpectProblem(with(one.Key, signed("one", now.Add(2*time.Minute), 0)), http.StatusBadRequest, "future")
	c.ExpectAsk(with(one.Key, signed("one", now, 8)), `{"answers": ["two"], "replies": [{"guest": "two", "mount": "/two", "status": "answered"}]}`) // who led there is not the guest's to say
	if response := c.Ask(with(one.Key, signed("one", now.Add(-time.Minute), 7))); response.Status != 200 || !strings.Contains(response.Body, `"answers":["two"]`) {
		t.Errorf("%d %s", response.Status, response.Body)
	}
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
	if err != nil || len(answers) != 2 {
		t.Fatal(answers, err)
	}
	want := partytest.CompactJSON(t, `[
		{"answers": ["y"], "replies": [{"guest": "y", "mount": "", "status": "answered"}]},
		{"answers": ["x", "y"], "replies": [{"guest": "x", "mount": "", "status": "answered"}, {"guest": "y", "mount": "", "status": "answered"}]}]`)
	if got := string(answers[0].(json.RawMessage)); strings.TrimSpace(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
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
		operator, _ := Lookup("main")
		answers, err := operator.AskAround(r.Context(), "header", nil)
		if err != nil {
			return err
		}
		_, err = w.Write(answers[0].(json.RawMessage))
		return err
	})
	c.Around(strings.Replace(one.Directives("header"), "timeout", "forward Authorization X-Thing Cookie\ntimeout", 1) + `
		invite /two/__invite__/
		handle_path /two/* {
			wsgi_party_guest {
				key {env.two_PARTY_KEY}
				answer x y
			}
			test_app asks
		}`)
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	header := http.Header{"X-Thing": {"thing"}, "Traceparent": {trace}, "Cookie": {"a=b"}}
	c.ExpectAsk(partytest.Asking{Key: two, Path: "/header", Header: header}, fmt.Sprintf(
		`{"answers": [["", "", %[1]q, ""]], "replies": [{"guest": "one", "mount": "/one", "status": "answered"}]}`, trace))
	c.ExpectAsk(partytest.Asking{Key: two, Path: "/", Body: `[{"service": "header"}]`, Header: header}, fmt.Sprintf(
		`[{"answers": [["", "", %[1]q, ""]], "replies": [{"guest": "one", "mount": "/one", "status": "answered"}]}]`, trace))
	r, err := http.NewRequest("GET", "http://"+c.Address+"/two/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header.Clone()
	r.Header.Set("Authorization", "Basic eDp5")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || strings.TrimSpace(string(body)) != `["Basic eDp5","thing","`+trace+`","a=b"]` {
		t.Errorf("a visitor's headers: %s %v", body, err)
	}
}

func TestAnswersOfGoGuestsThatJSONCannotCarryComeAsTheirTypes(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := threeGuests(c)
	connectMain(c, "channel", "s", partytest.Answers(make(chan int)))
	connectMain(c, "panics", "s", func(context.Context, any) (any, error) { panic("help") })
	connectMain(c, "badly", "s", partytest.Answers(badJSON(func() ([]byte, error) { panic("no JSON") })))
	connectMain(c, "last", "s", partytest.Answers(1.5))
	for _, a := range []partytest.Asking{{Path: "/s"}, {Path: "/", Body: `[{"service": "s"}]`}} {
		a.Key = one
		response := c.Ask(a)
		var results []wire.Asked
		body := response.Body
		if a.Path != "/" {
			body = "[" + body + "]"
		}
		if err := json.Unmarshal([]byte(body), &results); err != nil || len(results) != 1 || len(results[0].Replies) != 4 {
			t.Fatalf("%d %s: %v", response.Status, response.Body, err)
		}
		replies, answers := results[0].Replies, results[0].Answers
		if len(answers) != 3 {
			t.Fatalf("%s", answers)
		}
		if r := replies[0]; r.Status != "answered" || string(answers[0]) != `"chan int"` || !strings.Contains(r.Note, "JSON cannot carry") {
			t.Errorf("a channel: %+v", r)
		}
		if r := replies[1]; r.Status != "failed" || !strings.Contains(r.Error, "help") {
			t.Errorf("a panic: %+v", r)
		}
		if r := replies[2]; r.Status != "answered" || !strings.Contains(string(answers[1]), "badJSON") || !strings.Contains(r.Note, "no JSON") {
			t.Errorf("a panic while it is written: %+v", r)
		}
		if r := replies[3]; r.Status != "answered" || string(answers[2]) != "1.5" {
			t.Errorf("a number: %+v", r)
		}
	}
}

// TestAnAskEndsWithItsClient has one of several asks, and of a batch, go.
func TestAnAskEndsWithItsClient(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := threeGuests(c)
	asked, ended := make(chan struct{}, 8), make(chan struct{}, 8)
	partytest.ConnectRemote(t, operatorOf(c, "main").Partyline().Operator("patient"), "wait", func(ctx context.Context, _ any) (any, error) {
		asked <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return nil, ctx.Err()
	})
	var after atomic.Int64
	connectMain(c, "next", "wait", func(context.Context, any) (any, error) { return after.Add(1), nil })
	for _, a := range []partytest.Asking{{Path: "/wait"}, {Path: "/", Body: `[{"service": "wait"}, {"service": "wait"}]`}} {
		a.Key = one
		asks := 1 + strings.Count(a.Body, ",")
		ctx, leave := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			_, err := c.TryAsk(ctx, a)
			gone <- err
		}()
		for range asks {
			<-asked
		}
		leave()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		for range asks {
			select {
			case <-ended:
			case <-time.After(time.Minute):
				t.Fatal("a handler goes on")
			}
		}
	}
	if err := caddy.Stop(); err != nil { // all requests have ended then
		t.Error(err)
	}
	if n := after.Load(); n > 0 {
		t.Errorf("%d were asked when the client had gone", n)
	}
	for line := range strings.Lines(partytest.Logged()) {
		if strings.Contains(line, `"level":"error"`) {
			t.Errorf("the log says %s", line)
		}
	}
}

// TestAnAskUnderWayOutlivesAReload lets the guest answer when another config runs.
func TestAnAskUnderWayOutlivesAReload(t *testing.T) {
	c := partytest.NewCaddy(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	one := c.NewGuest("one", func(a *partytest.Application, r *http.Request, _ string) partytest.Reply {
		close(asked)
		<-answer
		// It is the new config that is asked. For a moment after a reload, Caddy's old
		// server resets a connection now and then, or answers it.
		response, err := a.AskBack(r, "name")
		for deadline := time.Now().Add(time.Minute); (err != nil || !strings.Contains(response.Body, "after")) && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			response, err = a.AskBack(r, "name")
		}
		if err != nil {
			return partytest.Answer(500, err.Error())
		}
		return partytest.Answer(response.Status, json.RawMessage(partytest.CompactJSON(t, response.Body)))
	})
	two := partytest.Key(t, "two")
	config := func(name string) string {
		return one.Directives("slow") + "invite /two/__invite__/\nhandle_path /two/* {\nwsgi_party_guest {\nkey {env.two_PARTY_KEY}\nanswer name " + name + "\n}\n}"
	}
	c.Around(config("before"))
	type result struct {
		partytest.Response
		err error
	}
	got := make(chan result, 1)
	go func() {
		response, err := c.TryAsk(t.Context(), partytest.Asking{Key: two, Path: "/slow"})
		got <- result{response, err}
	}()
	<-asked
	loaded := make(chan error, 1)
	next := c.Adapt("ADDRESS {\nwsgi_party main {\n" + config("after") + "\n}\n}\nhttp://" + c.Endpoint + " {\nwsgi_party_ask main\n}")
	go func() { loaded <- caddy.Load(next, true) }()
	partytest.Eventually(t, "the new config answers", func() bool {
		response, err := c.TryAsk(t.Context(), partytest.Asking{Key: one.Key, Path: "/name"})
		return err == nil && strings.Contains(response.Body, "after")
	})
	close(answer)
	r := <-got
	if r.err != nil || r.Status != 200 {
		t.Fatalf("%d %s %v", r.Status, r.Body, r.err)
	}
	var asks wire.Asked
	if err := json.Unmarshal([]byte(r.Body), &asks); err != nil || len(asks.Answers) != 1 || !strings.Contains(string(asks.Answers[0]), `"answers":["after"]`) {
		t.Errorf("%s %v", r.Body, err)
	}
	if err := <-loaded; err != nil {
		t.Error(err)
	}
}

// TestNoAskGoesWrongWhileConfigsReload has several ask all the time.
func TestNoAskGoesWrongWhileConfigsReload(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, two := threeGuests(c)
	stop := make(chan struct{})
	var good atomic.Int64
	var group sync.WaitGroup
	for i, key := range []string{one, two, one, two} {
		group.Go(func() {
			want := []string{`["two","keyless"]`, `["one","keyless"]`}[i%2]
			for {
				select {
				case <-stop:
					return
				default:
				}
				a := partytest.Asking{Key: key, Path: "/ping"}
				if i > 1 {
					a = partytest.Asking{Key: key, Path: "/", Body: `[{"service": "ping"}, {"service": "ping"}]`}
				}
				response, err := c.TryAsk(t.Context(), a)
				if err != nil {
					continue // for a moment Caddy's old server resets connections
				}
				if n := strings.Count(response.Body, `"answers":`+want); response.Status != 200 || n != 1+i/2 {
					t.Errorf("%d %s", response.Status, response.Body)
					return
				}
				good.Add(1)
			}
		})
	}
	for i := range 10 {
		before := good.Load()
		c.Around(fmt.Sprintf("respond /%d %d\n", i, 200+i) + declaredGuests)
		partytest.Eventually(t, "asks go on", func() bool { return good.Load() > before+8 || t.Failed() })
	}
	close(stop)
	group.Wait()
}

func TestAskingOverHTTP2(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := partytest.Key(t, "one"), partytest.Key(t, "two")
	partytest.Key(t, "next")
	config := c.Adapt("ADDRESS {\nwsgi_party main {\n" + declaredGuests + "\n}\n}\nhttp://" + c.Endpoint + " {\nwsgi_party_ask main\n}")
	_, port, err := net.SplitHostPort(c.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	listen := []byte(`"listen":[":` + port + `"]`)
	if !bytes.Contains(config, listen) {
		t.Fatalf("%s has no %s", config, listen)
	}
	config = bytes.Replace(config, listen, append(slices.Clone(listen), []byte(`,"protocols":["h1","h2c"]`)...), 1)
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			r, err := http.NewRequest("POST", "http://"+c.Endpoint+"/ping?first", strings.NewReader("null"))
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("Authorization", "Bearer "+one)
			response, err := transport.RoundTrip(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil || response.ProtoMajor != 2 || response.StatusCode != 200 || !strings.Contains(string(body), `"answers":["two"]`) {
				t.Errorf("%s %d %s %v", response.Proto, response.StatusCode, body, err)
			}
		})
	}
	group.Wait()
}

func TestAskingOverAUnixSocket(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := partytest.Key(t, "one"), partytest.Key(t, "two")
	partytest.Key(t, "next")
	socket := filepath.Join(t.TempDir(), "party.sock")
	c.Load("ADDRESS {\nwsgi_party main {\n" + declaredGuests + "\n}\n}\nhttp:// {\nbind unix/" + socket + "\nwsgi_party_ask main\n}")
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	r, err := http.NewRequest("POST", "http://party/ping", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+one)
	response, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || response.StatusCode != 200 || !strings.Contains(string(body), `"answers":["two","keyless"]`) {
		t.Errorf("%d %s %v", response.StatusCode, body, err)
	}
}

// TestAskingBehindMTLS has an endpoint that wants a certificate.
func TestAskingBehindMTLS(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := partytest.Key(t, "one"), partytest.Key(t, "two")
	partytest.Key(t, "next")
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encodedKey, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: certificate}, "key": {Type: "PRIVATE KEY", Bytes: encodedKey}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, port, err := net.SplitHostPort(c.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	config := "ADDRESS {\nwsgi_party main {\n" + declaredGuests + "\n}\n}\nhttps://localhost:" + port + " {\ntls " + dir + "/cert " + dir + `/key {
		client_auth {
			mode require_and_verify
			trust_pool file ` + dir + `/cert
		}
	}
	wsgi_party_ask main
	}`
	c.Load(strings.Replace(config, "require_and_verify", "verify_if_given", 1))
	if entries := partytest.LogEntries(t, openMessage); len(entries) != 1 {
		t.Errorf("certificates that nobody has to have: %v", entries)
	}
	c.Load(config)
	if entries := partytest.LogEntries(t, openMessage); len(entries) != 1 {
		t.Errorf("certificates that everybody has to have: %v", entries)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}))
	ask := func(own ...tls.Certificate) (int, string, error) {
		r, err := http.NewRequest("POST", "https://localhost:"+port+"/ping", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+one)
		transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: own}}
		response, err := transport.RoundTrip(r)
		if err != nil {
			return 0, "", err
		}
		defer response.Body.Close()
		return response.StatusCode, partytest.ReadAll(t, response), nil
	}
	if status, body, err := ask(tls.Certificate{Certificate: [][]byte{certificate}, PrivateKey: private}); err != nil || status != 200 || !strings.Contains(body, `"answers":["two","keyless"]`) {
		t.Errorf("with a certificate: %d %s %v", status, body, err)
	}
	if status, body, err := ask(); err == nil {
		t.Errorf("without one, but with a key: %d %s", status, body)
	}
}

// TestKeysAreInNothingThatAnAskShows looks for them in the log, too.
func TestKeysAreInNothingThatAnAskShows(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, two := threeGuests(c)
	for _, a := range []partytest.Asking{
		{Key: one, Method: "GET", Path: "/"}, {Key: one, Path: "/ping"}, {Key: one, Path: "/nothing"}, {Key: two, Path: "/ping", Body: "{"},
		{Key: one + "x", Path: "/ping"}, {Key: one, Path: "/ping", Header: http.Header{"Party-Token": {"x"}}}, {Key: one, Method: "PUT", Path: "/"},
	} {
		if response := c.Ask(a); strings.Contains(response.Body, "-Key-Key") || strings.Contains(fmt.Sprint(response.Header), "-Key-Key") {
			t.Errorf("%s %s: %v %s", a.Method, a.Path, response.Header, response.Body)
		}
	}
	if i := strings.Index(partytest.Logged(), "-Key-Key"); i >= 0 {
		t.Errorf("the log has %q", partytest.Logged()[max(0, i-300):i+20])
	}
}

// threeGuests loads them, and returns the keys of the first two.
func threeGuests(c *partytest.Caddy) (one, two string) {
	c.Helper()
	one, two = partytest.Key(c, "one"), partytest.Key(c, "two")
	partytest.Key(c, "next")
	c.Around(declaredGuests)
	return one, two
}
