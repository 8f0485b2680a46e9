// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package operations_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
	"github.com/wsgiparty/wsgiparty/operations"
)

// adminTest is a Caddy with an admin endpoint.
type adminTest struct {
	*partytest.Caddy
	began time.Time
}

func newAdminTest(t testing.TB, directives ...string) *adminTest {
	t.Helper()
	c := &adminTest{partytest.NewCaddyWithAdmin(t), time.Now()}
	for _, d := range directives {
		c.Site(d)
	}
	return c
}

// invited are the directives of guests whose applications are called like them.
func invited(guests ...string) (directives string) {
	for _, guest := range guests {
		directives += "invite /" + guest + "/__invite__/\ntest_app /" + guest + "/* " + guest + "\n"
	}
	return directives
}

// shown returns what there is of the party.
func (c *adminTest) shown(party string) (shown operations.PartyJSON) {
	c.Helper()
	partytest.Decode(c, c.Call("GET", "/wsgi_party/"+party, ""), &shown)
	return shown
}

// all returns what there is of all parties.
func (c *adminTest) all() (all []operations.PartyJSON) {
	c.Helper()
	partytest.Decode(c, c.Call("GET", "/wsgi_party/", ""), &all)
	return all
}

// invite sends the party's invites again, or only that of the guest.
func (c *adminTest) invite(party, guest string) []operations.SentJSON {
	c.Helper()
	var sent struct{ Invites []operations.SentJSON }
	partytest.Decode(c, c.Call("POST", "/wsgi_party/"+party+"/invite?guest="+url.QueryEscape(guest), ""), &sent)
	return sent.Invites
}

// expectInvites is invite that fails the test unless this comes of it: whether each
// was sent or not, its guest, result and status, and the error.
func (c *adminTest) expectInvites(party, guest string, want ...string) {
	c.Helper()
	var got []string
	for _, i := range c.invite(party, guest) {
		verb := "kept"
		if i.Sent {
			verb = "sent"
		}
		got = append(got, strings.TrimSpace(fmt.Sprintln(verb, i.Guest, i.Result, i.Status, i.Error)))
	}
	check.Equal(c, strings.Join(got, ", "), strings.Join(want, ", "), "invites")
}

// ask asks for the path's service.
func (c *adminTest) ask(path, payload string) (asked askedJSON) {
	c.Helper()
	partytest.Decode(c, c.Call("POST", "/wsgi_party/"+path, payload), &asked)
	return asked
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
		c.Errorf("%s: %d %s", what, response.Status, response.Header.Get("Content-Type"))
	}
	check.Equal(c, c.plain(response.Body), c.plain(want), what)
}

// expectShown is expectJSON for a part of what is shown of a party.
func (c *adminTest) expectShown(party, part, want string) {
	c.Helper()
	var shown map[string]json.RawMessage
	partytest.Decode(c, c.Call("GET", "/wsgi_party/"+party, ""), &shown)
	check.Equal(c, c.plain(string(shown[part])), c.plain(want), part)
}

var varying = regexp.MustCompile(`"(time|joined|loaded|accepted|confirmed|old_manifest|duration|hint)":("(?:[^"\\]|\\.)+"|[0-9.e+-]+)`)

// plain returns JSON without what differs from run to run.
func (c *adminTest) plain(text string) string {
	c.Helper()
	return varying.ReplaceAllStringFunc(partytest.CompactJSON(c, text), func(member string) string {
		name, value, _ := strings.Cut(member, ":")
		at, _ := time.Parse(`"`+time.RFC3339Nano+`"`, value)
		seconds, _ := strconv.ParseFloat(value, 64)
		switch {
		case name == `"hint"`:
			return `"hint":"HINT"`
		case at.After(c.began) && at.Before(time.Now()):
			return name + `:"TIME"`
		case seconds > 0 && seconds < time.Since(c.began).Seconds():
			return name + `:"DURATION"`
		}
		return member
	})
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
	if err := decoder.Decode(&answer); err != nil || answer.Error == "" || response.Status != status || response.Header.Get("Content-Type") != "application/json" {
		c.Errorf("%s: %d %s %q, want %d and an error: %v", what, response.Status, response.Header.Get("Content-Type"), response.Body, status, err)
	}
	check.Contains(c, answer.Error, want, what)
}

