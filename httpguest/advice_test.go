// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testbackend"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// mistake is a config that is wrong, and what its author is told.
type mistake struct {
	config  string   // with ADDRESS for the server's
	message string   // of the only warning of this kind; "" if the config does not load
	says    []string // by the warning, or by the error
}

// expectTold fails the test unless the log, or the error, says what it has to.
func expectTold(c *partytest.Caddy, name string, m mistake) {
	c.Helper()
	partytest.ResetLog()
	err := c.TryLoad(m.config)
	told := fmt.Sprint(err)
	if m.message != "" {
		entries := partytest.LogEntries(c, m.message)
		if err != nil || len(entries) != 1 || entries[0]["level"] != "warn" {
			c.Errorf("%s: %v, and %d warnings: %v", name, err, len(entries), entries)
			return
		}
		told = fmt.Sprint(entries[0])
		// What is in front of a guest's handler is told of the invite, and of the handler.
		also := partytest.LogEntries(c, noInvite)
		check.ErrorIf(c, len(also) != 0 && m.message != noInvite && !strings.Contains(m.config, "forward_auth"), "%s: it is told twice: %v", name, also)
	}
	check.Contains(c, told, m.says, "%s: it does not say", name)
}

const (
	hiddenMessage = "an invite's path, and everything below it, is hidden from outside"
	openMessage   = "wsgi_party_ask can be reached from other machines"
)

