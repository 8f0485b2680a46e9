// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/party"
)

func TestAURLIsAskedForInThreeShapes(t *testing.T) {
	values := map[string]any{"slug": "hello", "page": json.Number("2")}
	for text, want := range map[string]wsgiparty.URLRequest{
		`{"name": "blog:post", "values": {"slug": "hello", "page": 2}}`:              {"blog:post", values},
		`["blog:post", {"slug": "hello", "page": 2}]`:                                {"blog:post", values},
		" \n[\"blog:post\",\t{\"slug\": \"hello\", \"page\": 2}]":                    {"blog:post", values},
		`{"name": "blog:post", "kwargs": {"slug": "hello"}, "query": {"page": 2}}`:   {"blog:post", values},
		`{"name": "blog:post", "kwargs": {"slug": "hello", "page": 2}, "query": {}}`: {"blog:post", values},
		`{"name": "blog:post", "query": {"slug": "hello", "page": 2}}`:               {"blog:post", values},
		// What is the path's is not the query's.
		`{"name": "blog:post", "kwargs": {"slug": "hello", "page": 2}, "query": {"page": 3}}`:                        {"blog:post", values},
		`{"name": "blog:post", "values": {"page": 2}, "kwargs": {"slug": "hello", "page": 3}, "query": {"page": 4}}`: {"blog:post", values},

		`{"name": "index"}`:                                {"index", nil},
		`{"name": "index", "values": null}`:                {"index", nil},
		`{"name": "index", "kwargs": null, "query": null}`: {"index", nil},
		`["index", null]`:                                  {"index", nil},
		`["index", {}]`:                                    {"index", map[string]any{}},
		`{"name": "index", "anchor": "later"}`:             {"index", nil},
		`{"name": "nested", "values": {"list": [1, "a", null, {"b": true}]}}`: {"nested", map[string]any{
			"list": []any{json.Number("1"), "a", nil, map[string]any{"b": true}},
		}},
	} {
		var got wsgiparty.URLRequest
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Errorf("%s: %v", text, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, want %#v", text, got, want)
		}
	}
}

func TestAURLRequestIsTheSameAfterJSON(t *testing.T) {
	for _, want := range []struct {
		wsgiparty.URLRequest
		json string
	}{
		{wsgiparty.URLRequest{"index", nil}, `{"name":"index"}`},
		{wsgiparty.URLRequest{"größe:<b>", map[string]any{"Ü": "ß&"}}, `{"name":"größe:\u003cb\u003e","values":{"Ü":"ß\u0026"}}`},
		{wsgiparty.URLRequest{"post", map[string]any{"id": json.Number("12345678901234567890.50")}}, `{"name":"post","values":{"id":12345678901234567890.50}}`},
	} {
		encoded, err := json.Marshal(want.URLRequest)
		check.ErrorIf(t, err != nil || string(encoded) != want.json, "%s %v, want %s", encoded, err, want.json)
		got := wsgiparty.URLRequest{"old", map[string]any{"old": true}} // which is to go
		if err := json.Unmarshal(encoded, &got); err != nil || !reflect.DeepEqual(got, want.URLRequest) {
			t.Errorf("%#v %v, want %#v", got, err, want.URLRequest)
		}
	}
}

func TestNumbersInAURLRequestKeepTheirDigits(t *testing.T) {
	const number = "123456789012345678901234567890.120"
	for _, text := range []string{
		`{"name": "n", "values": {"id": ` + number + `}}`,
		`["n", {"id": ` + number + `}]`,
		`{"name": "n", "kwargs": {"id": ` + number + `}}`,
		`{"name": "n", "query": {"id": ` + number + `}}`,
	} {
		var r wsgiparty.URLRequest
		if err := json.Unmarshal([]byte(text), &r); err != nil || fmt.Sprint(r.Values["id"]) != number {
			t.Errorf("%s: %v %v", text, r, err)
		}
		r, err := wsgiparty.PayloadAs[wsgiparty.URLRequest](json.RawMessage(text))
		check.ErrorIf(t, err != nil || fmt.Sprint(r.Values["id"]) != number, "%s: %v %v", text, r, err)
	}
}