// connect connects a handler on the running config's partyline.
func (c *adminTest) connect(party, guest, service string, h wsgiparty.Handler) *wsgiparty.Operator {
	c.Helper()
	operator := operatorOf(c, party).Partyline().Operator(guest)
	partytest.Connect(c, operator, service, h)
	return operator
}

func TestTheAdminAPIShowsWhoIsOnTheLineAndWhatCameOfIt(t *testing.T) {
	party := partytest.FreshParty()
	var declines, breaks atomic.Bool
	partytest.OnProvision(t, "teller", partytest.Joins(party, "teller", "time", "noon"))
	partytest.OnInvites(t, "one", partytest.Connects("1", "zebra", "number"))
	connects := func(status int, h wsgiparty.Handler) partytest.InvitedFunc {
		return func(w http.ResponseWriter, _ *http.Request, operator *partytest.Operator) error {
			w.WriteHeader(status)
			return operator.Connect("number", h)
		}
	}
	partytest.OnInvites(t, "two", connects(http.StatusCreated, func(context.Context, any) (any, error) {
		if declines.Load() {
			return nil, fmt.Errorf("not me: %w", wsgiparty.ErrHighAndDry)
		}
		return "2", nil
	}))
	partytest.OnInvites(t, "silent", partytest.Responds(http.StatusNoContent))
	partytest.OnInvites(t, "broken", connects(http.StatusServiceUnavailable, func(context.Context, any) (any, error) {
		if breaks.Load() {
			return nil, errors.New("it <broke>")
		}
		return "broken", nil
	}))
	partytest.OnInvites(t, "locked", partytest.FailsWith(partytest.ErrNoEntry))
	partytest.OnInvites(t, "fails", partytest.FailsWith(errors.New("oh no")))
	partytest.OnInvites(t, "unspeakable", partytest.FailsWith(unspeakableError{}))
	c := newAdminTest(t, "route {\ntest_app teller\nwsgi_party "+party+" {\n"+invited("one")+"invite https://example.com/two/__invite__/?x=1&y\ntest_app /two/* two\n"+
		invited("silent", "broken")+"invite /nobody/__invite__/\ninvite /locked/__invite__/ as the-keeper\ntest_app /locked/* locked\n"+invited("fails", "unspeakable")+"}\n}")
	for i := range 4 {
		declines.Store(i > 0)
		breaks.Store(i > 1)
		_, err := operatorOf(c, party).AskAround(context.Background(), "number", nil)
		check.Equal(t, err != nil, i > 1, err)
	}
	want := `{
		"party": "` + party + `",
		"invites": [
			{"server": "srv0", "uri": "/one/__invite__/", "guest": "one", "result": "joined", "status": 204, "error": "", "time": "TIME", "duration": "DURATION"},
			{"server": "srv0", "uri": "https://example.com/two/__invite__/?x=1&y", "guest": "two", "result": "joined", "status": 201, "error": "", "time": "TIME", "duration": "DURATION"},
			{"server": "srv0", "uri": "/silent/__invite__/", "guest": "silent", "result": "joined", "status": 204, "error": "", "time": "TIME", "duration": "DURATION"},
			{"server": "srv0", "uri": "/broken/__invite__/", "guest": "broken", "result": "failed", "status": 503, "error": "", "hint": "HINT", "time": "TIME", "duration": "DURATION"},
			{"server": "srv0", "uri": "/nobody/__invite__/", "guest": "nobody", "result": "not_answered", "status": 0, "error": "", "hint": "HINT", "time": "TIME", "duration": "DURATION"},
			{"server": "srv0", "uri": "/locked/__invite__/", "guest": "the-keeper", "result": "refused", "status": 403, "error": "` + partytest.ErrNoEntry.Error() + `", "hint": "HINT", "time": "TIME", "duration": "DURATION"},
			{"server": "srv0", "uri": "/fails/__invite__/", "guest": "fails", "result": "failed", "status": 0, "error": "oh no", "hint": "HINT", "time": "TIME", "duration": "DURATION"},
			{"server": "srv0", "uri": "/unspeakable/__invite__/", "guest": "unspeakable", "result": "failed", "status": 0, "error": "a operations_test.unspeakableError, whose message is not available", "hint": "HINT", "time": "TIME", "duration": "DURATION"}
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
		],
		"askers": [{"guest": "", "service": "number", "asks": 4}],
		"traffic": {"guests": []},
		"loaded": "TIME"
	}`
	c.expectJSON("GET", "/wsgi_party/"+party, "", want)
	c.expectJSON("GET", "/wsgi_party/"+party+"/", "", want)
	c.expectJSON("GET", "/wsgi_party/", "", "["+want+"]")
	body := c.Call("GET", "/wsgi_party/"+party, "").Body
	check.ErrorIf(t, !strings.Contains(body, "it <broke>") || !strings.Contains(body, "?x=1&y"), "characters of HTML are escaped for no reason: %s", body)

	// What is shown of an invite is what is logged.
	shown := c.shown(party)
	logged := make(map[string]partytest.Entry)
	for _, e := range partytest.InvitesLogged(t, "") {
		logged[e["guest"].(string)] = e
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
		check.ErrorIf(t, i > 0 && !invite.Time.After(shown.Invites[i-1].Time), "%s was invited at %v, before the one before", invite.Guest, invite.Time)
		at, ok := joined[invite.Guest]
		check.ErrorIf(t, ok && !at.After(invite.Time), "%s joined at %v, and was invited at %v", invite.Guest, at, invite.Time)
	}
}

