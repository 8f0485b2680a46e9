// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package hosts_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/wsgiparty/wsgiparty/hosts"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// wherever runs a test with a guest that is asked in this process, and outside of it.
func wherever(t *testing.T, do func(t *testing.T, remote bool)) {
	for _, remote := range []bool{false, true} {
		t.Run(fmt.Sprintf("remote=%v", remote), func(t *testing.T) { do(t, remote) })
	}
}

func TestOnlyTrueAllows(t *testing.T) {
	wherever(t, func(t *testing.T, remote bool) {
		one := guest(t, "one", remote, partytest.Declines)
		two := guest(t, "two", remote, partytest.Declines)
		c := partytest.NewCaddy(t)
		p := permission(c, "main", "http:// {\n"+party("main", "one", "two")+"}")
		for i, answer := range []any{nil, false, "true", 1, []bool{true}, rawJSON("false"), rawJSON(`"true"`), rawJSON("[true]"), rawJSON("null"), rawJSON(""), rawJSON("true true"), new(bool)} {
			one.on(partytest.Answers(answer))
			expect(t, p, fmt.Sprintf("no%d.example.com", i), "certificate not allowed", `no guest of party "main"`)
		}
		for i, answer := range []any{true, rawJSON("true"), rawJSON(" true\n")} {
			one.on(partytest.Answers(answer))
			expect(t, p, fmt.Sprintf("yes%d.example.com", i))
		}
		// A guest's yes is one whatever becomes of the others.
		two.on(claims("two.example.com"))
		for i, answer := range []partytest.Handler{partytest.Fails, partytest.Declines, func(context.Context, any) (any, error) { panic("oh no") }} {
			one.on(answer)
			expect(t, p, "two.example.com")
			if i != 1 {
				expectFailure(t, p, fmt.Sprintf("failing%d.example.com", i), `guest "one"`, "oh no", `party "main"`)
			}
		}
	})
}

func TestNobodyIsAskedForWhatHasNoCertificate(t *testing.T) {
	wherever(t, func(t *testing.T, remote bool) {
		one := guest(t, "one", remote, partytest.Answers(true))
		c := partytest.NewCaddy(t)
		p := permission(c, "main", "http://shop.example.com, http://*.example.org, http://xn--bcher-kva.example, http://127.0.0.1 {\n"+party("main", "one")+"}")
		for name, why := range map[string]string{
			"": "empty", "127.0.0.1": "IP address", "::1": "IP address", "*.example.org": "wildcard", "shop.example.com.": "dot", "shop.example.com:443": "port",
			"-a.example.org": "hyphen", "a_b.example.org": "'_'", strings.Repeat("a.", 200) + "example.org": "bytes", strings.Repeat("a", 1<<20): "bytes",
			"example.org": "no site of this Caddy", "b.a.example.org": "no site of this Caddy", "shop.example.net": "no site of this Caddy",
		} {
			expect(t, p, name, why, "certificate not allowed")
		}
		check.Equal(t, len(one.since()), 0, "names the guest was asked for")
		for _, name := range []string{"shop.example.com", "Shop.EXAMPLE.com", "a.example.org", "bücher.example", "xn--bcher-kva.example"} {
			expect(t, p, name)
		}
		check.Equal(t, fmt.Sprint(one.since()), "[shop.example.com shop.example.com a.example.org xn--bcher-kva.example xn--bcher-kva.example]", "names the guest was asked for")
	})
}

// TestDenialsAreKept has them be kept for 10 s, errors for 1 s, what is allowed not at all, and
// nothing when another guest has come.
func TestDenialsAreKept(t *testing.T) {
	wherever(t, func(t *testing.T, remote bool) {
		one := guest(t, "one", remote, claims("one.example.com"))
		late := partytest.OnInvites(t, "late", func(_ http.ResponseWriter, _ *http.Request, o *partytest.Operator) error {
			return o.Connect("other", partytest.Pong)
		})
		c := partytest.NewCaddy(t)
		p := permission(c, "main", "http:// {\n"+party("main", "one", "late")+"}")
		synctest.Test(t, func(t *testing.T) {
			for range 3 {
				expect(t, p, "one.example.com")
				expect(t, p, "no.example.com", "no guest")
			}
			check.Equal(t, len(one.since()), 4, "times the guest was asked")
			time.Sleep(hosts.DenialKept - 1)
			expect(t, p, "no.example.com", "no guest")
			check.Equal(t, len(one.since()), 0, "times the guest was asked")
			time.Sleep(time.Nanosecond)
			expect(t, p, "no.example.com", "no guest")
			check.Equal(t, len(one.since()), 1, "times the guest was asked")

			one.on(partytest.Fails)
			expectFailure(t, p, "failing.example.com", "oh no")
			one.on(claims("failing.example.com"))
			time.Sleep(hosts.FailureKept - 1)
			expect(t, p, "failing.example.com", "a moment ago")
			time.Sleep(time.Nanosecond)
			expect(t, p, "failing.example.com")
		})
		one.since()
		expect(t, p, "new.example.com", "no guest")
		check.Must(t, late.Operator(0).Connect("hosts", claims("new.example.com")))
		expect(t, p, "new.example.com")
		late.Operator(0).Leave()
		expect(t, p, "new.example.com", "no guest")
	})
}

