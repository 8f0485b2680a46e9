// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// password is the hash of the word password, quick to compute.
const password = "$2b$04$abcdefghijklmnopqrstuughE8Ev8uGFaUgY2cNEySvxngrb/Jzdm"

func TestAGuestHandlerThatNoInviteReachedIsWarnedOf(t *testing.T) {
	c := partytest.NewCaddy(t)
	mistake := func(directives string, want ...string) {
		t.Helper()
		before := len(partytest.LogEntries(t, noInvite))
		c.Site(directives)
		entries := partytest.LogEntries(t, noInvite)[before:]
		if len(entries) != 1 || entries[0]["level"] != "warn" {
			t.Errorf("%s: logged %v", directives, entries)
			return
		}
		for _, part := range want {
			if !strings.Contains(entries[0]["hint"].(string), part) {
				t.Errorf("%s: the hint lacks %q: %v", directives, part, entries[0]["hint"])
			}
		}
		check.Equal(t, entries[0]["party"], "main", "of party")
	}
	mistake("wsgi_party main {\nhandle_path /blog/* {\nwsgi_party_guest\nrespond blog\n}\n}",
		"write `invite <mount>/__invite__/` in the wsgi_party block")
	mistake("wsgi_party main {\nhandle_path /blog/* {\nwsgi_party_guest blog\nrespond blog\n}\n}",
		"write `invite <mount>/__invite__/ as blog` in the wsgi_party block")
	mistake("wsgi_party main {\ninvite /shop/__invite__/\nhandle_path /blog/* {\nwsgi_party_guest\nrespond blog\n}\n}",
		"write `invite <mount>/__invite__/`")
	// Another one takes the invite that comes.
	mistake("wsgi_party main {\ninvite /blog/__invite__/\nhandle_path /blog/* {\nroute {\nwsgi_party_guest weblog {\nanswer ping pong\n}\nwsgi_party_guest {\nanswer ping pong\n}\nrespond blog\n}\n}\n}",
		`the invites that come here are for ["blog"]`, "`invite <uri> as weblog`", "leave out the name")
	// What answers before the invite has come to the handler.
	recipe := "`not vars partyline blog`"
	mistake("wsgi_party main {\ninvite /blog/__invite__/\nbasic_auth {\nuser "+password+"\n}\nhandle_path /blog/* {\nwsgi_party_guest\nrespond blog\n}\n}",
		"/blog/__invite__/", "status 401", recipe)
	mistake("wsgi_party main {\ninvite /blog/__invite__/\nroute {\nerror \"slow down\" 429\nhandle_path /blog/* {\nwsgi_party_guest\nrespond blog\n}\n}\n}",
		"/blog/__invite__/", "status 429", recipe)
	auth := partytest.NewInvited(t, nil)
	mistake("wsgi_party main {\ninvite /blog/__invite__/\nforward_auth "+auth.Listener.Addr().String()+" {\nuri /auth\n}\nhandle_path /blog/* {\nwsgi_party_guest\nrespond blog\n}\n}",
		"/blog/__invite__/", "over the network", "forward_auth", recipe)
	mistake("wsgi_party main {\ninvite /blog/__invite__/\nredir https://example.com{uri} 308\nhandle_path /blog/* {\nwsgi_party_guest\nrespond blog\n}\n}",
		"/blog/__invite__/", "status 308", "https://example.com/blog/__invite__/")
	mistake("wsgi_party main {\ninvite /blog/__invite__/\nroute {\nrespond early\nwsgi_party_guest\n}\n}",
		"/blog/__invite__/", "status 200", "does another route answer before the guest")
}

const noInvite = "no invite reached a wsgi_party_guest handler: its application is not on the line"

func TestNobodyIsWarnedOfWhatIsRight(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site(`
	wsgi_party main {
		invite /blog/__invite__/ /both/__invite__/ /both/second/__invite__/
		handle_path /blog/* {
			wsgi_party_guest {
				answer ping pong
			}
		}
		handle_path /both/second/* {
			wsgi_party_guest {
				answer ping second
			}
		}
		handle_path /both/* {
			wsgi_party_guest both {
				answer ping pong
			}
		}
	}`)
	for _, e := range partytest.LogEntries(t, noInvite) {
		t.Errorf("logged %v", e)
	}
	c.ExpectJSONAnswers("main", "ping", `"pong"`, `"pong"`, `"second"`)
}