func TestWhatIsNoURLRequestSaysHowToWriteOne(t *testing.T) {
	for text, want := range map[string]string{
		`"index"`:                             `{"name": …, "values": {…}} or [name, values]: json: cannot unmarshal string`,
		`7`:                                   "cannot unmarshal number",
		`true`:                                "cannot unmarshal bool",
		`{"name": 7}`:                         "cannot unmarshal number into Go struct field .Name of type string",
		`{"name": "n", "values": []}`:         "cannot unmarshal array into Go struct field .Values of type map[string]interface {}",
		`{"name": "n", "kwargs": "k"}`:        "cannot unmarshal string into Go struct field .Kwargs of type map[string]interface {}",
		`{"name": "n", "query": 1}`:           "cannot unmarshal number into Go struct field .Query of type map[string]interface {}",
		`[7, {}]`:                             "cannot unmarshal number into Go value of type string",
		`["n", "v"]`:                          "cannot unmarshal string into Go value of type map[string]interface {}",
		`["n", ["v"]]`:                        "cannot unmarshal array into Go value of type map[string]interface {}",
		`[]`:                                  "[name, values], not with a list of 0",
		`["n"]`:                               "[name, values], not with a list of 1",
		`["n", {}, {}]`:                       "[name, values], not with a list of 3",
		`{"name": "n", "values": {"a": {}}]}`: "invalid character",
	} {
		r := wsgiparty.URLRequest{Name: "before"}
		if err := json.Unmarshal([]byte(text), &r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
		var payload any
		if json.Unmarshal([]byte(text), &payload) != nil {
			continue
		}
		_, err := wsgiparty.PayloadAs[wsgiparty.URLRequest](payload)
		check.ErrorIf(t, err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "party.URLRequest"), "PayloadAs of %s: %v, want %s", text, err, want)
	}
}

func TestPayloadsThatAreURLRequests(t *testing.T) {
	want := wsgiparty.URLRequest{"blog:post", map[string]any{"slug": "hello"}}
	for _, payload := range []any{
		want,
		&want,
		map[string]any{"name": "blog:post", "values": map[string]any{"slug": "hello"}},
		map[string]any{"name": "blog:post", "kwargs": map[string]string{"slug": "hello"}},
		[]any{"blog:post", map[string]any{"slug": "hello"}},
		[2]any{"blog:post", map[string]string{"slug": "hello"}},
		json.RawMessage(`["blog:post", {"slug": "hello"}]`),
	} {
		check.Deep(t, check.Value(wsgiparty.PayloadAs[wsgiparty.URLRequest](payload))(t), want, "%#v", payload)
	}
	// As it is: what is no JSON stays what it was.
	same := wsgiparty.URLRequest{"n", map[string]any{"id": int64(7), "f": func() {}}}
	got, err := wsgiparty.PayloadAs[wsgiparty.URLRequest](same)
	check.ErrorIf(t, err != nil || got.Values["id"] != int64(7) || got.Values["f"] == nil, "%#v %v", got, err)
}

// answering connects a guest that answers one ask after the other with these: an
// error fails, nil declines.
func answering(t testing.TB, o *wsgiparty.Operator, service string, answers ...any) {
	t.Helper()
	for _, answer := range answers {
		err := o.Connect(service, func(context.Context, any) (any, error) {
			switch answer := answer.(type) {
			case nil:
				return nil, wsgiparty.ErrHighAndDry
			case error:
				return nil, answer
			default:
				return answer, nil
			}
		})
		check.Must(t, err)
	}
}

func TestGuestsAreAskedForAURLWithAURLRequest(t *testing.T) {
	p := wsgiparty.NewPartyline("main", wsgiparty.Options{})
	var got any
	err := p.Operator("blog").Connect("url", func(_ context.Context, payload any) (any, error) {
		got = payload
		return "/blog/hello", nil
	})
	check.Must(t, err)
	values := map[string]any{"slug": "hello"}
	check.Equal(t, check.Value(wsgiparty.URLFor(context.Background(), p.Operator("shop"), "blog:post", values))(t), "/blog/hello")
	check.Deep(t, got, wsgiparty.URLRequest{"blog:post", values}, "asked with")
	if _, err := wsgiparty.URLFor(context.Background(), p.Operator("blog"), "blog:post", values); err != wsgiparty.ErrHighAndDry {
		t.Errorf("a guest asks itself: %v", err)
	}
}

