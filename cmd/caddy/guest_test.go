// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// httpGuests is a party of applications behind Caddy's own handlers.
const httpGuests = options + `
SITE {
	wsgi_party main {
		invite /blog/__invite__/ /shop/__invite__/ /old/__invite__/
		handle_path /blog/* {
			wsgi_party_guest blog {
				timeout 3s
				forward Accept-Language
			}
			reverse_proxy BLOG
		}
		handle_path /shop/* {
			wsgi_party_guest
			reverse_proxy SHOP
		}
		handle_path /old/* {
			wsgi_party_guest {
				key {env.OLD_PARTY_KEY}
				url home /
				url article /articles/{id}
				answer ping pong
				service user /api/user{?id}
			}
			respond /api/user "[{query.id}]"
		}
	}
	handle_path /ask/* {
		wsgi_party_ask main
	}
}
`

// twoApplications are one that has a manifest as soon as it is open, and how often it
// was invited, and one that does not run.
func twoApplications(t *testing.T) (caddyfile string, open func(), invited *atomic.Int64) {
	t.Helper()
	var isOpen atomic.Bool
	invited = new(atomic.Int64)
	blog := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "application/vnd.wsgi-party+json" {
			http.NotFound(w, r)
			return
		}
		invited.Add(1)
		if !isOpen.Load() {
			http.NotFound(w, r)
			return
		}
		time.Sleep(200 * time.Millisecond)
		w.Header().Set("Content-Type", "application/vnd.wsgi-party+json")
		_, _ = fmt.Fprint(w, `{"urls": {"post": "/posts/{slug}"}, "services": {"ping": {"answer": "blog"}}}`)
	}))
	t.Cleanup(blog.Close)
	t.Setenv("OLD_PARTY_KEY", strings.Repeat("old-key-", 5))
	return strings.NewReplacer("BLOG", blog.Listener.Addr().String(), "SHOP", testport.Address(t)).Replace(httpGuests), func() { isOpen.Store(true) }, invited
}

// expectTraffic makes requests to guests, and fails the test unless the command shows them: of paths that move
// a terminal's cursor, too.
func expectTraffic(t *testing.T, site, admin string) {
	t.Helper()
	for _, path := range []string{"/old/api/user?id=1", "/old/api/user?id=2", "/old/api/user?id=3", "/old/%1b%5b2J/%00%ff/x", "/old", "/blog/posts/1", "/shop/", "/old/", "/map"} {
		response, err := http.Get("http://" + site + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}
	text := expectCommand(t, 0, nil, "show", "main", "--address", admin)
	for _, want := range []string{
		`\nGUEST +TRAFFIC +REQUESTS SINCE \d{4}-\d\d-\d\d \d\d:\d\d:\d\d +1XX +2XX +3XX +4XX +5XX\n` +
			`blog +14.3 % +1 +0 +0 +0 +1 +0\nold +71.4 % +5 +0 +5 +0 +0 +0\nshop +14.3 % +1 +0 +0 +0 +0 +1\n`,
		`\nGUEST +MOST REQUESTED +CLAIMED +REQUESTS +OF THE GUEST'S\n` +
			`blog +/posts/1 +no +1 +100.0 %\nold +/api/user +no +3 +60.0 %\nold +/ +no +1 +20.0 %\nold +/%1B%5B2J/%00%FF +no +1 +20.0 %\nshop +/ +no +1 +100.0 %\n`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("there is no %s in\n%s", want, text)
		}
	}
}

func TestTheCommandShowsAndInvitesApplications(t *testing.T) {
	caddyfile, open, invited := twoApplications(t)
	admin, site, _ := startCaddy(t, caddyfile)
	at := func(arguments ...string) []string { return append(arguments, "--address", admin) }
	var all [][]map[string]string
	text := ""
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) { // both are asked when Caddy has started
		text = expectCommand(t, 0, nil, at("show", "main")...)
		if all = tables(t, text); len(all) == 5 && column(all[0], "STATUS") == "404|502|204" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(text)
		}
	}
	invites, guests, services, counts, traffic := all[0], all[1], all[2], all[3], all[4]
	if column(invites, "GUEST") != "blog|shop|old" || column(invites, "RESULT") != "not answered|failed|joined" || !strings.Contains(invites[1]["ERROR"], "connect") ||
		column(invites, "MANIFEST OF") != "-|-|-" || !strings.Contains(invites[0]["HINT"], "no manifest") || !strings.Contains(invites[1]["HINT"], "running") || invites[2]["HINT"] != "-" {
		t.Error(text)
	}
	if column(guests, "GUEST") != "old" || column(guests, "SERVICES") != "ping, url, user" || column(services, "SERVICE") != "ping|url|user" || column(counts, "SERVICE") != "ping|url|user" {
		t.Error(text)
	}
	if column(traffic, "GUEST") != "blog|old|shop" || column(traffic, "TRAFFIC") != "-|-|-" || column(traffic, "REQUESTS") != "0|0|0" {
		t.Error(text)
	}
	rows := tables(t, expectCommand(t, 0, nil, at("ask", "main", "user", `{"id": 7}`)...))[0]
	if column(rows, "GUEST") != "old" || column(rows, "STATUS") != "answered" || column(rows, "ANSWER") != "[7]" {
		t.Error(rows)
	}
	expectTraffic(t, site, admin)

	open()
	rows = tables(t, expectCommand(t, 0, nil, at("invite", "main", "blog")...))[0]
	if column(rows, "GUEST") != "blog" || column(rows, "RESULT") != "joined" || column(rows, "STATUS") != "200" || column(rows, "ERROR") != "-" {
		t.Error(rows)
	}
	rows = tables(t, expectCommand(t, 0, nil, at("ask", "main", "ping")...))[0]
	if column(rows, "ANSWER") != `"pong"|"blog"` && column(rows, "ANSWER") != `"blog"|"pong"` {
		t.Error(rows)
	}
	rows = tables(t, expectCommand(t, 0, nil, at("ask", "main", "url", `["post", {"slug": "a"}]`, "--first")...))[0]
	if !strings.Contains(column(rows, "ANSWER"), `"/blog/posts/a"`) {
		t.Error(rows)
	}
	before := invited.Load()
	rows = tables(t, expectCommand(t, 1, []string{"not joined: shop"}, at("invite", "main")...))[0]
	if column(rows, "RESULT") != "on the line|failed|on the line" || column(rows, "STATUS") != "200|502|204" {
		t.Error(rows)
	}
	if n := invited.Load(); n != before {
		t.Errorf("who is on the line is asked again: %d", n-before)
	}

	request, err := http.NewRequest("POST", "http://"+site+"/ask/ping", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("OLD_PARTY_KEY"))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var got struct{ Answers []string }
	if err := json.NewDecoder(response.Body).Decode(&got); err != nil || len(got.Answers) != 1 || got.Answers[0] != "blog" {
		t.Errorf("%d %v %v", response.StatusCode, got, err)
	}
}

