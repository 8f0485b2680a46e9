// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package claims_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/claims"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/party"
)

// commandVariable has this program be Caddy, with these arguments of `caddy wsgi-party`.
const commandVariable = "WSGI_PARTY_TEST_COMMAND"

func TestMain(m *testing.M) {
	if arguments := os.Getenv(commandVariable); arguments != "" {
		os.Args = append([]string{"caddy", "wsgi-party"}, strings.Split(arguments, " ")...)
		caddycmd.Main()
		os.Exit(0)
	}
	partytest.Main(m, wsgiparty.Lookup, wsgiparty.Join, wsgiparty.OperatorFrom, wsgiparty.ErrHighAndDry)
}

// command runs `caddy wsgi-party` in a process of its own. A failure is part of what it says.
func command(c *partytest.Caddy, arguments ...string) string {
	c.Helper()
	caddy := exec.Command(os.Args[0])
	caddy.Env = append(os.Environ(), commandVariable+"="+strings.Join(append(arguments, "--address", c.Admin), " "))
	said, err := caddy.CombinedOutput()
	if err != nil {
		said = fmt.Appendf(said, "\n%v", err)
	}
	return string(said)
}

// guest is one in Go that claims some requests.
type guest struct {
	claims atomic.Pointer[[]string] // a method, and a host with a path, or a path
	asked  atomic.Int64
}

// newGuest makes `test_app name` a guest that takes every invite which comes there, and says its name and
// the path to everybody else.
func newGuest(t testing.TB, name string, claimed ...string) *guest {
	t.Helper()
	g := new(guest)
	g.set(claimed...)
	partytest.App(t, name, func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		if operator, ok := party.OperatorFrom(r); ok {
			return operator.Connect(claims.ClaimsService, g.claim)
		}
		_, err := io.WriteString(w, name+" "+r.URL.EscapedPath())
		return err
	})
	return g
}

func (g *guest) set(claimed ...string) { g.claims.Store(&claimed) }

func (g *guest) claim(_ context.Context, payload any) (any, error) {
	g.asked.Add(1)
	r, err := party.ClaimRequestOf(payload)
	if err != nil {
		return nil, err
	}
	for _, claim := range []string{r.Method + " " + r.Path, r.Method + " " + r.Host + r.Path} {
		if slices.Contains(*g.claims.Load(), claim) {
			r.By(claim)
			return true, nil
		}
	}
	r.Because("it is not in the list")
	return false, nil
}

// shared is a party of the guests new and legacy at one mount, with options of the matcher.
func shared(options string) string {
	return `wsgi_party main {
		invite /__invite__/ as new
		invite /__invite__/ as legacy
		@new wsgi_party claimed_by new ` + options + `
		handle @new {
			test_app new
		}
		test_app legacy
	}`
}

// expect wants these answers to GETs, by path.
func expect(c *partytest.Caddy, want map[string]string) {
	c.Helper()
	for path, body := range want {
		status, got := c.Get(path)
		check.ErrorIf(c, status != http.StatusOK || got != body, "%s: %d %q, want %q%s", path, status, got, body, partytest.LastHTTPError(c))
	}
}