// TestURLsLeadToTheSiteOrAnInvitesOrigin has a guest answer with whatever it likes.
func TestURLsLeadToTheSiteOrAnInvitesOrigin(t *testing.T) {
	var answer any
	partytest.App(t, "app", func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		operator, ok := wsgiparty.OperatorFrom(r)
		if !ok || operator.Guest() != "liar" {
			return nil
		}
		return operator.Connect(wsgiparty.URLService, func(context.Context, any) (any, error) { return answer, nil })
	})
	c := partytest.NewCaddy(t)
	c.Load(`ADDRESS {
		wsgi_party main {
			invite https://example.com/__invite__/ as liar
			invite http://Plain.example:8080/__invite__/ as plain
			invite http://eighty.example:80/__invite__/ as eighty
			invite https://[2001:DB8::1]:8443/__invite__/ as six
			invite /path/__invite__/
			test_app app
		}
		wsgi_party other {
			invite https://other.example/__invite__/
			test_app app
		}
	}`)
	for _, good := range []any{
		"/", "/blog/hello", "/?q=//evil.example", "/#//evil.example", "/a:b", "/javascript:alert(1)", "/a//b", "/..//evil.example",
		"/%5cevil.example", "/%2f/evil.example", "/@evil.example", "/größe",
		"https://example.com", "https://example.com/", "https://example.com/a?b=c&d#e", "https://example.com?q", "https://example.com#f",
		"https://example.com//evil.example", "https://example.com/@evil.example",
		"HTTPS://EXAMPLE.COM:443/x", "hTTps://eXample.com/x", "https://example.com:443",
		"http://plain.example:8080/x", "http://PLAIN.example:8080",
		"http://eighty.example/x", "http://eighty.example:80/x", "http://Eighty.Example:80",
		"https://[2001:db8::1]:8443/x",
		json.RawMessage(`"/from/json"`), json.RawMessage(`"https:\/\/example.com\/x"`),
	} {
		answer = good
		want, ok := good.(string)
		if raw, isJSON := good.(json.RawMessage); !ok && isJSON {
			check.Must(t, json.Unmarshal(raw, &want))
		}
		check.Equal(t, check.Value(wsgiparty.URLFor(context.Background(), operatorOf(c, "main"), "page", nil))(t), want, good)
	}
	for _, bad := range []any{
		"", " ", "x", "x/y", "./x", "../x", "?q", "#f", ".", ":", "x:y",
		"javascript:alert(1)", "JavaScript:alert(1)", "java\tscript:alert(1)", " javascript:alert(1)", "\x01javascript:alert(1)",
		"javascript://example.com/%0aalert(1)", "data:text/html,x", "vbscript:x", "mailto:a@example.com", "ftp://example.com/", "file:///etc/passwd",
		"about:blank", "blob:https://example.com/x", "view-source:https://example.com/", "ws://example.com/",
		"//evil.example", "//evil.example/x", "//example.com/", "//", "///evil.example", "////evil.example",
		`/\evil.example`, `\\evil.example`, `\/evil.example`, `/\/evil.example`, `\evil.example`, `/x\y`, `https:\\example.com`, `https://example.com\@evil.example`,
		"/\t/evil.example", "/\n/evil.example", "/\r/evil.example", "/\r\n/evil.example", "\t//evil.example", "/\x00/evil.example", "/x\x7f", "/x\x1f",
		" /x", "/x ", "/a b", " https://example.com/", "https://example.com/ ", "https://example.com/a b", "\u00a0/x", "\ufeff/x",
		"https://evil.example", "https://evil.example/", "https://evil.example/https://example.com/", "https://evil.example?https://example.com/", "https://evil.example#https://example.com/",
		"https://example.com@evil.example/", "https://example.com:443@evil.example/", "https://example.com%2f@evil.example/", "https://evil.example@example.com/", "https://@example.com/", "https://:@example.com/", "https://u:p@example.com/",
		"https://example.com.evil.example/", "https://example.community/", "https://evilexample.com/", "https://example.com./", "https://www.example.com/", "https://xexample.com/",
		"https:example.com", "https:/example.com", "https:///example.com", "https:", "https:/", "https://", "https:/x", "https:///", "https://:443/", "https:443",
		"http://example.com/", "http://example.com:443/", "https://example.com:80/", "https://example.com:444/", "https://example.com:8443/", "https://example.com:", "https://example.com:0443/",
		"https://plain.example:8080/", "http://plain.example/", "http://plain.example:80/", "http://plain.example:18080/",
		"https://eighty.example/", "https://eighty.example:80/", "http://eighty.example:443/",
		"https://[2001:db8::1]/", "https://[2001:db8::2]:8443/", "https://2001:db8::1:8443/", "https://[2001:db8::1%25x]:8443/",
		"https://other.example/", "https://localhost/", "https://127.0.0.1/",
		"https://ex%61mple.com/", "https://example%2ecom/", "https://example。com/", "http://plaİn.example:8080/", "http://pla%C4%B0n.example:8080/", "https://еxample.com/",
		"/%zz", "https://example.com/%zz", "https://example.com:x/", "https://exa mple.com/",
		nil, 7, true, []byte("/x"), []string{"/x"}, map[string]any{"url": "/x"}, &url.URL{Path: "/x"}, wsgiparty.URLRequest{Name: "/x"},
		json.RawMessage(`7`), json.RawMessage(`null`), json.RawMessage(`["/x"]`), json.RawMessage(`/x`), json.RawMessage(``),
		json.RawMessage(`"\/\/evil.example"`), json.RawMessage(`"javascript:alert(1)"`), json.RawMessage(`"\u002f\u005cevil.example"`),
	} {
		answer = bad
		got, err := wsgiparty.URLFor(context.Background(), operatorOf(c, "main"), "page", nil)
		handlerErr, ok := errors.AsType[*wsgiparty.HandlerError](err)
		check.ErrorIf(t, got != "" || !ok || handlerErr.Guest != "liar" || handlerErr.Service != "url" || !errors.Is(err, wsgiparty.ErrPartyline), "%q: %q %v", bad, got, err)
	}
	answer = "https://other.example/"
	if got, err := wsgiparty.URLFor(context.Background(), operatorOf(c, "other"), "page", nil); got != "" {
		t.Errorf("%q %v", got, err)
	}
}

