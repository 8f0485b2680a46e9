// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Where guests ask without a site of its own for that: the address that a party listens on, and
// that its guests are told.

package party

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/askaddress"
	"github.com/wsgiparty/wsgiparty/internal/reservedheader"
	"github.com/wsgiparty/wsgiparty/internal/standing"
	"go.uber.org/zap"
)

// AskOn says where the guests of a party ask. The endpoint is that of `wsgi_party_ask`: whoever
// connects needs the key of a guest. A client has 10 seconds to send the header of a request, 30 to
// send its body, and 30 to read the response. Across reloads the address stays open, and so do all
// connections to it. When the last config with this address ends, asks under way have 10 seconds to
// finish.
type AskOn struct {
	// Required. The network address to listen on. Every process of the machine can connect to one
	// such as `127.0.0.1:2080`. For a unix socket, write a mode that lets the guests connect, as
	// in `unix//run/party.sock|0660`. Without one the mode is Caddy's, `0200`, which lets in only
	// processes of Caddy's own user. Global placeholders are replaced when the config loads.
	Listen string `json:"listen"`

	// The address as guests reach it, if that differs: an http or https URL, or `unix//` and the
	// path of a socket. Global placeholders are replaced here, too. Default: the address of
	// `listen`.
	URL string `json:"url,omitempty"`
}

// resolve returns the address with placeholders replaced.
func (a *AskOn) resolve() (askaddress.Address, error) {
	placeholders := caddy.NewReplacer()
	var replaced [2]string
	for i, text := range []string{a.Listen, a.URL} {
		var err error
		if replaced[i], err = placeholders.ReplaceOrErr(text, true, true); err != nil {
			return askaddress.Address{}, fmt.Errorf("ask_on %q: %w", text, err)
		}
	}
	return askaddress.Parse(replaced[0], replaced[1])
}

// CheckAskOn returns an error for an address that is wrong, as far as that can be seen in a Caddyfile.
func CheckAskOn(a AskOn) error {
	if strings.Contains(a.Listen+a.URL, "{") {
		return nil // has a placeholder, which Provision replaces
	}
	_, err := a.resolve()
	return err
}

// conflictAtAddress returns an error if two handlers listen at one address, but do not belong
// together. The app must be locked.
func (h *Host) conflictAtAddress(other *Host) error {
	for _, one := range h.askAddress.Listen {
		for _, two := range other.askAddress.Listen {
			switch {
			case !askaddress.Overlap(one, two):
			case h.name != other.name:
				return atOneAddress(h, other, one.String())
			case one.String() != two.String():
				return fmt.Errorf("%s and %s write the address of ask_on differently, as %s and %s: write it the same way in both", other.describe(), h.describe(), two, one)
			}
		}
	}
	return nil
}

func atOneAddress(h, other *Host, address string) error {
	return fmt.Errorf("the parties %q and %q both have ask_on at %s, so a guest could reach either: write another address in one of them", other.name, h.name, address)
}

// AskEndpoint makes what serves the requests of guests that ask a party.
type AskEndpoint func(*Entry, *zap.Logger) standing.Handler

var askEndpoint AskEndpoint

// RegisterAskEndpoint, in an init function, registers what serves the addresses of ask_on. It
// panics if there is one.
func RegisterAskEndpoint(e AskEndpoint) {
	if askEndpoint != nil {
		panic("the endpoint of ask_on is registered already")
	}
	askEndpoint = e
}

// askServer is where the app listens for what guests ask, for a handler that says so.
type askServer struct {
	*standing.Server
	host   *Host
	listen caddy.NetworkAddress
}

// listen listens wherever a party has ask_on.
func (a *App) listen() (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, a.endListening())
		}
	}()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, h := range a.askingHosts() {
		for _, address := range h.askAddress.Listen {
			if slices.ContainsFunc(a.askServers, func(s askServer) bool { return askaddress.Overlap(s.listen, address) }) {
				continue // a replica's
			}
			if err := a.conflictWithServers(h, address); err != nil {
				return err
			}
			server, err := standing.Serve(a.ctx, address, askEndpoint(h.entry, h.entry.logger))
			if err != nil {
				return fmt.Errorf("ask_on %s of party %q: %w%s", address, h.name, err, whatToDo(err))
			}
			for _, other := range a.askServers {
				if sameAddr(other.Addr(), server.Addr()) && other.host.name != h.name {
					return errors.Join(atOneAddress(h, other.host, server.Addr().String()), server.End())
				}
			}
			a.askServers = append(a.askServers, askServer{server, h, address})
			h.entry.logger.Info("listening for what guests ask", zap.Stringer("address", address), zap.String("url", h.askAddress.URL))
			if !askaddress.OnlyLocal(address.String()) {
				h.entry.logger.Warn("ask_on can be reached from other machines", zap.Stringer("address", address),
					zap.String("hint", "only guests should reach it, and they send their keys there in the clear: write an address such as 127.0.0.1:2080 or unix//run/party.sock|0660; for guests on other machines, write a site with wsgi_party_ask that demands client certificates, with `client_auth` in its `tls`"))
			}
		}
	}
	return nil
}

