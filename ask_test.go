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
	"net/http/httptest"
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

	"github.com/wsgiparty/wsgiparty/internal/testport"
	"github.com/wsgiparty/wsgiparty/internal/token"
	"github.com/wsgiparty/wsgiparty/internal/wire"
)

// askTest is a Caddy at whose endpoint guests ask.
type askTest struct {
	*testCaddy
	endpoint string
}

func newAskTest(t testing.TB) *askTest {
	t.Helper()
	return &askTest{newCaddy(t), testport.Address(t)}
}

// around loads a party main with these directives, and an endpoint to ask it.
func (c *askTest) around(directives string) {
	c.t.Helper()
	c.load("ADDRESS {\nwsgi_party main {\n" + directives + "\n}\n}\nhttp://" + c.endpoint + " {\nwsgi_party_ask main\n}")
}

// keyOf makes a key for the guest, which the config has as {env.GUEST_PARTY_KEY}.
func keyOf(t *testing.T, guest string) string {
	t.Helper()
	key := guest + strings.Repeat("-key", 8)
	t.Setenv(guest+"_PARTY_KEY", key)
	return key
}

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

// threeGuests loads them, and returns the keys of the first two.
func (c *askTest) threeGuests(t *testing.T) (one, two string) {
	t.Helper()
	one, two = keyOf(t, "one"), keyOf(t, "two")
	keyOf(t, "next")
	c.around(declaredGuests)
	return one, two
}

// asking is a request to the endpoint.
type asking struct {
	key, method, path, body string
	header                  http.Header
}

func (c *askTest) try(ctx context.Context, a asking) (adminResponse, error) {
	method := a.method
	if method == "" {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+c.endpoint+a.path, strings.NewReader(a.body))
	if err != nil {
		return adminResponse{}, err
	}
	for name, values := range a.header {
		r.Header[name] = values
	}
	if a.key != "" {
		r.Header.Set("Authorization", "Bearer "+a.key)
	}
	response, err := adminClient.Do(r)
	if err != nil {
		return adminResponse{}, err
	}
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	return adminResponse{response.StatusCode, response.Header, string(read)}, err
}

func (c *askTest) do(a asking) adminResponse {
	c.t.Helper()
	response, err := c.try(context.Background(), a)
	if err != nil {
		c.t.Fatal(err)
	}
	return response
}

// compactJSON returns JSON as encoding/json writes it, with all digits.
func compactJSON(t testing.TB, text string) string {
	t.Helper()
	value, err := wire.ParseJSON([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	plain, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}

// gives fails the test unless the answer is that JSON.
func (c *askTest) gives(a asking, want string) {
	c.t.Helper()
	response := c.do(a)
	if response.status != http.StatusOK || response.header.Get("Content-Type") != "application/json" || response.header.Get("Cache-Control") != "no-store" {
		c.t.Errorf("%s %s: %d %v %s", a.method, a.path, response.status, response.header, response.body)
		return
	}
	if got, want := compactJSON(c.t, response.body), compactJSON(c.t, want); got != want {
		c.t.Errorf("%s %s %.200s:\n%s\nwant\n%s", a.method, a.path, a.body, got, want)
	}
}

// isProblem fails the test unless the JSON is a problem as RFC 9457 has it, with all
// of these in the detail.
func isProblem(t testing.TB, what, body string, status int, want ...string) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(body))
	decoder.DisallowUnknownFields()
	var problem struct {
		Type, Title, Detail string
		Status              int
	}
	if err := decoder.Decode(&problem); err != nil || problem.Type != "about:blank" || problem.Title != http.StatusText(status) || problem.Status != status {
		t.Errorf("%s: %q is no problem of status %d: %v", what, body, status, err)
	}
	for _, part := range want {
		if !strings.Contains(problem.Detail, part) {
			t.Errorf("%s: the detail does not contain %q: %s", what, part, problem.Detail)
		}
	}
}

// fails fails the test unless the answer is a problem.
func (c *askTest) fails(a asking, status int, want ...string) adminResponse {
	c.t.Helper()
	response := c.do(a)
	what := fmt.Sprintf("%s %s %.100q", a.method, a.path, a.body)
	if response.status != status || response.header.Get("Content-Type") != "application/problem+json" {
		c.t.Errorf("%s: %d %s, want %d", what, response.status, response.header.Get("Content-Type"), status)
	}
	isProblem(c.t, what, response.body, status, want...)
	return response
}

// joined connects a handler under the service of the running config's party.
func (c *askTest) joined(guest, service string, h Handler) *Operator {
	c.t.Helper()
	operator := c.line("main").Partyline().Operator(guest)
	connect(c.t, operator, service, h)
	return operator
}

func TestAGuestAsksFromOutsideAndIsNotAskedItself(t *testing.T) {
	c := newAskTest(t)
	one, two := c.threeGuests(t)
	c.gives(asking{key: one, path: "/ping"}, `{
		"answers": ["two", "keyless"],
		"replies": [{"guest": "two", "mount": "/two", "status": "answered"}, {"guest": "keyless", "mount": "/keyless", "status": "answered"}]}`)
	c.gives(asking{key: two, path: "/ping"}, `{
		"answers": ["one", "keyless"],
		"replies": [{"guest": "one", "mount": "/one", "status": "answered"}, {"guest": "keyless", "mount": "/keyless", "status": "answered"}]}`)
	c.gives(asking{key: one, path: "/url", body: `{"name": "home"}`}, `{
		"answers": ["/two/"], "replies": [{"guest": "two", "mount": "/two", "status": "answered"}]}`)
	// A service that only the asker has is not missing.
	c.gives(asking{key: two, path: "/url", body: `{"name": "home"}`}, `{"answers": [], "replies": []}`)
}

