// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/templates"
)

// guestWith makes `test_app key` a guest whose handlers are functions of the test.
func guestWith(t testing.TB, key string, handlers map[string]Handler) {
	t.Helper()
	app(t, key, func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		if operator, ok := OperatorFrom(r); ok {
			for service, handler := range handlers {
				if err := operator.Connect(service, handler); err != nil {
					return err
				}
			}
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	})
}

// always returns a handler that always answers that: an error fails.
func always(answer any) Handler {
	return func(context.Context, any) (any, error) {
		if err, ok := answer.(error); ok {
			return nil, err
		}
		return answer, nil
	}
}

// templateApp makes `test_app template` answer with the template that is in the
// request.
func templateApp(t testing.TB) {
	t.Helper()
	app(t, "template", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, err := io.WriteString(w, r.URL.Query().Get("t"))
		return err
	})
}

// templateSite loads a party of these guests, applications of the test, and a page at
// /page that asks them.
func templateSite(t testing.TB, options string, guests ...string) *testCaddy {
	t.Helper()
	templateApp(t)
	var site strings.Builder
	fmt.Fprintf(&site, "wsgi_party main {\n%s\n", options)
	for _, guest := range guests {
		fmt.Fprintf(&site, "invite /%[1]s/__invite__/\nhandle_path /%[1]s/* {\ntest_app %[1]s\n}\n", guest)
	}
	site.WriteString("handle /page {\ntemplates {\nextensions {\nwsgi_party\n}\n}\ntest_app template\n}\n}")
	c := newCaddy(t)
	c.site(site.String())
	return c
}

// expectPage fails the test unless the template gives that page.
func (c *testCaddy) expectPage(template, want string) {
	c.t.Helper()
	if status, body := c.get("/page?t=" + url.QueryEscape(template)); status != 200 || body != want {
		c.t.Errorf("%s: %d %q, want %q%s", template, status, body, want, lastHTTPError(c.t))
	}
}

// expectNoPage fails the test unless the template gives an error page, and the log
// says all that.
func (c *testCaddy) expectNoPage(template string, want ...string) {
	c.t.Helper()
	if status, body := c.get("/page?t=" + url.QueryEscape(template)); status != 500 || body != "" {
		c.t.Errorf("%s: %d %q, want an error", template, status, body)
		return
	}
	said := lastHTTPError(c.t)
	for _, part := range want {
		if !strings.Contains(said, part) {
			c.t.Errorf("%s: the log says %s, without %s", template, said, part)
		}
	}
}