func TestMistakesAreToldWhenTheConfigLoads(t *testing.T) {
	partytest.TemplateApp(t)
	partytest.Guest(t, "one", "1", "number")
	t.Setenv("HINTS_SHORT", "12345")
	c := partytest.NewCaddy(t)
	const party = "no wsgi_party handler names the party that was joined"
	_, port, _ := strings.Cut(c.Address, ":")
	inParty := func(lines string) string { return "ADDRESS {\nwsgi_party main {\n" + lines + "\n}\n}" }
	const behindWhat = "invite /blog/__invite__/\n%s\nhandle_path /blog/* {\nwsgi_party_guest\nrespond blog\n}"
	for name, m := range map[string]mistake{
		"wsgi_party_ask for a party that is called otherwise": {"ADDRESS {\nbind 127.0.0.1\nwsgi_party main {\nrespond 1\n}\nwsgi_party_ask mian\n}", party,
			[]string{`no party is called "mian": did you mean main?`, "the only party is main; join one of these", "http.handlers.wsgi_party_ask"}},
		"wsgi_party_ask for none":                        {"ADDRESS {\nbind 127.0.0.1\nwsgi_party shop {\nrespond 1\n}\nwsgi_party wiki {\nrespond 1\n}\nwsgi_party_ask\n}", party, []string{`no party is called "default"`, "the parties are shop, wiki"}},
		"wsgi_party_ask without any":                     {"ADDRESS {\nbind 127.0.0.1\nwsgi_party_ask\n}", party, []string{"there is no wsgi_party handler; write one around the applications' routes"}},
		"templates for a party that is called otherwise": {"ADDRESS {\nwsgi_party main {\nrespond 1\n}\n" + partytest.Templates("mian") + "test_app template\n}", party, []string{"did you mean main?", "http.handlers.templates.functions.wsgi_party"}},
		"templates for none": {"ADDRESS {\nwsgi_party one {\nrespond 1\n}\nhandle {\n" + partytest.Templates("") + "test_app template\n}\nhandle /two {\nwsgi_party two {\nrespond 1\n}\n}\n}\nhttp://127.0.0.1:1 {\nwsgi_party three {\nrespond 1\n}\n}", "",
			[]string{"say which party they ask (wsgi_party <party>)", "the parties are one, three, two"}},

		"wsgi_party_guest forgotten": {inParty("invite /blog/__invite__/\nhandle_path /blog/* {\nreverse_proxy 127.0.0.1:1\n}"), "invite not answered", []string{"guest:blog", "over the network", "write `wsgi_party_guest` in front of the reverse_proxy"}},
		"wsgi_party_guest forgotten in front of an application in the process": {inParty("invite /blog/__invite__/\nhandle_path /blog/* {\nrespond `{\"urls\": {\"home\": \"/\"}}`\n}"), "invite not answered",
			[]string{"guest:blog", "an application's manifest came back", "write `wsgi_party_guest` in front of"}},
		"forward_auth in front of wsgi_party_guest": {inParty("invite /blog/__invite__/\nforward_auth 127.0.0.1:1 {\nuri /auth\n}\nhandle_path /blog/* {\nwsgi_party_guest blog\n}"), "invite not answered",
			[]string{"forward_auth", "`not vars partyline blog`"}},
		"wsgi_party_guest of another name": {inParty("invite /blog/__invite__/\nhandle_path /blog/* {\nwsgi_party_guest log\n}"), "invite not answered",
			[]string{"guest:blog", "`wsgi_party_guest log`", "write `invite /blog/__invite__/ as log`", "leave out the name", "`wsgi_party claimed_by blog`"}},
		"the same in front of an application": {inParty("invite /blog/__invite__/\nhandle_path /blog/* {\nwsgi_party_guest log\nreverse_proxy 127.0.0.1:1\n}\nhandle_path /more/* {\nwsgi_party_guest {\nanswer a b\n}\n}\ninvite /more/__invite__/"), "invite not answered",
			[]string{"guest:blog", "write `invite /blog/__invite__/ as log`"}},
		"two invites for one wsgi_party_guest": {inParty("invite /blog/__invite__/\ninvite /blog/__invite__/2 as two\nhandle_path /blog/* {\nwsgi_party_guest {\nanswer a b\n}\n}"), "invite not answered",
			[]string{"guest:two", `already speaks for "blog"`, `give "two" a wsgi_party_guest of its own`}},
		"a response that breaks off": {inParty("invite /blog/__invite__/\nabort"), "invite failed", []string{"error:the response broke off", "as `abort` does"}},

		"an application instead of its invite route": {inParty("invite /blog/\nhandle_path /blog/* {\nwsgi_party_guest {\nanswer a b\n}\n}"), hiddenMessage, []string{"hidden:/blog/*", "write `invite /blog/__invite__/`"}},
		"with a host and another name": {inParty("invite https://example.com/blog/ as log\nhandle_path /blog/* {\nwsgi_party_guest {\nanswer a b\n}\n}"), hiddenMessage,
			[]string{"hidden:/blog/*", "write `invite https://example.com/blog/__invite__/ as log`"}},
		"an invite route called otherwise": {inParty("invite /blog/__invites__/\ntest_app one"), hiddenMessage, []string{"/blog/__invites__/*"}},

		"wsgi_party_ask for everybody": {"http://127.0.0.1:" + port + " {\nwsgi_party main {\nrespond 1\n}\nwsgi_party_ask main\n}", openMessage, []string{"listen:[:" + port + "]", "`bind 127.0.0.1`", "unix//run", "client_auth"}},
		"wsgi_party_ask for more":      {"http:// {\nbind 127.0.0.1:" + port + " 0.0.0.0:" + port + "\nwsgi_party main {\nrespond 1\n}\nwsgi_party_ask main\n}", openMessage, []string{"listen:[0.0.0.0:"}},

		"a key that is too short, of a guest that nobody invites": {inParty("wsgi_party_guest wiki {\nkey {env.HINTS_SHORT}\n}"), "", []string{`"wiki"`, "has 5 bytes"}},

		"no invite":                      {inParty("wsgi_party_guest"), noInvite, []string{"party:main", "guest:root", "write `invite /__invite__/ as root` in the wsgi_party block"}},
		"no invite of a name":            {inParty("wsgi_party_guest blog"), noInvite, []string{"guest:blog", "write `invite /__invite__/ as blog` in the wsgi_party block"}},
		"no invite of a mount":           {inParty("# invite /blog/__invite__/ as blog\nhandle_path /blog/* {\nwsgi_party_guest\n}"), noInvite, []string{"guest:blog", "write `invite /blog/__invite__/ as blog` in the wsgi_party block"}},
		"no invite of a mount in mounts": {inParty("handle_path \"/My Site/*\" {\nhandle /a/* {\nhandle_path /a/Blog* {\nwsgi_party_guest\n}\n}\n}"), noInvite, []string{"write `invite /My%20Site/a/Blog/__invite__/ as <name>` in the wsgi_party block"}},
		"no invite of whatever":          {inParty("@post method POST\nhandle @post {\nwsgi_party_guest\n}"), noInvite, []string{"write `invite <mount>/__invite__/ as <name>` in the wsgi_party block; <mount> is"}},
		"an invite of another path":      {inParty("invite /shop/__invite__/\nhandle_path /blog/* {\nwsgi_party_guest\n}"), noInvite, []string{"write `invite /blog/__invite__/ as blog`"}},
		"an invite that another one takes": {inParty("invite /blog/__invite__/\nhandle_path /blog/* {\nroute {\nwsgi_party_guest {\nanswer a b\n}\nwsgi_party_guest\n}\n}"), noInvite,
			[]string{"the invite to /blog/__invite__/ is taken before it comes here"}},
		"an invite of another handler": {inParty("invite /blog/__invite__/\nroute {\nwsgi_party_guest weblog {\nanswer ping pong\n}\nwsgi_party_guest {\nanswer ping pong\n}\n}"), noInvite,
			[]string{`the invites that come here are for ["blog"]`, "`invite <uri> as weblog`", "leave out the name"}},
		"a password before":    {inParty(fmt.Sprintf(behindWhat, "basic_auth {\nuser "+password+"\n}")), noInvite, []string{"guest:blog", "the invite to /blog/__invite__/ was answered with status 401 before it reached this handler: ", "`not vars partyline blog`"}},
		"a rate limit before":  {inParty("invite /blog/__invite__/\nroute {\nerror \"slow down\" 429\nwsgi_party_guest\n}"), noInvite, []string{"/blog/__invite__/", "status 429", "`not vars partyline blog`"}},
		"forward_auth before":  {inParty(fmt.Sprintf(behindWhat, "forward_auth 127.0.0.1:1 {\nuri /auth\n}")), noInvite, []string{"/blog/__invite__/", "over the network", "forward_auth", "`not vars partyline blog`"}},
		"a redirect before":    {inParty(fmt.Sprintf(behindWhat, "redir https://example.com{uri} 308")), noInvite, []string{"/blog/__invite__/", "status 308", "https://example.com/blog/__invite__/"}},
		"another route before": {inParty("invite /blog/__invite__/\nroute {\nrespond early\nwsgi_party_guest\n}"), noInvite, []string{"/blog/__invite__/", "status 200", "does another route answer before the guest"}},
	} {
		expectTold(c, name, m)
	}
}