func TestTheAdminAPIShowsNothingAsEmptyLists(t *testing.T) {
	partytest.OnProvision(t, "early", func(ctx caddy.Context) error {
		_, err := wsgiparty.Join(ctx, "joined only", "")
		return err
	})
	const empty = `{"party": %q, "loaded": "TIME", "invites": [], "guests": [], "services": [], "counts": [], "askers": [], "traffic": {"guests": []}}`
	for name, test := range map[string]struct {
		directives string
		parties    []string
	}{
		"no party":                         {"respond nothing", nil},
		"a party without anything":         {"wsgi_party", []string{wsgiparty.DefaultParty}},
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
	services := strings.Fields("k b d e f10 g h i j f9 l m n o p")
	sorted := "b d e f9 f10 g h i j k l m n o p"
	partytest.OnInvites(t, "many", partytest.Connects("x", services...))
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
		for _, guest := range strings.Fields("c e a10 d a9") {
			fmt.Fprintf(&site, "invite /%s/%s/__invite__/ as %[2]s\ntest_app /%[1]s/%[2]s/* many\n", party, guest)
		}
		site.WriteString("}\n")
	}
	site.WriteString("}")
	c.Load(site.String())

	want := c.plain(c.Call("GET", "/wsgi_party/", "").Body)
	var order []string
	for _, p := range c.all() {
		var line []string
		for _, i := range p.Invites {
			line = append(line, i.Server+i.Guest)
		}
		for _, g := range p.Guests {
			line = append(line, fmt.Sprint(g.Guest, g.Replicas))
			check.Equal(t, strings.Join(g.Services, " "), sorted, "services of %s", g.Guest)
		}
		for _, s := range p.Services {
			line = append(line, s.Service)
			check.Equal(t, fmt.Sprint(s.Guests), "[c e a10 d a9]", "guests of %s", s.Service) // as they are asked
		}
		order = append(order, p.Party+": "+strings.Join(line, " "))
		for i, g := range strings.Fields("a9 a10 c d e") {
			for j, s := range strings.Fields(sorted) {
				count := p.Counts[i*len(services)+j]
				check.Equal(t, count.Guest+" "+count.Service, g+" "+s)
			}
		}
	}
	var invited strings.Builder
	for i := range servers {
		fmt.Fprintf(&invited, "srv%dc srv%[1]de srv%[1]da10 srv%[1]dd srv%[1]da9 ", i)
	}
	for i, party := range []string{"a", "z"} {
		check.Equal(t, order[i], party+": "+invited.String()+"a99 a109 c9 d9 e9 "+sorted)
	}
	for range 3 {
		c.expectJSON("GET", "/wsgi_party/", "", want)
		c.expectJSON("GET", "/wsgi_party/", "", want)
		c.Load(site.String())
	}
}

