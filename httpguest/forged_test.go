// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// withHeaderAliases has Caddy let headers with "_" and "." in that its users' own
// applications may expect.
func withHeaderAliases(t testing.TB, config []byte) []byte {
	t.Helper()
	var decoded map[string]any
	check.Must(t, json.Unmarshal(config, &decoded))
	for _, server := range decoded["apps"].(map[string]any)["http"].(map[string]any)["servers"].(map[string]any) {
		server := server.(map[string]any)
		server["expected_underscore_headers"] = []string{"party_*", "x_*", "X_forwarded-Prefix", "X-Forwarded_prefix", "X_forwarded.prefix", "X.forwarded_prefix"}
		server["expected_dot_headers"] = []string{"party.*", "x.*", "X-Forwarded.prefix"}
	}
	changed := check.Value(json.Marshal(decoded))(t)
	return changed
}

// reservedSeen are the values of all headers and trailers that an application may
// take for the party's.
type reservedSeen struct{ Token, Prefix []string }

func reservedIn(headers ...http.Header) (seen reservedSeen) {
	for _, h := range headers {
		for name, values := range h {
			switch strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(name)) {
			case "party-token":
				seen.Token = append(seen.Token, values...)
			case "x-forwarded-prefix":
				seen.Prefix = append(seen.Prefix, values...)
			}
		}
	}
	return seen
}

// TestForgedHeadersDoNotReachApplications has the same applications at /http and /php
// behind a guest handler, and at /open/http and /open/php without one: an attack that
// fails there, too, would show nothing.
func TestForgedHeadersDoNotReachApplications(t *testing.T) {
	socket := partytest.StartPHP(t)
	root := partytest.Scripts(t, map[string]string{"index.php": `
		$seen = ["Token" => [], "Prefix" => []];
		foreach ($_SERVER as $name => $value) {
			if ($name == "HTTP_PARTY_TOKEN") $seen["Token"][] = $value;
			if ($name == "HTTP_X_FORWARDED_PREFIX") $seen["Prefix"][] = $value;
		}
		echo json_encode($seen);`})
	c := partytest.NewCaddy(t)
	a := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(reservedIn(r.Header, r.Trailer))
	})
	http1, php := "reverse_proxy "+a.Address(), "root "+root+"\nphp_fastcgi unix/"+socket
	config := c.Adapt("ADDRESS {\nwsgi_party " + partytest.FreshParty() + ` {
		invite /http/__invite__/ /php/__invite__/
		handle_path /http/* {
			wsgi_party_guest {
				answer ping pong
			}
			` + http1 + `
		}
		handle_path /php/* {
			wsgi_party_guest {
				answer ping pong
			}
			` + php + `
		}
		handle_path /open/http/* {
			` + http1 + `
		}
		handle_path /open/php/* {
			` + php + `
		}
	}
	}`)
	check.Must(t, caddy.Load(withHeaderAliases(t, config), true))
	type attack struct{ head, trailer string }
	attacks := map[string]attack{
		"as they are":       {"Party-Token: forged\r\nX-Forwarded-Prefix: forged\r\n", ""},
		"several of one":    {"Party-Token: forged\r\nParty-Token: again\r\n", ""},
		"announced trailer": {"Trailer: Party-Token, x_forwarded.prefix\r\n", "Party-Token: forged\r\nx_forwarded.prefix: forged\r\n"},
		"late trailers":     {"Trailer: X-Sum\r\n", "X-Sum: 1\r\nPARTY_TOKEN: forged\r\nparty.token: forged\r\n"},
	}
	for _, name := range []string{
		"Party_Token", "PARTY_TOKEN", "PARTY.TOKEN", "party.token", "X_Forwarded_Prefix", "X.FORWARDED.PREFIX",
		"X-Forwarded_Prefix", "X_Forwarded-Prefix", "X-Forwarded.Prefix", "X_Forwarded.Prefix", "X.Forwarded_Prefix",
	} {
		attacks[name] = attack{name + ": forged\r\n", ""}
	}
	send := func(path string, a attack) (seen reservedSeen) {
		request := "GET " + path + " HTTP/1.1\r\nHost: " + c.Address + "\r\nConnection: close\r\n" + a.head
		if a.trailer != "" {
			request += "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n" + a.trailer
		}
		response := c.Raw(request + "\r\n")
		status, body := response.Status, response.Body
		if err := json.Unmarshal([]byte(body), &seen); status != 200 || err != nil {
			t.Fatalf("%s: status %d, %v, body %q", path, status, err, body)
		}
		return seen
	}
	for name, attack := range attacks {
		for _, path := range []string{"/http/", "/php/"} {
			succeeds := false
			// FastCGI takes one of two names that become the same at random. Caddy by
			// itself drops what is written with "-" where it lets "_" or "." pass.
			for range 32 {
				if seen := send("/open"+path, attack); len(seen.Token)+len(seen.Prefix) > 0 {
					succeeds = true
					break
				}
			}
			check.ErrorIf(t, !succeeds && !(path == "/php/" && attack.trailer != "") && strings.ContainsAny(attack.head+attack.trailer, "_."), "%s%s succeeds nowhere", path, name)
			for range 4 {
				seen := send(path, attack)
				check.ErrorIf(t, len(seen.Token) > 0 || !slices.Equal(seen.Prefix, []string{strings.TrimSuffix(path, "/")}), "%s, %s: the application has %+v", path, name, seen)
			}
		}
	}

	// Named in Connection, the party's own header would be dropped by the proxy.
	for _, path := range []string{"/http/", "/php/"} {
		seen := send(path, attack{"Connection: X-Forwarded-Prefix, Party-Token\r\n", ""})
		check.Slices(t, seen.Prefix, []string{strings.TrimSuffix(path, "/")}, "%s: named in Connection, the prefix", path)
	}
}