// TestWhatIsNoMistakeIsNotWarnedOf loads configs that look like some.
func TestWhatIsNoMistakeIsNotWarnedOf(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	c := partytest.NewCaddy(t)
	site := func(address, bind string) string {
		return address + " {\n" + bind + "\nwsgi_party main {\ninvite /a/__invite__ /__invite__/x\ntest_app one\n}\nwsgi_party_ask main\n}"
	}
	dir, err := os.MkdirTemp("", "hints") // short enough for a socket
	check.Must(t, err)
	defer os.RemoveAll(dir)
	_, port, _ := strings.Cut(c.Address, ":")
	for name, config := range map[string]string{
		"loopback":      site("http://:"+port, "bind 127.0.0.1"),
		"IPv6 loopback": site("http://:"+port, "bind ::1"),
		"localhost":     site("http://:"+port, "bind localhost"),
		"a unix socket": site("http://", "bind unix/"+filepath.Join(dir, "s")),
	} {
		t.Run(name, func(t *testing.T) {
			partytest.ResetLog()
			c.Load(config)
			for _, message := range []string{hiddenMessage, openMessage} {
				check.Equal(t, len(partytest.LogEntries(t, message)), 0, name)
			}
		})
	}
}

// TestMistakesOfApplicationsAreTold has each answer its manifest wrongly, or not.
func TestMistakesOfApplicationsAreTold(t *testing.T) {
	t.Setenv("HINTS_KEY", "hints-hints-hints-hints-hints-hints-hints")
	t.Setenv("HINTS_OTHER_KEY", "other-hints-hints-hints-hints-hints-hints")
	const (
		manifest = `{"urls": {"home": "/"}}`
		key      = " {\nkey {env.HINTS_KEY}\n}"
		invited  = "/NAME/__invite__/"
	)
	status := func(status int, location string) testbackend.Response {
		return testbackend.Response{Status: status, Header: map[string]string{"Location": location}}
	}
	c := newGuestTest(t)
	type test struct {
		response testbackend.Response
		options  string   // of wsgi_party_guest
		behind   string   // what stands between that and the application
		says     []string // with NAME for the guest's
		never    string
	}
	tests := map[string]test{
		"json":   {ofType("application/json; charset=utf-8", manifest), "", "", []string{"but as application/json", "`Content-Type: application/vnd.wsgi-party+json`"}, "running"},
		"html":   {ofType("text/html", "<!DOCTYPE html>"), "", "", []string{"no manifest", "where it answers with text/html", ". Otherwise correct", "write the manifest in wsgi_party_guest"}, "running"},
		"handle": {status(404, ""), "", "", []string{"at " + invited + ", where it answers with status 404", "write `handle_path /NAME/*`", "none was sent: write `key {env.BLOG_PARTY_KEY}`", ". Otherwise correct"}, "running"},

		"signed-handle": {status(404, ""), " {\nkey {env.HINTS_OTHER_KEY}\n}", "", []string{"The request had a Party-Token", "WSGI_PARTY_KEY", ". Otherwise correct"}, "none was sent"},

		"login":      {status(302, "/accounts/login/?next="+invited), "", "", []string{"to /accounts/login/?next=" + invited, "lead to a login", "answer GET " + invited + " without one", "`not vars partyline NAME`"}, "invite the URI"},
		"elsewhere":  {status(303, "https://idp.example.com/"), "", "", []string{"https://idp.example.com/", "lead to a login"}, "invite the URI"},
		"sign-in":    {status(301, "/sign_in"), "", "", []string{"/sign_in", "lead to a login"}, "invite the URI"},
		"slash":      {status(301, "/NAME/__invite__"), "", "", []string{"to /NAME/__invite__,", "write `invite /NAME/__invite__`"}, "login"},
		"https":      {status(302, "https://localhost"+invited), "", "", []string{"https://localhost" + invited, "write `invite https://example.com" + invited + "`, with the site's host"}, "login"},
		"host":       {status(301, "https://www.example.org"+invited), "", "", []string{"write `invite https://www.example.org" + invited + "`"}, "login"},
		"moved-away": {status(308, "/new"), "", "", []string{"/new", "invite the URI that it leads to"}, "login"},

		"unsigned":   {status(401, ""), "", "", []string{"refuses GET " + invited, "None is sent, because wsgi_party_guest has no key", "`key {env.BLOG_PARTY_KEY}`", "login", "`not vars partyline NAME`"}, "is its key the same"},
		"signed":     {status(401, ""), key, "", []string{"refuses GET " + invited, `Party-Token for guest "NAME"`, "is its key the same", "`not vars partyline NAME`"}, "has no key"},
		"basic-auth": {status(200, ""), "", "error 401", []string{"a handler in Caddy refuses it", "`not vars partyline NAME`"}, "key"},
		"rate-limit": {status(200, ""), "", "error 429", []string{"limits the rate", "`not vars partyline NAME`"}, "running"},

		"bad-request": {status(400, ""), "", "", []string{"the host of the invite? It was localhost", "https://example.com" + invited}, "running"},
		"broken":      {status(500, ""), "", "", []string{"answers GET " + invited + " with status 500", "its own log", "asks again in 5m0s, or at once if you run `caddy wsgi-party invite " + c.party + " NAME`"}, "running?"},
		"starting":    {status(503, ""), "", "", []string{"unavailable"}, "running?"},
		"slow":        {testbackend.Response{Wait: 10 * time.Second}, "", "", []string{"GET " + invited + " was not answered in time", "invite_timeout of more than 4s"}, "running?"},
		"broken-off":  {testbackend.Response{Body: manifest, Header: map[string]string{"Content-Type": partytest.ManifestType}, Cut: true}, "", "", []string{"closed the connection in the middle of its answer"}, "running?"},
		"bad":         {manifestOf(`{"urls": {"home": 1}}`), "", "", []string{"urls.home: it is a number", "correct the application's manifest"}, "running"},
		"stripped":    {manifestOf(`{"urls": {"home": "/"}}`), "", "", []string{"correct the application's manifest", "write `handle_path /NAME/*`"}, "running"},
	}
	b := testbackend.Start(t, "")
	config := "invite_timeout 4s\n"
	for name, test := range tests {
		if location := test.response.Header["Location"]; location != "" {
			test.response.Header["Location"] = strings.ReplaceAll(location, "NAME", name)
		}
		b.On("/"+name+"/__invite__/", test.response)
		config += "invite /" + name + "/__invite__/\nhandle /" + name + "/* {\nroute {\n"
		config += "wsgi_party_guest" + test.options + "\n" + test.behind + "\nreverse_proxy " + b.Upstream() + "\n}\n}\n"
	}
	c.load(config)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			partytest.Eventually(t, name+" is told", func() bool { return len(partytest.InvitesLogged(t, name)) > 0 })
			told := partytest.InvitesLogged(t, name)[0]
			check.Equal(t, told["level"], any("warn"), "its application has answered, or something in Caddy has: level")
			text := fmt.Sprint(told["error"], told["hint"])
			for _, part := range test.says {
				check.Has(t, text, strings.ReplaceAll(part, "NAME", name))
			}
			check.ErrorIf(t, strings.Contains(text, test.never), "%s: it says %s: %v", name, test.never, told)
		})
	}
	for guest, info := range invitesOf(t, c.party, false) {
		check.ErrorIf(t, info.Hint == "", "%s: the admin API has no hint", guest)
	}
}

