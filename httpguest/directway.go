// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Requests to the application by connections of the guest's own.

package httpguest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
	"github.com/wsgiparty/wsgiparty/party"
)

// pastRoutes sends requests to an application by its directWay.
type pastRoutes struct{ *application }

// RoundTrip takes off the mount, as the routes do, and sends the request.
func (p pastRoutes) RoundTrip(r *http.Request) (*http.Response, error) {
	below, ok := strings.CutPrefix(r.URL.Path, p.stripped)
	if ok && r.URL.RawPath != "" {
		r.URL.RawPath, ok = strings.CutPrefix(r.URL.RawPath, p.path)
	}
	if !ok {
		return nil, fmt.Errorf("%w: %.200q does not lie under the mount", party.ErrMisrouted, r.URL.Path)
	}
	if r.URL.Path = below; below == "" {
		r.URL.Path, r.URL.RawPath = "/", ""
	}
	return p.Direct.way.RoundTrip(r)
}

// directWay sends requests to the addresses of an application.
type directWay struct {
	addresses []*directAddress
	rewrite   *rewrite.Rewrite     // may be nil
	headers   []*headers.HeaderOps // what is done to requests, in this order
}

// directAddress is one address, with connections of its own.
type directAddress struct {
	*http.Transport
	conns    *directConns // nil if requests need what only the transport has
	scheme   string
	dial     string // as it is in the config
	host     string // of the URL
	name     string // of the host, without the port
	port     string
	underWay atomic.Int64
	failed   atomic.Int64 // when it could not be reached, in nanoseconds since the epoch; 0 if it could
}

func newDirectWay(dials []string, transport *reverseproxy.HTTPTransport) (*directWay, error) {
	switch {
	case slices.Contains(transport.Versions, "3"):
		return nil, errors.New("a transport for HTTP/3")
	case transport.ProxyProtocol != "":
		return nil, errors.New("a transport with proxy_protocol")
	case transport.TLS != nil && strings.Contains(transport.TLS.ServerName, "{"):
		return nil, errors.New("a transport with placeholders in tls_server_name")
	case len(dials) > maxAddresses:
		return nil, fmt.Errorf("%d addresses, more than %d", len(dials), maxAddresses)
	}
	way := new(directWay)
	if ops := transport.RequestHeaderOps(); ops != nil {
		way.headers = append(way.headers, ops)
	}
	for _, dial := range dials {
		address, err := newDirectAddress(dial, transport)
		if err != nil {
			return nil, err
		}
		way.addresses = append(way.addresses, address)
	}
	return way, nil
}

func newDirectAddress(dial string, transport *reverseproxy.HTTPTransport) (*directAddress, error) {
	known := caddy.NewReplacer().ReplaceKnown(dial, "")
	if strings.Contains(known, "{") {
		return nil, fmt.Errorf("the address %s, which has placeholders that are not known when the config loads", dial)
	}
	parsed, err := caddy.ParseNetworkAddress(known)
	if err == nil && parsed.PortRangeSize() != 1 {
		err = errors.New("it must be one address")
	}
	if unix := err == nil && parsed.IsUnixNetwork(); err == nil && !unix && (!strings.HasPrefix(parsed.Network, "tcp") || parsed.Host == "" || parsed.StartPort == 0) {
		err = errors.New("write a host and a port, or a unix socket")
	}
	if err != nil {
		return nil, fmt.Errorf("the address %s: %w", dial, err)
	}
	a := &directAddress{Transport: transport.Transport.Clone(), scheme: "http", dial: dial, host: parsed.JoinHostPort(0), name: parsed.Host, port: strconv.Itoa(int(parsed.StartPort))}
	if transport.TLS != nil && !slices.Contains(transport.TLS.ExceptPorts, a.port) {
		a.scheme = "https"
	}
	if a.TLSNextProto != nil { // it would hand connections over to those of the reverse_proxy
		a.TLSNextProto, a.ForceAttemptHTTP2 = nil, true
	}
	connect := a.DialContext
	a.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if parsed.IsUnixNetwork() { // of which net/http knows nothing
			ctx = context.WithValue(ctx, dialInfoKey, reverseproxy.DialInfo{Network: parsed.Network, Address: a.host})
		}
		conn, err := connect(ctx, network, address)
		if err == nil {
			a.failed.Store(0)
		} else if !errors.Is(err, context.Canceled) {
			a.failed.Store(time.Now().UnixNano())
		}
		return conn, err
	}
	if a.isPlain() {
		a.conns = &directConns{idleTimeout: a.IdleConnTimeout, maxIdle: a.MaxIdleConnsPerHost, dial: func(ctx context.Context) (net.Conn, error) {
			return a.DialContext(ctx, "tcp", a.host)
		}}
	}
	return a, nil
}

