// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpask_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

func TestAGuestAsksFromOutsideAndIsNotAskedItself(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, two := c.LoadThreeGuests()
	c.ExpectAsk(partytest.Asking{Key: one, Path: "/ping"}, answered(`"two", "keyless"`, "two /two", "keyless /keyless"))
	c.ExpectAsk(partytest.Asking{Key: two, Path: "/ping"}, answered(`"one", "keyless"`, "one /one", "keyless /keyless"))
	c.ExpectAsk(partytest.Asking{Key: one, Path: "/url", Body: `{"name": "home"}`}, lasting(answered(`"/two/"`, "two /two")))
	// A service that only the asker has is not missing.
	c.ExpectAsk(partytest.Asking{Key: two, Path: "/url", Body: `{"name": "home"}`}, lasting(`{"answers": [], "replies": []}`))
}

func TestEachReplySaysWhatBecameOfIt(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := c.LoadThreeGuests()
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
	check.Has(t, c.Ask(partytest.Asking{Key: one, Path: "/s"}).Body, "<&>", "HTML in answers is not as it was")
}

func TestTheUnescapedPathOfAnAskIsTheService(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := partytest.Key(t, "one"), partytest.Key(t, "two")
	partytest.Key(t, "next")
	c.Load("ADDRESS {\nwsgi_party main {\n" + partytest.ThreeGuests + "\n}\n}\nhttp://" + c.Endpoint + " {\nhandle_path /party/line/* {\nwsgi_party_ask main\n}\nwsgi_party_ask main\n}")
	for _, service := range []string{"ping", "a/b", "/a", "a/", "größe", "a b", "100%", "%2F", "a?b#c", "q;r", "Ping"} {
		operator := connectMain(c, "late", service, partytest.Answers(service))
		encoded := check.Value(json.Marshal(service))(t)
		for _, below := range []string{"/", "/party/line/"} {
			response := c.Ask(partytest.Asking{Key: one, Path: below + url.PathEscape(service)})
			answers := asked(t, response)[0].Answers
			check.ErrorIf(t, len(answers) == 0 || string(answers[len(answers)-1]) != string(encoded), "%q below %s: %s", service, below, response.Body)
		}
		operator.Leave()
	}
	c.ExpectAsk(partytest.Asking{Key: one, Path: "/party/line/", Body: `[{"service": "ping", "first": true}]`}, "["+answered(`"two"`, "two /two")+"]")
}

func TestThePayloadOfAnAskIsItsBody(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := c.LoadThreeGuests()
	connectMain(c, "echo", "echo", func(_ context.Context, payload any) (any, error) { return fmt.Sprintf("%T %[1]v", payload), nil })
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
		c.ExpectAsk(partytest.Asking{Key: one, Path: "/echo", Body: body}, fmt.Sprintf(answered("%s", "echo"), encoded))
	}
	for body, want := range map[string]string{
		"{":                "the payload is not JSON",
		"undefined":        "invalid character 'u'",
		"1 2":              "more than one JSON value, from byte 2 on",
		`{"name": "home"`:  "unexpected EOF",
		"\xef\xbb\xbfnull": "the payload is not JSON",
		"name=home":        "the payload is not JSON",
	} {
		c.ExpectProblem(partytest.Asking{Key: one, Path: "/echo", Body: body}, http.StatusBadRequest, want)
	}
	for _, path := range []string{"/echo", "/echo?first=%zz", "/"} {
		c.ExpectProblem(partytest.Asking{Key: one, Path: path, Body: strings.Repeat(" ", 1<<20) + "[]"}, http.StatusRequestEntityTooLarge, "larger than 1048576 bytes")
	}
}

func TestFirstEndsAnAskFromOutside(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := c.LoadThreeGuests()
	var asked atomic.Int64
	connectMain(c, "last", "ping", func(context.Context, any) (any, error) { asked.Add(1); return "last", nil })
	first := answered(`"two"`, "two /two")
	for _, query := range []string{"?first", "?first=", "?first=true", "?first=1", "?x=y&first"} {
		c.ExpectAsk(partytest.Asking{Key: one, Path: "/ping" + query}, first)
	}
	check.Equal(t, asked.Load(), 0, "asks that went on")
	for _, query := range []string{"", "?first=false", "?last"} {
		asked.Store(0)
		c.Ask(partytest.Asking{Key: one, Path: "/ping" + query})
		check.Equal(t, asked.Load(), 1, query)
	}
	c.ExpectProblem(partytest.Asking{Key: one, Path: "/ping?first=maybe"}, http.StatusBadRequest, "first", "maybe", "true or false")
	c.ExpectProblem(partytest.Asking{Key: one, Path: "/ping?first=%zz"}, http.StatusBadRequest, "%zz")
}