// lastHTTPError returns the message of the last error that Caddy logged for a request.
func lastHTTPError(t testing.TB) string {
	t.Helper()
	logged.Lock()
	defer logged.Unlock()
	last := ""
	for line := range strings.Lines(logged.String()) {
		var e struct{ Logger, Level, Msg string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		if e.Level == "error" && strings.HasPrefix(e.Logger, "http.log.error") {
			last = e.Msg
		}
	}
	return last
}

func TestPagesAskAround(t *testing.T) {
	echo := func(_ context.Context, payload any) (any, error) { return fmt.Sprintf("%T %[1]v", payload), nil }
	guestWith(t, "one", map[string]Handler{"number": always(1), "echo": echo, "declined": always(ErrHighAndDry)})
	guestWith(t, "two", map[string]Handler{"number": always("two")})
	guestWith(t, "three", map[string]Handler{"number": always([]int{3}), "nil": always(nil)})
	c := templateSite(t, "", "one", "two", "three")
	c.expectPage(`{{range askAround "number"}}[{{.}}]{{end}}`, "[1][two][[3]]")
	c.expectPage(`{{len (askAround "number")}} {{index (askAround "number") 1}} {{askAround "number" | len}}`, "3 two 3")
	c.expectPage(`{{range $i, $n := askAround "number" "ignored"}}{{$i}}={{$n}} {{end}}`, "0=1 1=two 2=[3] ")
	c.expectPage(`{{range askAround "declined"}}{{.}}{{else}}nobody{{end}}`, "nobody")
	c.expectPage(`{{len (askAround "nil")}}`, "1")
	c.expectPage(`{{range askAround "echo"}}{{.}}{{end}}`, "<nil> <nil>")
	c.expectPage(`{{range askAround "echo" nil}}{{.}}{{end}}`, "<nil> <nil>")
	c.expectPage(`{{range askAround "echo" "a"}}{{.}}{{end}}`, "string a")
	c.expectPage(`{{range askAround "echo" 7}}{{.}}{{end}}`, "int 7")
	c.expectPage(`{{range askAround "echo" (dict "id" 7)}}{{.}}{{end}}`, "map[string]interface {} map[id:7]")
	c.expectPage(`{{range askAround "echo" (list "a" 7)}}{{.}}{{end}}`, "[]interface {} [a 7]")
	c.expectPage(`{{range "piped" | askAround "echo"}}{{.}}{{end}}`, "string piped")
	c.expectNoPage(`{{askAround "echo" 1 2}}`, "there are 2 payloads", "dict or list")
	c.expectNoPage(`{{askAround}}`, "askAround", "a service is missing")
	c.expectNoPage(`{{askAround 7}}`, "a service is a string, and not a int", "$ inside range")
	if entries := logEntries(t, "guest failed"); len(entries) != 0 {
		t.Error(entries)
	}
}

func TestAGuestThatFailsIsLeftOutOfThePageAndLogged(t *testing.T) {
	guest(t, "one", "1", "number")
	guestWith(t, "two", map[string]Handler{"number": always(errors.New("out of order"))})
	guestWith(t, "three", map[string]Handler{"number": func(context.Context, any) (any, error) { panic("at the table") }})
	guestWith(t, "four", map[string]Handler{"number": always(json.RawMessage(`{"no": `))})
	guest(t, "five", "5", "number")
	c := templateSite(t, "", "one", "two", "three", "four", "five")
	c.expectPage(`{{askAround "number"}}`, "[1 5]")
	entries := logEntries(t, "guest failed")
	if len(entries) != 3 {
		t.Fatal(entries)
	}
	for i, want := range []struct{ guest, problem string }{{"two", "out of order"}, {"three", "at the table"}, {"four", "no JSON: jsontext: unexpected EOF"}} {
		e := entries[i]
		if e["level"] != "warn" || e["logger"] != "http.handlers.templates.functions.wsgi_party" || e["party"] != "main" ||
			e["guest"] != want.guest || e["service"] != "number" || !strings.Contains(fmt.Sprint(e["error"]), want.problem) {
			t.Errorf("%v, want %v", e, want)
		}
	}
}

func TestAskingForAMissingServiceIsAnErrorPage(t *testing.T) {
	guest(t, "one", "1", "number")
	c := templateSite(t, "", "one")
	const nobody = `nobody on partyline "main" is connected under service "nothing"`
	c.expectNoPage(`before {{askAround "nothing"}} after`, nobody)
	c.expectNoPage(`{{askFirst "nothing" "today"}}`, nobody, `"today"`)
	c.expectNoPage(`{{urlFor "index"}}`, `service "url"`, `"index"`)
	c.expectPage(`[{{maybeURL "index"}}]`, "[]")
	c.expectPage(`{{askAround "number"}}`, "[1]")
	if entries := logEntries(t, "guests failed"); len(entries) != 0 {
		t.Error(entries)
	}

	// With its own error page, like any error.
	templateApp(t)
	c.site("wsgi_party main {\ntemplates {\nextensions {\nwsgi_party\n}\n}\ntest_app template\n}\nhandle_errors {\nrespond \"sorry {http.error.status_code}\"\n}")
	c.expectSoon("/page?t="+url.QueryEscape(`{{askAround "nothing"}}`), 500, "sorry 500")
}

func TestIgnoringMissingServicesOnPages(t *testing.T) {
	guest(t, "one", "1", "number")
	c := templateSite(t, "ignore_missing_services", "one")
	c.expectPage(`[{{range askAround "nothing"}}{{.}}{{else}}nobody{{end}}] {{len (askAround "nothing" 1)}}`, "[nobody] 0")
	c.expectPage(`[{{maybeURL "index"}}]`, "[]")
	// But an answer that is needed is missing.
	c.expectNoPage(`{{askFirst "nothing"}}`, `nobody in party "main" answers service "nothing"`)
	c.expectNoPage(`{{urlFor "index"}}`, `nobody in party "main" answers service "url" for "index"`)
	for _, message := range []string{"guest failed", "guests failed"} {
		if entries := logEntries(t, message); len(entries) != 0 {
			t.Error(entries)
		}
	}
}

func TestPagesAskForTheFirstAnswer(t *testing.T) {
	calls := 0
	guestWith(t, "one", map[string]Handler{
		"number": always(ErrHighAndDry), "fragile": always(errors.New("out of order")),
		"user": func(_ context.Context, payload any) (any, error) {
			return map[string]any{"name": fmt.Sprint("user ", payload.(map[string]any)["id"])}, nil
		},
		"declined": always(ErrHighAndDry), "failed": always(errors.New("out of order")),
	})
	guestWith(t, "two", map[string]Handler{
		"number": always(2), "fragile": always("whole"), "nil": always(nil), "empty": always(""), "failed": always(errors.New("broken, too")),
	})
	guestWith(t, "three", map[string]Handler{"number": func(context.Context, any) (any, error) { calls++; return 3, nil }})
	c := templateSite(t, "", "one", "two", "three")
	c.expectPage(`{{askFirst "number"}} {{askFirst "number" "ignored"}} {{askFirst "fragile"}}`, "2 2 whole")
	if calls != 0 {
		t.Errorf("somebody was asked after the first answer %d times", calls)
	}
	c.expectPage(`{{(askFirst "user" (dict "id" 7)).name}}`, "user 7")
	c.expectPage(`{{with askFirst "user" (dict "id" 8)}}{{.name}}{{end}}`, "user 8")
	c.expectPage(`[{{askFirst "empty"}}] {{if not (askFirst "nil")}}nothing{{end}}`, "[] nothing")

	c.expectNoPage(`before {{askFirst "declined" "today"}} after`, `nobody in party "main" answers service "declined" for "today": no answer`)
	c.expectNoPage(`{{askFirst "declined"}}`, `service "declined" for no payload`)
	c.expectNoPage(`{{askFirst "declined" nil}}`, `service "declined" for no payload`)
	c.expectNoPage(`{{askFirst "declined" 7}}`, `service "declined" for 7`)
	c.expectNoPage(`{{askFirst "declined" (dict "name" "blog:post" "values" (dict "slug" "secret"))}}`, `service "declined" for "blog:post"`)
	c.expectNoPage(`{{askFirst "declined" (dict "id" 7)}}`, `service "declined" for {"id":7}`)
	c.expectNoPage(`{{askFirst "declined" (list "a" 7)}}`, `service "declined" for ["a",7]`)
	c.expectNoPage(`{{askFirst "declined" (repeat 200 "x")}}`, `service "declined" for a string`)
	c.expectNoPage(`{{askFirst "declined" .Req}}`, `service "declined" for a *http.Request`)
	c.expectNoPage(`{{askFirst "failed" "today"}}`, `service "failed" for "today"`, `guest "one"`, "out of order", `guest "two"`, "broken, too")
	c.expectNoPage(`{{askFirst "number" 1 2 3}}`, "there are 3 payloads")
}

func TestPagesLinkToPages(t *testing.T) {
	var got []any
	guestWith(t, "one", map[string]Handler{"url": func(_ context.Context, payload any) (any, error) {
		got = append(got, payload)
		request, err := PayloadAs[URLRequest](payload)
		switch {
		case err != nil:
			return nil, err
		case request.Name == "one:broken":
			return nil, errors.New("out of order")
		case !strings.HasPrefix(request.Name, "one:"):
			return nil, ErrHighAndDry
		}
		return fmt.Sprint("/one/", strings.TrimPrefix(request.Name, "one:"), "?", len(request.Values)), nil
	}})
	c := templateSite(t, "", "one")
	c.expectPage(`<a href="{{urlFor "one:index" | html}}">`, `<a href="/one/index?0">`)
	c.expectPage(`{{urlFor "one:post" "slug" "hello" "page" 2}}`, "/one/post?2")
	c.expectPage(`{{maybeURL "one:post" "slug" "hello"}} [{{maybeURL "two:post" "slug" "hello"}}]`, "/one/post?1 []")
	c.expectPage(`{{with maybeURL "two:index"}}<a href="{{.}}">{{else}}nowhere{{end}}`, "nowhere")
	request, ok := got[1].(URLRequest)
	if !ok || request.Name != "one:post" || len(request.Values) != 2 || request.Values["slug"] != "hello" || request.Values["page"] != 2 {
		t.Errorf("asked with %#v", got[1])
	}
	if entries := logEntries(t, "guests failed"); len(entries) != 0 {
		t.Error(entries)
	}

	c.expectNoPage(`before {{urlFor "two:index"}} after`, `nobody in party "main" answers service "url" for "two:index": no answer`)
	c.expectNoPage(`{{urlFor "one:broken"}}`, `service "url" for "one:broken"`, `guest "one" failed to answer "url": out of order`)
	c.expectPage(`[{{maybeURL "one:broken"}}]`, "[]")
	if entries := logEntries(t, "guests failed"); len(entries) != 1 || entries[0]["level"] != "warn" || entries[0]["party"] != "main" ||
		entries[0]["service"] != "url" || entries[0]["name"] != "one:broken" || !strings.Contains(fmt.Sprint(entries[0]["error"]), "out of order") {
		t.Error(entries)
	}
	before := len(got)
	for _, function := range []string{"urlFor", "maybeURL"} {
		c.expectNoPage(`{{`+function+` "one:post" "slug"}}`, `the URL of "one:post": the values come in pairs of key and value, but there are 1 arguments after the name`)
		c.expectNoPage(`{{`+function+` "one:post" "slug" "hello" "page"}}`, "there are 3 arguments")
		c.expectNoPage(`{{`+function+` "one:post" 7 "hello"}}`, `the URL of "one:post": the key 7 is a int: write a string`)
		c.expectNoPage(`{{`+function+` "one:post" nil "hello"}}`, "the key <nil> is a <nil>: write a string")
		c.expectNoPage(`{{`+function+` 7}}`, "a page's name is a string, and not a int")
		c.expectNoPage(`{{`+function+`}}`, function)
	}
	if len(got) != before {
		t.Errorf("guests were asked: %v", got[before:])
	}
}

func TestPagesLinkNowhereElse(t *testing.T) {
	lies := map[string]any{"script": "javascript:alert(1)", "host": "//evil.example/", "backslash": `/\evil.example`, "origin": "https://evil.example/", "empty": "", "number": 7}
	lie := func(_ context.Context, payload any) (any, error) {
		_, name, _ := strings.Cut(payload.(URLRequest).Name, ":")
		answer, ok := lies[name]
		if !ok {
			return nil, ErrHighAndDry
		}
		return answer, nil
	}
	guestWith(t, "liar", map[string]Handler{"url": lie})
	guestWith(t, "honest", map[string]Handler{"url": func(_ context.Context, payload any) (any, error) {
		if name, ok := strings.CutPrefix(payload.(URLRequest).Name, "both:"); ok {
			return "https://site.example/" + name, nil
		}
		return nil, ErrHighAndDry
	}})
	c := templateSite(t, "invite https://site.example/honest/__invite__/ as site", "liar", "honest")
	for name := range lies {
		c.expectPage(`{{urlFor "both:`+name+`"}} {{maybeURL "both:`+name+`"}}`, "https://site.example/"+name+" https://site.example/"+name)
		c.expectPage(`[{{maybeURL "liar:`+name+`"}}]`, "[]")
		c.expectNoPage(`{{urlFor "liar:`+name+`"}}`, `service "url" for "liar:`+name+`"`, `guest "liar" failed to answer "url"`)
	}
	if entries := logEntries(t, "guests failed"); len(entries) != len(lies) {
		t.Error(entries)
	}
}

func TestAnswersAreNeitherEscapedNorTemplates(t *testing.T) {
	guestWith(t, "one", map[string]Handler{
		"bold": always(`<b>&"'`), "template": always(`{{askFirst "bold"}}{{env "HOME"}}`), "placeholder": always("{http.request.uri}"),
		"url": always(`/?a=1&b="<b>"`),
	})
	c := templateSite(t, "", "one")
	c.expectPage(`{{askFirst "bold"}} {{range askAround "bold"}}{{.}}{{end}}`, `<b>&"' <b>&"'`)
	c.expectPage(`{{askFirst "bold" | html}} {{range askAround "bold"}}{{. | html}}{{end}}`, `&lt;b&gt;&amp;&#34;&#39; &lt;b&gt;&amp;&#34;&#39;`)
	c.expectPage(`{{urlFor "x"}} {{maybeURL "x" | html}}`, `/?a=1&b="<b>" /?a=1&amp;b=&#34;&lt;b&gt;&#34;`)
	c.expectPage(`{{askFirst "template"}} {{range askAround "template"}}{{.}}{{end}}`, `{{askFirst "bold"}}{{env "HOME"}} {{askFirst "bold"}}{{env "HOME"}}`)
	c.expectPage(`{{$x := askFirst "template"}}{{$x | upper}} {{printf "%s" $x}}`, `{{ASKFIRST "BOLD"}}{{ENV "HOME"}} {{askFirst "bold"}}{{env "HOME"}}`)
	c.expectPage(`{{askFirst "placeholder"}}`, "{http.request.uri}")
}

func TestAnswersOfJSONAreDecodedForPages(t *testing.T) {
	guestWith(t, "one", map[string]Handler{
		"user":   always(json.RawMessage(`{"name": "Ada <b>", "tags": ["a", "b"], "admin": true, "boss": null, "age": 36}`)),
		"string": always(json.RawMessage(`"text"`)),
		"list":   always(json.RawMessage(`[1, "a"]`)),
		"null":   always(json.RawMessage(`null`)),
		"bad":    always(json.RawMessage(`{`)),
		"url":    always(json.RawMessage(`"\/from\/json"`)),
		"bytes":  always([]byte(`"text"`)),
		"first":  always(json.RawMessage(`{`)),
		"digits": always(json.RawMessage(`[7, 12345678, 12345678901234567890, 1.50, 2.5, 1e3, -0]`)),
	})
	guestWith(t, "two", map[string]Handler{"first": always(json.RawMessage(`"whole"`))})
	c := templateSite(t, "", "one", "two")
	c.expectPage(`{{askFirst "digits"}}{{with askFirst "digits"}}{{if and (eq (index . 0) 7) (lt (index . 4) 3.0)}} compare{{end}}{{end}}`, "[7 12345678 12345678901234567890 1.50 2.5 1e3 -0] compare")
	c.expectPage(`{{askFirst "first"}}`, "whole")
	c.expectPage(`{{with askFirst "user"}}{{.name | html}} {{range .tags}}{{.}},{{end}} {{if .admin}}admin{{end}} {{if .boss}}boss{{end}}{{.age}}{{end}}`, "Ada &lt;b&gt; a,b, admin 36")
	c.expectPage(`{{range askAround "user"}}{{.name}}{{end}} {{range askAround "list"}}{{index . 1}}{{end}}`, "Ada <b> a")
	c.expectPage(`{{askFirst "string"}} {{if not (askFirst "null")}}null{{end}} {{urlFor "x"}}`, "text null /from/json")
	c.expectPage(`{{len (askAround "bad")}}`, "0")
	c.expectPage(`{{printf "%T" (askFirst "bytes")}}`, "[]uint8")
	c.expectNoPage(`{{askFirst "bad" "today"}}`, `service "bad" for "today"`, "no JSON: jsontext: unexpected EOF")
}

// extension is the templates handler with this module's functions, which are
// configured like that.
func extension(config string) string {
	return "templates {\nextensions {\nwsgi_party " + config + "\n}\n}\n"
}

func TestWhichPartyAPageAsks(t *testing.T) {
	templateApp(t)
	for _, name := range []string{"default", "outer", "inner"} {
		guest(t, name, name, "name")
	}
	const nested = `
	route {
	wsgi_party outer {
		invite /__invite__/outer as outer
		test_app /__invite__/outer outer
		handle /before {
			%[1]s
			test_app template
		}
		wsgi_party inner {
			invite /__invite__/inner as inner
			test_app /__invite__/inner inner
			handle /inner {
				route {
					%[1]s
					test_app template
				}
			}
			handle /named {
				%[2]s
				test_app template
			}
		}
		handle /after {
			%[1]s
			test_app template
		}
	}
	wsgi_party /default {
		invite /__invite__/default as default
		test_app /__invite__/default default
		%[1]s
		test_app template
	}
	handle {
		%[3]s
		test_app template
	}
	}`
	c := newCaddy(t)
	c.site(fmt.Sprintf(nested, extension(""), extension("outer"), extension("inner")))
	page := "?t=" + url.QueryEscape(`{{askAround "name"}}`)
	for path, want := range map[string]string{"/before": "outer", "/after": "outer", "/inner": "inner", "/named": "outer", "/default": "default", "/outside": "inner"} {
		c.expect(path+page, 200, "["+want+"]")
	}
	if entries := logEntries(t, "no wsgi_party handler names the party that was joined"); len(entries) != 0 {
		t.Error(entries)
	}
}

func TestAPageOutsideAnyPartyHasToNameOne(t *testing.T) {
	templateApp(t)
	c := newCaddy(t)
	err := c.tryLoad("ADDRESS {\nhandle /in {\nwsgi_party main {\nrespond in\n}\n}\nhandle {\n" + extension("") + "test_app template\n}\n}")
	if err == nil || !strings.Contains(err.Error(), "these templates are in no party's routes: say which party they ask (wsgi_party <party>); the only party is main") {
		t.Error(err)
	}
}

func TestAPageThatAsksAPartyNobodyNamesIsWarnedAbout(t *testing.T) {
	templateApp(t)
	guest(t, "one", "1", "number")
	c := newCaddy(t)
	c.site("wsgi_party main {\ninvite /__invite__/\ntest_app /__invite__/ one\n" + extension("mian") + "test_app template\n}")
	entries := logEntries(t, "no wsgi_party handler names the party that was joined")
	if len(entries) != 1 || entries[0]["level"] != "warn" || entries[0]["party"] != "mian" || fmt.Sprint(entries[0]["hint"]) == "" {
		t.Error(entries)
	}
	c.expectNoPage(`{{askAround "number"}}`, `"mian"`, `"number"`)
}

// TestPagesAskTheirOwnConfigsGuests has a config take over from another one.
func TestPagesAskTheirOwnConfigsGuests(t *testing.T) {
	templateApp(t)
	c := newCaddy(t)
	page := "/?t=" + url.QueryEscape(`{{askFirst "number"}}`)
	for i := range 2 {
		guest(t, "one", fmt.Sprint(i), "number")
		c.site("wsgi_party main {\ninvite /__invite__/\ntest_app /__invite__/ one\n" + extension("") + "test_app template\n}")
		c.expectSoon(page, 200, fmt.Sprint(i))
	}
	guest(t, "one", "failed", "number")
	if err := c.tryLoad("ADDRESS {\nwsgi_party main {\ninvite /__invite__/ /none/__invite__/\nstrict_invites\ntest_app /__invite__/ one\n" + extension("") + "test_app /page template\n}\n}"); err == nil {
		t.Error("loaded")
	}
	c.expectSoon(page, 200, "1")
}

func TestTheTemplatesExtensionInACaddyfile(t *testing.T) {
	for config, want := range map[string]string{
		"wsgi_party":        `{"wsgi_party":{}}`,
		"wsgi_party main":   `{"wsgi_party":{"party":"main"}}`,
		`wsgi_party "a b"`:  `{"wsgi_party":{"party":"a b"}}`,
		"wsgi_party main\n": `{"wsgi_party":{"party":"main"}}`,
	} {
		adapted, _, err := adaptCaddyfile(":8080\ntemplates {\nextensions {\n" + config + "\n}\nmime text/html\n}")
		if err != nil || !strings.Contains(string(adapted), `{"handler":"templates","match":`+want+`,"mime_types":["text/html"]}`) {
			t.Errorf("%s: %s %v, want %s", config, adapted, err, want)
		}
	}
	for config, want := range map[string]string{
		"wsgi_party one two":         "wrong argument count or unexpected line ending after 'two', at Caddyfile:4",
		`wsgi_party ""`:              "the party's name is empty: write a name, or leave it out, at Caddyfile:4",
		"wsgi_party {\nname main\n}": "wsgi_party takes no block here, at Caddyfile:4",
		"wsgi_party main {\nx\n}":    "wsgi_party takes no block here, at Caddyfile:4",
	} {
		_, _, err := adaptCaddyfile(":8080\ntemplates {\nextensions {\n" + config + "\n}\n}")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", config, err, want)
		}
	}
}

