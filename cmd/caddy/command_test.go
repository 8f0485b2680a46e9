// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wsgiparty/wsgiparty/internal/testport"
)

const options = "{\nadmin ADMIN\npersist_config off\nstorage_check off\nstorage_clean_interval off\ngrace_period 1s\n}\n"

// threeGophers is a party whose last guest is not let in until LATE is gone.
const threeGophers = options + `
SITE {
	wsgi_party main {
		invite /__invite__/
		invite /größe/__invite__/ as gross
		invite /late/__invite__/
		handle_path /größe/* {
			gopher gross {
				page news /neues
			}
		}
		handle_path /late/* {
			@refused {
				vars_regexp partyline .+
				file {
					root "LATE"
					try_files closed
				}
			}
			error @refused "come back later" 403
			gopher late {
				page index /
			}
		}
		gopher root {
			page index /
		}
	}
	wsgi_party empty
}
`

// threeGophersLate returns the Caddyfile, and what lets the last guest in.
func threeGophersLate(t *testing.T) (caddyfile string, open func()) {
	t.Helper()
	dir := t.TempDir()
	closed := filepath.Join(dir, "closed")
	if err := os.WriteFile(closed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(threeGophers, "LATE", filepath.ToSlash(dir)), func() {
		if err := os.Remove(closed); err != nil {
			t.Error(err)
		}
	}
}

// TestTheCommand goes through what one Caddy is told by it.
func TestTheCommand(t *testing.T) {
	t.Parallel()
	caddyfile, open := threeGophersLate(t)
	admin, _, _ := startCaddy(t, caddyfile)
	at := func(arguments ...string) []string { return append(arguments, "--address", admin) }
	get := func(path string) string {
		t.Helper()
		status, body, err := callAdmin("GET", "http://"+admin+path, "", "")
		if err != nil || status != 200 {
			t.Fatalf("%s: %d %s %v", path, status, body, err)
		}
		return body
	}

	t.Run("list", func(t *testing.T) {
		rows := tables(t, expectCommand(t, 0, nil, at("list")...))[0]
		if want := []map[string]string{
			{"PARTY": "empty", "GUESTS": "0", "SERVICES": "0", "INVITES": "0 of 0 joined"},
			{"PARTY": "main", "GUESTS": "2", "SERVICES": "2", "INVITES": "2 of 3 joined"},
		}; !reflect.DeepEqual(rows, want) {
			t.Errorf("%v, want %v", rows, want)
		}
		if got, want := expectCommand(t, 0, nil, at("list", "--json")...), get("/wsgi_party/"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})

	t.Run("ask", func(t *testing.T) {
		rows := tables(t, expectCommand(t, 0, nil, at("ask", "main", "ping")...))[0]
		if column(rows, "GUEST") != "root|gross" || column(rows, "STATUS") != "answered|answered" || column(rows, "ANSWER") != `"pong"|"pong"` {
			t.Error(rows)
		}
		for _, row := range rows {
			if took, err := time.ParseDuration(row["DURATION"]); err != nil || took < 0 {
				t.Errorf("%v %v", row, err)
			}
		}
		rows = tables(t, expectCommand(t, 0, nil, at("ask", "main", "ping", "--first")...))[0]
		if column(rows, "GUEST") != "root" {
			t.Error(rows)
		}
		rows = tables(t, expectCommand(t, 0, nil, at("ask", "main", "url", `{"name": "gross:news"}`)...))[0]
		if column(rows, "STATUS") != "answered" || column(rows, "ANSWER") != `"/größe/neues"` { // its name is a guest's
			t.Error(rows)
		}
		rows = tables(t, expectCommand(t, 1, []string{"nobody in party main answered url"}, at("ask", "main", "url", `["nobody:page", {}]`)...))[0]
		if column(rows, "STATUS") != "declined|declined" || column(rows, "ANSWER") != "-|-" {
			t.Error(rows)
		}
		rows = tables(t, expectCommand(t, 1, []string{"2 of the handlers asked for url failed"}, at("ask", "main", "url", `"text"`)...))[0]
		if column(rows, "STATUS") != "failed|failed" || !strings.Contains(rows[1]["ANSWER"], `guest "gross" failed to answer "url": the payload is a string`) {
			t.Error(rows)
		}
		expectCommand(t, 1, []string{"2 of the handlers asked for url failed"}, at("ask", "main", "url", "7", "--first")...)
	})

	t.Run("ask as JSON", func(t *testing.T) {
		durations := regexp.MustCompile(`"duration":[^,}]*`)
		for _, test := range []struct {
			status         int
			service, first string
			payload        string
		}{
			{0, "ping", "--first=false", ""},
			{0, "ping", "--first=true", "null"},
			{0, "url", "--first=false", `{"name": "root:index"}`},
			{1, "url", "--first=false", `["nobody:page", {}]`},
			{1, "url", "--first=true", `"text"`},
		} {
			got := expectCommand(t, test.status, nil, at("ask", "main", test.service, test.payload, test.first, "--json")...)
			_, want, err := callAdmin("POST", "http://"+admin+"/wsgi_party/main/ask/"+test.service+"?"+strings.TrimLeft(test.first, "-"), "application/json", test.payload)
			if got, want := durations.ReplaceAllString(got, ""), durations.ReplaceAllString(want, ""); err != nil || got != want {
				t.Errorf("%v: %s, want %s %v", test, got, want, err)
			}
			if !json.Valid([]byte(got)) {
				t.Errorf("%v: no JSON: %s", test, got)
			}
		}
	})

	t.Run("show", func(t *testing.T) {
		text := expectCommand(t, 0, nil, at("show", "main")...)
		all := tables(t, text)
		if len(all) != 4 {
			t.Fatal(text)
		}
		invites, guests, services, counts := all[0], all[1], all[2], all[3]
		if column(invites, "INVITE") != "/__invite__/|/gr%C3%B6%C3%9Fe/__invite__/|/late/__invite__/" || column(invites, "GUEST") != "root|gross|late" ||
			column(invites, "RESULT") != "joined|joined|refused" || column(invites, "STATUS") != "204|204|403" || column(invites[:2], "ERROR") != "-|-" || len(invites[2]["ERROR"]) < 10 {
			t.Error(text)
		}
		if column(guests, "GUEST") != "gross|root" || column(guests, "SERVICES") != "ping, url|ping, url" || column(guests, "REPLICAS") != "1|1" {
			t.Error(text)
		}
		for _, guest := range guests {
			if joined, err := time.ParseInLocation(time.DateTime, guest["JOINED"], time.Local); err != nil || time.Since(joined).Abs() > 10*time.Minute {
				t.Errorf("%v %v", guest, err)
			}
		}
		if column(services, "SERVICE") != "ping|url" || column(services, "GUESTS") != "root, gross|root, gross" {
			t.Error(text)
		}
		if column(counts, "GUEST") != "gross|gross|root|root" || column(counts, "SERVICE") != "ping|url|ping|url" {
			t.Error(text)
		}
		// By what the tests above ask, and their requests.
		for title, want := range map[string]string{"ASKED": "3|8|6|9", "ANSWERED": "3|1|6|2", "DECLINED": "0|3|0|3", "FAILED": "0|4|0|4"} {
			if got := column(counts, title); got != want {
				t.Errorf("%s: %s, want %s", title, got, want)
			}
		}
		if counts[0]["LAST ERROR"] != "-" {
			t.Error(text)
		}
		if !strings.Contains(counts[1]["LAST ERROR"], `guest "gross" failed`) {
			t.Error(text)
		}
		if got, want := expectCommand(t, 0, nil, at("show", "main", "--json")...), get("/wsgi_party/main"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		for i, rows := range tables(t, expectCommand(t, 0, nil, at("show", "empty")...)) {
			if len(rows) != 0 {
				t.Errorf("table %d of an empty party: %v", i, rows)
			}
		}
	})

	t.Run("what there is not", func(t *testing.T) {
		for i, test := range []struct {
			arguments, want []string
		}{
			{[]string{"show", "nobody"}, []string{`no party is called "nobody"`, "the parties are empty, main"}},
			{[]string{"watch", "mian"}, []string{`no party is called "mian"`, "main"}},
			{[]string{"show", "a/b?c#d%2f e"}, []string{`no party is called "a/b?c#d%2f e"`}},
			{[]string{"ask", "nobody", "ping"}, []string{`no party is called "nobody"`, "the parties are empty, main"}},
			{[]string{"ask", "main", "nothing", "{}"}, []string{`no service is called "nothing"`, "the services are ping, url"}},
			{[]string{"ask", "main", "a/b?c#d%2f e"}, []string{`no service is called "a/b?c#d%2f e"`}},
			{[]string{"ask", "empty", "ping"}, []string{`no service is called "ping"`, "there is none"}},
			{[]string{"invite", "nobody"}, []string{`no party is called "nobody"`, "the parties are empty, main"}},
			{[]string{"invite", "main", "nobody"}, []string{`no invited guest is called "nobody"`, "the invited guests are root, gross, late"}},
			{[]string{"invite", "main", "a&b=c/d?e#f%2f g"}, []string{`no invited guest is called "a&b=c/d?e#f%2f g"`}},
		} {
			if i%2 == 0 {
				test.arguments = append(test.arguments, "--json")
			}
			if stdout := expectCommand(t, 1, test.want, at(test.arguments...)...); stdout != "" {
				t.Errorf("%q writes %s", test.arguments, stdout)
			}
		}
	})

	t.Run("invite", func(t *testing.T) {
		rows := tables(t, expectCommand(t, 1, []string{"not joined: late"}, at("invite", "main")...))[0]
		if column(rows, "GUEST") != "root|gross|late" || column(rows, "RESULT") != "on the line|on the line|refused" || column(rows, "STATUS") != "204|204|403" {
			t.Error(rows)
		}
		var sent struct {
			Invites []struct {
				Guest, Result string
				Status        int
				Sent          bool
			}
		}
		if err := json.Unmarshal([]byte(expectCommand(t, 1, []string{"not joined: late"}, at("invite", "main", "late", "--json")...)), &sent); err != nil ||
			fmt.Sprint(sent.Invites) != "[{late refused 403 true}]" {
			t.Errorf("%v %v", sent, err)
		}
		open()
		rows = tables(t, expectCommand(t, 0, nil, at("invite", "main", "gross")...))[0]
		if column(rows, "GUEST") != "gross" || column(rows, "RESULT") != "on the line" {
			t.Error(rows)
		}
		rows = tables(t, expectCommand(t, 0, nil, at("invite", "main")...))[0]
		if column(rows, "RESULT") != "on the line|on the line|joined" || column(rows, "STATUS") != "204|204|204" || column(rows, "ERROR") != "-|-|-" {
			t.Error(rows)
		}
		if err := json.Unmarshal([]byte(expectCommand(t, 0, nil, at("invite", "main", "--json")...)), &sent); err != nil ||
			fmt.Sprint(sent.Invites) != "[{root joined 204 false} {gross joined 204 false} {late joined 204 false}]" {
			t.Errorf("%v %v", sent, err)
		}
		rows = tables(t, expectCommand(t, 0, nil, at("ask", "main", "ping")...))[0]
		if column(rows, "GUEST") != "root|gross|late" {
			t.Error(rows)
		}
		rows = tables(t, expectCommand(t, 0, nil, at("list")...))[0]
		if column(rows, "GUESTS") != "0|3" || column(rows, "SERVICES") != "0|2" || column(rows, "INVITES") != "0 of 0 joined|3 of 3 joined" {
			t.Error(rows)
		}
		if stdout := expectCommand(t, 0, nil, at("invite", "empty")...); len(tables(t, stdout)[0]) != 0 {
			t.Error(stdout)
		}
	})
}

func TestTheCommandFindsTheAdminAPI(t *testing.T) {
	t.Parallel()
	dir := testDir // a socket's path must be short
	socket := "unix/" + filepath.ToSlash(filepath.Join(dir, "admin.sock"))
	caddyfile, _ := threeGophersLate(t)
	startCaddy(t, strings.ReplaceAll(strings.ReplaceAll(caddyfile, "ADMIN", socket), "main", "socket"))
	admin, site, config := startCaddy(t, caddyfile)
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	byJSON := write("caddy.json", `{"admin": {"listen": "`+admin+`"}}`)
	bySocket := write("Caddyfile", "{\nadmin "+socket+"\n}\n")
	odd := write("odd.conf", "{\nadmin "+admin+"\n}\n")
	for _, test := range []struct {
		party     string
		arguments []string
	}{
		{"main", []string{"list", "--address", admin}},
		{"main", []string{"--address", admin, "list"}},
		{"main", []string{"list", "--address=" + strings.Replace(admin, "127.0.0.1", "localhost", 1)}},
		{"main", []string{"list", "--config", config}},
		{"main", []string{"list", "-c", byJSON}},
		{"main", []string{"list", "--config", odd, "--adapter", "caddyfile"}},
		{"main", []string{"-c", odd, "-a", "caddyfile", "list"}},
		{"main", []string{"list", "--address", admin, "--config", bySocket}},
		{"main", []string{"list", "--address", admin, "--config", filepath.Join(dir, "none")}},
		{"socket", []string{"list", "--address", socket}},
		{"socket", []string{"list", "--config", bySocket}},
	} {
		if got := column(tables(t, expectCommand(t, 0, nil, test.arguments...))[0], "PARTY"); !strings.Contains(got, test.party) {
			t.Errorf("%q finds %s, want %s", test.arguments, got, test.party)
		}
	}
	for _, arguments := range [][]string{{"ask", "socket", "ping"}, {"show", "socket"}, {"invite", "socket", "root"}} {
		expectCommand(t, 0, nil, append(arguments, "--address", socket)...)
	}

	for _, test := range []struct {
		status          int
		arguments, want []string
	}{
		{1, []string{"list", "--config", filepath.Join(dir, "none")}, []string{"couldn't determine admin API address", "none"}},
		{1, []string{"list", "--config", odd}, []string{"couldn't determine admin API address"}},
		{1, []string{"list", "--config", odd, "--adapter", "none"}, []string{"couldn't determine admin API address", "none"}},
		{2, []string{"list", "--address", "unix/" + dir + "/none.sock"}, []string{"no Caddy answers at the admin address unix/" + dir + "/none.sock"}},
		{2, []string{"list", "--address", "127.0.0.1:1-2"}, []string{"no Caddy answers at the admin address 127.0.0.1:1-2"}},
		{1, []string{"list", "--address", site}, []string{"404"}}, // which is not an admin API
	} {
		if stdout := expectCommand(t, test.status, test.want, append(test.arguments, "--json")...); stdout != "" {
			t.Errorf("%q writes %s", test.arguments, stdout)
		}
	}
}

func TestTheCommandSaysThatNobodyAnswers(t *testing.T) {
	t.Parallel()
	nobody := testport.Address(t)
	config := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(config, []byte("{\nadmin "+nobody+"\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, arguments := range [][]string{
		{"list"}, {"show", "main", "--json"}, {"ask", "main", "ping", "7"}, {"invite", "main", "one", "--json"}, {"watch", "main"},
	} {
		if stdout := expectCommand(t, 2, []string{"no Caddy answers at the admin address " + nobody + ": is it running?"}, append(arguments, "--address", nobody)...); stdout != "" {
			t.Error(stdout)
		}
	}
	expectCommand(t, 2, []string{"no Caddy answers at the admin address " + nobody}, "list", "--config", config)
}

// TestTheCommandIsToldSomethingElse has something answer that is not Caddy, or not
// to the end.
func TestTheCommandIsToldSomethingElse(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]struct {
		status int
		words  string
	}{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello":                                               {1, "is not Caddy's admin API"},
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}":                                                  {1, "is not Caddy's admin API"},
		"HTTP/1.1 204 No Content\r\n\r\n":                                                                 {1, "is not Caddy's admin API"},
		"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello":                                        {1, "HTTP 404: hello"},
		"HTTP/1.1 500 Oh\r\nContent-Length: 15\r\n\r\n{\"error\":\"why\"}":                                {1, "why"},
		"HTTP/1.1 403 Forbidden\r\nContent-Length: 37\r\n\r\n{\"error\":\"host not allowed: localhost\"}": {1, "host not allowed"},
		"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n[{\"party\":\"main\"":                               {2, "broke off"},
		"":          {2, "no Caddy answers"},
		"nonsense ": {2, "no Caddy answers"},
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, answer); err != nil {
				t.Error(err)
			}
		}))
		server.Listener.Close()
		server.Listener = listener
		server.Start()
		if stdout := expectCommand(t, want.status, []string{want.words}, "list", "--json", "--address", listener.Addr().String()); stdout != "" {
			t.Errorf("%q: it writes %s", answer, stdout)
		}
		server.Close()
	}
}