func TestTheErrorSaysWhatIsWrongWithAURL(t *testing.T) {
	for answer, want := range map[any]string{
		"javascript:alert(1)":  `guest "liar" failed to answer "url": the URL "javascript:alert(1)" is neither a path beginning with one slash, nor does it begin with the scheme and host of an invite to party "main"`,
		"//evil.example":       `the URL "//evil.example" is neither`,
		"/\t/evil.example":     `the URL "/\t/evil.example" has a '\t', which is to be escaped`,
		`/\evil.example`:       `the URL "/\\evil.example" has a '\\', which is to be escaped`,
		"https://evil.example": `the URL "https://evil.example" is neither`,
		"":                     `the URL "" is neither`,
		7:                      "the answer is a int, not a string",
		"/%zz":                 `invalid URL escape "%zz"`,
	} {
		p := wsgiparty.NewPartyline("main", wsgiparty.Options{})
		answering(t, p.Operator("liar"), wsgiparty.URLService, answer)
		if _, err := wsgiparty.URLFor(context.Background(), p.Operator(""), "page", nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", answer, err, want)
		}
	}
}

func TestAPartylineWithoutInvitesTakesPathsOnly(t *testing.T) {
	for answer, ok := range map[string]bool{"/x": true, "https://example.com/": false, "http://localhost/": false, "": false, "//x": false} {
		p := wsgiparty.NewPartyline("main", wsgiparty.Options{})
		answering(t, p.Operator("guest"), wsgiparty.URLService, answer)
		url, err := wsgiparty.URLFor(context.Background(), p.Operator(""), "page", nil)
		check.ErrorIf(t, (err == nil) != ok || ok && url != answer, "%q: %q %v", answer, url, err)
	}
}

func TestTheFirstGoodURLIsTaken(t *testing.T) {
	p := wsgiparty.NewPartyline("main", wsgiparty.Options{})
	answering(t, p.Operator("one"), wsgiparty.URLService, nil, "javascript:alert(1)", errors.New("broken"))
	answering(t, p.Operator("two"), wsgiparty.URLService, 7, "/good", "/better")
	asked := false
	check.Must(t, p.Operator("three").Connect(wsgiparty.URLService, func(context.Context, any) (any, error) { asked = true; return "/", nil }))
	url, err := wsgiparty.URLFor(context.Background(), p.Operator(""), "page", nil)
	check.ErrorIf(t, url != "/good" || err != nil || asked, "%q %v, and others were asked: %v", url, err, asked)
}