// TestManifestsThatAreHardlyMeantAreWarnedOf has guests that join, with what nobody can
// use.
func TestManifestsThatAreHardlyMeantAreWarnedOf(t *testing.T) {
	httpguest.Waits{Apart: time.Millisecond}.Set(t)
	const message = "the guest's manifest is valid, but probably not what was meant"
	c := newGuestTest(t)
	b := testbackend.Start(t, testport.Address(t))
	warnings := func(n int, says ...string) {
		t.Helper()
		partytest.Eventually(t, fmt.Sprint("there are ", n, " warnings"), func() bool { return len(partytest.LogEntries(t, message)) >= n })
		entries := partytest.LogEntries(t, message)
		check.FatalIf(t, len(entries) != n, "%d warnings, want %d: %v", len(entries), n, entries)
		last := entries[n-1]
		check.ErrorIf(t, last["level"] != "warn" || last["guest"] != "blog" || last["party"] != c.party || last["uri"] != "/blog/__invite__/", "%v", last)
		check.Contains(t, fmt.Sprint(last["hint"]), says)
	}
	fetch := func() {
		t.Helper()
		n := len(b.Requests("/__invite__/"))
		applicationOf(t, "blog").FetchSoon()
		awaitRequests(t, b, "/__invite__/", n+1)
	}
	hint := func() string { return invitesOf(t, c.party, false)["blog"].Hint }
	answer := func(manifest string, n int, says ...string) {
		t.Helper()
		b.On("/__invite__/", manifestOf(manifest))
		fetch()
		warnings(n, says...)
		// It has joined all the same, and the admin API says it, too.
		partytest.Eventually(t, "the admin API has the hint", func() bool { return hint() != "" && strings.Contains(hint(), says[0]) })
	}
	b.On("/__invite__/", manifestOf(`{"urls": {"post": "/posts/:slug"}}`))
	config := "prefix /apps\n" + blogAt(b)
	c.load(config)
	c.await("url")
	warnings(1, `urls.post is "/posts/:slug"`, "write {slug}")
	fetch()
	fetch()
	warnings(1)
	answer(`{"urls": {"post": "/blog/{slug}"}}`, 2, `"/blog/{slug}", which is "/blog/blog/{slug}" to visitors`)
	answer(`{"urls": {"post": "/apps/blog/{slug}", "home": "/apps/blog/"}}`, 3, "the mount, /apps/blog: leave that out, as in \"/\"")
	c.load(config) // in which nothing is fetched, and the hint stays
	warnings(3)
	check.Has(t, hint(), "the mount, /apps/blog", "after a reload the hint")
	answer(`{"url": {"post": "/{slug}"}}`, 4, `did you mean urls?`)
	answer(`{"title": "Blog"}`, 5, "neither urls nor services")
	c.expectLink("post", "")
	b.On("/__invite__/", manifestOf(`{"urls": {"post": "/new"}}`))
	fetch()
	c.await("url")
	c.expectLink("post", "/apps/blog/new")
	warnings(5)

	// What the Caddyfile declares is warned of when it loads.
	c.load(blogAt(b, "url home /", "service user /users/:id"))
	warnings(6, `services.user[0] is "/users/:id"`, "write {id}")
	check.Has(t, hint(), "write {id}", "the admin API has the hint")
}