// whatToDo says it about an address at which Caddy cannot listen, for an error.
func whatToDo(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return ": another process listens there; write another address"
	case errors.Is(err, fs.ErrNotExist):
		return ": create the socket's directory first, as systemd does with RuntimeDirectory"
	case errors.Is(err, fs.ErrPermission):
		return ": write an address that Caddy's user may listen on"
	}
	return ""
}

// askingHosts returns the handlers with ask_on, by party, in an order that is the same for every
// load of a config. The app must be locked.
func (a *App) askingHosts() (hosts []*Host) {
	for _, e := range a.entries {
		for _, h := range e.hosts {
			if h.askAddress.URL != "" {
				hosts = append(hosts, h)
			}
		}
	}
	slices.SortStableFunc(hosts, func(a, b *Host) int { return cmp.Compare(a.name, b.name) })
	return hosts
}

// conflictWithServers returns an error if a site is at the address of a party: Caddy's listeners share
// one without complaint, and requests would come to either.
func (a *App) conflictWithServers(h *Host, address caddy.NetworkAddress) error {
	admin, err := caddy.ParseNetworkAddress(caddy.DefaultAdminListen)
	if err == nil && askaddress.Overlap(admin, address) && caddy.ListenerUsage(admin.Network, admin.JoinHostPort(0)) > 0 {
		return fmt.Errorf("ask_on %s of party %q is the address of Caddy's admin API: write another one", address, h.name)
	}
	app, err := a.config.AppIfConfigured("http")
	if err != nil {
		return nil
	}
	for name, server := range app.(*caddyhttp.App).Servers {
		for _, listen := range server.Listen {
			parsed, err := caddy.ParseNetworkAddress(listen)
			if err != nil {
				continue
			}
			for _, one := range parsed.Expand() {
				if askaddress.Overlap(one, address) {
					return fmt.Errorf("ask_on %s of party %q is also an address of the HTTP server %q, at %s: write another address, or put wsgi_party_ask in that site", address, h.name, name, one)
				}
			}
		}
	}
	return nil
}

func sameAddr(a, b net.Addr) bool { return a.Network() == b.Network() && a.String() == b.String() }

// endListening ends what listen has begun.
func (a *App) endListening() error {
	a.mu.Lock()
	servers := a.askServers
	a.askServers = nil
	a.mu.Unlock()
	var errs []error
	for _, s := range servers {
		errs = append(errs, s.End())
	}
	if caddy.Exiting() {
		standing.Wait()
	}
	return errors.Join(errs...)
}

// askURLsOf returns where the guests of a party can ask.
func (a *App) askURLsOf(e *Entry) (urls []string) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, h := range e.hosts {
		if url := h.askAddress.URL; url != "" && !slices.Contains(urls, url) {
			urls = append(urls, url)
		}
	}
	return urls
}

// askURL returns where the guests in the handler's routes ask: where it says itself, or else
// another handler of its party. It is empty if none does.
func (h *Host) askURL() string {
	if h.askAddress.URL != "" {
		return h.askAddress.URL
	}
	h.app.mu.RLock()
	defer h.app.mu.RUnlock()
	for _, other := range h.entry.hosts {
		if other.askAddress.URL != "" {
			return other.askAddress.URL
		}
	}
	return ""
}

// partyAsk is what a guest is told in the header of that name.
type partyAsk struct {
	value string // empty for a guest that cannot ask
	of    uint64 // the askChanges that it was made after
	line  string // the version that it says
}

// askHeader returns the Party-Ask of the guest. It is made anew while the config loads, and when the line changes. There
// are two MACs because clients that know nothing of the line compare the first with the address alone.
func (i *Invitation) askHeader() string {
	changes, line := i.host.app.askChanges.Load(), i.host.entry.LineVersion()
	if made := i.ask.Load(); made != nil && made.of == changes && made.line == line {
		return made.value
	}
	made := &partyAsk{of: changes, line: line}
	if url := i.host.askURL(); url != "" {
		if keys := i.Keys(); !keys.IsZero() {
			said := url + "; line=" + line
			made.value = said + "; mac=" + keys.SignAddress(said)
		}
	}
	i.ask.Store(made)
	return made.value
}

// tell adds to a request what Caddy alone may tell the guest, whose mount is that.
func (i *Invitation) tell(r *http.Request, mount string) {
	ask := i.askHeader()
	values := []string{mount, ask} // one allocation
	if mount != "" {
		r.Header[reservedheader.Prefix] = values[0:1:1]
	}
	if ask != "" {
		r.Header[reservedheader.Ask] = values[1:2:2]
	}
}
