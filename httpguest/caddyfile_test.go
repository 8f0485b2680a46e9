// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// inSite returns a Caddyfile with these lines, of which the first is its line 2.
func inSite(lines string) string { return "localhost {\n" + lines + "\n}" }

// adaptOne returns the one handler of that name that a Caddyfile has, as JSON.
func adaptOne(t *testing.T, caddyfile, name string) string {
	t.Helper()
	config, warnings, err := partytest.AdaptCaddyfile(caddyfile)
	if err != nil {
		t.Errorf("%s: %v", caddyfile, err)
		return ""
	}
	for _, warning := range warnings {
		check.Has(t, warning.Message, "not formatted", warning)
	}
	handlers := partytest.HandlersIn(partytest.DecodeJSON(t, config), name)
	if len(handlers) != 1 {
		t.Errorf("%s: %d handlers in %s", caddyfile, len(handlers), config)
		return ""
	}
	partytest.CheckAdaptedAgain(t, caddyfile, config)
	partytest.CheckHandlers[wsgiparty.Guest](t, config, "wsgi_party_guest")
	partytest.CheckHandlers[wsgiparty.Ask](t, config, "wsgi_party_ask")
	delete(handlers[0], "handler")
	encoded := check.Value(json.Marshal(handlers[0]))(t)
	return string(encoded)
}

// guestLines are what may stand in the block of wsgi_party_guest, and the members of
// the JSON it adapts to.
var guestLines = []struct{ lines, want string }{
	{"", `{}`},
	{"key {env.BLOG_PARTY_KEY}", `{"keys": ["{env.BLOG_PARTY_KEY}"]}`},
	{"key {env.A} {file./run/secrets/b}\nkey {env.C}", `{"keys": ["{env.A}", "{file./run/secrets/b}", "{env.C}"]}`},
	{"key auto", `{"key_auto": {}}`},
	{"key auto /run/party/blog.key", `{"key_auto": {"file": "/run/party/blog.key"}}`},
	{"key auto {env.RUNTIME_DIRECTORY}/blog.key 0640", `{"key_auto": {"file": "{env.RUNTIME_DIRECTORY}/blog.key", "mode": "0640"}}`},
	{"url home /", `{"urls": {"home": "/"}}`},
	{"url article /articles/{id}\nurl search /search{?q,page}\nurl one:index one", `{"urls": {"article": "/articles/{id}", "search": "/search{?q,page}", "one:index": "one"}}`},
	{"url files /files{/path*}", `{"urls": {"files": "/files{/path*}"}}`},
	{"answer ping pong", `{"services": {"ping": [{"answer": "pong"}]}}`},
	{"answer n 9007199254740991", `{"services": {"n": [{"answer": 9007199254740991}]}}`},
	{"answer n -0.1250", `{"services": {"n": [{"answer": -0.125}]}}`},
	{"answer n [0,1e3,-5E-2]", `{"services": {"n": [{"answer": [0, 1000, -0.05]}]}}`},
	{`answer s "several words"`, `{"services": {"s": [{"answer": "several words"}]}}`},
	{"answer s `\"quoted\"`", `{"services": {"s": [{"answer": "quoted"}]}}`},
	{"answer s ``", `{"services": {"s": [{"answer": ""}]}}`},
	{"answer s null", `{"services": {"s": [{"answer": null}]}}`},
	{"answer s `{\"a\": [1, true]}`", `{"services": {"s": [{"answer": {"a": [1, true]}}]}}`},
	{"answer s [1,2", `{"services": {"s": [{"answer": "[1,2"}]}}`},
	{"answer s 1\nanswer s 2\nservice s /more", `{"services": {"s": [{"answer": 1}, {"answer": 2}, {"href": "/more"}]}}`},
	{"service user /api/user{?id}", `{"services": {"user": [{"href": "/api/user{?id}"}]}}`},
	{"service user /api/user", `{"services": {"user": [{"href": "/api/user"}]}}`},
	{"service health GET /healthz\nservice edit POST /edit/{id}", `{"services": {"health": [{"href": "/healthz", "method": "GET"}], "edit": [{"href": "/edit/{id}", "method": "POST"}]}}`},
	{"service robots GET /robots.txt type text/plain\nservice nav /nav type TEXT/html", `{"services": {"robots": [{"href": "/robots.txt", "method": "GET", "type": "text/plain"}], "nav": [{"href": "/nav", "type": "TEXT/html"}]}}`},
	{"service url /links{?name}\nurl home /", `{"urls": {"home": "/"}, "services": {"url": [{"href": "/links{?name}"}]}}`},
	{"claim /reports/ \"GET /users/{id}\"\nclaim urls Shop.example.com/cart/{$} /files/{path...}", `{"claims": ["/reports/", "GET /users/{id}", "urls", "Shop.example.com/cart/{$}", "/files/{path...}"]}`},
	{"claim_cache 1m30s", `{"claim_cache": 90000000000}`},
	{"unavailable pass", `{"unavailable": "pass"}`},
	{"host shop.example.com *.example.org\nhost bücher.example", `{"hosts": ["shop.example.com", "*.example.org", "bücher.example"]}`},
	{"fetch_manifest", `{"fetch_manifest": true}`},
	{"fetch_manifest on", `{"fetch_manifest": true}`},
	{"fetch_manifest off", `{"fetch_manifest": false}`},
	{"mount_responses", `{"mount_responses": true}`},
	{"hrefs /api /x/y\nhrefs /z/", `{"hrefs": ["/api", "/x/y", "/z/"]}`},
	{"allow url ping\nallow user", `{"allow": ["url", "ping", "user"]}`},
	{"timeout 1m30s", `{"timeout": 90000000000}`},
	{"timeout 1d", `{"timeout": 86400000000000}`},
	{"max_asks 1", `{"max_asks": 1}`},
	{"max_asks 4096", `{"max_asks": 4096}`},
	{"max_answer 64KiB", `{"max_answer": 65536}`},
	{"max_answer 1.5MB", `{"max_answer": 1500000}`},
	{"max_answer 1GiB", `{"max_answer": 1073741824}`},
	{"max_answer 1", `{"max_answer": 1}`},
	{"forward Accept-Language Cookie\nforward Authorization", `{"forward": ["Accept-Language", "Cookie", "Authorization"]}`},
}

