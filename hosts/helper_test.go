// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package hosts_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

func TestMain(m *testing.M) {
	partytest.Main(m, wsgiparty.Lookup, wsgiparty.Join, wsgiparty.OperatorFrom, wsgiparty.ErrHighAndDry)
}

// asked is what a guest is asked for, and its answers.
type asked struct {
	mu     sync.Mutex
	names  []any
	answer partytest.Handler
}

// claims answers true for these names, and declines for others.
func claims(names ...string) partytest.Handler {
	return func(_ context.Context, payload any) (any, error) {
		if slices.Contains(names, payload.(string)) {
			return true, nil
		}
		return nil, wsgiparty.ErrHighAndDry
	}
}

// on makes it answer like that.
func (a *asked) on(answer partytest.Handler) *asked {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = answer
	return a
}

// handle is the guest's handler.
func (a *asked) handle(ctx context.Context, payload any) (any, error) {
	a.mu.Lock()
	a.names = append(a.names, payload)
	answer := a.answer
	a.mu.Unlock()
	return answer(ctx, payload)
}

// since returns the names it was asked for since it was last called.
func (a *asked) since() []any {
	a.mu.Lock()
	defer a.mu.Unlock()
	names := a.names
	a.names = nil
	return names
}

// guest makes `test_app name` a guest that is asked for hosts in this process or, if it is
// remote, outside of it.
func guest(t testing.TB, name string, remote bool, answer partytest.Handler) *asked {
	t.Helper()
	a := (&asked{}).on(answer)
	partytest.App(t, name, func(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
		operator, ok := wsgiparty.OperatorFrom(r)
		switch {
		case !ok:
			return next.ServeHTTP(w, r)
		case remote:
			return operator.ConnectRemote("hosts", a.handle)
		}
		return operator.Connect("hosts", a.handle)
	})
	return a
}

// party is a party of these guests.
func party(name string, guests ...string) string {
	text := "wsgi_party " + name + " {\n"
	for _, g := range guests {
		text += fmt.Sprintf("invite /%s/__invite__/\nhandle_path /%[1]s/* {\ntest_app %[1]s\nrespond \"{host}: %[1]s\"\n}\n", g)
	}
	return text + "test_app permission\n}\n"
}

// permission loads a config in which `permission` makes a permission for the party, and returns that.
func permission(c *partytest.Caddy, name, config string) caddytls.OnDemandPermission {
	c.Helper()
	return permissionIn(c, name, c.Adapt(config))
}

func permissionIn(c *partytest.Caddy, name string, config []byte) caddytls.OnDemandPermission {
	c.Helper()
	var made caddytls.OnDemandPermission
	partytest.OnProvision(c, "permission", func(ctx caddy.Context) error {
		module, err := ctx.LoadModuleByID("tls.permission.wsgi_party", fmt.Appendf(nil, `{"party": %q}`, name))
		if err == nil {
			made = module.(caddytls.OnDemandPermission)
		}
		return err
	})
	c.LoadJSON(config)
	check.FatalIf(c, made == nil, "the config has no permission")
	return made
}

// expect fails the test unless the name may have a certificate, or is denied with all of these in
// the error, which is not a failure.
func expect(t testing.TB, p caddytls.OnDemandPermission, name string, denied ...string) {
	t.Helper()
	err := p.CertificateAllowed(t.Context(), name)
	if len(denied) == 0 {
		check.ErrorIf(t, err != nil, "%.80q is denied: %v", name, err)
		return
	}
	check.Fails(t, err, denied...)
	check.ErrorIf(t, !errors.Is(err, caddytls.ErrPermissionDenied), "%.80q fails: %v", name, err)
}

// expectFailure fails the test unless the name is denied because of an error, with all of these in it.
func expectFailure(t testing.TB, p caddytls.OnDemandPermission, name string, want ...string) {
	t.Helper()
	err := p.CertificateAllowed(t.Context(), name)
	check.Fails(t, err, want...)
	check.ErrorIf(t, errors.Is(err, caddytls.ErrPermissionDenied), "%.80q is denied, as if by a guest: %v", name, err)
}

// rawJSON is what an application answers.
func rawJSON(text string) json.RawMessage { return json.RawMessage(text) }

// count returns for how many names it was asked.
func (a *asked) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.names)
}