// TestAnswersThatBreakOffAreToldAsThat asks an application that ends its connections in
// the middle of an answer.
func TestAnswersThatBreakOffAreToldAsThat(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/ping", testbackend.Response{Body: "1", Header: map[string]string{"Content-Type": "application/json"}, Cut: true})
	c.load(blogAt(b, "service ping POST /ping"))
	for range httpguest.BreakerFailures {
		_, err := c.ask("ping", nil)
		check.Equal(t, fmt.Sprint(err), `guest "blog" failed to answer "ping": the response broke off`)
	}
	c.expectFailure("ping", nil, "failed to answer 5 times in a row", "the response broke off")
	check.Equal(t, len(b.Requests("/ping")), httpguest.BreakerFailures, "requests")
	entries := partytest.LogEntries(t, "guest does not answer")
	check.ErrorIf(t, len(entries) != 1 || entries[0]["error"] != "the response broke off", entries)
}

// TestAnUpstreamThatIsDownIsToldOnce has asks go to one that is up and one that is not,
// in turn.
func TestAnUpstreamThatIsDownIsToldOnce(t *testing.T) {
	const message = "guest answers only some asks: an upstream is down"
	c := newGuestTest(t)
	b := testbackend.Start(t, testport.Address(t))
	b.On("/ping", jsonOf("1"))
	down := testport.Address(t)
	load := func(more string) {
		c.load("invite /blog/__invite__/\nhandle_path /blog/* {\nwsgi_party_guest {\nservice ping POST /ping\nservice pong POST /ping\n}\nreverse_proxy " + b.Upstream() + " " + down + " {\nlb_policy round_robin\n" + more + "\n}\n}")
	}
	load("")
	answered := 0
	for i := range 32 {
		if _, err := c.ask([]string{"ping", "pong"}[i/4%2], nil); err == nil {
			answered++
		}
	}
	check.Equal(t, answered, 16, "of 32 asks are answered")
	entries := partytest.LogEntries(t, message)
	check.FatalIf(t, len(entries) != 1 || entries[0]["level"] != "warn" || entries[0]["guest"] != "blog" || entries[0]["party"] != c.party, "%d warnings: %v", len(entries), entries)
	check.Contains(t, fmt.Sprint(entries[0]), []string{"error:dial tcp " + down, "`lb_try_duration 1s`", "`fail_duration 10s`"})
	load("lb_try_duration 5s\nlb_try_interval 10ms")
	for range 8 {
		c.expectAsk("ping", nil, "1")
	}
	check.Equal(t, len(partytest.LogEntries(t, message)), 1, "times that it is told")
}