func TestEachLineOfTheGuestDirective(t *testing.T) {
	for _, line := range guestLines {
		for _, name := range []string{"", "blog", `"a/b c"`, "größe"} {
			caddyfile := inSite("wsgi_party_guest " + name + " {\n" + line.lines + "\n}")
			want := line.want
			if name != "" {
				want = strings.Replace(strings.Replace(want, "{", `{"name": "`+strings.Trim(name, `"`)+`", `, 1), ", }", "}", 1)
			}
			got := adaptOne(t, caddyfile, "wsgi_party_guest")
			check.ErrorIf(t, got != "" && !reflect.DeepEqual(partytest.DecodeJSON(t, []byte(got)), partytest.DecodeJSON(t, []byte(want))), "%s:\n%s\nwant\n%s", caddyfile, got, want)
		}
	}
	for caddyfile, want := range map[string]string{
		"wsgi_party_guest":                        `{}`,
		"wsgi_party_guest blog":                   `{"name":"blog"}`,
		"wsgi_party_guest /matched/* blog":        `{"name":"blog"}`,
		"@m method GET\nwsgi_party_guest @m x":    `{"name":"x"}`,
		"route {\nwsgi_party_guest * {\n}\n}":     `{}`,
		"wsgi_party_guest {\n# a comment\n}":      `{}`,
		"wsgi_party_guest {env.NAME}":             `{"name":"{env.NAME}"}`,
		"handle_path /x/* {\nwsgi_party_guest\n}": `{}`,
	} {
		check.Equal(t, adaptOne(t, inSite(caddyfile), "wsgi_party_guest"), want, "%s:\n\nwant", caddyfile)
	}
	for caddyfile, want := range map[string]string{
		"wsgi_party_ask":                            `{}`,
		"wsgi_party_ask main":                       `{"party":"main"}`,
		"wsgi_party_ask main {\n}":                  `{"party":"main"}`,
		"wsgi_party_ask {\nmax_response 1MiB\n}":    `{"max_response":1048576}`,
		"wsgi_party_ask main {\nmax_response 9B\n}": `{"max_response":9,"party":"main"}`,
		"wsgi_party_ask /ask/* main":                `{"party":"main"}`,
		"handle_path /ask/* {\nwsgi_party_ask\n}":   `{}`,
		"wsgi_party main {\nwsgi_party_ask\n}":      `{}`,
		"@m remote_ip 127.0.0.1\nwsgi_party_ask @m": `{}`,
	} {
		check.Equal(t, adaptOne(t, inSite(caddyfile), "wsgi_party_ask"), want, "%s:\n\nwant", caddyfile)
	}
}

func TestTheJSONHasTheDocumentedMembers(t *testing.T) {
	for _, c := range []struct {
		handler any
		want    []string
	}{
		{wsgiparty.Guest{}, []string{"name", "keys", "key_auto", "urls", "services", "claims", "hosts", "claim_cache", "unavailable", "fetch_manifest", "mount_responses", "hrefs", "allow", "timeout", "max_asks", "max_answer", "forward", "direct"}},
		{wsgiparty.Ask{}, []string{"party", "max_response"}},
	} {
		var got []string
		for field := range reflect.TypeOf(c.handler).Fields() {
			if field.IsExported() {
				name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
				check.Equal(t, options, "omitempty", "%s is shown where nothing is configured", field.Name)
				got = append(got, name)
			}
		}
		check.Slices(t, got, c.want, "%T has", c.handler)
	}
}

