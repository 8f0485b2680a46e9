// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpask

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/askaddress"
	"github.com/wsgiparty/wsgiparty/internal/budget"
	"github.com/wsgiparty/wsgiparty/internal/caddytokens"
	"github.com/wsgiparty/wsgiparty/internal/subrequest"
	"github.com/wsgiparty/wsgiparty/internal/token"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(new(Ask))
}

// Ask is an HTTP handler through which applications that are guests ask the others. Put it where only
// these applications reach it: on a unix socket, on a loopback address, or behind mTLS. Anywhere else
// it logs a warning. A guest says who it is by its key. Ask never calls the next handler.
//
//   - `POST /<service>`, with a payload in JSON, asks around. With `?first` it stops at the first
//     answer. With `?guest=<name>` it asks that guest only.
//   - `POST /`, with a list of up to 256 objects with `service`, `payload`, `first` and `guest`, asks
//     for each of them.
//   - `GET /` shows the services with their guests, and the guests with their services. It answers 304
//     if `If-None-Match` says that the client has this already.
//
// The key goes in the header `Authorization: Bearer <key>`. A guest that asks while it is being asked
// hands back the `Party-Token` that it was asked with. To send the asked guests a header, such as a
// visitor's `Cookie`, prefix its name, as in `Party-Forward-Cookie`. It reaches those guests whose
// `forward` lists it. Of the rest of the request, only the trace goes on.
type Ask struct {
	// The name of the party. Default: the party in whose routes the handler is, or else `default`.
	Party string `json:"party,omitempty"`

	// How long a response may be, in bytes, up to 1 GiB. An answer that does not fit counts as a
	// failed reply. In a list of asks, the result of an ask that does not fit has status 413. Default:
	// 8 MiB.
	MaxResponse int64 `json:"max_response,omitempty"`

	entry *party.Entry
}

// CaddyModule returns the Caddy module information.
func (*Ask) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.wsgi_party_ask", New: func() caddy.Module { return new(Ask) }}
}

// Provision finds the party.
func (a *Ask) Provision(ctx caddy.Context) error {
	if h := party.Around(ctx); a.Party == "" && h != nil {
		a.Party = h.Name()
	}
	if a.Party == "" {
		a.Party = party.DefaultParty
	}
	if a.MaxResponse == 0 {
		a.MaxResponse = wire.MaxResponse
	}
	if a.MaxResponse < 0 || a.MaxResponse > caddytokens.MaxSize {
		return fmt.Errorf("max_response is %d bytes: write a size above zero and up to 1 GiB", a.MaxResponse)
	}
	operator, err := party.Join(ctx, a.Party, "")
	if err != nil {
		return err
	}
	a.entry = operator.Partyline().Owner().(*party.Entry)
	app, err := party.AppOf(ctx)
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && err == nil {
		logger := ctx.Logger()
		app.WarnAtStart(func() { warnOfOpen(logger, server) })
	}
	return err
}

// ServeHTTP asks around.
func (a *Ask) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	response, err := a.serve(w, r)
	status, mediaType := http.StatusOK, "application/json"
	if err == errNotModified {
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if problem, ok := errors.AsType[*problem](err); ok {
		status, mediaType = problem.Status, "application/problem+json"
		response, err = onePart(problem)
	}
	if err != nil {
		if r.Context().Err() != nil { // the client has gone
			return caddyhttp.Error(subrequest.StatusClientClosedRequest, err)
		}
		return err
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Cache-Control", "no-store")
	length := 0
	for _, part := range response {
		length += len(part)
	}
	w.Header().Set("Content-Length", strconv.Itoa(length))
	w.WriteHeader(status)
	parts := net.Buffers(response)
	_, err = parts.WriteTo(w)
	return err
}

// onePart encodes a response that is short.
func onePart(value any) ([][]byte, error) {
	encoded, err := wire.Encode(value)
	return [][]byte{encoded}, err
}

// serve returns the response's JSON, in parts.
func (a *Ask) serve(w http.ResponseWriter, r *http.Request) ([][]byte, error) {
	if err := party.CheckLoops(r.Header); err != nil {
		return nil, newProblem(http.StatusLoopDetected, "%v: the ask leads back to itself, through another Caddy or an application", err)
	}
	guest, keys, ok := a.entry.Identify(r)
	if !ok {
		w.Header().Set("WWW-Authenticate", "Bearer")
		return nil, newProblem(http.StatusUnauthorized, "no guest of party %q has this key, or none was sent: send the key of the guest's wsgi_party_guest in the header Authorization, as Bearer <key>; it counts once the guest's invite has reached that handler", a.Party)
	}
	version := a.entry.LineVersion() // which is no newer than what is answered
	w.Header().Set(party.LineHeader, version)
	service := strings.TrimPrefix(r.URL.Path, "/")
	if service == "" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		etag := `"` + version + `"`
		w.Header().Set("ETag", etag)
		if matches(r.Header.Values("If-None-Match"), etag) {
			return nil, errNotModified
		}
		return onePart(whoIsThere(a.entry))
	}
	if r.Method != http.MethodPost {
		allowed := http.MethodPost
		if service == "" {
			allowed = "GET, HEAD, POST"
		}
		w.Header().Set("Allow", allowed)
		return nil, newProblem(http.StatusMethodNotAllowed, "method %s is not allowed here, only %s", r.Method, allowed)
	}
	ctx, end, err := a.entry.AskContext(r, guest, keys)
	if errors.Is(err, token.ErrTooDeep) {
		return nil, newProblem(http.StatusLoopDetected, "%v", err)
	}
	if err != nil {
		return nil, newProblem(http.StatusBadRequest, "%v", err)
	}
	defer end()
	operator := a.entry.Operator(guest)
	body, status, err := wire.ReadPayload(w, r)
	if err != nil {
		return nil, newProblem(status, "%v", err)
	}
	if service == "" {
		return a.askBatch(ctx, operator, body)
	}
	ask, err := wire.AskQuery(r, service)
	if err == nil {
		ask.Payload, err = wire.ParsePayload(body)
	}
	if err != nil {
		return nil, newProblem(http.StatusBadRequest, "%v", err)
	}
	return a.ask(ctx, &wire.Writer{Room: budget.New(a.MaxResponse)}, by(operator, ask), ask)
}