func TestGuestsSeeWhoIsThere(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := c.LoadThreeGuests()
	there := `{
		"services": {"ping": ["one", "two", "keyless"], "url": ["two"]},
		"guests": {"one": ["ping"], "two": ["ping", "url"], "keyless": ["ping"]}}`
	c.ExpectAsk(partytest.Asking{Key: one, Method: "GET", Path: "/"}, there)
	operator := connectMain(c, "late", "only", partytest.Pong)
	operator.Join()
	c.ExpectAsk(partytest.Asking{Key: one, Method: "GET", Path: "/"}, strings.NewReplacer(
		`"services": {`, `"services": {"only": ["late"], `, `"guests": {`, `"guests": {"late": ["only"], `).Replace(there))
	operator.Leave()
	silent := operatorOf(c, "main").Partyline().Operator("silent")
	silent.Join()
	c.ExpectAsk(partytest.Asking{Key: one, Method: "GET", Path: "/"}, strings.Replace(there, `"guests": {`, `"guests": {"silent": [], `, 1))
	silent.Leave()
	head := c.Ask(partytest.Asking{Key: one, Method: "HEAD", Path: "/"})
	check.ErrorIf(t, head.Status != http.StatusOK || head.Header.Get("Content-Type") != "application/json" || head.Body != "", "HEAD /: %d %v %q", head.Status, head.Header, head.Body)
}

func TestOnlyTheMethodsOfAskingAreAllowed(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := c.LoadThreeGuests()
	for path, allowed := range map[string]string{"/ping": "POST", "/": "GET, HEAD, POST"} {
		for _, method := range []string{"GET", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"} {
			if !strings.Contains(allowed, method) {
				response := c.ExpectProblem(partytest.Asking{Key: one, Method: method, Path: path}, http.StatusMethodNotAllowed, method, allowed)
				check.Equal(t, response.Header.Get("Allow"), allowed, method, path)
			}
		}
	}
	head := c.Ask(partytest.Asking{Key: one, Method: "HEAD", Path: "/ping"})
	check.ErrorIf(t, head.Status != http.StatusMethodNotAllowed || head.Header.Get("Allow") != "POST", "HEAD /ping: %d %v", head.Status, head.Header)
}

func TestWhoAsksNeedsAKey(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, two := c.LoadThreeGuests()
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
			check.Equal(t, response.Header.Get("WWW-Authenticate"), "Bearer", response.Header)
			shown := fmt.Sprint(response)
			check.ErrorIf(t, strings.Contains(shown, one) || strings.Contains(shown, two), "a key is shown: %s", shown)
		}
	}
	n := asked.Load()
	check.ErrorIf(t, n > 0, "asked %d times without a key", n)
	// The scheme may be written in any way, and each of several keys counts.
	for _, authorized := range []string{"bearer " + two, "BEARER  " + two, "Bearer next" + strings.Repeat("-Key", 8)} {
		c.ExpectAsk(partytest.Asking{Path: "/ping", Header: authorization(authorized)}, answered(`"one", "keyless"`, "one /one", "keyless /keyless"))
	}
}

