// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testbackend"
	"github.com/wsgiparty/wsgiparty/party"
)

// askClaim asks a guest alone whether it claims a request, such as "GET example.com/path?query". It returns
// by what, or why not in parentheses.
func (c *guestTest) askClaim(guest, request string) (string, error) {
	c.Helper()
	method, rest, _ := strings.Cut(request, " ")
	rest, query, _ := strings.Cut(rest, "?")
	slash := strings.IndexByte(rest, '/')
	claim := &party.Claim{ClaimRequest: party.ClaimRequest{Method: method, Host: rest[:slash], Path: rest[slash:], RawQuery: query}, Explain: true}
	answers, err := operatorOf(c, c.party).Only(guest).AskAround(c.Context(), party.ClaimsService, claim)
	if errors.As(err, new(*wsgiparty.NoSuchServiceError)) {
		return "(nobody)", nil
	}
	if len(answers) > 0 && strings.Trim(joinAnswers(answers), "true ") == "" {
		return claim.ClaimedBy(), err
	}
	check.Equal(c, joinAnswers(answers), "", "answers to %s", request)
	return "(" + strings.Join(claim.Reasons(), "; ") + ")", err
}

// expectClaims fails the test unless the guest claims requests by that, or not for a reason that
// has that in it.
func (c *guestTest) expectClaims(guest string, requests map[string]string) {
	c.Helper()
	for request, want := range requests {
		got, err := c.askClaim(guest, request)
		check.ErrorIf(c, err != nil || strings.HasPrefix(got, "(") != strings.HasPrefix(want, "(") || !strings.Contains(got, strings.Trim(want, "()")),
			"%s is claimed by %s, %v, want %s", request, got, err, want)
	}
}

// TestTheWaysToClaim has the same requests claimed in each way there is.
func TestTheWaysToClaim(t *testing.T) {
	httpguest.Waits{Apart: time.Millisecond}.Set(t)
	byPattern := map[string]string{
		"GET /reports":         "/reports/",
		"PUT /reports/x":       "/reports/",
		"HEAD /users/7":        "GET /users/{id}",
		"PUT /users/7":         "(none of its patterns matches)",
		"GET /reports/..//x":   "(none of its patterns)",
		"GET //reports/./":     "/reports/",
		"GET /x%2f../reports/": "/reports/",
		"GET /%72eports/":      "/reports/",
		"GET /Reports/":        "(none of its patterns)",
		"GET /post/a":          "(none of its patterns)",
	}
	byPage := map[string]string{
		"GET /post/a%2Fb":       "/post/{slug}{?page}",
		"DELETE /post/a?page=7": "/post/{slug}{?page}",
		"GET /post/":            "(none of its patterns matches, and none of its pages is there)",
		"GET /post/a/b":         "(none of its pages)",
		"GET /":                 "/",
		"GET /reports/":         "(none of its pages)",
	}
	both := map[string]string{"GET /reports/7": "/reports/", "GET /post/x": "/post/{slug}{?page}", "GET /x": "(none of its pages)"}
	const urls = `"urls": {"home": "/", "post": "/post/{slug}{?page}"}`
	for _, way := range []struct {
		manifest, options string
		want              map[string]string
	}{
		{`{"claims": ["/reports/", "GET /users/{id}"], ` + urls + `}`, "", byPattern},
		{`{"claims": "urls", ` + urls + `}`, "", byPage},
		{`{"claims": ["urls", "/reports/"], ` + urls + `}`, "", both},
		{`{` + urls + `}`, "claim /reports/ \"GET /users/{id}\"", byPattern},
		{`{` + urls + `, "claims": ["/x"]}`, "claim urls", byPage}, // what is declared wins
		{`{` + urls + `}`, "claim urls\nclaim /reports/", both},
		{``, "url home /\nurl post /post/{slug}{?page}\nclaim urls\nfetch_manifest off", byPage},
		{`{"services": {"claims": {"answer": true}}}`, "", map[string]string{"GET /x": "its answer true for everything"}},
		{`{"services": {"claims": {"answer": "true"}}}`, "", map[string]string{"GET /x": "()"}},
		{`{"services": {"claims": {"answer": true}}}`, "allow url", map[string]string{"GET /x": "(nobody)"}},
		{`{"services": {"claims": {"answer": true}}, "claims": ["/"]}`, "claim /reports/", map[string]string{"GET /x": "(none", "GET /reports/": "/reports/"}},
		{`{"services": {"x": {"answer": 1}}}`, "", map[string]string{"GET /x": "(nobody)"}},
	} {
		t.Run(way.manifest+way.options, func(t *testing.T) {
			c, b := newBlogTest(t)
			if way.manifest != "" {
				b.On("/__invite__/", manifestOf(way.manifest))
			}
			c.load(blogAt(b, way.options))
			wsgiparty.SendInvites(c.party, "blog")
			check.Equal(t, invitesOf(t, c.party, true)["blog"].Result, party.InviteJoined, "the application has")
			c.expectClaims("blog", way.want)
			_, err := c.askClaim("blog", "GET /%zz")
			check.ErrorIf(t, way.want["GET /reports"] != "" && err == nil, "a path that is none has no error")
			for _, r := range b.Requests("") {
				check.Equal(t, r.URI, "/__invite__/", "a request beside the invite's")
			}
		})
	}
}