func TestAReplicaThatLeavesIsNoLongerCounted(t *testing.T) {
	script := partytest.OnInvites(t, "app", partytest.Connects("pong", "ping"))
	c := newAdminTest(t)
	c.Load("ADDRESS, http://" + testport.Address(t) + " {\nwsgi_party main {\ninvite /app/__invite__/\ntest_app app\n}\n}")
	c.expectShown("main", "guests", `[{"guest": "app", "services": ["ping"], "replicas": 2, "joined": "TIME"}]`)
	script.Operator(0).Leave()
	c.expectShown("main", "guests", `[{"guest": "app", "services": ["ping"], "replicas": 1, "joined": "TIME"}]`)
	script.Operator(1).Leave()
	c.expectShown("main", "guests", "[]")
}

func TestHeadOfTheAdminAPI(t *testing.T) {
	c := newAdminTest(t, "wsgi_party main")
	for path, status := range map[string]int{"/wsgi_party/": 200, "/wsgi_party/main": 200, "/wsgi_party/other": 404} {
		response := c.Call("HEAD", path, "")
		check.ErrorIf(t, response.Status != status || response.Body != "" || response.Header.Get("Content-Type") != "application/json", "HEAD %s: %d %q %v, want %d", path, response.Status, response.Body, response.Header, status)
	}
}

// TestNamesInAdminPathsAreEscaped has parties and services of odd names, and guests of the oddest there may be.
func TestNamesInAdminPathsAreEscaped(t *testing.T) {
	names := []string{
		"a/b", "/", "//", "a b", " ", "100%", "%2F", "größe/日本", "what?", "?first", "a&b=c", "a+b", "a;b", "#", "..", ".", "a/../b",
		"ask", "invite", "wsgi_party", `"quoted"`, `back\slash`, "<b>", "a:b", "😀",
	}
	partytest.App(t, "app", func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		operator, _ := wsgiparty.OperatorFrom(r)
		answers := partytest.Answers(operator.Guest())
		err := operator.Connect("another", answers)
		for _, name := range names {
			err = errors.Join(err, operator.Connect(name, answers))
		}
		return err
	})
	var site strings.Builder
	for i, name := range names {
		quoted := `"` + strings.NewReplacer(`"`, `\"`).Replace(name) + `"`
		fmt.Fprintf(&site, "wsgi_party * %s {\ninvite /%d/__invite__/ as a/b.%[2]d_C-\ninvite /x%[2]d/__invite__/\ntest_app app\n}\n", quoted, i)
	}
	c := newAdminTest(t)
	c.Site(site.String())
	for i, name := range names {
		guest := fmt.Sprintf("a/b.%d_C-", i)
		// A path is cleaned on its way, where dots are not escaped.
		escaped := strings.ReplaceAll(url.PathEscape(name), ".", "%2E")
		shown := c.shown(escaped)
		check.ErrorIf(t, shown.Party != name || len(shown.Invites) != 2 || shown.Invites[0].Guest != guest || len(shown.Guests) != 2, "%q: %+v", name, shown)
		check.Equal(t, fmt.Sprint(c.ask(escaped+"/ask/"+escaped+"?first", "").Answers), "["+guest+"]", "asking %q", name)
		sent := c.invite(escaped, guest)
		check.ErrorIf(t, len(sent) != 1 || sent[0].Guest != guest, "inviting %q: %+v", guest, sent)
	}
	check.Equal(t, len(c.all()), len(names), "parties")
}

func TestOnlyTheMethodsOfAnAdminEndpointAreAllowed(t *testing.T) {
	asks := 0
	script := partytest.OnInvites(t, "app", partytest.Responds(500))
	c := newAdminTest(t, "wsgi_party main {\ninvite /app/__invite__/\ntest_app app\n}")
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
			check.Slices(t, response.Header.Values("Allow"), []string{allowed}, "%s %s: Allow, want %q", method, path, allowed)
			if method == "HEAD" {
				check.Equal(t, response.Status, http.StatusMethodNotAllowed, "%s %s", method, path)
				continue
			}
			c.expectError(method+" "+path, response, http.StatusMethodNotAllowed, method, strings.ReplaceAll(allowed, ", ", " and "))
		}
	}
	check.Equal(t, fmt.Sprint(asks, script.Invites()), "0 1", "asks and invites")
}