func TestWhereTheGuestDirectivesStandAmongOthers(t *testing.T) {
	before := map[string]string{ // directive to what its JSON has
		"vars MARK x": "MARK", "root * /MARK": "MARK", "header X MARK": "MARK", "redir https://MARK": "MARK", "method MARK": "MARK",
		"rewrite * /MARK": "MARK", "uri strip_prefix /MARK": "MARK",
	}
	after := map[string]string{
		"try_files MARK": "MARK", "basic_auth {\nMARK $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n}": "MARK",
		"forward_auth localhost:1 {\nuri /MARK\n}": "MARK", "request_header X MARK": "MARK", "encode gzip": `"encodings"`,
		"templates": `"templates"`, "handle {\nrespond MARK\n}": "MARK", "route {\nrespond MARK\n}": "MARK",
		"error MARK 500": "MARK", "respond MARK": "MARK", "metrics": `"metrics"`, "reverse_proxy MARK:1": "MARK",
		"php_fastcgi MARK:1": "MARK", "file_server": `"file_server"`, "wsgi_party {\nrespond MARK\n}": "MARK",
	}
	check := func(directive, other, mark string, directiveFirst bool) {
		t.Helper()
		for _, lines := range []string{directive + "\n" + other, other + "\n" + directive} {
			config, _, err := partytest.AdaptCaddyfile(inSite("handle_path /in/* {\n" + lines + "\n}"))
			if err != nil {
				t.Errorf("%s: %v", lines, err)
				continue
			}
			ours, theirs := bytes.Index(config, []byte(`"`+directive+`"`)), bytes.Index(config, []byte(mark))
			check.ErrorIf(t, ours < 0 || theirs < 0 || (ours < theirs) != directiveFirst, "%s: %s first is %v, want %v: %s", lines, directive, ours < theirs, directiveFirst, config)
		}
	}
	for other, mark := range before {
		check("wsgi_party_guest", other, mark, false)
	}
	for other, mark := range after {
		check("wsgi_party_guest", other, mark, true)
	}
	check("wsgi_party_guest", "wsgi_party_ask", `"wsgi_party_ask"`, true)
	for _, other := range []string{"respond MARK", "reverse_proxy MARK:1", "php_fastcgi MARK:1"} {
		check("wsgi_party_ask", other, "MARK", true)
	}
	for _, other := range []string{"rewrite * /MARK", "handle /x {\nrespond MARK\n}", "basic_auth {\nMARK $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n}"} {
		check("wsgi_party_ask", other, "MARK", false)
	}
}

