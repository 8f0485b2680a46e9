// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// fromEn rewrites paths below /en to those without it.
const fromEn = "@en path_regexp en ^/en(/.*)$\nrewrite @en {re.en.1}\n"

// TestPrivatePathsAreNotReachedByADetour has rewrites inside the party, behind its
// entrance. Each path has PRIVATE where the private segment is: with another one there,
// the application is reached.
func TestPrivatePathsAreNotReachedByADetour(t *testing.T) {
	const (
		lax   = "@lax path_regexp lax ^/lax/(.*)$\nrewrite @lax /blog/{re.lax.1}\n"
		query = "@go path /go\nrewrite @go {query.to}\n"
		blog  = "handle_path /blog/* {\nAPP\n}\n"
		whole = "handle /blog/* {\nAPP\n}\n"
	)
	for _, c := range []struct{ name, routes, paths string }{
		{"no rewrite", blog, "/blog/PRIVATE/ /blog/PRIVATE/render"},
		{"language prefix, stripped", fromEn + blog, "/en/blog/PRIVATE/ /en/blog/PRIVATE /en/blog/PRIVATE/render /en/blog/x%2F..%2FPRIVATE /en/blog/PRIVATE;x /en//blog/PRIVATE"},
		{"language prefix, not stripped", fromEn + whole, "/en/blog/PRIVATE/ /en/blog/PRIVATE.json /en/blog/PRIVATE%3Bx"},
		{"rewrite of what a regexp finds", lax + blog, "/lax/PRIVATE/ /lax/PRIVATE%2Frender /lax/PRIVATE%252Frender /lax/PRIVATE%2523x /lax/PRIVATE%253Fx /lax/PRIVATE%253Bx"},
		{"the same, not stripped", lax + whole, "/lax/PRIVATE/ /lax/PRIVATE%252Frender /lax/PRIVATE%23x /lax/PRIVATE%3Fx"},
		{"rewrite to a parameter", query + blog, "/go?to=/blog/PRIVATE/ /go?to=/blog/PRIVATE%2F /go?to=%2Fblog%2FPRIVATE%3Fx /go?to=/blog/PRIVATE%2523"},
		{"uri strip_prefix", "handle /v1/* {\nroute {\nuri strip_prefix /v1\nuri strip_prefix /blog\nAPP\n}\n}\nhandle /blog/* {\nroute {\nuri strip_prefix /blog\nPROXY\n}\n}\n", "/v1/blog/PRIVATE/ /v1/PRIVATE/"},
		{"uri replace", "uri replace /- /\n" + blog, "/-blog/PRIVATE/ /blog/-PRIVATE/render"},
		{"uri strip_suffix", "uri strip_suffix .html\n" + blog, "/blog/PRIVATE.html /blog/PRIVATE/x.html"},
		{"handle_path with more", blog + "handle_path /old/* {\nhandle_path /blog/* {\nPROXY\n}\n}\n", "/old/blog/PRIVATE/"},
		{"rewrite *", "handle /blog/* {\nAPP\n}\nhandle {\nrewrite * /blog{path}\nPROXY\n}\n", "/PRIVATE/ /PRIVATE/render"},
	} {
		t.Run(c.name, func(t *testing.T) {
			partytest.Key(t, "detour")
			site := partytest.NewCaddy(t)
			a := partytest.NewApplication(t, `{"urls": {"home": "/blog/"}}`, partytest.Echo)
			app := "wsgi_party_guest {\nkey {env.detour_PARTY_KEY}\n}\nreverse_proxy " + a.Address()
			party := partytest.FreshParty()
			site.Site("wsgi_party " + party + " {\ninvite /blog/__invite__/\n" + strings.NewReplacer("APP", app, "PROXY", "wsgi_party_guest\nreverse_proxy "+a.Address()).Replace(c.routes) + "}")
			site.Connected(party, wsgiparty.URLService, "blog")
			for path := range strings.FieldsSeq(c.paths) {
				public := strings.ReplaceAll(path, "PRIVATE", "Post")
				status, body := site.Get(public)
				check.Equal(t, status, 200, "%s: body %q: it does not show whether a private path is reached", public, body)
				for _, private := range []string{"__invite__", "__INVITE__", "%5F_invite__", "%255F%255Finvite__", "__inv%2569te__", "__inv%252569te__"} {
					path := strings.ReplaceAll(path, "PRIVATE", private)
					for _, method := range []string{"GET", "POST"} {
						status, body := site.Do(method, path, "", nil)
						check.ErrorIf(t, status != 404 || body != "", "%s %s: status %d, body %q", method, path, status, body)
					}
				}
			}
			for _, r := range a.Requests() {
				check.Has(t, r.RequestURI, "Post", "the application was asked for")
			}
		})
	}
}

