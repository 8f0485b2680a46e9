// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpask_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// partyAsk is the Party-Ask that a guest with that key is to be sent.
func partyAsk(key, address string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte("wsgi_party ask v1\x00" + address))
	return address + "; mac=" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// lastPartyAsk is what an application of any kind may take for Party-Ask in the last request that it was sent.
func lastPartyAsk(a *partytest.Application) []string {
	r := a.Requests()[len(a.Requests())-1]
	var found []string
	for _, header := range []http.Header{r.Header, r.Trailer} {
		for name, values := range header {
			if strings.EqualFold(strings.NewReplacer("_", "-", ".", "-").Replace(name), "Party-Ask") {
				for _, value := range values {
					found = append(found, partytest.WithoutLine(value))
				}
			}
		}
	}
	return found
}

// TestAGuestNeedsOnlyItsKeyToAsk has no site to ask at: the address comes with each request, also with
// invites and asks.
func TestAGuestNeedsOnlyItsKeyToAsk(t *testing.T) {
	c := partytest.NewCaddy(t)
	key := partytest.Key(t, "a")
	a := partytest.NewApplication(t, `{"services": {"ask": {"href": "/ask"}}}`, partytest.JSON(`"a"`))
	var invited []string
	a.OnInvite(func(w http.ResponseWriter, r *http.Request) {
		invited = []string{partytest.WithoutLine(r.Header.Get("Party-Ask"))}
		partytest.Manifest(`{"services": {"ask": {"href": "/ask"}}}`)(w, r)
	})
	c.Site("wsgi_party main {\nask_on " + c.Endpoint + "\ninvite /a/__invite__/ /b/__invite__/\n" +
		partytest.Mounted("a", "key {env.a_PARTY_KEY}", a) + partytest.Mounted("b", "answer who b", a) + "}")
	want := []string{partyAsk(key, "http://"+c.Endpoint+"/")}
	check.Equal(t, len(c.Answered("main", "ask", nil)), 1)
	check.Slices(t, lastPartyAsk(a), want, "an ask")
	check.Slices(t, invited, want, "an invite")
	for range 2 {
		c.Get("/a/page")
		check.Slices(t, lastPartyAsk(a), want, "a visitor's request")
	}
	address, _, _ := strings.Cut(a.Requests()[0].Header.Get("Party-Ask"), ";")
	c.Endpoint = strings.TrimSuffix(strings.TrimPrefix(address, "http://"), "/")
	c.ExpectAsk(partytest.Asking{Key: key, Path: "/who"}, answered(`"b"`, "b /b"))
	c.ExpectProblem(partytest.Asking{Path: "/who"}, 401)
}

