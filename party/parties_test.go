// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// jsonPage is an application whose page is that template, which makes JSON.
func jsonPage(t testing.TB, key, template string, pages *atomic.Int64) {
	t.Helper()
	partytest.App(t, key, func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		pages.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, err := w.Write([]byte(template))
		return err
	})
}

// pageOf has the pages of one party ask the other.
func pageOf(key, asks string) string {
	return "route {\ntemplates {\nmime application/json text/html\nextensions {\nwsgi_party " + asks + "\n}\n}\ntest_app " + key + "\n}\n"
}

// TestAPageOfOnePartyAsksAnother has guests of the same name in both, which are two.
func TestAPageOfOnePartyAsksAnother(t *testing.T) {
	var pages atomic.Int64
	jsonPage(t, "a", `{{askFirst . "menu" | toString | printf "%q"}}`, &pages)
	jsonPage(t, "b", `[{{askAround . "dish" | len}}, {{urlFor . "one:home" | printf "%q"}}]`, &pages)
	jsonPage(t, "around", `[{{range askReplies . "loop"}}{{printf "%q" .Error}},{{end}}0]`, &pages)
	c := partytest.NewCaddy(t)
	one, two := partytest.FreshParty(), partytest.FreshParty()
	party := func(name, mount, dish, asks string) string {
		return "wsgi_party " + name + " {\ninvite /" + mount + "/__invite__/ as one\nhandle_path /" + mount + "/* {\n" +
			"wsgi_party_guest {\nurl home /home\nanswer dish " + dish + "\nservice menu /page\nservice loop /loop\n}\n" +
			"handle /page {\n" + pageOf(mount, asks) + "}\nhandle /loop {\n" + pageOf("around", asks) + "}\n}\n}\n"
	}
	c.Site(party(one, "a", "soup", two) + party(two, "b", "salad", one))
	// /a/page asks two's one for a menu, whose page asks one's one for its dish and its home.
	c.Expect("/a/page", 200, `"[1 /a/home]"`)
	check.Equal(t, pages.Load(), 2, "pages were made")

	// Pages that ask each other in a circle end.
	pages.Store(0)
	status, body := c.Do("GET", "/a/loop", "", nil)
	n := pages.Load()
	check.ErrorIf(t, n < 4 || n > partytest.MaxDepth+1 || status != 200, "%d pages were made of one: status %d, %s", n, status, body)
}

// TestAGuestIsOneOfItsPartyOnly has a guest of the same name in a party in the routes of
// another, in front of the same application.
func TestAGuestIsOneOfItsPartyOnly(t *testing.T) {
	partytest.Key(t, "outer")
	partytest.Key(t, "inner")
	c := partytest.NewCaddy(t)
	a := partytest.NewApplication(t, "", partytest.JSON(`"answer"`))
	outer, inner := partytest.FreshParty(), partytest.FreshParty()
	guest := func(party string) string {
		return "wsgi_party_guest blog {\nkey {env." + party + "_PARTY_KEY}\nservice " + party + " /blog/" + party + "\n}\n"
	}
	c.Site("wsgi_party " + outer + " {\ninvite /out/__invite__/ as blog\nroute {\n" +
		"wsgi_party " + inner + " {\ninvite /blog/secret/__invite__/ as blog\nhandle /blog/* {\n" + guest("inner") + "reverse_proxy " + a.Address() + "\n}\n}\n" +
		guest("outer") + "respond nobody\n}\n}")
	c.ExpectJSONAnswers(inner, "inner", `"answer"`)
	check.Fails(t, c.Failure(outer, "outer", nil), "misrouted")
	for _, r := range a.Requests() {
		check.Equal(t, (r.Header.Get("Party-Token") != ""), (r.URL.Path == "/blog/inner"), "%s: Party-Token", r.URL.Path)
	}
}