// wrongGuestLines are lines that are refused, with the line of the Caddyfile that the
// error names, and more that it says.
var wrongGuestLines = []struct {
	lines string
	line  int
	want  []string
}{
	{`wsgi_party_guest ""`, 2, []string{"the guest's name is empty: write that of its invite, or leave it out"}},
	{"wsgi_party_guest a b", 2, []string{"wrong argument count", "'b': write `wsgi_party_guest [<name>]`"}},
	{"wsgi_party_guest a {\nping pong\n}", 3, []string{`unrecognized subdirective "ping" of wsgi_party_guest; it has allow, answer, claim, claim_cache, direct, fetch_manifest, forward, host, hrefs, key, max_answer, max_asks,`}},
	{"wsgi_party_guest {\nanswer a b\nkeys {env.A}\n}", 4, []string{`unrecognized subdirective "keys" of wsgi_party_guest: did you mean key?; it has allow, answer`}},
	{"wsgi_party_guest {\nreverse_proxy localhost:1\n}", 3, []string{`unrecognized subdirective "reverse_proxy" of wsgi_party_guest`}},
	{"wsgi_party_guest {\nurl a /a\n\nurl b /b {\n}\n}", 5, []string{"url takes no block"}},
	{"wsgi_party_guest {\nanswer a {\n}\n}", 3, []string{"answer takes no block"}},
	{"wsgi_party_guest {\nfetch_manifest {\non\n}\n}", 3, []string{"fetch_manifest takes no block"}},

	{"wsgi_party_guest {\nkey\n}", 3, []string{"key is empty: if you wrote {$VARIABLE}, that variable is unset", "write {env.VARIABLE}"}},
	{"wsgi_party_guest {\nkey {$WSGIPARTY_UNSET}\n}", 3, []string{"key is empty", "that variable is unset"}},
	{"wsgi_party_guest {\nkey {env.A}\nkey an-open-secret-an-open-secret-an-open\n}", 4, []string{"key 2 is in the config itself", "{env.BLOG_PARTY_KEY}", "{file./run/secrets/blog}"}},
	{"wsgi_party_guest {\nkey \"{$WSGIPARTY_UNSET}\"\n}", 3, []string{"key is empty", "that variable is unset"}},
	{"wsgi_party_guest {\nkey {env.A} \"\"\n}", 3, []string{"key 2 is in the config itself ({$VARIABLE} puts it there, too)"}},
	{"wsgi_party_guest {\nkey {vars.key}\n}", 3, []string{"key 1 is in the config itself"}},
	{"wsgi_party_guest {\nkey an-open-secret{env.A}\n}", 3, []string{"key 1 is in the config itself"}},
	{"wsgi_party_guest {\nkey {env.A}an-open-secret\n}", 3, []string{"key 1 is in the config itself"}},
	{"wsgi_party_guest {\nkey {env.A}an-open-secret{env.B}\n}", 3, []string{"key 1 is in the config itself"}},

	{"wsgi_party_guest {\nkey auto\nkey {env.A}\n}", 4, []string{"key auto makes the guest's only key: leave out key auto, or the other key"}},
	{"wsgi_party_guest {\nkey {env.A}\nkey auto\n}", 4, []string{"key auto makes the guest's only key"}},
	{"wsgi_party_guest {\nkey auto\nkey auto\n}", 4, []string{"key auto makes the guest's only key"}},
	{"wsgi_party_guest {\nkey auto /x 0600 blog\n}", 3, []string{"write `key auto <file> <mode>`"}},
	{"wsgi_party_guest {\nkey auto /x 0666\n}", 3, []string{`the mode of its file is "0666": write 0600`, "or 0640, for those in the file's group, too"}},
	{"wsgi_party_guest {\nkey auto 0640\n}", 3, []string{"the file of key auto is 0640, which looks like a mode: write the file before it"}},
	{"wsgi_party_guest {\nkey auto /run/party/\n}", 3, []string{"/run/party/ is a directory: write the path of a file in it"}},
	{"wsgi_party_guest {\nkey Auto\n}", 3, []string{"key 1 is in the config itself", "or `key auto`"}},
	{"wsgi_party_guest {\nurl\n}", 3, []string{"wrong argument count", "write `url <name> <template>`"}},
	{"wsgi_party_guest {\nservice soup `{\"answer\": 1}`\n}", 3, []string{"service soup has JSON as its href", "`answer soup …`"}},
	{"wsgi_party_guest {\nservice soup [1]\n}", 3, []string{"`answer soup …`"}},
	{"wsgi_party_guest {\nurl home\n}", 3, []string{"wrong argument count", "write `url <name> <template>`", "'home'"}},
	{"wsgi_party_guest {\nurl home / /\n}", 3, []string{"wrong argument count", "write `url <name> <template>`"}},
	{"wsgi_party_guest {\nurl home /\nurl home /home\n}", 4, []string{"url home already specified"}},
	{"wsgi_party_guest {\nurl \"\" /\n}", 3, []string{"a name is empty: write 1 to 64 characters"}},
	{"wsgi_party_guest {\nurl größe /\n}", 3, []string{`the name "größe" has a 'ö': write letters, digits and . _ : - only`}},
	{"wsgi_party_guest {\nurl " + strings.Repeat("n", 65) + " /\n}", 3, []string{"has 65 bytes: write no more than 64"}},
	{"wsgi_party_guest {\nurl post /posts/{path}\n}", 3, []string{`"http.request.uri.path"`, "{path}, {file}, {host}", "write another name, such as {page_path} for {path}"}},
	{"wsgi_party_guest {\nurl post /posts/{file}\n}", 3, []string{`"http.request.uri.path.file"`, "write another name"}},
	{"wsgi_party_guest {\nurl post /posts/{host}\n}", 3, []string{`"http.request.host"`, "write another name"}},
	{"wsgi_party_guest {\nurl post /posts/{query}\n}", 3, []string{`"http.request.uri.query"`, "write another name"}},
	{"wsgi_party_guest {\nurl post /posts/{http.vars.x}\n}", 3, []string{`"http.vars.x"`, "write another name"}},
	{"wsgi_party_guest {\nurl post /posts/{id\n}", 3, []string{"an expression without an end: write } after it, or %7B for a {"}},
	{"wsgi_party_guest {\nurl evil //evil.example/\n}", 3, []string{"two slashes", "beginning with one slash"}},
	{"wsgi_party_guest {\nurl evil https://evil.example/\n}", 3, []string{"absolute", "beginning with a slash"}},
	{"wsgi_party_guest {\nurl evil /../x\n}", 3, []string{"template"}},
	{"wsgi_party_guest {\nurl evil /{+x}\n}", 3, []string{"reserved expansion", "write {x}"}},

	{"wsgi_party_guest {\nanswer ping\n}", 3, []string{"wrong argument count", "write `answer <service> <json>`"}},
	{"wsgi_party_guest {\nanswer ping two words\n}", 3, []string{"wrong argument count", "write `answer <service> <json>`"}},
	{"wsgi_party_guest {\nanswer \"\" 1\n}", 3, []string{"a name is empty"}},
	{"wsgi_party_guest {\nanswer a/b 1\n}", 3, []string{`"a/b"`, "write letters, digits and . _ : - only"}},
	{"wsgi_party_guest {\nanswer a `{\"x\": 1, \"x\": 2}`\n}", 3, []string{"it occurs twice: write it once"}},
	{"wsgi_party_guest {\nanswer a 12345678901234567891\n}", 3, []string{"12345678901234567891", "more digits", "as a string"}},
	{"wsgi_party_guest {\nanswer a `{\"x\": [1, 0.12345678901234567891]}`\n}", 3, []string{"0.12345678901234567891", "more digits"}},
	{"wsgi_party_guest {\nanswer a 1e400\n}", 3, []string{"1e400", "as a string"}},
	{"wsgi_party_guest {\nanswer a `{\"x\": \"\\ud800\"}`\n}", 3, []string{"answer a: JSON that some parsers reject", `at "/x"`, "half of a surrogate pair"}},
	{"wsgi_party_guest {\nanswer a `{\"\\u0000x\": 1}`\n}", 3, []string{"answer a: JSON that some parsers reject", "a NUL in a member's name"}},
	{"wsgi_party_guest {\nanswer a " + strings.Repeat("9", 65) + "\n}", 3, []string{"a number of 65 characters: write no more than 64"}},
	{"wsgi_party_guest {\nanswer a 1e-999999999\n}", 3, []string{"1e-999999999", "as a string"}},
	{"wsgi_party_guest {\nservice user\n}", 3, []string{"wrong argument count", "write `service <service> [GET|POST] <href> [type <media type>]`"}},
	{"wsgi_party_guest {\nservice health PUT /healthz\n}", 3, []string{`services.health.method: it is "PUT": write "GET" or "POST"`}},
	{"wsgi_party_guest {\nservice health GET\n}", 3, []string{"service health has no href: write `service health GET <href>`"}},
	{"wsgi_party_guest {\nservice health GET /healthz now\n}", 3, []string{"service health has more than an href", "write `service <service> [GET|POST] <href> [type <media type>]`"}},
	{"wsgi_party_guest {\n" + strings.Repeat("service s /\n", 17) + "}", 19, []string{"services.s: the list has 17 hrefs", "write at most 16"}},
	{"wsgi_party_guest {\nservice \"a b\" /\n}", 3, []string{`"a b"`, "write letters, digits"}},
	{"wsgi_party_guest {\nservice user /user/{host}\n}", 3, []string{`"http.request.host"`, "write another name"}},
	{"wsgi_party_guest {\nservice user http://localhost:8000/user\n}", 3, []string{"absolute"}},
	{"wsgi_party_guest {\nservice user /user#top\n}", 3, []string{"fragment", "leave out what begins with #"}},

	{"wsgi_party_guest {\nclaim\n}", 3, []string{"wrong argument count", "write `claim <pattern>...|urls`"}},
	{"wsgi_party_guest {\nclaim GET /users/{id}\n}", 3, []string{"claim GET /users/{id}: a pattern with a method is one argument: write `claim \"GET /users/{id}\"`"}},
	{"wsgi_party_guest {\nclaim /a POST\n}", 3, []string{`claims[1]: "POST": it is a method without a path`, `"POST /users/{id}" (in a Caddyfile with the quotes)`}},
	{"wsgi_party_guest {\nclaim \"GET /users/{uuid}\"\n}", 3, []string{"it has a Caddy placeholder, {http.…}, which {uuid}, {path}", "such as {the_uuid}"}},
	{"wsgi_party_guest {\nclaim /users/{path}/x\n}", 3, []string{"such as {the_path}"}},
	{"wsgi_party_guest {\nclaim /a/{x}\nclaim /{y}/b\n}", 5, []string{`claims[1]: "/{y}/b" conflicts with "/a/{x}"`, "leave one out"}},
	{"wsgi_party_guest {\nclaim urls urls\n}", 3, []string{`claims[1]: "urls" occurs twice`}},
	{"wsgi_party_guest {\nclaim reports\n}", 3, []string{`claims[0]: "reports": it has no path: write one, which begins with a slash`}},
	{"wsgi_party_guest {\nclaim_cache\n}", 3, []string{"'claim_cache': write `claim_cache <duration>`"}},
	{"wsgi_party_guest {\nclaim_cache 5s 6s\n}", 3, []string{"'6s': write `claim_cache <duration>`"}},
	{"wsgi_party_guest {\nclaim_cache 0\n}", 3, []string{"claim_cache is 0: write a duration above zero and up to 24h, such as 5s"}},
	{"wsgi_party_guest {\nclaim_cache 25h\n}", 3, []string{"claim_cache is 25h: write a duration"}},
	{"wsgi_party_guest {\nclaim_cache 1s\nclaim_cache 1s\n}", 4, []string{"claim_cache already specified"}},
	{"wsgi_party_guest {\nunavailable fail\n}", 3, []string{"unavailable is fail: write pass, or leave it out"}},
	{"wsgi_party_guest {\nunavailable\n}", 3, []string{"wrong argument count", "write `unavailable pass`"}},
	{"wsgi_party_guest {\nhost\n}", 3, []string{"wrong argument count", "write `host <name>...`"}},
	{"wsgi_party_guest {\nhost a.example https://b.example/\n}", 3, []string{`hosts[1]: "https://b.example/" is not a host name, because it has a scheme: write the host alone`}},
	{"wsgi_party_guest {\nhost {host}\n}", 3, []string{"is not a host name"}},

	{"wsgi_party_guest {\nservice s /a type text\n}", 3, []string{`services.s.type: it is "text": write a media type`}},
	{"wsgi_party_guest {\nservice s /a of text/plain\n}", 3, []string{"write `service <service> [GET|POST] <href> [type <media type>]`"}},
	{"wsgi_party_guest {\nfetch_manifest yes\n}", 3, []string{"fetch_manifest is yes: write on or off"}},
	{"wsgi_party_guest {\nfetch_manifest on off\n}", 3, []string{"wrong argument count", "write `fetch_manifest [on|off]`"}},
	{"wsgi_party_guest {\nfetch_manifest on\nfetch_manifest off\n}", 4, []string{"fetch_manifest already specified"}},
	{"wsgi_party_guest {\nhrefs\n}", 3, []string{"wrong argument count", "write `hrefs <path>...`"}},
	{"wsgi_party_guest {\nhrefs api\n}", 3, []string{`hrefs: "api": write a path such as /api`}},
	{"wsgi_party_guest {\nhrefs /api/*\n}", 3, []string{`hrefs: "/api/*": write a path such as /api, which includes everything below it`}},
	{"wsgi_party_guest {\nhrefs /api?x\n}", 3, []string{`write a path such as /api`}},
	{"wsgi_party_guest {\nhrefs /a/../b\n}", 3, []string{`write a path such as /api`}},
	{"wsgi_party_guest {\nhrefs {path}\n}", 3, []string{`write a path such as /api`}},
	{"wsgi_party_guest {\nhrefs \"\"\n}", 3, []string{`write a path such as /api`}},
	{"wsgi_party_guest {\nallow\n}", 3, []string{"wrong argument count", "write `allow <service>...`"}},
	{"wsgi_party_guest {\nallow url \"\"\n}", 3, []string{"a name is empty"}},
	{"wsgi_party_guest {\nallow url,ping\n}", 3, []string{`"url,ping"`, "write letters, digits"}},
	{"wsgi_party_guest {\ntimeout\n}", 3, []string{"wrong argument count", "write `timeout <duration>`"}},
	{"wsgi_party_guest {\ntimeout 2\n}", 3, []string{"timeout is 2: write a duration above zero, such as 2s"}},
	{"wsgi_party_guest {\ntimeout 0s\n}", 3, []string{"timeout is 0s: write a duration above zero, such as 2s"}},
	{"wsgi_party_guest {\ntimeout -2s\n}", 3, []string{"timeout is -2s: write a duration above zero"}},
	{"wsgi_party_guest {\ntimeout soon\n}", 3, []string{"timeout is soon: write a duration above zero"}},
	{"wsgi_party_guest {\ntimeout 1s\ntimeout 1s\n}", 4, []string{"timeout already specified"}},
	{"wsgi_party_guest {\nmax_asks 0\n}", 3, []string{"max_asks is 0: write a number from 1 to 4096"}},
	{"wsgi_party_guest {\nmax_asks -1\n}", 3, []string{"max_asks is -1: write a number"}},
	{"wsgi_party_guest {\nmax_asks 4097\n}", 3, []string{"max_asks is 4097: write a number"}},
	{"wsgi_party_guest {\nmax_asks many\n}", 3, []string{"max_asks is many: write a number"}},
	{"wsgi_party_guest {\nmax_asks 1.5\n}", 3, []string{"max_asks is 1.5: write a number"}},
	{"wsgi_party_guest {\nmax_asks\n}", 3, []string{"wrong argument count", "write `max_asks <n>`"}},
	{"wsgi_party_guest {\nmax_asks 1\nmax_asks 1\n}", 4, []string{"max_asks already specified"}},
	{"wsgi_party_guest {\nmax_answer 0\n}", 3, []string{"max_answer is 0: write a size above zero and up to 1GiB, such as 1MiB"}},
	{"wsgi_party_guest {\nmax_answer -1\n}", 3, []string{"max_answer is -1: write a size"}},
	{"wsgi_party_guest {\nmax_answer much\n}", 3, []string{"max_answer is much: write a size"}},
	{"wsgi_party_guest {\nmax_answer 2GiB\n}", 3, []string{"max_answer is 2GiB: write a size above zero and up to 1GiB"}},
	{"wsgi_party_guest {\nmax_answer 1MiB 2MiB\n}", 3, []string{"wrong argument count", "write `max_answer <size>`"}},
	{"wsgi_party_guest {\nmax_answer 1MiB\nmax_answer 1MiB\n}", 4, []string{"max_answer already specified"}},
	{"wsgi_party_guest {\nforward\n}", 3, []string{"wrong argument count", "write `forward <header>...`"}},
	{"wsgi_party_guest {\nforward Accept Host\n}", 3, []string{"Host", "belongs to one request", "leave it out"}},
	{"wsgi_party_guest {\nforward CDN-Loop\n}", 3, []string{"CDN-Loop", "belongs to one request"}},
	{"wsgi_party_guest {\nforward content-length\n}", 3, []string{"content-length", "belongs to one request"}},
	{"wsgi_party_guest {\nforward Party_Token\n}", 3, []string{"Party_Token", "the party's own", "leave it out"}},
	{"wsgi_party_guest {\nforward X.Forwarded.Prefix\n}", 3, []string{"X.Forwarded.Prefix", "the party's own"}},
	{"wsgi_party_guest {\nforward \"a b\"\n}", 3, []string{`"a b" is not a header name`}},
	{"wsgi_party_guest {\nforward \"\"\n}", 3, []string{`"" is not a header name`}},

	{"wsgi_party_ask a b", 2, []string{"wrong argument count", "'b': write `wsgi_party_ask [<party>]`"}},
	{`wsgi_party_ask ""`, 2, []string{"the party's name is empty: write a name, or leave it out"}},
	{"wsgi_party_ask {\nkey {env.A}\n}", 3, []string{`unrecognized subdirective "key" of wsgi_party_ask; it has max_response`}},
	{"wsgi_party_ask {\nmax_response\n}", 3, []string{"wrong argument count", "write `max_response <size>`"}},
	{"wsgi_party_ask {\nmax_response 1MiB 2MiB\n}", 3, []string{"wrong argument count", "write `max_response <size>`"}},
	{"wsgi_party_ask {\nmax_response 1MiB {\nx\n}\n}", 3, []string{"max_response takes no block"}},
	{"wsgi_party_ask {\nmax_response 0\n}", 3, []string{"max_response is 0: write a size above zero and up to 1GiB, such as 8MiB"}},
	{"wsgi_party_ask main {\nmax_response 2GiB\n}", 3, []string{"max_response is 2GiB: write a size above zero and up to 1GiB"}},
	{"wsgi_party_ask main {\nmax_response 1MiB\nmax_response 1MiB\n}", 4, []string{"max_response already specified"}},
}

