// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Asking guests, and what each has answered.

package gather

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/wsgiparty/wsgiparty/internal/strictjson"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
	"go.uber.org/zap"
)

const (
	askTimeout  = 30 * time.Second // of what is asked behind requests
	maxAsking   = 16               // guests at once
	wrapAnswers = "[[[["           // levels that a document puts around answers, at most
	wrapEnds    = "]]]]"
)

// question is what a request asks.
type question struct {
	*Gather
	payload any
	note    bool   // absent guests in the document
	origin  string // of links that have none
}

// result is what came of asking a guest: its answers, as JSON, or none if it declined.
type result struct {
	answers []json.RawMessage
	err     error
}

func (r *result) size() (n int) {
	if r == nil {
		return 0
	}
	for _, answer := range r.answers {
		n += len(answer)
	}
	return n
}

// everybody is whom to ask, in order, and who cannot be asked.
type everybody struct{ guests []guest }

type guest struct {
	name      string
	connected bool
	onLine    bool
	failed    bool // its invite
}

// look returns the guests that are connected under the service, in order, and among them those that are invited and not on the line.
func (g *Gather) look() everybody {
	connected := g.entry.Services()[g.Service]
	all := everybody{make([]guest, 0, len(connected))}
	for _, invited := range g.entry.Invited() {
		switch {
		case slices.Contains(connected, invited.Guest):
			all.guests = append(all.guests, guest{invited.Guest, true, true, false})
		case !invited.OnLine:
			all.guests = append(all.guests, guest{invited.Guest, false, false, invited.Failed})
		}
	}
	for _, name := range connected {
		if !slices.ContainsFunc(all.guests, func(g guest) bool { return g.name == name }) {
			all.guests = append(all.guests, guest{name, true, true, false})
		}
	}
	return all
}

// collected is what guests have answered so far, of which no more is kept than has room.
type collected struct {
	*question
	guests []string
	late   func(guest string, r *result) // takes what comes of those that take longer than patience; nil to wait for them
	lates  sync.WaitGroup

	mu      sync.Mutex
	results map[string]*result // nil for those that are late
}

func (q *question) collect(guests []string) *collected {
	return &collected{question: q, guests: guests, results: make(map[string]*result, len(guests))}
}

// ask asks the guests, each by itself: none waits for another one, or shares with it how much one ask may collect. It returns what came
// of it with each.
func (c *collected) ask(ctx context.Context) map[string]*result {
	connected, mayAnswer := c.entry.Services()[c.Service], c.entry.MayAnswer(c.Service, c.payload)
	var group sync.WaitGroup
	turns := make(chan struct{}, maxAsking)
	for _, guest := range c.guests {
		if slices.Contains(connected, guest) && !slices.Contains(mayAnswer, guest) {
			c.add(guest, new(result)) // the payload is for another one
			continue
		}
		turns <- struct{}{}
		group.Go(func() {
			defer func() { <-turns }()
			c.add(guest, c.reply(ctx, guest))
		})
	}
	group.Wait()
	return c.results
}

func (c *collected) add(guest string, r *result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.results[guest] = r
	for _, guest := range tooLong(c.guests, func(guest string) int { return c.results[guest].size() }, c.MaxResponse) {
		c.results[guest] = &result{err: c.noRoom()}
	}
}

// reply returns what comes of asking a guest, nil if that is late.
func (c *collected) reply(ctx context.Context, guest string) *result {
	late := make(chan struct{})
	timer := time.AfterFunc(patience, sync.OnceFunc(func() { close(late) }))
	came := make(chan *result, 1)
	go func() {
		r := &result{err: errNotAsked}
		defer func() { came <- r }() // also if a handler ends its goroutine
		r = c.askOne(ctx, guest, timer)
	}()
	if c.late == nil {
		return <-came
	}
	select {
	case r := <-came:
		return r
	case <-late:
		c.lates.Go(func() { c.late(guest, <-came) })
		return nil
	}
}

