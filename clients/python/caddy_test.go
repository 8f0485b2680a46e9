// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package python

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"go.uber.org/goleak"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// parties are counted, for a test's party to have a name of its own: manifests are kept
// from config to config.
var parties atomic.Int64

// testCaddy is a Caddy behind which the guests are.
type testCaddy struct {
	t      *testing.T
	party  string
	site   string
	ask    string
	tls    bool // whether to ask over https
	socket string
}

func newCaddy(t *testing.T) *testCaddy {
	t.Helper()
	before := goleak.IgnoreCurrent()
	dir, err := os.MkdirTemp("", "party")
	if err != nil {
		t.Fatal(err)
	}
	c := &testCaddy{t: t, party: fmt.Sprint("main", parties.Add(1)), site: testport.Address(t), ask: testport.Address(t), socket: filepath.Join(dir, "ask")}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		os.RemoveAll(dir)
		http.DefaultClient.CloseIdleConnections()
		goleak.VerifyNone(t, before,
			goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*Cache).maintainAssets"),
			// Sleeps for up to 5 s after its file is gone.
			goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
	})
	return c
}

// invite loads a party of these guests, which ask it at an address or at a socket.
func (c *testCaddy) invite(guests ...*guest) {
	c.t.Helper()
	scheme, tls := "http", ""
	if c.tls {
		scheme, tls = "https", "tls internal\n"
	}
	config := "{\nadmin off\npersist_config off\nauto_https disable_redirects\nskip_install_trust\nstorage_check off\nstorage_clean_interval off\ngrace_period 5s\nlog {\noutput discard\n}\n}\nhttp://" +
		c.site + " {\nwsgi_party " + c.party + " {\n"
	for _, g := range guests {
		config += g.mount()
	}
	config += "}\n}\n" + scheme + "://" + c.ask + " {\n" + tls + "handle_path /party/* {\nwsgi_party_ask " + c.party + "\n}\n}\nhttp:// {\nbind unix/" + c.socket + "\nwsgi_party_ask " + c.party + "\n}\n"
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := caddy.Load(adapted, true); err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, "the applications answer their invites", func() bool {
		parties := wsgiparty.Parties()
		return len(parties) == 1 && len(parties[0].Invites) == len(guests) &&
			!slices.ContainsFunc(parties[0].Invites, func(i wsgiparty.InviteInfo) bool { return i.Status == 0 && i.Err == nil })
	})
}

// allJoined fails the test unless they all have.
func (c *testCaddy) allJoined() {
	c.t.Helper()
	for _, i := range wsgiparty.Parties()[0].Invites {
		if i.Result != wsgiparty.InviteJoined {
			c.t.Fatalf("%+v", i)
		}
	}
}

// asked returns what asking as a guest, or as nobody, gives, as JSON.
func (c *testCaddy) asked(guest, service string, payload any) string {
	c.t.Helper()
	operator, ok := wsgiparty.Lookup(c.party)
	if !ok {
		c.t.Fatal("no party")
	}
	answers, err := operator.Partyline().Operator(guest).AskAround(c.t.Context(), service, payload)
	encoded, _ := json.Marshal(answers)
	if err != nil {
		return fmt.Sprintf("%s %v", encoded, err)
	}
	return string(encoded)
}

// get returns a page, which is JSON.
func (c *testCaddy) get(path string) string {
	c.t.Helper()
	response, err := http.Get("http://" + c.site + path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		c.t.Errorf("%s: %d %s %v", path, response.StatusCode, body, err)
		return ""
	}
	var plain bytes.Buffer
	if err := json.Compact(&plain, body); err != nil {
		c.t.Errorf("%s: %s %v", path, body, err)
	}
	return plain.String()
}

func (c *testCaddy) pageIs(path, want string) {
	c.t.Helper()
	if got := c.get(path); sorted(c.t, got) != sorted(c.t, want) {
		c.t.Errorf("%s: %s, want %s", path, got, want)
	}
}

// sorted returns JSON whose lists are in an order of their own: but for links, who
// joins first is asked first.
func sorted(t *testing.T, text string) string {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Errorf("%s: %v", text, err)
	}
	var sort func(any)
	sort = func(value any) {
		list, _ := value.([]any)
		for _, element := range list {
			sort(element)
		}
		slices.SortFunc(list, func(a, b any) int {
			return strings.Compare(fmt.Sprintf("%T %v", a, a), fmt.Sprintf("%T %v", b, b))
		})
	}
	sort(value)
	encoded, _ := json.Marshal(value)
	return string(encoded)
}

// TestSeveralAsksTravelTogether has many ask at once.
func TestSeveralAsksTravelTogether(t *testing.T) {
	all := pythons(t)
	c := newCaddy(t)
	g := newGuest(t, "one", "unix/"+c.socket).underWSGIRef(all[len(all)-1])
	batches := partytest.NewBatches(g.address)
	t.Cleanup(batches.Close)
	g.address = batches.Address
	c.invite(g)
	c.allJoined()
	operator, _ := wsgiparty.Lookup(c.party)
	batches.Expect(t, func(payload any) ([]any, error) { return operator.AskAround(t.Context(), "echo", payload) })
}
