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
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"

	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/internal/reservedheader"
	"github.com/wsgiparty/wsgiparty/internal/strictjson"
	"github.com/wsgiparty/wsgiparty/internal/subrequest"
	"github.com/wsgiparty/wsgiparty/internal/token"
	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
)

// visit is a guest handler's application on the line, from an invite on.
type visit struct {
	*Guest
	invitation *Invitation
	path       string // where the application is mounted in the party, escaped
	mount      string // the same with the party's prefix, where that is the same for all requests
	origin     string // what comes before the mount in links; empty for an invite without one
	slots      *slots

	strippedPath string // path, unescaped
	allPrivate   bool   // what is below it

	ctx  context.Context // ended by end
	end  context.CancelFunc
	wake chan struct{} // to ask for the manifest again

	urls     atomic.Pointer[map[string]*urltemplate.Template]
	others   atomic.Pointer[otherBases]
	breakers sync.Map // of service to *breaker

	upstreams upstreams

	mu       sync.Mutex
	operator *Operator // connected to what is declared and what was fetched
}

func newVisit(g *Guest, i *Invitation, path string) *visit {
	v := &visit{Guest: g, invitation: i, path: path, mount: escapePath(i.Prefix) + path, wake: make(chan struct{}, 1), operator: i.Operator}
	if i.URI.IsAbs() {
		v.origin = originOf(i.URI)
	}
	v.strippedPath, _ = url.PathUnescape(path) // it is a part of a URL's escaped path
	v.allPrivate = i.host.guests.private.Contains(v.strippedPath)
	v.ctx, v.end = context.WithCancel(i.host.ctx)
	v.slots = newSlots(g.MaxAsks, time.Duration(g.Timeout), &overload{ctx: v.ctx, maxAsks: g.MaxAsks, logger: g.logger.With(zap.String("party", i.host.name), zap.String("guest", v.guest()))})
	return v
}

// hides reports whether the URL of a request at the handler is one of the party's
// private ones.
func (v *visit) hides(u *url.URL) bool {
	h := v.invitation.host
	return v.allPrivate || h.guests.private.ContainsBehind(v.strippedPath, u) || v.host != h && v.host.guests.privateEnds.ContainsURL(u)
}

// mountFor returns where the application is mounted for whoever asks in that context.
func (v *visit) mountFor(ctx context.Context) string {
	if v.invitation.host.prefixHeader == "" {
		return v.mount
	}
	return escapePath(v.invitation.host.prefixFor(ctx)) + v.path
}

func (v *visit) guest() string { return v.invitation.Operator.Guest() }

// begin connects what is declared, and what the application's last manifest said, and
// has that asked for when the config has started.
func (v *visit) begin() error {
	v.invitation.hint = v.hardlyMeant("")
	if !v.fetches() {
		return v.connect(v.operator, manifest.Merge(v.declared, nil, nil))
	}
	f := newFetching(v)
	f.dropStrayed()
	if len(v.hrefs) > 0 && v.invitation.invited.base != "" {
		v.logger.Warn("hrefs has no effect: this guest's hrefs lie under what comes before __invite__ in the path of its invite",
			zap.String("party", f.key.party), zap.String("guest", f.key.guest), zap.String("hint", "leave hrefs out; an href elsewhere is written as `service <service> <href>`"))
	}
	var last *manifest.Manifest
	if f.last != nil {
		last = f.last.manifest
		v.invitation.hint = v.hardlyMeant(f.warned)
	}
	if last == nil && v.declared == nil {
		v.invitation.pending = f.judged
	} else if err := v.connect(v.operator, manifest.Merge(v.declared, last, v.Allow)); err != nil {
		return err
	} else {
		f.told = (&outcome{result: InviteJoined}).state()
		if last != nil && f.last.fresh.Before(time.Now()) {
			v.invitation.old = f.last.fetched
		}
	}
	if f.last == nil || f.last.fresh.Before(time.Now()) { // else it is asked later
		v.invitation.judged = f.judged
	}
	v.app.events.onStart(func() {
		go func() {
			f.recheck()
			f.run()
		}()
	})
	return nil
}

