// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytemplates_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// always returns a handler that always answers that: an error fails.
func always(answer any) wsgiparty.Handler {
	return func(context.Context, any) (any, error) {
		if err, ok := answer.(error); ok {
			return nil, err
		}
		return answer, nil
	}
}

// templateSite loads a party of these guests, applications of the test, and a page at
// /page that asks them.
func templateSite(t testing.TB, options string, guests ...string) *partytest.Caddy {
	t.Helper()
	partytest.TemplateApp(t)
	var site strings.Builder
	fmt.Fprintf(&site, "wsgi_party main {\n%s\n", options)
	for _, guest := range guests {
		fmt.Fprintf(&site, "invite /%[1]s/__invite__/\nhandle_path /%[1]s/* {\ntest_app %[1]s\n}\n", guest)
	}
	c := partytest.NewCaddy(t)
	c.Site(site.String() + partytest.Pages + "}")
	return c
}

func TestPagesAskAround(t *testing.T) {
	echo := func(_ context.Context, payload any) (any, error) { return fmt.Sprintf("%T %[1]v", payload), nil }
	partytest.GuestWith(t, "one", map[string]wsgiparty.Handler{"number": always(1), "echo": echo, "declined": always(wsgiparty.ErrHighAndDry)})
	partytest.GuestWith(t, "two", map[string]wsgiparty.Handler{"number": always("two")})
	partytest.GuestWith(t, "three", map[string]wsgiparty.Handler{"number": always([]int{3}), "nil": always(nil)})
	c := templateSite(t, "", "one", "two", "three")
	c.ExpectPage(`{{range askAround "number"}}[{{.}}]{{end}}`, "[1][two][[3]]")
	c.ExpectPage(`{{len (askAround "number")}} {{index (askAround "number") 1}} {{askAround "number" | len}}`, "3 two 3")
	c.ExpectPage(`{{range $i, $n := askAround "number" "ignored"}}{{$i}}={{$n}} {{end}}`, "0=1 1=two 2=[3] ")
	c.ExpectPage(`{{range askAround "declined"}}{{.}}{{else}}nobody{{end}}`, "nobody")
	c.ExpectPage(`{{len (askAround "nil")}}`, "1")
	c.ExpectPage(`{{range askAround "echo"}}{{.}}{{end}}`, "<nil> <nil>")
	c.ExpectPage(`{{range askAround "echo" nil}}{{.}}{{end}}`, "<nil> <nil>")
	c.ExpectPage(`{{range askAround "echo" "a"}}{{.}}{{end}}`, "string a")
	c.ExpectPage(`{{range askAround "echo" 7}}{{.}}{{end}}`, "int 7")
	c.ExpectPage(`{{range askAround "echo" (dict "id" 7)}}{{.}}{{end}}`, "map[string]interface {} map[id:7]")
	c.ExpectPage(`{{range askAround "echo" (list "a" 7)}}{{.}}{{end}}`, "[]interface {} [a 7]")
	c.ExpectPage(`{{range "piped" | askAround "echo"}}{{.}}{{end}}`, "string piped")
	expectNoPage(c, `{{askAround "echo" 1 2}}`, "there are 2 payloads", "dict or list")
	expectNoPage(c, `{{askAround}}`, "askAround", "a service is missing")
	expectNoPage(c, `{{askAround 7}}`, "a service must be a string, but is int", "$ inside range")
	check.Equal(t, len(partytest.LogEntries(t, "guest failed")), 0)
}