// TestAManifestClaimsNothingOfOthers is for a guest whose paths begin at the root, where another's are below.
func TestAManifestClaimsNothingOfOthers(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"claims": ["/", "/shop/cart"], "urls": {"page": "/{a}/{b}"}, "services": {"claims": {"answer": true}}}`))
	two := "invite /__invite__/ as site\n" + guestAt("shop", b, "claim /", "fetch_manifest off") + "handle {\nwsgi_party_guest site {\n%s\n}\nreverse_proxy " + b.Upstream() + "\n}\n"
	c.load(fmt.Sprintf(two, ""))
	c.await("claims", "url")
	wanted := map[string]string{
		"GET /x":             "/",
		"GET /shopping":      "/",
		"GET /shop":          `(its manifest may not claim it: "/shop" is under /shop, which is guest "shop"'s)`,
		"GET /Shop/x":        `(is under /shop`,
		"GET /%73hop/x":      `(is under /shop`,
		"GET //shop;x=1/x":   `(is under /shop`,
		"GET /x%2f../shop/x": `(is under /shop`,
		"GET /shop/cart":     `(is under /shop`,
	}
	c.expectClaims("site", wanted)
	c.expectClaims("shop", map[string]string{"GET /x": "/"}) // of what is mounted
	warned := func() string {
		entries := partytest.LogEntries(t, "a guest claims what it may not claim")
		if len(entries) == 0 {
			return ""
		}
		return fmt.Sprint(entries[len(entries)-1]["hint"])
	}
	partytest.Eventually(t, "it is warned of", func() bool { return warned() != "" })
	check.Has(t, warned(), `the claim "/shop/cart" has no effect: "/shop/cart" is under /shop, which is guest "shop"'s; only the operator may claim that`)
	partytest.Eventually(t, "its invite says so", func() bool { // which is written when that is logged
		return strings.Contains(invitesOf(t, c.party, true)["site"].Hint, `the claim "/shop/cart" has no effect`)
	})

	c.load(fmt.Sprintf(two, "claim /shop/ urls\nfetch_manifest")) // the operator's word, but for the pages
	partytest.Eventually(t, "its pages are claimed", func() bool { got, _ := c.askClaim("site", "GET /x/y"); return got == "/{a}/{b}" })
	c.expectClaims("site", map[string]string{"GET /shop/x": "/shop/", "GET /x": "(none of its pages"})
	c.load(fmt.Sprintf(two, "claim urls\nurl cart /shop/{cart}/x\nfetch_manifest")) // also where it says itself where the pages are
	c.expectClaims("site", map[string]string{"GET /shop/1/x": "/shop/{cart}/x", "GET /shop/y": "(is under /shop"})
	c.load(fmt.Sprintf(two, "claim urls\nfetch_manifest"))
	partytest.Eventually(t, "its pages are claimed", func() bool { got, _ := c.askClaim("site", "GET /x/y"); return got == "/{a}/{b}" })
	c.expectClaims("site", map[string]string{"GET /shop/x": "(is under /shop"})
}