// adopt replaces what the guest is connected to. It is never not there: a new operator
// connects, then the old one leaves.
func (v *visit) adopt(m *manifest.Manifest) error {
	if err := v.checkManifest(m); err != nil {
		return err
	}
	host := v.invitation.host
	operator := host.app.operator(host.ctx, host.line, v.guest())
	if err := v.connect(operator, m); err != nil {
		operator.Leave()
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ctx.Err() != nil { // the guest has been invited anew meanwhile
		operator.Leave()
		return v.ctx.Err()
	}
	operator.join()
	v.operator.Leave()
	v.operator = operator
	v.breakers.Range(func(service, _ any) bool {
		if m.Services[service.(string)] == nil {
			v.breakers.Delete(service)
		}
		return true
	})
	return nil
}

// onLine reports whether the guest is on the line.
func (v *visit) onLine() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.operator.joined()
}

// leave takes the guest off the line.
func (v *visit) leave() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.operator.Leave()
}

// connect connects the operator to what a manifest says.
func (v *visit) connect(o *Operator, m *manifest.Manifest) error {
	v.urls.Store(&m.URLs)
	v.app.events.onStart(func() { v.sayWhatIsCalledAsAnothers(m) }) // when all invites are known
	if len(m.URLs) > 0 {
		if err := o.connect(URLService, connection{handler: v.answerURL, addressed: len(v.declaredURLs()) > 0}); err != nil {
			return err
		}
	}
	for _, service := range slices.Sorted(maps.Keys(m.Services)) {
		for _, h := range m.Services[service] {
			if err := v.connectHandler(o, service, h); err != nil {
				return err
			}
		}
	}
	return nil
}

// sayWhatIsCalledAsAnothers says in the log which pages of the application's manifest have
// names that belong to another guest, as those of a Django namespace may.
func (v *visit) sayWhatIsCalledAsAnothers(m *manifest.Manifest) {
	var names []string
	for name := range m.URLs {
		guest, _, named := strings.Cut(name, ":")
		_, invited := v.invitation.host.line.rankedGuest(guest)
		if named && invited && !v.declaresURL(name) && guest != v.guest() {
			names = append(names, name)
		}
	}
	if names == nil {
		return
	}
	first := slices.Min(names)
	guest, _, _ := strings.Cut(first, ":")
	v.logger.Info("pages are called as those of another guest",
		zap.String("party", v.invitation.host.name),
		zap.String("guest", v.guest()),
		zap.Int("pages", len(names)),
		zap.String("hint", fmt.Sprintf("only guest %s is asked for %s: ask for this guest's as %s:%[2]s", guest, first, v.guest())))
}

// declaredURLs are those of the config.
func (v *visit) declaredURLs() map[string]*urltemplate.Template {
	if v.declared == nil {
		return nil
	}
	return v.declared.URLs
}

func (v *visit) connectHandler(o *Operator, service string, h manifest.Handler) error {
	if h.Href == nil {
		return o.Connect(service, func(ctx context.Context, _ any) (any, error) {
			if service != URLService {
				return h.Answer, nil
			}
			mount := v.mountFor(ctx)
			link, err := v.linkOf(mount, nil, h.Answer)
			if err == nil && !v.declaresService(service) {
				err = v.checkConstant(mount, link)
			}
			return link, err
		})
	}
	return o.ConnectRemote(service, func(ctx context.Context, payload any) (any, error) {
		return v.askApplication(ctx, service, h, payload)
	})
}

// answerURL answers where the application's pages are.
func (v *visit) answerURL(ctx context.Context, payload any) (any, error) {
	request, err := urlRequestOf(payload)
	if err != nil {
		return nil, err
	}
	urls := *v.urls.Load()
	application, page, named := strings.Cut(request.Name, ":")
	if _, invited := v.invitation.host.line.rankedGuest(application); named && invited && application != v.guest() {
		urls = v.declaredURLs() // another guest's page, but for what the operator declares
	}
	name := request.Name
	template, ok := urls[name]
	if !ok && named && application == v.guest() {
		name = page
		template, ok = urls[name]
	}
	if !ok {
		return nil, ErrHighAndDry
	}
	mount := v.mountFor(ctx)
	expanded, err := template.Expand(ctx, mount, request.Values)
	if errors.Is(err, urltemplate.ErrMissing) {
		return nil, ErrHighAndDry
	}
	if err != nil {
		return nil, err
	}
	if err := v.checkPage(name, expanded[len(mount)-len(v.path):]); err != nil {
		return nil, err
	}
	return v.origin + expanded, nil
}

