// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The command `caddy wsgi-party watch`.

package operations

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/wsgiparty/wsgiparty/internal/admincommand"
)

const watchHelp = `
Follows a party until you press Ctrl-C. It shows which guests join and leave,
whose manifest or services change, and which invites fail and what to do about
them. For each service it shows how many asks were answered, declined, failed or
were refused since the last look, with the last error.

Each event is one line with its time, or with --json one JSON object. The
command carries on while Caddy reloads its config, and waits for Caddy if that
has stopped. It may miss what begins and ends between two looks. Caddy logs each
look, like every request to its admin API; a longer --interval logs less.`

// The bounds of --interval.
const (
	minInterval = 100 * time.Millisecond
	maxInterval = time.Hour
)

// slowAnswer is after how long it is said that Caddy does not answer.
const slowAnswer = 10 * time.Second

// watcher follows a party.
type watcher struct {
	fl       caddycmd.Flags
	terminal admincommand.Terminal
	last     *partyJSON // nil before the first look
	waiting  string     // why there was nothing to see, the last time
}

// seen is what came of a look.
type seen struct {
	party partyJSON
	err   error
}

func commandWatch(fl caddycmd.Flags) error {
	interval := fl.Duration("interval")
	if interval < minInterval || interval > maxInterval {
		return fmt.Errorf("--interval %v is not from %v to %v", interval, minInterval, maxInterval)
	}
	if err := admincommand.FindAddress(fl); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	w := &watcher{fl: fl, terminal: admincommand.TerminalOf(os.Stdout)}
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	for {
		now, ok := w.await(ctx)
		if !ok {
			return nil
		}
		if err := w.tell(now); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
	}
}

// await returns what the party looks like. It returns false if the context ends before that.
func (w *watcher) await(ctx context.Context) (now seen, _ bool) {
	answer := make(chan seen, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				answer <- seen{err: fmt.Errorf("panic: %v", r)}
			}
		}()
		p, err := admincommand.Get[partyJSON](w.fl, admincommand.EscapeSegment(w.fl.Arg(0)))
		answer <- seen{p, err}
	}()
	slow := time.NewTimer(slowAnswer)
	defer slow.Stop()
	for {
		select {
		case <-ctx.Done():
			return now, false
		case now = <-answer:
			return now, true
		case <-slow.C:
			if err := w.wait(fmt.Sprintf("Caddy has not answered for %v", slowAnswer)); err != nil {
				return seen{err: err}, true
			}
		}
	}
}

// tell tells what is new. An error at the first look ends the command: the name may be wrong.
func (w *watcher) tell(now seen) error {
	if now.err != nil {
		if w.last == nil {
			return now.err
		}
		return w.wait(now.err.Error())
	}
	var events []event
	switch {
	case w.last == nil:
		events = append(events, event{What: "watching", Text: now.party.summary()})
		w.last = &partyJSON{Guests: now.party.Guests, Counts: now.party.Counts, Loaded: now.party.Loaded}
	case w.waiting != "":
		events = append(events, event{What: "watching again", Text: now.party.summary()})
	case !w.last.Loaded.Equal(now.party.Loaded):
		events = append(events, event{What: "config loaded", Text: now.party.summary()})
	}
	now.party.keepUntilJudged(w.last)
	events = append(events, w.last.changes(now.party)...)
	now.party.keepCounts(w.last)
	w.last, w.waiting = &now.party, ""
	return w.print(events)
}

// wait tells once why there is nothing to see.
func (w *watcher) wait(why string) error {
	if w.waiting != "" {
		return nil
	}
	w.waiting = why
	return w.print([]event{{What: "waiting", Text: firstLine(why), color: admincommand.Yellow}})
}

// print writes each event as a line.
func (w *watcher) print(events []event) error {
	now := time.Now()
	for _, e := range events {
		e.Time = now
		line := e.line(w.terminal)
		if w.fl.Bool("json") {
			encoded, err := json.Marshal(e)
			if err != nil {
				return err
			}
			line = string(encoded)
		}
		if _, err := os.Stdout.WriteString(line + "\n"); err != nil {
			return err
		}
	}
	return nil
}