// TestPrivatePathsWithOddEndsAreNotReached needs no rewrite: applications unescape
// twice, and cut.
func TestPrivatePathsWithOddEndsAreNotReached(t *testing.T) {
	c := partytest.NewCaddy(t)
	a := partytest.NewApplication(t, `{"urls": {"home": "/blog/"}}`, partytest.Echo)
	party := partytest.FreshParty()
	c.Site("wsgi_party " + party + " {\ninvite /blog/__invite__/\n" + partytest.Mounted("blog", "", a) + "}")
	c.Connected(party, wsgiparty.URLService, "blog")
	for _, p := range []string{
		"/blog/%255F%255Finvite__/", "/blog/__inv%2569te__/", "/blog/__invite__%252f", "/blog/__invite__%2f", "/blog/__invite__%23", "/blog/__invite__%3f", "/blog/__invite__%00",
		"http:blog/__invite__/", "x:blog%2f__invite__", "/blog/__invite__%2523", "/blog/__invite__%253fx", "/blog/__invite__%2500.png", "/blog;%2Fx/__invite__/", "/blog%252f__invite__", "/blog%5C__invite__",
	} {
		response := c.Raw("GET " + p + " HTTP/1.1\r\nHost: " + c.Address + "\r\n\r\n")
		check.ErrorIf(t, response.Status != 404 || response.Body != "", "%s: status %d, body %q", p, response.Status, response.Body)
	}
	for _, p := range []string{"/blog/post%252f", "/blog/caf%C3%A9", "/blog/caf%25C3%25A9", "/blog/a%2Fb", "/blog/__invite", "/blog/100%25", "/blog/x%3f__invite__"} {
		c.Expect(p, 200, strings.TrimPrefix(p, "/blog"))
	}
}

// TestPrivatePathsThatARewriteLeadsToAreForDeliveries has the guest's own asks pass
// the rewrites that lead visitors nowhere, and those of others not.
func TestPrivatePathsThatARewriteLeadsToAreForDeliveries(t *testing.T) {
	partytest.Key(t, "one")
	partytest.Key(t, "two")
	c := partytest.NewCaddy(t)
	one := partytest.NewApplication(t, `{"services": {"own": {"href": "/__invite__/own"}, "render": {"href": "/__invite__/render"}}}`, partytest.JSON(`"one"`))
	two := partytest.NewApplication(t, `{"services": {"its": {"href": "/__invite__/its"}}}`, partytest.JSON(`"two"`))
	party := partytest.FreshParty()
	// Both handlers stand in front of one mount: what is one's passes the other's.
	c.Site("wsgi_party " + party + ` {
		invite /one/__invite__/ /shared/__invite__/
		invite /shared/two/__invite__/ as two
		` + fromEn + partytest.Mounted("one", "key {env.one_PARTY_KEY}\nservice detour /en/__invite__/x\nfetch_manifest on", one) + `
		handle_path /shared/* {
			wsgi_party_guest shared {
				answer shared yes
			}
			wsgi_party_guest two {
				key {env.two_PARTY_KEY}
				service mine /two/__invite__/mine
				service public /two/public
			}
			reverse_proxy ` + two.Address() + `
		}
	}`)
	c.Connected(party, "own", "one")
	c.ExpectJSONAnswers(party, "own", `"one"`)
	c.ExpectJSONAnswers(party, "mine", `"two"`)
	c.ExpectJSONAnswers(party, "public", `"two"`)
	for _, p := range []string{"/one/__invite__/own", "/en/one/__invite__/own", "/shared/two/__invite__/mine", "/en/shared/two/__invite__/mine", "/en/shared/__invite__/"} {
		c.Expect(p, 404, "")
	}
	c.Expect("/en/shared/two/public", 200, `"two"`)
}

// TestADeliveryDoesNotReachAnothersPrivatePath has a rewrite lead an ask of a guest to
// the private path of another.
func TestADeliveryDoesNotReachAnothersPrivatePath(t *testing.T) {
	c := partytest.NewCaddy(t)
	victim := partytest.NewApplication(t, `{"services": {"own": {"href": "/__invite__/own"}}}`, partytest.JSON(`"victim"`))
	party := partytest.FreshParty()
	c.Site("wsgi_party " + party + " {\ninvite /victim/__invite__/ /__invite__/\n" + fromEn + partytest.Mounted("victim", "", victim) +
		"handle {\nwsgi_party_guest {\nservice attack /en/victim/__invite__/own\nservice attack2 /victim/__invite__/own\n}\nrespond nobody\n}\n}")
	c.Connected(party, "own", "victim")
	c.ExpectJSONAnswers(party, "own", `"victim"`)
	seen := len(victim.Requests())
	for _, service := range []string{"attack", "attack2"} {
		check.Fails(t, c.Failure(party, service, nil), "misrouted")
	}
	check.Equal(t, len(victim.Requests()), seen, "requests of the victim")
}

// TestAGuestHandlerInNestedPartiesHidesThePathsOfBoth has a guest that the outer
// party invites in the routes of the inner one.
func TestAGuestHandlerInNestedPartiesHidesThePathsOfBoth(t *testing.T) {
	c := partytest.NewCaddy(t)
	a := partytest.NewApplication(t, "", partytest.Echo)
	outer, inner := partytest.FreshParty(), partytest.FreshParty()
	c.Site("wsgi_party " + outer + " {\ninvite /blog/__invite__/\nwsgi_party " + inner + " {\ninvite /blog/secret as inner\n" + fromEn +
		"handle_path /blog/* {\nwsgi_party_guest blog {\nanswer ping pong\n}\nreverse_proxy " + a.Address() + "\n}\n}\n}")
	c.ExpectJSONAnswers(outer, "ping", `"pong"`)
	for _, p := range []string{"/blog/__invite__/", "/en/blog/__invite__/x", "/blog/secret", "/en/blog/secret"} {
		c.Expect(p, 404, "")
	}
	c.Expect("/en/blog/x", 200, "/x")
}
