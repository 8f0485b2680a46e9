// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"context"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

func connectPrompt(t testing.TB, o *Operator, service string, h Handler) {
	t.Helper()
	check.Must(t, o.ConnectPrompt(service, h))
}

// sayGoroutine answers whether it is called in the goroutine of whoever calls AskAround.
func sayGoroutine(context.Context, any) (any, error) {
	if strings.Contains(string(debug.Stack()), ".AskAround(") {
		return "the asker's", nil
	}
	return "its own", nil
}

func TestAPromptHandlerIsCalledByTheAskerIfNobodyElseIsWaitedFor(t *testing.T) {
	p := NewPartyline("main", Options{})
	asker, a, b := p.Operator("asker"), p.Operator("a"), p.Operator("b")
	connectRemote(t, asker, "s", neverCalled(t))
	connect(t, p.Operator("first"), "s", pong)
	connectPrompt(t, a, "s", sayGoroutine)
	connect(t, p.Operator("last"), "s", pong)
	wantAnswers(t, asker, "s", "pong", "the asker's", "pong")
	connectPrompt(t, b, "s", sayGoroutine)
	wantAnswers(t, asker, "s", "pong", "its own", "pong", "its own")
	wantAnswers(t, asker.Only("b"), "s", "the asker's")
	a.Leave()
	wantAnswers(t, asker, "s", "pong", "pong", "the asker's")
	connectRemote(t, p.Operator("c"), "s", sayGoroutine)
	wantAnswers(t, asker, "s", "pong", "pong", "its own", "its own")
	b.Leave()
	wantAnswers(t, asker, "s", "pong", "pong", "its own") // which is not prompt
}

func TestRepliesOfAPromptHandlerAreCountedAndTimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPartyline("main", Options{})
		connectPrompt(t, p.Operator("a"), "s", func(ctx context.Context, payload any) (any, error) {
			time.Sleep(time.Second)
			return reactions[payload.(rune)].handler(ctx, payload)
		})
		for _, reaction := range "adfp" {
			replies := slices.Collect(p.Operator("").Replies(t.Context(), "s", reaction))
			check.ErrorIf(t, len(replies) != 1 || replies[0].Guest != "a" || replies[0].Duration != time.Second, "%c: got %v", reaction, replies)
		}
		wantFigures(t, p, "s 4, a/s 4 1 1 2")
		check.Equal(t, repliesOf(t, p, "a", "s").Durations.Sum, 4*time.Second)
	})
}

func TestAnAskEndsWithAPromptHandlerWhoseContextHasEnded(t *testing.T) {
	for name, c := range map[string]struct {
		end     func(context.Context) (context.Context, context.CancelFunc)
		want    error
		figures string
	}{
		"cancelled": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return ctx, cancel
		}, context.Canceled, "s 1, a/s 1 0 0 0, b/s 0 0 0 0"}, // which is nobody's failure
		"too late": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		}, context.DeadlineExceeded, "s 1, a/s 1 0 0 1, b/s 0 0 0 0"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := NewPartyline("main", Options{})
				connectPrompt(t, p.Operator("a"), "s", func(ctx context.Context, _ any) (any, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				})
				connect(t, p.Operator("b"), "s", neverCalled(t))
				ctx, cancel := c.end(t.Context())
				defer cancel()
				got, err := p.Operator("asker").AskAround(ctx, "s", nil)
				check.ErrorIf(t, len(got) != 0 || err != c.want, "got %v, %v", got, err)
				wantFigures(t, p, c.figures)
			})
		})
	}
}

func TestAPromptHandlerThatEndsItsGoroutineHasFailed(t *testing.T) {
	p := NewPartyline("main", Options{})
	connectPrompt(t, p.Operator("a"), "s", reactions['x'].handler)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Operator("asker").AskAround(t.Context(), "s", nil)
		t.Error("the asker goes on")
	}()
	<-done
	wantFigures(t, p, "s 1, a/s 1 0 0 1")
	check.Equal(t, repliesOf(t, p, "a", "s").LastFailure.(*HandlerError).Err, errExited)
}
