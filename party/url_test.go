// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
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
		check.Nil(t, json.Unmarshal([]byte(text), &got))
		check.Deep(t, got, want, text)
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
		encoded := check.Value(json.Marshal(want.URLRequest))(t)
		check.Equal(t, string(encoded), want.json)
		got := wsgiparty.URLRequest{"old", map[string]any{"old": true}} // which is to go
		check.Nil(t, json.Unmarshal(encoded, &got))
		check.Deep(t, got, want.URLRequest)
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
		check.Nil(t, json.Unmarshal([]byte(text), &r))
		check.Equal(t, fmt.Sprint(r.Values["id"]), number, text)
		r = check.Value(wsgiparty.PayloadAs[wsgiparty.URLRequest](json.RawMessage(text)))(t)
		check.Equal(t, fmt.Sprint(r.Values["id"]), number, text)
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
		check.Fails(t, json.Unmarshal([]byte(text), &wsgiparty.URLRequest{Name: "before"}), want)
		var payload any
		if json.Unmarshal([]byte(text), &payload) == nil {
			_, err := wsgiparty.PayloadAs[wsgiparty.URLRequest](payload)
			check.Fails(t, err, want, "party.URLRequest")
		}
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
	// As it is: what is not JSON stays what it was.
	same := wsgiparty.URLRequest{"n", map[string]any{"id": int64(7), "f": func() {}}}
	got := check.Value(wsgiparty.PayloadAs[wsgiparty.URLRequest](same))(t)
	check.ErrorIf(t, got.Values["id"] != int64(7) || got.Values["f"] == nil, "%#v", got)
}

// linking connects a guest that answers where its pages are with one of these after the
// other: an error fails, nil declines.
func linking(t testing.TB, o *wsgiparty.Operator, answers ...any) {
	t.Helper()
	for _, answer := range answers {
		partytest.Connect(t, o, wsgiparty.URLService, func(context.Context, any) (any, error) {
			switch answer := answer.(type) {
			case nil:
				return nil, wsgiparty.ErrHighAndDry
			case error:
				return nil, answer
			default:
				return answer, nil
			}
		})
	}
}

// page asks for the URL of a page.
func page(o *wsgiparty.Operator) (string, error) {
	return wsgiparty.URLFor(context.Background(), o, "page", nil)
}

func TestGuestsAreAskedForAURLWithAURLRequest(t *testing.T) {
	p := wsgiparty.NewPartyline("main", wsgiparty.Options{})
	var got any
	check.Must(t, p.Operator("blog").Connect("url", func(_ context.Context, payload any) (any, error) { got = payload; return "/blog/hello", nil }))
	values := map[string]any{"slug": "hello"}
	check.Equal(t, check.Value(wsgiparty.URLFor(context.Background(), p.Operator("shop"), "blog:post", values))(t), "/blog/hello")
	check.Deep(t, got, wsgiparty.URLRequest{"blog:post", values}, "asked with")
	_, err := page(p.Operator("blog"))
	check.Equal(t, err, wsgiparty.ErrHighAndDry, "asking itself")
}