// TestAPathThroughTwoPartiesSkipsNobodyOfTheOther has guest one of the first party ask,
// and guest one of the second answer what comes of it.
func TestAPathThroughTwoPartiesSkipsNobodyOfTheOther(t *testing.T) {
	key := partytest.Key(t, "two")
	first, second := partytest.FreshParty(), partytest.FreshParty()
	var asker *wsgiparty.Operator
	partytest.OnProvision(t, "go", func(ctx caddy.Context) error {
		asker = check.Value(wsgiparty.Join(ctx, first, "one"))(t)
		two, other := check.Value(wsgiparty.Join(ctx, first, "two"))(t), check.Value(wsgiparty.Join(ctx, second, ""))(t)
		return two.Connect("menu", func(ctx context.Context, payload any) (any, error) {
			answers, err := other.AskAround(ctx, "menu", payload)
			return fmt.Sprintf("%s", answers), err
		})
	})
	c := partytest.NewCaddy(t)
	a := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
		_, body := c.Do("POST", "/ask/menu", "1", http.Header{"Authorization": {"Bearer " + key}, "Party-Token": r.Header["Party-Token"]})
		partytest.JSON(body)(w, r)
	})
	c.Site("route {\ntest_app go\nhandle_path /ask/* {\nwsgi_party_ask " + second + "\n}\nwsgi_party " + first + "\nwsgi_party " + second + " {\n" +
		"invite /one/__invite__/ /two/__invite__/\nhandle_path /one/* {\nwsgi_party_guest {\nanswer menu salad\n}\n}\n" +
		partytest.Mounted("two", "key {env.two_PARTY_KEY}\nservice menu /menu", a) + "}\n}")
	answers := check.Value(asker.AskAround(t.Context(), "menu", nil))(t)
	check.ErrorIf(t, len(answers) != 1 || strings.Count(fmt.Sprint(answers...), "salad") != 2, "%v", answers)
}

// TestApplicationsAreAskedInTheOrderOfTheirInvites has five applications whose manifests
// come in an order of their own, in two servers.
func TestApplicationsAreAskedInTheOrderOfTheirInvites(t *testing.T) {
	c := partytest.NewCaddy(t)
	guests := []string{"a", "b", "c", "d", "e"}
	var apps [5]*partytest.Application
	var blocks [5]string
	for i, guest := range guests {
		apps[i] = partytest.NewInvited(t, partytest.Status(http.StatusServiceUnavailable))
		blocks[i] = "invite /" + guest + "/__invite__/\n" + partytest.Mounted(guest, "", apps[i])
	}
	const site = "%s {\nwsgi_party main {\n%s\n}\n}\n"
	c.Load(fmt.Sprintf(site, "ADDRESS", strings.Join(blocks[:3], "")) + fmt.Sprintf(site, "http://"+testport.Address(t), strings.Join(blocks[3:], "")))
	first, second := guests[:3], guests[3:]
	if infos := invitesOf(t, "main", false); infos["a"].Server > infos["d"].Server {
		first, second = second, first
	}
	want := slices.Concat(first, second)
	nav := func() []string { return operatorOf(c, "main").Partyline().Services()["nav"] }
	for _, i := range []int{4, 1, 3, 0, 2} { // as they come up
		apps[i].OnInvite(partytest.Manifest(fmt.Sprintf(`{"services": {"nav": {"answer": %q}}}`, guests[i])))
		partytest.Eventually(t, guests[i]+" joins", func() bool {
			wsgiparty.SendInvites("main", guests[i])
			return slices.Contains(nav(), guests[i])
		})
		there := slices.DeleteFunc(slices.Clone(want), func(guest string) bool { return !slices.Contains(nav(), guest) })
		var answers []string
		for _, answer := range c.Answered("main", "nav", nil) {
			answers = append(answers, strings.Trim(string(answer.(json.RawMessage)), `"`))
		}
		check.Slices(t, answers, there)
		check.Slices(t, nav(), there, "connected")
	}
}