func TestTheCommandAdaptsFormatsAndValidatesGuests(t *testing.T) {
	caddyfile, _, invited := twoApplications(t)
	caddyfile = strings.NewReplacer("ADMIN", testport.Address(t), "SITE", "http://"+testport.Address(t)).Replace(caddyfile)
	write := func(text string) string {
		t.Helper()
		file := filepath.Join(t.TempDir(), "Caddyfile")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	run := func(arguments ...string) string {
		t.Helper()
		stdout, stderr, status := runCommand(t, arguments...)
		if status != 0 {
			t.Errorf("%q: %d %s", arguments, status, stderr)
		}
		return stdout
	}
	file := write(caddyfile)
	adapted := run("adapt", "--config", file)
	for _, part := range []string{`"handler":"wsgi_party_guest","keys":["{env.OLD_PARTY_KEY}"]`, `"timeout":3000000000`, `"forward":["Accept-Language"]`,
		`"urls":{"article":"/articles/{id}","home":"/"}`, `"handler":"wsgi_party_ask","party":"main"`} {
		if !strings.Contains(adapted, part) {
			t.Errorf("adapted it lacks %s: %s", part, adapted)
		}
	}
	if strings.Contains(adapted, "old-key-") {
		t.Errorf("adapted it shows a key: %s", adapted)
	}

	formatted, _, _ := runCommand(t, "fmt", write(strings.ReplaceAll(caddyfile, "\t", "  "))) // its status says that it was not formatted
	if again := run("adapt", "--config", write(formatted)); again != adapted {
		t.Errorf("formatted it adapts to\n%s\nwant\n%s", again, adapted)
	}
	if again := run("fmt", write(formatted)); again != formatted {
		t.Errorf("formatted again it is\n%s\nwant\n%s", again, formatted)
	}

	run("validate", "--config", file)
	run("adapt", "--config", file, "--validate")
	if n := invited.Load(); n != 0 {
		t.Errorf("validating asks an application %d times", n)
	}
	for _, wrong := range []struct{ from, to, want string }{
		{"{env.OLD_PARTY_KEY}", "an-open-secret-an-open-secret-an-open", "write a placeholder such as {env.BLOG_PARTY_KEY}"},
		{"{env.OLD_PARTY_KEY}", "{env.NOT_THERE}", "{env.NOT_THERE}, is empty: the variable NOT_THERE is unset"},
		{"{env.OLD_PARTY_KEY}", "{file./not/there}", "{file./not/there}, is empty"},
		{"{id}", "{path}", "write another name"},
		{"timeout 3s", "timeout 3", "such as 2s"},
	} {
		_, stderr, status := runCommand(t, "validate", "--config", write(strings.Replace(caddyfile, wrong.from, wrong.to, 1)))
		if status == 0 || !strings.Contains(stderr, wrong.want) || strings.Contains(stderr, "an-open") {
			t.Errorf("%s: %d %s", wrong.to, status, stderr)
		}
	}
}

func TestTheCommandShowsWhereGuestsAsk(t *testing.T) {
	caddyfile, _, _ := twoApplications(t)
	address := testport.Address(t)
	admin, _, _ := startCaddy(t, strings.Replace(caddyfile, "wsgi_party main {", "wsgi_party main {\nask_on "+address+"\n", 1))
	text := expectCommand(t, 0, nil, "show", "main", "--address", admin)
	if line := "GUESTS ASK AT  http://" + address + "/\n"; !strings.HasSuffix(text, "\n"+line) {
		t.Errorf("%q is not the last line of %s", line, text)
	}
	if text = expectCommand(t, 0, nil, "show", "main", "--json", "--address", admin); !strings.Contains(text, `"ask_urls":["http://`+address+`/"]`) {
		t.Error(text)
	}
}