func TestWrongLinesOfTheGuestDirectivesAreRefused(t *testing.T) {
	for _, c := range wrongGuestLines {
		for name, lines := range map[string]string{"": c.lines, "in a party": "wsgi_party {\n" + c.lines + "\n}"} {
			if name != "" && strings.HasSuffix(c.lines, "main {\n}") {
				continue // Caddy drops empty blocks in others
			}
			_, _, err := partytest.AdaptCaddyfile(inSite(lines))
			if err == nil {
				t.Errorf("%s %s: it is adapted", c.lines, name)
				continue
			}
			line := c.line
			if name != "" {
				line++
			}
			directive := strings.Fields(c.lines)[0]
			check.Contains(t, err.Error(), append(c.want, fmt.Sprintf("'%s'", directive), fmt.Sprintf(", at Caddyfile:%d", line)), "%s %s: the error lacks: %v", c.lines, name, err)
			check.ErrorIf(t, strings.Contains(err.Error(), "an-open"), "a key is shown: %v", err)
		}
	}
}

func TestHeadersThatWouldChangeAnAskAreNotForwarded(t *testing.T) {
	for _, name := range []string{
		"Party-Token", "party_token", "PARTY.TOKEN", "X-Forwarded-Prefix", "x_forwarded_prefix", "Connection", "Host", "Content-Length", "Transfer-Encoding", "TE", "Trailer", "Upgrade",
		"Keep-Alive", "Content-Type", "Content-Encoding", "Accept-Encoding", "Range", "If-None-Match", "If-Modified-Since", "Expect", "a b", "", "a:b", "a\r\nb",
	} {
		_, _, err := partytest.AdaptCaddyfile(inSite("wsgi_party_guest {\nforward Cookie Authorization Accept-Language `" + name + "`\n}"))
		check.Fails(t, err, "forward")
	}
}

