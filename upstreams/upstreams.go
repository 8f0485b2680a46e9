// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package upstreams registers the http.reverse_proxy.upstreams.wsgi_party module, with
// which guests say where a reverse_proxy sends requests.
package upstreams

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/wsgiparty/wsgiparty/internal/guestname"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(new(Upstreams))
}

// Upstreams is a source of upstreams for `reverse_proxy`: guests say where it sends requests. Upstreams asks those
// named in `guests` for the service, and takes the addresses that `allow` lists from their answers. An answer is an
// address, such as `"10.0.0.7:8080"`, `"app.internal:8080"` or `"unix//run/app.sock"`, or a list of up to 32 of
// them. The upstreams come in the order of `guests`.
//
// An answer with any other address counts as a failure of its guest, which is logged. So does an answer with the
// address of an admin endpoint of this Caddy, with an address of a network other than TCP and unix, or with a curly
// brace. Upstreams resolves host names itself, so Caddy dials exactly the address that was checked. For TLS, set
// `tls_server_name` to the name in the upstream's certificate.
//
// Answers are kept for 5 seconds, and failures for one. If a guest is then slow to answer again, the old answers count
// for up to 5 seconds more, and requests wait for new ones no longer than a second. A request that is retried has the guests asked again, at
// most four times a second. The guests get no payload, and no headers of the visitor.
//
// If no guest answers, Caddy logs that as an error and **falls back to the static upstreams** of the
// `reverse_proxy`. Clients do not notice. Without static upstreams, they get status 503.
type Upstreams struct {
	// Required. The service that the guests answer with addresses.
	Service string `json:"service,omitempty"`

	// The name of the party. Default: the party in whose routes the handler is.
	Party string `json:"party,omitempty"`

	// Required. The guests that may say where requests go, up to 64.
	Guests []string `json:"guests,omitempty"`

	// Required. Where requests may go: networks (`10.0.0.0/8`, which includes all ports), hosts with ports
	// (`app.internal:8080`), and sockets (`unix//run/app.sock`).
	Allow []string `json:"allow,omitempty"`

	allowed  *allowed
	admins   []address
	operator *partyline.Operator
	logger   *zap.Logger

	mu      sync.Mutex
	kept    *answers
	pending *answers // nil if nobody is being asked
}

// answers are what came of asking.
type answers struct {
	began time.Time
	done  chan struct{} // closed when the rest is there
	dials []string
	err   error
	at    time.Time
}

const (
	fresh       = 5 * time.Second
	freshError  = time.Second
	leastFresh  = 250 * time.Millisecond // of what a request that is retried would not have again
	askTimeout  = 5 * time.Second
	patience    = time.Second // with a guest that is slow, where there are old answers
	maxGuests   = 64
	maxAnswered = 32 // addresses of one guest, and what their names stand for
)

// CaddyModule returns the Caddy module information.
func (*Upstreams) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.upstreams.wsgi_party", New: func() caddy.Module { return new(Upstreams) }}
}

// Provision finds the party.
func (u *Upstreams) Provision(ctx caddy.Context) (err error) {
	u.logger = ctx.Logger()
	if h := party.Around(ctx); u.Party == "" && h != nil {
		u.Party = h.Name()
	}
	if u.Party == "" {
		return fmt.Errorf("the upstreams are in no party's routes: say which party is asked (party <party>); %s", party.WhichParties(ctx))
	}
	if u.allowed, err = u.check(); err != nil {
		return err
	}
	u.admins = adminsOf(ctx)
	u.operator, err = party.Join(ctx, u.Party, "")
	return err
}

// check returns what is allowed, or says what is wrong.
func (u *Upstreams) check() (*allowed, error) {
	switch {
	case u.Service == "":
		return nil, errors.New("no service is named: write dynamic wsgi_party <service>")
	case len(u.Guests) == 0:
		return nil, errors.New("guests is missing: write the names of the guests that may say where requests go")
	case len(u.Guests) > maxGuests:
		return nil, fmt.Errorf("guests has %d names: write at most %d", len(u.Guests), maxGuests)
	case len(u.Allow) == 0:
		return nil, errors.New("allow is missing: write where requests may go: " + howAllow)
	}
	for i, guest := range u.Guests {
		if err := guestname.Check(guest); err != nil {
			return nil, fmt.Errorf("guests has %q: %w", guest, err)
		}
		if slices.Contains(u.Guests[:i], guest) {
			return nil, fmt.Errorf("guests has %q twice: write it once", guest)
		}
	}
	return parseAllowed(u.Allow)
}

// adminsOf returns the admin endpoints of the config that is being loaded. A context does not say what they are: where
// Caddy keeps that otherwise than today, those are taken that it has by default.
func adminsOf(ctx caddy.Context) []address {
	local, remote, disabled := "", "", false
	config := reflect.ValueOf(ctx).FieldByName("cfg")
	if config.IsValid() && config.Kind() == reflect.Pointer && !config.IsNil() {
		if admin := config.Elem().FieldByName("Admin"); admin.IsValid() && admin.Kind() == reflect.Pointer && !admin.IsNil() {
			admin = admin.Elem()
			if field := admin.FieldByName("Disabled"); field.IsValid() && field.Kind() == reflect.Bool {
				disabled = field.Bool()
			}
			local = textIn(admin, "Listen")
			if field := admin.FieldByName("Remote"); field.IsValid() && field.Kind() == reflect.Pointer && !field.IsNil() {
				remote = cmp.Or(textIn(field.Elem(), "Listen"), caddy.DefaultRemoteAdminListen)
			}
		}
	}
	var listen []string
	if !disabled {
		listen = append(listen, cmp.Or(local, caddy.DefaultAdminListen))
	}
	if remote != "" {
		listen = append(listen, remote)
	}
	return adminsAt(listen...)
}