// TestClaimsOfHosts is for patterns with hosts, and for hosts.
func TestClaimsOfHosts(t *testing.T) {
	const claims = `{"claims": ["shop.example.com/", "other.example.net/", "GET /x"], "hosts": ["shop.example.com", "*.example.org", "other.example.net"]}`
	for _, declared := range []bool{false, true} {
		t.Run(fmt.Sprint(declared), func(t *testing.T) {
			c, b := newBlogTest(t)
			b.On("/__invite__/", manifestOf(claims))
			options := "host Shop.Example.com *.example.org other.example.net\nclaim shop.example.com/ other.example.net/ \"GET /x\""
			if !declared {
				options = ""
			}
			site := "http://shop.example.com:8000, http://a.example.org:8000 {\nrespond hi\n}\nADDRESS {\nwsgi_party " + c.party + " {\n" + blogAt(b, options) + "\n}\n}"
			site = strings.ReplaceAll(site, ":8000", c.Address[strings.LastIndexByte(c.Address, ':'):])
			c.Caddy.Load(strings.Replace(site, "ADDRESS {", "http://127.0.0.1"+c.Address[strings.LastIndexByte(c.Address, ':'):]+" {", 1))
			c.await("claims", "hosts")
			c.expectClaims("blog", map[string]string{
				"GET shop.example.com/y":  "shop.example.com/",
				"GET SHOP.example.com/y":  "shop.example.com/",
				"GET other.example.net/y": "(no site of this Caddy has its host, so patterns for that host claim nothing)",
				"GET other.example.net/x": "GET /x",
				"GET 127.0.0.1/x":         "GET /x",
				"GET /x":                  "GET /x",
				"PUT a.example.org/x":     "(none of its patterns",
			})
			for host, want := range map[string]string{
				"shop.example.com": "true", "a.example.org": "true", "b.example.org": "", "other.example.net": "", "127.0.0.1": "", "": "", "example.org": "",
			} {
				c.expectAsk("hosts", host, want)
			}
			_, err := c.ask("hosts", 7)
			check.Fails(t, err, "string")
			partytest.Eventually(t, "it is told", func() bool { return len(partytest.LogEntries(t, "a guest claims what it may not claim")) > 0 })
			hint := fmt.Sprint(partytest.LogEntries(t, "a guest claims what it may not claim")[0]["hint"])
			check.Has(t, hint, `the claim "other.example.net/" has no effect: no site of this Caddy has its host; the host "other.example.net" has no effect: no site of this Caddy has it`)
		})
	}
}

// TestAnHrefSaysWhichHostsAreTheGuests is for hosts that no manifest can list.
func TestAnHrefSaysWhichHostsAreTheGuests(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"services": {"hosts": {"href": "/__invite__/hosts"}}}`))
	b.On("/__invite__/hosts", jsonOf("true"))
	c.load(blogAt(b))
	c.await("hosts")
	c.expectAsk("hosts", "a.example.com", "") // the site has another host
	check.Equal(t, len(b.Requests("/__invite__/hosts")), 0, "requests")
	host := strings.Split(strings.TrimPrefix(c.Address, "http://"), ":")[0]
	c.expectAsk("hosts", host, "true")
	check.Equal(t, b.Requests("/__invite__/hosts")[0].Body, `"`+host+`"`, "it is asked with")
}

// TestWhatIsClaimedHolds over what becomes of the application and of Caddy.
func TestWhatIsClaimedHolds(t *testing.T) {
	httpguest.Waits{Apart: time.Millisecond}.Set(t)
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"claims": ["/a/"]}`))
	c.load(blogAt(b))
	c.await("claims")
	isClaimed := map[string]string{"GET /a/x": "/a/", "GET /b/x": "(none"}
	c.expectClaims("blog", isClaimed)
	awaitFile(t, c.stored("blog"))
	b.Kill()
	wsgiparty.SendInvites(c.party, "blog")
	check.ErrorIf(t, invitesOf(t, c.party, false)["blog"].OldManifest.IsZero(), "it is not known that the application is down")
	c.expectClaims("blog", isClaimed)
	status, _ := c.Get("/blog/a/x")
	check.Equal(t, status, http.StatusBadGateway, "a request that it claims") // it fails loudly
	c.expectClaims("blog", isClaimed)
	c.load(blogAt(b, "timeout 3s"))
	c.expectClaims("blog", isClaimed)
	c.restart(c.inParty(blogAt(b)))
	c.expectClaims("blog", isClaimed)

	b.On("/__invite__/", manifestOf(`{"claims": ["/b/"]}`))
	b.Start()
	done, failed := make(chan struct{}), make(chan string, 1)
	go func() { // who asks sees the one or the other
		defer close(failed)
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			default:
			}
			a, errA := c.askClaim("blog", "GET /a/x")
			b, errB := c.askClaim("blog", "GET /b/x")
			if errA != nil || errB != nil || a == "(nobody)" || b == "(nobody)" {
				failed <- fmt.Sprint(a, errA, b, errB)
				return
			}
		}
	}()
	wsgiparty.SendInvites(c.party, "blog")
	c.expectClaims("blog", map[string]string{"GET /a/x": "(none", "GET /b/x": "/b/"})
	close(done)
	for what := range failed {
		t.Error("there is a gap: ", what)
	}
	b.On("/__invite__/", manifestOf(`{"claims": ["/b/{"]}`)) // which has no effect
	wsgiparty.SendInvites(c.party, "blog")
	check.Has(t, fmt.Sprint(invitesOf(t, c.party, true)["blog"].Err), `claims[0]: "/b/{": bad wildcard segment`)
	c.expectClaims("blog", map[string]string{"GET /a/x": "(none", "GET /b/x": "/b/"})
}

