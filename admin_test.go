// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
	"github.com/wsgiparty/wsgiparty/internal/wire"
)

// adminTest is a Caddy with an admin endpoint.
type adminTest struct {
	*partytest.Caddy
	began time.Time
}

func newAdminTest(t testing.TB) *adminTest {
	t.Helper()
	return &adminTest{partytest.NewCaddyWithAdmin(t), time.Now()}
}

// expectJSON fails the test unless the response is that JSON. The words DURATION,
// TIME and HINT stand for any that makes sense.
func (c *adminTest) expectJSON(method, path, body, want string) {
	c.Helper()
	c.isJSON(method+" "+path, c.Call(method, path, body), want)
}

func (c *adminTest) isJSON(what string, response partytest.Response, want string) {
	c.Helper()
	if response.Status != http.StatusOK || response.Header.Get("Content-Type") != "application/json" {
		c.Errorf("%s: %d %s %s", what, response.Status, response.Header.Get("Content-Type"), response.Body)
		return
	}
	c.same(what, c.plain(response.Body), c.plain(want))
}

// same fails the test, and shows where they differ, unless two texts are the same.
func (c *adminTest) same(what, got, want string) {
	c.Helper()
	if got == want {
		return
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(want, "\n")
	line := 0
	for line < min(len(gotLines), len(wantLines)) && gotLines[line] == wantLines[line] {
		line++
	}
	begin := max(0, line-8)
	c.Errorf("%s: from line %d on\n%s\nwant\n%s", what, line+1, strings.Join(gotLines[begin:min(line+4, len(gotLines))], "\n"), strings.Join(wantLines[begin:min(line+4, len(wantLines))], "\n"))
}

// plain returns JSON, indented and without what differs from run to run.
func (c *adminTest) plain(text string) string {
	c.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		c.Fatalf("%s: %v", text, err)
	}
	c.replace(value)
	plain, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		c.Fatal(err)
	}
	return string(plain)
}

func (c *adminTest) replace(value any) {
	c.Helper()
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			c.replace(element)
		}
	case map[string]any:
		for key, member := range value {
			switch key {
			case "time", "joined", "old_manifest":
				text, _ := member.(string)
				if at, err := time.Parse(time.RFC3339Nano, text); err == nil && at.After(c.began) && at.Before(time.Now()) {
					value[key] = "TIME"
				}
			case "duration":
				number, _ := member.(json.Number)
				if seconds, err := number.Float64(); err == nil && seconds > 0 && seconds < time.Since(c.began).Seconds() {
					value[key] = "DURATION"
				}
			case "hint":
				if text, _ := member.(string); text != "" {
					value[key] = "HINT"
				}
			default:
				c.replace(member)
			}
		}
	}
}

// expectError fails the test unless the response is an error in which all of these
// are.
func (c *adminTest) expectError(what string, response partytest.Response, status int, want ...string) {
	c.Helper()
	decoder := json.NewDecoder(strings.NewReader(response.Body))
	decoder.DisallowUnknownFields()
	var answer struct {
		Error string `json:"error"`
	}
	err := decoder.Decode(&answer)
	if err != nil || answer.Error == "" || response.Status != status || response.Header.Get("Content-Type") != "application/json" {
		c.Errorf("%s: %d %s %q, want %d and an error: %v", what, response.Status, response.Header.Get("Content-Type"), response.Body, status, err)
	}
	for _, want := range want {
		if !strings.Contains(answer.Error, want) {
			c.Errorf("%s: the error does not contain %q: %s", what, want, answer.Error)
		}
	}
}

// connect connects a handler on the running config's partyline.
func (c *adminTest) connect(party, guest, service string, h Handler) *Operator {
	c.Helper()
	operator := operatorOf(c, party).Partyline().Operator(guest)
	if err := operator.Connect(service, h); err != nil {
		c.Fatal(err)
	}
	return operator
}

// guestScript says what a guest does on each invite.
type guestScript struct {
	mu        sync.Mutex
	operators []*Operator
}

// onInvites makes `test_app key` do on its first invite what the first function says,
// and so on, and on all that follow what the last one says.
func onInvites(t testing.TB, key string, does ...func(http.ResponseWriter, *http.Request, *Operator) error) *guestScript {
	t.Helper()
	s := new(guestScript)
	partytest.App(t, key, func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		operator, ok := OperatorFrom(r)
		if !ok {
			return next.ServeHTTP(w, r)
		}
		s.mu.Lock()
		do := does[min(len(s.operators), len(does)-1)]
		s.operators = append(s.operators, operator)
		s.mu.Unlock()
		return do(w, r, operator)
	})
	return s
}

// invites returns how many invites there were.
func (s *guestScript) invites() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.operators)
}

// operator returns that of the invite with that number, from 0, or from -1 backwards.
func (s *guestScript) operator(i int) *Operator {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i < 0 {
		i += len(s.operators)
	}
	return s.operators[i]
}

