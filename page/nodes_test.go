// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package page_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/chromium"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/party"
)

// onNode has guests of another node join, as a trunk does, and returns what has them leave.
func onNode(t testing.TB, of, node string, guests ...string) (leave func()) {
	t.Helper()
	anyone, ok := wsgiparty.Lookup(of)
	check.FatalIf(t, !ok, "there is no party", of)
	var operators []*wsgiparty.Operator
	for _, guest := range guests {
		o := anyone.Partyline().Owner().(*party.Entry).OperatorAway(node, guest)
		check.Must(t, o.ConnectPrompt("stock", answers))
		o.Join()
		operators = append(operators, o)
	}
	return func() {
		for _, o := range operators {
			o.Leave()
		}
	}
}

const titles = "[...document.querySelectorAll('.on-node')].map((li) => li.innerText.replaceAll(/\\s+/g, ' ').trim()).join('; ')"

// TestThePageDrawsGuestsNodeByNode has a node come and go whose name is hostile, and another one, by mouse and by keyboard.
func TestThePageDrawsGuestsNodeByNode(t *testing.T) {
	const evil = `<img/src=x/onerror=alert(1)>`
	c := partytest.NewCaddyWithAdmin(t)
	directives := small(t)
	party := strings.Fields(directives)[1]
	c.Site("wsgi_party_page /party " + party + "\n" + directives)
	askSmall(t, party)
	p := chromium.Open(t).NewPage()
	p.Size(1280, 900)
	p.Visit("http://" + c.Address + "/party")
	p.Until("document.querySelectorAll('.box').length === 4")
	check.Equal(t, p.Get(titles), "", "the title of a node, though there are no others")

	leaveB := onNode(t, party, "b", "bank", "zoo")
	leaveEvil := onNode(t, party, evil, "bad")
	p.Until(titles + " === 'This node 4 guests; Node " + evil + " 1 guest; Node b 2 guests'")
	check.Equal(t, p.Get("String(document.images.length)"), "0")
	check.Has(t, p.Get(boxOf("bank")), "on node b")
	check.Has(t, p.Get(boxOf("bad")), "on node "+evil)
	check.ErrorIf(t, strings.Contains(p.Get(boxOf("shop")), "on node"), p.Get(boxOf("shop")))
	order := "[...document.querySelectorAll('#boxes button')].map((b) => b.firstChild.textContent).map((s) => s === 'Node ' ? '|' : s).join(' ')"
	check.Equal(t, p.Get(order), "This node wiki magazine search shop | bad | bank zoo")

	// Who is asked is drawn with its node.
	asks(t, party, "magazine", "stock", 1)
	p.Until("[...document.querySelectorAll('#answerers button')].some((b) => b.innerText.replaceAll(/\\s+/g, ' ') === 'zoo on b 1')")

	// The filter finds a node, and its title shows only that.
	p.Key("/")
	p.Type("onerror")
	p.Until("document.querySelectorAll('.box').length === 1")
	p.Get("document.getElementById('find').value = ''; document.getElementById('find').dispatchEvent(new Event('input')); ''")
	p.Until("document.querySelectorAll('.box').length === 7")
	p.Get("document.querySelector('.on-node button').focus(); ''")
	for range 3 {
		p.Key("ArrowDown")
	}
	check.Equal(t, p.Get("document.activeElement.closest('#boxes') ? document.activeElement.firstChild.textContent : ''"), "bad", "the arrow goes down by title and row")
	p.Key("ArrowDown")
	p.Key("Enter")
	p.Until("document.getElementById('chosen').innerText.startsWith('Only node b')")
	p.Until("document.querySelectorAll('.box').length === 2 && document.activeElement.textContent === 'Node b'")
	check.Equal(t, p.Get("[...document.querySelectorAll('#services .name')].map((n) => n.textContent).join()"), "stock", "services of other nodes")
	p.Key("ArrowDown")
	check.Equal(t, p.Get("document.activeElement.firstChild.textContent"), "bank")
	p.Key("Escape")
	p.Until("document.querySelectorAll('.box').length === 7")
	p.Get("document.querySelector('.on-node button').click(); ''")
	p.Until("document.querySelectorAll('.box').length === 4 && document.getElementById('chosen').innerText.startsWith('Only node this node')")
	p.Get("document.getElementById('all').click(); ''")
	p.Until("document.querySelectorAll('.box').length === 7")

	leaveEvil()
	p.Until(titles + " === 'This node 4 guests; Node b 2 guests'")
	leaveB()
	p.Until("document.querySelectorAll('.box').length === 4 && " + titles + " === ''")
	p.Until("![...document.querySelectorAll('.node')].some((b) => b.textContent.includes('zoo'))")
	quiet(t, p)
}

// TestManyGuestsOfManyNodes has 100 guests on each of three.
func TestManyGuestsOfManyNodes(t *testing.T) {
	c := partytest.NewCaddyWithAdmin(t)
	directives, party := large(t, 100, 3)
	c.Site("wsgi_party_page /party " + party + "\n" + directives)
	for _, node := range []string{"frankfurt-2", "new-york-1"} {
		var guests []string
		for i := range 100 {
			guests = append(guests, fmt.Sprintf("%s/app-%03d", node[:3], i))
		}
		onNode(t, party, node, guests...)
	}
	asks(t, party, "team-1/app-001", "stock", 3)
	p := chromium.Open(t).NewPage()
	p.Size(1280, 900)
	p.Visit("http://" + c.Address + "/party")
	p.Until("document.querySelectorAll('.box').length === 300")
	check.Equal(t, p.Get(titles), "This node 100 guests; Node frankfurt-2 100 guests; Node new-york-1 100 guests")
	for _, dark := range []bool{false, true} {
		for _, width := range []int{1280, 320} {
			p.Dark(dark)
			p.Size(width, 900)
			// In the middle of a node's guests, its title is on top.
			p.Get("[...document.querySelectorAll('.box')].find((b) => b.firstChild.textContent === 'fra/app-060').scrollIntoView({ block: 'center' }); ''")
			p.Until("document.elementFromPoint(40, 12)?.closest('.on-node')?.innerText.includes('frankfurt-2')")
			check.Equal(t, p.Get("String(document.documentElement.scrollWidth <= innerWidth)"), "true")
			if dir := os.Getenv("SCREENSHOTS"); dir != "" {
				check.Must(t, os.WriteFile(fmt.Sprintf("%s/nodes-%d-%t.png", dir, width, dark), p.Screenshot(), 0o600))
			}
		}
	}
	for _, url := range []string{"/party?node=frankfurt-2", "/party?node=this+node"} {
		_, body := get(c, "GET", url, "Accept", "application/json")
		check.Equal(t, strings.Count(shownAt(t, body, "guests"), `"mount"`), 100, url)
	}
	_, body := get(c, "GET", "/party?node=frankfurt-2&find=app-042", "Accept", "application/json")
	check.Equal(t, strings.Count(shownAt(t, body, "guests"), `"mount"`), 1)
	check.Equal(t, shownAt(t, body, "totals", "guests"), "300")
	quiet(t, p)
}