func TestEachReplySaysWhatBecameOfIt(t *testing.T) {
	c := newAskTest(t)
	one, _ := c.threeGuests(t)
	c.joined("a", "s", answers(nil))
	c.joined("b", "s", declining)
	c.joined("c", "s", failing)
	c.joined("d", "s", answers(map[string]any{"text": "<&>"}))
	c.gives(asking{key: one, path: "/s"}, `{
		"answers": [null, {"text": "<&>"}],
		"replies": [
			{"guest": "a", "mount": "", "status": "answered"},
			{"guest": "b", "mount": "", "status": "declined"},
			{"guest": "c", "mount": "", "status": "failed", "error": "guest \"c\" failed to answer \"s\": oh no"},
			{"guest": "d", "mount": "", "status": "answered"}]}`)
	if body := c.do(asking{key: one, path: "/s"}).body; !strings.Contains(body, "<&>") {
		t.Errorf("HTML in answers is not as it was: %s", body)
	}
}

func TestTheUnescapedPathOfAnAskIsTheService(t *testing.T) {
	c := newAskTest(t)
	one, _ := keyOf(t, "one"), keyOf(t, "two")
	keyOf(t, "next")
	c.load("ADDRESS {\nwsgi_party main {\n" + declaredGuests + "\n}\n}\nhttp://" + c.endpoint + " {\nhandle_path /party/line/* {\nwsgi_party_ask main\n}\nwsgi_party_ask main\n}")
	for _, service := range []string{"ping", "a/b", "/a", "a/", "größe", "a b", "100%", "%2F", "a?b#c", "q;r", "Ping"} {
		operator := c.joined("late", service, answers(service))
		encoded, err := json.Marshal(service)
		if err != nil {
			t.Fatal(err)
		}
		for _, below := range []string{"/", "/party/line/"} {
			response := c.do(asking{key: one, path: below + url.PathEscape(service)})
			var got struct{ Answers []json.RawMessage }
			if err := json.Unmarshal([]byte(response.body), &got); err != nil || len(got.Answers) == 0 || string(got.Answers[len(got.Answers)-1]) != string(encoded) {
				t.Errorf("%q below %s: %d %s", service, below, response.status, response.body)
			}
		}
		operator.Leave()
	}
	c.gives(asking{key: one, path: "/party/line/", body: `[{"service": "ping", "first": true}]`},
		`[{"answers": ["two"], "replies": [{"guest": "two", "mount": "/two", "status": "answered"}]}]`)
}

