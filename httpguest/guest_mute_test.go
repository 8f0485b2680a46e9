// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/testbackend"
	"github.com/wsgiparty/wsgiparty/internal/testport"
	"golang.org/x/sync/errgroup"
)

// TestAGuestThatDoesNotAnswerIsNotAskedForAWhile has services that fail in all ways.
func TestAGuestThatDoesNotAnswerIsNotAskedForAWhile(t *testing.T) {
	good := jsonOf("1")
	held := good
	held.Hold = true
	type test struct {
		response testbackend.Response
		ask      func() (context.Context, context.CancelFunc) // nil: for ever
		counts   bool
	}
	status := func(status int) testbackend.Response { return testbackend.Response{Status: status} }
	within := func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.Background(), 100*time.Millisecond)
	}
	cancelled := func() (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(100*time.Millisecond, cancel)
		return ctx, cancel
	}
	tests := map[string]test{
		"502":     {response: status(502), counts: true},
		"503":     {response: status(503), counts: true},
		"504":     {response: status(504), counts: true},
		"reset":   {response: testbackend.Response{Reset: true}, counts: true},
		"timeout": {response: held, counts: true},

		"204":                          {response: status(204)},
		"400":                          {response: status(400)},
		"404":                          {response: status(404)},
		"429":                          {response: status(429)},
		"500":                          {response: status(500)},
		"501":                          {response: status(501)},
		"html":                         {response: ofType("text/html", "")},
		"long":                         {response: jsonOf(strings.Repeat(" ", 101))},
		"whoever-asks-is-gone":         {response: held, ask: cancelled},
		"whoever-asks-has-had-no-time": {response: held, ask: within},
	}
	c := newGuestTest(t)
	b := testbackend.Start(t, testport.Address(t))
	options := []string{"timeout 1m", "max_answer 100B"}
	for name := range tests {
		if name != "timeout" {
			options = append(options, "service "+name+" /"+name)
		}
	}
	hurried := strings.ReplaceAll(blogAt(b, "timeout 1s", "service timeout /timeout"), "/blog/", "/hurried/")
	// What is sent by a connection that was used before may be sent twice.
	upstream := "reverse_proxy " + b.Upstream()
	c.load(strings.ReplaceAll(blogAt(b, options...)+hurried, upstream, upstream+" {\ntransport http {\nkeepalive off\n}\n}"))
	ask := func(name string, n int) []error {
		errs := make([]error, n)
		var asks sync.WaitGroup
		for i := range errs {
			asks.Go(func() {
				ctx, cancel := context.Background(), func() {}
				if do := tests[name].ask; n > 1 && do != nil {
					var end context.CancelFunc
					ctx, end = do()
					cancel = end
				}
				defer cancel()
				_, errs[i] = operatorOf(c, c.party).AskAround(ctx, name, nil)
			})
		}
		asks.Wait()
		return errs
	}
	// each asks for all services, so many times at once.
	each := func(n int, answers bool, check func(name string, err error)) {
		for name, test := range tests {
			b.On("/"+name, test.response)
			if answers {
				b.On("/"+name, good)
			}
		}
		var all errgroup.Group
		all.SetLimit(httpguest.DefaultMaxAsks * 3 / 4 / 5) // no ask is to fail because of the others
		var checking sync.Mutex
		for name := range tests {
			all.Go(func() error {
				errs := ask(name, n)
				checking.Lock()
				defer checking.Unlock()
				for _, err := range errs {
					check(name, err)
				}
				return nil
			})
		}
		_ = all.Wait()
		time.Sleep(100 * time.Millisecond) // handlers of those who are gone have not been waited for
	}
	answered := func(name string, err error) {
		check.ErrorIf(t, err != nil, "%s: %v", name, err)
	}
	each(1, true, answered)
	each(4, false, func(string, error) {}) // and not five in a row
	each(1, true, answered)
	for tries := 10; ; tries-- {
		began := time.Now()
		each(5, false, func(string, error) {})
		requests := make(map[string]int)
		for name := range tests {
			requests[name] = len(b.Requests("/" + name))
		}
		errs := make(map[string]error)
		var mu sync.Mutex
		each(1, true, func(name string, err error) {
			mu.Lock()
			defer mu.Unlock()
			errs[name] = err
		})
		inTime := time.Since(began) < httpguest.BreakerPause // else the machine is busy
		var all sync.WaitGroup
		for name, test := range tests {
			if !test.counts {
				answered(name, errs[name])
			} else if inTime {
				if err := errs[name]; err == nil || !strings.Contains(err.Error(), "it did not answer 5 times in a row, and is not asked for 5s") {
					t.Errorf("%s: %v", name, err)
				}
			}
			asked := len(b.Requests("/"+name)) > requests[name]
			check.ErrorIf(t, inTime && asked == test.counts, "%s: that it is asked is %v", name, asked)
			if test.counts {
				all.Go(func() {
					for deadline := time.Now().Add(time.Minute); ask(name, 1)[0] != nil; time.Sleep(10 * time.Millisecond) {
						if time.Now().After(deadline) {
							t.Errorf("%s: it is not asked again", name)
							return
						}
					}
					after := time.Since(began)
					check.ErrorIf(t, after < httpguest.BreakerPause, "%s: it is asked again after %v", name, after)
				})
			}
		}
		all.Wait()
		if inTime {
			return
		}
		check.FatalIf(t, tries == 0, "the machine is too busy")
	}
}

// TestOneSlowGuestCostsItsTimeoutOnce asks many, of which one hangs.
func TestOneSlowGuestCostsItsTimeoutOnce(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/hang", testbackend.Response{Hold: true})
	b.On("/quick", jsonOf("1"))
	config := ""
	for i, options := range []string{"service who /quick", "service who /hang\nservice who /hang?2\nservice who /hang?3", "service who /quick"} {
		config += fmt.Sprintf(`
	invite /%d/__invite__/
	handle_path /%d/* {
		wsgi_party_guest {
			timeout 2s
			%s
		}
		reverse_proxy %s
	}`, i, i, options, b.Upstream())
	}
	c.load(config)
	answers, err := c.ask("who", nil)
	check.ErrorIf(t, answers != "1 1" || strings.Count(fmt.Sprint(err), "it took longer than 2s") != 3, "%s: %v", answers, err)
	hung := b.Requests("/hang")
	for _, r := range hung {
		check.ErrorIf(t, slices.ContainsFunc(hung, func(other testbackend.Request) bool { return !r.Ended.IsZero() && other.Began.After(r.Ended) }), "its handlers are asked one after the other")
	}

	c.load(strings.ReplaceAll(config, "2s", "5m"))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	check.Equal(t, check.Value(wsgiparty.First[int](ctx, operatorOf(c, c.party), "who", nil))(t), 1, "the first")
}
