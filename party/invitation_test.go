// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/token"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// newDeferring loads a party with a guest that connects nothing and says later what came of
// its invite. It returns a function for the guest's last invitation.
func newDeferring(t *testing.T, c *partytest.Caddy, options string, soFar party.InviteInfo) func() *party.Invitation {
	t.Helper()
	invitations := make(chan *party.Invitation, 16)
	partytest.App(t, "later", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		i, _ := party.InvitationFrom(r)
		i.Defer(soFar)
		i.OnStart(func() { invitations <- i })
		w.WriteHeader(http.StatusNoContent)
		return nil
	})
	c.Site("wsgi_party main {\n" + options + "\ninvite /later/__invite__/\ntest_app later\n}")
	return func() *party.Invitation { return <-invitations }
}

// TestAGuestReportsLater has one that is at first not told of, even where invites are strict.
func TestAGuestReportsLater(t *testing.T) {
	c := partytest.NewCaddy(t)
	i := newDeferring(t, c, "strict_invites", party.InviteInfo{Result: party.InviteNotAnswered, Hint: "wait and see"})()
	info := invitesOf(t, "main", false)["later"]
	check.ErrorIf(t, info.Result != party.InviteNotAnswered || info.Status != 0 || info.Hint != "wait and see", "so far it is %+v", info)
	check.Equal(t, len(partytest.InvitesLogged(t, "")), 0, "logged so far")
	for _, step := range []struct {
		report party.InviteInfo
		logged string // level and message; empty for what is no news
	}{
		{party.InviteInfo{Result: party.InviteFailed, Status: 503, Starting: true}, "info invite failed"},
		{party.InviteInfo{Result: party.InviteFailed, Status: 503, Starting: true}, ""},
		{party.InviteInfo{Result: party.InviteFailed, Status: 503}, "warn invite failed"},
		{party.InviteInfo{Result: party.InviteFailed, Status: 503, Hint: "other words are no news"}, ""},
		{party.InviteInfo{Result: party.InviteFailed, Status: 500}, "warn invite failed"},
		{party.InviteInfo{Result: party.InviteJoined, Status: 200}, "info guest joined"},
		{party.InviteInfo{Result: party.InviteJoined, Status: 304}, ""},
		{party.InviteInfo{Result: party.InviteRefused, Status: 403, Hint: "let it in"}, "warn invite refused"},
	} {
		before := len(partytest.InvitesLogged(t, ""))
		check.Equal(t, i.Report(step.report), step.logged != "", "%+v is news", step.report)
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
		check.FatalIf(t, len(check.Value(c.AskAround("main", "ping", nil))(t)) != 1, "nobody answers")
	}
	check.ErrorIf(t, !i.OnLine(), "it is not on the line")
	check.Slices(t, i.Services(), []string{"ping"})

	ended, end := context.WithCancel(t.Context())
	end()
	check.Fails(t, replace(ended, "late"), context.Canceled.Error())
	check.Fails(t, i.Replace(t.Context(), func(o *partyline.Operator) error {
		return errors.Join(o.Connect("ping", partytest.Answers("half")), errors.New("wrong"))
	}), "wrong")
	c.ExpectAnswers("main", "ping", 99) // the last that replaced another
	i.Leave()
	check.ErrorIf(t, i.OnLine(), "it has not left")
}

