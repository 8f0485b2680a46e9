// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpask

import (
	"net"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// warnOfOpen warns of a server at which more than the guests may reach wsgi_party_ask.
func warnOfOpen(logger *zap.Logger, server *caddyhttp.Server) {
	for _, policy := range server.TLSConnPolicies {
		if auth := policy.ClientAuthentication; auth != nil && (auth.Mode == "" || auth.Mode == "require_and_verify") && auth.Active() {
			return
		}
	}
	open := slices.DeleteFunc(slices.Clone(server.Listen), onlyLocal)
	if len(open) == 0 {
		return
	}
	logger.Warn("wsgi_party_ask can be reached from other machines",
		zap.String("server", server.Name()),
		zap.Strings("listen", open),
		zap.String("hint", "only the guests are to reach it: write `bind 127.0.0.1` or `bind unix//run/party.sock` in its site, also where its address is http://127.0.0.1:2080, which alone says nothing about who can connect; or demand certificates of clients, with `client_auth` in its `tls`"))
}

// onlyLocal reports whether a listener's address is reached from this machine only.
func onlyLocal(listen string) bool {
	address, err := caddy.ParseNetworkAddress(listen)
	if err != nil {
		return false
	}
	host, _, _ := strings.Cut(address.Host, "%")
	switch network := address.Network; {
	case address.IsUnixNetwork(), address.IsFdNetwork():
		return true
	case !strings.HasPrefix(network, "tcp") && !strings.HasPrefix(network, "udp"):
		return true // a plugin's, which has rules of its own
	case host == "localhost":
		return true
	default:
		return net.ParseIP(host).IsLoopback()
	}
}