// TestADeclaredClaimIsThereBeforeTheApplication is for one that does not run yet.
func TestADeclaredClaimIsThereBeforeTheApplication(t *testing.T) {
	httpguest.Waits{Apart: time.Millisecond}.Set(t)
	c := newGuestTest(t)
	b := testbackend.New(t, "")
	c.load(guestAt("blog", b, "claim /a/") + guestAt("two", b, "claim urls"))
	c.expectClaims("blog", map[string]string{"GET /a/x": "/a/"})
	c.expectClaims("two", map[string]string{"GET /a/x": "()"})
	check.Equal(t, invitesOf(t, c.party, true)["two"].Result, party.InviteFailed, "the application is")
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/"}}`))
	b.Start()
	wsgiparty.SendInvites(c.party, "")
	c.expectClaims("two", map[string]string{"GET /": "/"})
	c.expectLink("blog:home", "/blog/") // its manifest is asked for all the same
	b.On("/__invite__/", manifestOf(`{"claims": "urls"}`))
	c.load(blogAt(b))
	wsgiparty.SendInvites(c.party, "blog")
	check.Has(t, invitesOf(t, c.party, true)["blog"].Hint, "it claims all requests to its pages, but has none")
}

// TestAsMuchAsMayBeClaimed is claimed, also by a Caddy that was started again, and no more.
func TestAsMuchAsMayBeClaimed(t *testing.T) {
	httpguest.Waits{Apart: time.Millisecond}.Set(t)
	c, b := newBlogTest(t)
	list := func(format string, n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(format, i))
		}
		return strings.Join(all, ",")
	}
	manifest := func(claims, hosts int) testbackend.Response {
		return manifestOf(`{"claims": [` + list(`"/%x"`, claims) + `], "hosts": [` + list(`"h%d.localhost"`, hosts) + `]}`)
	}
	b.On("/__invite__/", manifest(4096, 1000))
	site := strings.Replace(c.inParty(blogAt(b)), "ADDRESS {", "ADDRESS, http://h999.localhost"+c.Address[strings.LastIndexByte(c.Address, ':'):]+" {", 1)
	c.Caddy.Load(site)
	c.await("claims", "hosts")
	expect := func() {
		t.Helper()
		c.expectClaims("blog", map[string]string{"GET /fff": "/fff", "GET /1000": "(none"})
		c.expectAsk("hosts", "h999.localhost", "true")
	}
	expect()
	awaitFile(t, c.stored("blog"))
	b.Kill()
	c.restart(site)
	expect()
	b.Start()
	for want, more := range map[string]testbackend.Response{
		"claims: 4097 patterns: write at most 4096":          manifest(4097, 0),
		"hosts: the list has 1001 hosts: write at most 1000": manifest(0, 1001),
	} {
		b.On("/__invite__/", more)
		wsgiparty.SendInvites(c.party, "blog")
		check.Has(t, fmt.Sprint(invitesOf(t, c.party, true)["blog"].Err), want)
		expect()
	}
}

// TestClaimsOfTheConfigThatAreWrong fail the load.
func TestClaimsOfTheConfigThatAreWrong(t *testing.T) {
	c := newGuestTest(t)
	for member, want := range map[string]string{
		`"claims": ["/a", "GET"]`:       `manifest: claims[1]: "GET": it is a method without a path`,
		`"hosts": ["a b"]`:              `manifest: hosts[0]: "a b" is not a host name`,
		`"claim_cache": -1`:             `claim_cache is -1ns: write a duration above zero and up to 24h0m0s, such as 5s`,
		`"claim_cache": 90000000000000`: `claim_cache is 25h0m0s: write a duration`,
		`"unavailable": "fail"`:         `unavailable is "fail": write pass, or leave it out`,
		`"claims": "urls"`:              `string`,
	} {
		err := c.TryLoadJSON([]byte(strings.Replace(string(c.Adapt(c.inParty(blogAt(testbackend.New(t, ""))))), `"handler":"wsgi_party_guest"`, `"handler":"wsgi_party_guest",`+member, 1)))
		check.Fails(t, err, want)
	}
}
