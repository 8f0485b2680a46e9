// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/sony/gobreaker/v2"
	"github.com/wsgiparty/wsgiparty/internal/manifest"
	"github.com/wsgiparty/wsgiparty/internal/reservedheader"
	"github.com/wsgiparty/wsgiparty/internal/strictjson"
	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// asker returns what asks the application over HTTP for a service, in the way of the handler.
func (a *application) asker(service string, h manifest.Handler) partyline.Handler {
	if h.Batch {
		return (&batcher{application: a, service: service, handler: h}).ask
	}
	return func(ctx context.Context, payload any) (any, error) {
		return a.guarded(service, func(held *slot) (any, error) {
			answer, err := a.request(ctx, service, h, payload, held)
			if err != nil && ctx.Err() != nil {
				err = &abandonedError{err}
			}
			return answer, err
		})
	}
}

// guarded makes a request for a service, which takes a slot, unless the service is left alone for a while.
func (a *application) guarded(service string, request func(*slot) (any, error)) (any, error) {
	b, held := a.breaker(service), new(slot)
	defer held.done()
	answer, err := b.Execute(func() (any, error) {
		answer, err := request(held)
		if unreachable, ok := errors.AsType[*unreachableError](err); ok {
			b.last.Store(unreachable)
		}
		a.upstreams.note(a.logger, err)
		return answer, err
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		err = fmt.Errorf("it failed to answer %d times in a row, and is left alone for %v: %v", breakerFailures, breakerPause, b.last.Load())
	}
	return answer, err
}

// abandonedError says that whoever asks did not wait, or asks too much. It is not the
// application's doing.
type abandonedError struct{ error }

func (e *abandonedError) Unwrap() error { return e.error }

// unreachableError says that the application did not answer at all.
type unreachableError struct{ error }

func (e *unreachableError) Unwrap() error { return e.error }

// statusError says that the application, or a handler in front of it, answered with a
// status that is no answer.
type statusError struct {
	Status int
	Err    error // a handler's; may be nil
}

func (e *statusError) Error() string {
	switch {
	case e.Err == nil && e.Status == http.StatusLoopDetected:
		return "status 508 (loop detected)"
	case e.Err == nil:
		return fmt.Sprintf("status %d", e.Status)
	}
	return fmt.Sprintf("status %d: %v", e.Status, e.Err)
}

func (e *statusError) Unwrap() error { return e.Err }

// is reports whether an error is, or wraps, one of that type.
func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func (a *application) request(ctx context.Context, service string, h manifest.Handler, payload any, held *slot) (any, error) {
	r, body, err := a.newRequest(ctx, service, h, payload)
	if err != nil {
		return nil, err
	}
	requestCtx, cancel := party.WithTimeout(ctx, time.Duration(a.Timeout))
	defer cancel()
	path := partyline.PathOf(ctx, a.invitation.Operator.Partyline())
	// Further up the path the guest is being asked, and asks somebody in turn: it has a slot then.
	holds := slices.ContainsFunc(path[1:], func(step partyline.Step) bool { return step.Guest == a.guest() })
	waited, err := a.slots.acquire(requestCtx, held, path[len(path)-1].Guest, holds)
	if err != nil {
		return nil, &abandonedError{err}
	}
	if waited > 0 && a.breaker(service).State() == gobreaker.StateOpen { // meanwhile
		held.done()
		return nil, &abandonedError{gobreaker.ErrOpenState}
	}
	party.AddForwarded(ctx, r.Header, party.TraceHeaders)
	options := party.SendOptions{Limit: int(a.MaxAnswer), Done: held.done, Ends: true}
	if service != party.ClaimsService && len(a.Forward) > 0 { // the answer about claims is for everybody
		options.Prepare = func(r *http.Request) { party.AddForwarded(r.Context(), r.Header, a.Forward) }
	}
	response, err := a.send(r.WithContext(requestCtx), options, body, path)
	if err != nil && waited > 0 && requestCtx.Err() == context.DeadlineExceeded {
		return nil, &abandonedError{a.slots.late(waited)}
	}
	if err != nil {
		return nil, a.judge(err)
	}
	var answer any
	if response.StatusCode != http.StatusOK {
		err = a.judge(&statusError{Status: response.StatusCode})
	} else {
		answer, err = a.answerIn(ctx, response, service, h)
	}
	if err != nil {
		party.DropBody(response)
	}
	return answer, err
}

// judge returns what an ask comes to whose request has no answer.
func (a *application) judge(err error) error {
	statusErr, ok := errors.AsType[*statusError](err)
	if !ok {
		if is[net.Error](err) || party.TimedOut(err) || errors.Is(err, party.ErrBrokeOff) {
			return &unreachableError{err}
		}
		return err
	}
	switch statusErr.Status {
	case http.StatusNoContent:
		return partyline.ErrHighAndDry
	case http.StatusNotFound:
		a.fetchSoon()
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return &unreachableError{statusErr}
	}
	return statusErr
}

// answerIn returns the answer that is the response's body, which is not copied if it is JSON.
func (a *application) answerIn(ctx context.Context, response *http.Response, service string, h manifest.Handler) (any, error) {
	answer := party.BodyOf(response)
	if h.Type != "" {
		return h.Text(response.Header.Get("Content-Type"), answer)
	}
	if !isJSON(response.Header) {
		return nil, errors.New("the answer is not JSON (application/json)")
	}
	return a.checkAnswer(ctx, answer, service)
}

// checkAnswer returns the answer that JSON is, which is not copied.
func (a *application) checkAnswer(ctx context.Context, answer []byte, service string) (any, error) {
	if err := strictjson.Check(answer); err != nil {
		return nil, fmt.Errorf("the answer is %w", err)
	}
	if service == party.URLService {
		return a.linkIn(ctx, answer)
	}
	return json.RawMessage(answer), nil
}

// newRequest returns the request for an ask: with the payload's members in the URL
// where that has expressions, and with the payload as its body if it is a POST.
func (a *application) newRequest(ctx context.Context, service string, h manifest.Handler, payload any) (*http.Request, []byte, error) {
	var values map[string]any
	var body []byte
	var err error
	if h.Href.HasExpressions() {
		if values, err = objectOf(payload); err != nil {
			return nil, nil, partyline.ErrHighAndDry
		}
	}
	if h.Method == http.MethodPost {
		if body, err = payloadJSON(ctx, service, payload); err != nil {
			return nil, nil, err
		}
	}
	r, err := a.requestWith(ctx, service, h, values, body)
	return r, body, err
}

// payloadJSON returns the payload of an ask as JSON.
func payloadJSON(ctx context.Context, service string, payload any) ([]byte, error) {
	if service == party.ClaimsService || service == party.HostsService { // of which each guest gets what is made for it
		ctx = context.Background()
	}
	return party.PayloadJSON(ctx, payload)
}

// requestWith returns the request with these values in its URL, and that body, which is nil for a GET.
func (a *application) requestWith(ctx context.Context, service string, h manifest.Handler, values map[string]any, body []byte) (*http.Request, error) {
	target, err := h.Href.Expand(ctx, a.path, values)
	if errors.Is(err, urltemplate.ErrMissing) {
		return nil, partyline.ErrHighAndDry
	}
	if err != nil {
		return nil, err
	}
	parsed, err := url.Parse(target)
	if err == nil && !a.declaresService(service) {
		err = a.checkHref(parsed.EscapedPath())
	}
	if err != nil {
		return nil, err
	}
	texts := []string{cmp.Or(h.Type, "application/json"), "no-store", "application/json"} // one allocation, of which handlers may change each
	r := &http.Request{Method: h.Method, URL: parsed, Header: http.Header{"Accept": texts[0:1:1], "Cache-Control": texts[1:2:2]}}
	if body != nil {
		r.Header["Content-Type"] = texts[2:3:3]
		r.GetBody = func() (io.ReadCloser, error) {
			b := new(requestBody)
			b.Reset(body)
			return b, nil
		}
		r.Body, _ = r.GetBody()
		r.ContentLength = int64(len(body))
		// Where an application closes an idle connection at the moment it is used,
		// net/http sends a GET again, and with this a POST. It is not on the wire.
		r.Header["Idempotency-Key"] = []string{}
	}
	return r, nil
}

// requestBody is a body in one allocation.
type requestBody struct{ bytes.Reader }

func (*requestBody) Close() error { return nil }

// objectOf returns the members of a payload, whose numbers keep their digits. Null has none.
func objectOf(payload any) (map[string]any, error) {
	if object, ok := payload.(map[string]any); ok || payload == nil {
		return object, nil
	}
	encoded, err := json.Marshal(payload)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.UseNumber()
	var object map[string]any // apart, or it would be allocated for each payload
	err = decoder.Decode(&object)
	return object, err
}

// send sends a request to the application, with a token if the guest has a key.
func (a *application) send(r *http.Request, options party.SendOptions, body []byte, path []partyline.Step) (*http.Response, error) {
	signed := ""
	if !a.invitation.Keys().IsZero() {
		mount := a.invitation.MountFor(r.Context())
		t := party.Token{Guest: a.guest(), Method: r.Method, URI: strings.TrimSuffix(mount, a.path) + r.URL.RequestURI(), Mount: mount, BodyHash: sha256.Sum256(body)}
		now := time.Now()
		if len(path) > 0 {
			a.invitation.SignPath(r.Context(), &t, path, now)
		}
		var err error
		if signed, err = a.invitation.Keys().Sign(t, now); err != nil {
			if options.Done != nil {
				options.Done()
			}
			return nil, err
		}
	}
	prepare := options.Prepare
	options.Prepare = func(r *http.Request) { // where nobody else can get them
		if signed != "" {
			r.Header[reservedheader.Token] = []string{signed}
		}
		if prepare != nil {
			prepare(r)
		}
	}
	if a.Direct != nil {
		options.RoundTripper = pastRoutes{a}
	}
	response, err := a.invitation.SendWith(r, options)
	if handlerErr, ok := errors.AsType[caddyhttp.HandlerError](err); ok && handlerErr.StatusCode != 0 {
		return nil, &statusError{handlerErr.StatusCode, handlerErr.Err}
	}
	return response, err
}

func isJSON(header http.Header) bool {
	given := header.Get("Content-Type")
	if given == "application/json" { // as it mostly is
		return true
	}
	mediaType, _, err := mime.ParseMediaType(given)
	return err == nil && (mediaType == "application/json" || strings.HasSuffix(mediaType, "+json"))
}