// TestApplicationsThatAreInvitedAgainAreWaitedForTogether holds each until all have
// been asked.
func TestApplicationsThatAreInvitedAgainAreWaitedForTogether(t *testing.T) {
	c := partytest.NewCaddy(t)
	apps := make(map[string]*partytest.Application)
	config := ""
	for _, guest := range []string{"a", "b", "c"} {
		apps[guest] = partytest.NewInvited(t, partytest.Status(http.StatusForbidden))
		config += "invite /" + guest + "/__invite__/\n" + partytest.Mounted(guest, "", apps[guest])
	}
	c.Site("wsgi_party main {\ninvite_timeout 10m\n" + config + "}")
	for guest, info := range invitesOf(t, "main", true) {
		check.Equal(t, info.Result, wsgiparty.InviteRefused, guest)
	}
	var asked sync.WaitGroup
	asked.Add(len(apps))
	for _, a := range apps {
		a.OnInvite(func(w http.ResponseWriter, r *http.Request) {
			asked.Done()
			asked.Wait()
			partytest.Manifest(`{"services": {"ping": {"answer": 1}}}`)(w, r)
		})
	}
	infos := wsgiparty.SendInvites("main", "")
	check.Equal(t, len(infos), len(apps), "%+v", infos)
	for _, i := range infos {
		check.Equal(t, i.Result, wsgiparty.InviteJoined, "%+v", i)
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
	for load, want := range []string{"2s", "200ms", "200ms", "", "2s", "200ms"} {
		c.Site("wsgi_party main {\ninvite_timeout 2s\ninvite /app/__invite__/ /other/__invite__/\ntest_app /app/* app\n}")
		info := wsgiparty.Parties()[0].Invites[0]
		got := wire.Message(info.Err)
		check.ErrorIf(t, want == "" && got != "" || !strings.HasSuffix(got, want), "load %d: %q, want %s", load, got, want)
		check.Equal(t, strings.Contains(info.Hint, "a tenth"), want == "200ms", "load %d: hint", load)
	}
}

// TestWhoSaysWhatBecameOfInvitesWaitsForNobody has one change what the hints of invites
// depend on, while others read them.
func TestWhoSaysWhatBecameOfInvitesWaitsForNobody(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\ninvite /blog/__invite__/\nreverse_proxy 127.0.0.1:1\n}")
	a, _ := party.Running()
	const times = 20_000
	done := make(chan struct{})
	go func() {
		defer close(done)
		var group sync.WaitGroup
		often := func(do func()) {
			group.Go(func() {
				for range times {
					do()
				}
			})
		}
		often(func() { _ = party.AddKeys(a, "main", "blog", token.Keys{}) })
		for range 2 {
			often(func() { check.Has(t, wsgiparty.Parties()[0].Invites[0].Hint, "wsgi_party_guest") })
		}
		group.Wait()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("they wait for each other")
	}
}

// sending returns how many invites of the party main are under way, and how many wait for them.
func sending(t testing.TB) (invites, waiting int) {
	t.Helper()
	a, ok := party.Running()
	check.FatalIf(t, !ok, "no config has a party")
	return party.HostsOf(a, "main")[0].Sending()
}