func TestPrivatePathsAreHiddenFromOutside(t *testing.T) {
	c := partytest.NewCaddy(t)
	a := partytest.NewApplication(t, "", nil)
	c.Site("wsgi_party " + partytest.FreshParty() + " {\ninvite /a/__invite__/ /__invite__/\n" + partytest.Mounted("a", "answer ping pong", a) + `
		handle {
			wsgi_party_guest {
				answer ping pong
			}
			reverse_proxy ` + a.Address() + "\n}\n}")
	targets := []string{
		"/a/__invite__", "/a/__invite__/", "/A/__Invite__/", "/a/__INVITE__/x", "//a/__invite__/", "/a//__invite__", "/a/__invite__//x", "///__invite__/",
		"/a%2f__invite__/", "/a%2F__invite__%2Fx", "/a/%5f_invite__/", "/%61/%5F%5Finvite%5f%5f", "/a/__%69nvite__/", "/a%5c__invite__", "/%5c__invite__",
		"/a/./__invite__/", "/a/%2e/__invite__/", "/a/x/../__invite__/", "/a/x/%2e%2e/__invite__", "/a/x/%2E./__invite__", "/x/../a/__invite__/", "/a/%2e%2e/__invite__/", "/x%2f..%2f__invite__",
		"/a/__invite__;x", "/a/__invite__;x=1/y", "/a;x/__invite__/", "/a/__invite__%3bx/", "/a/x/..;/__invite__/", "/;/__invite__", "/a/.;x/__invite__",
		"/a/__invite__.", "/a/__invite__...", "/a/__invite__./x", "/a./__invite__/", "/a/__invite__%2e", "/a/__invite__%20", "/a/__invite__%0a", "/__invite__/%0A", "/a/__invite__%00",
		"/a/__invite__.json", "/a/__invite__.php/x", "/a/index.php/__invite__/", "/index.php/__invite__",
		"//host/a/__invite__/", "http://" + c.Address + "/a/__invite__/", "/a/__invite__/?x", "/a/__invite__?/..",
	}
	for _, target := range targets {
		for _, method := range []string{"GET", "POST", "OPTIONS"} {
			response := c.Raw(method + " " + target + " HTTP/1.1\r\nHost: " + c.Address + "\r\nAccept: " + partytest.ManifestType + "\r\nConnection: close\r\n\r\n")
			status, body := response.Status, response.Body
			check.ErrorIf(t, status != 404 || body != "", "%s %s: %d %q, want 404", method, target, status, body)
		}
	}
	for _, r := range a.Requests() {
		t.Errorf("%s %s came to the application", r.Method, r.RequestURI)
	}
	status, body := c.Get("/a/invite")
	check.ErrorIf(t, status != 200 || len(a.Requests()) != 1, "a public path: %d %q", status, body)
}