// by returns the operator that asks whom the ask is for.
func by(o *partyline.Operator, ask wire.Ask) *partyline.Operator {
	if ask.Guest != nil {
		return o.Direct(*ask.Guest)
	}
	return o
}

// ask asks when it may, and returns what comes of it as JSON, in parts.
func (a *Ask) ask(ctx context.Context, w *wire.Writer, o *partyline.Operator, ask wire.Ask) ([][]byte, error) {
	if n := int64(min(o.RemoteHandlers(ask.Service, ask.Payload), maxUnderWay)); n > 0 {
		calls := a.callsOf(o)
		if err := calls.Acquire(ctx, n); err != nil {
			return nil, err
		}
		defer calls.Release(n)
	}
	ctx, lasting := withLasting(ctx, ask.Service)
	return a.collect(ctx, w, ask, lasting, o.Replies(ctx, ask.Service, ask.Payload))
}

// withLasting returns the context for an ask that notes whether what is answered lasts, and what does, nil if nothing need.
func withLasting(ctx context.Context, service string) (context.Context, *party.Lasting) {
	if service == party.URLService {
		if lasting := party.WithLasting(ctx); lasting != nil {
			return lasting, lasting
		}
	}
	return ctx, nil
}

// collect returns the replies to an ask as JSON, in parts.
func (a *Ask) collect(ctx context.Context, w *wire.Writer, ask wire.Ask, lasting *party.Lasting, replies iter.Seq[partyline.Reply]) ([][]byte, error) {
	if err := w.Begin(ask.First); err != nil {
		return nil, a.problemOf(err)
	}
	for r := range replies {
		if lasting != nil {
			lasting.Replied(r.Guest, r.Err)
		}
		answered, err := w.Reply(wire.Reply{
			Guest: r.Guest, Mount: a.entry.MountFor(ctx, r.Guest), Answer: r.Answer, Err: r.Err, Declined: r.Err == partyline.ErrHighAndDry, Duration: r.Duration,
		})
		if err != nil {
			return nil, a.problemOf(err)
		}
		if answered && ask.Service == party.URLService {
			party.GiveURL(ctx, r.Answer)
		}
		if answered && ask.First {
			break
		}
	}
	w.Lasting = lasting != nil && lasting.Holds()
	return w.End(), nil
}

// errNotModified says that who asks knows already who is there.
var errNotModified = errors.New("not modified")

// matches reports whether the ETag is one of those in If-None-Match.
func matches(header []string, etag string) bool {
	for _, list := range header {
		for one := range strings.SplitSeq(list, ",") {
			if one = strings.TrimPrefix(strings.Trim(one, " \t"), "W/"); one == etag || one == "*" {
				return true
			}
		}
	}
	return false
}

// whoIsThere returns the guests of each service, in the order in which they are asked, and
// the services of each guest.
func whoIsThere(entry *party.Entry) any {
	guests := make(map[string][]string)
	for _, g := range entry.Guests() {
		guests[g.Name] = append([]string{}, g.Services...)
	}
	return struct {
		Services map[string][]string `json:"services"`
		Guests   map[string][]string `json:"guests"`
	}{entry.Services(), guests}
}

// problem is an error as RFC 9457 has it.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

func (p *problem) Error() string { return p.Detail }

func newProblem(status int, format string, arguments ...any) *problem {
	return &problem{"about:blank", http.StatusText(status), status, fmt.Sprintf(format, arguments...)}
}

// problemOf returns the problem that the error of an ask as a whole is to the asker.
func (a *Ask) problemOf(err error) error {
	if _, ok := errors.AsType[*partyline.NoSuchServiceError](err); ok {
		return newProblem(http.StatusNotFound, "%v", err)
	}
	if errors.Is(err, partyline.ErrLoop) {
		return newProblem(http.StatusLoopDetected, "%v", err)
	}
	if errors.Is(err, wire.ErrNoRoom) {
		return newProblem(http.StatusRequestEntityTooLarge, "the response is longer than max_response, %d bytes: ask for less at a time, or, in a batch, for this by itself", a.MaxResponse)
	}
	return err
}

// warnOfOpen warns of a server at which more than the guests may reach wsgi_party_ask.
func warnOfOpen(logger *zap.Logger, server *caddyhttp.Server) {
	for _, policy := range server.TLSConnPolicies {
		if auth := policy.ClientAuthentication; auth != nil && (auth.Mode == "" || auth.Mode == "require_and_verify") && auth.Active() {
			return
		}
	}
	open := slices.DeleteFunc(slices.Clone(server.Listen), askaddress.OnlyLocal)
	if len(open) == 0 {
		return
	}
	logger.Warn("wsgi_party_ask can be reached from other machines", zap.String("server", server.Name()), zap.Strings("listen", open),
		zap.String("hint", "only guests should reach it: write `bind 127.0.0.1` or `bind unix//run/party.sock` in its site, even if its address is http://127.0.0.1:2080, which alone does not limit who can connect; or demand client certificates, with `client_auth` in its `tls`"))
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Ask)(nil)
	_ caddyhttp.MiddlewareHandler = (*Ask)(nil)
)
