// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// newDeferring loads a party with a guest that connects nothing and says later what came of
// its invite. It returns a function for the guest's last invitation.
func newDeferring(t *testing.T, c *partytest.Caddy, options string, soFar party.InviteInfo) func() *party.Invitation {
	t.Helper()
	invitations := make(chan *party.Invitation, 16)
	partytest.App(t, "later", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		i, ok := party.InvitationFrom(r)
		if !ok {
			return errors.New("it is no invite")
		}
		i.Defer(soFar)
		i.OnStart(func() { invitations <- i })
		w.WriteHeader(http.StatusNoContent)
		return nil
	})
	c.Site("wsgi_party main {\n" + options + "\ninvite /later/__invite__/\ntest_app later\n}")
	return func() *party.Invitation {
		t.Helper()
		select {
		case i := <-invitations:
			return i
		case <-time.After(10 * time.Second):
			t.Fatal("it is not invited")
			return nil
		}
	}
}

// TestAGuestReportsLater has one that is at first not told of, even where invites are strict.
func TestAGuestReportsLater(t *testing.T) {
	c := partytest.NewCaddy(t)
	i := newDeferring(t, c, "strict_invites", party.InviteInfo{Result: party.InviteNotAnswered, Hint: "wait and see"})()
	info := invitesOf(t, "main", false)["later"]
	if info.Result != party.InviteNotAnswered || info.Status != 0 || info.Hint != "wait and see" || len(partytest.InvitesLogged(t, "")) > 0 {
		t.Fatalf("so far it is %+v, and logged %v", info, partytest.InvitesLogged(t, ""))
	}
	for _, step := range []struct {
		report party.InviteInfo
		isNews bool
		logged string // level and message; empty for what is not
	}{
		{party.InviteInfo{Result: party.InviteFailed, Status: 503, Starting: true}, true, "info invite failed"},
		{party.InviteInfo{Result: party.InviteFailed, Status: 503, Starting: true}, false, ""},
		{party.InviteInfo{Result: party.InviteFailed, Status: 503}, true, "warn invite failed"},
		{party.InviteInfo{Result: party.InviteFailed, Status: 503, Hint: "other words are no news"}, false, ""},
		{party.InviteInfo{Result: party.InviteFailed, Status: 500}, true, "warn invite failed"},
		{party.InviteInfo{Result: party.InviteJoined, Status: 200}, true, "info guest joined"},
		{party.InviteInfo{Result: party.InviteJoined, Status: 304}, false, ""},
		{party.InviteInfo{Result: party.InviteRefused, Status: 403, Hint: "let it in"}, true, "warn invite refused"},
	} {
		before := len(partytest.InvitesLogged(t, ""))
		if isNews := i.Report(step.report); isNews != step.isNews {
			t.Errorf("%+v is news: %v", step.report, isNews)
		}
		var logged string
		for _, e := range partytest.InvitesLogged(t, "")[before:] {
			logged += fmt.Sprint(e["level"], " ", e["msg"])
		}
		check.Equal(t, logged, step.logged, "%+v is logged as", step.report)
	}
	info = invitesOf(t, "main", false)["later"]
	check.ErrorIf(t, info.Result != party.InviteRefused || info.Status != 403 || info.Hint != "let it in" || info.URI != "/later/__invite__/" || !info.Accepted, "at last it is %+v", info)
	for _, p := range party.Parties() {
		sent := p.InvitesSent
		check.ErrorIf(t, p.Partyline.Name() == "main" && (sent[party.InviteFailed] < 2 || sent[party.InviteJoined] < 1 || sent[party.InviteRefused] < 1), "counted are %v", sent)
	}
}

// TestSendInvitesWaitsForTheFirstReport has the guest report after a while.
func TestSendInvitesWaitsForTheFirstReport(t *testing.T) {
	c := partytest.NewCaddy(t)
	last := newDeferring(t, c, "", party.InviteInfo{Result: party.InviteNotAnswered})
	check.ErrorIf(t, last().Again, "the first invite was sent before")
	go func() {
		i := last()
		time.Sleep(50 * time.Millisecond)
		i.Report(party.InviteInfo{Result: party.InviteRefused, Status: 401})
	}()
	infos := party.SendInvites("main", "later")
	check.ErrorIf(t, len(infos) != 1 || infos[0].Status != 401 || !infos[0].Sent, "it returned %+v", infos)
}

// TestAnOperatorIsReplacedWithoutAGap asks while each of many operators replaces the one
// before.
func TestAnOperatorIsReplacedWithoutAGap(t *testing.T) {
	c := partytest.NewCaddy(t)
	i := newDeferring(t, c, "", party.InviteInfo{Result: party.InviteJoined})()
	replace := func(ctx context.Context, answer any) error {
		return i.Replace(ctx, func(o *partyline.Operator) error { return o.Connect("ping", partytest.Answers(answer)) })
	}
	check.Must(t, replace(t.Context(), 0))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range 100 {
			check.Nil(t, replace(t.Context(), n))
		}
	}()
	for asking := true; asking; {
		select {
		case <-done:
			asking = false
		default:
		}
		answers, err := operatorOf(t, "main").AskAround(t.Context(), "ping", nil)
		check.FatalIf(t, len(answers) != 1 || err != nil, "%v %v", answers, err)
	}
	if !i.OnLine() || !slices.Equal(i.Services(), []string{"ping"}) {
		t.Errorf("it is on the line: %v, under %v", i.OnLine(), i.Services())
	}

	ended, end := context.WithCancel(t.Context())
	end()
	if err := replace(ended, "late"); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
	wrong := errors.New("wrong")
	if err := i.Replace(t.Context(), func(o *partyline.Operator) error {
		return errors.Join(o.Connect("ping", partytest.Answers("half")), wrong)
	}); !errors.Is(err, wrong) {
		t.Error(err)
	}
	check.Slices(t, check.Value(operatorOf(t, "main").AskAround(t.Context(), "ping", nil))(t), []any{99}, ", want the last that replaced another")
	if i.Leave(); i.OnLine() {
		t.Error("it has not left")
	}
}
