// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package page_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/chromium"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// boxOf is the text of a guest's box, as a visitor reads it.
func boxOf(guest string) string {
	return "[...document.querySelectorAll('.box')].find((b) => b.firstChild.textContent === '" + guest + "').innerText"
}

// TestThePageShowsApplicationsInTrouble has one fail until Caddy leaves it alone, one hang while more is asked than it takes,
// and one of which an upstream is down.
func TestThePageShowsApplicationsInTrouble(t *testing.T) {
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	failing := partytest.NewApplication(t, "", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	hanging, _, _ := partytest.NewHeld(t)
	half := partytest.NewApplication(t, "", partytest.JSON("1"))
	c.Site("wsgi_party_page /party " + party + "\nwsgi_party " + party + " {\ninvite /failing/__invite__/ /hanging/__invite__/ /half/__invite__/\n" +
		partytest.Mounted("failing", "service price GET /price", failing) +
		partytest.Mounted("hanging", "service stock GET /held\nmax_asks 1\ntimeout 1h", hanging) +
		"handle_path /half/* {\nwsgi_party_guest {\nservice rates GET /rates\n}\nreverse_proxy " + half.Address() + " " + testport.Address(t) + " {\nlb_policy round_robin\n}\n}\n}")
	asks(t, party, "shop", "price", 5)
	asks(t, party, "shop", "rates", 16)
	o, ok := wsgiparty.Lookup(party)
	check.FatalIf(t, !ok, "there is no party", party)
	ctx, end := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	defer asking.Wait()
	defer end()
	for range 1025 { // one is answered, and so many wait at most
		asking.Go(func() { _, _ = o.Partyline().Operator("shop").AskAround(ctx, "stock", nil) })
	}
	asking.Go(func() {
		for ctx.Err() == nil { // else it is no longer asked too much after a while
			refused, end := context.WithTimeout(ctx, time.Second)
			_, _ = o.Partyline().Operator("shop").AskAround(refused, "stock", nil)
			end()
		}
	})

	p := chromium.Open(t).NewPage()
	p.Size(1280, 900)
	p.Visit("http://" + c.Address + "/party")
	p.Until("document.querySelectorAll('#troubles li').length === 3")
	for guest, want := range map[string][3]string{
		"failing": {"▲ not answering", "does not answer “price”: asks for it fail at once for a while", "EOF"},
		"hanging": {"▲ overloaded", "is asked more than it can answer: some asks are refused", ""},
		"half":    {"▲ upstream down", "answers only some asks: one of its upstreams is down", ""},
	} {
		p.Until(boxOf(guest) + ".includes('" + want[0] + "')")
		trouble := p.Get("[...document.querySelectorAll('#troubles .bad')].find((li) => li.innerText.includes(' " + guest + " ')).innerText")
		check.Contains(t, trouble, want[1:])
	}
	check.Has(t, p.Get("document.title"), "▲ "+party)
	check.Has(t, p.Get(boxOf("failing")), "▲ failed 5")
	p.Until(boxOf("hanging") + ".includes('▲ failed')")
	p.Until("document.getElementById('failures').innerText.includes('▲ failing failed 5 of 5 asks for “price”')")
	p.Until("/▲ hanging refused [0-9,]+ of [0-9,]+ asks for “stock”/.test(document.getElementById('failures').innerText)")
	colors := "getComputedStyle([...document.querySelectorAll('.box')].find((b) => b.innerText.includes('hanging')).querySelector('.state')).color"
	check.Equal(t, p.Get(colors), p.Get("getComputedStyle(document.querySelector('#failures .error')).color"), "an overloaded guest is as red as an error")

	// It recovers, and the page says so without being loaded again.
	failing.On(partytest.JSON("1"))
	end()
	partytest.Eventually(t, "the application is asked again", func() bool {
		answers, err := o.AskAround(t.Context(), "price", nil)
		return err == nil && len(answers) == 1
	})
	p.Until(boxOf("failing") + ".includes('● joined')")
	p.Until(boxOf("hanging") + ".includes('● joined')")
	quiet(t, p)
}

// TestThePageShowsAnApplicationThatIsDownOnTheLine has one answer with its manifest, and then no more.
func TestThePageShowsAnApplicationThatIsDownOnTheLine(t *testing.T) {
	c := partytest.NewCaddyWithAdmin(t)
	party := partytest.FreshParty()
	blog := partytest.NewApplication(t, `{"urls": {"home": "/"}}`, http.NotFound)
	c.Site("wsgi_party_page /party " + party + "\nwsgi_party " + party + " {\ninvite /blog/__invite__/\n" + partytest.Mounted("blog", "", blog) + "}")
	c.Connected(party, "url", "blog")
	blog.OnInvite(partytest.Status(502))
	partytest.Eventually(t, "its invite fails", func() bool {
		return strings.Contains(c.Call("POST", "/wsgi_party/"+party+"/invite?guest=blog", "").Body, `"result":"failed"`)
	})

	p := chromium.Open(t).NewPage()
	p.Visit("http://" + c.Address + "/party")
	p.Until("document.querySelectorAll('#troubles li').length === 1")
	check.Contains(t, p.Get("document.querySelector('#troubles .odd').innerText"), []string{"◆ blog is on the line by its last manifest, confirmed ", "/blog/__invite__/: the invite failed, status 502"})
	check.Has(t, p.Get(boxOf("blog")), "◆ joined, by its last manifest")
	quiet(t, p)
}

// TestThePageDrawsSharesOfTraffic has two applications share a site.
func TestThePageDrawsSharesOfTraffic(t *testing.T) {
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	old, next := partytest.NewApplication(t, "", partytest.Status(500)), partytest.NewApplication(t, "", partytest.Echo)
	c.Site("wsgi_party_page /party " + party + "\nwsgi_party " + party + " {\ninvite /__invite__/new as new\ninvite /__invite__/old as old\n" +
		"@new wsgi_party claimed_by new share 25% by {query.visitor}\n" +
		"handle @new {\nwsgi_party_guest new {\nclaim /\nurl home /\n}\nreverse_proxy " + next.Address() + "\n}\n" +
		"handle {\nwsgi_party_guest old {\nurl away /away\n}\nreverse_proxy " + old.Address() + "\n}\n}")
	const visitors = 80
	for i := range visitors {
		response := check.Value(http.Get(fmt.Sprintf("http://%s/page?visitor=%d", c.Address, i)))(t)
		partytest.ReadAll(t, response)
	}
	toNew := len(next.Requests())
	check.FatalIf(t, toNew == 0 || toNew == visitors || toNew+len(old.Requests()) != visitors, toNew, len(old.Requests()))

	p := chromium.Open(t).NewPage()
	p.Size(1280, 900)
	p.Visit("http://" + c.Address + "/party")
	p.Until("document.querySelectorAll('.box').length === 2")
	for guest, n := range map[string]int{"new": toNew, "old": visitors - toNew} {
		share := 100 * float64(n) / visitors
		check.Has(t, p.Get(boxOf(guest)), fmt.Sprintf("%d requests, %.1f %% of the party’s", n, share))
		bar := "((b) => { const bar = b.querySelector('.share'); return (100 * bar.firstChild.offsetWidth / bar.clientWidth - " + fmt.Sprint(share) + ").toFixed(0); })([...document.querySelectorAll('.box')].find((b) => b.firstChild.textContent === '" + guest + "'))"
		check.Equal(t, strings.TrimPrefix(p.Get(bar), "-"), "0", "the bar of %s is longer or shorter than it says, by", guest)
	}
	check.Has(t, p.Get(boxOf("old")), fmt.Sprintf("▲ %d server errors", visitors-toNew))
	check.ErrorIf(t, strings.Contains(p.Get(boxOf("new")), "server error"), p.Get(boxOf("new")))
	check.Has(t, p.Get("document.getElementById('totals').innerText"), "traffic since ")
	quiet(t, p)
}
