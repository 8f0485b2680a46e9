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
	"sync"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/budget"
	"github.com/wsgiparty/wsgiparty/internal/strictjson"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
	"go.uber.org/zap"
)

const (
	askTimeout  = 30 * time.Second // of what is asked behind requests
	maxAsking   = 16               // guests at once, where they are asked one by one
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
	for _, answer := range r.answers {
		n += len(answer)
	}
	return n
}

// everybody is whom to ask, in order, and who cannot be asked.
type everybody struct {
	guests    []guest
	connected int
}

type guest struct {
	name      string
	connected bool
	onLine    bool
	failed    bool // its invite
}

// look returns the guests that are connected under the service, in order, and among them those that are invited and not on the line.
func (g *Gather) look() everybody {
	connected := g.entry.Services()[g.Service]
	all := everybody{make([]guest, 0, len(connected)), len(connected)}
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

// ask asks these guests, or all, and returns what came of it with each.
func (q *question) ask(ctx context.Context, guests []string, all bool) map[string]*result {
	results, room := make(map[string]*result, len(guests)), budget.New(q.MaxResponse)
	if all || len(guests) == 1 {
		operator := q.operator
		if !all {
			operator = operator.Only(guests[0])
		}
		q.askBy(ctx, operator, guests, results, room)
	} else {
		var mu sync.Mutex
		var group sync.WaitGroup
		turns := make(chan struct{}, maxAsking)
		for _, guest := range guests {
			turns <- struct{}{}
			group.Go(func() {
				defer func() { <-turns }()
				one := make(map[string]*result, 1)
				q.askBy(ctx, q.operator.Only(guest), []string{guest}, one, room)
				mu.Lock()
				defer mu.Unlock()
				results[guest] = one[guest]
			})
		}
		group.Wait()
	}
	for guest, r := range results {
		if r.err == nil && len(r.answers) > 0 {
			r.err = q.check(ctx, guest, r.answers)
		}
		if r.err != nil {
			r.answers = nil
		}
	}
	return results
}

// askBy asks with an operator, of whom the guests are. Those that do not reply have declined.
func (q *question) askBy(ctx context.Context, operator *partyline.Operator, guests []string, results map[string]*result, room *budget.Budget) {
	for _, guest := range guests {
		results[guest] = new(result)
	}
	var replied []string
	defer func() {
		if value := recover(); value != nil { // of a method of an answer or error
			for _, guest := range guests {
				if !slices.Contains(replied, guest) {
					results[guest].err = cmp.Or(results[guest].err, fmt.Errorf("panic: %v", value))
				}
			}
		}
	}()
	for reply := range operator.Replies(ctx, q.Service, q.payload) {
		if reply.Guest == "" {
			if _, missing := reply.Err.(*partyline.NoSuchServiceError); missing {
				reply.Err = errGone
			}
			for _, guest := range guests {
				if !slices.Contains(replied, guest) {
					results[guest].err = reply.Err
				}
			}
			return
		}
		r := results[reply.Guest]
		if r == nil {
			continue // it has joined just now
		}
		replied = append(replied, reply.Guest)
		if reply.Err == nil {
			var encoded json.RawMessage
			if encoded, reply.Err = wire.EncodeAnswer(reply.Answer); reply.Err != nil {
				reply.Err = fmt.Errorf("the answer is not JSON: %w", reply.Err)
			} else if !room.Take(len(encoded)) {
				reply.Err = q.noRoom()
			} else if encoded, reply.Err = normal(encoded); reply.Err == nil {
				r.answers = append(r.answers, encoded)
			}
		}
		if reply.Err != nil && reply.Err != partyline.ErrHighAndDry {
			r.err = cmp.Or(r.err, reply.Err)
		}
	}
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
	if q.form.check == nil {
		return p, nil
	}
	return p, q.form.check(p, q.absoluteFor(p))
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
		kept = q.ask(party.ForwardOnly(ctx, q.Forward), guests, true)
	}
	if ctx.Err() == context.Canceled {
		return nil, ctx.Err()
	}
	total := int64(0)
	for _, guest := range guests {
		r := kept[guest]
		if total += int64(r.size()); total > q.MaxResponse {
			total -= int64(r.size())
			r.answers, r.err = nil, q.noRoom()
		}
		if r.err != nil {
			q.logFailure(guest, r.err, false)
		}
	}
	return q.build(ctx, all, func(name string) *result { return kept[name] }), nil
}

func (q *question) noRoom() error {
	return fmt.Errorf("with its answer, all answers are longer than max_response, %d bytes", q.MaxResponse)
}

func (q *question) logFailure(guest string, err error, fallsBack bool) {
	q.logger.Warn("guest failed", zap.String("party", q.Party), zap.String("guest", guest), zap.String("service", q.Service), zap.Error(errors.New(wire.Message(err))), zap.Bool("last_answer_served", fallsBack))
}

// build makes the document of what is known of each guest.
func (q *question) build(ctx context.Context, all everybody, known func(guest string) *result) *document {
	f := &frame{party: q.Party, mounts: func() map[string]string {
		mounts := make(map[string]string)
		for _, invited := range q.entry.Invited() {
			if mount := q.entry.MountFor(ctx, invited.Guest); mount != "" {
				mounts[invited.Guest] = mount
			}
		}
		return mounts
	}}
	var absent []string
	for _, g := range all.guests {
		r := known(g.name)
		var p *part
		if r != nil && r.err == nil && len(r.answers) > 0 {
			var err error
			if p, err = q.part(ctx, g.name, r.answers); err != nil {
				q.logFailure(g.name, err, false)
			}
		}
		switch {
		case p != nil:
			f.parts = append(f.parts, p)
		case r != nil && (r.err != nil || len(r.answers) > 0), r == nil && g.failed:
			absent = append(absent, g.name)
		}
	}
	if q.note {
		f.absent = absent
	}
	body, err := q.form.write(f)
	if err == nil && int64(len(body)) > q.MaxResponse {
		err = fmt.Errorf("the document has %d bytes, which is longer than max_response, %d", len(body), q.MaxResponse)
	}
	if err != nil {
		return &document{err: fmt.Errorf("party %q, service %q: %w", q.Party, q.Service, err)}
	}
	return newDocument(body, absent)
}
