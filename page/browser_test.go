// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package page_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/chromium"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// quiet fails the test if the page has met an error, or its policy has forbidden something.
func quiet(t testing.TB, p *chromium.Page) {
	t.Helper()
	for _, said := range p.Said {
		check.ErrorIf(t, !strings.Contains(said, "favicon"), said)
	}
}

// TestAVisitorClicksThroughThePage goes by mouse and by keyboard.
func TestAVisitorClicksThroughThePage(t *testing.T) {
	c := partytest.NewCaddy(t)
	directives := small(t)
	party := strings.Fields(directives)[1]
	c.Site("wsgi_party_page /party " + party + "\n" + directives)
	askSmall(t, party)
	p := chromium.Open(t).NewPage()
	p.Size(1280, 900)
	p.Visit("http://" + c.Address + "/party")
	p.Until("document.querySelectorAll('.box').length === 4")
	p.Until("document.getElementById('status').textContent === 'Live'")
	for expression, want := range map[string]string{
		"document.getElementById('party').textContent":                                                    party,
		"document.querySelector('#troubles .title').textContent":                                          "▲ wiki has not joined",
		"document.querySelector('#troubles .hint').textContent":                                           "no guest is at this path: correct the invite's URI, or mount a guest there, such as `wsgi_party_guest` in front of the application",
		"document.querySelector('#failures .title').textContent":                                          "▲ shop failed 9 of 9 asks for “stock”",
		"String(document.querySelectorAll('.edge.failed').length)":                                        "2", // one is the legend's
		"String(document.querySelectorAll('.edge.declined').length)":                                      "2",
		"String(getComputedStyle(document.querySelector('.edge.failed')).strokeDasharray !== 'none')":     "true",
		"[...document.querySelectorAll('#services .name')].map((n) => n.textContent).join()":              "stock,price,url,articles,index",
		"String([...document.querySelectorAll('.box')].filter((b) => b.querySelector('.bad')).length)":    "1",
		"String(document.documentElement.scrollWidth <= innerWidth)":                                      "true",
		"document.querySelector('#table').open = true; String(document.querySelectorAll('table').length)": "1",
	} {
		check.Equal(t, p.Get(expression), want, expression)
	}
	p.Until("document.querySelectorAll('#rows tr').length > 8")

	// It is live: what is asked now is there soon.
	asks(t, party, "shop", "index", 7)
	p.Until("[...document.querySelectorAll('#services button')].find((b) => b.textContent === 'index7')")

	// A click on a box shows only what that guest asks, and is asked; Escape shows all again.
	p.Get("[...document.querySelectorAll('.box')].find((b) => b.textContent.startsWith('search')).click(); ''")
	p.Until("document.getElementById('chosen').textContent.startsWith('Only guest search')")
	p.Until("![...document.querySelectorAll('#services .name')].some((n) => n.textContent === 'articles')")
	p.Key("Escape")
	p.Until("document.getElementById('chosen').hidden && [...document.querySelectorAll('#services .name')].some((n) => n.textContent === 'articles')")

	// By the keyboard alone: the filter, the boxes, and one of them.
	p.Get("document.body.focus(); document.activeElement.blur(); ''")
	p.Key("/")
	p.Until("document.activeElement.id === 'find'")
	p.Type("magazine")
	p.Until("document.querySelectorAll('.box').length === 1")
	for range 40 {
		if p.Get("String(Boolean(document.activeElement.closest('#boxes')))") == "true" {
			break
		}
		p.Key("Tab")
	}
	p.Key("Enter")
	p.Until("document.getElementById('chosen').textContent.startsWith('Only guest magazine')")
	asks(t, party, "magazine", "index", 1)
	p.Until("document.body.textContent.includes('asks 150')")
	check.Equal(t, p.Get("document.activeElement.querySelector('.name').textContent"), "magazine", "the focus has gone elsewhere")
	p.Key("Escape")
	p.Get("document.getElementById('find').value = ''; document.getElementById('find').dispatchEvent(new Event('input')); ''")
	p.Until("document.querySelectorAll('.box').length === 4")
	p.Get("document.querySelector('#services button').focus(); ''")
	p.Key("ArrowDown")
	p.Key("ArrowRight")
	p.Until("document.activeElement.closest('#answerers')")

	p.Get("document.getElementById('pause').click(); ''")
	p.Until("document.getElementById('status').textContent.startsWith('Paused')")
	for _, width := range []int{320, 480, 2000} {
		p.Size(width, 800)
		p.Until("document.documentElement.scrollWidth <= innerWidth")
	}
	p.Get("document.getElementById('pause').click(); ''")
	p.Until("document.getElementById('status').textContent === 'Live'")
	quiet(t, p)
	c.Load("ADDRESS {\nrespond `gone\n` 404\n}")
	p.Until("document.getElementById('status').textContent.startsWith('status 404, gone; this is of ')")
}

