// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// TestGuestsThatAskEachOtherForEverEnd has them ask for another service each time,
// and hand back their tokens or drop them. However few or many asks they take at once.
func TestGuestsThatAskEachOtherForEverEnd(t *testing.T) {
	keyA, keyB := partytest.Key(t, "a"), partytest.Key(t, "b")
	for name, test := range map[string]struct {
		handsBack bool
		maxAsks   int
	}{
		"with their tokens":                 {true, httpguest.DefaultMaxAsks},
		"without them":                      {false, httpguest.DefaultMaxAsks},
		"without them, one at once":         {false, 1},
		"without them, three at once":       {false, 3},
		"without them, six at once":         {false, 6},
		"without them, twenty-four at once": {false, 24},
	} {
		t.Run(name, func(t *testing.T) {
			handsBack, ofOne := test.handsBack, (3*test.maxAsks+3)/4
			c := partytest.NewCaddy(t)
			var depth, deepest, asks, refused, tooDeep atomic.Int64
			asking := func(key string) http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					asks.Add(1)
					now := depth.Add(1)
					defer depth.Add(-1)
					for {
						seen := deepest.Load()
						if now <= seen || deepest.CompareAndSwap(seen, now) {
							break
						}
					}
					header := http.Header{"Authorization": {"Bearer " + key}}
					if handsBack {
						header["Party-Token"] = r.Header["Party-Token"]
					}
					var n int
					_, _ = fmt.Sscanf(r.URL.Path, "/s%d", &n)
					status, body, err := c.TryDo(context.WithoutCancel(r.Context()), "POST", fmt.Sprintf("/ask/s%d", (n+1)%12), "null", header)
					switch {
					case status == http.StatusLoopDetected:
						tooDeep.Add(1)
					case err != nil || strings.Contains(body, `"failed"`):
						refused.Add(1)
					}
					w.WriteHeader(http.StatusNoContent)
				}
			}
			a, b := partytest.NewApplication(t, "", asking(keyA)), partytest.NewApplication(t, "", asking(keyB))
			options := fmt.Sprintf("timeout 1s\nmax_asks %d\n", test.maxAsks)
			for i := range 12 {
				options += fmt.Sprintf("service s%d /s%d\n", i, i)
			}
			party := partytest.FreshParty()
			c.TwoGuests(party, options, options, a, b)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			_, _ = operatorOf(c, party).AskAround(ctx, "s0", nil)
			partytest.Eventually(t, "all asks have ended", func() bool { return depth.Load() == 0 })
			if err := ctx.Err(); err != nil {
				t.Errorf("it went on: %v", err)
			}
			if n := deepest.Load(); n > 2*int64(ofOne+1)+2 {
				t.Errorf("%d asks were under way at once", n)
			}
			switch {
			case handsBack && (tooDeep.Load() == 0 || asks.Load() > 40):
				t.Errorf("%d asks, %d of them too deep", asks.Load(), tooDeep.Load())
			case !handsBack && refused.Load() == 0:
				t.Errorf("%d asks, none of them refused", asks.Load())
			}
		})
	}
}

// TestGuestsThatAskForWhatTheyAreAskedForEnd, as in one process.
func TestGuestsThatAskForWhatTheyAreAskedForEnd(t *testing.T) {
	keyA, keyB := partytest.Key(t, "a"), partytest.Key(t, "b")
	c := partytest.NewCaddy(t)
	asking := func(key string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = c.Do("POST", "/ask/who", "null", http.Header{"Authorization": {"Bearer " + key}, "Party-Token": r.Header["Party-Token"]})
			w.WriteHeader(http.StatusNoContent)
		}
	}
	a, b := partytest.NewApplication(t, "", asking(keyA)), partytest.NewApplication(t, "", asking(keyB))
	party := partytest.FreshParty()
	c.TwoGuests(party, "service who /who", "service who /who", a, b)
	answers, err := operatorOf(c, party).AskAround(context.Background(), "who", nil)
	check.ErrorIf(t, err != nil || len(answers) > 0, "answers %s, error %v", answers, err)
	if n, m := len(a.Requests()), len(b.Requests()); n != 2 || m != 2 { // by the caller and by the other
		t.Errorf("a was asked %d times, b %d times, want each twice", n, m)
	}
}

