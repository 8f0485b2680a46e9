// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package operations_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/operations"
)

// partyOf decodes what the admin API says of a party.
func partyOf(t *testing.T, members string) (p operations.PartyJSON) {
	t.Helper()
	partytest.Decode(t, partytest.Response{Status: 200, Body: `{"party": "main", ` + members + `}`}, &p)
	return p
}

func TestWhatHasChanged(t *testing.T) {
	const (
		blog    = `{"guest": "blog", "services": ["ping", "url"], "replicas": 1}`
		invited = `{"server": "srv%d", "uri": "/blog/__invite__/", "guest": "blog", "result": %q, "status": 502, "error": "refused\nby it", "hint": "start it"}`
		counted = `{"guest": "blog", "service": "ping", "answered": %d, "declined": 2, "failed": 1, "refused": %d, "last_error": "it\u001b[2J broke\nhere"}`
	)
	var many []string
	for i := range 300 {
		many = append(many, fmt.Sprintf(`{"guest": "guest%d", "services": []}`, i))
	}
	for name, test := range map[string]struct {
		before, now string
		want        []string
	}{
		"nothing":   {`"guests": [` + blog + `]`, `"guests": [` + blog + `]`, nil},
		"a reload":  {`"guests": [` + blog + `]`, `"loaded": "2026-01-02T03:04:05Z", "guests": [` + blog + `]`, nil},
		"a guest":   {`"guests": []`, `"guests": [` + blog + `]`, []string{"guest joined blog ping, url"}},
		"no guest":  {`"guests": [` + blog + `]`, `"guests": []`, []string{"guest left blog"}},
		"a service": {`"guests": [` + blog + `]`, `"guests": [` + strings.Replace(blog, "ping", "pong", 1) + `]`, []string{"services changed blog +pong, -ping"}},
		"a replica": {`"guests": [` + blog + `]`, `"guests": [` + strings.Replace(blog, ": 1", ": 2", 1) + `]`, []string{"replicas changed blog 2, not 1"}},
		"one failure on two servers": {
			`"invites": [` + fmt.Sprintf(invited, 0, "joined") + "," + fmt.Sprintf(invited, 1, "joined") + `]`,
			`"invites": [` + fmt.Sprintf(invited, 0, "failed") + "," + fmt.Sprintf(invited, 1, "failed") + `]`,
			[]string{"invite failed blog status 502; refused; start it"},
		},
		"a failure that stays": {`"invites": [` + fmt.Sprintf(invited, 0, "failed") + `]`, `"invites": [` + fmt.Sprintf(invited, 0, "failed") + `]`, nil},
		"asks": {`"counts": [` + fmt.Sprintf(counted, 10, 0) + `]`, `"counts": [` + fmt.Sprintf(counted, 15, 1) + `]`, []string{
			"asked ping 5 answered, 1 refused", `ask failed blog ping it\x1b[2J broke`,
		}},
		"asks of another Caddy": {`"counts": [` + fmt.Sprintf(counted, 10, 0) + `]`, `"counts": [` + fmt.Sprintf(counted, 3, 0) + `]`, []string{
			"asked ping 3 answered, 2 declined, 1 failed", `ask failed blog ping it\x1b[2J broke`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got := operations.Changes(partyOf(t, test.before), partyOf(t, test.now))
			check.ErrorIf(t, !slices.Equal(got, test.want), "%q, want %q", got, test.want)
		})
	}
	got := operations.Changes(partyOf(t, `"guests": []`), partyOf(t, `"guests": [`+strings.Join(many, ",")+`]`))
	check.ErrorIf(t, len(got) != 51 || got[50] != "more 250 events not told of: see `caddy wsgi-party show`", "%d: %q", len(got), got)
}

func TestAGuestThatHadLeftBeforeTheFirstLookWasAskedBefore(t *testing.T) {
	const counted = `"counts": [{"guest": "blog", "service": "ping", "answered": %d, "failed": 2, "last_error": "long ago"}]`
	gone, back := partyOf(t, `"guests": []`), partyOf(t, `"guests": [{"guest": "blog", "services": ["ping"]}], `+fmt.Sprintf(counted, 7))
	asked := partyOf(t, `"guests": [{"guest": "blog", "services": ["ping"]}], `+fmt.Sprintf(counted, 8))

	if got, want := operations.Changes(gone, back), []string{"guest joined blog ping"}; !slices.Equal(got, want) {
		t.Errorf("when it joins: %q, want %q", got, want)
	}
	if got, want := operations.Changes(back, asked), []string{"asked ping 1 answered"}; !slices.Equal(got, want) {
		t.Errorf("when it is asked: %q, want %q", got, want)
	}
}

func TestAGuestThatComesBackWasAskedBefore(t *testing.T) {
	before := operations.PartyJSON{Counts: []operations.CountJSON{{Guest: "shop", Service: "menu", Answered: 7, Failed: 2}}}
	now := operations.PartyJSON{Counts: []operations.CountJSON{{Guest: "shop", Service: "menu", Answered: 8, Failed: 2}}}

	got := operations.ChangesAfterAbsence(before, operations.PartyJSON{}, now)
	if want := []string{"asked menu 1 answered"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
