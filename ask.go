// Copyright 2026 The wsgi_party Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

package wsgiparty

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/wsgiparty/wsgiparty/internal/budget"
	"github.com/wsgiparty/wsgiparty/internal/strictjson"
	"github.com/wsgiparty/wsgiparty/internal/subrequest"
	"github.com/wsgiparty/wsgiparty/internal/token"
)

func init() {
	caddy.RegisterModule(new(Ask))
}

// Ask is an HTTP handler by which guests that are applications of their own ask
// around. It is to be put where only they reach it: a unix socket, a loopback
// address, or behind mTLS; anything else is warned of. A guest says who it is by its
// key. It never calls the next handler.
//
//   - `POST /<service>`, with a payload of JSON, asks around. With `?first` it stops
//     at the first answer.
//   - `POST /`, with a list of up to 256 objects with `service`, `payload` and `first`,
//     asks for each of them.
//   - `GET /` shows the services with their guests, and the guests with their services.
//
// The key is in the header `Authorization: Bearer <key>`. A guest that asks while it is
// being asked hands back the `Party-Token` it was asked with. Headers for the guests that
// are asked, such as a visitor's `Cookie`, are sent as `Party-Forward-Cookie`, and reach
// those whose `forward` lists them. Nothing else of the request goes on but the trace.
type Ask struct {
	// The name of the party. Default: the party in whose routes the handler is, or
	// else `default`.
	Party string `json:"party,omitempty"`

	// How long a response may be, in bytes, up to 1 GiB. An answer that does not fit
	// is a failed reply; in a list of asks, the ask then is a result with status 413.
	// Default: 8 MiB.
	MaxResponse int64 `json:"max_response,omitempty"`

	app *App
}

// CaddyModule returns the Caddy module information.
func (*Ask) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.wsgi_party_ask",
		New: func() caddy.Module { return new(Ask) },
	}
}

// Provision finds the party.
func (a *Ask) Provision(ctx caddy.Context) error {
	if h := Around(ctx); a.Party == "" && h != nil {
		a.Party = h.name
	}
	if a.Party == "" {
		a.Party = DefaultParty
	}
	if a.MaxResponse == 0 {
		a.MaxResponse = defaultMaxResponse
	}
	if a.MaxResponse < 0 || a.MaxResponse > maxMaxAnswer {
		return fmt.Errorf("max_response is %d bytes: write a size above zero and up to 1 GiB", a.MaxResponse)
	}
	var err error
	if a.app, err = appOf(ctx); err != nil {
		return err
	}
	if _, err = Join(ctx, a.Party, ""); err != nil {
		return err
	}
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		logger := ctx.Logger()
		a.app.warnAtStart(func() { warnOfOpen(logger, server) })
	}
	return nil
}

// ServeHTTP asks around.
func (a *Ask) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	response, err := a.serve(w, r)
	status, mediaType := http.StatusOK, "application/json"
	if problem, ok := errors.AsType[*problem](err); ok {
		status, mediaType = problem.Status, "application/problem+json"
		response, err = encodePart(problem)
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
	return writeParts(w, response)
}