func textIn(value reflect.Value, name string) string {
	if field := value.FieldByName(name); field.IsValid() && field.Kind() == reflect.String {
		return field.String()
	}
	return ""
}

type askedBy struct{ *Upstreams }

var errAsking = errors.New("the guest that is asked for upstreams is reached through them")

// GetUpstreams returns the upstreams that guests have answered.
func (u *Upstreams) GetUpstreams(r *http.Request) ([]*reverseproxy.Upstream, error) {
	a, old := u.keptAnswers()
	if a == nil {
		var err error
		if a, err = u.renewed(r.Context(), old); err != nil {
			return nil, err
		}
	}
	if a.err != nil {
		return nil, a.err
	}
	found := make([]*reverseproxy.Upstream, len(a.dials))
	for i, dial := range a.dials {
		found[i] = &reverseproxy.Upstream{Dial: dial}
	}
	return found, nil
}

// renewed returns new answers, or the old ones, if there are any and a guest is slow.
func (u *Upstreams) renewed(ctx context.Context, old *answers) (*answers, error) {
	if ctx.Value(askedBy{u}) != nil {
		if old == nil {
			return nil, errAsking
		}
		return old, nil
	}
	a := u.asking(ctx)
	var enough <-chan time.Time
	if old != nil {
		timer := time.NewTimer(time.Until(a.began.Add(patience)))
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case <-a.done:
		return a, nil
	case <-enough:
		return old, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ResetCache has the guests asked again for the next request.
func (u *Upstreams) ResetCache(*http.Request) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.kept != nil && time.Since(u.kept.at) >= leastFresh {
		u.kept = nil
	}
	return nil
}

// keptAnswers returns those that are fresh, or else old ones that count while guests are asked again.
func (u *Upstreams) keptAnswers() (kept, old *answers) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.kept == nil {
		return nil, nil
	}
	switch age := time.Since(u.kept.at); {
	case age < freshError, u.kept.err == nil && age < fresh:
		return u.kept, nil
	case u.kept.err == nil && age < fresh+askTimeout:
		return nil, u.kept
	}
	return nil, nil
}

// asking returns the answers that are being asked for, for all who wait for them.
func (u *Upstreams) asking(ctx context.Context) *answers {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.pending != nil {
		return u.pending
	}
	a := &answers{began: time.Now(), done: make(chan struct{}), err: errors.New("asking has ended")}
	u.pending = a
	ctx = party.ForwardOnly(context.WithValue(party.Apart(ctx), askedBy{u}, true), nil)
	go func() {
		defer func() {
			if value := recover(); value != nil {
				a.dials, a.err = nil, fmt.Errorf("panic: %v", value)
			}
			a.at = time.Now()
			u.mu.Lock()
			u.kept, u.pending = a, nil
			u.mu.Unlock()
			close(a.done)
		}()
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		a.dials, a.err = u.ask(ctx)
	}()
	return a
}

// ask asks the guests, all together, and returns what is to be dialed.
func (u *Upstreams) ask(ctx context.Context) ([]string, error) {
	byGuest := make([][]string, len(u.Guests))
	var group sync.WaitGroup
	for i, guest := range u.Guests {
		group.Go(func() {
			defer func() {
				if value := recover(); value != nil {
					byGuest[i] = nil
					u.logger.Error("panic", zap.String("guest", guest), zap.Any("error", value), zap.Stack("stack"))
				}
			}()
			byGuest[i] = u.askOne(ctx, guest)
		})
	}
	group.Wait()
	var all []string
	for _, dials := range byGuest {
		for _, dial := range dials {
			if !slices.Contains(all, dial) {
				all = append(all, dial)
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("none of the guests %q answers service %q of party %q with an address that is allowed", u.Guests, u.Service, u.Party)
	}
	return all, nil
}

// askOne returns what is to be dialed for a guest's answers, and logs if it fails.
func (u *Upstreams) askOne(ctx context.Context, guest string) (all []string) {
	for reply := range u.operator.Only(guest).Replies(ctx, u.Service, nil) {
		var dials []string
		if reply.Err == nil {
			dials, reply.Err = u.dials(ctx, reply.Answer)
		}
		if len(all)+len(dials) > maxAnswered {
			dials, reply.Err = nil, fmt.Errorf("its answers stand for more than %d addresses: answer with fewer", maxAnswered)
		}
		all = append(all, dials...)
		_, missing := reply.Err.(*partyline.NoSuchServiceError)
		if reply.Err != nil && reply.Err != partyline.ErrHighAndDry && !missing {
			u.logger.Warn("guest failed", zap.String("party", u.Party), zap.String("guest", guest), zap.String("service", u.Service), zap.Error(reply.Err))
		}
	}
	return all
}

// dials returns what is to be dialed for one answer.
func (u *Upstreams) dials(ctx context.Context, answer any) ([]string, error) {
	texts, err := textsOf(answer)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, text := range texts {
		dials, err := u.allowed.dial(ctx, text, u.admins)
		if err != nil {
			return nil, err
		}
		all = append(all, dials...)
	}
	return all, nil
}

// Interface guards
var (
	_ caddy.Provisioner                  = (*Upstreams)(nil)
	_ reverseproxy.CachingUpstreamSource = (*Upstreams)(nil)
)
