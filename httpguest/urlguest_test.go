// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// TestAPageOfAGuestIsAskedOfThatGuestAlone has others declare, connect and answer for
// everything.
func TestAPageOfAGuestIsAskedOfThatGuestAlone(t *testing.T) {
	c := partytest.NewCaddy(t)
	greedy := partytest.NewApplication(t, `{"services": {"url": {"href": "/__invite__/url"}}}`, partytest.JSON(`"/stolen"`))
	site := partytest.NewApplication(t, `{"urls": {"polls:index": "/polls/", "polls:detail": "/polls/{id}", "home": "/"}}`, nil)
	polls := partytest.NewApplication(t, `{"urls": {"index": "/", "about": "/about"}}`, nil)
	liar := partytest.NewApplication(t, `{"urls": {"polls:index": "/lie", "polls:secret": "/lie", "silent:page": "/lie", "free:page": "/free"}, "services": {"url": [{"answer": "/lie"}]}}`, nil)
	silent := partytest.NewApplication(t, "", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	c.Site(`
	wsgi_party main {
		invite /greedy/__invite__/ /liar/__invite__/ /site/__invite__/ /polls/__invite__/ /silent/__invite__/ /operator/__invite__/
		` + partytest.Mounted("greedy", "", greedy) + partytest.Mounted("liar", "", liar) + partytest.Mounted("site", "", site) + partytest.Mounted("polls", "", polls) + partytest.Mounted("silent", "", silent) + `
		handle_path /operator/* {
			wsgi_party_guest {
				url polls:moved /moved
			}
			respond "operator"
		}
	}`)
	for _, guest := range []string{"greedy", "liar", "site", "polls"} {
		partytest.Eventually(t, guest+" joins", func() bool {
			for _, there := range operatorOf(c, "main").Partyline().Services()[wsgiparty.URLService] {
				if there == guest {
					return true
				}
			}
			return false
		})
	}
	partytest.Connect(t, operatorOf(c, "main").Partyline().Operator("module"), wsgiparty.URLService, func(context.Context, any) (any, error) { return "/module", nil })

	for name, want := range map[string]string{
		"polls:index":       "/polls/",
		"polls:about":       "/polls/about",
		"site:polls:index":  "/site/polls/",
		"site:polls:detail": "/site/polls/7",
		"polls:moved":       "/operator/moved", // the operator's word
		"free:page":         "/greedy/stolen",  // no guest's: everybody may answer
		"home":              "/greedy/stolen",
	} {
		for _, payload := range []any{
			wsgiparty.URLRequest{Name: name, Values: map[string]any{"id": 7}},
			map[string]any{"name": name, "values": map[string]any{"id": 7}},
			[]any{name, map[string]any{"id": 7}},
			json.RawMessage(fmt.Sprintf(`{"name": %q, "kwargs": {"id": 7}}`, name)),
		} {
			got, err := wsgiparty.First[string](t.Context(), operatorOf(c, "main"), wsgiparty.URLService, payload)
			check.ErrorIf(t, err != nil || got != want, "%s (%T): %q, %v; want %q", name, payload, got, err, want)
		}
	}
	for _, name := range []string{"polls:secret", "polls:unknown", "silent:page", "site:unknown"} {
		if got, err := wsgiparty.First[string](t.Context(), operatorOf(c, "main"), wsgiparty.URLService, wsgiparty.URLRequest{Name: name}); err != wsgiparty.ErrHighAndDry {
			t.Errorf("%s: %q, %v; want nobody to answer", name, got, err)
		}
	}
	// A guest does not ask itself, and nobody else is asked for its pages.
	polling := operatorOf(c, "main").Partyline().Operator("polls")
	if got, err := wsgiparty.First[string](t.Context(), polling, wsgiparty.URLService, wsgiparty.URLRequest{Name: "polls:about"}); err != wsgiparty.ErrHighAndDry {
		t.Errorf("polls asks for its own page: %q, %v", got, err)
	}
	for _, r := range greedy.Requests() {
		var body struct{ Name string }
		if err := json.NewDecoder(r.Body).Decode(&body); err == nil && strings.HasPrefix(body.Name, "polls:") {
			t.Errorf("greedy is asked for %s", body.Name)
		}
	}
	partytest.Eventually(t, "a line in the log", func() bool { return len(partytest.LogEntries(t, "pages are called as those of another guest")) == 2 })
	for _, e := range partytest.LogEntries(t, "pages are called as those of another guest") {
		if hint, _ := e["hint"].(string); !strings.Contains(hint, fmt.Sprintf("%s:polls:", e["guest"])) {
			t.Errorf("the hint of %v: %q", e["guest"], hint)
		}
	}
}

// TestALinkMadeOfALinkHasItsMountOnce has guests answer for URLs with what they got by
// asking for another page, and with URLs that a framework made which knows the mount.
func TestALinkMadeOfALinkHasItsMountOnce(t *testing.T) {
	c := partytest.NewCaddy(t)
	serve := func(a *partytest.Application, r *http.Request, _ string) partytest.Reply {
		var payload wsgiparty.URLRequest
		if err := json.NewDecoder(r.Body).Decode(&payload); err != nil {
			return partytest.Answer(500, err.Error())
		}
		_, page, _ := strings.Cut(payload.Name, ":")
		switch page {
		case "new":
			return partytest.Answer(200, "/new-page?x=1")
		case "mounted":
			return partytest.Answer(200, "/apps/"+a.Name+"/archive/")
		case "mount":
			return partytest.Answer(200, "/apps/"+a.Name)
		case "near":
			return partytest.Answer(200, "/apps/"+a.Name+"s/archive/")
		case "out":
			return partytest.Answer(200, "/apps/"+a.Name+"/../../admin")
		case "elsewhere": // what nobody gave out
			return partytest.Answer(200, "https://evil.example/")
		case "origin":
			return partytest.Answer(200, "https://shop.example/apps/"+a.Name+"/cart")
		case "origin-out":
			return partytest.Answer(200, "https://shop.example/apps/"+a.Name+"/%2e%2e/cart")
		}
		other, ok := strings.CutPrefix(page, "old-")
		if !ok {
			return partytest.Answer(204, nil)
		}
		response, err := c.TryAsk(r.Context(), partytest.Asking{Key: a.Key, Path: "/url?first", Body: fmt.Sprintf(`{"name": %q}`, strings.ReplaceAll(other, ".", ":")), Header: http.Header{"Party-Token": r.Header["Party-Token"]}})
		var got struct{ Answers []string }
		if err != nil || json.Unmarshal([]byte(response.Body), &got) != nil || len(got.Answers) != 1 {
			return partytest.Answer(500, response.Body)
		}
		return partytest.Answer(200, got.Answers[0])
	}
	one, two, shop := c.NewGuest("one", serve), c.NewGuest("two", serve), c.NewGuest("shop", serve)
	c.Around("prefix /apps\n" + one.Directives("url") + two.Directives("url") +
		strings.Replace(shop.Directives("url"), "invite /shop/", "invite https://shop.example/shop/", 1))
	for name, want := range map[string]string{
		"one:new":                       "/apps/one/new-page?x=1",
		"one:old-two.new":               "/apps/two/new-page?x=1",
		"one:old-two.old-one.new":       "", // one asks already
		"one:old-two.old-shop.new":      "https://shop.example/apps/shop/new-page?x=1",
		"two:old-shop.origin":           "https://shop.example/apps/shop/cart",
		"one:mounted":                   "/apps/one/archive/",
		"one:mount":                     "/apps/one",
		"one:near":                      "/apps/one/apps/ones/archive/",
		"shop:mounted":                  "https://shop.example/apps/shop/archive/",
		"shop:origin":                   "https://shop.example/apps/shop/cart",
		"one:out":                       "",
		"one:elsewhere":                 "",
		"one:origin":                    "",
		"shop:origin-out":               "",
		"one:old-two.elsewhere":         "",
		"two:old-one.old-shop.mounted":  "https://shop.example/apps/shop/archive/",
		"shop:old-one.mounted":          "/apps/one/archive/",
		"shop:old-one.old-two.new":      "/apps/two/new-page?x=1",
		"shop:old-one.old-two.near":     "/apps/two/apps/twos/archive/",
		"shop:old-one.old-two.not-here": "",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := wsgiparty.URLFor(t.Context(), operatorOf(c, "main"), name, nil)
			check.ErrorIf(t, got != want || (err == nil) != (want != ""), "%s: %q, %v; want %q", name, got, err, want)
		})
	}
}
