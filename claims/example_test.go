// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The example of the documentation, as it is.

package claims_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// example is that of the documentation, with an endpoint for links.
func example(fresh, legacy *partytest.Application) string {
	return fmt.Sprintf(`wsgi_party main {
	invite /__invite__/ as new
	invite /__invite__/ as legacy
	@new wsgi_party claimed_by new
	handle @new {
		wsgi_party_guest new
		reverse_proxy %s
	}
	handle {
		wsgi_party_guest legacy {
			url invoice /invoices/{id}
		}
		reverse_proxy %s
	}
}
`, fresh.Address(), legacy.Address())
}

// says answers everything with the application's name and the path.
func says(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", name, r.Method, r.RequestURI)
	}
}

func manifest(maxAge int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", fmt.Sprint("max-age=", maxAge))
		partytest.Manifest(text)(w, r)
	}
}

func TestTwoApplicationsShareOneMountAsTheNewOneSays(t *testing.T) {
	c := partytest.NewCaddyWithAdmin(t)
	fresh, legacy := partytest.NewApplication(t, "", says("new")), partytest.NewApplication(t, "", says("legacy"))
	const invoice = `"urls": {"invoice": "/bills/{id}"}`
	fresh.OnInvite(manifest(10, `{`+invoice+`}`))
	c.Site(example(fresh, legacy))
	partytest.Eventually(t, "new has joined", func() bool {
		return strings.Contains(partytest.Logged(), `"guest joined","party":"main","guest":"new"`)
	})
	link := func(want string) {
		t.Helper()
		anyone, _ := wsgiparty.Lookup("main")
		got, err := wsgiparty.URLFor(t.Context(), anyone, "invoice", map[string]any{"id": 7})
		check.ErrorIf(t, err != nil || got != want, "link %q, %v, want %q", got, err, want)
	}
	expect(c, map[string]string{"/invoices/7": "legacy GET /invoices/7", "/bills/7": "legacy GET /bills/7", "/": "legacy GET /"})
	link("/bills/7") // the first that is invited

	// One more line in the manifest, and the command: it has moved.
	fresh.OnInvite(manifest(10, `{`+invoice+`, "claims": ["GET /invoices/{id}", "/reports/"]}`))
	said := command(c, "invite", "main", "new")
	check.Contains(t, said, []string{"new", "joined"}, said)
	expect(c, map[string]string{"/invoices/7": "new GET /invoices/7", "/invoices/7?a=b": "new GET /invoices/7?a=b", "/invoices/7/pdf": "legacy GET /invoices/7/pdf",
		"/reports/2026/11": "new GET /reports/2026/11", "/bills/7": "legacy GET /bills/7"})
	status, body := c.Do("POST", "/invoices/7", "a=b", nil)
	check.ErrorIf(t, status != 200 || body != "legacy POST /invoices/7", "POST: %d %s", status, body)

	// By its pages, so that links follow.
	fresh.OnInvite(manifest(10, `{`+invoice+`, "claims": "urls"}`))
	command(c, "invite", "main", "new")
	expect(c, map[string]string{"/invoices/7": "legacy GET /invoices/7", "/bills/7": "new GET /bills/7"})
	link("/bills/7")

	// Taken out again, within max-age.
	fresh.OnInvite(manifest(10, `{`+invoice+`}`))
	began := time.Now()
	partytest.Eventually(t, "it moves back", func() bool { _, body := c.Get("/bills/7"); return body == "legacy GET /bills/7" })
	check.ErrorIf(t, time.Since(began) > 30*time.Second, "it took %v", time.Since(began))

	// A guest whose invite or ask it is answers it wherever its claims lead.
	expect(c, map[string]string{"/": "legacy GET /"})
	status, _ = c.Get("/__invite__/")
	check.Equal(t, status, 404, "status of the invite's path from outside")
	check.Equal(t, len(partytest.LogEntries(t, "config is loaded")), 0, "loads")
}

func TestLinksOfTwoThatShareAMountFollowWhatEachClaims(t *testing.T) {
	c := partytest.NewCaddy(t)
	fresh, legacy := partytest.NewApplication(t, `{"urls": {"invoice": "/bills/{id}"}}`, says("new")), partytest.NewApplication(t, "", says("legacy"))
	key := partytest.Key(t, "asker")
	partytest.TemplateApp(t)
	c.Around(partytest.Asker + `
	invite /__invite__/ as legacy
	invite /__invite__/ as new
	@new wsgi_party claimed_by new
	handle @new {
		wsgi_party_guest new {
			claim /bills/7
			fetch_manifest on
		}
		reverse_proxy ` + fresh.Address() + `
	}
	` + partytest.Pages + `
	handle {
		wsgi_party_guest legacy {
			url invoice /invoices/{id}
		}
		reverse_proxy ` + legacy.Address() + `
	}`)
	for id, want := range map[int]string{7: "/bills/7", 8: "/invoices/8"} {
		partytest.Eventually(t, "new has joined", func() bool {
			anyone, _ := wsgiparty.Lookup("main")
			links, _ := anyone.AskAround(t.Context(), "url", wsgiparty.URLRequest{Name: "invoice", Values: map[string]any{"id": id}})
			return len(links) == 2 && links[0] == want
		})
		payload := fmt.Sprintf(`{"name": "invoice", "values": {"id": %d}}`, id)
		for _, path := range []string{"/url?first", "/url"} {
			got := c.Ask(partytest.Asking{Key: key, Path: path, Body: payload}).Body
			check.Has(t, got, `{"answers":["`+want+`"`, path)
		}
		got := c.Ask(partytest.Asking{Key: key, Path: "/", Body: `[{"service": "url", "first": true, "payload": ` + payload + `}]`}).Body
		check.Has(t, got, `[{"answers":["`+want+`"`, "in a batch")
		for _, template := range []string{`{{urlFor . "invoice" "id" %d}}`, `{{maybeURL . "invoice" "id" %d}}`,
			`{{askFirst . "url" (dict "name" "invoice" "values" (dict "id" %d))}}`, `{{index (askAround . "url" (dict "name" "invoice" "values" (dict "id" %d))) 0}}`} {
			c.ExpectPage(fmt.Sprintf(template, id), want)
		}
	}
}
