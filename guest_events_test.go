// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// fetcherOf returns a fetcher of the running config's guest, to be told at any time
// what the application answered.
func fetcherOf(t *testing.T, guest string) *fetcher {
	t.Helper()
	return newFetcher(applicationOf(t, guest))
}

// TestEventsTellOfRemoteGuests does not wait for half a minute between the answers
// that the application is no guest any more.
func TestEventsTellOfRemoteGuests(t *testing.T) {
	wait(t, func(w *waits) { w.broken = time.Second })
	c := partytest.NewCaddy(t)
	events, expected := partytest.KeepEvents(t), 0
	expect := func(want ...string) {
		t.Helper()
		var got []string
		partytest.Eventually(t, fmt.Sprintf("%q is told", want), func() bool {
			got = events.Events()[expected:]
			return len(got) >= len(want)
		})
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
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

	f := fetcherOf(t, "evblog")
	for i := range 3 {
		f.hear(answer{status: 404, time: time.Now().Add(time.Duration(i) * 31 * time.Second)})
	}
	expect("invite_not_answered evblog [gone ping]", "guest_left evblog [gone ping]", "invite_not_answered evblog []")
	blog.OnInvite(partytest.Manifest(`{"services": {"ping": {"answer": 2}}}`))
	SendInvites("main", "evblog")
	expect("guest_joined evblog [ping]")
}
