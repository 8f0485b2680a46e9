// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package upstreams_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
	"github.com/wsgiparty/wsgiparty/upstreams"
	"golang.org/x/net/dns/dnsmessage"
)

// resolveBy has a DNS server of the test's own answer with the IPv4 addresses of a name, of which it is told how often that
// was asked for before.
func resolveBy(t *testing.T, addresses func(name string, before int64) []string) {
	t.Helper()
	server := check.Value(net.ListenPacket("udp", "127.0.0.1:0"))(t)
	asked := make(map[string]*atomic.Int64)
	go func() {
		for packet := make([]byte, 1500); ; {
			n, from, err := server.ReadFrom(packet)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(packet[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response, m.Additionals = true, nil
			if question := m.Questions[0]; question.Type == dnsmessage.TypeA {
				name := strings.TrimSuffix(question.Name.String(), ".")
				if asked[name] == nil {
					asked[name] = new(atomic.Int64)
				}
				for _, address := range addresses(name, asked[name].Add(1)-1) {
					m.Answers = append(m.Answers, dnsmessage.Resource{
						Header: dnsmessage.ResourceHeader{Name: question.Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
						Body:   &dnsmessage.AResource{A: [4]byte(net.ParseIP(address).To4())},
					})
				}
			}
			if packed, err := m.Pack(); err == nil {
				_, _ = server.WriteTo(packed, from)
			}
		}
	}()
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
	t.Cleanup(func() {
		net.DefaultResolver = before
		server.Close()
	})
}

// TestNamesAreDialedAsTheyWereChecked has a guest answer with names whose addresses it chooses.
func TestNamesAreDialedAsTheyWereChecked(t *testing.T) {
	resolveBy(t, func(name string, before int64) []string {
		switch name {
		case "rebound.example":
			if before == 0 {
				return []string{"127.0.0.1"}
			}
			return []string{"10.255.255.1"}
		case "elsewhere.example":
			return []string{"10.255.255.1", "169.254.169.254"}
		case "both.example":
			return []string{"10.255.255.1", "127.0.0.1"}
		case "many.example":
			var all []string
			for i := range 40 {
				all = append(all, net.IPv4(127, 0, 0, byte(i+1)).String())
			}
			return all
		}
		return nil
	})
	c := partytest.NewCaddy(t)
	one, static := says(t, "one"), says(t, "static")
	_, port, _ := net.SplitHostPort(address(one))
	for name, want := range map[string]string{"rebound.example": "one", "both.example": "one", "elsewhere.example": "is not among those that allow lists", "many.example": "more than 32 addresses"} {
		site(c, "127.0.0.0/8", address(static))
		connectMain(t, "p", "where", partytest.Answers(name+":"+port))
		partytest.ResetLog()
		if want == "one" {
			c.ExpectSoon("/", 200, "one")
			c.Expect("/", 200, "one")
			continue
		}
		c.ExpectSoon("/", 200, "static")
		check.Has(t, partytest.LogEntries(t, "guest failed")[0]["error"].(string), want)
	}
}

// TestNoAdminEndpointIsAnUpstream has the guest name the other ones that Caddy may have, of which each is allowed.
func TestNoAdminEndpointIsAnUpstream(t *testing.T) {
	c := partytest.NewCaddy(t)
	static := says(t, "static")
	directory := t.TempDir()
	socket, remote := filepath.Join(directory, "admin.sock"), testport.Address(t)
	link := filepath.Join(directory, "link")
	check.Must(t, os.Symlink(directory, link))
	t.Cleanup(func() { c.Load("ADDRESS {\nrespond done\n}") })
	for _, try := range []struct{ admin, answer string }{
		{`{"listen": "unix/` + socket + `"}`, "unix/" + socket},
		{`{"listen": "unix/` + socket + `|0600"}`, "unix/" + filepath.Join(link, "admin.sock")},
		{`{"disabled": true, "identity": {"issuers": [{"module": "internal"}]}, "remote": {"listen": "` + remote + `"}}`, remote},
		{`{"disabled": true, "identity": {"issuers": [{"module": "internal"}]}, "remote": {}}`, "127.0.0.1:2021"},
	} {
		config := c.Adapt("ADDRESS {\nwsgi_party main {\nreverse_proxy " + address(static) + " {\ndynamic wsgi_party where {\nguests p\nallow 127.0.0.0/8 unix/" + socket + " unix/" + filepath.Join(link, "admin.sock") + "\n}\n}\n}\n}")
		config = bytes.Replace(config, []byte(`"admin":{"disabled":true`), []byte(`"admin":`+strings.TrimSuffix(try.admin, "}")), 1)
		c.LoadJSON(config)
		connectMain(t, "p", "where", partytest.Answers(try.answer))
		partytest.ResetLog()
		c.ExpectSoon("/config/", 200, "static")
		entries := partytest.LogEntries(t, "guest failed")
		if len(entries) == 0 || !strings.Contains(entries[0]["error"].(string), "is that of this Caddy's admin API") {
			t.Errorf("%s: %v", try.answer, entries)
		}
	}
}

// TestAGuestThatHangsHoldsNobodyUp has it answer no more when its answer is too old.
func TestAGuestThatHangsHoldsNobodyUp(t *testing.T) {
	c := partytest.NewCaddy(t)
	one := says(t, "one")
	site(c, "127.0.0.0/8", "")
	var hangs atomic.Bool
	connectMain(t, "p", "where", func(ctx context.Context, _ any) (any, error) {
		if hangs.Load() {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return address(one), nil
	})
	partytest.Eventually(t, "its old answer counts", func() bool { // else the status is 503
		hangs.Store(false)
		c.ExpectSoon("/", 200, "one")
		hangs.Store(true)
		partytest.Handlers[*reverseproxy.Handler](t)[0].DynamicUpstreams.(*upstreams.Upstreams).Age(5 * time.Second)
		status, body := c.Get("/")
		return status == 200 && body == "one"
	})
}