func TestAGuestThatFailsIsLeftOutOfThePageAndLogged(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	partytest.GuestWith(t, "two", map[string]wsgiparty.Handler{"number": always(errors.New("out of order"))})
	partytest.GuestWith(t, "three", map[string]wsgiparty.Handler{"number": func(context.Context, any) (any, error) { panic("at the table") }})
	partytest.GuestWith(t, "four", map[string]wsgiparty.Handler{"number": always(json.RawMessage(`{"no": `))})
	partytest.Guest(t, "five", "5", "number")
	c := templateSite(t, "", "one", "two", "three", "four", "five")
	c.ExpectPage(`{{askAround "number"}}`, "[1 5]")
	entries := partytest.LogEntries(t, "guest failed")
	check.FatalIf(t, len(entries) != 3, entries)
	for i, want := range []struct{ guest, problem string }{{"two", "out of order"}, {"three", "at the table"}, {"four", "not JSON: jsontext: unexpected EOF"}} {
		e := entries[i]
		if e["level"] != "warn" || e["logger"] != "http.handlers.templates.functions.wsgi_party" || e["party"] != "main" ||
			e["guest"] != want.guest || e["service"] != "number" || !strings.Contains(fmt.Sprint(e["error"]), want.problem) {
			t.Errorf("%v, want %v", e, want)
		}
	}
}

func TestAskingForAMissingServiceIsAnErrorPage(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	c := templateSite(t, "", "one")
	const nobody = `nobody on partyline "main" is connected under service "nothing"`
	expectNoPage(c, `before {{askAround "nothing"}} after`, nobody)
	expectNoPage(c, `{{askFirst "nothing" "today"}}`, nobody, `"today"`)
	expectNoPage(c, `{{urlFor "index"}}`, `service "url"`, `"index"`)
	c.ExpectPage(`[{{maybeURL "index"}}]`, "[]")
	c.ExpectPage(`{{askAround "number"}}`, "[1]")
	check.Equal(t, len(partytest.LogEntries(t, "guests failed")), 0)

	// With its own error page, like any error.
	partytest.TemplateApp(t)
	c.Site("wsgi_party main {\ntemplates {\nextensions {\nwsgi_party\n}\n}\ntest_app template\n}\nhandle_errors {\nrespond \"sorry {http.error.status_code}\"\n}")
	c.ExpectSoon("/page?t="+url.QueryEscape(`{{askAround "nothing"}}`), 500, "sorry 500")
}

func TestIgnoringMissingServicesOnPages(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	c := templateSite(t, "ignore_missing_services", "one")
	c.ExpectPage(`[{{range askAround "nothing"}}{{.}}{{else}}nobody{{end}}] {{len (askAround "nothing" 1)}}`, "[nobody] 0")
	c.ExpectPage(`[{{maybeURL "index"}}]`, "[]")
	// But an answer that is needed is missing.
	expectNoPage(c, `{{askFirst "nothing"}}`, `nobody in party "main" answers service "nothing"`)
	expectNoPage(c, `{{urlFor "index"}}`, `nobody in party "main" answers service "url" for "index"`)
	check.Equal(t, len(partytest.LogEntries(t, "guest failed"))+len(partytest.LogEntries(t, "guests failed")), 0)
}