// TestAnApplicationThatStartsAgainHasNoUpstreamDown fails asks in a row, now and then.
func TestAnApplicationThatStartsAgainHasNoUpstreamDown(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, testport.Address(t))
	b.On("/ping", jsonOf("1"))
	c.load(blogAt(b, "service ping POST /ping"))
	for range 2 {
		for range 4 {
			c.expectAsk("ping", nil, "1")
		}
		b.Kill()
		for range 3 {
			c.expectFailure("ping", nil)
		}
		b.Start()
		partytest.Eventually(t, "it answers again", func() bool { _, err := c.ask("ping", nil); return err == nil })
	}
	check.Equal(t, len(partytest.LogEntries(t, "guest answers only some asks: an upstream is down")), 0)
}

// password is the hash of the word password, quick to compute.
const password = "$2b$04$abcdefghijklmnopqrstuughE8Ev8uGFaUgY2cNEySvxngrb/Jzdm"

const noInvite = "no invite reached a wsgi_party_guest handler: its application is not on the line"

func TestNobodyIsWarnedOfWhatIsRight(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site(`
	wsgi_party main {
		invite /blog/__invite__/ /both/__invite__/ /both/second/__invite__/
		handle_path /blog/* {
			wsgi_party_guest {
				answer ping pong
			}
		}
		handle_path /both/second/* {
			wsgi_party_guest {
				answer ping second
			}
		}
		handle_path /both/* {
			wsgi_party_guest both {
				answer ping pong
			}
		}
	}`)
	for _, e := range partytest.LogEntries(t, noInvite) {
		t.Errorf("logged %v", e)
	}
	c.ExpectJSONAnswers("main", "ping", `"pong"`, `"pong"`, `"second"`)
}

