// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/fcgi"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

const leavesProcess = "the invite came to a handler that would send it on over the network, and an invite stays in this process"

// listen counts the connections to an address, on which nobody answers.
func listen(t *testing.T, network, address string) *atomic.Int64 {
	t.Helper()
	l := check.Value(net.Listen(network, address))(t)
	t.Cleanup(func() { l.Close() })
	connections := new(atomic.Int64)
	go func() {
		for {
			connection, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			defer connection.Close()
		}
	}()
	return connections
}

// TestNothingOfAnInviteLeavesTheProcess has handlers that would send it on, with no
// wsgi_party_guest in front of them, to one who never answers.
func TestNothingOfAnInviteLeavesTheProcess(t *testing.T) {
	const guests = 20 // net/http dials at once with the request's end, or it does not
	for name, directives := range map[string]string{
		"http":         "reverse_proxy TCP",
		"https":        "reverse_proxy https://TCP",
		"h2c":          "reverse_proxy h2c://TCP",
		"unix":         "reverse_proxy unix/UNIX",
		"localhost":    "reverse_proxy localhost:PORT",
		"retries":      "reverse_proxy TCP {\nlb_try_duration 1h\nlb_retries 100\nfail_duration 1h\n}",
		"buffers":      "reverse_proxy TCP {\nrequest_buffers 4096\n}",
		"fastcgi":      "root /\nphp_fastcgi TCP {\ntry_files index.php\nlb_try_duration 10s\nfail_duration 1h\n}",
		"fastcgi-unix": "reverse_proxy unix/UNIX {\ntransport fastcgi\n}",
		"forward_auth": "forward_auth TCP {\nuri /auth\n}\nrespond in",
		"a names":      "reverse_proxy {\ndynamic a localhost PORT {\nresolvers TCP\n}\nlb_try_duration 10s\n}",
		"another guest": `wsgi_party_guest another
			reverse_proxy TCP`,
	} {
		t.Run(name, func(t *testing.T) {
			c := newGuestTest(t)
			address, socket := testport.Address(t), filepath.Join(t.TempDir(), "socket")
			_, port, _ := net.SplitHostPort(address)
			connections, more := listen(t, "tcp", address), listen(t, "unix", socket)
			directives := strings.NewReplacer("TCP", address, "PORT", port, "UNIX", socket).Replace(directives)
			config := "invite_timeout 1h\n"
			for i := range guests {
				config += fmt.Sprintf("invite /%d/__invite__/\n", i)
			}
			c.load(config + "route {\n" + directives + "\n}")
			infos := wsgiparty.SendInvites(c.party, "7")
			check.ErrorIf(t, len(infos) != 1 || infos[0].Result != wsgiparty.InviteNotAnswered, "sent after the start: %+v", infos)
			for i := range guests {
				for _, e := range partytest.InvitesLogged(t, fmt.Sprint(i)) {
					if name == "another guest" { // which does not pass it on
						continue
					}
					check.ErrorIf(t, e["msg"] != partytest.Message(wsgiparty.InviteNotAnswered) || e["status"] != 0.0 || e["error"] != leavesProcess || !strings.Contains(fmt.Sprint(e["hint"]), "wsgi_party_guest"), "it is told as %v", e)
				}
			}
			check.Equal(t, connections.Load()+more.Load(), 0, "connections")
		})
	}
}

// TestNoInviteMarksAnUpstreamDown has a proxy whose application is not there while the
// config loads, and is asked by a visitor as soon as it is.
func TestNoInviteMarksAnUpstreamDown(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		fmt.Fprint(w, "page")
	})
	for name, test := range map[string]struct {
		proxy string
		serve func(net.Listener) error
	}{
		"http":    {"reverse_proxy ADDR {\nfail_duration 1h\n}", func(l net.Listener) error { return http.Serve(l, page) }},
		"fastcgi": {"reverse_proxy ADDR {\ntransport fastcgi\nfail_duration 1h\n}", func(l net.Listener) error { return fcgi.Serve(l, page) }},
	} {
		t.Run(name, func(t *testing.T) {
			c := newGuestTest(t)
			address := testport.Address(t)
			c.load("invite_timeout 1h\ninvite /blog/__invite__/\n" + strings.Replace(test.proxy, "ADDR", address, 1))
			l := check.Value(net.Listen("tcp", address))(t)
			t.Cleanup(func() { l.Close() })
			go func() { _ = test.serve(l) }()
			c.Expect("/", 200, "page")
		})
	}
}

// TestAGuestThatConnectsWhileItIsInvited has a Go guest make a request in the context of
// its invite.
func TestAGuestThatConnectsWhileItIsInvited(t *testing.T) {
	c, b := newBlogTest(t)
	partytest.App(t, "app", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		if _, ok := wsgiparty.OperatorFrom(r); !ok {
			return nil
		}
		request, err := http.NewRequestWithContext(r.Context(), "GET", "http://"+b.Upstream(), nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		return response.Body.Close()
	})
	c.load("invite /blog/__invite__/\ntest_app app")
	o := partytest.InvitesLogged(t, "blog")[0]
	check.ErrorIf(t, o["msg"] != partytest.Message(wsgiparty.InviteFailed) || o["error"] != leavesProcess || !strings.Contains(fmt.Sprint(o["hint"]), "a context of its own"), "it is told as %v", o)
	check.Equal(t, len(b.Requests("")), 0, "requests")
}