func TestPagesAskForTheFirstAnswer(t *testing.T) {
	calls := 0
	partytest.GuestWith(t, "one", map[string]wsgiparty.Handler{
		"number": always(wsgiparty.ErrHighAndDry), "fragile": always(errors.New("out of order")),
		"user": func(_ context.Context, payload any) (any, error) {
			return map[string]any{"name": fmt.Sprint("user ", payload.(map[string]any)["id"])}, nil
		},
		"declined": always(wsgiparty.ErrHighAndDry), "failed": always(errors.New("out of order")),
	})
	partytest.GuestWith(t, "two", map[string]wsgiparty.Handler{
		"number": always(2), "fragile": always("whole"), "nil": always(nil), "empty": always(""), "failed": always(errors.New("broken, too")),
	})
	partytest.GuestWith(t, "three", map[string]wsgiparty.Handler{"number": func(context.Context, any) (any, error) { calls++; return 3, nil }})
	c := templateSite(t, "", "one", "two", "three")
	c.ExpectPage(`{{askFirst "number"}} {{askFirst "number" "ignored"}} {{askFirst "fragile"}}`, "2 2 whole")
	check.Equal(t, calls, 0, "times that somebody was asked after the first answer")
	c.ExpectPage(`{{(askFirst "user" (dict "id" 7)).name}}`, "user 7")
	c.ExpectPage(`{{with askFirst "user" (dict "id" 8)}}{{.name}}{{end}}`, "user 8")
	c.ExpectPage(`[{{askFirst "empty"}}] {{if not (askFirst "nil")}}nothing{{end}}`, "[] nothing")

	expectNoPage(c, `before {{askFirst "declined" "today"}} after`, `nobody in party "main" answers service "declined" for "today": no answer`)
	expectNoPage(c, `{{askFirst "declined"}}`, `service "declined" for no payload`)
	expectNoPage(c, `{{askFirst "declined" nil}}`, `service "declined" for no payload`)
	expectNoPage(c, `{{askFirst "declined" 7}}`, `service "declined" for 7`)
	expectNoPage(c, `{{askFirst "declined" (dict "name" "blog:post" "values" (dict "slug" "secret"))}}`, `service "declined" for "blog:post"`)
	expectNoPage(c, `{{askFirst "declined" (dict "id" 7)}}`, `service "declined" for {"id":7}`)
	expectNoPage(c, `{{askFirst "declined" (list "a" 7)}}`, `service "declined" for ["a",7]`)
	expectNoPage(c, `{{askFirst "declined" (repeat 200 "x")}}`, `service "declined" for a string`)
	expectNoPage(c, `{{askFirst "declined" .Req}}`, `service "declined" for a *http.Request`)
	expectNoPage(c, `{{askFirst "failed" "today"}}`, `service "failed" for "today"`, `guest "one"`, "out of order", `guest "two"`, "broken, too")
	expectNoPage(c, `{{askFirst "number" 1 2 3}}`, "there are 3 payloads")
}

func TestPagesLinkToPages(t *testing.T) {
	var got []any
	partytest.GuestWith(t, "one", map[string]wsgiparty.Handler{"url": func(_ context.Context, payload any) (any, error) {
		got = append(got, payload)
		request, err := wsgiparty.PayloadAs[wsgiparty.URLRequest](payload)
		switch {
		case err != nil:
			return nil, err
		case request.Name == "one:broken":
			return nil, errors.New("out of order")
		case !strings.HasPrefix(request.Name, "one:"):
			return nil, wsgiparty.ErrHighAndDry
		}
		return fmt.Sprint("/one/", strings.TrimPrefix(request.Name, "one:"), "?", len(request.Values)), nil
	}})
	c := templateSite(t, "", "one")
	c.ExpectPage(`<a href="{{urlFor "one:index" | html}}">`, `<a href="/one/index?0">`)
	c.ExpectPage(`{{urlFor "one:post" "slug" "hello" "page" 2}}`, "/one/post?2")
	c.ExpectPage(`{{maybeURL "one:post" "slug" "hello"}} [{{maybeURL "two:post" "slug" "hello"}}]`, "/one/post?1 []")
	c.ExpectPage(`{{with maybeURL "two:index"}}<a href="{{.}}">{{else}}nowhere{{end}}`, "nowhere")
	request, ok := got[1].(wsgiparty.URLRequest)
	check.ErrorIf(t, !ok || request.Name != "one:post" || len(request.Values) != 2 || request.Values["slug"] != "hello" || request.Values["page"] != 2, "asked with %#v", got[1])
	check.Equal(t, len(partytest.LogEntries(t, "guests failed")), 0)

	expectNoPage(c, `before {{urlFor "two:index"}} after`, `nobody in party "main" answers service "url" for "two:index": no answer`)
	expectNoPage(c, `{{urlFor "one:broken"}}`, `service "url" for "one:broken"`, `guest "one" failed to answer "url": out of order`)
	c.ExpectPage(`[{{maybeURL "one:broken"}}]`, "[]")
	if entries := partytest.LogEntries(t, "guests failed"); len(entries) != 1 || entries[0]["level"] != "warn" || entries[0]["party"] != "main" ||
		entries[0]["service"] != "url" || entries[0]["name"] != "one:broken" || !strings.Contains(fmt.Sprint(entries[0]["error"]), "out of order") {
		t.Error(entries)
	}
	before := len(got)
	for _, function := range []string{"urlFor", "maybeURL"} {
		expectNoPage(c, `{{`+function+` "one:post" "slug"}}`, `the URL of "one:post": values come in pairs of key and value, but the number of arguments after the name is 1`)
		expectNoPage(c, `{{`+function+` "one:post" "slug" "hello" "page"}}`, "arguments after the name is 3")
		expectNoPage(c, `{{`+function+` "one:post" 7 "hello"}}`, `the URL of "one:post": the key 7 is a int: write a string`)
		expectNoPage(c, `{{`+function+` "one:post" nil "hello"}}`, "the key <nil> is a <nil>: write a string")
		expectNoPage(c, `{{`+function+` 7}}`, "a page's name must be a string, but is int")
		expectNoPage(c, `{{`+function+`}}`, function)
	}
	check.ErrorIf(t, len(got) != before, "guests were asked: %v", got[before:])
}

