// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestAPageOfAGuestIsAskedOfThatGuestAlone has others declare, connect and answer for
// everything.
func TestAPageOfAGuestIsAskedOfThatGuestAlone(t *testing.T) {
	c := newCaddy(t)
	greedy := newAttackedApp(t, `{"services": {"url": {"href": "/__invite__/url"}}}`, serveJSON(`"/stolen"`))
	site := newAttackedApp(t, `{"urls": {"polls:index": "/polls/", "polls:detail": "/polls/{id}", "home": "/"}}`, nil)
	polls := newAttackedApp(t, `{"urls": {"index": "/", "about": "/about"}}`, nil)
	liar := newAttackedApp(t, `{"urls": {"polls:index": "/lie", "polls:secret": "/lie", "silent:page": "/lie", "free:page": "/free"}, "services": {"url": [{"answer": "/lie"}]}}`, nil)
	silent := newAttackedApp(t, "", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	c.site(`
	wsgi_party main {
		invite /greedy/__invite__/ /liar/__invite__/ /site/__invite__/ /polls/__invite__/ /silent/__invite__/ /operator/__invite__/
		` + mounted("greedy", "", greedy) + mounted("liar", "", liar) + mounted("site", "", site) + mounted("polls", "", polls) + mounted("silent", "", silent) + `
		handle_path /operator/* {
			wsgi_party_guest {
				url polls:moved /moved
			}
			respond "operator"
		}
	}`)
	for _, guest := range []string{"greedy", "liar", "site", "polls"} {
		eventually(t, guest+" joins", func() bool {
			for _, there := range c.line("main").Partyline().Services()[URLService] {
				if there == guest {
					return true
				}
			}
			return false
		})
	}
	connect(t, c.line("main").Partyline().Operator("module"), URLService, func(context.Context, any) (any, error) { return "/module", nil })

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
			URLRequest{name, map[string]any{"id": 7}},
			map[string]any{"name": name, "values": map[string]any{"id": 7}},
			[]any{name, map[string]any{"id": 7}},
			json.RawMessage(fmt.Sprintf(`{"name": %q, "kwargs": {"id": 7}}`, name)),
		} {
			got, err := First[string](t.Context(), c.line("main"), URLService, payload)
			if err != nil || got != want {
				t.Errorf("%s (%T): %q, %v; want %q", name, payload, got, err, want)
			}
		}
	}
	for _, name := range []string{"polls:secret", "polls:unknown", "silent:page", "site:unknown"} {
		if got, err := First[string](t.Context(), c.line("main"), URLService, URLRequest{Name: name}); err != ErrHighAndDry {
			t.Errorf("%s: %q, %v; want nobody to answer", name, got, err)
		}
	}
	// A guest does not ask itself, and nobody else is asked for its pages.
	polling := c.line("main").Partyline().Operator("polls")
	if got, err := First[string](t.Context(), polling, URLService, URLRequest{Name: "polls:about"}); err != ErrHighAndDry {
		t.Errorf("polls asks for its own page: %q, %v", got, err)
	}
	for _, r := range greedy.requests() {
		var body struct{ Name string }
		if err := json.NewDecoder(r.Body).Decode(&body); err == nil && strings.HasPrefix(body.Name, "polls:") {
			t.Errorf("greedy is asked for %s", body.Name)
		}
	}
	eventually(t, "a line in the log", func() bool { return len(logEntries(t, "pages are called as those of another guest")) == 2 })
	for _, e := range logEntries(t, "pages are called as those of another guest") {
		if hint, _ := e["hint"].(string); !strings.Contains(hint, fmt.Sprintf("%s:polls:", e["guest"])) {
			t.Errorf("the hint of %v: %q", e["guest"], hint)
		}
	}
}

// TestALinkMadeOfALinkHasItsMountOnce has guests answer for URLs with what they got by
// asking for another page, and with URLs that a framework made which knows the mount.
func TestALinkMadeOfALinkHasItsMountOnce(t *testing.T) {
	c := newAskTest(t)
	serve := func(a *application, r *http.Request, _ string) reply {
		var payload URLRequest
		if err := json.NewDecoder(r.Body).Decode(&payload); err != nil {
			return reply{500, err.Error()}
		}
		_, page, _ := strings.Cut(payload.Name, ":")
		switch page {
		case "new":
			return reply{200, "/new-page?x=1"}
		case "mounted":
			return reply{200, "/apps/" + a.name + "/archive/"}
		case "mount":
			return reply{200, "/apps/" + a.name}
		case "near":
			return reply{200, "/apps/" + a.name + "s/archive/"}
		case "out":
			return reply{200, "/apps/" + a.name + "/../../admin"}
		case "elsewhere": // what nobody gave out
			return reply{200, "https://evil.example/"}
		case "origin":
			return reply{200, "https://shop.example/apps/" + a.name + "/cart"}
		case "origin-out":
			return reply{200, "https://shop.example/apps/" + a.name + "/%2e%2e/cart"}
		}
		other, ok := strings.CutPrefix(page, "old-")
		if !ok {
			return reply{204, nil}
		}
		response, err := c.try(r.Context(), asking{key: a.key, path: "/url?first", body: fmt.Sprintf(`{"name": %q}`, strings.ReplaceAll(other, ".", ":")), header: http.Header{"Party-Token": r.Header["Party-Token"]}})
		var got struct{ Answers []string }
		if err != nil || json.Unmarshal([]byte(response.body), &got) != nil || len(got.Answers) != 1 {
			return reply{500, response.body}
		}
		return reply{200, got.Answers[0]}
	}
	one, two, shop := newApplication(t, c, "one", serve), newApplication(t, c, "two", serve), newApplication(t, c, "shop", serve)
	c.around("prefix /apps\n" + one.directives("url") + two.directives("url") +
		strings.Replace(shop.directives("url"), "invite /shop/", "invite https://shop.example/shop/", 1))
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
		got, err := URLFor(t.Context(), c.line("main"), name, nil)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
}