// TestAGuestThatHangsHarmsNobodyElse has one not answer that is asked first.
func TestAGuestThatHangsHarmsNobodyElse(t *testing.T) {
	hanging := guest(t, "hanging", true, func(ctx context.Context, _ any) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	guest(t, "fine", true, claims("fine.example.com"))
	c := partytest.NewCaddy(t)
	p := permission(c, "main", "http:// {\n"+party("main", "hanging", "fine")+"}")
	synctest.Test(t, func(t *testing.T) {
		flood := make(chan error)
		began := time.Now()
		for i := range 3 * hosts.NamesPerSecond {
			go func() { flood <- p.CertificateAllowed(t.Context(), fmt.Sprintf("flood%d.example.com", i)) }()
		}
		synctest.Wait()
		check.Equal(t, hanging.count(), hosts.NamesAtOnce, "names the guest is asked for at once")
		time.Sleep(time.Second) // the guest that is fine may be asked again
		before := time.Now()
		expect(t, p, "fine.example.com")
		check.Equal(t, time.Since(before), 0, "it took")
		for range 3 * hosts.NamesPerSecond {
			check.ErrorIf(t, <-flood == nil, "a name of the flood is allowed")
		}
		check.Equal(t, time.Since(began), hosts.AskTimeout, "it took")
		time.Sleep(time.Second)
		began = time.Now()
		expectFailure(t, p, "slow.example.com", `guest "hanging" did not answer in 5s`)
		check.Equal(t, time.Since(began), hosts.AskTimeout, "it took")
	})
}

// TestOneAskIsForAllWhoWait has many want the same name, the first of whom goes.
func TestOneAskIsForAllWhoWait(t *testing.T) {
	let := make(chan struct{})
	one := guest(t, "one", true, func(ctx context.Context, payload any) (any, error) {
		<-let
		return claims("one.example.com")(ctx, payload)
	})
	c := partytest.NewCaddy(t)
	p := permission(c, "main", "http:// {\n"+party("main", "one")+"}")
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() { first <- p.CertificateAllowed(ctx, "one.example.com") }()
	partytest.Eventually(t, "the guest is asked", func() bool { return one.count() == 1 })
	others := make(chan error)
	for range 100 {
		go func() { others <- p.CertificateAllowed(t.Context(), "ONE.example.com") }()
	}
	cancel()
	err := <-first
	check.ErrorIf(t, !errors.Is(err, context.Canceled) || !errors.Is(err, caddytls.ErrPermissionDenied), "who has gone gets %v", err)
	partytest.AwaitSelects(t, 100, "CertificateAllowed")
	close(let)
	for range 100 {
		check.Nil(t, <-others)
	}
	check.Equal(t, len(one.since()), 1, "times the guest was asked")
}

// TestWhoHasGoneDeniesNobody has a client go while a guest in this process thinks.
func TestWhoHasGoneDeniesNobody(t *testing.T) {
	one := guest(t, "one", false, func(ctx context.Context, _ any) (any, error) { return nil, ctx.Err() })
	c := partytest.NewCaddy(t)
	p := permission(c, "main", "http:// {\n"+party("main", "one")+"}")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := p.CertificateAllowed(ctx, "one.example.com")
	check.ErrorIf(t, !errors.Is(err, context.Canceled) || !errors.Is(err, caddytls.ErrPermissionDenied), "who has gone gets %v", err)
	one.on(claims("one.example.com"))
	expect(t, p, "one.example.com")
}

func TestNobodySaysWhichHostsAreItsOwn(t *testing.T) {
	partytest.Guest(t, "one", "pong", "ping")
	c := partytest.NewCaddy(t)
	p := permission(c, "main", "http:// {\n"+party("main", "one")+"}")
	expect(t, p, "a.example.com", "no guest")
	expect(t, p, "b.example.com", "no guest")
	warnings := partytest.LogEntries(t, "no guest says which hosts are its own: nobody gets a certificate on demand")
	check.Equal(t, len(warnings), 1, "warnings")
	check.Contains(t, fmt.Sprint(warnings), []string{"party:main", `"hosts" in a manifest`})
}

func TestAPartyThatThereIsNot(t *testing.T) {
	partytest.OnProvision(t, "permission", func(caddy.Context) error { return nil })
	guest(t, "one", false, partytest.Answers(true))
	c := partytest.NewHTTPS(t)
	c.Load("on_demand_tls {\npermission wsgi_party mian\n}", internal+party("main", "one")+"}")
	warnings := partytest.LogEntries(t, "no wsgi_party handler names the party that was joined")
	check.Equal(t, len(warnings), 1, "warnings")
	check.Contains(t, fmt.Sprint(warnings), []string{"party:mian", "tls.permission.wsgi_party", "did you mean main?"})
	uncertified(c, "shop.example.com")
}

// TestAGuestInThisProcessHasNoMoreTime has one wait for its context, in two ways.
func TestAGuestInThisProcessHasNoMoreTime(t *testing.T) {
	one := guest(t, "one", false, partytest.Declines)
	c := partytest.NewCaddy(t)
	p := permission(c, "main", "http:// {\n"+party("main", "one")+"}")
	synctest.Test(t, func(t *testing.T) {
		var kept context.Context
		for i, wait := range []func(ctx context.Context) error{
			func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
			func(ctx context.Context) error {
				ctx, cancel := context.WithTimeout(ctx, time.Minute)
				defer cancel()
				<-ctx.Done()
				return ctx.Err()
			},
		} {
			one.on(func(ctx context.Context, _ any) (any, error) {
				deadline, _ := ctx.Deadline()
				check.Equal(t, time.Until(deadline), hosts.AskTimeout, "it may take")
				kept = ctx
				return nil, wait(ctx)
			})
			began := time.Now()
			expectFailure(t, p, fmt.Sprintf("slow%d.example.com", i), `guest "one"`, "deadline exceeded")
			check.Equal(t, time.Since(began), hosts.AskTimeout, "it took")
		}
		one.on(func(ctx context.Context, _ any) (any, error) { kept = ctx; return true, ctx.Err() })
		expect(t, p, "quick.example.com")
		<-kept.Done()
		check.Equal(t, kept.Err(), context.Canceled, "the context has ended when the answer is there")
	})
}

// TestAFloodOfNamesNobodyHas asks who is asked outside this process a bounded number of times, and
// keeps a bounded number of names. What was allowed before can be renewed meanwhile.
func TestAFloodOfNamesNobodyHas(t *testing.T) {
	remote := guest(t, "remote", true, claims("known.example.com", "new.example.com"))
	guest(t, "listed", false, claims("listed.example.com"))
	c := partytest.NewCaddy(t)
	p := permission(c, "main", "http:// {\n"+party("main", "remote", "listed")+"}")
	synctest.Test(t, func(t *testing.T) {
		expect(t, p, "known.example.com")
		const seconds, perSecond = 10, 500
		for i := range seconds * perSecond {
			err := p.CertificateAllowed(t.Context(), fmt.Sprintf("flood%d.example.com", i))
			check.ErrorIf(t, !errors.Is(err, caddytls.ErrPermissionDenied), "%v", err)
			if i%perSecond == 0 {
				expect(t, p, "known.example.com")
				expect(t, p, "listed.example.com")
			}
			time.Sleep(time.Second / perSecond)
		}
		asked := len(remote.since())
		check.ErrorIf(t, asked < seconds*hosts.NamesPerSecond || asked > (seconds+2)*hosts.NamesPerSecond, "the guest was asked for %d names in %d s", asked, seconds)
		warnings := partytest.LogEntries(t, "certificates are requested for more names than applications can be asked about: some are denied without asking")
		check.Equal(t, len(warnings), seconds/10, "warnings")
		time.Sleep(time.Second)
		expect(t, p, "new.example.com")
	})
}

// TestAGuestThatClaimsEverythingHarmsNobodyElse has one claim all names of a flood.
func TestAGuestThatClaimsEverythingHarmsNobodyElse(t *testing.T) {
	guest(t, "greedy", true, func(_ context.Context, payload any) (any, error) {
		return strings.HasPrefix(payload.(string), "flood"), nil
	})
	guest(t, "fine", true, claims("fine.example.com"))
	c := partytest.NewCaddy(t)
	p := permission(c, "main", "http:// {\n"+party("main", "greedy", "fine")+"}")
	synctest.Test(t, func(t *testing.T) {
		expect(t, p, "fine.example.com")
		for i := range 2000 {
			_ = p.CertificateAllowed(t.Context(), fmt.Sprintf("flood%d.example.com", i%40))
			if i%500 == 0 {
				expect(t, p, "fine.example.com")
			}
			time.Sleep(time.Second / 500)
		}
	})
}

func TestDenialsThatAreKeptAreBounded(t *testing.T) {
	one := guest(t, "one", false, partytest.Declines)
	c := partytest.NewCaddy(t)
	p := permission(c, "main", "http:// {\n"+party("main", "one")+"}")
	for i := range 2 * hosts.MaxKept {
		_ = p.CertificateAllowed(t.Context(), fmt.Sprintf("flood%d.example.com", i))
	}
	check.Equal(t, p.(*hosts.Permission).Kept(), hosts.MaxKept, "names that are kept")
	check.Equal(t, one.count(), 2*hosts.MaxKept, "names the guest was asked for")
}