// askOne asks one guest. If it does not reply, it has declined. The timer runs while it is waited for.
func (q *question) askOne(ctx context.Context, guest string, waiting *time.Timer) (r *result) {
	r = new(result)
	defer func() {
		waiting.Stop()
		if value := recover(); value != nil { // of a method of an answer or error
			r.err = cmp.Or(r.err, fmt.Errorf("panic: %v", value))
		}
		if r.err != nil {
			r.answers = nil
		}
	}()
	for reply := range q.operator.Only(guest).Replies(ctx, q.Service, q.payload) {
		waiting.Stop()
		if _, missing := reply.Err.(*partyline.NoSuchServiceError); missing {
			reply.Err = errGone
		}
		if reply.Err == nil {
			reply.Err = q.take(r, reply.Answer)
		}
		if reply.Err != nil && reply.Err != partyline.ErrHighAndDry {
			r.err = cmp.Or(r.err, reply.Err)
		}
		waiting.Reset(patience)
	}
	waiting.Stop()
	if r.err == nil && len(r.answers) > 0 {
		r.err = q.check(ctx, guest, r.answers)
	}
	return r
}

// take adds an answer to those of its guest.
func (q *question) take(r *result, answer any) error {
	encoded, err := wire.EncodeAnswer(answer)
	if err != nil {
		return fmt.Errorf("the answer is not JSON: %w", err)
	}
	if int64(len(encoded)+r.size()) > q.MaxResponse {
		return q.noRoom()
	}
	if encoded, err = normal(encoded); err == nil {
		r.answers = append(r.answers, encoded)
	}
	return err
}

var errGone = errors.New("it is no longer connected")

// normal returns JSON that is always the same for the same value, and may stand in a document.
func normal(answer json.RawMessage) (json.RawMessage, error) {
	value, err := wire.ParseJSON(answer)
	if err == nil {
		answer, err = wire.Encode(value)
	}
	if err == nil {
		err = strictjson.Limits(slices.Concat([]byte(wrapAnswers), answer, []byte(wrapEnds)))
	}
	if err != nil {
		return nil, fmt.Errorf("the answer is %w", err)
	}
	return answer, nil
}

// check returns an error for answers that the document cannot have.
func (q *question) check(ctx context.Context, guest string, answers []json.RawMessage) error {
	_, err := q.part(ctx, guest, answers)
	return err
}

// part is what a guest has to say, as the form takes it.
func (q *question) part(ctx context.Context, guest string, answers []json.RawMessage) (*part, error) {
	p := &part{guest: guest, mount: q.entry.MountFor(ctx, guest), origin: q.entry.OriginOf(guest), linkable: q.linkable}
	for _, answer := range answers {
		value, err := wire.ParseJSON(answer)
		if err != nil {
			return nil, err
		}
		if len(q.Rebase) > 0 {
			if err := p.rebase(value, q.rebase, q.absoluteFor(p)); err != nil {
				return nil, err
			}
		}
		p.answers = append(p.answers, value)
	}
	if q.form.check != nil {
		if err := q.form.check(p, q.absoluteFor(p)); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (q *question) linkable(url string) (string, error) {
	return party.Linkable(q.entry.Partyline, url)
}

// absoluteFor returns the origin of the guest's links: its own, or else, if links must have one, the site's.
func (q *question) absoluteFor(p *part) string { return cmp.Or(p.origin, q.origin) }

// askNow asks for one request.
func (q *question) askNow(ctx context.Context) (*document, error) {
	all := q.look()
	kept := make(map[string]*result)
	var guests []string
	for _, g := range all.guests {
		if g.connected {
			guests = append(guests, g.name)
		}
	}
	if len(guests) > 0 {
		kept = q.collect(guests).ask(party.ForwardOnly(ctx, q.Forward))
	}
	if ctx.Err() == context.Canceled {
		return nil, ctx.Err()
	}
	for _, guest := range guests {
		if r := kept[guest]; r.err != nil {
			q.logFailure(guest, r.err, false)
		}
	}
	return q.build(ctx, all, func(name string) *result { return kept[name] }), nil
}

func (q *question) noRoom() error {
	return fmt.Errorf("all answers together are longer than max_response, %d bytes, and this is one of the longest: have the guest answer with less", q.MaxResponse)
}

func (q *question) logFailure(guest string, err error, fallsBack bool) {
	q.logger.Warn("guest failed", zap.String("party", q.Party), zap.String("guest", guest), zap.String("service", q.Service), zap.Error(errors.New(wire.Message(err))), zap.Bool("last_answer_served", fallsBack))
}

// fail takes down that the guest has failed, and logs it, but not the same again and again.
func (k *known) fail(q *question, guest string, err error) {
	why := fmt.Sprintf("%.200s", strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return -1
		}
		return r
	}, wire.Message(err)))
	if !k.failed || k.why != why {
		q.logFailure(guest, err, k.has())
	}
	k.failed, k.why = true, why
}
