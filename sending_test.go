// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/token"
	"github.com/wsgiparty/wsgiparty/internal/wire"
)

// TestApplicationsThatAreInvitedAgainAreWaitedForTogether holds each until all have
// been asked.
func TestApplicationsThatAreInvitedAgainAreWaitedForTogether(t *testing.T) {
	const applications = 3
	c := partytest.NewCaddy(t)
	var asked sync.WaitGroup
	asked.Add(applications)
	all := make(chan struct{})
	var config strings.Builder
	config.WriteString("wsgi_party main {\ninvite_timeout 10m\n")
	for n := range applications {
		var times atomic.Int64
		a := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
			if times.Add(1) == 1 {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			asked.Done()
			<-all
			w.Header().Set("Content-Type", partytest.ManifestType)
			_, _ = io.WriteString(w, `{"services": {"ping": {"answer": 1}}}`)
		})
		fmt.Fprintf(&config, "invite /app%d/__invite__/\n%s", n, partytest.Mounted(fmt.Sprint("app", n), "", a))
	}
	c.Site(config.String() + "}")
	partytest.Eventually(t, "all have refused", func() bool {
		for _, p := range Parties() {
			for _, i := range p.Invites {
				if i.Result != InviteRefused {
					return false
				}
			}
		}
		return true
	})
	go func() {
		asked.Wait()
		close(all)
	}()
	infos := SendInvites("main", "")
	if len(infos) != applications {
		t.Errorf("%+v", infos)
	}
	for _, i := range infos {
		if i.Result != InviteJoined {
			t.Errorf("%+v", i)
		}
	}
}

// TestAGuestThatHangsEachTimeTheConfigIsLoadedIsWaitedForLess has changes by the admin
// API wait for one guest.
func TestAGuestThatHangsEachTimeTheConfigIsLoadedIsWaitedForLess(t *testing.T) {
	hang := func(_ http.ResponseWriter, r *http.Request, _ *partytest.Operator) error {
		<-r.Context().Done()
		return nil
	}
	partytest.OnInvites(t, "app", hang, hang, hang, partytest.Connects("pong", "ping"), hang, hang)
	c := partytest.NewCaddy(t)
	outcome := func() InviteInfo { return Parties()[0].Invites[0] }
	const site = "ADDRESS {\nwsgi_party main {\ninvite_timeout 2s\ninvite /app/__invite__/ /other/__invite__/\ntest_app /app/* app\n}\n}"
	for load, want := range []string{"2s", "200ms", "200ms", "", "2s", "200ms"} {
		c.Load(site)
		if got := wire.Message(outcome().Err); want == "" && got != "" || !strings.HasSuffix(got, want) {
			t.Errorf("load %d: %q, want %s", load, got, want)
		}
		if hint := outcome().Hint; strings.Contains(hint, "a tenth") != (want == "200ms") {
			t.Errorf("load %d: hint %q", load, hint)
		}
	}
}

// TestWhoSaysWhatBecameOfInvitesWaitsForNobody has one change what the hints of invites
// depend on, while others read them.
func TestWhoSaysWhatBecameOfInvitesWaitsForNobody(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\ninvite /blog/__invite__/\nreverse_proxy 127.0.0.1:1\n}")
	a, _ := Running()
	const times = 20_000
	done := make(chan struct{})
	go func() {
		defer close(done)
		var group sync.WaitGroup
		group.Go(func() {
			for range times {
				_ = a.addKeys("main", "blog", token.Keys{})
			}
		})
		for range 2 {
			group.Go(func() {
				for range times {
					if hint := Parties()[0].Invites[0].Hint; !strings.Contains(hint, "wsgi_party_guest") {
						t.Error(hint)
					}
				}
			})
		}
		group.Wait()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("they wait for each other")
	}
}

// partiesOf returns the handlers of a party of the running config.
func partiesOf(t testing.TB, name string) []*Host {
	t.Helper()
	a, ok := Running()
	if !ok {
		t.Fatal("no config has a party")
	}
	return a.hostsOf(name)
}