// TestWhatGuestsSayIsText has everything that is a guest's, or anybody's, try to be more.
func TestWhatGuestsSayIsText(t *testing.T) {
	const evil = `<img src=x onerror="alert(1)"><script>alert(2)</script><style>*{display:none}</style>`
	c := partytest.NewCaddy(t)
	partytest.OnInvites(t, "shop", joins(map[string]wsgiparty.Handler{
		evil:        func(context.Context, any) (any, error) { return nil, errors.New(evil + "\u202e\x1b[31m") },
		"__proto__": answers, "constructor": answers,
	}))
	partytest.OnInvites(t, "wiki", partytest.FailsWith(errors.New(evil)))
	partytest.OnInvites(t, "__proto__", joins(map[string]wsgiparty.Handler{"toString": answers}))
	c.Site("wsgi_party_page /party `" + evil + "`\nwsgi_party `" + evil + "` {\n" + invites("shop", "wiki", "__proto__") + "invite \"/x/__invite__/?" + `'%22%3E%3Cimg src=x onerror=alert(3)%3E` + "\" as x\n}")
	asks(t, evil, "__proto__", evil, 3)
	asks(t, evil, "shop", "toString", 3)
	p := chromium.Open(t).NewPage()
	p.Size(1280, 900)
	p.Visit("http://" + c.Address + "/party")
	p.Until("document.querySelectorAll('.box').length === 4")
	p.Get("document.getElementById('table').open = true; ''")
	p.Until("document.querySelectorAll('#rows tr').length > 3")
	p.Get("[...document.querySelectorAll('#services button')].find((b) => b.textContent.includes('<img')).click(); ''")
	p.Until("document.getElementById('chosen').textContent.includes('Only service <img src=x')")
	for expression, want := range map[string]string{
		"String(document.images.length)":                                                                           "0",
		"String(document.scripts.length) + String(document.styleSheets.length)":                                    "11",
		"document.getElementById('party').textContent":                                                             evil,
		"String(document.querySelector('#failures .error').textContent.includes('onerror'))":                       "true",
		"String(document.querySelector('#failures .error').textContent.includes('\\u202e'))":                       "false",
		"String(document.querySelector('#failures .error').textContent.includes('\\u001b'))":                       "false",
		"String([...document.querySelectorAll('#troubles .error')].some((e) => e.textContent.startsWith('<img')))": "true",
		"try { document.body.innerHTML = '<b>'; 'set' } catch { 'kept' }":                                          "kept",
	} {
		check.Equal(t, p.Get(expression), want, expression)
	}
	for _, said := range p.Said {
		check.ErrorIf(t, !strings.Contains(said, "TrustedHTML") && !strings.Contains(said, "trusted-types") && !strings.Contains(said, "Trusted"), said)
	}
}

// TestAPageWithoutItsDocumentDrawsNothing has the JSON refused from the first request on.
func TestAPageWithoutItsDocumentDrawsNothing(t *testing.T) {
	c := partytest.NewCaddy(t)
	directives := small(t)
	c.Site("route {\n@json header Accept application/json\nrespond @json broken 500\nwsgi_party_page /party " + strings.Fields(directives)[1] + "\n}\n" + directives)
	p := chromium.Open(t).NewPage()
	p.Visit("http://" + c.Address + "/party")
	p.Until("document.getElementById('status').textContent === 'status 500, broken. Trying again.'")
	check.Equal(t, p.Get("[...document.querySelectorAll('h2')].filter((h) => h.checkVisibility()).map((h) => h.textContent).join()"), "", "headings over nothing")
}