const noEndpoint = "there is nothing at this path: write /wsgi_party/, /wsgi_party/{party}, /wsgi_party/{party}/invite or /wsgi_party/{party}/ask/{service}"

func TestTheAdminAPISaysWhatThereIsWhereNothingIsFound(t *testing.T) {
	c := newAdminTest(t, "wsgi_party main\nwsgi_party other\nwsgi_party quiet {\nignore_missing_services\n}")
	for _, service := range strings.Fields("url ping d i g b e f a h j c") {
		c.connect("main", "guest", service, partytest.Pong)
	}
	for request, want := range map[string]string{
		"GET mian":                 `no party is called "mian": the parties are main, other, quiet`,
		"GET Main":                 `no party is called "Main"`,
		"GET invite":               `no party is called "invite"`,
		"POST mian/invite":         `no party is called "mian": the parties are main, other, quiet`,
		"POST mian/invite?guest=x": `no party is called "mian"`,
		"POST mian/ask/ping":       `no party is called "mian": the parties are main, other, quiet`,
		"POST main/ask/pong":       `no service is called "pong": the services are a, b, c, d, e, f, g, h, i, j, ping, url`,
		"POST main/ask/ping%2F":    `no service is called "ping/"`,
		"POST other/ask/ping":      `no service is called "ping": there is none`,
		"POST quiet/ask/ping":      `no service is called "ping": there is none`,
		"POST main/invite?guest=x": `no invited guest is called "x": there is none`,
		"GET main/x":               noEndpoint,
		"GET main/guests/one":      noEndpoint,
		"POST main/ask":            noEndpoint,
		"POST main/ask/":           noEndpoint,
		"POST main/ask/ping/x":     noEndpoint,
		"POST main/ask/a/b":        noEndpoint,
		"POST main/invite/x":       noEndpoint,
		"POST main/Ask/ping":       noEndpoint,
		"CONNECT /main":            noEndpoint, // the one method whose paths are not cleaned
		"CONNECT main//":           noEndpoint,
	} {
		method, path, _ := strings.Cut(request, " ")
		c.expectError(request, c.Call(method, "/wsgi_party/"+path, ""), http.StatusNotFound, want)
	}
}

// FuzzSplitAdminPath takes any path apart, and puts one together that has to come
// apart again.
func FuzzSplitAdminPath(f *testing.F) {
	for _, names := range [][3]string{
		{"main", "ask", "ping"}, {"main", "invite", ""}, {"", "", ""}, {"a/b", "100%", "größe"}, {"..", ".", "%2F"},
		{"/", "//", "a//"}, {"?first", "#x", "a;b"}, {"\x00", "\xff", "new\nline"}, {" ", "+", "%zz"},
	} {
		f.Add("/wsgi_party/"+names[0]+"/"+names[1]+"/"+names[2], names[0], names[1], names[2])
	}
	for _, path := range []string{"", "/", "/wsgi_party", "//", "/wsgi_party//", "/wsgi_party/a//b", "/wsgi_party/%2F/", "/wsgi_party/%", "/wsgi_party/%2", "/wsgi_party/a%zz", "/other/a"} {
		f.Add(path, "", "", "")
	}
	join := func(names []string) string {
		escaped := make([]string, len(names))
		for i, name := range names {
			escaped[i] = url.PathEscape(name)
		}
		return "/wsgi_party/" + strings.Join(escaped, "/")
	}
	f.Fuzz(func(t *testing.T, path, a, b, c string) {
		parts, err := operations.SplitAdminPath(path)
		if err == nil {
			check.ErrorIf(t, slices.Contains(parts, ""), "%q has an empty part: %q", path, parts)
			check.Slices(t, check.Value(operations.SplitAdminPath(join(parts)))(t), parts, "%q:, and again", path)
		} else if parts != nil {
			t.Errorf("%q: %q and %v", path, parts, err)
		}

		names := slices.DeleteFunc([]string{a, b, c}, func(name string) bool { return name == "" })
		for _, slash := range []string{"", "/"} {
			if slash != "" && len(names) == 0 {
				continue // a path ends with one
			}
			u := check.Value(url.ParseRequestURI(join(names) + slash))(t)
			check.Slices(t, check.Value(operations.SplitAdminPath(u.EscapedPath()))(t), names, u)
		}
	})
}