// TestOrdinaryRequestsAreNotTakenForThePartys whatever they say of themselves.
func TestOrdinaryRequestsAreNotTakenForThePartys(t *testing.T) {
	key, _ := partytest.Key(t, "a"), partytest.Key(t, "b")
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	a := partytest.NewApplication(t, "", partytest.JSON("1"))
	var invitations atomic.Int64
	partytest.App(t, "spy", func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		if _, ok := wsgiparty.InvitationFrom(r); ok || wsgiparty.DeliveredTo(r, "a") || wsgiparty.DeliveredTo(r, "") || caddyhttp.GetVar(r.Context(), "partyline") != nil {
			invitations.Add(1)
		}
		return next.ServeHTTP(w, r)
	})
	// The password is "x".
	c.Site("wsgi_party " + party + ` {
		invite /a/__invite__/
		handle_path /a/* {
			@people not vars partyline a
			basic_auth @people {
				visitor $2a$04$EBDVlyq/lEnq4OlXsIQEeOnQkwgW/5IhcHiZo2dpZCbVZwW4Z5wqe
			}
			wsgi_party_guest {
				key {env.a_PARTY_KEY}
				service own /own
			}
			reverse_proxy ` + a.Address() + `
		}
		handle_path /spy/* {
			test_app spy
			reverse_proxy ` + a.Address() + `
		}
	}
	handle_path /ask/* {
		wsgi_party_ask ` + party + "\n}")
	if got := c.Answered(party, "own", nil); len(got) != 1 || len(a.Requests()) != 1 {
		t.Fatalf("the party itself: %s, %d requests", got, len(a.Requests()))
	}
	good := partytest.Signed(t, key, "a", time.Now())
	claims := "Accept: " + partytest.ManifestType + "\r\nCache-Control: no-store\r\nContent-Type: application/json\r\nParty-Token: " + good + "\r\nX-Forwarded-Prefix: /a\r\npartyline: a\r\nX-Forwarded-For: 192.0.2.1\r\n" +
		"Forwarded: for=192.0.2.1\r\nX-Real-Ip: 192.0.2.1\r\nVia: 1.1 Caddy\r\n"
	for _, target := range []string{"/a/own", "/a/own?partyline=a", "/a/own?vars.partyline=a", "/a/own#partyline", "/A/own", "//a/own"} {
		for _, method := range []string{"GET", "POST", "INVITE"} {
			status := c.Raw(method + " " + target + " HTTP/1.1\r\nHost: " + c.Address + "\r\nConnection: close\r\nCookie: partyline=a\r\nContent-Length: 4\r\n" + claims + "\r\nnull").Status
			check.Equal(t, status, 401, "%s %s: status", method, target)
		}
	}
	n := len(a.Requests())
	check.ErrorIf(t, n != 1, "%d requests came to the application", n-1)
	check.Equal(t, c.Raw("GET /spy/x HTTP/1.1\r\nHost: "+c.Address+"\r\nConnection: close\r\n"+claims+"\r\n").Status, 200)
	check.Equal(t, invitations.Load(), 0, "requests taken for the party's")
	// A token is no key.
	for _, key := range []string{good, ""} {
		status, _ := c.AskAs(key, "own", "null", good)
		check.Equal(t, status, 401, "asking with a token, and the key %q", key)
	}
}