// connects is a guest that connects a handler under each service, and has joined.
func connects(answer any, services ...string) func(http.ResponseWriter, *http.Request, *Operator) error {
	return func(w http.ResponseWriter, _ *http.Request, operator *Operator) error {
		for _, service := range services {
			if err := operator.Connect(service, partytest.Answers(answer)); err != nil {
				return err
			}
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// responds is a guest that connects nothing and answers with that status.
func responds(status int) func(http.ResponseWriter, *http.Request, *Operator) error {
	return func(w http.ResponseWriter, _ *http.Request, _ *Operator) error {
		w.WriteHeader(status)
		return nil
	}
}

// fails is a guest that connects nothing and returns that error.
func fails(err error) func(http.ResponseWriter, *http.Request, *Operator) error {
	return func(http.ResponseWriter, *http.Request, *Operator) error { return err }
}

// bothOf is a guest that does one and then the other.
func bothOf(one, two func(http.ResponseWriter, *http.Request, *Operator) error) func(http.ResponseWriter, *http.Request, *Operator) error {
	return func(w http.ResponseWriter, r *http.Request, operator *Operator) error {
		if err := one(w, r, operator); err != nil {
			return err
		}
		return two(w, r, operator)
	}
}

func TestTheAdminAPIShowsWhoIsOnTheLineAndWhatCameOfIt(t *testing.T) {
	party := partytest.FreshParty()
	var declines, breaks atomic.Bool
	partytest.OnProvision(t, "teller", joins(party, "teller", "time", "noon"))
	onInvites(t, "one", connects("1", "zebra", "number"))
	onInvites(t, "two", func(w http.ResponseWriter, _ *http.Request, operator *Operator) error {
		w.WriteHeader(http.StatusCreated)
		return operator.Connect("number", func(context.Context, any) (any, error) {
			if declines.Load() {
				return nil, fmt.Errorf("not me: %w", ErrHighAndDry)
			}
			return "2", nil
		})
	})
	onInvites(t, "silent", responds(http.StatusNoContent))
	onInvites(t, "broken", func(w http.ResponseWriter, _ *http.Request, operator *Operator) error {
		w.WriteHeader(http.StatusServiceUnavailable)
		return operator.Connect("number", func(context.Context, any) (any, error) {
			if breaks.Load() {
				return nil, errors.New("it <broke>")
			}
			return "broken", nil
		})
	})
	onInvites(t, "locked", fails(errNoEntry))
	onInvites(t, "fails", fails(errors.New("oh no")))
	onInvites(t, "unspeakable", fails(unspeakableError{}))
	c := newAdminTest(t)
	c.Site(`
	route {
		test_app teller
		wsgi_party ` + party + ` {
			invite /one/__invite__/ https://example.com/two/__invite__/?x=1&y
			invite /silent/__invite__/ /broken/__invite__/ /nobody/__invite__/
			invite /locked/__invite__/ as "the keeper"
			invite /fails/__invite__/ /unspeakable/__invite__/
			test_app /one/* one
			test_app /two/* two
			test_app /silent/* silent
			test_app /broken/* broken
			test_app /locked/* locked
			test_app /fails/* fails
			test_app /unspeakable/* unspeakable
		}
	}`)
	ask := func() {
		t.Helper()
		if _, err := operatorOf(c, party).AskAround(context.Background(), "number", nil); (err != nil) != breaks.Load() {
			t.Error(err)
		}
	}
	ask()
	declines.Store(true)
	ask()
	breaks.Store(true)
	ask()
	ask()
	want := `{
		"party": "` + party + `",
		"invites": [
			{"server": "srv0", "uri": "/one/__invite__/", "guest": "one", "result": "joined", "status": 204, "error": "", "time": "TIME", "duration": "DURATION"},
			{"server": "srv0", "uri": "https://example.com/two/__invite__/?x=1&y", "guest": "two", "result": "joined", "status": 201, "error": "", "time": "TIME", "duration": "DURATION"},
			{"server": "srv0", "uri": "/silent/__invite__/", "guest": "silent", "result": "joined", "status": 204, "error": "", "time": "TIME", "duration": "DURATION"},
			{"server": "srv0", "uri": "/broken/__invite__/", "guest": "broken", "result": "failed", "status": 503, "error": "", "hint": "HINT", "time": "TIME", "duration": "DURATION"},
			{"server": "srv0", "uri": "/nobody/__invite__/", "guest": "nobody", "result": "not_answered", "status": 0, "error": "", "hint": "HINT", "time": "TIME", "duration": "DURATION"},
			{"server": "srv0", "uri": "/locked/__invite__/", "guest": "the keeper", "result": "refused", "status": 403, "error": "` + errNoEntry.Error() + `", "hint": "HINT", "time": "TIME", "duration": "DURATION"},
			{"server": "srv0", "uri": "/fails/__invite__/", "guest": "fails", "result": "failed", "status": 0, "error": "oh no", "hint": "HINT", "time": "TIME", "duration": "DURATION"},
			{"server": "srv0", "uri": "/unspeakable/__invite__/", "guest": "unspeakable", "result": "failed", "status": 0, "error": "a wsgiparty.unspeakableError, whose message cannot be had", "hint": "HINT", "time": "TIME", "duration": "DURATION"}
		],
		"guests": [
			{"guest": "broken", "services": ["number"], "replicas": 1, "joined": "TIME"},
			{"guest": "one", "services": ["number", "zebra"], "replicas": 1, "joined": "TIME"},
			{"guest": "silent", "services": [], "replicas": 1, "joined": "TIME"},
			{"guest": "teller", "services": ["time"], "replicas": 1, "joined": "TIME"},
			{"guest": "two", "services": ["number"], "replicas": 1, "joined": "TIME"}
		],
		"services": [
			{"service": "number", "guests": ["one", "two", "broken"]},
			{"service": "time", "guests": ["teller"]},
			{"service": "zebra", "guests": ["one"]}
		],
		"counts": [
			{"guest": "broken", "service": "number", "asked": 4, "answered": 2, "declined": 0, "failed": 2, "refused": 0, "last_error": "guest \"broken\" failed to answer \"number\": it <broke>"},
			{"guest": "one", "service": "number", "asked": 4, "answered": 4, "declined": 0, "failed": 0, "refused": 0, "last_error": ""},
			{"guest": "one", "service": "zebra", "asked": 0, "answered": 0, "declined": 0, "failed": 0, "refused": 0, "last_error": ""},
			{"guest": "teller", "service": "time", "asked": 0, "answered": 0, "declined": 0, "failed": 0, "refused": 0, "last_error": ""},
			{"guest": "two", "service": "number", "asked": 4, "answered": 1, "declined": 3, "failed": 0, "refused": 0, "last_error": ""}
		]
	}`
	c.expectJSON("GET", "/wsgi_party/"+party, "", want)
	c.expectJSON("GET", "/wsgi_party/"+party+"/", "", want)
	c.expectJSON("GET", "/wsgi_party/", "", "["+want+"]")
	if body := c.Call("GET", "/wsgi_party/"+party, "").Body; !strings.Contains(body, "it <broke>") || !strings.Contains(body, "?x=1&y") {
		t.Errorf("characters of HTML are escaped for no reason: %s", body)
	}

	// What is shown of an invite is what is logged.
	var shown struct {
		Invites []struct {
			Guest, Error, Hint string
			Time               time.Time
			Duration           float64
		}
		Guests []struct {
			Guest  string
			Joined time.Time
		}
	}
	partytest.Decode(c, c.Call("GET", "/wsgi_party/"+party, ""), &shown)
	logged := make(map[string]partytest.Entry)
	for _, result := range inviteResults {
		for _, e := range partytest.LogEntries(t, result.message()) {
			logged[e["guest"].(string)] = e
		}
	}
	joined := make(map[string]time.Time)
	for _, g := range shown.Guests {
		joined[g.Guest] = g.Joined
	}
	if !joined["teller"].Before(shown.Invites[0].Time) {
		t.Errorf("who joined first did so at %v, after the first invite at %v", joined["teller"], shown.Invites[0].Time)
	}
	for i, invite := range shown.Invites {
		e := logged[invite.Guest]
		if hint, _ := e["hint"].(string); invite.Hint != hint || invite.Duration != e["duration"] {
			t.Errorf("invite of %s: hint %q after %v s, logged are %q after %v", invite.Guest, invite.Hint, invite.Duration, hint, e["duration"])
		}
		if i > 0 && !invite.Time.After(shown.Invites[i-1].Time) {
			t.Errorf("%s was invited at %v, before the one before", invite.Guest, invite.Time)
		}
		if at, ok := joined[invite.Guest]; ok && !at.After(invite.Time) {
			t.Errorf("%s joined at %v, and was invited at %v", invite.Guest, at, invite.Time)
		}
	}
}

// errNoEntry is how a handler of Caddy's refuses.
var errNoEntry = caddyhttp.HandlerError{StatusCode: http.StatusForbidden, Err: errors.New("no entry")}

// unspeakableError is one of an application that has not tested its errors.
type unspeakableError struct{}

func (unspeakableError) Error() string { panic("no message") }

func TestTheAdminAPIShowsNothingAsEmptyLists(t *testing.T) {
	partytest.OnProvision(t, "early", func(ctx caddy.Context) error {
		_, err := Join(ctx, "joined only", "")
		return err
	})
	const empty = `{"party": %q, "invites": [], "guests": [], "services": [], "counts": []}`
	for name, test := range map[string]struct {
		directives string
		parties    []string
	}{
		"no party":                         {"respond nothing", nil},
		"a party without anything":         {"wsgi_party", []string{DefaultParty}},
		"a party that was only joined":     {"test_app early", []string{"joined only"}},
		"parties, in alphabetical order":   {"wsgi_party b\nwsgi_party c\nwsgi_party a\nwsgi_party B", []string{"B", "a", "b", "c"}},
		"a party within another, likewise": {"wsgi_party b {\nwsgi_party a\n}", []string{"a", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newAdminTest(t)
			c.Site(test.directives)
			var want []string
			for _, party := range test.parties {
				one := fmt.Sprintf(empty, party)
				want = append(want, one)
				c.expectJSON("GET", "/wsgi_party/"+url.PathEscape(party), "", one)
				c.expectJSON("POST", "/wsgi_party/"+url.PathEscape(party)+"/invite", "", `{"invites": []}`)
			}
			c.expectJSON("GET", "/wsgi_party/", "", "["+strings.Join(want, ",")+"]")
		})
	}
}

// TestWhatTheAdminAPIShowsIsInTheSameOrderEachTime has two parties in many servers,
// which Caddy sets up in an order of its own.
func TestWhatTheAdminAPIShowsIsInTheSameOrderEachTime(t *testing.T) {
	services := strings.Fields("k b d e f g h i j a l m n o p")
	onInvites(t, "many", connects("x", services...))
	c := newAdminTest(t)
	var site strings.Builder
	site.WriteString("ADDRESS")
	const servers = 9
	for range servers - 1 {
		site.WriteString(", http://" + testport.Address(t))
	}
	site.WriteString(" {\n")
	for _, party := range []string{"z", "a"} {
		fmt.Fprintf(&site, "wsgi_party %s {\n", party)
		for _, guest := range strings.Fields("c e a d b") {
			fmt.Fprintf(&site, "invite /%s/%s/__invite__/ as %[2]s\ntest_app /%[1]s/%[2]s/* many\n", party, guest)
		}
		site.WriteString("}\n")
	}
	site.WriteString("}")
	c.Load(site.String())

	want := c.plain(c.Call("GET", "/wsgi_party/", "").Body)
	var shown []struct {
		Party   string
		Invites []struct{ Server, Guest string }
		Guests  []struct {
			Guest    string
			Services []string
			Replicas int
		}
		Services []struct {
			Service string
			Guests  []string
		}
		Counts []struct{ Guest, Service string }
	}
	partytest.Decode(c, c.Call("GET", "/wsgi_party/", ""), &shown)
	var order []string
	for _, p := range shown {
		var line []string
		for _, i := range p.Invites {
			line = append(line, i.Server+i.Guest)
		}
		for _, g := range p.Guests {
			line = append(line, fmt.Sprint(g.Guest, g.Replicas))
			if !slices.Equal(g.Services, slices.Sorted(slices.Values(services))) {
				t.Errorf("services of %s: %v", g.Guest, g.Services)
			}
		}
		for _, s := range p.Services {
			line = append(line, s.Service)
			if fmt.Sprint(s.Guests) != "[c e a d b]" { // as they are asked
				t.Errorf("guests of %s: %v", s.Service, s.Guests)
			}
		}
		order = append(order, p.Party+": "+strings.Join(line, " "))
		for i, g := range strings.Fields("a b c d e") {
			for j, s := range slices.Sorted(slices.Values(services)) {
				if got := p.Counts[i*len(services)+j]; got.Guest != g || got.Service != s {
					t.Errorf("count of %s, %s, want %s, %s", got.Guest, got.Service, g, s)
				}
			}
		}
	}
	var invited strings.Builder
	for i := range servers {
		fmt.Fprintf(&invited, "srv%dc srv%[1]de srv%[1]da srv%[1]dd srv%[1]db ", i)
	}
	for i, party := range []string{"a", "z"} {
		if got, want := order[i], party+": "+invited.String()+"a9 b9 c9 d9 e9 a b d e f g h i j k l m n o p"; got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	for range 3 {
		for range 3 {
			c.same("again", c.plain(c.Call("GET", "/wsgi_party/", "").Body), want)
		}
		c.Load(site.String())
	}
}

func TestAReplicaThatLeavesIsNoLongerCounted(t *testing.T) {
	script := onInvites(t, "app", connects("pong", "ping"))
	c := newAdminTest(t)
	c.Load("ADDRESS, http://" + testport.Address(t) + " {\nwsgi_party main {\ninvite /app/__invite__/\ntest_app app\n}\n}")
	for left, want := range []string{
		`[{"guest": "app", "services": ["ping"], "replicas": 2, "joined": "TIME"}]`,
		`[{"guest": "app", "services": ["ping"], "replicas": 1, "joined": "TIME"}]`,
		`[]`,
	} {
		if left > 0 {
			script.operator(left - 1).Leave()
		}
		var shown struct{ Guests json.RawMessage }
		partytest.Decode(c, c.Call("GET", "/wsgi_party/main", ""), &shown)
		c.same("guests", c.plain(string(shown.Guests)), c.plain(want))
	}
}

func TestHeadOfTheAdminAPI(t *testing.T) {
	c := newAdminTest(t)
	c.Site("wsgi_party main")
	for path, status := range map[string]int{"/wsgi_party/": 200, "/wsgi_party/main": 200, "/wsgi_party/other": 404} {
		response := c.Call("HEAD", path, "")
		if response.Status != status || response.Body != "" || response.Header.Get("Content-Type") != "application/json" {
			t.Errorf("HEAD %s: %d %q %v, want %d", path, response.Status, response.Body, response.Header, status)
		}
	}
}

func TestAnAdminAskHasTheAnswersInOrderAndEachReply(t *testing.T) {
	c := newAdminTest(t)
	party := partytest.FreshParty()
	c.Site("wsgi_party " + party)
	c.connect(party, "zoe", "number", partytest.Answers("first"))
	c.connect(party, "shy", "number", func(context.Context, any) (any, error) { return nil, fmt.Errorf("no: %w", ErrHighAndDry) })
	c.connect(party, "broken", "number", func(context.Context, any) (any, error) { return "lost", errors.New("oh no") })
	adam := c.connect(party, "adam", "number", partytest.Answers(map[string]any{"b": []int{1, 2}, "a": nil}))
	if err := adam.Connect("number", partytest.Answers(nil)); err != nil {
		t.Fatal(err)
	}
	c.connect(party, "adam", "other", partytest.Answers("wrong"))
	c.expectJSON("POST", "/wsgi_party/"+party+"/ask/number", "", `{
		"answers": ["first", {"a": null, "b": [1, 2]}, null],
		"replies": [
			{"guest": "zoe", "mount": "", "status": "answered", "duration": "DURATION"},
			{"guest": "shy", "mount": "", "status": "declined", "duration": "DURATION"},
			{"guest": "broken", "mount": "", "status": "failed", "error": "guest \"broken\" failed to answer \"number\": oh no", "duration": "DURATION"},
			{"guest": "adam", "mount": "", "status": "answered", "duration": "DURATION"},
			{"guest": "adam", "mount": "", "status": "answered", "duration": "DURATION"}
		],
		"duration": "DURATION"
	}`)
	c.connect(party, "shy", "secret", func(context.Context, any) (any, error) { return nil, ErrHighAndDry })
	c.expectJSON("POST", "/wsgi_party/"+party+"/ask/secret/", "", `{
		"answers": [],
		"replies": [{"guest": "shy", "mount": "", "status": "declined", "duration": "DURATION"}],
		"duration": "DURATION"
	}`)
	var shown struct {
		Counts []struct {
			Guest, Service                    string
			Asked, Answered, Declined, Failed int
		}
	}
	partytest.Decode(c, c.Call("GET", "/wsgi_party/"+party, ""), &shown)
	if got := fmt.Sprint(shown.Counts); got != "[{adam number 2 2 0 0} {adam other 0 0 0 0} {broken number 1 0 0 1} {shy number 1 0 1 0} {shy secret 1 0 1 0} {zoe number 1 1 0 0}]" {
		t.Errorf("counts: %s", got)
	}
}

type askedJSON struct {
	Answers []any
	Replies []struct {
		Guest, Status, Note, Error string
		Duration                   float64
	}
	Duration float64
}

func TestAdminAskFirst(t *testing.T) {
	c := newAdminTest(t)
	c.Site("wsgi_party main")
	var calls []string
	for _, guest := range []string{"shy", "one", "two"} {
		c.connect("main", guest, "number", func(context.Context, any) (any, error) {
			calls = append(calls, guest)
			if guest == "shy" {
				return nil, ErrHighAndDry
			}
			return guest, nil
		})
	}
	for query, want := range map[string]string{
		"":              "shy one two",
		"?":             "shy one two",
		"?second":       "shy one two",
		"?first=false":  "shy one two",
		"?first=0":      "shy one two",
		"?first":        "shy one",
		"?first=":       "shy one",
		"?first=true":   "shy one",
		"?first=1":      "shy one",
		"?x=y&first":    "shy one",
		"?first=no":     "",
		"?first=truely": "",
		"?first=%00":    "",
	} {
		calls = nil
		response := c.Call("POST", "/wsgi_party/main/ask/number"+query, "")
		if got := strings.Join(calls, " "); got != want {
			t.Errorf("%s: asked were %q, want %q", query, got, want)
		}
		if want == "" {
			c.expectError(query, response, http.StatusBadRequest, "first", "write true or false")
			continue
		}
		var asked askedJSON
		partytest.Decode(c, response, &asked)
		var replied []string
		for _, reply := range asked.Replies {
			replied = append(replied, reply.Guest)
		}
		listed := want
		if want == "shy one" { // who declined before is left out
			listed = "one"
		}
		if got := strings.Join(replied, " "); got != listed {
			t.Errorf("%s: replies of %q, want %q", query, got, listed)
		}
		if got := "shy " + strings.Trim(fmt.Sprint(asked.Answers), "[]"); got != want {
			t.Errorf("%s: answers %v", query, asked.Answers)
		}
	}
}

func TestAdminAskDurationsAreThoseOfTheHandlers(t *testing.T) {
	c := newAdminTest(t)
	c.Site("wsgi_party main")
	const pause = 20 * time.Millisecond
	for _, guest := range []string{"quick", "slow", "quick, too"} {
		c.connect("main", guest, "wait", func(context.Context, any) (any, error) {
			if guest == "slow" {
				time.Sleep(pause)
			}
			return nil, nil
		})
	}
	var asked askedJSON
	partytest.Decode(c, c.Call("POST", "/wsgi_party/main/ask/wait", ""), &asked)
	sum := 0.
	for _, reply := range asked.Replies {
		sum += reply.Duration
	}
	if slow := asked.Replies[1].Duration; slow < pause.Seconds() || slow > 10 {
		t.Errorf("the slow one took %v s", slow)
	}
	if sum > asked.Duration+1e-9 { // of adding up decimals
		t.Errorf("the handlers took %v s, one after the other, and the ask %v", sum, asked.Duration)
	}
}

// TestAdminAskOfRemoteHandlers has the first one wait for the second.
func TestAdminAskOfRemoteHandlers(t *testing.T) {
	c := newAdminTest(t)
	c.Site("wsgi_party main")
	const pause = 20 * time.Millisecond
	done := make(chan struct{}, 2)
	for _, guest := range []string{"zoe", "adam", "broken", "shy"} {
		if err := operatorOf(c, "main").Partyline().Operator(guest).ConnectRemote("far", func(ctx context.Context, payload any) (any, error) {
			switch guest {
			case "zoe":
				select {
				case <-done:
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			case "adam":
				time.Sleep(pause)
				done <- struct{}{}
			case "broken":
				panic("oh no")
			case "shy":
				return nil, ErrHighAndDry
			}
			return payload, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	response := c.Call("POST", "/wsgi_party/main/ask/far", `"x"`)
	var asked askedJSON
	partytest.Decode(c, response, &asked)
	var got []string
	for _, reply := range asked.Replies {
		first, _, _ := strings.Cut(reply.Error, "\n")
		got = append(got, fmt.Sprintln(reply.Guest, reply.Status, first))
		if reply.Duration <= 0 || reply.Duration > asked.Duration {
			t.Errorf("%s took %v s, the ask %v", reply.Guest, reply.Duration, asked.Duration)
		}
	}
	if want := []string{"zoe answered \n", "adam answered \n", "broken failed guest \"broken\" failed to answer \"far\": panic: oh no\n", "shy declined \n"}; !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	if fmt.Sprint(asked.Answers) != "[x x]" {
		t.Errorf("answers: %v", asked.Answers)
	}
	for i := range 2 { // though when its turn came the second one had replied already
		if asked.Replies[i].Duration < pause.Seconds() {
			t.Errorf("%s took %v s", asked.Replies[i].Guest, asked.Replies[i].Duration)
		}
	}
	asked = askedJSON{}
	partytest.Decode(c, c.Call("POST", "/wsgi_party/main/ask/far?first", `"x"`), &asked)
	if len(asked.Replies) != 1 || fmt.Sprint(asked.Answers) != "[x]" {
		t.Errorf("first: %+v", asked)
	}
}

func TestAdminAskPassesOnThePayload(t *testing.T) {
	c := newAdminTest(t)
	c.Site("wsgi_party main")
	var got []any
	c.connect("main", "echo", "echo", func(_ context.Context, payload any) (any, error) {
		got = append(got, payload)
		return payload, nil
	})
	long := strings.Repeat("x", 1<<20-2)
	nested := strings.Repeat("[", 64) + strings.Repeat("]", 64)
	for body, want := range map[string]any{
		"":                     nil,
		" \r\n\t":              nil,
		"null":                 nil,
		"true":                 true,
		` "a\u00e9\n" `:        "aé\n",
		`""`:                   "",
		"0":                    json.Number("0"),
		"12345678901234567890": json.Number("12345678901234567890"),
		"-1.10":                json.Number("-1.10"),
		"1E+300":               json.Number("1E+300"),
		"[]":                   []any{},
		`{"id": 9007199254740993, "x": [1.0, null]}`: map[string]any{"id": json.Number("9007199254740993"), "x": []any{json.Number("1.0"), nil}},
		`"` + long + `"`: long,
	} {
		got = nil
		response := c.Call("POST", "/wsgi_party/main/ask/echo", body)
		if len(body) > 100 {
			body = body[:100]
		}
		if response.Status != http.StatusOK || len(got) != 1 || !reflect.DeepEqual(got[0], want) {
			t.Errorf("%q: %d %.200s, the handler got %.200v, want %.200v", body, response.Status, response.Body, got, want)
			continue
		}
		var asked struct{ Answers []json.RawMessage }
		partytest.Decode(c, response, &asked)
		if again, err := wire.ParsePayload(asked.Answers[0]); err != nil || !reflect.DeepEqual(again, want) {
			t.Errorf("%q: answered %.200s, want %.200v", body, asked.Answers[0], want)
		}
	}
	got = nil
	if response := c.Call("POST", "/wsgi_party/main/ask/echo", nested); response.Status != http.StatusOK || len(got) != 1 {
		t.Errorf("nested: %d %.200s", response.Status, response.Body)
	}

	type typed struct{ ID uint64 }
	var id typed
	c.connect("main", "typed", "typed", func(_ context.Context, payload any) (_ any, err error) {
		id, err = PayloadAs[typed](payload)
		return nil, err
	})
	if response := c.Call("POST", "/wsgi_party/main/ask/typed", `{"id": 18446744073709551615}`); id.ID != math.MaxUint64 {
		t.Errorf("%v: %s", id, response.Body)
	}
}

type cyclic struct{ Self *cyclic }

type badJSON func() ([]byte, error)

func (f badJSON) MarshalJSON() ([]byte, error) { return f() }

func TestAnAnswerThatJSONCannotCarryIsShownAsItsType(t *testing.T) {
	ring := new(cyclic)
	ring.Self = ring
	list := make([]any, 1)
	list[0] = list
	c := newAdminTest(t)
	c.Site("wsgi_party main")
	var answer any
	c.connect("main", "before", "any", partytest.Answers("before"))
	c.connect("main", "odd", "any", func(context.Context, any) (any, error) { return answer, nil })
	c.connect("main", "after", "any", partytest.Answers("after"))
	for _, test := range []struct {
		answer    any
		want, why string
	}{
		{func(int) string { return "" }, "func(int) string", "unsupported type"},
		{make(chan int), "chan int", "unsupported type"},
		{math.NaN(), "float64", "unsupported value: NaN"},
		{math.Inf(-1), "float64", "-Inf"},
		{complex(1, 2), "complex128", "unsupported type"},
		{ring, "*wsgiparty.cyclic", "cycle"},
		{list, "[]interface {}", "cycle"},
		{map[string]any{"x": func() {}}, "map[string]interface {}", "func()"},
		{map[struct{ X int }]int{}, "map[struct { X int }]int", "unsupported type"},
		{struct {
			F func() `json:"<ü>"`
		}{}, "struct { F func() \"json:\\\"<ü>\\\"\" }", "func()"},
		{http.DefaultServeMux.ServeHTTP, "func(http.ResponseWriter, *http.Request)", "unsupported type"},
		{badJSON(func() ([]byte, error) { panic("oh no") }), "wsgiparty.badJSON", "panic: oh no"},
		{badJSON(func() ([]byte, error) { panic(unspeakableError{}) }), "wsgiparty.badJSON", "panic"},
		{badJSON(func() ([]byte, error) { var none *cyclic; return nil, fmt.Errorf("%v", none.Self) }), "wsgiparty.badJSON", "nil pointer"},
		{badJSON(func() ([]byte, error) { return nil, errors.New("oh no") }), "wsgiparty.badJSON", "oh no"},
		{badJSON(func() ([]byte, error) { return []byte("{"), nil }), "wsgiparty.badJSON", "unexpected end"},
		{json.RawMessage("{}}"), "json.RawMessage", "more than one JSON value"},
		{json.Number("one"), "json.Number", "invalid number"},
	} {
		answer = test.answer
		var asked askedJSON
		partytest.Decode(c, c.Call("POST", "/wsgi_party/main/ask/any", ""), &asked)
		if !reflect.DeepEqual(asked.Answers, []any{"before", test.want, "after"}) || len(asked.Replies) != 3 {
			t.Errorf("%T: %v", answer, asked)
			continue
		}
		odd := asked.Replies[1]
		if odd.Status != "answered" || odd.Error != "" || !strings.Contains(odd.Note, "JSON cannot carry") || !strings.Contains(odd.Note, test.why) {
			t.Errorf("%T: %+v", answer, odd)
		}
		if asked.Replies[0].Note != "" || asked.Replies[2].Note != "" {
			t.Errorf("notes about the others: %+v", asked.Replies)
		}
	}
}

func TestAnswersThatJSONCanCarryComeAsTheyAre(t *testing.T) {
	c := newAdminTest(t)
	c.Site("wsgi_party main")
	var answer any
	c.connect("main", "app", "any", func(context.Context, any) (any, error) { return answer, nil })
	for _, test := range []struct{ answer, want any }{
		{`<a href="/x?y=1&z=2">é</a>`, `<a href="/x?y=1&z=2">é</a>`},
		{json.RawMessage(`{"a": [1]}`), map[string]any{"a": []any{1.}}},
		{json.RawMessage(nil), nil},
		{(*cyclic)(nil), nil},
		{struct {
			A int `json:"a"`
			b int
		}{1, 2}, map[string]any{"a": 1.}},
		{[]string(nil), nil},
		{time.Unix(0, 0).UTC(), "1970-01-01T00:00:00Z"},
		{"\xff", "\ufffd"},
		{"", ""},
		{false, false},
	} {
		answer = test.answer
		var asked askedJSON
		partytest.Decode(c, c.Call("POST", "/wsgi_party/main/ask/any", ""), &asked)
		if len(asked.Replies) != 1 || !reflect.DeepEqual(asked.Answers, []any{test.want}) || asked.Replies[0].Note != "" {
			t.Errorf("%#v: %+v, want %#v", answer, asked, test.want)
		}
	}
}

func TestAdminAskSaysHowAHandlerPanicked(t *testing.T) {
	c := newAdminTest(t)
	party := partytest.FreshParty()
	c.Site("wsgi_party " + party)
	for _, value := range []any{"oh no", unspeakableError{}, http.ErrAbortHandler, ErrHighAndDry} {
		operator := c.connect(party, "wild", "any", func(context.Context, any) (any, error) { panic(value) })
		c.connect(party, "tame", "any", partytest.Answers("tame"))
		var asked askedJSON
		partytest.Decode(c, c.Call("POST", "/wsgi_party/"+party+"/ask/any", ""), &asked)
		var wild string
		for _, reply := range asked.Replies {
			if reply.Guest == "wild" && reply.Status == "failed" {
				wild = reply.Error
			}
		}
		if !strings.HasPrefix(wild, `guest "wild" failed to answer "any": panic: `) || !strings.Contains(wild, "admin_test.go:") || fmt.Sprint(asked.Answers) != "[tame]" {
			t.Errorf("%T: %+v", value, asked)
		}
		var shown struct {
			Counts []struct {
				Guest     string
				LastError string `json:"last_error"`
			}
		}
		partytest.Decode(c, c.Call("GET", "/wsgi_party/"+party, ""), &shown)
		if shown.Counts[1].Guest != "wild" || shown.Counts[1].LastError != wild {
			t.Errorf("%T: the last error is %+v, want %s", value, shown.Counts, wild)
		}
		operator.Leave()
	}
}

// TestAClientThatGoesAwayEndsItsAsk has it go while the first handler is at it.
func TestAClientThatGoesAwayEndsItsAsk(t *testing.T) {
	c := newAdminTest(t)
	party := partytest.FreshParty()
	c.Site("wsgi_party " + party)
	asked := make(chan string, 2)
	ended := make(chan struct{})
	c.connect(party, "patient", "wait", func(ctx context.Context, _ any) (any, error) {
		asked <- "patient"
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	})
	last := c.connect(party, "next", "wait", func(context.Context, any) (any, error) {
		asked <- "next"
		return nil, nil
	})
	ctx, leave := context.WithCancel(context.Background())
	gone := make(chan error, 1)
	go func() {
		_, err := c.TryCall(ctx, "POST", "/wsgi_party/"+party+"/ask/wait", strings.NewReader("1"))
		gone <- err
	}()
	<-asked
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	partytest.Eventually(t, "the handler is told", func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
	partytest.Eventually(t, "the ask is counted", func() bool {
		_, replies := last.Partyline().Counts()
		return replies[1].Failed == 1
	})
	if len(asked) != 0 {
		t.Error("the next guest is asked")
	}
}

// bodyOf is a request's body that is made when the server reads it.
type bodyOf func() string

func (f bodyOf) Read(p []byte) (int, error) { return copy(p, f()), io.EOF }

// TestWhoLeavesWhileAnAdminAskArrivesIsNotThere has the only guest leave after its
// service was found.
func TestWhoLeavesWhileAnAdminAskArrivesIsNotThere(t *testing.T) {
	c := newAdminTest(t)
	c.Site("wsgi_party main\nwsgi_party quiet {\nignore_missing_services\n}")
	transport := partytest.Client.Transport.(*http.Transport).Clone()
	transport.ExpectContinueTimeout = time.Minute
	for _, party := range []string{"main", "quiet"} {
		operator := c.connect(party, "app", "ping", partytest.Pong)
		r, err := http.NewRequest("POST", "http://"+c.Admin+"/wsgi_party/"+party+"/ask/ping", bodyOf(func() string {
			operator.Leave()
			return "1"
		}))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Expect", "100-continue")
		response, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		got := partytest.Response{Status: response.StatusCode, Header: response.Header, Body: partytest.ReadAll(t, response)}
		if party == "quiet" {
			c.isJSON(party, got, `{"answers": [], "replies": [], "duration": "DURATION"}`)
		} else {
			c.expectError(party, got, http.StatusNotFound, `"main"`, `"ping"`)
		}
	}
}

// TestNamesInAdminPathsAreEscaped has parties, guests and services of odd names.
func TestNamesInAdminPathsAreEscaped(t *testing.T) {
	names := []string{
		"a/b", "/", "//", "a b", " ", "100%", "%2F", "größe/日本", "what?", "?first", "a&b=c", "a+b", "a;b", "#", "..", ".", "a/../b",
		"ask", "invite", "wsgi_party", `"quoted"`, `back\slash`, "<b>", "a:b", "😀",
	}
	partytest.App(t, "app", func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		operator, _ := OperatorFrom(r)
		for _, service := range []string{operator.Guest(), "another"} {
			if err := operator.Connect(service, partytest.Answers(operator.Guest())); err != nil {
				return err
			}
		}
		return nil
	})
	var site strings.Builder
	for i, name := range names {
		quoted := `"` + strings.NewReplacer(`"`, `\"`).Replace(name) + `"`
		fmt.Fprintf(&site, "wsgi_party * %s {\ninvite /%d/__invite__/ as %[1]s\ninvite /x%[2]d/__invite__/\ntest_app app\n}\n", quoted, i)
	}
	c := newAdminTest(t)
	c.Site(site.String())
	for _, name := range names {
		// A path is cleaned on its way, where dots are not escaped.
		path := "/wsgi_party/" + strings.ReplaceAll(url.PathEscape(name), ".", "%2E")
		var shown partyJSON
		partytest.Decode(c, c.Call("GET", path, ""), &shown)
		if shown.Party != name || len(shown.Invites) != 2 || shown.Invites[0].Guest != name || len(shown.Guests) != 2 {
			t.Errorf("%q: %+v", name, shown)
		}
		var asked askedJSON
		partytest.Decode(c, c.Call("POST", path+"/ask/"+strings.ReplaceAll(url.PathEscape(name), ".", "%2E")+"?first", ""), &asked)
		if fmt.Sprint(asked.Answers) != "["+name+"]" {
			t.Errorf("asking %q: %v", name, asked.Answers)
		}
		var sent struct{ Invites []sentJSON }
		partytest.Decode(c, c.Call("POST", path+"/invite?guest="+url.QueryEscape(name), ""), &sent)
		if len(sent.Invites) != 1 || sent.Invites[0].Guest != name {
			t.Errorf("inviting %q: %+v", name, sent)
		}
	}
	var all []partyJSON
	partytest.Decode(c, c.Call("GET", "/wsgi_party/", ""), &all)
	if len(all) != len(names) {
		t.Errorf("%d parties, want %d", len(all), len(names))
	}
}

// adminEvents keeps the events of a config.
type adminEvents struct {
	mu   sync.Mutex
	seen []string
}

func (s *adminEvents) Handle(_ context.Context, e caddy.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, fmt.Sprint(e.Name(), " ", e.Data["guest"], " ", e.Data["services"]))
	return nil
}

func (s *adminEvents) events() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// keepsEvents makes `test_app events` keep those of parties.
func keepsEvents(t testing.TB) *adminEvents {
	s := new(adminEvents)
	partytest.OnProvision(t, "events", func(ctx caddy.Context) error {
		loaded, err := ctx.App("events")
		if err != nil {
			return err
		}
		for _, name := range []string{"guest_joined", "guest_left", "invite_refused", "invite_failed", "invite_not_answered"} {
			if err := loaded.(*caddyevents.App).On(name, s); err != nil {
				return err
			}
		}
		return nil
	})
	return s
}

func TestGuestsThatDidNotJoinAreInvitedAgainByTheAdminAPI(t *testing.T) {
	there := onInvites(t, "there", connects("there", "ping"))
	late := onInvites(t, "late", responds(503), connects("late", "ping"))
	wild := onInvites(t, "wild", func(http.ResponseWriter, *http.Request, *Operator) error { panic("oh no") }, connects(nil))
	never := onInvites(t, "never", fails(errNoEntry))
	events := keepsEvents(t)
	c := newAdminTest(t)
	c.Site(`
	route {
		test_app events
		wsgi_party main {
			invite /late/__invite__/ /there/__invite__/ /never/__invite__/
			invite https://example.com/wild/__invite__/
			test_app /there/* there
			test_app /late/* late
			test_app /wild/* wild
			test_app /never/* never
		}
	}`)
	atLoad := []string{"invite_failed late []", "guest_joined there [ping]", "invite_refused never []", "invite_failed wild []"}
	expectEvents := func(want []string) {
		t.Helper()
		partytest.Eventually(t, "events", func() bool { return len(events.events()) >= len(want) })
		if got := events.events(); !slices.Equal(got, want) {
			t.Errorf("events: %q\nwant %q", got, want)
		}
	}
	expectEvents(atLoad)
	var before, after partyJSON
	partytest.Decode(c, c.Call("GET", "/wsgi_party/main", ""), &before)

	invites := []string{
		`{"server": "srv0", "uri": "/late/__invite__/", "guest": "late", "result": "joined", "status": 204, "error": "", "time": "TIME", "duration": "DURATION"`,
		`{"server": "srv0", "uri": "/there/__invite__/", "guest": "there", "result": "joined", "status": 204, "error": "", "time": "TIME", "duration": "DURATION"`,
		`{"server": "srv0", "uri": "/never/__invite__/", "guest": "never", "result": "refused", "status": 403, "error": "` + errNoEntry.Error() + `", "hint": "HINT", "time": "TIME", "duration": "DURATION"`,
		`{"server": "srv0", "uri": "https://example.com/wild/__invite__/", "guest": "wild", "result": "joined", "status": 204, "error": "", "time": "TIME", "duration": "DURATION"`,
	}
	reported := func(sent ...bool) string {
		var all []string
		for i, invite := range invites {
			all = append(all, fmt.Sprintf(`%s, "sent": %v}`, invite, sent[i]))
		}
		return `{"invites": [` + strings.Join(all, ",") + `]}`
	}
	c.expectJSON("POST", "/wsgi_party/main/invite", "", reported(true, false, true, true))
	c.ExpectAnswers("main", "ping", "late", "there")

	// It is shown, logged and told as at load.
	var shown struct{ Invites, Guests json.RawMessage }
	partytest.Decode(c, c.Call("GET", "/wsgi_party/main", ""), &shown)
	c.same("invites", c.plain(string(shown.Invites)), c.plain("["+strings.Join(invites, "},")+"}]"))
	c.same("guests", c.plain(string(shown.Guests)), c.plain(`[
		{"guest": "late", "services": ["ping"], "replicas": 1, "joined": "TIME"},
		{"guest": "there", "services": ["ping"], "replicas": 1, "joined": "TIME"},
		{"guest": "wild", "services": [], "replicas": 1, "joined": "TIME"}]`))
	partytest.Decode(c, c.Call("GET", "/wsgi_party/main", ""), &after)
	for i := range before.Invites {
		if again := after.Invites[i].Time.After(before.Invites[i].Time); again != (before.Invites[i].Guest != "there") {
			t.Errorf("%s was invited at %v, and first at %v", before.Invites[i].Guest, after.Invites[i].Time, before.Invites[i].Time)
		}
	}
	var joined []string
	for _, e := range partytest.LogEntries(t, "guest joined") {
		joined = append(joined, fmt.Sprintln(e["level"], e["logger"], e["party"], e["guest"], e["uri"], e["services"], e["duration"] != nil))
	}
	if want := []string{
		"info http.handlers.wsgi_party main there /there/__invite__/ [ping] true\n",
		"info http.handlers.wsgi_party main late /late/__invite__/ [ping] true\n",
		"info http.handlers.wsgi_party main wild https://example.com/wild/__invite__/ [] true\n",
	}; !slices.Equal(joined, want) {
		t.Errorf("joined: %q\nwant %q", joined, want)
	}
	if refused := partytest.LogEntries(t, "invite refused"); len(refused) != 2 || refused[1]["status"] != 403. || refused[1]["hint"] != refused[0]["hint"] {
		t.Errorf("refused: %v", refused)
	}
	again := append(slices.Clone(atLoad), "guest_joined late [ping]", "invite_refused never []", "guest_joined wild []")
	expectEvents(again)

	// Each invite brought a new operator, and the one before has left.
	if there.invites() != 1 || late.invites() != 2 || wild.invites() != 2 || never.invites() != 2 {
		t.Errorf("invites: %d, %d, %d, %d", there.invites(), late.invites(), wild.invites(), never.invites())
	}
	for _, script := range []*guestScript{late, wild, never} {
		one, two := script.operator(0), script.operator(1)
		if one == two || one.Guest() != two.Guest() || one.Partyline() != two.Partyline() {
			t.Errorf("operators %v and %v", one, two)
		}
		if err := one.Connect("late", partytest.Pong); !errors.Is(err, ErrLeft) {
			t.Errorf("connecting with the operator before: %v", err)
		}
	}

	c.expectJSON("POST", "/wsgi_party/main/invite", "", reported(false, false, true, false))
	expectEvents(append(again, "invite_refused never []"))
	if there.invites() != 1 || late.invites() != 2 || wild.invites() != 2 || never.invites() != 3 {
		t.Errorf("invites: %d, %d, %d, %d", there.invites(), late.invites(), wild.invites(), never.invites())
	}
	if left := partytest.LogEntries(t, "guest left"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestTheAdminAPIInvitesOneGuest(t *testing.T) {
	one := onInvites(t, "one", responds(500), connects("one", "ping"))
	two := onInvites(t, "two", responds(500), connects("two", "ping"))
	partytest.OnProvision(t, "joins", joins("main", "teller", "time", "noon"))
	c := newAdminTest(t)
	c.Site(`
	route {
		test_app joins
		wsgi_party main {
			invite /one/__invite__/ /two/__invite__/
			test_app /one/* one
			test_app /two/* two
		}
	}`)
	c.expectError("nobody of that name", c.Call("POST", "/wsgi_party/main/invite?guest=three", ""), 404, `"three"`, "one, two")
	c.expectError("it was never invited", c.Call("POST", "/wsgi_party/main/invite?guest=teller", ""), 404, `"teller"`, "one, two")
	for i, sent := range []bool{true, false} {
		c.expectJSON("POST", "/wsgi_party/main/invite?guest=two", "", fmt.Sprintf(`{"invites": [
			{"server": "srv0", "uri": "/two/__invite__/", "guest": "two", "result": "joined", "status": 204, "error": "", "time": "TIME", "duration": "DURATION", "sent": %v}]}`, sent))
		if one.invites() != 1 || two.invites() != 2 {
			t.Errorf("%d: invites: %d, %d", i, one.invites(), two.invites())
		}
	}
	c.ExpectAnswers("main", "ping", "two")
	if response := c.Call("POST", "/wsgi_party/main/invite?guest=", ""); response.Status != 200 || one.invites() != 2 || two.invites() != 2 {
		t.Errorf("%s, invites: %d, %d", response.Body, one.invites(), two.invites())
	}
}

func TestAGuestThatLeftIsInvitedAgain(t *testing.T) {
	script := onInvites(t, "app", connects("pong", "ping"))
	other := onInvites(t, "other", connects("other", "ping"))
	events := keepsEvents(t)
	c := newAdminTest(t)
	c.Site("route {\ntest_app events\nwsgi_party main {\ninvite /app/__invite__/ /other/__invite__/\ntest_app /app/* app\ntest_app /other/* other\n}\n}")
	partytest.Eventually(t, "the config's events", func() bool { return len(events.events()) == 2 })
	for n := range 2 {
		script.operator(n).Leave()
		c.ExpectAnswers("main", "ping", "other")
		var sent struct{ Invites []sentJSON }
		partytest.Decode(c, c.Call("POST", "/wsgi_party/main/invite", ""), &sent)
		if i := sent.Invites; len(i) != 2 || !i[0].Sent || i[0].Result != InviteJoined || i[1].Sent {
			t.Errorf("%+v", i)
		}
		c.ExpectAnswers("main", "ping", "pong", "other")
	}
	partytest.Eventually(t, "the events", func() bool {
		return slices.Equal(events.events(), []string{"guest_joined app [ping]", "guest_joined other [ping]",
			"guest_left app [ping]", "guest_joined app [ping]", "guest_left app [ping]", "guest_joined app [ping]"})
	})
	if script.invites() != 3 || other.invites() != 1 {
		t.Errorf("invites: %d, %d", script.invites(), other.invites())
	}
}

// TestWhatAFailedGuestHadConnectedIsReplacedWithoutAGap asks all the while the guest
// is invited again.
func TestWhatAFailedGuestHadConnectedIsReplacedWithoutAGap(t *testing.T) {
	var during func(string)
	onInvites(t, "app",
		bothOf(connects("old", "ping", "old"), fails(errors.New("oh no"))),
		func(w http.ResponseWriter, r *http.Request, operator *Operator) error {
			during("before it connects")
			if err := connects("new", "ping", "new")(w, r, operator); err != nil {
				return err
			}
			during("before it has answered")
			return nil
		})
	partytest.Guest(t, "behind", "behind", "ping")
	events := keepsEvents(t)
	c := newAdminTest(t)
	c.Site("route {\ntest_app events\nwsgi_party main {\ninvite /app/__invite__/ /behind/__invite__/\ntest_app /app/* app\ntest_app /behind/* behind\n}\n}")
	c.ExpectAnswers("main", "ping", "old", "behind")
	during = func(when string) {
		if got, err := operatorOf(c, "main").AskAround(context.Background(), "ping", nil); err != nil || !slices.Equal(got, []any{"old", "behind"}) {
			t.Errorf("%s: %v, %v", when, got, err)
		}
	}
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			for replaced := false; ; {
				got, err := operatorOf(c, "main").AskAround(context.Background(), "ping", nil)
				if err != nil || len(got) != 2 || got[1] != "behind" || got[0] != "old" && got[0] != "new" || got[0] == "old" && replaced {
					t.Errorf("%v, %v", got, err)
					return
				}
				replaced = got[0] == "new"
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	response := c.Call("POST", "/wsgi_party/main/invite", "")
	close(stop)
	group.Wait()
	var sent struct{ Invites []sentJSON }
	if partytest.Decode(c, response, &sent); !sent.Invites[0].Sent || sent.Invites[0].Result != InviteJoined {
		t.Errorf("%s", response.Body)
	}
	// It has kept its place.
	c.ExpectAnswers("main", "ping", "new", "behind")
	c.ExpectAnswers("main", "new", "new")
	c.ExpectAnswers("main", "old")
	var shown struct {
		Guests []struct {
			Guest    string
			Replicas int
			Services []string
		}
	}
	partytest.Decode(c, c.Call("GET", "/wsgi_party/main", ""), &shown)
	if got := fmt.Sprint(shown.Guests); got != "[{app 1 [new ping]} {behind 1 [ping]}]" {
		t.Errorf("guests: %s", got)
	}
	partytest.Eventually(t, "the events", func() bool {
		return slices.Equal(events.events(), []string{"invite_failed app [old ping]", "guest_joined behind [ping]", "guest_joined app [new ping]"})
	})
}

func TestWhatAGuestHadConnectedThatFailsAgainIsDisconnected(t *testing.T) {
	onInvites(t, "app", bothOf(connects("old", "ping"), fails(errors.New("oh no"))), responds(500))
	c := newAdminTest(t)
	c.Site("wsgi_party main {\ninvite /app/__invite__/\ntest_app app\n}")
	c.ExpectAnswers("main", "ping", "old")
	c.expectJSON("POST", "/wsgi_party/main/invite", "", `{"invites": [
		{"server": "srv0", "uri": "/app/__invite__/", "guest": "app", "result": "failed", "status": 500, "error": "", "hint": "HINT", "time": "TIME", "duration": "DURATION", "sent": true}]}`)
	c.ExpectAnswers("main", "ping")
	var shown struct{ Guests []guestJSON }
	if partytest.Decode(c, c.Call("GET", "/wsgi_party/main", ""), &shown); len(shown.Guests) != 0 {
		t.Errorf("%+v", shown)
	}
}

// TestWhoIsConnectedButHasNotJoinedIsInvitedAgain has guests connect something and
// then not join, each in another way.
func TestWhoIsConnectedButHasNotJoinedIsInvitedAgain(t *testing.T) {
	for name, does := range map[string]func(http.ResponseWriter, *http.Request, *Operator) error{
		"not found": responds(404),
		"redirect":  responds(302),
		"refused":   responds(403),
		"5xx":       responds(500),
		"error":     fails(errors.New("oh no")),
		"panic":     func(http.ResponseWriter, *http.Request, *Operator) error { panic("oh no") },
	} {
		t.Run(name, func(t *testing.T) {
			onInvites(t, "app", func(w http.ResponseWriter, r *http.Request, operator *Operator) error {
				return errors.Join(operator.Connect("ping", partytest.Answers("old")), does(w, r, operator))
			}, connects("new", "ping"))
			c := newAdminTest(t)
			c.Site("wsgi_party main {\ninvite /app/__invite__/\ntest_app app\n}")
			c.ExpectAnswers("main", "ping", "old")
			c.expectJSON("POST", "/wsgi_party/main/invite", "", `{"invites": [
				{"server": "srv0", "uri": "/app/__invite__/", "guest": "app", "result": "joined", "status": 204, "error": "", "time": "TIME", "duration": "DURATION", "sent": true}]}`)
			c.ExpectAnswers("main", "ping", "new")
		})
	}
}

// TestReplicasAreInvitedAgainEachByItself has the invite of one of two servers fail.
func TestReplicasAreInvitedAgainEachByItself(t *testing.T) {
	script := onInvites(t, "app", responds(500), connects("pong", "ping"))
	c := newAdminTest(t)
	c.Load("ADDRESS, http://" + testport.Address(t) + " {\nwsgi_party main {\ninvite /app/__invite__/\ntest_app app\n}\n}")
	var shown partyJSON
	partytest.Decode(c, c.Call("GET", "/wsgi_party/main", ""), &shown)
	if len(shown.Guests) != 1 || shown.Guests[0].Replicas != 1 {
		t.Errorf("guests: %+v", shown.Guests)
	}
	var sent struct{ Invites []sentJSON }
	partytest.Decode(c, c.Call("POST", "/wsgi_party/main/invite?guest=app", ""), &sent)
	if len(sent.Invites) != 2 || script.invites() != 3 {
		t.Fatalf("%d invites: %+v", script.invites(), sent)
	}
	for i, server := range []string{"srv0", "srv1"} {
		was := shown.Invites[i]
		if got := sent.Invites[i]; was.Server != server || got.Server != server || got.Result != InviteJoined || got.Sent != (was.Result == InviteFailed) {
			t.Errorf("%+v, was %+v", got, was)
		}
	}
	partytest.Decode(c, c.Call("GET", "/wsgi_party/main", ""), &shown)
	if len(shown.Guests) != 1 || shown.Guests[0].Replicas != 2 {
		t.Errorf("guests: %+v", shown.Guests)
	}
	if body := c.Call("POST", "/wsgi_party/main/invite?guest=x", "").Body; !strings.Contains(body, `: the only invited guest is app"`) {
		t.Errorf("it does not name each guest once: %s", body)
	}
	c.ExpectAnswers("main", "ping", "pong")
}

func TestAGuestThatHangsWhenInvitedAgainIsAbandoned(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	hangs := onInvites(t, "hangs", responds(500), func(w http.ResponseWriter, r *http.Request, operator *Operator) error {
		err := connects("hanging", "ping")(w, r, operator)
		<-release
		return err
	}, connects("at last", "ping"))
	next := onInvites(t, "next", responds(500), connects("next", "ping"))
	c := newAdminTest(t)
	c.Site("wsgi_party main {\ninvite_timeout 200ms\ninvite /hangs/__invite__/ /next/__invite__/\ntest_app /hangs/* hangs\ntest_app /next/* next\n}")
	c.expectJSON("POST", "/wsgi_party/main/invite", "", `{"invites": [
		{"server": "srv0", "uri": "/hangs/__invite__/", "guest": "hangs", "result": "failed", "status": 204, "error": "it took longer than 200ms", "hint": "HINT", "time": "TIME", "duration": "DURATION", "sent": true},
		{"server": "srv0", "uri": "/next/__invite__/", "guest": "next", "result": "joined", "status": 204, "error": "", "time": "TIME", "duration": "DURATION", "sent": true}]}`)
	c.ExpectAnswers("main", "ping", "next")
	if err := hangs.operator(1).Connect("ping", partytest.Pong); !errors.Is(err, ErrLeft) {
		t.Errorf("connecting late: %v", err)
	}
	c.expectJSON("POST", "/wsgi_party/main/invite?guest=hangs", "", `{"invites": [
		{"server": "srv0", "uri": "/hangs/__invite__/", "guest": "hangs", "result": "joined", "status": 204, "error": "", "time": "TIME", "duration": "DURATION", "sent": true}]}`)
	c.ExpectAnswers("main", "ping", "at last", "next")
	if next.invites() != 2 {
		t.Errorf("%d invites", next.invites())
	}
}

// TestAGuestInvitedByManyAtOnceGetsOneInvite has all requests wait for one invite.
func TestAGuestInvitedByManyAtOnceGetsOneInvite(t *testing.T) {
	const posts = 8
	received := func() (n int) {
		for _, e := range partytest.LogEntries(t, "received request") {
			if e["method"] == "POST" {
				n++
			}
		}
		return n
	}
	entered, release := make(chan struct{}), make(chan struct{})
	script := onInvites(t, "app", responds(500), func(w http.ResponseWriter, r *http.Request, operator *Operator) error {
		close(entered)
		<-release
		return connects("pong", "ping")(w, r, operator)
	})
	c := newAdminTest(t)
	c.Site("wsgi_party main {\ninvite_timeout 30s\ninvite /app/__invite__/\ntest_app app\n}")
	var sent atomic.Int64
	var group sync.WaitGroup
	for range posts {
		group.Go(func() {
			response, err := c.TryCall(context.Background(), "POST", "/wsgi_party/main/invite", nil)
			var answer struct{ Invites []sentJSON }
			if err := errors.Join(err, json.Unmarshal([]byte(response.Body), &answer)); err != nil || len(answer.Invites) != 1 || answer.Invites[0].Result != InviteJoined {
				t.Errorf("%+v, %v", answer, err)
			} else if answer.Invites[0].Sent {
				sent.Add(1)
			}
		})
	}
	<-entered
	partytest.Eventually(t, "all requests arrive", func() bool { return received() == posts })
	// Meanwhile what came of the invite before is shown.
	var shown partyJSON
	if partytest.Decode(c, c.Call("GET", "/wsgi_party/main", ""), &shown); shown.Invites[0].Result != InviteFailed {
		t.Errorf("%+v", shown)
	}
	app, _ := running()
	partytest.Eventually(t, "others can join", func() bool {
		unlocked := app.mu.TryLock()
		if unlocked {
			app.mu.Unlock()
		}
		return unlocked
	})
	close(release)
	group.Wait()
	if sent.Load() != posts || script.invites() != 2 {
		t.Errorf("%d of %d had it sent, %d arrived", sent.Load(), posts, script.invites()-1)
	}
	c.ExpectAnswers("main", "ping", "pong")
}

// TestWhatIsUnderWayWhenAConfigIsReplacedComesToAnEnd has an ask, which finishes where
// it began, and an invite that is sent again, which ends with its config.
func TestWhatIsUnderWayWhenAConfigIsReplacedComesToAnEnd(t *testing.T) {
	asked, invited := make(chan struct{}), make(chan struct{})
	release := make(chan struct{})
	generation := 0
	partytest.OnProvision(t, "teller", func(ctx caddy.Context) error {
		generation++
		own := generation
		operator, err := Join(ctx, "main", "teller")
		if err != nil {
			return err
		}
		return operator.Connect("generation", func(context.Context, any) (any, error) {
			if own == 1 {
				close(asked)
				<-release
			}
			return own, nil
		})
	})
	onInvites(t, "app", responds(500), func(_ http.ResponseWriter, r *http.Request, _ *Operator) error {
		close(invited)
		<-r.Context().Done()
		return nil
	}, connects("pong", "ping"))
	c := newAdminTest(t)
	const site = "ADDRESS {\nroute {\ntest_app teller\nwsgi_party main {\ninvite /app/__invite__/\ninvite_timeout 30s\ntest_app app\n}\n}\n}"
	c.Load(site)
	var ask, invite partytest.Response
	var group sync.WaitGroup
	for path, response := range map[string]*partytest.Response{"ask/generation": &ask, "invite": &invite} {
		group.Go(func() {
			var err error
			if *response, err = c.TryCall(context.Background(), "POST", "/wsgi_party/main/"+path, nil); err != nil {
				t.Error(err)
			}
		})
	}
	<-asked
	<-invited
	if err := caddy.Load(c.Adapt(site), true); err != nil { // the endpoint stops when the requests end
		t.Fatal(err)
	}
	close(release)
	group.Wait()
	c.isJSON("ask", ask, `{"answers": [1], "replies": [{"guest": "teller", "mount": "", "status": "answered", "duration": "DURATION"}], "duration": "DURATION"}`)
	var sent struct{ Invites []sentJSON }
	if partytest.Decode(c, invite, &sent); len(sent.Invites) != 1 || !sent.Invites[0].Sent || sent.Invites[0].Result != InviteFailed || sent.Invites[0].Duration > 20 {
		t.Errorf("%+v", sent)
	}
	c.ExpectAnswers("main", "generation", 2)
	c.ExpectAnswers("main", "ping", "pong")
}

// TestAGuestBehindANamedRouteJoinsWhenInvitedAgain is for what is not there yet while
// the config loads.
func TestAGuestBehindANamedRouteJoinsWhenInvitedAgain(t *testing.T) {
	partytest.Guest(t, "named", "pong", "ping")
	c := newAdminTest(t)
	c.Load("&(named) {\nroute {\ntest_app named\n}\n}\nADDRESS {\nwsgi_party main {\ninvite /app/__invite__/\ninvoke named\n}\n}")
	c.ExpectAnswers("main", "ping")
	var sent struct{ Invites []sentJSON }
	if partytest.Decode(c, c.Call("POST", "/wsgi_party/main/invite", ""), &sent); sent.Invites[0].Result != InviteJoined {
		t.Errorf("%+v", sent)
	}
	c.ExpectAnswers("main", "ping", "pong")
}

func TestOnlyTheMethodsOfAnAdminEndpointAreAllowed(t *testing.T) {
	asks := 0
	script := onInvites(t, "app", responds(500))
	c := newAdminTest(t)
	c.Site("wsgi_party main {\ninvite /app/__invite__/\ntest_app app\n}")
	c.connect("main", "guest", "ping", func(context.Context, any) (any, error) { asks++; return nil, nil })
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"}
	for path, allowed := range map[string]string{
		"/wsgi_party/":              "GET, HEAD",
		"/wsgi_party/main":          "GET, HEAD",
		"/wsgi_party/main/":         "GET, HEAD",
		"/wsgi_party/invite":        "GET, HEAD", // a party's name
		"/wsgi_party/main/invite":   "POST",
		"/wsgi_party/main/ask/ping": "POST",
	} {
		for _, method := range methods {
			if slices.Contains(strings.Split(allowed, ", "), method) {
				continue
			}
			response := c.Call(method, path, "")
			if got := response.Header.Values("Allow"); !slices.Equal(got, []string{allowed}) {
				t.Errorf("%s %s: Allow: %q, want %q", method, path, got, allowed)
			}
			if method == "HEAD" {
				if response.Status != http.StatusMethodNotAllowed {
					t.Errorf("%s %s: %d", method, path, response.Status)
				}
				continue
			}
			c.expectError(method+" "+path, response, http.StatusMethodNotAllowed, method, strings.ReplaceAll(allowed, ", ", " and "))
		}
	}
	if asks != 0 || script.invites() != 1 {
		t.Errorf("%d asks, %d invites", asks, script.invites())
	}
}

func TestTheAdminAPISaysWhatThereIsWhereNothingIsFound(t *testing.T) {
	c := newAdminTest(t)
	c.Site("wsgi_party main\nwsgi_party other\nwsgi_party quiet {\nignore_missing_services\n}")
	for _, service := range strings.Fields("url ping d i g b e f a h j c") {
		c.connect("main", "guest", service, partytest.Pong)
	}
	paths := "write /wsgi_party/, /wsgi_party/{party}, /wsgi_party/{party}/invite or /wsgi_party/{party}/ask/{service}"
	for _, test := range []struct {
		method, path string
		want         []string
	}{
		{"GET", "/wsgi_party/mian", []string{`no party is called "mian": the parties are main, other, quiet`}},
		{"GET", "/wsgi_party/Main", []string{`no party is called "Main"`}},
		{"GET", "/wsgi_party/invite", []string{`no party is called "invite"`}},
		{"POST", "/wsgi_party/mian/invite", []string{`no party is called "mian": the parties are main, other, quiet`}},
		{"POST", "/wsgi_party/mian/invite?guest=x", []string{`no party is called "mian"`}},
		{"POST", "/wsgi_party/mian/ask/ping", []string{`no party is called "mian": the parties are main, other, quiet`}},
		{"POST", "/wsgi_party/main/ask/pong", []string{`no service is called "pong": the services are a, b, c, d, e, f, g, h, i, j, ping, url`}},
		{"POST", "/wsgi_party/main/ask/ping%2F", []string{`no service is called "ping/"`}},
		{"POST", "/wsgi_party/other/ask/ping", []string{`no service is called "ping": there is none`}},
		{"POST", "/wsgi_party/quiet/ask/ping", []string{`no service is called "ping": there is none`}},
		{"POST", "/wsgi_party/main/invite?guest=x", []string{`no invited guest is called "x": there is none`}},
		{"GET", "/wsgi_party/main/x", []string{paths}},
		{"GET", "/wsgi_party/main/guests/one", []string{paths}},
		{"POST", "/wsgi_party/main/ask", []string{paths}},
		{"POST", "/wsgi_party/main/ask/", []string{paths}},
		{"POST", "/wsgi_party/main/ask/ping/x", []string{paths}},
		{"POST", "/wsgi_party/main/ask/a/b", []string{paths}},
		{"POST", "/wsgi_party/main/invite/x", []string{paths}},
		{"POST", "/wsgi_party/main/Ask/ping", []string{paths}},
		{"CONNECT", "/wsgi_party//main", []string{paths}}, // the one method whose paths are not cleaned
		{"CONNECT", "/wsgi_party/main//", []string{paths}},
	} {
		c.expectError(test.method+" "+test.path, c.Call(test.method, test.path, ""), http.StatusNotFound, test.want...)
	}
}

func TestAPayloadThatIsNoJSONIsRejected(t *testing.T) {
	asks := 0
	c := newAdminTest(t)
	c.Site("wsgi_party main")
	c.connect("main", "guest", "ping", func(context.Context, any) (any, error) { asks++; return nil, nil })
	for _, body := range []string{
		"hello", "{", `"`, `{"a": 1`, "[1,]", "{,}", "NaN", "1.", "'x'", "\x00", "\ufeff1", "tru",
		strings.Repeat("[", 10001) + strings.Repeat("]", 10001), // Go's own limit
		strings.Repeat(`{"a":`, 100000),
	} {
		c.expectError(fmt.Sprintf("%.20q", body), c.Call("POST", "/wsgi_party/main/ask/ping", body), http.StatusBadRequest, "the payload is no JSON")
	}
	for _, body := range []string{"1 2", "{} {}", "null null", `"a" b`, "1]", "{}}", "[],", "01", "1\x00"} {
		c.expectError(fmt.Sprintf("%.20q", body), c.Call("POST", "/wsgi_party/main/ask/ping", body), http.StatusBadRequest, "the payload is more than one JSON value")
	}
	if asks != 0 {
		t.Errorf("%d asks", asks)
	}
}

// sizeUnknown makes a request chunked.
type sizeUnknown struct{ io.Reader }

func TestAPayloadOverOneMebibyteIsRejected(t *testing.T) {
	asks, length := 0, 0
	c := newAdminTest(t)
	c.Site("wsgi_party main")
	c.connect("main", "guest", "ping", func(_ context.Context, payload any) (any, error) {
		asks++
		length = len(payload.(string))
		return nil, nil
	})
	const mebibyte = 1 << 20
	for _, more := range []int{0, 1} {
		body := `"` + strings.Repeat("x", mebibyte-2+more) + `"`
		for name, reader := range map[string]io.Reader{"": strings.NewReader(body), "chunked": sizeUnknown{strings.NewReader(body)}} {
			asks = 0
			response, err := c.TryCall(context.Background(), "POST", "/wsgi_party/main/ask/ping", reader)
			switch {
			case err != nil:
				t.Errorf("%d bytes more %s: %v", more, name, err)
			case more > 0:
				c.expectError(name, response, http.StatusRequestEntityTooLarge, "1048576")
			case response.Status != http.StatusOK || length != mebibyte-2:
				t.Errorf("%s: %d %s, got %d bytes", name, response.Status, response.Body, length)
			}
			if asks != 1-more {
				t.Errorf("%d bytes more %s: asked %d times", more, name, asks)
			}
		}
	}
}

// TestTheAdminAPIIsOfTheRunningConfig has the endpoint of a config that failed
// answer (hazard 19), at all times that a config's life has.
func TestTheAdminAPIIsOfTheRunningConfig(t *testing.T) {
	c := newAdminTest(t)
	old := onInvites(t, "old", connects("old", "who"))
	young := onInvites(t, "new", connects("new", "who"))
	partytest.OnProvision(t, "fails", func(caddy.Context) error { return errors.New("oh no") })
	partytest.OnProvision(t, "fails to start", partytest.DuringStart(t, func() error { return errors.New("oh no") }))
	var seen []string
	partytest.OnProvision(t, "looks", func(caddy.Context) error {
		partytest.Eventually(t, "one of two endpoints answers", func() bool {
			response, err := c.TryCall(context.Background(), "GET", "/wsgi_party/", nil)
			if err == nil {
				seen = append(seen, c.plain(response.Body))
			}
			return err == nil
		})
		return nil
	})
	const party = "route {\nwsgi_party %s {\ninvite /app/__invite__/\ntest_app %s\n}\n}\n%s"
	site := func(directives string) string { return "ADDRESS {\nroute {\n" + directives + "\n}\n}" }
	fail := func(directives string) {
		t.Helper()
		if err := c.TryLoad(site(directives)); err == nil || !strings.Contains(err.Error(), "oh no") {
			t.Fatalf("the load does not fail: %v", err)
		}
	}
	expectNothing := func(when string) {
		t.Helper()
		c.expectJSON("GET", "/wsgi_party/", "", "[]")
		for _, test := range [][2]string{{"GET", ""}, {"POST", "/ask/who"}, {"POST", "/invite"}} {
			c.expectError(when, c.Call(test[0], "/wsgi_party/main"+test[1], ""), http.StatusNotFound, `"main": there is none`)
		}
	}
	failures := []string{"test_app fails", `test_app "fails to start"`}

	for _, failure := range failures {
		fail(fmt.Sprintf(party, "main", "new", failure))
		expectNothing("nothing has run yet")
	}
	c.Site("respond nothing")
	expectNothing("no config had a party")
	for _, failure := range failures {
		fail(fmt.Sprintf(party, "main", "new", failure))
		expectNothing("only a config that failed had a party")
	}

	c.Load(site(fmt.Sprintf(party, "main", "old", "")))
	expectOld := func() {
		t.Helper()
		var shown []partyJSON
		partytest.Decode(c, c.Call("GET", "/wsgi_party/", ""), &shown)
		if len(shown) != 1 || shown[0].Party != "main" || len(shown[0].Guests) != 1 {
			t.Errorf("%+v", shown)
		}
		var asked askedJSON
		if partytest.Decode(c, c.Call("POST", "/wsgi_party/main/ask/who", ""), &asked); fmt.Sprint(asked.Answers) != "[old]" {
			t.Errorf("%+v", asked)
		}
		invitesOld, invitesYoung := old.invites(), young.invites()
		old.operator(-1).Leave()
		if response := c.Call("POST", "/wsgi_party/main/invite", ""); response.Status != 200 || old.invites() != invitesOld+1 || young.invites() != invitesYoung {
			t.Errorf("%s, invited %d and %d", response.Body, old.invites()-invitesOld, young.invites()-invitesYoung)
		}
		c.ExpectAnswers("main", "who", "old")
	}
	expectOld()
	for _, failure := range failures {
		fail(fmt.Sprintf(party, "main", "new", failure))
		expectOld()
		fail(fmt.Sprintf(party, "other", "new", failure))
		expectOld()
		c.expectError("of the config that failed", c.Call("GET", "/wsgi_party/other", ""), http.StatusNotFound, `"other": the only party is main`)
	}

	// While it loads, the config before is shown, and no longer when it runs.
	before := c.plain(c.Call("GET", "/wsgi_party/", "").Body)
	c.Load(site("test_app looks\n" + fmt.Sprintf(party, "other", "new", "test_app looks")))
	if !slices.Equal(seen, []string{before, before}) {
		t.Errorf("%s\nwant twice %s", seen, before)
	}
	var asked askedJSON
	if partytest.Decode(c, c.Call("POST", "/wsgi_party/other/ask/who", ""), &asked); fmt.Sprint(asked.Answers) != "[new]" {
		t.Errorf("%+v", asked)
	}
	c.expectError("of the config before", c.Call("GET", "/wsgi_party/main", ""), http.StatusNotFound, `"main": the only party is other`)

	c.Site("respond nothing")
	expectNothing("the party was removed")
}

func TestCountsSurviveReloads(t *testing.T) {
	party := partytest.FreshParty()
	partytest.Guest(t, "app", "pong", "ping")
	partytest.OnProvision(t, "fails", func(caddy.Context) error { return errors.New("oh no") })
	c := newAdminTest(t)
	const site = "ADDRESS {\nroute {\nwsgi_party %s {\ninvite /app/__invite__/\ntest_app app\n}\n%s\n}\n}"
	for asks := range 4 {
		if asks == 2 {
			c.Load(fmt.Sprintf(site, "other", ""))
		}
		c.Load(fmt.Sprintf(site, party, ""))
		if err := c.TryLoad(fmt.Sprintf(site, party, "test_app fails")); err == nil {
			t.Fatal("the load does not fail")
		}
		var shown partyJSON
		partytest.Decode(c, c.Call("GET", "/wsgi_party/"+party, ""), &shown)
		if got := shown.Counts; len(got) != 1 || got[0].Asked != uint64(asks) || got[0].Answered != got[0].Asked {
			t.Errorf("%d asks: %+v", asks, got)
		}
		if response := c.Call("POST", "/wsgi_party/"+party+"/ask/ping", ""); response.Status != 200 {
			t.Error(response)
		}
	}
}

// TestTheAdminAPIUnderLoad has requests of all kinds made while configs, good and
// broken, are loaded. Where Caddy itself resets a connection, they are made again.
func TestTheAdminAPIUnderLoad(t *testing.T) {
	party := partytest.FreshParty()
	var generation atomic.Int64 // of the config that is loading
	for _, name := range []string{"one", "two"} {
		partytest.Behave(t, name, func(caddy.Context) (partytest.ServeFunc, error) {
			own := generation.Load()
			return func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
				operator, _ := OperatorFrom(r)
				connect := operator.Connect
				if name == "two" {
					connect = operator.ConnectRemote
				}
				return connect("generation", partytest.Answers(own))
			}, nil
		})
	}
	// One guest joins at every second invite, and leaves again.
	fickle := onInvites(t, "fickle", responds(503))
	partytest.App(t, "fickle", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		operator, _ := OperatorFrom(r)
		fickle.mu.Lock()
		fickle.operators = append(fickle.operators, operator)
		n := len(fickle.operators)
		fickle.mu.Unlock()
		if n%2 == 0 {
			return errors.New("not now")
		}
		return connects("fickle", "fickle")(w, r, operator)
	})
	partytest.OnProvision(t, "teller", joins(party, "teller", "time", "noon"))
	partytest.OnProvision(t, "broken", func(caddy.Context) error { return errors.New("oh no") })
	c := newAdminTest(t)
	site := `ADDRESS {
		route {
			test_app teller
			wsgi_party ` + party + ` {
				invite /one/__invite__/ /two/__invite__/ /fickle/__invite__/ /nobody/__invite__/
				test_app /one/* one
				test_app /two/* two
				test_app /fickle/* fickle
			}
			%s
		}
	}`
	good, broken := c.Adapt(fmt.Sprintf(site, "")), c.Adapt(fmt.Sprintf(site, "test_app broken"))
	load := func() {
		generation.Add(1)
		if err := caddy.Load(good, true); err != nil {
			t.Error(err)
		}
		generation.Add(1)
		if err := caddy.Load(broken, true); err == nil {
			t.Error("the broken config loads")
		}
	}
	load()

	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	var loads, asked, retried atomic.Int64
	var group sync.WaitGroup
	var done []*atomic.Int64
	forever := func(what string, do func()) {
		n := new(atomic.Int64)
		done = append(done, n)
		group.Go(func() {
			for ctx.Err() == nil && !t.Failed() {
				do()
				n.Add(1)
			}
			t.Logf("%d times %s", n.Load(), what)
		})
	}
	// request returns false if the test ended first.
	request := func(method, path, body string, status int, value any) bool {
		for ctx.Err() == nil && !t.Failed() {
			response, err := c.TryCall(context.Background(), method, "/wsgi_party/"+path, strings.NewReader(body))
			if err != nil {
				retried.Add(1)
				continue
			}
			decoder := json.NewDecoder(strings.NewReader(response.Body))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(value); err != nil || response.Status != status || response.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s %s: %d %s: %v", method, path, response.Status, response.Body, err)
			}
			return true
		}
		return false
	}
	// check fails the test unless what is shown of the party can be.
	check := func(counted map[string]countJSON, shown partyJSON) {
		var guests, invited []string
		for _, g := range shown.Guests {
			if g.Guest != "fickle" {
				guests = append(guests, fmt.Sprint(g.Guest, g.Services, g.Replicas))
			}
		}
		for _, i := range shown.Invites {
			invited = append(invited, i.Guest)
			want := []InviteResult{InviteJoined}
			switch i.Guest {
			case "fickle":
				want = append(want, InviteFailed)
			case "nobody": // a reload may end an invite that is sent again
				want = []InviteResult{InviteNotAnswered, InviteFailed}
			}
			if !slices.Contains(want, i.Result) || i.Time.IsZero() || i.Duration <= 0 {
				t.Errorf("%+v", i)
			}
		}
		if got := fmt.Sprint(guests, invited); got != "[one[generation] 1 teller[time] 1 two[generation] 1] [one two fickle nobody]" {
			t.Error(got)
		}
		for _, s := range shown.Services {
			if want := map[string]string{"generation": "[one two]", "time": "[teller]", "fickle": "[fickle]"}[s.Service]; fmt.Sprint(s.Guests) != want {
				t.Errorf("%+v", s)
			}
		}
		for _, n := range shown.Counts {
			key, ended := n.Guest+" "+n.Service, n.Answered+n.Declined+n.Failed
			if was := counted[key]; n.Asked < was.Asked || n.Answered < was.Answered || n.Asked < ended || n.Asked > ended && n.Guest != "two" || n.Failed+n.Declined > 0 {
				t.Errorf("%+v, before that %+v", n, was)
			}
			counted[key] = n
		}
	}
	began := time.Now()
	forever("two loads", func() {
		load()
		loads.Add(1)
		partytest.ResetLog()
	})
	countedByList, countedByShow := make(map[string]countJSON), make(map[string]countJSON)
	forever("GET of all parties", func() {
		var shown []partyJSON
		if request("GET", "", "", 200, &shown) {
			if len(shown) != 1 || shown[0].Party != party {
				t.Errorf("%+v", shown)
				return
			}
			check(countedByList, shown[0])
		}
	})
	forever("GET of the party", func() {
		var shown partyJSON
		if request("GET", party, "", 200, &shown) {
			check(countedByShow, shown)
		}
	})
	for range 2 {
		last := json.Number("0")
		forever("ask", func() {
			var answer struct {
				Answers []json.Number
				Replies []struct {
					Guest, Mount, Status string
					Duration             float64
				}
				Duration float64
			}
			if !request("POST", party+"/ask/generation", `{"some": [1, 2]}`, 200, &answer) {
				return
			}
			asked.Add(1)
			a, r := answer.Answers, answer.Replies
			if len(a) != 2 || a[0] != a[1] || len(r) != 2 || r[0].Guest != "one" || r[1].Guest != "two" || r[0].Status+r[1].Status != "answeredanswered" {
				t.Errorf("%+v", answer)
				return
			}
			now, _ := a[0].Int64()
			before, _ := last.Int64()
			if last = a[0]; now < before || now%2 == 0 {
				t.Errorf("config %d answered after config %d", now, before)
			}
		})
	}
	for _, query := range []string{"", "?guest=fickle"} {
		forever("invite"+query, func() {
			var sent struct{ Invites []sentJSON }
			if !request("POST", party+"/invite"+query, "", 200, &sent) {
				return
			}
			for _, i := range sent.Invites {
				if i.Guest == "one" && i.Sent || i.Guest == "nobody" && !i.Sent {
					t.Errorf("%+v", i)
				}
			}
			if n := len(sent.Invites); query == "" && n != 4 || query != "" && n != 1 {
				t.Errorf("%+v", sent)
			}
		})
	}
	forever("leave", func() {
		fickle.operator(-1).Leave()
		var problem struct{ Error string }
		request("POST", party+"/ask/missing", "", 404, &problem)
	})
	group.Go(func() { // two seconds, and longer where the machine is slow
		defer stop()
		for ctx.Err() == nil && !t.Failed() {
			enough := time.Since(began) > 2*time.Second
			for _, n := range done {
				enough = enough && n.Load() >= 3
			}
			if enough {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	group.Wait()
	t.Logf("%d requests were made again", retried.Load())
	for _, n := range done {
		if n.Load() < 3 {
			t.Error("something was done less than three times")
		}
	}

	// No ask that was answered is missing from the counts.
	partytest.Eventually(t, "the endpoint answers", func() bool {
		response, err := c.TryCall(context.Background(), "GET", "/wsgi_party/"+party, nil)
		if err != nil {
			return false
		}
		var shown partyJSON
		partytest.Decode(c, response, &shown)
		check(countedByShow, shown)
		check(countedByList, shown)
		return true
	})
	for _, guest := range []string{"one", "two"} {
		n := int64(countedByShow[guest+" generation"].Answered)
		if n < asked.Load() || n > asked.Load()+retried.Load() {
			t.Errorf("%s is said to have answered %d times, and did %d times, with up to %d more", guest, n, asked.Load(), retried.Load())
		}
	}
}

// FuzzSplitAdminPath takes any path apart, and puts one together that has to come
// apart again.
func FuzzSplitAdminPath(f *testing.F) {
	for _, names := range [][3]string{
		{"main", "ask", "ping"}, {"main", "invite", ""}, {"", "", ""}, {"a/b", "100%", "größe"}, {"..", ".", "%2F"},
		{"/", "//", "a//"}, {"?first", "#x", "a;b"}, {"\x00", "\xff", "new\nline"}, {" ", "+", "%zz"},
	} {
		f.Add(adminPath+names[0]+"/"+names[1]+"/"+names[2], names[0], names[1], names[2])
	}
	for _, path := range []string{"", "/", "/wsgi_party", "//", "/wsgi_party//", "/wsgi_party/a//b", "/wsgi_party/%2F/", "/wsgi_party/%", "/wsgi_party/%2", "/wsgi_party/a%zz", "/other/a"} {
		f.Add(path, "", "", "")
	}
	join := func(names []string) string {
		escaped := make([]string, len(names))
		for i, name := range names {
			escaped[i] = url.PathEscape(name)
		}
		return adminPath + strings.Join(escaped, "/")
	}
	f.Fuzz(func(t *testing.T, path, a, b, c string) {
		parts, err := splitAdminPath(path)
		if err == nil {
			if slices.Contains(parts, "") {
				t.Errorf("%q has an empty part: %q", path, parts)
			}
			if again, err := splitAdminPath(join(parts)); err != nil || !slices.Equal(again, parts) {
				t.Errorf("%q: %q, and again %q, %v", path, parts, again, err)
			}
		} else if parts != nil {
			t.Errorf("%q: %q and %v", path, parts, err)
		}

		names := slices.DeleteFunc([]string{a, b, c}, func(name string) bool { return name == "" })
		for _, slash := range []string{"", "/"} {
			if slash != "" && len(names) == 0 {
				continue // adminPath ends with one
			}
			u, err := url.ParseRequestURI(join(names) + slash)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := splitAdminPath(u.EscapedPath()); err != nil || !slices.Equal(got, names) {
				t.Errorf("%q: %q, %v, want %q", u, got, err, names)
			}
		}
	})
}

func TestAnAnswerWhoseErrorPanicsIsShownAsItsType(t *testing.T) {
	c := newAdminTest(t)
	c.Site("wsgi_party main")
	c.connect("main", "odd", "any", partytest.Answers(badJSON(func() ([]byte, error) { return nil, unspeakableError{} })))
	c.connect("main", "after", "any", partytest.Answers("after"))
	var asked askedJSON
	partytest.Decode(c, c.Call("POST", "/wsgi_party/main/ask/any", ""), &asked)
	if fmt.Sprint(asked.Answers) != "[wsgiparty.badJSON after]" {
		t.Errorf("%+v", asked)
	}
}

func TestHTMLInAnswersIsShownAsItIs(t *testing.T) {
	c := newAdminTest(t)
	c.Site("wsgi_party main")
	c.connect("main", "app", "any", partytest.Answers(`<a href="/x?y=1&z=2">`))
	if body := c.Call("POST", "/wsgi_party/main/ask/any", "").Body; !strings.Contains(body, `"<a href=\"/x?y=1&z=2\">"`) {
		t.Error(body)
	}
}

func TestABrokenQueryIsRefused(t *testing.T) {
	c := newAdminTest(t)
	c.Site("wsgi_party main")
	c.connect("main", "app", "any", partytest.Answers(1))
	for _, query := range []string{"?first=%zz", "?first;", "?first=true;x"} {
		if r := c.Call("POST", "/wsgi_party/main/ask/any"+query, ""); r.Status != 400 {
			t.Error(query, r)
		}
	}
	for _, query := range []string{"?guest=%zz", "?guest=one;two"} {
		if r := c.Call("POST", "/wsgi_party/main/invite"+query, ""); r.Status != 400 {
			t.Error(query, r)
		}
	}
}

// TestARequestThatBeganBeforeAReloadSeesItsConfigWhole has a reload after it was found
// out which config is running.
func TestARequestThatBeganBeforeAReloadSeesItsConfigWhole(t *testing.T) {
	partytest.Guest(t, "app", "pong", "ping")
	c := newAdminTest(t)
	c.Site("wsgi_party main {\ninvite /app/__invite__/\ntest_app app\n}")
	before, _ := running()
	c.Site("wsgi_party main {\ninvite /app/__invite__/\ntest_app app\n}")
	if n := len(before.entries["main"].inOrder()); n != 1 {
		t.Errorf("%d handlers, so that a request shows guests without invites, and invites nobody", n)
	}
}

// TestAnAskOutlivesItsConfig has the config replaced by one without the party while the
// payload of an ask is yet to come.
func TestAnAskOutlivesItsConfig(t *testing.T) {
	c := newAdminTest(t)
	c.Site("wsgi_party main")
	c.connect("main", "teller", "tell", partytest.Pong)
	connection, err := net.Dial("tcp", c.Admin)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(connection, "POST /wsgi_party/main/ask/tell HTTP/1.1\r\nHost: %s\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n", c.Admin)
	reader := bufio.NewReader(connection)
	if line, err := reader.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" { // it waits for the payload
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := reader.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(c.Adapt("ADDRESS {\nrespond nothing\n}"), true); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(connection, "null")
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body := partytest.ReadAll(t, response); response.StatusCode != http.StatusOK || !strings.Contains(body, `"answers":["pong"]`) {
		t.Errorf("%d %s", response.StatusCode, body)
	}
}