// askApplication asks the application over HTTP, through the party's routes.
func (v *visit) askApplication(ctx context.Context, service string, h manifest.Handler, payload any) (any, error) {
	b := v.breaker(service)
	answer, err := b.Execute(func() (any, error) {
		answer, err := v.request(ctx, service, h, payload)
		if err != nil && ctx.Err() != nil {
			err = &abandonedError{err}
		}
		if unreachable, ok := errors.AsType[*unreachableError](err); ok {
			b.last.Store(unreachable)
		}
		v.upstreams.note(v, err)
		return answer, err
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		err = fmt.Errorf("it did not answer %d times in a row, and is not asked for %v: %v", breakerFailures, breakerPause, b.last.Load())
	}
	return answer, err
}

const (
	breakerFailures = 5
	breakerPause    = 5 * time.Second
)

// breaker keeps a service of an application that does not answer from being asked for.
type breaker struct {
	*gobreaker.CircuitBreaker[any]
	last atomic.Pointer[unreachableError] // how it did not answer; nil before it has not
}

func (v *visit) breaker(service string) *breaker {
	if loaded, ok := v.breakers.Load(service); ok {
		return loaded.(*breaker)
	}
	b := new(breaker)
	b.CircuitBreaker = gobreaker.NewCircuitBreaker[any](gobreaker.Settings{
		Name:         service,
		Timeout:      breakerPause,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakerFailures },
		IsSuccessful: func(err error) bool { _, ok := errors.AsType[*unreachableError](err); return !ok },
		IsExcluded:   func(err error) bool { _, ok := errors.AsType[*abandonedError](err); return ok },
		OnStateChange: func(service string, from, to gobreaker.State) {
			logger := v.logger.With(zap.String("party", v.invitation.host.name), zap.String("guest", v.guest()), zap.String("service", service))
			switch {
			case from == gobreaker.StateClosed:
				logger.Warn("guest does not answer", zap.Error(b.last.Load()), zap.Duration("pause", breakerPause))
			case to == gobreaker.StateClosed:
				logger.Info("guest answers again")
			}
		},
	})
	loaded, _ := v.breakers.LoadOrStore(service, b)
	return loaded.(*breaker)
}

// abandonedError says that whoever asks did not wait, or asks too much. It is not the
// application's doing.
type abandonedError struct{ err error }

func (e *abandonedError) Error() string { return e.err.Error() }
func (e *abandonedError) Unwrap() error { return e.err }

// unreachableError says that the application did not answer at all.
type unreachableError struct{ err error }

func (e *unreachableError) Error() string { return e.err.Error() }
func (e *unreachableError) Unwrap() error { return e.err }

// statusError says that the application, or a handler in front of it, answered with a
// status that is no answer.
type statusError struct {
	status int
	err    error // a handler's; may be nil
}

func (e *statusError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("status %d", e.status)
	}
	return fmt.Sprintf("status %d: %v", e.status, e.err)
}

func (e *statusError) Unwrap() error { return e.err }

// result returns what an ask with that status comes to.
func (e *statusError) result() error {
	switch e.status {
	case http.StatusNoContent:
		return ErrHighAndDry
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return &unreachableError{e}
	}
	return e
}

func (v *visit) request(ctx context.Context, service string, h manifest.Handler, payload any) (any, error) {
	r, body, err := v.newRequest(ctx, service, h, payload)
	if err != nil {
		return nil, err
	}
	timeout := time.Duration(v.Timeout)
	requestCtx, cancel := context.WithTimeoutCause(ctx, timeout, &goneError{&timeoutError{timeout}})
	defer cancel()
	release, waited, err := v.slots.take(requestCtx, askerOf(ctx), holdsSlot(ctx, v.invitation.Operator))
	if err != nil {
		return nil, &abandonedError{err}
	}
	if waited > 0 && v.breaker(service).State() == gobreaker.StateOpen { // meanwhile
		release()
		return nil, &abandonedError{gobreaker.ErrOpenState}
	}
	addCarried(ctx, r.Header, traceHeaders)
	response, err := v.send(r.WithContext(requestCtx), int(v.MaxAnswer), body, pathOf(ctx, v.invitation.host.line.Partyline), release)
	if err != nil && waited > 0 && requestCtx.Err() == context.DeadlineExceeded {
		return nil, &abandonedError{v.slots.late(waited)}
	}
	if err == nil && response.StatusCode != http.StatusOK {
		dropBody(response)
		err = &statusError{status: response.StatusCode}
	}
	if statusErr, ok := errors.AsType[*statusError](err); ok {
		if statusErr.status == http.StatusNotFound {
			v.fetchSoon()
		}
		return nil, statusErr.result()
	}
	if err != nil {
		if _, ok := errors.AsType[net.Error](err); ok || timedOut(err) || errors.Is(err, subrequest.ErrBrokeOff) {
			err = &unreachableError{err}
		}
		return nil, err
	}
	answer, err := v.answerIn(ctx, response, service)
	if err != nil {
		dropBody(response)
	}
	return answer, err
}