func TestPagesLinkNowhereElse(t *testing.T) {
	lies := map[string]any{"script": "javascript:alert(1)", "host": "//evil.example/", "backslash": `/\evil.example`, "origin": "https://evil.example/", "empty": "", "number": 7}
	lie := func(_ context.Context, payload any) (any, error) {
		_, name, _ := strings.Cut(payload.(wsgiparty.URLRequest).Name, ":")
		answer, ok := lies[name]
		if !ok {
			return nil, wsgiparty.ErrHighAndDry
		}
		return answer, nil
	}
	partytest.GuestWith(t, "liar", map[string]wsgiparty.Handler{"url": lie})
	partytest.GuestWith(t, "honest", map[string]wsgiparty.Handler{"url": func(_ context.Context, payload any) (any, error) {
		if name, ok := strings.CutPrefix(payload.(wsgiparty.URLRequest).Name, "both:"); ok {
			return "https://site.example/" + name, nil
		}
		return nil, wsgiparty.ErrHighAndDry
	}})
	c := templateSite(t, "invite https://site.example/honest/__invite__/ as site", "liar", "honest")
	for name := range lies {
		c.ExpectPage(`{{urlFor "both:`+name+`"}} {{maybeURL "both:`+name+`"}}`, "https://site.example/"+name+" https://site.example/"+name)
		c.ExpectPage(`[{{maybeURL "liar:`+name+`"}}]`, "[]")
		expectNoPage(c, `{{urlFor "liar:`+name+`"}}`, `service "url" for "liar:`+name+`"`, `guest "liar" failed to answer "url"`)
	}
	check.Equal(t, len(partytest.LogEntries(t, "guests failed")), len(lies))
}

func TestAnswersAreNeitherEscapedNorTemplates(t *testing.T) {
	partytest.GuestWith(t, "one", map[string]wsgiparty.Handler{
		"bold": always(`<b>&"'`), "template": always(`{{askFirst "bold"}}{{env "HOME"}}`), "placeholder": always("{http.request.uri}"),
		"url": always(`/?a=1&b="<b>"`),
	})
	c := templateSite(t, "", "one")
	c.ExpectPage(`{{askFirst "bold"}} {{range askAround "bold"}}{{.}}{{end}}`, `<b>&"' <b>&"'`)
	c.ExpectPage(`{{askFirst "bold" | html}} {{range askAround "bold"}}{{. | html}}{{end}}`, `&lt;b&gt;&amp;&#34;&#39; &lt;b&gt;&amp;&#34;&#39;`)
	c.ExpectPage(`{{urlFor "x"}} {{maybeURL "x" | html}}`, `/?a=1&b="<b>" /?a=1&amp;b=&#34;&lt;b&gt;&#34;`)
	c.ExpectPage(`{{askFirst "template"}} {{range askAround "template"}}{{.}}{{end}}`, `{{askFirst "bold"}}{{env "HOME"}} {{askFirst "bold"}}{{env "HOME"}}`)
	c.ExpectPage(`{{$x := askFirst "template"}}{{$x | upper}} {{printf "%s" $x}}`, `{{ASKFIRST "BOLD"}}{{ENV "HOME"}} {{askFirst "bold"}}{{env "HOME"}}`)
	c.ExpectPage(`{{askFirst "placeholder"}}`, "{http.request.uri}")
}