// TestTheRecipeLetsThePartyThroughAuthentication has an application that answers its
// invite, and asks, behind a password that people need.
func TestTheRecipeLetsThePartyThroughAuthentication(t *testing.T) {
	party := partytest.FreshParty()
	for _, name := range []string{"basic_auth", "forward_auth"} {
		t.Run(name, func(t *testing.T) {
			c := partytest.NewCaddy(t)
			app := partytest.NewInvited(t, partytest.Manifest(`{"services": {"user": {"href": "/api/user"}, "private": {"href": "/__invite__/private"}}}`)).On(partytest.JSON(`"somebody"`))
			recipe := "@people not vars partyline blog\n"
			if name == "basic_auth" {
				recipe += "basic_auth @people {\nuser " + password + "\n}\n"
			} else {
				refuses := partytest.NewInvited(t, nil).On(partytest.Status(401))
				recipe += "forward_auth @people " + refuses.Listener.Addr().String() + " {\nuri /auth\n}\n"
			}
			c.Site("wsgi_party " + party + name + " {\ninvite /blog/__invite__/\n" + recipe + partytest.Mounted("blog", "", app) + "}")
			info := invitesOf(t, party+name, true)["blog"]
			check.FatalIf(t, info.Result != wsgiparty.InviteJoined, "%+v", info)
			c.ExpectJSONAnswers(party+name, "user", `"somebody"`)
			c.ExpectJSONAnswers(party+name, "private", `"somebody"`)
			for _, forged := range []string{"", "partyline", "Party-Line", "X-Partyline"} {
				r := check.Value(http.NewRequest("GET", "http://"+c.Address+"/blog/api/user?partyline=blog", nil))(t)
				if forged != "" {
					r.Header.Set(forged, "blog")
				}
				r.AddCookie(&http.Cookie{Name: "partyline", Value: "blog"})
				response := check.Value(http.DefaultClient.Do(r))(t)
				response.Body.Close()
				check.Equal(t, response.StatusCode, 401, "people get in with %q", forged)
			}
			if name == "basic_auth" {
				r := check.Value(http.NewRequest("GET", "http://user:password@"+c.Address+"/blog/api/user", nil))(t)
				response := check.Value(http.DefaultClient.Do(r))(t)
				response.Body.Close()
				check.Equal(t, response.StatusCode, 200, "people with a password")
			}
			for _, e := range partytest.LogEntries(t, noInvite) {
				t.Errorf("logged %v", e)
			}
		})
	}
}