func TestOneAskerCannotFillAGuest(t *testing.T) {
	keyA, keyB := partytest.Key(t, "a"), partytest.Key(t, "b")
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	held, waiting, let := partytest.NewHeld(t)
	other := partytest.NewApplication(t, "", nil)
	c.Site("wsgi_party " + party + " {\ninvite /a/__invite__/ /b/__invite__/ /c/__invite__/\n" +
		partytest.Mounted("a", "key {env.a_PARTY_KEY}\nanswer ping pong", other) + partytest.Mounted("b", "key {env.b_PARTY_KEY}\nanswer ping pong", other) +
		partytest.Mounted("c", "timeout 9s\nservice held /held\nservice quick /quick", held) + "}\nhandle_path /ask/* {\nwsgi_party_ask " + party + "\n}")
	var group sync.WaitGroup
	for range 60 {
		group.Go(func() {
			if _, answer := c.AskAs(keyA, "held", "null", ""); len(answer.Replies) != 1 || answer.Replies[0].Status == "failed" {
				t.Errorf("an ask: %+v", answer)
			}
		})
	}
	partytest.Eventually(t, "three quarters of the guest's asks are under way", func() bool { return waiting.Load() == 48 })
	if status, answer := c.AskAs(keyB, "quick", "null", ""); status != 200 || len(answer.Answers) != 1 {
		t.Errorf("another asker: %d %+v", status, answer)
	}
	check.Equal(t, waiting.Load(), 48, "asks of the asker are under way")
	let()
	group.Wait()
	if status, answer := c.AskAs(keyA, "quick", "null", ""); status != 200 || len(answer.Answers) != 1 {
		t.Errorf("the asker, later: %d %+v", status, answer)
	}
}

func TestAllAskersTogetherCannotFillAGuestFurther(t *testing.T) {
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	held, waiting, let := partytest.NewHeld(t)
	c.Site("wsgi_party " + party + " {\ninvite /c/__invite__/\n" + partytest.Mounted("c", "timeout 9s\nservice held /held", held) + "}")
	var group sync.WaitGroup
	for i := range httpguest.DefaultMaxAsks + 10 {
		operator := operatorOf(c, party).Partyline().Operator([]string{"a", "b", ""}[i%3])
		group.Go(func() {
			answers, err := operator.AskAround(context.Background(), "held", nil)
			check.ErrorIf(t, err != nil || len(answers) != 1, "%v %v", answers, err)
		})
	}
	partytest.Eventually(t, "all slots are taken", func() bool { return waiting.Load() == httpguest.DefaultMaxAsks })
	time.Sleep(50 * time.Millisecond) // for others to come, too
	check.Equal(t, waiting.Load(), httpguest.DefaultMaxAsks, "asks are under way")
	let()
	group.Wait()
}

// TestAsksThatNobodyWaitsForStillCount has an application behind a handler that, as
// php_fastcgi, does not end a request when nobody waits for it.
func TestAsksThatNobodyWaitsForStillCount(t *testing.T) {
	key, _ := partytest.Key(t, "a"), partytest.Key(t, "b")
	hold := make(chan struct{})
	var running atomic.Int64
	partytest.App(t, "stubborn", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		running.Add(1)
		defer running.Add(-1)
		<-hold
		return nil
	})
	c := partytest.NewCaddy(t)
	t.Cleanup(sync.OnceFunc(func() { close(hold) }))
	party := partytest.FreshParty()
	a := partytest.NewApplication(t, "", nil)
	c.Site("wsgi_party " + party + " {\ninvite /a/__invite__/ /b/__invite__/\n" + partytest.Mounted("a", "key {env.a_PARTY_KEY}\nanswer ping pong", a) + `
		handle_path /b/* {
			wsgi_party_guest {
				service held /held
				timeout 10m
			}
			test_app stubborn
		}
	}
	handle_path /ask/* {
		wsgi_party_ask ` + party + "\n}")
	for more := 4; more > 0; {
		if running.Load() == 48 {
			more--
		}
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		_, body, err := c.TryDo(ctx, "POST", "/ask/held", "null", http.Header{"Authorization": {"Bearer " + key}})
		cancel()
		check.ErrorIf(t, err == nil, "an ask: %s", body)
	}
	check.Equal(t, running.Load(), 48, "are under way")
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	operator := operatorOf(c, party).Partyline().Operator("a")
	if answers, err := operator.AskAround(ctx, "held", nil); err == nil || running.Load() != 48 {
		t.Errorf("one more: %v, with %d under way", answers, running.Load())
	}
}
