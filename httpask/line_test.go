// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpask_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

func versionOf(t testing.TB, r partytest.Response) string {
	t.Helper()
	version := r.Header.Get("Party-Line")
	check.FatalIf(t, r.Status != 200 || version == "", "%d %v", r.Status, r.Header)
	return version
}

// TestWhoIsThereHasAnETag asks again with it, before and after the line has changed, and in another config.
func TestWhoIsThereHasAnETag(t *testing.T) {
	c := partytest.NewCaddy(t)
	one := c.NewGuest("one", nil)
	c.Around(one.Directives("x"))
	get := func(known string) partytest.Response {
		return c.Ask(partytest.Asking{Method: "GET", Key: one.Key, Path: "/", Header: http.Header{"If-None-Match": {known}}})
	}
	first := get("")
	version := versionOf(t, first)
	check.Equal(t, first.Header.Get("ETag"), `"`+version+`"`)
	for _, known := range []string{`"` + version + `"`, `"other", W/"` + version + `"`, "*"} {
		r := get(known)
		check.ErrorIf(t, r.Status != 304 || r.Body != "" || r.Header.Get("ETag") != first.Header.Get("ETag"), "%s: %d %q %v", known, r.Status, r.Body, r.Header)
	}
	head := c.Ask(partytest.Asking{Method: "HEAD", Key: one.Key, Path: "/", Header: http.Header{"If-None-Match": {first.Header.Get("ETag")}}})
	check.ErrorIf(t, head.Status != 304 || head.Header.Get("Party-Line") != version, "HEAD: %d %v", head.Status, head.Header)
	for _, other := range []string{version, `"` + version, `"` + version + `0"`} {
		check.Equal(t, get(other).Status, 200, other)
	}
	check.Equal(t, versionOf(t, c.Ask(partytest.Asking{Key: one.Key, Path: "/x"})), version)
	check.Equal(t, versionOf(t, c.Ask(partytest.Asking{Key: one.Key, Path: "/", Body: `[]`})), version)

	guest := connectMain(t, "another", "y", func(context.Context, any) (any, error) { return 1, nil })
	joined := get(first.Header.Get("ETag"))
	check.ErrorIf(t, versionOf(t, joined) == version, "the same after a guest has joined")
	check.Has(t, joined.Body, `"another"`)
	guest.Leave()
	left := versionOf(t, get(joined.Header.Get("ETag")))
	check.ErrorIf(t, left == version || left == versionOf(t, joined), "the same after it has left")

	check.Must(t, caddy.Stop()) // or the config would be the same
	c.Around(one.Directives("x"))
	again := versionOf(t, get(first.Header.Get("ETag")))
	id := func(version string) string { return version[:strings.IndexByte(version, '.')] }
	check.ErrorIf(t, id(again) == id(version) || len(id(again)) < 16, "%s after %s", again, version)
	check.Equal(t, c.Ask(partytest.Asking{Method: "GET", Path: "/"}).Header.Get("Party-Line"), "", "for who has no key")
}

// TestPartyAskSaysTheLinesVersion has a guest read it with each request, under a MAC over the address, too.
func TestPartyAskSaysTheLinesVersion(t *testing.T) {
	c := partytest.NewCaddy(t)
	key := partytest.Key(t, "a")
	bKey := partytest.Key(t, "b")
	a := partytest.NewApplication(t, `{"urls": {"x": "/x"}, "services": {"gone": {"href": "/gone"}}}`, nil)
	a.On(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/gone" {
			w.WriteHeader(404)
		}
	})
	config := "wsgi_party main {\nask_on " + c.Endpoint + "\ninvite /a/__invite__/ /b/__invite__/\n" +
		partytest.Mounted("a", "key {env.a_PARTY_KEY}", a) + partytest.Mounted("b", "url y /y\nkey {env.b_PARTY_KEY}", a) + "}"
	c.Site(config)
	address, keys := "http://"+c.Endpoint+"/", partytest.Keys(t, key)
	told := func() string {
		c.Get("/a/page")
		header := a.Requests()[len(a.Requests())-1].Header.Get("Party-Ask")
		said, mac, _ := strings.Cut(header, "; mac=")
		rest, version, ok := strings.Cut(said, "; line=")
		check.ErrorIf(t, !ok || mac != keys.SignAddress(said) || rest != address, "%s", header)
		return version
	}
	asked := func() string {
		return versionOf(t, c.Ask(partytest.Asking{Key: key, Path: "/url", Body: `{"name": "y"}`}))
	}
	seen := make(map[string]bool)
	expectNew := func(after string) { // and the same each time it is said, when nothing changes any more
		t.Helper()
		var version string
		partytest.Eventually(t, "a version that was not there, after "+after, func() bool {
			version = told()
			return !seen[version] && told() == version && asked() == version
		})
		seen[version] = true
	}
	expectNew("the config has loaded")
	guest := connectMain(t, "go", "url", func(context.Context, any) (any, error) { return "/go", nil })
	expectNew("a guest has joined")
	connectMain(t, "go", "other", func(context.Context, any) (any, error) { return 1, nil })
	expectNew("it has connected something else")
	guest.Leave()
	expectNew("it has left")
	a.OnInvite(partytest.Manifest(`{"urls": {"x": "/moved"}, "services": {"gone": {"href": "/gone"}}}`))
	c.Ask(partytest.Asking{Key: bKey, Path: "/gone"}) // which the application answers with 404, so that its manifest is fetched
	expectNew("a new manifest")
	c.Site(config + "\n# other")
	expectNew("a reload")
}

