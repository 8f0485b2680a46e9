// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The config of a way to the application by connections of the guest's own.

package httpguest

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Direct connects the guest to its application over connections of the guest's own, for asks and for its manifest. What
// stands between the guest and the application, such as other handlers or the load balancing and health checks of a
// `reverse_proxy`, does not apply to these connections. An ask goes to the address with the fewest asks under way, and
// to another one if that address cannot be reached.
type Direct struct {
	// Up to 64 addresses of the application, written as those of a `reverse_proxy`: `localhost:9000` or
	// `unix//run/app.sock`. Placeholders that are known when the config loads are replaced. Default: the upstreams of
	// the `reverse_proxy` right behind the guest, with its transport, and the headers and rewrites of its requests. The
	// config then loads only if all of these can be taken over exactly.
	Addresses []string `json:"addresses,omitempty"`

	// How to connect to the addresses: a `reverse_proxy`'s `http` transport, for HTTP/1.1, HTTP/2 or h2c, with or
	// without TLS. Needs `addresses`. Default: HTTP/1.1 without TLS.
	TransportRaw json.RawMessage `json:"transport,omitempty" caddy:"namespace=http.reverse_proxy.transport inline_key=protocol"`

	transport *reverseproxy.HTTPTransport // of the addresses
	once      sync.Once
	way       *directWay
	err       error
}

const maxAddresses = 64

// unmarshalDirect parses the addresses and the transport as a reverse_proxy does.
func (g *Guest) unmarshalDirect(d *caddyfile.Dispenser) error {
	var p reverseproxy.Handler
	if err := p.UnmarshalCaddyfile(d); err != nil {
		return err
	}
	g.Direct = &Direct{TransportRaw: p.TransportRaw}
	for _, upstream := range p.Upstreams {
		g.Direct.Addresses = append(g.Direct.Addresses, upstream.Dial)
	}
	p.Upstreams, p.TransportRaw = nil, nil
	if rest, err := json.Marshal(&p); err != nil || string(rest) != "{}" {
		return d.Err("direct takes addresses and, in a block, `transport http`; other options of a reverse_proxy do not apply to asks")
	}
	return g.Direct.check()
}

// check returns an error for what cannot be meant.
func (d *Direct) check() error {
	if len(d.Addresses) == 0 && d.TransportRaw != nil {
		return errors.New("direct has a transport but no addresses: write these, too, or leave out both to use those of the reverse_proxy behind it")
	}
	return nil
}

// provision loads the transport of the addresses.
func (d *Direct) provision(ctx caddy.Context) error {
	if err := d.check(); err != nil || len(d.Addresses) == 0 {
		return err
	}
	d.transport = new(reverseproxy.HTTPTransport)
	if d.TransportRaw == nil {
		return d.transport.Provision(ctx)
	}
	loaded, err := ctx.LoadModule(d, "TransportRaw")
	if err != nil {
		return fmt.Errorf("direct: loading its transport: %w", err)
	}
	transport, ok := loaded.(*reverseproxy.HTTPTransport)
	if !ok {
		return errors.New("direct needs the transport http: leave out direct for an application that is not an HTTP server; its reverse_proxy then carries the asks")
	}
	d.transport = transport
	return nil
}

// resolve finds the way, once what stands behind the guest has been set up.
func (g *Guest) resolveDirect() error {
	d := g.Direct
	if d == nil {
		return nil
	}
	d.once.Do(func() {
		if d.transport != nil {
			if d.way, d.err = newDirectWay(d.Addresses, d.transport); d.err != nil {
				d.err = fmt.Errorf("direct cannot use %w", d.err)
			}
		} else if d.way, d.err = takeOver(g.host.Behind(g)); d.err != nil {
			d.err = fmt.Errorf("direct cannot take over %w: write the addresses of the application, as in `direct localhost:9000`", d.err)
		}
	})
	return d.err
}

// takeOver returns the way of a reverse_proxy.
func takeOver(behind caddyhttp.MiddlewareHandler, matched bool) (*directWay, error) {
	p, ok := behind.(*reverseproxy.Handler)
	if !ok {
		return nil, errors.New("the handler right behind wsgi_party_guest, which is not a reverse_proxy")
	}
	transport, ok := p.Transport.(*reverseproxy.HTTPTransport)
	switch {
	case matched:
		return nil, errors.New("the reverse_proxy behind wsgi_party_guest, which has a matcher")
	case !ok:
		return nil, errors.New("the transport of the reverse_proxy, which is not http")
	case p.DynamicUpstreams != nil:
		return nil, errors.New("the dynamic upstreams of the reverse_proxy")
	case len(p.Upstreams) == 0:
		return nil, errors.New("a reverse_proxy without upstreams")
	case p.CB != nil:
		return nil, errors.New("the circuit_breaker of the reverse_proxy")
	case len(p.HandleResponse) > 0:
		return nil, errors.New("the handle_response of the reverse_proxy")
	case p.Headers != nil && p.Headers.Response != nil:
		return nil, errors.New("the header_down of the reverse_proxy")
	}
	addresses := make([]string, len(p.Upstreams))
	for i, upstream := range p.Upstreams {
		addresses[i] = upstream.Dial
	}
	way, err := newDirectWay(addresses, transport)
	if err != nil {
		return nil, err
	}
	if way.rewrite = p.Rewrite; p.Rewrite != nil {
		if err := checkPlaceholders("its rewrite", p.Rewrite); err != nil {
			return nil, err
		}
	}
	if p.Headers != nil && p.Headers.Request != nil {
		if err := checkPlaceholders("its header_up", p.Headers.Request); err != nil {
			return nil, err
		}
		way.headers = append(way.headers, p.Headers.Request)
	}
	return way, nil
}

var placeholder = regexp.MustCompile(`\{[^{}"\s]+\}`)

// checkPlaceholders returns an error for a part of a config with placeholders of which a request that goes
// past the routes does not know what these would make of them.
func checkPlaceholders(what string, part any) error {
	encoded, err := json.Marshal(part)
	if err != nil {
		return err
	}
	for _, p := range placeholder.FindAllString(string(encoded), -1) {
		name := p[1 : len(p)-1]
		if _, known := caddy.NewReplacer().Get(name); !known && !strings.HasPrefix(name, "http.request.") && !slices.Contains(upstreamPlaceholders, name) {
			return fmt.Errorf("%s, where %s depends on the routes", what, p)
		}
	}
	return nil
}

var upstreamPlaceholders = []string{"http.reverse_proxy.upstream.address", "http.reverse_proxy.upstream.hostport", "http.reverse_proxy.upstream.host", "http.reverse_proxy.upstream.port"}

// close ends the connections that nobody uses, and has those that somebody does end after that.
func (d *Direct) close() {
	if d.way != nil {
		for _, a := range d.way.addresses {
			a.close()
		}
	}
}