func TestKeysOfTwoGuestsThatAreTheSameFailTheLoad(t *testing.T) {
	c := partytest.NewCaddy(t)
	partytest.Key(t, "one")
	t.Setenv("same_PARTY_KEY", "one"+strings.Repeat("-Key", 8))
	partytest.Key(t, "two")
	c.Site("respond before")
	guests := func(one, two string) string {
		return "wsgi_party main {\ninvite /a/__invite__/ /b/__invite__/\nhandle_path /a/* {\nwsgi_party_guest {\nkey " + one + "\nanswer x y\n}\n}\nhandle_path /b/* {\nwsgi_party_guest {\nkey " + two + "\nanswer x y\n}\n}\n}\n"
	}
	two := func(one, two string) string {
		return "ADDRESS {\n" + guests(one, two) + "}"
	}
	for _, config := range []string{
		two("{env.one_PARTY_KEY}", "{env.one_PARTY_KEY}"),
		two("{env.one_PARTY_KEY}", "{env.same_PARTY_KEY}"),
		two("{env.one_PARTY_KEY}", "{env.two_PARTY_KEY} {env.same_PARTY_KEY}"),
		// In two parties, too.
		"ADDRESS {\nroute {\nwsgi_party x {\ninvite /a/__invite__/\nhandle_path /a/* {\nwsgi_party_guest {\nkey {env.one_PARTY_KEY}\n}\n}\n}\nwsgi_party y {\ninvite /b/__invite__/\nhandle_path /b/* {\nwsgi_party_guest {\nkey {env.same_PARTY_KEY}\n}\n}\n}\n}\n}",
	} {
		err := c.TryLoad(config)
		check.ErrorIf(t, err == nil || !strings.Contains(err.Error(), `"a`) || !strings.Contains(err.Error(), `"b`) || !strings.Contains(err.Error(), "share a key: each needs its own"), "%s: %v", config, err)
		check.ErrorIf(t, err != nil && strings.Contains(err.Error(), "-Key-Key"), "a key is shown: %v", err)
		c.Expect("/", 200, "before")
	}
	// The same guest in two servers has the same key, and two of its own.
	second := testport.Address(t)
	_, port, err := net.SplitHostPort(second)
	check.Must(t, err)
	c.Load("ADDRESS http://127.0.0.1:" + port + " {\n" + guests("{env.one_PARTY_KEY} {env.same_PARTY_KEY}", "{env.two_PARTY_KEY}") + "}")
	all := operatorOf(c, "main").Partyline().Guests()
	check.ErrorIf(t, len(all) != 2 || all[0].Replicas != 2, "%+v", all)
}