func TestTheCommandRefusesWrongArguments(t *testing.T) {
	t.Parallel()
	nobody := testport.Address(t) // who is not asked
	for i, test := range []struct {
		arguments []string
		want      string
	}{
		{[]string{"list", "main"}, "unknown command \"main\" for \"caddy wsgi-party list\": write `caddy wsgi-party list`"},
		{[]string{"shwo", "main"}, `"shwo" is not one of ask, check, invite, list, page, route, share, show, watch`},
		{[]string{"show", ""}, "a name is empty"},
		{[]string{"invite", "main", ""}, "a name is empty"},
		{[]string{"show"}, "accepts 1 arg(s), received 0: write `caddy wsgi-party show <party>`"},
		{[]string{"show", "main", "other"}, "accepts 1 arg(s), received 2"},
		{[]string{"ask", "main"}, "accepts between 2 and 3 arg(s), received 1: write `caddy wsgi-party ask <party> <service> [<payload>]`"},
		{[]string{"ask", "main", "ping", "1", "2"}, "accepts between 2 and 3 arg(s), received 4"},
		{[]string{"invite"}, "accepts between 1 and 2 arg(s), received 0: write `caddy wsgi-party invite <party> [<guest>]`"},
		{[]string{"route", "main", "GET"}, "accepts 3 arg(s), received 2: write `caddy wsgi-party route <party> <method> <path>`"},
		{[]string{"share"}, "accepts between 1 and 3 arg(s), received 0: write `caddy wsgi-party share <party> [<guest> [<n>%]]`"},
		{[]string{"invite", "main", "one", "two"}, "accepts between 1 and 2 arg(s), received 3"},
		{[]string{"watch"}, "write `caddy wsgi-party watch <party>`"},
		{[]string{"watch", "main", "--interval", "99ms"}, "--interval 99ms is not from 100ms to 1h0m0s"},
		{[]string{"watch", "main", "--interval", "61m"}, "--interval 1h1m0s is not from 100ms to 1h0m0s"},
		{[]string{"watch", "main", "--interval", "5"}, "missing unit"},
		{[]string{"list", "--first"}, "unknown flag: --first"},
		{[]string{"ask", "main", "ping", "text"}, `the payload is not JSON: jsontext: invalid character 'e' in literal true (expecting 'r') after offset 1: write a string as '"text"'`},
		{[]string{"ask", "main", "ping", "{"}, "the payload is not JSON: jsontext: unexpected EOF"},
		{[]string{"ask", "main", "ping", "1 2"}, "the payload is more than one JSON value"},
		{[]string{"ask", "main", "ping", "{}]"}, "the payload is more than one JSON value"},
	} {
		if i%2 == 0 {
			test.arguments = append(test.arguments, "--json")
		}
		if stdout := expectCommand(t, 1, []string{test.want}, append(test.arguments, "--address", nobody)...); stdout != "" {
			t.Errorf("%q writes %s", test.arguments, stdout)
		}
	}
}