// TestTheRecipeLetsThePartyThroughAuthentication has an application that answers its
// invite, and asks, behind a password that people need.
func TestTheRecipeLetsThePartyThroughAuthentication(t *testing.T) {
	party := partytest.FreshParty()
	for _, name := range []string{"basic_auth", "forward_auth"} {
		t.Run(name, func(t *testing.T) {
			c := partytest.NewCaddy(t)
			app := partytest.NewInvited(t, partytest.Manifest(`{"services": {"user": {"href": "/api/user"}, "private": {"href": "/__invite__/private"}}}`)).On(partytest.JSON(`"somebody"`))
			recipe := "@people not vars partyline blog\n"
			if name == "basic_auth" {
				recipe += "basic_auth @people {\nuser " + password + "\n}\n"
			} else {
				refuses := partytest.NewInvited(t, nil).On(partytest.Status(401))
				recipe += "forward_auth @people " + refuses.Listener.Addr().String() + " {\nuri /auth\n}\n"
			}
			c.Site("wsgi_party " + party + name + " {\ninvite /blog/__invite__/\n" + recipe + partytest.Mounted("blog", "", app) + "}")
			info := invitesOf(t, party+name, true)["blog"]
			check.FatalIf(t, info.Result != wsgiparty.InviteJoined, "%+v", info)
			c.ExpectJSONAnswers(party+name, "user", `"somebody"`)
			c.ExpectJSONAnswers(party+name, "private", `"somebody"`)
			for _, forged := range []string{"", "partyline", "Party-Line", "X-Partyline"} {
				r := check.Value(http.NewRequest("GET", "http://"+c.Address+"/blog/api/user?partyline=blog", nil))(t)
				if forged != "" {
					r.Header.Set(forged, "blog")
				}
				r.AddCookie(&http.Cookie{Name: "partyline", Value: "blog"})
				response := check.Value(http.DefaultClient.Do(r))(t)
				response.Body.Close()
				check.Equal(t, response.StatusCode, 401, "people get in with %q", forged)
			}
			if name == "basic_auth" {
				r := check.Value(http.NewRequest("GET", "http://user:password@"+c.Address+"/blog/api/user", nil))(t)
				response := check.Value(http.DefaultClient.Do(r))(t)
				response.Body.Close()
				check.Equal(t, response.StatusCode, 200, "people with a password")
			}
			for _, e := range partytest.LogEntries(t, noInvite) {
				t.Errorf("logged %v", e)
			}
		})
	}
}

func TestKeysOfTwoGuestsThatAreTheSameFailTheLoad(t *testing.T) {
	c := partytest.NewCaddy(t)
	partytest.Key(t, "one")
	t.Setenv("same_PARTY_KEY", "one"+strings.Repeat("-Key", 8))
	partytest.Key(t, "two")
	c.Site("respond before")
	guests := func(one, two string) string {
		return "wsgi_party main {\ninvite /a/__invite__/ /b/__invite__/\nhandle_path /a/* {\nwsgi_party_guest {\nkey " + one + "\nanswer x y\n}\n}\nhandle_path /b/* {\nwsgi_party_guest {\nkey " + two + "\nanswer x y\n}\n}\n}\n"
	}
	two := func(one, two string) string {
		return "ADDRESS {\n" + guests(one, two) + "}"
	}
	for _, config := range []string{
		two("{env.one_PARTY_KEY}", "{env.one_PARTY_KEY}"),
		two("{env.one_PARTY_KEY}", "{env.same_PARTY_KEY}"),
		two("{env.one_PARTY_KEY}", "{env.two_PARTY_KEY} {env.same_PARTY_KEY}"),
		// In two parties, too.
		"ADDRESS {\nroute {\nwsgi_party x {\ninvite /a/__invite__/\nhandle_path /a/* {\nwsgi_party_guest {\nkey {env.one_PARTY_KEY}\n}\n}\n}\nwsgi_party y {\ninvite /b/__invite__/\nhandle_path /b/* {\nwsgi_party_guest {\nkey {env.same_PARTY_KEY}\n}\n}\n}\n}\n}",
	} {
		err := c.TryLoad(config)
		check.ErrorIf(t, err == nil || !strings.Contains(err.Error(), `"a`) || !strings.Contains(err.Error(), `"b`) || !strings.Contains(err.Error(), "share a key: each needs its own"), "%s: %v", config, err)
		check.ErrorIf(t, err != nil && strings.Contains(err.Error(), "-Key-Key"), "a key is shown: %v", err)
		c.Expect("/", 200, "before")
	}
	// The same guest in two servers has the same key, and two of its own.
	second := testport.Address(t)
	_, port, err := net.SplitHostPort(second)
	check.Must(t, err)
	c.Load("ADDRESS http://127.0.0.1:" + port + " {\n" + guests("{env.one_PARTY_KEY} {env.same_PARTY_KEY}", "{env.two_PARTY_KEY}") + "}")
	if guests := operatorOf(c, "main").Partyline().Guests(); len(guests) != 2 || guests[0].Replicas != 2 {
		t.Errorf("%+v", guests)
	}
}