func TestWhatURLForReturnsWithoutAURL(t *testing.T) {
	broken, worse := errors.New("broken"), errors.New("worse")
	p := wsgiparty.NewPartyline("main", wsgiparty.Options{})
	if url, err := wsgiparty.URLFor(context.Background(), p.Operator(""), "page", nil); url != "" {
		t.Error(url)
	} else if missing, ok := errors.AsType[*wsgiparty.NoSuchServiceError](err); !ok || missing.Party != "main" || missing.Service != "url" {
		t.Error(err)
	}
	indifferent := wsgiparty.NewPartyline("main", wsgiparty.Options{IgnoreMissingServices: true})
	if url, err := wsgiparty.URLFor(context.Background(), indifferent.Operator(""), "page", nil); url != "" || err != wsgiparty.ErrHighAndDry {
		t.Errorf("%q %v", url, err)
	}
	answering(t, p.Operator("one"), wsgiparty.URLService, nil, nil)
	if url, err := wsgiparty.URLFor(context.Background(), p.Operator(""), "page", nil); url != "" || err != wsgiparty.ErrHighAndDry {
		t.Errorf("%q %v", url, err)
	}
	answering(t, p.Operator("two"), wsgiparty.URLService, broken, nil, "//evil.example", worse)
	url, err := wsgiparty.URLFor(context.Background(), p.Operator(""), "page", nil)
	check.ErrorIf(t, url != "" || !errors.Is(err, broken) || !errors.Is(err, worse) || !strings.Contains(err.Error(), "evil.example") || errors.Is(err, wsgiparty.ErrHighAndDry), "%q %v", url, err)
	lines := strings.Split(err.Error(), "\n")
	check.ErrorIf(t, len(lines) != 3 || strings.Count(err.Error(), `guest "two" failed to answer "url"`) != 3, "not each failure once: %v", err)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	answering(t, p.Operator("three"), wsgiparty.URLService, "/")
	if url, err := wsgiparty.URLFor(ctx, p.Operator(""), "page", nil); url != "" || !errors.Is(err, context.Canceled) {
		t.Errorf("%q %v", url, err)
	}
	if url, err := wsgiparty.URLFor(context.Background(), nil, "page", nil); url != "" || !errors.Is(err, wsgiparty.ErrPartyline) || !strings.Contains(err.Error(), "there is no operator") {
		t.Errorf("%q %v", url, err)
	}
}

// FuzzURLFor checks that no answer leads a browser away from the site and the
// origins of the invites.
func FuzzURLFor(f *testing.F) {
	e := new(party.Entry)
	e.Partyline = wsgiparty.NewPartyline("main", wsgiparty.Options{Owner: e})
	p := e.Partyline
	allowed := map[string]bool{"https://site.example": true}
	for _, origin := range []string{"https://kiosk.example", "http://plain.example:8080", "https://[2001:db8::1]"} {
		parsed := check.Value(url.Parse(origin))(f)
		e.AllowOrigin(parsed)
		allowed[origin] = true
	}
	for _, seed := range []string{
		"/", "/a/b?c#d", "//evil.example", `/\evil.example`, "/\t/evil.example", "/..//evil.example", "/.//evil.example", "javascript:alert(1)", "data:,x", "",
		"https://kiosk.example", "HTTPS://KIOSK.EXAMPLE:443/x", "https://kiosk.example:443@evil.example", "https://kiosk.example.evil.example/", "https:kiosk.example", "https:/kiosk.example", "https:///kiosk.example",
		"http://plain.example:8080/x", "http://plain.example:8080x", "https://[2001:db8::1]:443/", "https://[2001:db8::1%25x]/", "https://ki%6fsk.example/", "https://kİosk.example/", "https://k%C4%B0osk.example/", "https://\u212aiosk.example/", "https://site.example/", "http:/x", "?q", "#f",
	} {
		f.Add(seed)
	}
	base := check.Value(url.Parse("https://site.example/base/"))(f)
	f.Fuzz(func(t *testing.T, answer string) {
		text, err := party.Linkable(p, answer)
		if err != nil {
			check.Equal(t, text, "", "%q is refused", answer)
			return
		}
		check.Equal(t, text, answer, "became")
		resolved := check.Value(base.Parse(text))(t)
		if origin := plainOrigin(resolved.Scheme, resolved.Host); !allowed[origin] || resolved.User != nil {
			t.Errorf("%q leads to %s (%s)", text, resolved, origin)
		}
		if origin := browsersOrigin("https", "site.example", text); !allowed[origin] {
			t.Errorf("%q leads a browser to %s", text, origin)
		}
	})
}

// plainOrigin folds ASCII only: two hosts that are the same in another way still
// are not what was configured.
func plainOrigin(scheme, host string) string {
	lower := func(s string) string {
		return strings.Map(func(r rune) rune {
			if 'A' <= r && r <= 'Z' {
				return r + 'a' - 'A'
			}
			return r
		}, s)
	}
	scheme, host = lower(scheme), lower(host)
	return scheme + "://" + strings.TrimSuffix(host, map[string]string{"http": ":80", "https": ":443"}[scheme])
}