func TestTheCommandsHelp(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		arguments, want []string
	}{
		{[]string{"help"}, []string{"wsgi-party"}},
		{[]string{"help", "wsgi-party"}, []string{"\n  list ", "\n  show ", "\n  ask ", "\n  invite ", "\n  watch ", "NO_COLOR", "--address", "--config", "--adapter", "--json", "localhost:2019", "exit status"}},
		{[]string{"wsgi-party", "ask", "--help"}, []string{"ask <party> <service> [<payload>] [flags]", "--first", "--json"}},
		{[]string{"wsgi-party", "watch", "--help"}, []string{"watch <party> [flags]", "--interval", "100ms to 1h0m0s (default 1s)", "Ctrl-C"}},
		{[]string{"help", "wsgi-party", "invite"}, []string{"invite <party> [<guest>] [flags]", "--json"}},
	} {
		stdout, stderr, status := runCommand(t, test.arguments...)
		if status != 0 || stderr != "" {
			t.Errorf("%q: %d %s", test.arguments, status, stderr)
		}
		for _, part := range test.want {
			if !strings.Contains(stdout, part) {
				t.Errorf("%q says\n%s\nwithout %q", test.arguments, stdout, part)
			}
		}
	}
}

// TestGuestsDoNotReachTheTerminal has them write escape sequences and more lines
// wherever they can.
func TestGuestsDoNotReachTheTerminal(t *testing.T) {
	t.Parallel()
	const escapes = "\x1b[31m\x1b]0;title\x07\b\r\x7f\u009b\u202e"
	admin, _, _ := startCaddy(t, options+`
	SITE {
		wsgi_party "main`+escapes+`" {
			invite /nasty/__invite__/ /late/__invite__/ /mute/__invite__/ /none/__invite__/
			handle_path /nasty/* {
				gopher nasty {
					page news "/neues`+escapes+`"
				}
			}
			error /late/* "come back`+escapes+"\nthe second line"+`" 403
			respond /mute/* "no" 403
		}
	}`)
	party := "main" + escapes
	for _, test := range []struct {
		status    int
		lines     int
		arguments []string
		want      string
	}{
		{0, 2, []string{"list"}, "1 of 4 joined"},
		{0, 5 + 1 + 2 + 1 + 3 + 1 + 3, []string{"show", party}, "nasty  joined"},
		{0, 2, []string{"ask", party, "url", `["nasty:news", {}]`}, "/nasty/neues"},
		{1, 2, []string{"ask", party, "url", `"text"`}, "nasty  failed"},
		{1, 5, []string{"invite", party}, "nasty  on the line"},
	} {
		stdout := expectCommand(t, test.status, nil, append(test.arguments, "--address", admin)...)
		if i := strings.IndexFunc(stdout, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }); i >= 0 {
			t.Errorf("%q writes %q", test.arguments, stdout[i:])
		}
		if !utf8.ValidString(stdout) || strings.Count(stdout, "\n") != test.lines || !strings.Contains(stdout, test.want) || strings.Contains(stdout, "second line") {
			t.Errorf("%q writes not %d lines and %q but\n%s", test.arguments, test.lines, test.want, stdout)
		}
		if test.lines < 5 {
			continue
		}
		if !regexp.MustCompile(`/none/__invite__/ +none +not answered +- `).MatchString(stdout) {
			t.Errorf("%q writes a status where nothing came back:\n%s", test.arguments, stdout)
		}
		// What is not an error has a hint in its place.
		for _, part := range []string{"refused", "come back", "something in front of the guest, such as authentication, may refuse the invite", "not answered", "no guest is at this path"} {
			if !strings.Contains(stdout, part) {
				t.Errorf("%q writes\n%s\nwithout %s", test.arguments, stdout, part)
			}
		}
	}
}