func TestThePayloadOfAnAskIsItsBody(t *testing.T) {
	c := newAskTest(t)
	one, _ := c.threeGuests(t)
	c.joined("echo", "echo", func(_ context.Context, payload any) (any, error) {
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
		c.gives(asking{key: one, path: "/echo", body: body}, fmt.Sprintf(`{"answers": [%s], "replies": [{"guest": "echo", "mount": "", "status": "answered"}]}`, encoded))
	}
	for body, want := range map[string]string{
		"{":                "the payload is no JSON",
		"undefined":        "invalid character 'u'",
		"1 2":              "more than one JSON value, from byte 2 on",
		`{"name": "home"`:  "unexpected EOF",
		"\xef\xbb\xbfnull": "the payload is no JSON",
		"name=home":        "the payload is no JSON",
	} {
		c.fails(asking{key: one, path: "/echo", body: body}, http.StatusBadRequest, want)
	}
	c.fails(asking{key: one, path: "/echo", body: strings.Repeat(" ", 1<<20) + "1"}, http.StatusRequestEntityTooLarge, "larger than 1048576 bytes")
	c.fails(asking{key: one, path: "/", body: strings.Repeat(" ", 1<<20) + "[]"}, http.StatusRequestEntityTooLarge, "larger than 1048576 bytes")
}

func TestFirstEndsAnAskFromOutside(t *testing.T) {
	c := newAskTest(t)
	one, _ := c.threeGuests(t)
	var asked atomic.Int64
	c.joined("last", "ping", func(context.Context, any) (any, error) { asked.Add(1); return "last", nil })
	first := `{"answers": ["two"], "replies": [{"guest": "two", "mount": "/two", "status": "answered"}]}`
	for _, query := range []string{"?first", "?first=", "?first=true", "?first=1", "?x=y&first"} {
		c.gives(asking{key: one, path: "/ping" + query}, first)
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("%d asks went on", n)
	}
	for _, query := range []string{"", "?first=false", "?last"} {
		asked.Store(0)
		if c.do(asking{key: one, path: "/ping" + query}); asked.Load() != 1 {
			t.Errorf("%q asks %d of the others", query, asked.Load())
		}
	}
	c.fails(asking{key: one, path: "/ping?first=maybe"}, http.StatusBadRequest, "first", "maybe", "true or false")
	c.fails(asking{key: one, path: "/ping?first=%zz"}, http.StatusBadRequest, "%zz")
}

func TestABatchOfAsksHasAResultForEachInOrder(t *testing.T) {
	c := newAskTest(t)
	one, _ := c.threeGuests(t)
	c.joined("slow", "slow", func(context.Context, any) (any, error) {
		time.Sleep(50 * time.Millisecond)
		return "slow", nil
	})
	c.joined("echo", "echo", func(_ context.Context, payload any) (any, error) { return payload, nil })
	mounts := map[string]string{"two": "/two", "keyless": "/keyless"}
	answered := func(guest string) string {
		return fmt.Sprintf(`{"guest": %q, "mount": %q, "status": "answered"}`, guest, mounts[guest])
	}
	one1 := func(guest, answer string) string {
		return fmt.Sprintf(`{"answers": [%s], "replies": [%s]}`, answer, answered(guest))
	}
	response := c.do(asking{key: one, path: "/", body: `[
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
	if err := json.Unmarshal([]byte(response.body), &results); err != nil || response.status != http.StatusOK || len(results) != 11 {
		t.Fatalf("%d %s: %v", response.status, response.body, err)
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
		if got, want := compactJSON(t, string(results[i])), compactJSON(t, want); got != want {
			t.Errorf("result %d is %s, want %s", i, got, want)
		}
	}
	isProblem(t, "result 6", string(results[6]), http.StatusNotFound, `"main"`, `"nothing"`)
	for _, i := range []int{7, 8, 9} {
		isProblem(t, fmt.Sprint("result ", i), string(results[i]), http.StatusBadRequest, fmt.Sprintf("element %d ", i), "no service")
	}
	c.gives(asking{key: one, path: "/", body: "[]"}, "[]")
	c.gives(asking{key: one, path: "/?first", body: `[{"service": "ping", "first": false}]`},
		`[{"answers": ["two", "keyless"], "replies": [`+answered("two")+","+answered("keyless")+`]}]`)
}

func TestWhatIsNoListOfAsksSaysSo(t *testing.T) {
	c := newAskTest(t)
	one, _ := c.threeGuests(t)
	var asked atomic.Int64
	c.joined("counting", "count", func(context.Context, any) (any, error) { return asked.Add(1), nil })
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
		c.fails(asking{key: one, path: "/", body: body}, http.StatusBadRequest, `write a list of objects as in [{"service": "url"`, want)
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("%d of them were asked", n)
	}
}

func TestABatchIsAListOfUpTo256Asks(t *testing.T) {
	c := newAskTest(t)
	one, _ := c.threeGuests(t)
	for _, body := range []string{"", " ", "null", "{}", `{"service": "ping"}`, `"ping"`, `["ping"]`, "[1]", `[{"service": 1}]`,
		`[{"service": "ping", "first": "yes"}]`, `[{"service": "ping"}] 1`, "[", `[{"service": "ping"},]`} {
		c.fails(asking{key: one, path: "/", body: body}, http.StatusBadRequest, `[{"service": "url", "payload": {"name": "home"}, "first": true}]`)
	}
	batch := func(n int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(`{"service":"ping"},`, n), ",") + "]"
	}
	var results []struct{ Answers []string }
	response := c.do(asking{key: one, path: "/", body: batch(256)})
	if err := json.Unmarshal([]byte(response.body), &results); err != nil || len(results) != 256 {
		t.Errorf("%d %v: %.200s", len(results), err, response.body)
	}
	for i, result := range results {
		if !slices.Equal(result.Answers, []string{"two", "keyless"}) {
			t.Errorf("result %d: %v", i, result.Answers)
		}
	}
	var asked atomic.Int64
	c.joined("counting", "ping", func(context.Context, any) (any, error) { return asked.Add(1), nil })
	c.fails(asking{key: one, path: "/", body: batch(257)}, http.StatusRequestEntityTooLarge, "257", "256", "another request")
	if n := asked.Load(); n > 0 {
		t.Errorf("%d of them were asked", n)
	}
}

// TestTheAsksOfABatchRunTogether has each wait for fifteen others.
func TestTheAsksOfABatchRunTogether(t *testing.T) {
	c := newAskTest(t)
	one, _ := c.threeGuests(t)
	var here atomic.Int64
	all := make(chan struct{})
	connectRemote(t, c.line("main").Partyline().Operator("waits"), "wait", func(ctx context.Context, _ any) (any, error) {
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
	response := c.do(asking{key: one, path: "/", body: "[" + strings.Repeat(`{"service": "wait"},`, 49) + `{"service": "wait"}]`})
	if n := strings.Count(response.body, `"answers":["together"]`); n != 50 {
		t.Errorf("%d of 50: %.300s", n, response.body)
	}
}

// TestTheAsksOfBatchesWaitInLine has pages rendered at once ask more than a guest lets
// through of one asker: none fails for it.
func TestTheAsksOfBatchesWaitInLine(t *testing.T) {
	c := newAskTest(t)
	var under, most atomic.Int64
	one := newApplication(t, c, "one", func(*application, *http.Request, string) reply {
		most.Store(max(most.Load(), under.Add(1)))
		defer under.Add(-1)
		time.Sleep(2 * time.Millisecond)
		return reply{200, "answer"}
	})
	two := keyOf(t, "two")
	c.around(one.directives("single", "double", "double") + `
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
				response, err := c.try(t.Context(), asking{key: two, path: "/", body: batch})
				if n := strings.Count(response.body, `"status":"answered"`); err != nil || n != 50*handlers {
					t.Errorf("%s: %d of %d answered: %v %.300s", service, n, 50*handlers, err, response.body)
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
	c := newAskTest(t)
	serve := func(a *application, r *http.Request, service string) reply {
		body := map[string]string{"there": `[{"service": "back"}]`, "back": `[{"service": "last"}]`}[service]
		if body == "" {
			return reply{200, "last"}
		}
		response, err := c.try(r.Context(), asking{key: a.key, path: "/", body: body, header: http.Header{"Party-Token": r.Header["Party-Token"]}})
		var got []struct{ Answers []string }
		if err := errors.Join(err, json.Unmarshal([]byte(response.body), &got)); err != nil || len(got) != 1 || len(got[0].Answers) != 1 {
			return reply{500, response.body}
		}
		return reply{200, got[0].Answers[0]}
	}
	one, two, three := newApplication(t, c, "one", serve), newApplication(t, c, "two", serve), newApplication(t, c, "three", serve)
	c.around(one.directives("back") + two.directives("there") + three.directives("last"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	response, err := c.try(ctx, asking{key: one.key, path: "/", body: "[" + strings.Repeat(`{"service": "there"},`, 39) + `{"service": "there"}]`})
	if n := strings.Count(response.body, `"answers":["last"]`); err != nil || n != 40 {
		t.Errorf("%d of 40: %v %.500s", n, err, response.body)
	}
}

func TestGuestsSeeWhoIsThere(t *testing.T) {
	c := newAskTest(t)
	one, _ := c.threeGuests(t)
	there := `{
		"services": {"ping": ["one", "two", "keyless"], "url": ["two"]},
		"guests": {"one": ["ping"], "two": ["ping", "url"], "keyless": ["ping"]}}`
	c.gives(asking{key: one, method: "GET", path: "/"}, there)
	operator := c.joined("late", "only", pong)
	operator.join()
	c.gives(asking{key: one, method: "GET", path: "/"}, strings.NewReplacer(
		`"services": {`, `"services": {"only": ["late"], `, `"guests": {`, `"guests": {"late": ["only"], `).Replace(there))
	operator.Leave()
	silent := c.line("main").Partyline().Operator("silent")
	silent.join()
	c.gives(asking{key: one, method: "GET", path: "/"}, strings.Replace(there, `"guests": {`, `"guests": {"silent": [], `, 1))
	silent.Leave()
	head := c.do(asking{key: one, method: "HEAD", path: "/"})
	if head.status != http.StatusOK || head.header.Get("Content-Type") != "application/json" || head.body != "" {
		t.Errorf("HEAD /: %d %v %q", head.status, head.header, head.body)
	}
}

func TestOnlyTheMethodsOfAskingAreAllowed(t *testing.T) {
	c := newAskTest(t)
	one, _ := c.threeGuests(t)
	for _, method := range []string{"GET", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"} {
		response := c.fails(asking{key: one, method: method, path: "/ping"}, http.StatusMethodNotAllowed, method, "POST")
		if allow := response.header.Get("Allow"); allow != "POST" {
			t.Errorf("%s /ping: Allow: %q", method, allow)
		}
		if method == "GET" {
			continue
		}
		response = c.fails(asking{key: one, method: method, path: "/"}, http.StatusMethodNotAllowed, method, "GET, HEAD, POST")
		if allow := response.header.Get("Allow"); allow != "GET, HEAD, POST" {
			t.Errorf("%s /: Allow: %q", method, allow)
		}
	}
	if head := c.do(asking{key: one, method: "HEAD", path: "/ping"}); head.status != http.StatusMethodNotAllowed || head.header.Get("Allow") != "POST" {
		t.Errorf("HEAD /ping: %d %v", head.status, head.header)
	}
}

func TestWhoAsksNeedsAKey(t *testing.T) {
	c := newAskTest(t)
	one, two := c.threeGuests(t)
	var asked atomic.Int64
	c.joined("counting", "count", func(context.Context, any) (any, error) { return asked.Add(1), nil })
	authorization := func(values ...string) http.Header { return http.Header{"Authorization": values} }
	for _, header := range []http.Header{
		{}, authorization(""), authorization("Bearer"), authorization("Bearer "), authorization(one), authorization("Basic " + one),
		authorization("Bearer " + one + "x"), authorization("Bearer " + one[1:]), authorization("Bearer " + strings.ToUpper(one)),
		authorization("Bearer {env.one_PARTY_KEY}"), authorization("Bearer [redacted]"), authorization("Bearer " + one + " " + two),
		{"Party-Token": {one}}, {"Cookie": {"key=" + one}},
	} {
		for _, a := range []asking{{method: "GET", path: "/"}, {path: "/"}, {path: "/count"}, {path: "/count?key=" + one}, {path: "/nothing"}, {method: "PUT", path: "/count"}, {path: "/count", body: "{"}} {
			a.header = header
			response := c.fails(a, http.StatusUnauthorized, `"main"`, "key", "Authorization", "Bearer")
			if response.header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%v", response.header)
			}
			if strings.Contains(response.body, one) || strings.Contains(response.body, two) {
				t.Errorf("a key is shown: %s", response.body)
			}
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("asked %d times without a key", n)
	}
	// The scheme may be written in any way, and each of several keys counts.
	for _, authorized := range []string{"bearer " + two, "BEARER  " + two, "Bearer next" + strings.Repeat("-key", 8)} {
		c.gives(asking{path: "/ping", header: authorization(authorized)}, `{
			"answers": ["one", "keyless"],
			"replies": [{"guest": "one", "mount": "/one", "status": "answered"}, {"guest": "keyless", "mount": "/keyless", "status": "answered"}]}`)
	}
}

// TestAKeyIsForOneParty has two, with an endpoint each.
func TestAKeyIsForOneParty(t *testing.T) {
	c := newAskTest(t)
	one, two := keyOf(t, "one"), keyOf(t, "two")
	c.load(`ADDRESS {
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
	http://` + c.endpoint + ` {
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
	c.gives(asking{key: one, path: "/a/ping"}, `{"answers": [], "replies": []}`)
	c.gives(asking{key: two, path: "/b/ping"}, `{"answers": [], "replies": []}`)
	c.fails(asking{key: one, path: "/b/ping"}, http.StatusUnauthorized, `"b"`)
	c.fails(asking{key: two, path: "/a/ping"}, http.StatusUnauthorized, `"a"`)
	c.fails(asking{key: two, path: "/default/ping"}, http.StatusUnauthorized, `"default"`)
	if entries := logEntries(t, "no wsgi_party handler names the party that was joined"); len(entries) != 1 || entries[0]["party"] != "default" {
		t.Errorf("the log says of a party that is not there: %v", entries)
	}
}

func TestAnUnknownServiceIsNotFound(t *testing.T) {
	c := newAskTest(t)
	one, _ := c.threeGuests(t)
	c.fails(asking{key: one, path: "/nothing"}, http.StatusNotFound, `"main"`, `"nothing"`)
	c.fails(asking{key: one, path: "/nothing?first", body: "1"}, http.StatusNotFound, `"nothing"`)
	c.around("ignore_missing_services\n" + declaredGuests)
	eventually(t, "the new config answers", func() bool {
		response, err := c.try(t.Context(), asking{key: one, path: "/nothing"})
		return err == nil && response.status == http.StatusOK && compactJSON(t, response.body) == `{"answers":[],"replies":[]}`
	})
}

func TestTheAskedPartyIsThatAroundTheHandlerOrTheDefault(t *testing.T) {
	c := newAskTest(t)
	one := keyOf(t, "one")
	guest := `
		invite /one/__invite__/
		handle_path /one/* {
			wsgi_party_guest {
				key {env.one_PARTY_KEY}
			}
			respond 404
		}`
	c.load("ADDRESS {\nwsgi_party around {\n" + guest + "\n}\n}\n" + "http://" + c.endpoint + " {\nwsgi_party around {\nhandle_path /inside/* {\nwsgi_party_ask\n}\n}\nwsgi_party_ask around\n}")
	c.connected("around", "other", "which", "around")
	for _, path := range []string{"/which", "/inside/which"} {
		c.gives(asking{key: one, path: path}, `{"answers": ["around"], "replies": [{"guest": "other", "mount": "", "status": "answered"}]}`)
	}
	c.load("ADDRESS {\nwsgi_party {\n" + guest + "\n}\n}\n" + "http://" + c.endpoint + " {\nwsgi_party_ask\n}")
	c.connected("default", "other", "which", "default")
	eventually(t, "the new config answers", func() bool {
		response, err := c.try(t.Context(), asking{key: one, path: "/which"})
		return err == nil && response.status == http.StatusOK && strings.Contains(response.body, `"answers":["default"]`)
	})
}

// connected connects an answer on a party of that name.
func (c *askTest) connected(party, guest, service, answer string) {
	c.t.Helper()
	connect(c.t, c.line(party).Partyline().Operator(guest), service, answers(answer))
}

// application is a guest's, behind Caddy's reverse_proxy, whose handler answers what
// it is asked with JSON.
type application struct {
	*httptest.Server
	name, key string
	test      *askTest
}

// reply is what an application answers: a status and JSON.
type reply struct {
	status int
	body   any
}

// newApplication starts an application, whose answer to the service in the path is
// what serve returns.
func newApplication(t *testing.T, c *askTest, name string, serve func(a *application, r *http.Request, service string) reply) *application {
	t.Helper()
	a := &application{name: name, key: keyOf(t, name), test: c}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := serve(a, r, strings.TrimPrefix(r.URL.Path, "/"))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(answer.status)
		if answer.status != http.StatusNoContent {
			if err := json.NewEncoder(w).Encode(answer.body); err != nil {
				t.Error(err)
			}
		}
	}))
	t.Cleanup(a.Close)
	return a
}

// askBack asks around with the token the application was asked with.
func (a *application) askBack(r *http.Request, service string) (adminResponse, error) {
	return a.test.try(r.Context(), asking{key: a.key, path: "/" + service, header: http.Header{"Party-Token": r.Header["Party-Token"]}})
}

// directives are those of its mount, with these services.
func (a *application) directives(services ...string) string {
	lines := ""
	for _, service := range services {
		lines += "service " + service + " /" + service + "\n"
	}
	return fmt.Sprintf("invite /%s/__invite__/\nhandle_path /%s/* {\nwsgi_party_guest {\nkey {env.%s_PARTY_KEY}\ntimeout 20s\n%s}\nreverse_proxy %s\n}\n",
		a.name, a.name, a.name, lines, a.Listener.Addr())
}

func TestTwoApplicationsAskEachOther(t *testing.T) {
	c := newAskTest(t)
	other := map[string]string{"one": "two", "two": "one"}
	serve := func(a *application, r *http.Request, service string) reply {
		switch service {
		case "name":
			return reply{200, a.name}
		case "neighbour": // asked for by the page of the other
			response, err := a.askBack(r, "name")
			var got struct{ Answers []string }
			if err := errors.Join(err, json.Unmarshal([]byte(response.body), &got)); err != nil || len(got.Answers) != 1 {
				return reply{500, fmt.Sprint(response, err)}
			}
			return reply{200, a.name + " knows " + got.Answers[0]}
		case "page":
			response, err := a.test.try(r.Context(), asking{key: a.key, path: "/neighbour"})
			if err != nil {
				return reply{500, err.Error()}
			}
			return reply{response.status, json.RawMessage(response.body)}
		}
		return reply{404, nil}
	}
	one, two := newApplication(t, c, "one", serve), newApplication(t, c, "two", serve)
	c.around(one.directives("name", "neighbour") + two.directives("name", "neighbour"))
	var group sync.WaitGroup
	for range 4 {
		for _, name := range []string{"one", "two"} {
			group.Go(func() {
				status, body, err := c.tryGet("/" + name + "/page")
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
	c := newAskTest(t)
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
	apps := make(map[string]*application)
	for _, name := range []string{"a", "b", "c"} {
		apps[name] = newApplication(t, c, name, func(a *application, r *http.Request, _ string) reply {
			call(a.name)
			response, err := a.askBack(r, "s")
			var got struct{ Answers []any }
			if err := errors.Join(err, json.Unmarshal([]byte(response.body), &got)); err != nil || response.status != 200 {
				return reply{500, fmt.Sprint(response, err)}
			}
			return reply{200, append([]any{a.name}, got.Answers...)}
		})
	}
	for mask := 1; mask < 8; mask++ {
		reference := NewPartyline("main", Options{})
		directives := ""
		var local, remote []string
		for i, name := range []string{"a", "b", "c"} {
			if mask&(1<<i) != 0 {
				directives += apps[name].directives("s")
				remote = append(remote, name)
			} else {
				local = append(local, name)
			}
		}
		if err := caddy.Stop(); err != nil { // or the config before might still answer
			t.Fatal(err)
		}
		adminClient.CloseIdleConnections() // to it
		c.around(directives)
		for _, name := range local {
			o := c.line("main").Partyline().Operator(name)
			connect(t, o, "s", nesting(o))
		}
		for _, name := range append(remote, local...) {
			o := reference.Operator(name)
			connect(t, o, "s", nesting(o))
		}
		for _, asker := range []string{"", "a", "b", "c", "somebody"} {
			want, err := reference.Operator(asker).AskAround(t.Context(), "s", nil)
			if err != nil {
				t.Fatal(err)
			}
			wantCalls := called()
			got, err := c.line("main").Partyline().Operator(asker).AskAround(t.Context(), "s", nil)
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
				response := c.do(asking{key: apps[asker].key, path: "/s"})
				var result struct{ Answers []json.RawMessage }
				err := json.Unmarshal([]byte(response.body), &result)
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
	c := newAskTest(t)
	var depth atomic.Int64
	var deepest atomic.Value
	serve := func(a *application, r *http.Request, service string) reply {
		depth.Add(1)
		response, err := a.askBack(r, string(rune(service[0]+1)))
		if err != nil {
			return reply{500, err.Error()}
		}
		if response.status != 200 {
			deepest.Store(response)
			return reply{200, "deep"}
		}
		var got struct{ Answers []json.RawMessage }
		if err := json.Unmarshal([]byte(response.body), &got); err != nil || len(got.Answers) != 1 {
			return reply{500, response.body}
		}
		return reply{200, got.Answers[0]}
	}
	one, two := newApplication(t, c, "one", serve), newApplication(t, c, "two", serve)
	c.around(one.directives("a", "c", "e", "g", "i", "k") + two.directives("b", "d", "f", "h", "j", "l"))
	for range 2 { // nobody is worse off for it
		depth.Store(0)
		c.gives(asking{key: two.key, path: "/a"}, `{"answers": ["deep"], "replies": [{"guest": "one", "mount": "/one", "status": "answered"}]}`)
		if n := depth.Load(); n != 8 {
			t.Errorf("%d asks led to the deepest, want 8", n)
		}
		last := deepest.Load().(adminResponse)
		if last.status != http.StatusLoopDetected || last.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("the ninth ask gets %d %v", last.status, last.header)
		}
		isProblem(t, "the ninth ask", last.body, http.StatusLoopDetected, "too deep", "8")
	}
}

func TestATokenThatIsNotTheAskersOrOldIsRefused(t *testing.T) {
	c := newAskTest(t)
	var mu sync.Mutex
	tokens := make(map[string]string)
	serve := func(a *application, r *http.Request, _ string) reply {
		mu.Lock()
		defer mu.Unlock()
		tokens[a.name] = r.Header.Get("Party-Token")
		return reply{200, a.name}
	}
	one, two := newApplication(t, c, "one", serve), newApplication(t, c, "two", serve)
	c.around(one.directives("name") + two.directives("name"))
	if answers, err := c.line("main").AskAround(t.Context(), "name", nil); err != nil || len(answers) != 2 {
		t.Fatal(answers, err)
	}
	mu.Lock()
	ofOne, ofTwo := tokens["one"], tokens["two"]
	mu.Unlock()
	with := func(key, token string) asking {
		return asking{key: key, path: "/name", header: http.Header{"Party-Token": {token}}}
	}
	// The one who was asked is not asking for it: both are called by nobody.
	c.gives(with(one.key, ofOne), `{"answers": ["two"], "replies": [{"guest": "two", "mount": "/two", "status": "answered"}]}`)
	c.fails(with(one.key, ofTwo), http.StatusBadRequest, "Party-Token")
	c.fails(with(two.key, ofOne), http.StatusBadRequest, "Party-Token")
	for _, garbage := range []string{"x", "a.b.c", ofOne[:len(ofOne)-2], ofOne + "A", strings.Repeat("x", 9000)} {
		c.fails(with(one.key, garbage), http.StatusBadRequest, "Party-Token")
		c.fails(asking{key: one.key, path: "/", body: `[{"service": "name"}]`, header: http.Header{"Party-Token": {garbage}}}, http.StatusBadRequest, "Party-Token")
	}
	c.gives(with(one.key, ""), `{"answers": ["two"], "replies": [{"guest": "two", "mount": "/two", "status": "answered"}]}`)

	keys, err := token.NewKeys([]string{one.key})
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
	c.fails(with(one.key, signed("two", now, 0)), http.StatusBadRequest, "another guest")
	c.fails(with(one.key, signed("one", now.Add(-2*time.Minute), 0)), http.StatusBadRequest, "expired")
	c.fails(with(one.key, signed("one", now.Add(2*time.Minute), 0)), http.StatusBadRequest, "future")
	c.gives(with(one.key, signed("one", now, 8)), `{"answers": ["two"], "replies": [{"guest": "two", "mount": "/two", "status": "answered"}]}`) // who led there is not the guest's to say
	if response := c.do(with(one.key, signed("one", now.Add(-time.Minute), 7))); response.status != 200 || !strings.Contains(response.body, `"answers":["two"]`) {
		t.Errorf("%d %s", response.status, response.body)
	}
}

// TestABatchIsAskedInTheContextOfItsToken has each ask of one skip who asks for it
// already.
func TestABatchIsAskedInTheContextOfItsToken(t *testing.T) {
	c := newAskTest(t)
	one := newApplication(t, c, "one", func(a *application, r *http.Request, service string) reply {
		response, err := c.try(r.Context(), asking{key: a.key, path: "/", body: `[{"service": "name"}, {"service": "other"}]`, header: http.Header{"Party-Token": r.Header["Party-Token"]}})
		if err != nil {
			return reply{500, err.Error()}
		}
		return reply{200, json.RawMessage(compactJSON(t, response.body))}
	})
	c.around(one.directives("name"))
	for _, guest := range []string{"x", "y"} {
		c.joined(guest, "name", answers(guest))
		c.joined(guest, "other", answers(guest))
	}
	answers, err := c.line("main").Partyline().Operator("x").AskAround(t.Context(), "name", nil)
	if err != nil || len(answers) != 2 {
		t.Fatal(answers, err)
	}
	want := compactJSON(t, `[
		{"answers": ["y"], "replies": [{"guest": "y", "mount": "", "status": "answered"}]},
		{"answers": ["x", "y"], "replies": [{"guest": "x", "mount": "", "status": "answered"}, {"guest": "y", "mount": "", "status": "answered"}]}]`)
	if got := string(answers[0].(json.RawMessage)); strings.TrimSpace(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestNothingOfAnAskIsForwardedButItsTrace has a guest that wants headers: it gets
// those of a visitor's request, and none of those of a request to ask.
func TestNothingOfAnAskIsForwardedButItsTrace(t *testing.T) {
	c := newAskTest(t)
	one := newApplication(t, c, "one", func(_ *application, r *http.Request, _ string) reply {
		return reply{200, []string{r.Header.Get("Authorization"), r.Header.Get("X-Thing"), r.Header.Get("Traceparent"), r.Header.Get("Cookie")}}
	})
	two := keyOf(t, "two")
	app(t, "asks", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		operator, _ := Lookup("main")
		answers, err := operator.AskAround(r.Context(), "header", nil)
		if err != nil {
			return err
		}
		_, err = w.Write(answers[0].(json.RawMessage))
		return err
	})
	c.around(strings.Replace(one.directives("header"), "timeout", "forward Authorization X-Thing Cookie\ntimeout", 1) + `
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
	c.gives(asking{key: two, path: "/header", header: header}, fmt.Sprintf(
		`{"answers": [["", "", %[1]q, ""]], "replies": [{"guest": "one", "mount": "/one", "status": "answered"}]}`, trace))
	c.gives(asking{key: two, path: "/", body: `[{"service": "header"}]`, header: header}, fmt.Sprintf(
		`[{"answers": [["", "", %[1]q, ""]], "replies": [{"guest": "one", "mount": "/one", "status": "answered"}]}]`, trace))
	r, err := http.NewRequest("GET", "http://"+c.address+"/two/", nil)
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
	c := newAskTest(t)
	one, _ := c.threeGuests(t)
	c.joined("channel", "s", answers(make(chan int)))
	c.joined("panics", "s", func(context.Context, any) (any, error) { panic("help") })
	c.joined("badly", "s", answers(badJSON(func() ([]byte, error) { panic("no JSON") })))
	c.joined("last", "s", answers(1.5))
	for _, a := range []asking{{path: "/s"}, {path: "/", body: `[{"service": "s"}]`}} {
		a.key = one
		response := c.do(a)
		var results []wire.Asked
		body := response.body
		if a.path != "/" {
			body = "[" + body + "]"
		}
		if err := json.Unmarshal([]byte(body), &results); err != nil || len(results) != 1 || len(results[0].Replies) != 4 {
			t.Fatalf("%d %s: %v", response.status, response.body, err)
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
	c := newAskTest(t)
	one, _ := c.threeGuests(t)
	asked, ended := make(chan struct{}, 8), make(chan struct{}, 8)
	connectRemote(t, c.line("main").Partyline().Operator("patient"), "wait", func(ctx context.Context, _ any) (any, error) {
		asked <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return nil, ctx.Err()
	})
	var after atomic.Int64
	c.joined("next", "wait", func(context.Context, any) (any, error) { return after.Add(1), nil })
	for _, a := range []asking{{path: "/wait"}, {path: "/", body: `[{"service": "wait"}, {"service": "wait"}]`}} {
		a.key = one
		asks := 1 + strings.Count(a.body, ",")
		ctx, leave := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			_, err := c.try(ctx, a)
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
	logged.Lock()
	defer logged.Unlock()
	for line := range strings.Lines(logged.String()) {
		if strings.Contains(line, `"level":"error"`) {
			t.Errorf("the log says %s", line)
		}
	}
}

// TestAnAskUnderWayOutlivesAReload lets the guest answer when another config runs.
func TestAnAskUnderWayOutlivesAReload(t *testing.T) {
	c := newAskTest(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	one := newApplication(t, c, "one", func(a *application, r *http.Request, _ string) reply {
		close(asked)
		<-answer
		// It is the new config that is asked. For a moment after a reload, Caddy's old
		// server resets a connection now and then, or answers it.
		response, err := a.askBack(r, "name")
		for deadline := time.Now().Add(time.Minute); (err != nil || !strings.Contains(response.body, "after")) && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			response, err = a.askBack(r, "name")
		}
		if err != nil {
			return reply{500, err.Error()}
		}
		return reply{response.status, json.RawMessage(compactJSON(t, response.body))}
	})
	two := keyOf(t, "two")
	config := func(name string) string {
		return one.directives("slow") + "invite /two/__invite__/\nhandle_path /two/* {\nwsgi_party_guest {\nkey {env.two_PARTY_KEY}\nanswer name " + name + "\n}\n}"
	}
	c.around(config("before"))
	type result struct {
		adminResponse
		err error
	}
	got := make(chan result, 1)
	go func() {
		response, err := c.try(t.Context(), asking{key: two, path: "/slow"})
		got <- result{response, err}
	}()
	<-asked
	loaded := make(chan error, 1)
	next := c.adapt("ADDRESS {\nwsgi_party main {\n" + config("after") + "\n}\n}\nhttp://" + c.endpoint + " {\nwsgi_party_ask main\n}")
	go func() { loaded <- caddy.Load(next, true) }()
	eventually(t, "the new config answers", func() bool {
		response, err := c.try(t.Context(), asking{key: one.key, path: "/name"})
		return err == nil && strings.Contains(response.body, "after")
	})
	close(answer)
	r := <-got
	if r.err != nil || r.status != 200 {
		t.Fatalf("%d %s %v", r.status, r.body, r.err)
	}
	var asks wire.Asked
	if err := json.Unmarshal([]byte(r.body), &asks); err != nil || len(asks.Answers) != 1 || !strings.Contains(string(asks.Answers[0]), `"answers":["after"]`) {
		t.Errorf("%s %v", r.body, err)
	}
	if err := <-loaded; err != nil {
		t.Error(err)
	}
}

// TestNoAskGoesWrongWhileConfigsReload has several ask all the time.
func TestNoAskGoesWrongWhileConfigsReload(t *testing.T) {
	c := newAskTest(t)
	one, two := c.threeGuests(t)
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
				a := asking{key: key, path: "/ping"}
				if i > 1 {
					a = asking{key: key, path: "/", body: `[{"service": "ping"}, {"service": "ping"}]`}
				}
				response, err := c.try(t.Context(), a)
				if err != nil {
					continue // for a moment Caddy's old server resets connections
				}
				if n := strings.Count(response.body, `"answers":`+want); response.status != 200 || n != 1+i/2 {
					t.Errorf("%d %s", response.status, response.body)
					return
				}
				good.Add(1)
			}
		})
	}
	for i := range 10 {
		before := good.Load()
		c.around(fmt.Sprintf("respond /%d %d\n", i, 200+i) + declaredGuests)
		eventually(t, "asks go on", func() bool { return good.Load() > before+8 || t.Failed() })
	}
	close(stop)
	group.Wait()
}

func TestAskingOverHTTP2(t *testing.T) {
	c := newAskTest(t)
	one, _ := keyOf(t, "one"), keyOf(t, "two")
	keyOf(t, "next")
	config := c.adapt("ADDRESS {\nwsgi_party main {\n" + declaredGuests + "\n}\n}\nhttp://" + c.endpoint + " {\nwsgi_party_ask main\n}")
	_, port, err := net.SplitHostPort(c.endpoint)
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
			r, err := http.NewRequest("POST", "http://"+c.endpoint+"/ping?first", strings.NewReader("null"))
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
	c := newAskTest(t)
	one, _ := keyOf(t, "one"), keyOf(t, "two")
	keyOf(t, "next")
	socket := filepath.Join(t.TempDir(), "party.sock")
	c.load("ADDRESS {\nwsgi_party main {\n" + declaredGuests + "\n}\n}\nhttp:// {\nbind unix/" + socket + "\nwsgi_party_ask main\n}")
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
	c := newAskTest(t)
	one, _ := keyOf(t, "one"), keyOf(t, "two")
	keyOf(t, "next")
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
	_, port, err := net.SplitHostPort(c.endpoint)
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
	c.load(strings.Replace(config, "require_and_verify", "verify_if_given", 1))
	if entries := logEntries(t, openMessage); len(entries) != 1 {
		t.Errorf("certificates that nobody has to have: %v", entries)
	}
	c.load(config)
	if entries := logEntries(t, openMessage); len(entries) != 1 {
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
		return response.StatusCode, readAll(t, response), nil
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
	c := newAskTest(t)
	one, two := c.threeGuests(t)
	for _, a := range []asking{
		{key: one, method: "GET", path: "/"}, {key: one, path: "/ping"}, {key: one, path: "/nothing"}, {key: two, path: "/ping", body: "{"},
		{key: one + "x", path: "/ping"}, {key: one, path: "/ping", header: http.Header{"Party-Token": {"x"}}}, {key: one, method: "PUT", path: "/"},
	} {
		if response := c.do(a); strings.Contains(response.body, "-key-key") || strings.Contains(fmt.Sprint(response.header), "-key-key") {
			t.Errorf("%s %s: %v %s", a.method, a.path, response.header, response.body)
		}
	}
	logged.Lock()
	defer logged.Unlock()
	if i := strings.Index(logged.String(), "-key-key"); i >= 0 {
		t.Errorf("the log has %q", logged.String()[max(0, i-300):i+20])
	}
}
