// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Asks by the admin API.

package operations

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/wsgiparty/wsgiparty/internal/budget"
	"github.com/wsgiparty/wsgiparty/internal/nearest"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// ask asks around.
func ask(w http.ResponseWriter, r *http.Request, p party.PartyInfo, path []string) ([][]byte, error) {
	service := path[2]
	services := p.Partyline.Services()
	if _, ok := services[service]; !ok {
		return nil, notFound("service", service, slices.Sorted(maps.Keys(services)))
	}
	asked, err := wire.AskQuery(r, service)
	if err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	if guest := asked.Guest; guest != nil && !slices.Contains(services[service], *guest) {
		return nil, apiError(http.StatusNotFound, notConnected(p.Partyline, *guest, service, services[service]))
	}
	body, status, err := wire.ReadPayload(w, r)
	if err != nil {
		return nil, apiError(status, err)
	}
	if asked.Payload, err = wire.ParsePayload(body); err != nil {
		return nil, apiError(http.StatusBadRequest, err)
	}
	response, err := repliesTo(r.Context(), p.Partyline, asked)
	if _, ok := errors.AsType[*partyline.NoSuchServiceError](err); ok {
		return nil, apiError(http.StatusNotFound, err) // everybody has just left
	}
	if errors.Is(err, wire.ErrNoRoom) {
		err = apiError(http.StatusRequestEntityTooLarge, fmt.Errorf("the response is longer than %d bytes", wire.MaxResponse))
	}
	return response, err
}

// notConnected is the error of an ask of one guest that is not among those of the service. It says whom else to
// ask, or what else the guest answers.
func notConnected(line *partyline.Partyline, guest, service string, guests []string) error {
	err := &partyline.NoSuchServiceError{Party: line.Name(), Service: service, Guest: guest}
	if info, ok := line.Guest(guest); ok && len(info.Services) > 0 {
		return fmt.Errorf("%w, but under %s", err, strings.Join(info.Services, ", "))
	}
	if meant := nearest.DidYouMean(guest, guests...); meant != "" {
		return fmt.Errorf("%w%s", err, meant)
	}
	return fmt.Errorf("%w: %s", err, nearest.ThereAre("connected guest", guests))
}

// repliesTo asks everyone, or one guest, and returns what comes of it as JSON, in parts.
func repliesTo(ctx context.Context, line *partyline.Partyline, ask wire.Ask) ([][]byte, error) {
	w := &wire.Writer{Room: budget.New(wire.MaxResponse), Timed: true}
	if err := w.Begin(ask.First); err != nil {
		return nil, err
	}
	operator := line.Operator("")
	if ask.Guest != nil {
		operator = operator.Direct(*ask.Guest)
	}
	entry := line.Owner().(*party.Entry)
	for r := range operator.Replies(ctx, ask.Service, ask.Payload) {
		answered, err := w.Reply(wire.Reply{
			Guest: r.Guest, Mount: entry.MountFor(ctx, r.Guest), Answer: r.Answer, Err: r.Err, Declined: r.Err == partyline.ErrHighAndDry, Duration: r.Duration,
		})
		if err != nil {
			return nil, err
		}
		if answered && ask.First {
			break
		}
	}
	return w.End(), nil
}