// isPlain reports whether requests go by HTTP/1.1 without TLS, and nothing is configured that net/http's transport
// alone knows to do.
func (a *directAddress) isPlain() bool {
	proxied := false
	if a.Proxy != nil {
		proxy, err := a.Proxy(&http.Request{URL: &url.URL{Scheme: a.scheme, Host: a.host}})
		proxied = proxy != nil || err != nil
	}
	return canCheckIdle && a.scheme == "http" && !proxied && (a.Protocols == nil || a.Protocols.HTTP1()) && !a.DisableKeepAlives && a.MaxConnsPerHost == 0 && a.ResponseHeaderTimeout == 0
}

// RoundTrip sends a request to the address.
func (a *directAddress) RoundTrip(r *http.Request) (*http.Response, error) {
	if a.conns != nil && r.ContentLength <= maxDirectBody {
		return a.conns.RoundTrip(r)
	}
	return a.Transport.RoundTrip(r)
}

// close closes the connections that are idle.
func (a *directAddress) close() {
	a.CloseIdleConnections()
	if a.conns != nil {
		a.conns.close()
	}
}

// dialInfoKey is where Caddy's transport looks for the address.
const dialInfoKey caddy.CtxKey = "reverse_proxy.dial_info"

// RoundTrip sends a request to the address with the fewest under way.
func (w *directWay) RoundTrip(r *http.Request) (response *http.Response, err error) {
	var tried []*directAddress
	for {
		a := w.leastBusy(tried)
		if a == nil {
			return nil, caddyhttp.Error(statusOf(err), err)
		}
		response, err = w.roundTrip(a, r, len(tried) > 0)
		if _, unreached := errors.AsType[reverseproxy.DialError](err); !unreached || len(w.addresses) == 1 || r.Context().Err() != nil {
			if err != nil {
				err = caddyhttp.Error(statusOf(err), err)
			}
			return response, err
		}
		tried = append(tried, a)
	}
}

// leastBusy returns the address with the fewest requests under way, nil when all have been tried. One that could
// not be reached lately comes last.
func (w *directWay) leastBusy(tried []*directAddress) (least *directAddress) {
	if len(w.addresses) == 1 && len(tried) == 0 {
		return w.addresses[0]
	}
	now, fewest, first := time.Now().UnixNano(), int64(math.MaxInt64), rand.IntN(len(w.addresses))
	for i := range w.addresses {
		a := w.addresses[(first+i)%len(w.addresses)]
		busy := a.underWay.Load()
		if now-a.failed.Load() < int64(breakerPause) {
			busy += math.MaxInt32
		}
		if busy < fewest && !slices.Contains(tried, a) {
			least, fewest = a, busy
		}
	}
	return least
}

func (w *directWay) roundTrip(a *directAddress, r *http.Request, again bool) (*http.Response, error) {
	sent := r
	if len(w.headers) > 0 || w.rewrite != nil {
		sent = w.change(a, r)
	} else {
		sent.URL.Scheme, sent.URL.Host = a.scheme, a.host
	}
	if sent.ContentLength == 0 {
		sent.Body = nil
	} else if again && r.GetBody != nil {
		var err error
		if sent.Body, err = r.GetBody(); err != nil {
			return nil, err
		}
	}
	a.underWay.Add(1)
	response, err := a.RoundTrip(sent)
	if err != nil {
		a.underWay.Add(-1)
		return nil, err
	}
	response.Body = &countedBody{response.Body, a}
	return response, nil
}

// countedBody is the body of a response, until which is closed the request is under way.
type countedBody struct {
	io.ReadCloser
	address *directAddress
}

func (b *countedBody) Close() error {
	b.address.underWay.Add(-1)
	return b.ReadCloser.Close()
}

// change returns the request as the headers and the rewrite of the reverse_proxy have it.
func (w *directWay) change(a *directAddress, r *http.Request) *http.Request {
	replacer := caddy.NewReplacer()
	sent := r.Clone(r.Context())
	sent.RequestURI = sent.URL.RequestURI()
	sent = caddyhttp.PrepareRequest(sent, replacer, nil, new(caddyhttp.Server))
	for i, value := range []string{a.dial, a.host, a.name, a.port} {
		replacer.Set(upstreamPlaceholders[i], value)
	}
	if w.rewrite != nil {
		w.rewrite.Rewrite(sent, replacer)
	}
	for _, ops := range w.headers {
		ops.ApplyToRequest(sent)
	}
	sent.URL.Scheme, sent.URL.Host, sent.RequestURI = a.scheme, a.host, ""
	return sent
}

// statusOf is the status that a reverse_proxy gives an error.
func statusOf(err error) int {
	if failed, ok := errors.AsType[net.Error](err); ok && failed.Timeout() {
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}
