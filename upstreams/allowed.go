// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Which addresses guests may answer, and what of an answer is dialed.

package upstreams

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// allowed is what the setting allow lists.
type allowed struct {
	networks []netip.Prefix
	hosts    []address // whose names are resolved when they are compared
	sockets  []string
}

// address is a host and its port, or the path of a socket.
type address struct {
	host   string
	port   uint16
	socket string
}

const howAllow = "write a network such as 10.0.0.0/8, a host with its port such as app.internal:8080, or a socket such as unix//run/app.sock"

func parseAllowed(list []string) (*allowed, error) {
	a := new(allowed)
	for _, text := range list {
		if network, err := netip.ParsePrefix(text); err == nil {
			if network.Addr().Is4In6() || network != network.Masked() {
				return nil, fmt.Errorf("allow is %s, which is %s: write that", text, describeMasked(network))
			}
			a.networks = append(a.networks, network)
			continue
		}
		parsed, err := parseAddress(text)
		if err != nil {
			return nil, fmt.Errorf("allow is %q: %w; %s", text, err, howAllow)
		}
		if parsed.socket != "" {
			a.sockets = append(a.sockets, parsed.socket)
		} else {
			a.hosts = append(a.hosts, parsed)
		}
	}
	return a, nil
}

func describeMasked(network netip.Prefix) string {
	if ip := network.Addr(); ip.Is4In6() && network.Bits() >= 96 {
		return netip.PrefixFrom(ip.Unmap(), network.Bits()-96).Masked().String()
	}
	return network.Masked().String()
}

// parseAddress parses what a guest answers. It is hostile text.
func parseAddress(text string) (address, error) {
	if strings.ContainsAny(text, "{}") {
		return address{}, errors.New("it has a curly brace, which Caddy would take for a placeholder")
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\ufffd' }); i >= 0 || len(text) > 512 {
		return address{}, errors.New("it has a space or a control character, is not UTF-8, or is too long")
	}
	if socket, ok := strings.CutPrefix(text, "unix/"); ok {
		if !path.IsAbs(socket) || path.Clean(socket) != socket || socket == "/" || strings.ContainsAny(socket, "|\\") {
			return address{}, errors.New("write a socket as unix/ and an absolute path without . and .., such as unix//run/app.sock")
		}
		return address{socket: socket}, nil
	}
	if strings.Contains(text, "/") {
		return address{}, errors.New("its network is neither TCP nor unix, or it is a URL")
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return address{}, errors.New("it has no port")
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return address{}, errors.New("its port is not a number from 1 to 65535")
	}
	if host == "" || strings.Contains(host, "%") {
		return address{}, errors.New("it has no host, or one with a zone")
	}
	return address{host: host, port: uint16(number)}, nil
}

// resolve returns the IP addresses of a host.
func resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	for i := range ips {
		ips[i] = ips[i].Unmap().WithZone("")
	}
	return ips, nil
}

// dial returns what Caddy is to dial for an answer: addresses as they have been checked, in
// which no name is left that could lead elsewhere by then.
func (a *allowed) dial(ctx context.Context, answer string, admins []address) ([]string, error) {
	parsed, err := parseAddress(answer)
	if err != nil {
		return nil, fmt.Errorf("the address %.100q: %w", answer, err)
	}
	if parsed.socket != "" {
		if !slices.Contains(a.sockets, parsed.socket) {
			return nil, fmt.Errorf("the address %q is not among those that allow lists", answer)
		}
		if slices.ContainsFunc(admins, func(admin address) bool { return sameSocket(admin.socket, parsed.socket) }) {
			return nil, errAdmin(answer)
		}
		return []string{"unix/" + parsed.socket}, nil
	}
	ips, err := resolve(ctx, parsed.host)
	if err != nil {
		return nil, fmt.Errorf("the address %q: %w", answer, err)
	}
	var dials []string
	refused := fmt.Errorf("the address %q is not among those that allow lists", answer)
	for _, ip := range ips {
		switch {
		case ip.IsUnspecified() || ip.IsMulticast():
		case !a.has(ctx, ip, parsed.port):
		case isAdmin(ctx, ip, parsed.port, admins):
			refused = errAdmin(answer)
		default:
			dials = append(dials, netip.AddrPortFrom(ip, parsed.port).String())
		}
	}
	if len(dials) == 0 {
		return nil, refused
	}
	return dials, nil
}

func errAdmin(answer string) error {
	return fmt.Errorf("the address %q is that of this Caddy's admin API", answer)
}

func (a *allowed) has(ctx context.Context, ip netip.Addr, port uint16) bool {
	if slices.ContainsFunc(a.networks, func(n netip.Prefix) bool { return n.Contains(ip) }) {
		return true
	}
	for _, h := range a.hosts {
		if h.port != port {
			continue
		}
		if ips, err := resolve(ctx, h.host); err == nil && slices.Contains(ips, ip) {
			return true
		}
	}
	return false
}

// isAdmin reports whether an admin endpoint listens there, or may: at its port all addresses of this machine are taken for its.
func isAdmin(ctx context.Context, ip netip.Addr, port uint16, admins []address) bool {
	for _, admin := range admins {
		if admin.socket != "" || admin.port != port {
			continue
		}
		if ip.IsLoopback() || isLocal(ip) {
			return true
		}
		if ips, err := resolve(ctx, admin.host); err != nil || slices.Contains(ips, ip) {
			return true
		}
	}
	return false
}

func isLocal(ip netip.Addr) bool {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(addresses, func(a net.Addr) bool {
		network, err := netip.ParsePrefix(a.String())
		return err == nil && network.Addr().Unmap() == ip
	})
}

func sameSocket(a, b string) bool {
	if a == b {
		return true
	}
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// adminsAt returns where admin endpoints listen that are configured so.
func adminsAt(listen ...string) (admins []address) {
	for _, text := range listen {
		text, err := caddy.NewReplacer().ReplaceOrErr(text, false, false)
		if err != nil {
			continue
		}
		parsed, err := caddy.ParseNetworkAddressWithDefaults(text, "tcp", 2019)
		if err != nil {
			continue
		}
		if parsed.IsUnixNetwork() {
			socket, _, _ := strings.Cut(parsed.Host, "|")
			admins = append(admins, address{socket: path.Clean(socket)})
			continue
		}
		for port := parsed.StartPort; port <= parsed.EndPort && port-parsed.StartPort < 16; port++ {
			host := parsed.Host
			if host == "" {
				host = "::"
			}
			admins = append(admins, address{host: host, port: uint16(port)})
		}
	}
	return admins
}