var schemeOfURL = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*):(.*)$`)

// browsersOrigin reads a reference as the URL standard does (url.spec.whatwg.org),
// as far as the origin depends on it.
func browsersOrigin(scheme, host, reference string) string {
	reference = strings.TrimFunc(reference, func(r rune) bool { return r <= ' ' })
	reference = strings.NewReplacer("\t", "", "\r", "", "\n", "", `\`, "/").Replace(reference)
	authority := func(rest string) string {
		rest = strings.TrimLeft(rest, "/")
		if i := strings.IndexAny(rest, "/?#"); i >= 0 {
			rest = rest[:i]
		}
		return rest[strings.LastIndex(rest, "@")+1:]
	}
	if match := schemeOfURL.FindStringSubmatch(reference); match != nil {
		given := strings.ToLower(match[1])
		if given != "http" && given != "https" {
			return given + ":"
		}
		if given != scheme || strings.HasPrefix(match[2], "//") {
			return plainOrigin(given, authority(match[2]))
		}
		reference = match[2]
	}
	if strings.HasPrefix(reference, "//") {
		return plainOrigin(scheme, authority(reference))
	}
	return plainOrigin(scheme, host)
}

func TestHowABrowserReadsAReference(t *testing.T) {
	for reference, want := range map[string]string{
		"/x": "https://site.example", "x": "https://site.example", "https:/x": "https://site.example", "": "https://site.example",
		"//evil": "https://evil", `/\evil`: "https://evil", `\\evil`: "https://evil", "/\t/evil": "https://evil", " //evil": "https://evil",
		"http:/evil": "http://evil", "http:evil": "http://evil", "https:///evil": "https://evil", "HTTPS://EVIL:443": "https://evil",
		"https://a@evil": "https://evil", "javascript:x": "javascript:", "java\nscript:x": "javascript:",
	} {
		check.Equal(t, browsersOrigin("https", "site.example", reference), want, reference)
	}
}

func TestPrefixesThatAreNoneAreRefused(t *testing.T) {
	for prefix, want := range map[string]string{
		"/caf%C3%A9": "has a %: write the path unescaped, such as /café", "/100%": "has a %",
		"/": "with a slash at its beginning and none at its end", "apps": "with a slash", "/apps/": "none at its end", "//x": "with a slash", "/a/../b": "with a slash", "/a?b": "with a slash",
		`/a\\b`:                  "backslash",
		"{env.HOME}":             "write a path, such as /apps, or a header that a trusted proxy sets, such as {http.request.header.X-Forwarded-Prefix}",
		"{http.request.header.}": "write a path", "{http.request.header.a b}": "write a path", "/x{http.request.header.X}": "write a path", "{http.request.header.X}/y": "write a path", "{path}": "write a path",
	} {
		_, _, err := partytest.AdaptCaddyfile("http://localhost {\nwsgi_party {\nprefix \"" + prefix + "\"\n}\n}")
		check.ErrorIf(t, err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Caddyfile:3"), "%s: %v, want %s", prefix, err, want)
		encoded, _ := json.Marshal(strings.ReplaceAll(prefix, `\\`, `\`))
		c := partytest.NewCaddy(t)
		config := strings.Replace(string(c.Adapt("ADDRESS {\nwsgi_party main\n}")), `"handler":"wsgi_party"`, `"handler":"wsgi_party","prefix":`+string(encoded), 1)
		if err := caddy.Load([]byte(config), true); err == nil || prefix != "{path}" && !strings.Contains(err.Error(), want) {
			t.Errorf("%s in JSON: %v, want %s", prefix, err, want)
		}
	}
}

// prefixTest is a party whose prefix each request has, and whose applications say what
// prefix they were sent.
type prefixTest struct {
	*partytest.Caddy
	one, two *partytest.Application
	key      string

	mu   sync.Mutex
	sent []string
}

// newPrefixTest has the prefix in that header, and trusts proxies at that address.
func newPrefixTest(t *testing.T, prefix, trusted string) *prefixTest {
	t.Helper()
	c := &prefixTest{Caddy: partytest.NewCaddy(t), key: partytest.Key(t, "asker")}
	note := func(a *partytest.Application, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		mount := r.Header.Get("X-Forwarded-Prefix")
		if text := r.Header.Get("Party-Token"); text != "" {
			token, err := partytest.Keys(t, a.Key).Verify(a.Name, text, time.Now())
			if err != nil || token.Mount != mount || token.URI != mount+r.URL.RequestURI() {
				t.Errorf("%s was sent %+v, %v", mount+r.URL.RequestURI(), token, err)
			}
		}
		c.sent = append(c.sent, mount)
	}
	c.one = c.Caddy.NewGuest("one", func(a *partytest.Application, r *http.Request, service string) partytest.Reply {
		note(a, r)
		if service != "ask" {
			return partytest.Answer(200, "x")
		}
		response, err := c.TryAsk(r.Context(), partytest.Asking{Key: a.Key, Path: "/url?first", Body: `{"name": "two:page"}`,
			Header: http.Header{"Party-Token": r.Header["Party-Token"], "X-Forwarded-Prefix": r.Header["X-Forwarded-Prefix"]}})
		var got wire.Asked
		if err != nil || json.Unmarshal([]byte(response.Body), &got) != nil || len(got.Answers) != 1 {
			return partytest.Answer(500, response.Body)
		}
		return partytest.Answer(200, got.Answers[0])
	})
	c.two = c.Caddy.NewGuest("two", func(a *partytest.Application, r *http.Request, service string) partytest.Reply {
		note(a, r)
		return partytest.Answer(200, "by-href")
	})
	partytest.TemplateApp(t)
	partytest.App(t, "go", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		if i, ok := wsgiparty.InvitationFrom(r); ok {
			return i.Operator.Connect("url", func(ctx context.Context, payload any) (any, error) {
				if payload.(wsgiparty.URLRequest).Name != "go:page" {
					return nil, wsgiparty.ErrHighAndDry
				}
				return i.PrefixFor(ctx) + "/go/page", nil
			})
		}
		operator, _ := wsgiparty.Lookup("main")
		link, err := wsgiparty.URLFor(r.Context(), operator, r.URL.Query().Get("name"), nil)
		_, _ = io.WriteString(w, link)
		return err
	})
	const templates = "templates {\nextensions {\nwsgi_party\n}\n}\n"
	servers := ""
	if trusted != "" {
		servers = "\nservers {\ntrusted_proxies static " + trusted + "\n}"
	}
	config := strings.Replace(partytest.GlobalOptions, "\tadmin off", "\tadmin off"+servers, 1) + `
	http://` + c.Address + ` {
		wsgi_party main {
			prefix ` + prefix + `
			` + partytest.Asker + c.one.Directives("ask", "url") + strings.Replace(c.two.Directives("remote"), "timeout", "url page /pages/{x}\nurl two:page /page\ntimeout", 1) + `
			invite /go/__invite__/ /constant/__invite__/
			handle /go/* {
				test_app go
			}
			handle_path /constant/* {
				wsgi_party_guest {
					answer url there
				}
				` + templates + `
				test_app template
			}
			handle /page {
				` + templates + `
				test_app template
			}
		}
	}
	http://` + c.Endpoint + ` {
		wsgi_party_ask main
	}`
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), nil)
	check.Must(t, err)
	check.Must(t, caddy.Load(adapted, true))
	return c
}

// visit returns the page that a visitor with these headers gets.
func (c *prefixTest) visit(path string, header http.Header) string {
	c.Helper()
	status, body := c.Do("GET", path, "", header)
	if status != http.StatusOK {
		c.Errorf("%s: %d %s%s", path, status, body, partytest.LastHTTPError(c))
	}
	return body
}

// lastSent returns the prefix that an application was sent last.
func (c *prefixTest) lastSent() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent[len(c.sent)-1]
}

// expectPrefix expects all that is made for a request with these headers to have that
// prefix.
func (c *prefixTest) expectPrefix(header http.Header, prefix string) {
	c.Helper()
	for path, want := range map[string]string{
		partytest.Page(`{{urlFor . "two:page"}} {{maybeURL . "page" "x" "1"}}`):                                                            "P/two/page P/one/x",
		partytest.Page(`{{range askReplies . "url" (dict "name" "page" "values" (dict "x" 1))}}{{.guest}} {{.mount}} {{.answer}},{{end}}`): "one P/one P/one/x,two P/two P/two/pages/1,go P/go <no value>,constant P/constant P/constant/there,",
		partytest.Page(`{{(askFirst . "ask")}}`):                                                                                           "P/two/page",
		partytest.Page(`{{urlFor "two:page"}}`):                                                                                            "/two/page", // for no request
		strings.Replace(partytest.Page(`{{urlFor . "two:page"}} {{urlFor . "go:page"}}`), "/page", "/constant/page", 1):                    "P/two/page P/go/page",
		"/go/?name=two:page":      "P/two/page",
		"/go/?name=constant:page": "P/constant/there",
	} {
		want = strings.ReplaceAll(want, "P/", prefix+"/")
		check.Equal(c, c.visit(path, header), want, "%v: %s", header, path)
	}
	for path, want := range map[string]string{partytest.Page(`{{askFirst . "remote"}}`): "/two", "/one/": "/one", "/two/x": "/two"} {
		if c.visit(path, header); c.lastSent() != prefix+want {
			c.Errorf("%v: %s: the application was sent %s, want %s", header, path, c.lastSent(), prefix+want)
		}
	}
}

func TestAPrefixMayBeThatOfEachRequest(t *testing.T) {
	c := newPrefixTest(t, "{http.request.header.X-Forwarded-Prefix}", "127.0.0.1")
	for value, prefix := range map[string]string{
		"/pre": "/pre", "/a/b-c": "/a/b-c", "/api/hassio_ingress/x~1": "/api/hassio_ingress/x~1", "/caf%C3%A9": "/caf%C3%A9", "/a%20b": "/a%20b",
		"": "", "/": "", "pre": "", "/pre/": "", "//evil.example": "", "/a/../b": "", "/a/%2e%2e/b": "", `/\evil.example`: "", "https://evil.example": "", "/a?b": "", "/a#b": "", "/%2525": "", "/a%2": "",
		"/a, /b": "", "/" + strings.Repeat("x", 2000): "", "/a\x01b": "", "/%0a": "", `/"><script>`: "/%22%3E%3Cscript%3E",
	} {
		if strings.Contains(value, "\x01") {
			continue // net/http sends none such
		}
		c.expectPrefix(http.Header{"X-Forwarded-Prefix": {value}}, prefix)
	}
	c.expectPrefix(nil, "")
	entries := partytest.LogEntries(t, "a request's prefix does not count")
	check.ErrorIf(t, len(entries) != 1 || !strings.Contains(fmt.Sprint(entries[0]["hint"]), "trusted_proxies"), entries)
	// For nobody's request there is none.
	check.Equal(t, check.Value(wsgiparty.URLFor(t.Context(), operatorOf(c, "main"), "two:page", nil))(t), "/two/page")
}

func TestThePrefixOfWhoIsNoTrustedProxyIsNone(t *testing.T) {
	for _, trusted := range []string{"", "192.0.2.0/24 10.0.0.1"} {
		c := newPrefixTest(t, "{header.X-Forwarded-Prefix}", trusted)
		c.expectPrefix(http.Header{"X-Forwarded-Prefix": {"/pre"}}, "")
		entries := partytest.LogEntries(t, "a request's prefix does not count")
		if len(entries) != 1 || entries[0]["header"] != "X-Forwarded-Prefix" || entries[0]["value"] != "/pre" || !strings.Contains(fmt.Sprint(entries[0]["error"]), "did not come through one of the server's trusted_proxies") {
			t.Error(entries)
		}
	}
}

func TestThePrefixMayBeInAnotherHeader(t *testing.T) {
	c := newPrefixTest(t, "{header.x-ingress-path}", "127.0.0.1")
	c.expectPrefix(http.Header{"X-Ingress-Path": {"/ingress"}, "X-Forwarded-Prefix": {"/other"}}, "/ingress")
	c.expectPrefix(http.Header{"X-Forwarded-Prefix": {"/other"}}, "")
}

// TestAGuestsAskHasThePrefixThatItHandsBack asks from outside.
func TestAGuestsAskHasThePrefixThatItHandsBack(t *testing.T) {
	c := newPrefixTest(t, "{http.request.header.X-Forwarded-Prefix}", "127.0.0.1")
	for value, prefix := range map[string]string{
		"/pre/asker": "/pre", "/caf%C3%A9/asker": "/caf%C3%A9", "/asker": "", "": "", "/pre": "", "/pre/one": "", "asker": "", "/preasker": "", "/a/../b/asker": "", "//evil.example/asker": "", "/pre/asker/": "",
	} {
		header := http.Header{"X-Forwarded-Prefix": {value}}
		want := fmt.Sprintf(`{"answers": [%q], "replies": [{"guest": "two", "mount": %q, "status": "answered"}]}`, prefix+"/two/page", prefix+"/two")
		c.ExpectAsk(partytest.Asking{Key: c.key, Path: "/url", Body: `{"name": "two:page"}`, Header: header}, want)
		c.ExpectAsk(partytest.Asking{Key: c.key, Path: "/", Body: `[{"service": "url", "payload": {"name": "two:page"}}]`, Header: header}, "["+want+"]")
		c.ExpectAsk(partytest.Asking{Key: c.key, Path: "/remote", Header: header}, fmt.Sprintf(`{"answers": ["by-href"], "replies": [{"guest": "two", "mount": %q, "status": "answered"}]}`, prefix+"/two"))
		check.Equal(t, c.lastSent(), prefix+"/two", "%s: the application was sent", value)
	}
}

// TestAStaticPrefixIsNobodyElses has requests say another one.
func TestAStaticPrefixIsNobodyElses(t *testing.T) {
	c := newPrefixTest(t, "/static", "127.0.0.1")
	check.Equal(t, c.visit(partytest.Page(`{{urlFor . "two:page"}} {{urlFor "two:page"}}`), http.Header{"X-Forwarded-Prefix": {"/pre"}}), "/static/two/page /static/two/page")
	if c.visit("/two/x", http.Header{"X-Forwarded-Prefix": {"/pre"}}); c.lastSent() != "/static/two" {
		t.Error(c.lastSent())
	}
}
