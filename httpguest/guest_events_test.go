// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// TestEventsTellOfRemoteGuests does not wait for half a minute between the answers
// that the application is no guest any more.
func TestEventsTellOfRemoteGuests(t *testing.T) {
	httpguest.Waits{Broken: time.Second}.Set(t)
	c := partytest.NewCaddy(t)
	events, expected := partytest.KeepEvents(t), 0
	expect := func(want ...string) {
		t.Helper()
		var got []string
		partytest.Eventually(t, fmt.Sprintf("%q is told", want), func() bool {
			got = events.Events()[expected:]
			return len(got) >= len(want)
		})
		check.Slices(t, got, want, "got")
		expected += len(got)
	}
	blog := partytest.NewInvited(t, partytest.Manifest(`{"services": {"ping": {"answer": 1}, "gone": {"href": "/gone"}}}`))
	refusing := partytest.NewInvited(t, partytest.Status(403))
	c.Site("route {\ntest_app events\nwsgi_party main {\ninvite /evblog/__invite__/\n" + partytest.Mounted("evblog", "", blog) + "}\n}")
	expect("guest_joined evblog [gone ping]")
	c.Site("route {\ntest_app events\nwsgi_party main {\ninvite /evblog/__invite__/ /evother/__invite__/\n" + partytest.Mounted("evblog", "", blog) + partytest.Mounted("evother", "", refusing) + "}\n}")
	// The next config begins with the last manifest, and with the other's answer.
	expect("guest_joined evblog [gone ping]", "invite_refused evother []")

	blog.OnInvite(partytest.Status(503))
	for range 2 { // it is told once
		before := blog.Invites()
		partytest.Eventually(t, "it is invited again", func() bool {
			_, _ = operatorOf(c, "main").AskAround(t.Context(), "gone", nil)
			return blog.Invites() > before
		})
	}
	expect("invite_failed evblog [gone ping]")

	f := httpguest.NewFetcher(applicationOf(t, "evblog"))
	for i := range 3 {
		f.Hear(&http.Response{StatusCode: http.StatusNotFound, Body: http.NoBody}, nil, time.Now().Add(time.Duration(i)*31*time.Second))
	}
	expect("invite_not_answered evblog [gone ping]", "guest_left evblog [gone ping]", "invite_not_answered evblog []")
	blog.OnInvite(partytest.Manifest(`{"services": {"ping": {"answer": 2}}}`))
	wsgiparty.SendInvites("main", "evblog")
	expect("guest_joined evblog [ping]")
}

// TestInvitesAreCountedAndToldOfWhenTheirResultChanges has an application be asked
// again and again.
func TestInvitesAreCountedAndToldOfWhenTheirResultChanges(t *testing.T) {
	httpguest.Waits{Broken: time.Second}.Set(t)
	c, party := partytest.NewCaddyWithAdmin(t), partytest.FreshParty()
	blog := partytest.NewInvited(t, partytest.Manifest(`{"services": {"gone": {"href": "/gone"}}}`))
	c.Site("wsgi_party " + party + " {\ninvite /blog/__invite__/\n" + partytest.Mounted("blog", "", blog) + "}")
	invitesOf(t, party, true)
	again := func(times int) { // a 404 has it asked again, once a second at most
		t.Helper()
		for range times {
			before := blog.Invites()
			partytest.Eventually(t, "it is invited again", func() bool {
				_, _ = operatorOf(c, party).AskAround(t.Context(), "gone", nil)
				return blog.Invites() > before
			})
		}
	}
	invites := func(joined, notAnswered, refused, failed float64) {
		t.Helper()
		want := partytest.Figures{"joined": joined, "not_answered": notAnswered, "refused": refused, "failed": failed}
		partytest.Eventually(t, fmt.Sprint("the invites are counted ", want), func() bool {
			figures := c.Figures(party)
			for outcome, n := range want {
				if figures["invites_total"+partytest.Labels(map[string]string{"outcome": outcome})] != n {
					return false
				}
			}
			return true
		})
	}
	invites(1, 0, 0, 0)
	again(1)
	blog.OnInvite(partytest.Status(503))
	again(2)
	invites(1, 0, 0, 1)
	blog.OnInvite(partytest.Status(403))
	again(1)
	invites(1, 0, 1, 1)
	check.Equal(t, len(partytest.LogEntries(t, "invite failed")), 1, "logged times that it failed")
	if entries := partytest.LogEntries(t, "invite refused"); len(entries) != 1 || !strings.Contains(fmt.Sprint(entries[0]["hint"]), "not vars partyline blog") {
		t.Errorf("logged that it was refused: %v", entries)
	}
	if entries := partytest.LogEntries(t, "guest joined"); len(entries) != 1 || entries[0]["guest"] != "blog" {
		t.Errorf("logged that it joined: %v", entries)
	}
}