// TestLinksThatLastSaySo asks for such as depend on nothing but the line, and for others.
func TestLinksThatLastSaySo(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, dynamic := c.NewGuest("one", nil), c.NewGuest("dynamic", func(*partytest.Application, *http.Request, string) partytest.Reply {
		return partytest.Answer(200, "/dynamic")
	})
	c.Around(one.Directives() + "invite /app/__invite__/ /constant/__invite__/\n" +
		partytest.Mounted("app", "url x /x/{id}", one) + partytest.Mounted("constant", "answer url /always", one) + dynamic.Directives("url"))
	lasts := func(name, values string, first bool) bool {
		t.Helper()
		path := "/url"
		if first {
			path += "?first"
		}
		body := `{"name": "` + name + `", "values": ` + values + `}`
		r := c.Ask(partytest.Asking{Key: one.Key, Path: path, Body: body})
		single := asked(t, r)[0].Lasting
		if first {
			r = c.Ask(partytest.Asking{Key: one.Key, Path: "/", Body: `[{"service": "url", "first": true, "payload": ` + body + `}]`})
			check.Equal(t, asked(t, r)[0].Lasting, single, "in a list: %s", r.Body)
		}
		return single
	}
	check.Equal(t, lasts("x", `{"id": 7}`, true), true, "the first, from a template")
	check.Equal(t, lasts("nobody's", `{}`, true), true, "the first, a constant behind who declines")
	check.Equal(t, lasts("x", `{"id": 7}`, false), false, "all, one of which is an application's")
	check.Equal(t, lasts("app:x", `{"id": 7}`, false), true, "of one guest, by its name")
	check.Equal(t, lasts("app:nobody's", `{}`, true), true, "that there is none")
	check.Equal(t, lasts("dynamic:x", `{}`, true), false, "of an application")
	check.Equal(t, lasts("app:x", `{"id": ".."}`, true), false, "a failure")
	c.ExpectAsk(partytest.Asking{Key: one.Key, Path: "/url?first", Body: `{"name": "app:x", "values": {"id": 1}}`},
		`{"answers": ["/app/x/1"], "replies": [{"guest": "app", "mount": "/app", "status": "answered"}], "lasting": true}`)
}

// TestLinksThatFollowClaimsLastWhereTheseDo has two guests answer for one page, the second of which claims it: by what
// its manifest says, or as its application says when it is asked.
func TestLinksThatFollowClaimsLastWhereTheseDo(t *testing.T) {
	for claim, lasting := range map[string]bool{"claim /x/": true, "service claims /claims": false, "claim /x/\nunavailable pass": false} {
		c := partytest.NewCaddy(t)
		one := c.NewGuest("one", func(*partytest.Application, *http.Request, string) partytest.Reply {
			return partytest.Answer(200, true)
		})
		c.Around(one.Directives() + "invite /old/__invite__/ /new/__invite__/\n" +
			partytest.Mounted("old", "url x /x/{id}", one) + partytest.Mounted("new", "url x /x/{id}\n"+claim, one))
		for range 2 {
			r := c.Ask(partytest.Asking{Key: one.Key, Path: "/url?first", Body: `{"name": "x", "values": {"id": 7}}`})
			check.Has(t, r.Body, `"answers":["/new/x/7"]`, claim)
			check.Equal(t, asked(t, r)[0].Lasting, lasting, "%s: %s", claim, r.Body)
		}
	}
}