func TestTheTemplatesExtensionInJSON(t *testing.T) {
	guest(t, "one", "1", "number")
	templateApp(t)
	for config, want := range map[string]struct{ problem string }{
		`{}`:                     {},
		`{"party": ""}`:          {},
		`{"party": "main"}`:      {},
		`{"party": 7}`:           {"cannot unmarshal number"},
		`{"name": "main"}`:       {`unknown field "name"`},
		`{"party": ["one", ""]}`: {"cannot unmarshal array"},
	} {
		c := newCaddy(t)
		site := string(c.adapt("ADDRESS {\nwsgi_party main {\ninvite /__invite__/\ntest_app /__invite__/ one\n" + extension("") + "test_app template\n}\n}"))
		before, after, ok := strings.Cut(site, `"match":{"wsgi_party":{}}`)
		if !ok {
			t.Fatal(site)
		}
		err := caddy.Load([]byte(before+`"match":{"wsgi_party":`+config+`}`+after), true)
		if want.problem != "" {
			if err == nil || !strings.Contains(err.Error(), want.problem) {
				t.Errorf("%s: %v, want %s", config, err, want.problem)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", config, err)
		}
		c.expectSoon("/page?t="+url.QueryEscape(`{{askFirst "number"}}`), 200, "1")
	}
}

func TestTheTemplatesExtensionIsAModule(t *testing.T) {
	info, err := caddy.GetModule("http.handlers.templates.functions.wsgi_party")
	if err != nil {
		t.Fatal(err)
	}
	functions, ok := info.New().(templates.CustomFunctions)
	if !ok {
		t.Fatalf("it is a %T", info.New())
	}
	for _, name := range []string{"askAround", "askFirst", "askReplies", "urlFor", "maybeURL"} {
		if functions.CustomTemplateFunctions()[name] == nil {
			t.Errorf("there is no %s", name)
		}
	}
}
