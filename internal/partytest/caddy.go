// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/certmagic"
	"go.uber.org/goleak"

	"github.com/wsgiparty/wsgiparty/internal/kept"
	"github.com/wsgiparty/wsgiparty/internal/testport"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

// Caddy is a running Caddy.
type Caddy struct {
	testing.TB
	Address  string // of the site
	Endpoint string // that Around has guests ask at
	Admin    string // of the admin endpoint; "" is none
	loads    int
}

// NewCaddy returns a Caddy that runs nothing yet, and stops it when the test ends.
// Then no goroutine may be left that was not there before.
func NewCaddy(t testing.TB) *Caddy {
	t.Helper()
	before := goleak.IgnoreCurrent()
	ResetLog()
	kept.Clear()                                                     // the guests of another test, or of this one when it ran before
	caddy.DefaultStorage = &certmagic.FileStorage{Path: t.TempDir()} // who ends later may still be using the old one
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
		options := []goleak.Option{before,
			goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*Cache).maintainAssets"),
			goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),             // ends within 5 s
			goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"), // of an issuer, for all configs
			goleak.IgnoreAnyFunction("github.com/caddyserver/caddy/v2/modules/caddytls.(*TLS).keepStorageClean.func1"),
			goleak.IgnoreAnyFunction("github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy.(*Upstream).fillDynamicHost.func1.1"), // one for all configs
		}
		for deadline := time.Now().Add(20 * time.Second); goleak.Find(options...) != nil && time.Now().Before(deadline); {
			// A busy machine takes longer than goleak waits.
		}
		goleak.VerifyNone(t, options...)
	})
	return &Caddy{TB: t, Address: testport.Address(t), Endpoint: testport.Address(t)}
}

// NewCaddyWithAdmin is NewCaddy with an admin endpoint.
func NewCaddyWithAdmin(t testing.TB) *Caddy {
	t.Helper()
	c := NewCaddy(t)
	c.Admin = testport.Address(t)
	t.Cleanup(func() { // ends the admin endpoint
		c.Admin = ""
		c.Load("ADDRESS {\nrespond done\n}")
	})
	return c
}

// GlobalOptions are those of each Caddyfile.
const GlobalOptions = `{
	admin off
	persist_config off
	auto_https off
	skip_install_trust
	storage_check off
	storage_clean_interval off
	grace_period 5s
	log {
		output test_memory
		format json
		level DEBUG
	}
}
`

// TryAdapt returns the JSON of a Caddyfile, in which ADDRESS stands for the server's.
func (c *Caddy) TryAdapt(config string) ([]byte, []caddyconfig.Warning, error) {
	config = GlobalOptions + strings.ReplaceAll(config, "ADDRESS", "http://"+c.Address)
	adapted, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), map[string]any{"filename": "Caddyfile"})
	if c.Admin != "" {
		adapted = bytes.Replace(adapted, []byte(`"disabled":true`), []byte(`"listen":"`+c.Admin+`"`), 1)
	}
	return adapted, warnings, err
}

// Adapt is TryAdapt for a Caddyfile that is right.
func (c *Caddy) Adapt(config string) []byte {
	c.Helper()
	adapted, warnings, err := c.TryAdapt(config)
	if err != nil {
		c.Fatal(err)
	}
	for _, w := range warnings {
		if !strings.Contains(w.Message, "not formatted") {
			c.Log(w)
		}
	}
	return adapted
}

// TryLoadJSON loads a config. When it returns, only the admin endpoint of the new one
// answers, even if that has failed.
func (c *Caddy) TryLoadJSON(config []byte) error {
	c.Helper()
	err := caddy.Load(config, true)
	Eventually(c, "the listeners of the config before are closed", func() bool { // a connection that they have not accepted is reset
		return listeners(c.Address) <= 1 && listeners(c.Endpoint) <= 1
	})
	if c.Admin == "" {
		return err
	}
	c.loads++
	Eventually(c, "the endpoint before stops", func() bool {
		stopped := 0
		for _, e := range LogEntries(c, "stopped previous server") {
			if strings.HasSuffix(e["address"].(string), c.Admin) { // not that of a test before
				stopped++
			}
		}
		return stopped >= c.loads-1
	})
	Eventually(c, "the new endpoint answers", func() bool { // else it may be stopped before it has begun
		_, err := c.TryCall(context.Background(), "GET", "/wsgi_party/", nil)
		return err == nil
	})
	return err
}

// listeners is how many sockets listen on an address, which Caddy's share. Only Linux tells; elsewhere it is 0.
func listeners(address string) int {
	_, port, _ := strings.Cut(address, ":")
	number, _ := strconv.Atoi(port)
	sockets, _ := os.ReadFile("/proc/net/tcp")
	return bytes.Count(sockets, fmt.Appendf(nil, "0100007F:%04X 00000000:0000 0A", number))
}

// LoadJSON is TryLoadJSON for a config that loads.
func (c *Caddy) LoadJSON(config []byte) {
	c.Helper()
	if err := c.TryLoadJSON(config); err != nil {
		c.Fatal(err)
	}
}

// TryLoad loads a Caddyfile.
func (c *Caddy) TryLoad(config string) error {
	c.Helper()
	return c.TryLoadJSON(c.Adapt(config))
}

// Load is TryLoad for a config that loads.
func (c *Caddy) Load(config string) {
	c.Helper()
	c.LoadJSON(c.Adapt(config))
}

// Site loads a config of one site.
func (c *Caddy) Site(directives string) {
	c.Helper()
	c.Load("ADDRESS {\n" + directives + "\n}")
}

// Storage is the folder of Caddy's storage.
func (c *Caddy) Storage() string { return caddy.DefaultStorage.Path }

// ProvisionContext returns the context of a config that runs nothing and logs nothing.
func ProvisionContext(t testing.TB) caddy.Context {
	t.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Admin: &caddy.AdminConfig{Disabled: true},
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{
			"default": {BaseLog: caddy.BaseLog{WriterRaw: json.RawMessage(`{"output": "discard"}`)}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return ctx
}

// ParseConfig returns a config to be validated.
func ParseConfig(t testing.TB, config []byte) *caddy.Config {
	t.Helper()
	parsed := new(caddy.Config)
	if err := caddy.StrictUnmarshalJSON(config, parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}

// Eventually waits until the condition holds.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// Expect fails the test unless path gives that response.
func (c *Caddy) Expect(path string, status int, body string) {
	c.Helper()
	if gotStatus, gotBody := c.Get(path); gotStatus != status || gotBody != body {
		c.Errorf("GET %s: %d %q, want %d %q", path, gotStatus, gotBody, status, body)
	}
}

// ExpectSoon is Expect after a config took over from another one: for a moment
// Caddy's old server resets a connection now and then, or answers it.
func (c *Caddy) ExpectSoon(path string, status int, body string) {
	c.Helper()
	Eventually(c, fmt.Sprintf("GET %s: %d %q", path, status, body), func() bool {
		gotStatus, gotBody, err := c.TryGet(path)
		return err == nil && gotStatus == status && gotBody == body
	})
}
