// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Documents, made of what is known of each guest.

package gather

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// build makes the document of what is known of each guest. Those whose parts make it too long are absent.
func (q *question) build(ctx context.Context, all everybody, known func(guest string) *result) *document {
	out := make(map[string]bool)
	for {
		f, absent := q.frame(ctx, all, known, out)
		body, more, err := q.write(ctx, f, known)
		if err != nil {
			return &document{err: fmt.Errorf("party %q, service %q: %w", q.Party, q.Service, err)}
		}
		if len(more) == 0 {
			return newDocument(body, absent)
		}
		for _, guest := range more {
			q.logFailure(guest, q.noRoom(), false)
			out[guest] = true
		}
	}
}

// frame returns what the document is made of, without the guests that are out.
func (q *question) frame(ctx context.Context, all everybody, known func(guest string) *result, out map[string]bool) (f *frame, absent []string) {
	f = &frame{party: q.Party, mounts: func() map[string]string {
		mounts := make(map[string]string)
		for _, invited := range q.entry.Invited() {
			if mount := q.entry.MountFor(ctx, invited.Guest); mount != "" {
				mounts[invited.Guest] = mount
			}
		}
		return mounts
	}}
	for _, g := range all.guests {
		r := known(g.name)
		var p *part
		if r != nil && r.err == nil && len(r.answers) > 0 && !out[g.name] {
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
	return f, absent
}

// write returns the document, or the guests without which it is not too long.
func (q *question) write(ctx context.Context, f *frame, known func(guest string) *result) (body []byte, more []string, err error) {
	var guests []string
	parts := make(map[string]int) // how many, or how long
	for _, p := range f.parts {
		guests = append(guests, p.guest)
		parts[p.guest] = len(p.answers)
	}
	size := func(guest string) int { return parts[guest] }
	if most := q.form.most; most > 0 {
		if more = tooLong(guests, size, most); len(more) > 0 {
			return nil, more, nil
		}
	}
	if body, err = q.form.write(f); err != nil || int64(len(body)) <= q.MaxResponse {
		return body, nil, err
	}
	total := int64(0)
	for _, guest := range guests {
		p, err := q.part(ctx, guest, known(guest).answers) // anew: writing may have changed it
		if err != nil {
			return nil, nil, err
		}
		alone, err := q.form.write(&frame{party: f.party, mounts: f.mounts, parts: []*part{p}})
		if err != nil {
			return nil, nil, err
		}
		parts[guest] = len(alone)
		total += int64(len(alone))
	}
	if more = tooLong(guests, size, int64(float64(total)*float64(q.MaxResponse)/float64(len(body)))); len(more) == 0 {
		return nil, nil, fmt.Errorf("the document has %d bytes, which is longer than max_response, %d", len(body), q.MaxResponse)
	}
	return nil, more, nil
}

// tooLong returns which of what guests, in this order, have does not fit into the room together: the longest, and of what is equally
// long the last. So nobody is among them who has no more than an equal share of the room, and it does not matter who came first.
func tooLong(guests []string, size func(guest string) int, room int64) []string {
	total := int64(0)
	for _, guest := range guests {
		total += int64(size(guest))
	}
	if total <= room {
		return nil
	}
	guests = slices.Clone(guests)
	slices.SortStableFunc(guests, func(a, b string) int { return cmp.Compare(size(a), size(b)) })
	fit := len(guests)
	for ; total > room; fit-- {
		total -= int64(size(guests[fit-1]))
	}
	return guests[fit:]
}