// FuzzGuestCaddyfile checks that no lines make the parsers panic, and that what they
// make of them is always the same and decodes into handlers that encode to it.
func FuzzGuestCaddyfile(f *testing.F) {
	for _, line := range guestLines {
		f.Add("wsgi_party_guest blog {\n" + line.lines + "\n}")
	}
	for _, c := range wrongGuestLines {
		f.Add(c.lines)
	}
	f.Add("wsgi_party main {\ninvite /a/__invite__/\nwsgi_party_guest /a/*\n}\nwsgi_party_ask main")
	f.Fuzz(func(t *testing.T, lines string) {
		if strings.Contains(lines, "import") || !strings.Contains(lines, "wsgi_party_") {
			return
		}
		caddyfile := inSite(lines)
		config, _, err := partytest.AdaptCaddyfile(caddyfile)
		if err != nil {
			return
		}
		partytest.CheckAdaptedAgain(t, caddyfile, config)
		partytest.CheckHandlers[wsgiparty.Guest](t, config, "wsgi_party_guest")
		partytest.CheckHandlers[wsgiparty.Ask](t, config, "wsgi_party_ask")
	})
}

// TestWhatAdaptsLoads loads all lines together, and asks for what they declare.
func TestWhatAdaptsLoads(t *testing.T) {
	c := partytest.NewCaddy(t)
	partytest.Key(t, "one")
	c.Site(`
	wsgi_party main {
		invite /all/__invite__/ as "everything"
		handle_path /all/* {
			wsgi_party_guest everything {
				key {env.one_PARTY_KEY}
				url home /
				url search /search{?q,page}
				answer ping pong
				answer ping {"n":123456789012345.5}
				service user /api/user{?id}
				fetch_manifest off
				allow url ping
				timeout 5s
				max_answer 10KiB
				forward Accept-Language
			}
			respond /api/user "{\"user\": \"{query.id}\"}" {
				close
			}
		}
	}`)
	operator := operatorOf(c, "main")
	for service, want := range map[string]string{"ping": `["pong",{"n":123456789012345.5}]`} {
		answers, err := operator.AskAround(t.Context(), service, nil)
		encoded, _ := json.Marshal(answers)
		check.ErrorIf(t, err != nil || string(encoded) != want, "%s: %s %v, want %s", service, encoded, err, want)
	}
	for name, want := range map[string]string{"home": "/all/", "search": "/all/search?q=a%20b&page=2"} {
		check.Equal(t, check.Value(wsgiparty.URLFor(t.Context(), operator, name, map[string]any{"q": "a b", "page": 2}))(t), want, name)
	}
}