// answerIn returns the answer that is the response's body, which is not copied.
func (v *visit) answerIn(ctx context.Context, response *http.Response, service string) (any, error) {
	answer := receivedBody(response)
	if !isJSON(response.Header) {
		return nil, errors.New("the answer is no JSON (application/json)")
	}
	if err := strictjson.Check(answer); err != nil {
		return nil, fmt.Errorf("the answer is %w", err)
	}
	if service == URLService {
		return v.linkOf(v.mountFor(ctx), rootOf(ctx), answer)
	}
	return json.RawMessage(answer), nil
}

// newRequest returns the request for an ask: with the payload's members in the URL
// where that has expressions, and with the payload as its body if it is a POST.
func (v *visit) newRequest(ctx context.Context, service string, h manifest.Handler, payload any) (*http.Request, []byte, error) {
	var values map[string]any
	var body []byte
	var err error
	if h.Href.HasExpressions() {
		if values, err = objectOf(payload); err != nil {
			return nil, nil, ErrHighAndDry
		}
	}
	if h.Method == http.MethodPost {
		if body, err = json.Marshal(payload); err != nil {
			return nil, nil, fmt.Errorf("the payload is a %T, which JSON cannot carry: %w", payload, err)
		}
	}
	target, err := h.Href.Expand(ctx, v.path, values)
	if errors.Is(err, urltemplate.ErrMissing) {
		return nil, nil, ErrHighAndDry
	}
	if err != nil {
		return nil, nil, err
	}
	parsed, err := url.Parse(target)
	if err != nil {
		return nil, nil, err
	}
	if !v.declaresService(service) {
		if err := v.checkHref(parsed.EscapedPath()); err != nil {
			return nil, nil, err
		}
	}
	r := &http.Request{Method: h.Method, URL: parsed, Header: http.Header{
		"Accept":        {"application/json"},
		"Cache-Control": {"no-store"},
	}}
	if body != nil {
		r.Header["Content-Type"] = []string{"application/json"}
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		r.Body, _ = r.GetBody()
		r.ContentLength = int64(len(body))
		// Where an application closes an idle connection at the moment it is used,
		// net/http sends a GET again, and with this a POST. It is not on the wire.
		r.Header["Idempotency-Key"] = []string{}
	}
	return r, body, nil
}

// objectOf returns the members of a payload, whose numbers keep their digits. Null has
// none.
func objectOf(payload any) (map[string]any, error) {
	if payload == nil {
		return nil, nil
	}
	if object, ok := payload.(map[string]any); ok {
		return object, nil
	}
	encoded, err := json.Marshal(payload)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.UseNumber()
	var object map[string]any
	err = decoder.Decode(&object)
	return object, err
}

// send sends a request to the application, with a token if the guest has a key. When
// the application is done with it, which may be later, it calls done.
func (v *visit) send(r *http.Request, limit int, body []byte, path []token.Ask, done func()) (*http.Response, error) {
	signed := ""
	if !v.keys.IsZero() {
		mount := v.mountFor(r.Context())
		t := token.Token{
			Guest: v.guest(), Method: r.Method, URI: strings.TrimSuffix(mount, v.path) + r.URL.RequestURI(), Mount: mount,
			BodyHash: sha256.Sum256(body), Path: path,
		}
		now := time.Now()
		if len(path) > 0 {
			t.Root = rootOf(r.Context()).ID()
			v.app.signPath(&t, v.invitation.host.name, now)
		}
		var err error
		if signed, err = v.keys.Sign(t, now); err != nil {
			done()
			return nil, err
		}
	}
	prepare := func(r *http.Request) { // where nobody else can get them
		if signed != "" {
			r.Header[tokenHeader] = []string{signed}
		}
		addCarried(r.Context(), r.Header, v.Forward)
	}
	response, err := v.invitation.send(r, limit, prepare, done)
	if handlerErr, ok := errors.AsType[caddyhttp.HandlerError](err); ok && handlerErr.StatusCode != 0 {
		return nil, &statusError{handlerErr.StatusCode, handlerErr.Err}
	}
	return response, err
}