// writeParts writes a response that is in parts.
func writeParts(w http.ResponseWriter, parts [][]byte) error {
	for _, part := range parts {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// encodePart is encode for a response of one part.
func encodePart(value any) ([][]byte, error) {
	encoded, err := encode(value)
	return [][]byte{encoded}, err
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

// serve returns the response's JSON, in parts.
func (a *Ask) serve(w http.ResponseWriter, r *http.Request) ([][]byte, error) {
	if loopsTooOften(r.Header) {
		return nil, newProblem(http.StatusLoopDetected, "the request has come through this Caddy %d times (CDN-Loop): what it asks for leads to itself, by way of another Caddy or an application", maxLoops)
	}
	guest, keys, ok := a.app.identify(a.Party, r)
	if !ok {
		w.Header().Set("WWW-Authenticate", "Bearer")
		return nil, newProblem(http.StatusUnauthorized, "no guest of party %q has this key, or none was sent: write the key of the guest's wsgi_party_guest in the header Authorization, as Bearer <key>; it counts once the guest's invite has reached that", a.Party)
	}
	line := a.app.lineOf(a.Party)
	service := strings.TrimPrefix(r.URL.Path, "/")
	if service == "" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		return encodePart(whoIsThere(line))
	}
	if r.Method != http.MethodPost {
		allowed := http.MethodPost
		if service == "" {
			allowed = "GET, HEAD, POST"
		}
		w.Header().Set("Allow", allowed)
		return nil, newProblem(http.StatusMethodNotAllowed, "method %s is not allowed here, only %s", r.Method, allowed)
	}
	ctx, end, err := a.contextOf(r, line, guest, keys)
	if err != nil {
		return nil, err
	}
	defer end()
	ctx = a.app.withPrefixOf(ctx, line, guest, r.Header.Get(prefixHeader))
	body, status, err := readPayload(w, r)
	if err != nil {
		return nil, newProblem(status, "%v", err)
	}
	operator := line.Operator(guest)
	if service == "" {
		return a.askBatch(ctx, line, operator, body)
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, newProblem(http.StatusBadRequest, "the query %q: %v", r.URL.RawQuery, err)
	}
	first, err := boolParameter(query, "first")
	if err != nil {
		return nil, newProblem(http.StatusBadRequest, "%v", err)
	}
	payload, err := parsePayload(body)
	if err != nil {
		return nil, newProblem(http.StatusBadRequest, "%v", err)
	}
	writer := askWriter{line: line, room: budget.New(a.MaxResponse)}
	done, err := line.begin(ctx, operator, service, payload)
	if err != nil {
		return nil, err
	}
	defer done()
	response, err := writer.ask(ctx, operator, service, payload, first)
	return response, a.problemOf(err)
}

// maxUnderWay is how many handlers of applications may be called at once for what one
// guest asks, in all its requests together. Each call takes memory, also while it waits for
// its turn, and a short list of asks can lead to very many.
const maxUnderWay = 4096

// begin waits until an ask may be begun, and returns a function to be
// called when it has ended.
func (l *line) begin(ctx context.Context, o *Operator, service string, payload any) (done func(), err error) {
	n := int64(min(l.remoteCalls(service, payload), maxUnderWay))
	if n == 0 {
		return func() {}, nil
	}
	loaded, ok := l.underWay.Load(o.guest)
	if !ok {
		loaded, _ = l.underWay.LoadOrStore(o.guest, semaphore.NewWeighted(maxUnderWay))
	}
	underWay := loaded.(*semaphore.Weighted)
	if err := underWay.Acquire(ctx, n); err != nil {
		return nil, err
	}
	return func() { underWay.Release(n) }, nil
}

// lineJSON is who is on a partyline.
type lineJSON struct {
	Services map[string][]string `json:"services"` // the guests, as they are asked
	Guests   map[string][]string `json:"guests"`   // the services
}

func whoIsThere(line *line) lineJSON {
	there := lineJSON{line.Services(), make(map[string][]string)}
	for _, g := range line.Guests() {
		there.Guests[g.Name] = append([]string{}, g.Services...)
	}
	return there
}

// contextOf returns the context to ask in: the one that the request's token says
// that led here. It is to be ended when that has been answered.
func (a *Ask) contextOf(r *http.Request, line *line, guest string, keys token.Keys) (ctx context.Context, end func(), err error) {
	ctx, end = context.WithValue(r.Context(), fromOutsideKey{}, r.Context().Value(caddy.ReplacerCtxKey)), func() {}
	text := r.Header.Get(tokenHeader)
	if text == "" {
		return ctx, end, nil
	}
	now := time.Now()
	t, err := keys.Verify(guest, text, now)
	if errors.Is(err, token.ErrTooDeep) {
		return nil, nil, newProblem(http.StatusLoopDetected, "%v", err)
	}
	if err != nil {
		return nil, nil, newProblem(http.StatusBadRequest, "%v", err)
	}
	if len(t.Path) == 0 || !a.app.signedPath(t, a.Party, now) {
		return ctx, end, nil // what a guest says itself is no path
	}
	if len(t.Path) >= token.MaxPath {
		return nil, nil, newProblem(http.StatusLoopDetected, "%v", token.ErrTooDeep)
	}
	if nested, end, ok := withPath(ctx, line.Partyline, t.Path, t.Root); ok {
		return nested, end, nil
	}
	return ctx, end, nil
}

// problemOf returns the problem that the error of an ask as a whole is to the asker.
func (a *Ask) problemOf(err error) error {
	if _, ok := errors.AsType[*NoSuchServiceError](err); ok {
		return newProblem(http.StatusNotFound, "%v", err)
	}
	if errors.Is(err, ErrLoop) {
		return newProblem(http.StatusLoopDetected, "%v", err)
	}
	if errors.Is(err, errNoRoom) {
		return newProblem(http.StatusRequestEntityTooLarge, "the response is longer than max_response, %d bytes: ask for less at a time, or, in a batch, for this by itself", a.MaxResponse)
	}
	return err
}

const maxBatch = 256 // asks of a batch

// askElement is an ask of a list of them.
type askElement struct {
	service string
	payload any
	first   bool
}

// parseAsks returns the asks of a list.
func parseAsks(text []byte) ([]askElement, error) {
	r := newJSONReader(text)
	if kind := r.PeekKind(); kind != jsontext.KindInvalid && kind != jsontext.KindBeginArray {
		return nil, errors.New("it is no list")
	}
	asks := make([]askElement, 0, min(bytes.Count(text, []byte(`"service"`)), maxBatch))
	err := r.list(func() error {
		var element askElement
		switch kind := r.PeekKind(); kind {
		case jsontext.KindInvalid, jsontext.KindBeginObject:
		case jsontext.KindNull:
			asks = append(asks, element)
			return r.SkipValue()
		default:
			return fmt.Errorf("/%d is no object", len(asks))
		}
		err := r.object(func(name string) (err error) {
			switch name {
			case "service":
				element.service, err = readService(r)
			case "payload":
				element.payload, err = r.value()
			case "first":
				element.first, err = readFirst(r)
			default:
				err = r.SkipValue()
			}
			return err
		})
		asks = append(asks, element)
		return err
	})
	if err == nil {
		err = r.end()
	}
	if err != nil {
		if strict, ok := errors.AsType[*strictjson.Error](strictjson.Check(text)); ok {
			return nil, strict
		}
		return nil, err
	}
	return asks, nil
}

func readService(r *jsonReader) (string, error) {
	switch r.PeekKind() {
	case jsontext.KindString:
		return r.string()
	case jsontext.KindNull, jsontext.KindInvalid:
		return "", r.SkipValue()
	}
	return "", fmt.Errorf("%s is not a string", r.StackPointer())
}

func readFirst(r *jsonReader) (bool, error) {
	value, err := r.value()
	first, ok := value.(bool)
	if err == nil && !ok && value != nil {
		err = fmt.Errorf("%s is neither true nor false", r.StackPointer())
	}
	return first, err
}

// askBatch asks for each element of a list.
func (a *Ask) askBatch(ctx context.Context, line *line, o *Operator, body []byte) ([][]byte, error) {
	asks, err := parseAsks(body)
	if err != nil {
		return nil, newProblem(http.StatusBadRequest, `write a list of objects as in [{"service": "url", "payload": {"name": "home"}, "first": true}]: %v`, err)
	}
	if len(asks) > maxBatch {
		return nil, newProblem(http.StatusRequestEntityTooLarge, "the list has %d asks: write up to %d, and more in another request", len(asks), maxBatch)
	}
	// Each is sure to have room at least for saying that there is none.
	room := budget.New(a.MaxResponse)
	noRoom, err := encodePart(a.problemOf(errNoRoom))
	if err != nil {
		return nil, err
	}
	reserved := len(noRoom[0]) + 1
	if !room.Take(len("[]") + len(asks)*reserved) {
		return nil, a.problemOf(errNoRoom)
	}
	newWriter := func() *askWriter { return &askWriter{line: line, room: room, whole: true} }
	results := make([][][]byte, len(asks))
	ask := func(ctx context.Context, writer *askWriter, i int) (err error) {
		if element := &asks[i]; element.service == "" {
			err = newProblem(http.StatusBadRequest, "element %d of the list has no service", i)
		} else {
			results[i], err = writer.ask(ctx, o, element.service, element.payload, element.first)
		}
		if problem, ok := errors.AsType[*problem](a.problemOf(err)); ok && !errors.Is(err, errNoRoom) {
			results[i], err = writer.problem(problem)
		}
		if errors.Is(err, errNoRoom) {
			results[i] = noRoom
			return nil
		}
		room.Give(reserved)
		return err
	}
	group, ctx := errgroup.WithContext(withBatch(ctx))
	var quick []int // those that wait for nothing outside this process
	for i := range asks {
		if !o.partyline.waits(asks[i].service) {
			quick = append(quick, i)
			continue
		}
		done, err := line.begin(ctx, o, asks[i].service, asks[i].payload)
		if err != nil { // the asker has gone, or another ask has failed
			return nil, cmp.Or(group.Wait(), err)
		}
		group.Go(func() (err error) {
			defer done()
			defer func() {
				if value := recover(); value != nil { // which would end the process
					err = newPanicError(value)
				}
			}()
			return ask(ctx, newWriter(), i)
		})
	}
	writer := newWriter()
	writer.json = make([]byte, 0, min(160*len(quick), 16<<10))
	for _, i := range quick { // which goroutines would only make slower
		if err := ask(ctx, writer, i); err != nil {
			return nil, errors.Join(err, group.Wait())
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	response := make([][]byte, 0, 1+2*len(results))
	separator := []byte("[")
	for _, result := range results {
		response = append(append(response, separator), result...)
		separator = []byte(",")
	}
	if len(results) == 0 {
		response = append(response, separator)
	}
	return append(response, []byte("]")), nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Ask)(nil)
	_ caddyhttp.MiddlewareHandler = (*Ask)(nil)
)