// TestInvitesWhoseClientsHaveGoneHoldUpNobody has one guest hang, one application, and
// many who invite both and go away.
func TestInvitesWhoseClientsHaveGoneHoldUpNobody(t *testing.T) {
	const posts = 60
	entered := make(chan struct{}, posts)
	partytest.OnInvites(t, "hangs", partytest.Responds(500), func(_ http.ResponseWriter, r *http.Request, operator *partytest.Operator) error {
		entered <- struct{}{}
		<-r.Context().Done()
		return operator.Connect("hangs", partytest.Pong) // nobody waits for it any more
	})
	partytest.OnInvites(t, "well", partytest.Responds(500), partytest.Connects("pong", "ping"))
	c := partytest.NewCaddyWithAdmin(t)
	events := partytest.KeepEvents(t)
	held, ended := make(chan struct{}, 2*posts), make(chan struct{})
	slow := partytest.NewApplication(t, "", func(_ http.ResponseWriter, r *http.Request) {
		held <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-ended:
		}
	})
	defer close(ended)
	c.Site("route {\ntest_app events\nwsgi_party main {\ninvite_timeout 10m\ninvite /slow/__invite__/ /hangs/__invite__/ /well/__invite__/\n" +
		"test_app /hangs/* hangs\ntest_app /well/* well\n" + partytest.Mounted("slow", "", slow) + "}\n}")
	<-held
	told := len(events.Events())
	post := func(ctx context.Context, guest string) partytest.Response {
		response, err := c.TryCall(ctx, "POST", "/wsgi_party/main/invite?guest="+guest, strings.NewReader("{}"))
		check.ErrorIf(t, err != nil && ctx.Err() == nil, err)
		return response
	}
	// One after the other, and many at once.
	for range 3 {
		ctx, leave := context.WithCancel(context.Background())
		go func() { <-entered; leave() }()
		post(ctx, "hangs")
		// Before Caddy has seen that the client has gone, the next one would wait for the same invite.
		partytest.Eventually(t, "the invite ends with its request", func() bool { invites, _ := sending(t); return invites == 0 })
	}
	ctx, leave := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for i := range posts {
		group.Go(func() { post(ctx, []string{"hangs", "slow", ""}[i%3]) })
	}
	<-entered
	<-held
	// An invite of another guest does not wait for them.
	var got struct {
		Invites []struct {
			Status int
			Result wsgiparty.InviteResult
		}
	}
	partytest.Decode(c, post(context.Background(), "well"), &got)
	check.ErrorIf(t, len(got.Invites) != 1 || got.Invites[0].Result != wsgiparty.InviteJoined, "%+v", got)
	c.ExpectAnswers("main", "ping", "pong")
	leave()
	group.Wait()
	partytest.Eventually(t, "the invites end with their requests", func() bool { invites, _ := sending(t); return invites == 0 })
	// They have left everything as it was.
	partytest.Eventually(t, "the guest that connects too late has left", func() bool { return operatorOf(c, "main").Partyline().Services()["hangs"] == nil })
	info := invitesOf(t, "main", false)["hangs"]
	check.ErrorIf(t, info.Status != 500 || info.Result != wsgiparty.InviteFailed, "%+v", info)
	for _, e := range events.Events()[told:] {
		check.ErrorIf(t, strings.Contains(e, "hangs"), "an invite that nobody waited for is told of: %s", e)
	}
	errs := partytest.LogEntries(t, "request error")
	check.ErrorIf(t, len(errs) > 0, "who has gone is an error: %v", errs)
}

// TestWhoInvitesAGuestThatIsBeingInvitedGetsTheSameOutcome has the first of two who
// wait for an invite go.
func TestWhoInvitesAGuestThatIsBeingInvitedGetsTheSameOutcome(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	script := partytest.OnInvites(t, "app", partytest.Responds(500), func(w http.ResponseWriter, r *http.Request, operator *partytest.Operator) error {
		close(entered)
		select {
		case <-release:
		case <-r.Context().Done():
			return r.Context().Err()
		}
		return partytest.Connects("pong", "ping")(w, r, operator)
	})
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\ninvite_timeout 10m\ninvite /app/__invite__/\ntest_app app\n}")
	type result struct {
		infos []wsgiparty.InviteInfo
		err   error
	}
	send := func(ctx context.Context) <-chan result {
		sent := make(chan result, 1)
		go func() {
			infos, err := wsgiparty.SendInvitesContext(ctx, "main", "app")
			sent <- result{infos, err}
		}()
		return sent
	}
	waiting := func(n int) {
		partytest.Eventually(t, fmt.Sprint(n, " wait"), func() bool { _, waiting := sending(t); return waiting == n })
	}
	enough := errors.New("enough")
	ctx, leave := context.WithCancelCause(context.Background())
	first := send(ctx)
	<-entered
	others := []<-chan result{send(context.Background()), send(context.Background())}
	waiting(3)
	leave(enough)
	check.Deep(t, <-first, result{nil, enough})
	waiting(2)
	close(release)
	for _, other := range others {
		r := <-other
		check.ErrorIf(t, r.err != nil || len(r.infos) != 1 || r.infos[0].Result != wsgiparty.InviteJoined || !r.infos[0].Sent, "%+v", r)
	}
	check.Equal(t, script.Invites(), 2, "invites arrived")
	c.ExpectAnswers("main", "ping", "pong")
	// Who is on the line is sent none.
	infos := check.Value(wsgiparty.SendInvitesContext(ctx, "main", "app"))(t)
	check.ErrorIf(t, len(infos) != 1 || infos[0].Sent, "%+v", infos)
	check.Equal(t, len(check.Value(wsgiparty.SendInvitesContext(context.Background(), "none", ""))(t)), 0)
}