// pathOf returns the asks that led to a handler's being called, outermost first. Who asked
// on another partyline is nobody on this one, where another guest may have that name.
func pathOf(ctx context.Context, line *Partyline) []token.Ask {
	var path []token.Ask
	for a := askOf(ctx); a != nil; a = askOf(a.Context) {
		step := token.Ask{Service: a.service.name}
		if a.service.partyline == line {
			step.Guest = guestName(a.guest)
		}
		path = append(path, step)
	}
	slices.Reverse(path)
	return path
}

// traceHeaders are those of the W3C's Trace Context.
var traceHeaders = []string{"Traceparent", "Tracestate"}

// carriedKey is the context key of the headers that asks take along.
type carriedKey struct{}

// fromOutsideKey is the context key of the placeholders of a request to wsgi_party_ask,
// whose headers are not a visitor's but the asking guest's own.
type fromOutsideKey struct{}

// carry makes the context of an ask's remote handlers. It takes down the headers of the
// request that led to the ask, of which they may take some along: they cannot read them
// later, since whoever asks may be changing the request by then. And it bounds what the
// ask collects from them.
func (a *App) carry(ctx context.Context) context.Context {
	ctx = a.withPrefixes(withCollecting(ctx))
	placeholders, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ctx
	}
	carried := make(http.Header)
	take := func(prefix string, names []string) {
		for _, name := range names {
			if value, ok := placeholders.GetString("http.request.header." + prefix + name); ok && value != "" {
				carried[name] = []string{value}
			}
		}
	}
	take("", traceHeaders)
	loop, _ := placeholders.GetString("http.request.header." + loopHeader)
	carried[loopHeader] = []string{loopOf(loop, askOf(askOf(ctx).Context) != nil)}
	if names := a.forwarded.Load(); names != nil {
		prefix := ""
		if ctx.Value(fromOutsideKey{}) == placeholders {
			prefix = reservedheader.Forward
		}
		take(prefix, *names)
	}
	return context.WithValue(ctx, carriedKey{}, carried)
}

// addCarried adds those of the headers that an ask takes along which it does not have
// itself.
func addCarried(ctx context.Context, header http.Header, names []string) {
	carried, _ := ctx.Value(carriedKey{}).(http.Header)
	for _, name := range names {
		name = http.CanonicalHeaderKey(name)
		values, ok := carried[name]
		if _, own := header[name]; ok && !own {
			header[name] = slices.Clone(values) // others take it along, too, and handlers may change it
		}
	}
}

// linkOf returns an answer to the service url as a link. It is relative to the mount,
// unless it begins with the mount or the origin, as that of a framework does which knows
// them, or is a URL that Caddy gave out in the same call, as that of a page by another
// name.
func (v *visit) linkOf(mount string, in *root, answer []byte) (string, error) {
	var text string
	if err := json.Unmarshal(answer, &text); err != nil {
		return "", errors.New("the answer is no string")
	}
	if in.gave(text) {
		return text, v.checkLink(text)
	}
	if below, ok := strings.CutPrefix(text, v.origin); ok && v.origin != "" && strings.HasPrefix(below, "/") {
		return text, urltemplate.Check(below)
	}
	if below, ok := strings.CutPrefix(text, mount); ok && mount != "" && (below == "" || strings.ContainsAny(below[:1], "/?#")) {
		return v.origin + text, urltemplate.Check(text)
	}
	link, err := urltemplate.Join(mount, text)
	if err != nil {
		return "", err
	}
	return v.origin + link, nil
}

// checkLink checks a link to any guest.
func (v *visit) checkLink(text string) error {
	link, err := linkable(v.invitation.host.line.Partyline, text)
	if err != nil {
		return err
	}
	if parsed, err := url.Parse(link); err == nil && parsed.IsAbs() {
		link = cmp.Or(strings.TrimPrefix(link, parsed.Scheme+"://"+parsed.Host), "/")
	}
	return urltemplate.Check(link)
}

func isJSON(header http.Header) bool {
	mediaType, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	return err == nil && (mediaType == "application/json" || strings.HasSuffix(mediaType, "+json"))
}

// fetchSoon has the manifest asked for again.
func (v *visit) fetchSoon() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}