// jsonConfig is a config whose party has a handler in which HANDLER stands for the
// members.
func jsonConfig(c *partytest.Caddy, handler string) string {
	c.Helper()
	config := string(c.Adapt("ADDRESS {\nwsgi_party main {\ninvite /a/__invite__/\nhandle_path /a/* {\nwsgi_party_guest PLACE\n}\n}\n}"))
	place := `{"handler":"wsgi_party_guest","name":"PLACE"}`
	check.FatalIf(c, !strings.Contains(config, place), "%s lacks %s", config, place)
	return strings.Replace(config, place, handler, 1)
}

// TestWrongJSONIsRefusedByTheAdminAPI posts handlers to /load.
func TestWrongJSONIsRefusedByTheAdminAPI(t *testing.T) {
	c := partytest.NewCaddyWithAdmin(t)
	t.Setenv("EMPTY_PARTY_KEY", "")
	t.Setenv("SHORT_PARTY_KEY", "a-short-secret")
	partytest.Key(t, "one")
	post := func(config string) (response partytest.Response) {
		partytest.Eventually(t, "the admin endpoint answers", func() bool { // after a load it may be another one
			r, err := http.NewRequestWithContext(context.Background(), "POST", "http://"+c.Admin+"/load", strings.NewReader(config))
			check.Must(t, err)
			r.Header.Set("Content-Type", "application/json")
			response, err = partytest.Send(r)
			return err == nil
		})
		return response
	}
	c.Site("respond before")
	for _, wrong := range []struct {
		members string
		want    []string
	}{
		{`"name": 1`, []string{"name", "string"}},
		{`"keys": "{env.one_PARTY_KEY}"`, []string{"keys", "[]string"}},
		{`"key": ["{env.one_PARTY_KEY}"]`, []string{`unknown field`, "key"}},
		{`"keys": ["an-open-secret-an-open-secret-an-open"]`, []string{"key 1 is in the config itself", "{env.BLOG_PARTY_KEY}"}},
		{`"keys": ["{env.EMPTY_PARTY_KEY}"]`, []string{"key 1, {env.EMPTY_PARTY_KEY}, is empty"}},
		{`"keys": ["{env.one_PARTY_KEY}", "{env.MISSING_PARTY_KEY}"]`, []string{"key 2, {env.MISSING_PARTY_KEY}, is empty: the variable MISSING_PARTY_KEY is unset"}},
		{`"keys": ["{env.SHORT_PARTY_KEY}"]`, []string{"bytes, but needs at least 32"}},
		{`"keys": ["{env.one_PARTY_KEY}"], "key_auto": {}`, []string{"key auto makes the guest's only key"}},
		{`"key_auto": true`, []string{"key_auto", "KeyAuto"}},
		{`"key_auto": {"path": "/x"}`, []string{"unknown field", "path"}},
		{`"key_auto": {"mode": "0777"}`, []string{`the mode of its file is "0777": write 0600`}},
		{`"key_auto": {"file": "{env.MISSING_DIRECTORY}/x"}`, []string{"the file of key auto", "MISSING_DIRECTORY"}},
		{`"urls": ["/"]`, []string{"urls", "map"}},
		{`"urls": {"home": 1}`, []string{"urls", "string"}},
		{`"urls": {"": "/"}`, []string{"urls", "a name is empty"}},
		{`"urls": {"home": "/{http.request.uri.path}"}`, []string{"urls.home", "write another name"}},
		{`"services": []`, []string{"services", "it is a list", `{"ping": {"answer": "pong"}}`}},
		{`"services": {"ping": "pong"}`, []string{"services.ping", "it is a string", `{"answer": …}`}},
		{`"services": {"ping": []}`, []string{"services.ping", "the list is empty"}},
		{`"services": {"ping": {"href": "//evil"}}`, []string{"services.ping.href", "two slashes"}},
		{`"services": {"ping": {"answer": 1, "href": "/x"}}`, []string{"services.ping", "both"}},
		{`"fetch_manifest": "on"`, []string{"fetch_manifest", "bool"}},
		{`"allow": "ping"`, []string{"allow", "[]string"}},
		{`"timeout": "soon"`, []string{"soon"}},
		{`"timeout": "-1s"`, []string{"timeout is -1s: write a duration above zero, such as 2s"}},
		{`"timeout": {}`, []string{"Duration"}},
		{`"max_asks": "64"`, []string{"max_asks", "int"}},
		{`"max_asks": -1`, []string{"max_asks is -1: write a number from 1 to 4096"}},
		{`"max_asks": 4097`, []string{"max_asks is 4097: write a number"}},
		{`"max_answer": "1MiB"`, []string{"max_answer", "int64"}},
		{`"max_answer": -1`, []string{"max_answer is -1 bytes: write a size above zero and up to 1 GiB"}},
		{`"max_answer": 1073741825`, []string{"max_answer is 1073741825 bytes"}},
		{`"forward": "Cookie"`, []string{"forward", "[]string"}},
		{`"forward": ["Party.Token"]`, []string{"Party.Token", "the party's own"}},
		{`"forward": ["Transfer-Encoding"]`, []string{"Transfer-Encoding", "belongs to one request"}},
	} {
		response := post(jsonConfig(c, `{"handler":"wsgi_party_guest",`+wrong.members+`}`))
		check.Equal(t, response.Status, http.StatusBadRequest, "%s: %s", wrong.members, response.Body)
		var answer struct{ Error string }
		if err := json.Unmarshal([]byte(response.Body), &answer); err != nil {
			t.Errorf("%s: %v", response.Body, err)
		}
		check.Contains(t, answer.Error, append(wrong.want, "wsgi_party_guest"), "%s: the error lacks", wrong.members)
		check.ErrorIf(t, strings.Contains(answer.Error, "-secret"), "a key is shown: %s", answer.Error)
	}
	for members, want := range map[string]string{`"party": 1`: "string", `"parties": "main"`: "unknown field", `"max_response": -1`: "max_response is -1 bytes: write a size above zero"} {
		response := post(jsonConfig(c, `{"handler":"wsgi_party_ask",`+members+`}`))
		check.ErrorIf(t, response.Status != http.StatusBadRequest || !strings.Contains(response.Body, want), "%s: %d %s", members, response.Status, response.Body)
	}
	outside := strings.Replace(jsonConfig(c, `{"handler":"wsgi_party_guest"}`), `"handler":"wsgi_party",`, `"handler":"subroute",`, 1)
	outside = strings.Replace(strings.Replace(outside, `"invites":[{"uri":"/a/__invite__/"}],`, "", 1), `"name":"main",`, "", 1)
	if response := post(outside); response.Status != http.StatusBadRequest || !strings.Contains(response.Body, "is in no party's routes: put it in a wsgi_party block") {
		t.Errorf("a guest in no party: %d %s", response.Status, response.Body)
	}
	c.ExpectSoon("/", 200, "before")

	if response := post(jsonConfig(c, `{"handler":"wsgi_party_guest","keys":["{env.one_PARTY_KEY}"],"urls":{"home":"/"},"services":{"ping":{"answer":null},"pong":[{"answer":1},{"answer":[2]}]},"timeout":"1s","fetch_manifest":false}`)); response.Status != http.StatusOK {
		t.Fatalf("%d %s", response.Status, response.Body)
	}
	answers, err := operatorOf(c, "main").AskAround(t.Context(), "pong", nil)
	encoded, _ := json.Marshal(answers)
	check.ErrorIf(t, err != nil || string(encoded) != "[1,[2]]", "%s %v", encoded, err)
}