// TestURLsLeadToTheSiteOrAnInvitesOrigin has a guest answer with whatever it likes.
func TestURLsLeadToTheSiteOrAnInvitesOrigin(t *testing.T) {
	var answer any
	onInvite(t, "app", func(i *wsgiparty.Invitation, _ *http.Request) error {
		if i.Operator.Guest() != "liar" {
			return nil
		}
		return i.Operator.Connect(wsgiparty.URLService, func(context.Context, any) (any, error) { return answer, nil })
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
		check.Equal(t, check.Value(page(operatorOf(c, "main")))(t), want, good)
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
		got, err := page(operatorOf(c, "main"))
		handlerErr, ok := errors.AsType[*wsgiparty.HandlerError](err)
		check.ErrorIf(t, got != "" || !ok || handlerErr.Guest != "liar" || handlerErr.Service != "url" || !errors.Is(err, wsgiparty.ErrPartyline), "%q: %q %v", bad, got, err)
	}
	answer = "https://other.example/"
	got, err := page(operatorOf(c, "other"))
	check.ErrorIf(t, got != "", "%q %v", got, err)
}

func TestTheErrorSaysWhatIsWrongWithAURL(t *testing.T) {
	for answer, want := range map[any]string{
		"javascript:alert(1)":  `guest "liar" failed to answer "url": the URL "javascript:alert(1)" begins neither with exactly one slash nor with the scheme and host of an invite to party "main"`,
		"//evil.example":       `the URL "//evil.example" begins neither`,
		"/\t/evil.example":     `the URL "/\t/evil.example" has a '\t', which must be escaped`,
		`/\evil.example`:       `the URL "/\\evil.example" has a '\\', which must be escaped`,
		"https://evil.example": `the URL "https://evil.example" begins neither`,
		"":                     `the URL "" begins neither`,
		7:                      "the answer is a int, not a string",
		"/%zz":                 `invalid URL escape "%zz"`,
	} {
		p := wsgiparty.NewPartyline("main", wsgiparty.Options{})
		linking(t, p.Operator("liar"), answer)
		_, err := page(p.Operator(""))
		check.Fails(t, err, want)
	}
}

func TestAPartylineWithoutInvitesTakesPathsOnly(t *testing.T) {
	for answer, ok := range map[string]bool{"/x": true, "https://example.com/": false, "http://localhost/": false, "": false, "//x": false} {
		p := wsgiparty.NewPartyline("main", wsgiparty.Options{})
		linking(t, p.Operator("guest"), answer)
		url, err := page(p.Operator(""))
		check.ErrorIf(t, (err == nil) != ok || ok && url != answer, "%q: %q %v", answer, url, err)
	}
}

func TestTheFirstGoodURLIsTaken(t *testing.T) {
	p := wsgiparty.NewPartyline("main", wsgiparty.Options{})
	linking(t, p.Operator("one"), nil, "javascript:alert(1)", errors.New("broken"))
	linking(t, p.Operator("two"), 7, "/good", "/better")
	asked := false
	check.Must(t, p.Operator("three").Connect(wsgiparty.URLService, func(context.Context, any) (any, error) { asked = true; return "/", nil }))
	url, err := page(p.Operator(""))
	check.ErrorIf(t, url != "/good" || err != nil || asked, "%q %v, and others were asked: %v", url, err, asked)
}

func TestWhatURLForReturnsWithoutAURL(t *testing.T) {
	broken, worse := errors.New("broken"), errors.New("worse")
	p := wsgiparty.NewPartyline("main", wsgiparty.Options{})
	without := func(ctx context.Context, o *wsgiparty.Operator) error {
		url, err := wsgiparty.URLFor(ctx, o, "page", nil)
		check.Equal(t, url, "", "%v", err)
		return err
	}
	missing, ok := errors.AsType[*wsgiparty.NoSuchServiceError](without(t.Context(), p.Operator("")))
	check.ErrorIf(t, !ok || missing.Party != "main" || missing.Service != "url", "%v", missing)
	indifferent := wsgiparty.NewPartyline("main", wsgiparty.Options{IgnoreMissingServices: true})
	check.Equal(t, without(t.Context(), indifferent.Operator("")), wsgiparty.ErrHighAndDry)
	linking(t, p.Operator("one"), nil, nil)
	check.Equal(t, without(t.Context(), p.Operator("")), wsgiparty.ErrHighAndDry)
	linking(t, p.Operator("two"), broken, nil, "//evil.example", worse)
	err := without(t.Context(), p.Operator(""))
	check.ErrorIf(t, !errors.Is(err, broken) || !errors.Is(err, worse) || errors.Is(err, wsgiparty.ErrHighAndDry), err)
	check.Has(t, err.Error(), "evil.example")
	check.ErrorIf(t, strings.Count(err.Error(), "\n") != 2 || strings.Count(err.Error(), `guest "two" failed to answer "url"`) != 3, "not each failure once: %v", err)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	linking(t, p.Operator("three"), "/")
	err = without(ctx, p.Operator(""))
	check.ErrorIf(t, !errors.Is(err, context.Canceled), err)
	err = without(t.Context(), nil)
	check.Fails(t, err, "there is no operator")
	check.ErrorIf(t, !errors.Is(err, wsgiparty.ErrPartyline), err)
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