// TestAKeyIsForOneParty has two, with an endpoint each.
func TestAKeyIsForOneParty(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, two := partytest.Key(t, "one"), partytest.Key(t, "two")
	var parties string
	for party, guest := range map[string]string{"a": "one", "b": "two"} {
		parties += fmt.Sprintf("wsgi_party %s {\ninvite /%[2]s/__invite__/\nhandle_path /%[2]s/* {\nwsgi_party_guest {\nkey {env.%[2]s_PARTY_KEY}\nanswer ping %[1]s\n}\n}\n}\n", party, guest)
	}
	c.Load("ADDRESS {\nroute {\n" + parties + "}\n}\nhttp://" + c.Endpoint + ` {
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
	entries := partytest.LogEntries(t, "no wsgi_party handler names the party that was joined")
	check.ErrorIf(t, len(entries) != 1 || entries[0]["party"] != "default", "the log says of a party that is not there: %v", entries)
}

func TestAnUnknownServiceIsNotFound(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := c.LoadThreeGuests()
	c.ExpectProblem(partytest.Asking{Key: one, Path: "/nothing"}, http.StatusNotFound, `"main"`, `"nothing"`)
	c.ExpectProblem(partytest.Asking{Key: one, Path: "/nothing?first", Body: "1"}, http.StatusNotFound, `"nothing"`)
	c.Around("ignore_missing_services\n" + partytest.ThreeGuests)
	partytest.Eventually(t, "the new config answers", func() bool {
		response, err := c.TryAsk(t.Context(), partytest.Asking{Key: one, Path: "/nothing"})
		return err == nil && response.Status == http.StatusOK && partytest.CompactJSON(t, response.Body) == `{"answers":[],"replies":[]}`
	})
}

func TestTheAskedPartyIsThatAroundTheHandlerOrTheDefault(t *testing.T) {
	c := partytest.NewCaddy(t)
	one := partytest.Key(t, "one")
	const guest = "invite /one/__invite__/\nhandle_path /one/* {\nwsgi_party_guest {\nkey {env.one_PARTY_KEY}\n}\nrespond 404\n}"
	c.Load("ADDRESS {\nwsgi_party around {\n" + guest + "\n}\n}\n" + "http://" + c.Endpoint + " {\nwsgi_party around {\nhandle_path /inside/* {\nwsgi_party_ask\n}\n}\nwsgi_party_ask around\n}")
	partytest.Connect(t, operatorOf(t, "around").Partyline().Operator("other"), "which", partytest.Answers("around"))
	for _, path := range []string{"/which", "/inside/which"} {
		c.ExpectAsk(partytest.Asking{Key: one, Path: path}, answered(`"around"`, "other"))
	}
	c.Load("ADDRESS {\nwsgi_party {\n" + guest + "\n}\n}\n" + "http://" + c.Endpoint + " {\nwsgi_party_ask\n}")
	partytest.Connect(t, operatorOf(t, "default").Partyline().Operator("other"), "which", partytest.Answers("default"))
	partytest.Eventually(t, "the new config answers", func() bool {
		response, err := c.TryAsk(t.Context(), partytest.Asking{Key: one, Path: "/which"})
		return err == nil && response.Status == http.StatusOK && strings.Contains(response.Body, `"answers":["default"]`)
	})
}

func TestAnswersOfGoGuestsThatJSONCannotCarryComeAsTheirTypes(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := c.LoadThreeGuests()
	connectMain(c, "channel", "s", partytest.Answers(make(chan int)))
	connectMain(c, "panics", "s", func(context.Context, any) (any, error) { panic("help") })
	connectMain(c, "badly", "s", partytest.Answers(partytest.BadJSON(func() ([]byte, error) { panic("no JSON") })))
	connectMain(c, "last", "s", partytest.Answers(1.5))
	for _, a := range []partytest.Asking{{Key: one, Path: "/s"}, {Key: one, Path: "/", Body: `[{"service": "s"}]`}} {
		results := asked(t, c.Ask(a))
		check.FatalIf(t, len(results) != 1 || len(results[0].Replies) != 4 || len(results[0].Answers) != 3, "%+v", results)
		replies, answers := results[0].Replies, results[0].Answers
		channel, panics, badly, last := replies[0], replies[1], replies[2], replies[3]
		check.ErrorIf(t, channel.Status != "answered" || string(answers[0]) != `"chan int"` || !strings.Contains(channel.Note, "JSON cannot carry"), "%+v", channel)
		check.ErrorIf(t, panics.Status != "failed" || !strings.Contains(panics.Error, "help"), "%+v", panics)
		check.ErrorIf(t, badly.Status != "answered" || !strings.Contains(string(answers[1]), "BadJSON") || !strings.Contains(badly.Note, "no JSON"), "%+v", badly)
		check.ErrorIf(t, last.Status != "answered" || string(answers[2]) != "1.5", "%+v", last)
	}
}