func TestAnswersOfJSONAreDecodedForPages(t *testing.T) {
	partytest.GuestWith(t, "one", map[string]wsgiparty.Handler{
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
	partytest.GuestWith(t, "two", map[string]wsgiparty.Handler{"first": always(json.RawMessage(`"whole"`))})
	c := templateSite(t, "", "one", "two")
	c.ExpectPage(`{{askFirst "digits"}}{{with askFirst "digits"}}{{if and (eq (index . 0) 7) (lt (index . 4) 3.0)}} compare{{end}}{{end}}`, "[7 12345678 12345678901234567890 1.50 2.5 1e3 -0] compare")
	c.ExpectPage(`{{askFirst "first"}}`, "whole")
	c.ExpectPage(`{{with askFirst "user"}}{{.name | html}} {{range .tags}}{{.}},{{end}} {{if .admin}}admin{{end}} {{if .boss}}boss{{end}}{{.age}}{{end}}`, "Ada &lt;b&gt; a,b, admin 36")
	c.ExpectPage(`{{range askAround "user"}}{{.name}}{{end}} {{range askAround "list"}}{{index . 1}}{{end}}`, "Ada <b> a")
	c.ExpectPage(`{{askFirst "string"}} {{if not (askFirst "null")}}null{{end}} {{urlFor "x"}}`, "text null /from/json")
	c.ExpectPage(`{{len (askAround "bad")}}`, "0")
	c.ExpectPage(`{{printf "%T" (askFirst "bytes")}}`, "[]uint8")
	expectNoPage(c, `{{askFirst "bad" "today"}}`, `service "bad" for "today"`, "not JSON: jsontext: unexpected EOF")
}

func TestWhichPartyAPageAsks(t *testing.T) {
	partytest.TemplateApp(t)
	for _, name := range []string{"default", "outer", "inner"} {
		partytest.Guest(t, name, name, "name")
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
	c := partytest.NewCaddy(t)
	c.Site(fmt.Sprintf(nested, partytest.Templates(""), partytest.Templates("outer"), partytest.Templates("inner")))
	page := "?t=" + url.QueryEscape(`{{askAround "name"}}`)
	for path, want := range map[string]string{"/before": "outer", "/after": "outer", "/inner": "inner", "/named": "outer", "/default": "default", "/outside": "inner"} {
		c.Expect(path+page, 200, "["+want+"]")
	}
	check.Equal(t, len(partytest.LogEntries(t, "no wsgi_party handler names the party that was joined")), 0)
}

func TestAPageOutsideAnyPartyHasToNameOne(t *testing.T) {
	partytest.TemplateApp(t)
	c := partytest.NewCaddy(t)
	err := c.TryLoad("ADDRESS {\nhandle /in {\nwsgi_party main {\nrespond in\n}\n}\nhandle {\n" + partytest.Templates("") + "test_app template\n}\n}")
	check.Fails(t, err, "these templates are in no party's routes: say which party they ask (wsgi_party <party>); the only party is main")
}

func TestAPageThatAsksAPartyNobodyNamesIsWarnedAbout(t *testing.T) {
	partytest.TemplateApp(t)
	partytest.Guest(t, "one", "1", "number")
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\ninvite /__invite__/\ntest_app /__invite__/ one\n" + partytest.Templates("mian") + "test_app template\n}")
	entries := partytest.LogEntries(t, "no wsgi_party handler names the party that was joined")
	check.ErrorIf(t, len(entries) != 1 || entries[0]["level"] != "warn" || entries[0]["party"] != "mian" || fmt.Sprint(entries[0]["hint"]) == "", entries)
	expectNoPage(c, `{{askAround "number"}}`, `"mian"`, `"number"`)
}

// TestPagesAskTheirOwnConfigsGuests has a config take over from another one.
func TestPagesAskTheirOwnConfigsGuests(t *testing.T) {
	partytest.TemplateApp(t)
	c := partytest.NewCaddy(t)
	page := "/?t=" + url.QueryEscape(`{{askFirst "number"}}`)
	for i := range 2 {
		partytest.Guest(t, "one", fmt.Sprint(i), "number")
		c.Site("wsgi_party main {\ninvite /__invite__/\ntest_app /__invite__/ one\n" + partytest.Templates("") + "test_app template\n}")
		c.ExpectSoon(page, 200, fmt.Sprint(i))
	}
	partytest.Guest(t, "one", "failed", "number")
	err := c.TryLoad("ADDRESS {\nwsgi_party main {\ninvite /__invite__/ /none/__invite__/\nstrict_invites\ntest_app /__invite__/ one\n" + partytest.Templates("") + "test_app /page template\n}\n}")
	check.Fails(t, err, "/none/__invite__/")
	c.ExpectSoon(page, 200, "1")
}

func TestTheTemplatesExtensionInACaddyfile(t *testing.T) {
	for config, want := range map[string]string{
		"wsgi_party":        `{"wsgi_party":{}}`,
		"wsgi_party main":   `{"wsgi_party":{"party":"main"}}`,
		`wsgi_party "a b"`:  `{"wsgi_party":{"party":"a b"}}`,
		"wsgi_party main\n": `{"wsgi_party":{"party":"main"}}`,
	} {
		adapted, _, err := partytest.AdaptCaddyfile(":8080\ntemplates {\nextensions {\n" + config + "\n}\nmime text/html\n}")
		check.ErrorIf(t, err != nil || !strings.Contains(string(adapted), `{"handler":"templates","match":`+want+`,"mime_types":["text/html"]}`), "%s: %s %v, want %s", config, adapted, err, want)
	}
	for config, want := range map[string]string{
		"wsgi_party one two":         "wrong argument count or unexpected line ending after 'two': write `wsgi_party [<party>]`, at Caddyfile:4",
		`wsgi_party ""`:              "the party's name is empty: write a name, or leave it out, at Caddyfile:4",
		"wsgi_party {\nname main\n}": "wsgi_party takes no block here, at Caddyfile:4",
		"wsgi_party main {\nx\n}":    "wsgi_party takes no block here, at Caddyfile:4",
	} {
		_, _, err := partytest.AdaptCaddyfile(":8080\ntemplates {\nextensions {\n" + config + "\n}\n}")
		check.Fails(t, err, want)
	}
}

func TestTheTemplatesExtensionInJSON(t *testing.T) {
	partytest.Guest(t, "one", "1", "number")
	partytest.TemplateApp(t)
	for config, problem := range map[string]string{
		`{}`: "", `{"party": ""}`: "", `{"party": "main"}`: "",
		`{"party": 7}`: "cannot unmarshal number", `{"name": "main"}`: `unknown field "name"`, `{"party": ["one", ""]}`: "cannot unmarshal array",
	} {
		c := partytest.NewCaddy(t)
		site := string(c.Adapt("ADDRESS {\nwsgi_party main {\ninvite /__invite__/\ntest_app /__invite__/ one\n" + partytest.Templates("") + "test_app template\n}\n}"))
		before, after, ok := strings.Cut(site, `"match":{"wsgi_party":{}}`)
		check.FatalIf(t, !ok, site)
		err := caddy.Load([]byte(before+`"match":{"wsgi_party":`+config+`}`+after), true)
		if problem != "" {
			check.Fails(t, err, problem)
			continue
		}
		check.Must(t, err)
		c.ExpectSoon("/page?t="+url.QueryEscape(`{{askFirst "number"}}`), 200, "1")
	}
}

// expectNoPage fails the test unless the template gives an error page, and the log
// says all that.
func expectNoPage(c *partytest.Caddy, template string, want ...string) {
	c.Helper()
	if status, body := c.Get(partytest.Page(template)); status != 500 || body != "" {
		c.Errorf("%s: %d %q, want an error", template, status, body)
		return
	}
	said := partytest.LastHTTPError(c)
	check.Contains(c, said, want, "%s: the log says, without", template)
}