// TestTheCommandWhileConfigsReload runs it while configs are loaded all the time,
// good and broken ones.
func TestTheCommandWhileConfigsReload(t *testing.T) {
	t.Parallel()
	const party = options + `
	SITE {
		wsgi_party main {
			invite /__invite__/ /one/__invite__/
			handle_path /one/* {
				gopher one {
					page index /PAGE
				}
			}
			handle {
				gopher root {
					page index /
				}
			}
		}
	}
	`
	admin, site, _ := startCaddy(t, party)
	var loaders, users sync.WaitGroup
	ended := make(chan struct{})
	loads := make(map[int]int)
	loaders.Go(func() {
		often := time.NewTicker(50 * time.Millisecond)
		defer often.Stop()
		for i := 0; ; i++ {
			select {
			case <-ended:
				return
			case <-often.C:
			}
			config, want := strings.ReplaceAll(party, "PAGE", fmt.Sprint(i)), 200
			switch i % 4 {
			case 1: // fails when the other invites have been sent
				config, want = strings.Replace(config, "invite ", "strict_invites\ninvite /nobody/__invite__/\ninvite ", 1), 400
				config = strings.Replace(config, "handle {", "handle {\nerror /nobody/* 404\n", 1)
			case 3: // fails when it starts
				config, want = config+"http://:7 {\nbind 192.0.2.1\nrespond nobody\n}\n", 400
			}
			config = strings.NewReplacer("ADMIN", admin, "SITE", "http://"+site).Replace(config)
			status, body, err := callAdmin("POST", "http://"+admin+"/load", "text/caddyfile", config)
			if err != nil {
				continue // Caddy's old admin server resets a connection now and then
			}
			if status != want {
				t.Errorf("config %d: %d %s", i, status, body)
			}
			loads[status]++
		}
	})

	var mu sync.Mutex
	runs := make(map[string]int)
	commands := [][]string{
		{"list"}, {"show", "main"}, {"ask", "main", "ping"}, {"ask", "main", "ping", "--first"}, {"invite", "main"},
		{"list", "--json"}, {"show", "main", "--json"}, {"ask", "main", "url", `["one:index", {}]`, "--json"}, {"invite", "main", "one", "--json"},
	}
	for range 2 {
		users.Go(func() {
			for i := range 2 * len(commands) {
				arguments := commands[i%len(commands)]
				stdout, stderr, status := runCommand(t, append(append([]string{"wsgi-party"}, arguments...), "--address", admin)...)
				reset := status == 2 && (strings.Contains(stderr, "reset") || strings.Contains(stderr, "broken pipe") || strings.Contains(stderr, "EOF"))
				switch {
				case status != 0 && !reset:
					t.Errorf("%q: status %d: %s\n%s", arguments, status, stderr, stdout)
				case reset && stdout != "":
					t.Errorf("%q: %s, and yet\n%s", arguments, stderr, stdout)
				case status == 0 && arguments[len(arguments)-1] == "--json" && !json.Valid([]byte(stdout)):
					t.Errorf("%q: no JSON:\n%s", arguments, stdout)
				case status == 0 && !strings.Contains(stdout, "root") && !strings.Contains(stdout, "main") && !strings.Contains(stdout, "one"):
					t.Errorf("%q:\n%s", arguments, stdout)
				}
				mu.Lock()
				runs[fmt.Sprint(arguments[0], " ", status)]++
				mu.Unlock()
			}
		})
	}
	users.Wait()
	close(ended)
	loaders.Wait()
	t.Log("configs by status:", loads, "runs by exit status:", runs)
	for _, name := range []string{"list 0", "show 0", "ask 0", "invite 0"} {
		if runs[name] == 0 {
			t.Errorf("never %s", name)
		}
	}
	if loads[200] < 2 || loads[400] < 2 {
		t.Errorf("configs by status: %v", loads)
	}
}