// TestAVisitorCannotSayWhereToAsk writes Party-Ask in all ways in which an application may read it.
func TestAVisitorCannotSayWhereToAsk(t *testing.T) {
	c := partytest.NewCaddy(t)
	key := partytest.Key(t, "a")
	app := partytest.NewApplication(t, "", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	c.Site("wsgi_party main {\nask_on " + c.Endpoint + "\ninvite /a/__invite__/ /keyless/__invite__/\n" +
		partytest.Mounted("a", "answer who a\nkey {env.a_PARTY_KEY}", app) + partytest.Mounted("keyless", "answer who b", app) +
		partytest.Mounted("uninvited", "answer who c", app) + "}")
	right := partyAsk(key, "http://"+c.Endpoint+"/")
	for path, want := range map[string][]string{"/a/": {right}, "/keyless/": nil, "/uninvited/": nil} {
		for _, name := range []string{"Party-Ask", "party-ask", "PARTY-ASK", "Party_Ask", "party.ask", "Party-ask"} {
			for _, forged := range []string{"http://evil.example/", partyAsk(key, "http://evil.example/"), right, ""} {
				for _, header := range []string{name + ": " + forged, name + ": " + forged + "\r\n" + name + ": " + forged, name + ": " + forged + "\r\nConnection: party-ask, x",
					"Connection: Party-Ask, Party_Ask, close"} {
					c.Raw("GET " + path + " HTTP/1.1\r\nHost: " + c.Address + "\r\n" + header + "\r\n\r\n")
					check.Slices(t, lastPartyAsk(app), want, "%s %q", path, header)
				}
			}
			c.Raw("POST " + path + " HTTP/1.1\r\nHost: " + c.Address + "\r\nTransfer-Encoding: chunked\r\nTrailer: " + name + "\r\nConnection: close\r\n\r\n1\r\nx\r\n0\r\n" + name + ": http://evil.example/\r\n\r\n")
			check.Slices(t, lastPartyAsk(app), want, "%s trailer %s", path, name)
		}
	}
}

// TestEachGuestIsToldByItsOwnKey has guests with keys, with two, and without, beside each other and in nested parties.
func TestEachGuestIsToldByItsOwnKey(t *testing.T) {
	c := partytest.NewCaddy(t)
	keyA, keyB := partytest.Key(t, "a"), partytest.Key(t, "b")
	partytest.Key(t, "old")
	app := partytest.NewApplication(t, "", nil)
	inner := testport.Address(t)
	c.Site("wsgi_party main {\nask_on " + c.Endpoint + "\ninvite /a/__invite__/ /b/__invite__/ /out/__invite__/\n" +
		partytest.Mounted("a", "answer who a\nkey {env.a_PARTY_KEY} {env.old_PARTY_KEY}", app) + partytest.Mounted("b", "answer who b\nkey {env.b_PARTY_KEY}", app) + `
		handle_path /out/* {
			wsgi_party_guest {
				answer who out
			}
			wsgi_party inner {
				ask_on ` + inner + ` http://inner.example:1/ask/
				invite /in/__invite__/
				handle_path /in/* {
					wsgi_party_guest {
						answer who in
					}
					reverse_proxy ` + app.Address() + `
				}
			}
			reverse_proxy ` + app.Address() + `
		}
	}`)
	for path, want := range map[string][]string{
		"/a/": {partyAsk(keyA, "http://"+c.Endpoint+"/")}, "/b/": {partyAsk(keyB, "http://"+c.Endpoint+"/")}, "/out/": nil, "/out/in/": nil,
	} {
		c.Get(path)
		check.Slices(t, lastPartyAsk(app), want, path)
	}
}

// TestTheHandlersOfOnePartyTellTheirGuests has replicas in two servers, a handler that says nothing, and
// one that says another address.
func TestTheHandlersOfOnePartyTellTheirGuests(t *testing.T) {
	c := partytest.NewCaddy(t)
	for _, guest := range []string{"a", "silent", "other"} {
		partytest.Key(t, guest)
	}
	app := partytest.NewApplication(t, "", nil)
	second := testport.Address(t)
	handler := func(name, options string) string {
		return " {\nwsgi_party main {\n" + options + "invite /" + name + "/__invite__/\n" + partytest.Mounted(name, "answer who "+name+"\nkey {env."+name+"_PARTY_KEY}", app) + "}\n}\n"
	}
	socket := filepath.Join(t.TempDir(), "other.sock")
	c.Load("ADDRESS, http://" + second + handler("a", "ask_on "+c.Endpoint+"\n") +
		"http://127.0.0.2:" + port(t, c.Address) + handler("silent", "") + "http://127.0.0.3:" + port(t, c.Address) + handler("other", "ask_on unix/"+socket+"\n"))
	for where, want := range map[string]string{
		"http://" + c.Address + "/a/":                         partyAsk("a"+strings.Repeat("-Key", 8), "http://"+c.Endpoint+"/"),
		"http://" + second + "/a/":                            partyAsk("a"+strings.Repeat("-Key", 8), "http://"+c.Endpoint+"/"),
		"http://127.0.0.2:" + port(t, c.Address) + "/silent/": partyAsk("silent"+strings.Repeat("-Key", 8), "http://"+c.Endpoint+"/"),
		"http://127.0.0.3:" + port(t, c.Address) + "/other/":  partyAsk("other"+strings.Repeat("-Key", 8), "unix/"+socket),
	} {
		response := check.Value(http.Get(where))(t)
		partytest.ReadAll(t, response)
		check.Slices(t, lastPartyAsk(app), []string{want}, where)
	}
	check.Equal(t, len(partytest.LogEntries(t, "listening for what guests ask")), 2, "listeners")
	got, err := askOver(keptAlive(t, socket), "silent"+strings.Repeat("-Key", 8), "who")
	check.ErrorIf(t, err != nil || !strings.Contains(got, `"answers":["a","other"]`), got, err)
}

func port(t testing.TB, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	check.Must(t, err)
	return port
}

// TestAddressesThatWouldMixUpPartiesFailTheLoad has two parties, or a party and a site, at one.
func TestAddressesThatWouldMixUpPartiesFailTheLoad(t *testing.T) {
	c := partytest.NewCaddy(t)
	p := port(t, c.Endpoint)
	resolve(t)
	socket := filepath.Join(t.TempDir(), "party.sock")
	parties := func(one, two string) string {
		return "ADDRESS {\nwsgi_party one {\nask_on " + one + "\n}\nwsgi_party two {\nask_on " + two + "\n}\n}\n"
	}
	const both = `the parties "one" and "two" both have ask_on at `
	for config, want := range map[string]string{
		parties(c.Endpoint, c.Endpoint):                 both,
		parties(c.Endpoint, "localhost:"+p):             both,
		parties(c.Endpoint, ":"+p+" http://x/"):         both,
		parties("unix/"+socket+"|0660", "unix/"+socket): both,
		"http://127.0.0.1:" + p + " {\nbind 127.0.0.1\nwsgi_party one {\nask_on " + c.Endpoint + "\n}\n}":               `is also an address of the HTTP server "srv0", at `,
		"http://127.0.0.1:" + p + " {\nwsgi_party one {\nask_on " + c.Endpoint + "\n}\n}":                               "write another address, or put wsgi_party_ask in that site",
		"http:// {\nbind unix/" + socket + "\nwsgi_party one {\nask_on unix/" + socket + "|0600\n}\n}":                  "is also an address of the HTTP server",
		"ADDRESS {\nwsgi_party one {\nask_on " + c.Endpoint + "\n}\nwsgi_party one {\nask_on localhost:" + p + "\n}\n}": "write the address of ask_on differently",
		parties("party.example:"+p, c.Endpoint):                                                                         both, // which only the resolver knows
	} {
		adapted, _, err := c.TryAdapt(config)
		if err == nil {
			err = c.TryLoadJSON(adapted)
		}
		check.Fails(t, err, want)
		partytest.Eventually(t, "a config that failed no longer listens", func() bool { return refused(c.Endpoint) })
	}
}

// TestPlaceholdersInAddresses are replaced when the config loads, and what comes of that is checked.
func TestPlaceholdersInAddresses(t *testing.T) {
	c := partytest.NewCaddy(t)
	key := partytest.Key(t, "a")
	app := partytest.NewApplication(t, "", nil)
	config := "ADDRESS {\nwsgi_party main {\nask_on {env.ASK_LISTEN} {env.ASK_URL}\ninvite /a/__invite__/\n" + partytest.Mounted("a", "answer who a\nkey {env.a_PARTY_KEY}", app) + "}\n}"
	t.Setenv("ASK_LISTEN", c.Endpoint)
	for url, want := range map[string]string{
		"http://x/\r\nSet-Cookie: a=b": `has the character '\r' in it`, "http://x/; mac=forged": "has the character ';' in it", "http://x/ y": "has the character ' ' in it", "": "ASK_URL",
	} {
		t.Setenv("ASK_URL", url)
		check.Fails(t, c.TryLoad(config), want, "ask_on")
	}
	t.Setenv("ASK_URL", "http://guests.example/ask/")
	c.Load(config)
	c.Get("/a/")
	check.Slices(t, lastPartyAsk(app), []string{partyAsk(key, "http://guests.example/ask/")})
	check.Equal(t, c.Ask(partytest.Asking{Key: key, Path: "/"}).Status, 400)
}

// TestTheAdminAPIsAddressIsNoPartys has both at the address that is Caddy's default.
func TestTheAdminAPIsAddressIsNoPartys(t *testing.T) {
	c := partytest.NewCaddyWithAdmin(t)
	before := caddy.DefaultAdminListen
	caddy.DefaultAdminListen = c.Admin
	t.Cleanup(func() { caddy.DefaultAdminListen = before })
	check.Fails(t, c.TryLoad("ADDRESS {\nwsgi_party main {\nask_on "+c.Admin+"\n}\n}"), "is the address of Caddy's admin API: write another one")
}

// resolve has each name resolve to 127.0.0.1 until the test ends.
func resolve(t testing.TB) {
	conn := check.Value(net.ListenPacket("udp", "127.0.0.1:0"))(t)
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for packet := make([]byte, 512); ; {
			n, from, err := conn.ReadFrom(packet)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(packet[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			answer := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true}, Questions: m.Questions}
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				answer.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class}, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}}}
			}
			if packed, err := answer.Pack(); err == nil {
				_, _ = conn.WriteTo(packed, from)
			}
		}
	}()
	t.Cleanup(func() {
		net.DefaultResolver = before
		conn.Close()
		<-done
	})
}

// TestWhoElseCanConnectIsWarnedOf has addresses that only this machine reaches, and one that others do.
func TestWhoElseCanConnectIsWarnedOf(t *testing.T) {
	c := partytest.NewCaddy(t)
	p := port(t, c.Endpoint)
	const open = "ask_on can be reached from other machines"
	for address, warnings := range map[string]int{c.Endpoint: 0, "localhost:" + p: 0, "unix/" + filepath.Join(t.TempDir(), "s"): 0, "[::1]:" + p: 0, ":" + p + " http://x:1/": 1, "0.0.0.0:" + p + " http://x:1/": 1} {
		partytest.ResetLog()
		c.Site("wsgi_party main {\nask_on " + address + "\n}")
		entries := partytest.LogEntries(t, open)
		check.Equal(t, len(entries), warnings, address)
		for _, e := range entries {
			check.Contains(t, fmt.Sprint(e), []string{"warn", "127.0.0.1:2080", "unix//run/party.sock|0660", "client_auth"}, address)
		}
	}
}
