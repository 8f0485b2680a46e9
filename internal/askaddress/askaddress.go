// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package askaddress is about the addresses at which guests ask: what Caddy listens on, and
// what it tells them.
package askaddress

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// Address is where guests ask.
type Address struct {
	Listen []caddy.NetworkAddress // one for each port
	URL    string                 // as guests reach it
}

const (
	maxURL      = 512 // so that a header has room for it
	maxUnixPath = 107 // Linux's
)

// Parse returns the address for what Caddy is to listen on, and what guests are told, which may
// be left out where the first says it. Placeholders have been replaced.
func Parse(listen, asReached string) (Address, error) {
	parsed, err := parseListen(listen)
	if err != nil {
		return Address{}, fmt.Errorf("ask_on %q %w", listen, err)
	}
	if asReached == "" {
		derived, err := derive(parsed)
		if err != nil {
			return Address{}, fmt.Errorf("ask_on %q %w: write the address that guests use after it, as in `ask_on %[1]s http://127.0.0.1:2080/`", listen, err)
		}
		asReached = derived
	}
	if err := checkURL(asReached); err != nil {
		return Address{}, fmt.Errorf("ask_on tells guests %q, which %w: write an address such as http://127.0.0.1:2080/ or unix//run/party.sock", asReached, err)
	}
	return Address{parsed.Expand(), asReached}, nil
}

func parseListen(listen string) (parsed caddy.NetworkAddress, err error) {
	if scheme, rest, ok := strings.Cut(listen, "://"); ok && !strings.Contains(scheme, "/") {
		return parsed, fmt.Errorf("is a URL, but the first address is what Caddy listens on: write %s", strings.TrimSuffix(rest, "/"))
	}
	if strings.HasPrefix(listen, "/") {
		return parsed, fmt.Errorf("is a path: for a unix socket write unix/%s", listen)
	}
	if parsed, err = caddy.ParseNetworkAddress(listen); err != nil {
		return parsed, fmt.Errorf("is not an address to listen on: %w: write one such as 127.0.0.1:2080 or unix//run/party.sock", err)
	}
	switch network := parsed.Network; {
	case network == "unix" && parsed.Host == "":
		return parsed, errors.New("has no path: write one such as unix//run/party.sock")
	case network == "unix" && len(unixPath(parsed)) > maxUnixPath:
		return parsed, fmt.Errorf("has a path of %d bytes, but that of a unix socket has at most %d: write a shorter one", len(unixPath(parsed)), maxUnixPath)
	case network == "unix", network == "fd":
	case parsed.IsUnixNetwork(), parsed.IsFdNetwork(), strings.HasPrefix(network, "udp"), strings.HasPrefix(network, "ip"):
		return parsed, fmt.Errorf("names the network %s, which has no connections: write an address such as 127.0.0.1:2080 or unix//run/party.sock", network)
	case isTCP(network) && parsed.StartPort == 0:
		return parsed, errors.New("has no port: write one, as in 127.0.0.1:2080")
	}
	return parsed, nil
}

// derive returns how guests reach what Caddy listens on.
func derive(listen caddy.NetworkAddress) (string, error) {
	switch {
	case listen.Network == "unix":
		path := unixPath(listen) // the mode is no guest's business
		if !filepath.IsAbs(path) {
			return "", errors.New("is not an absolute path, but guests have other working directories")
		}
		return "unix/" + path, nil
	case !isTCP(listen.Network):
		return "", fmt.Errorf("names the network %s, which means nothing to guests", listen.Network)
	case isWildcard(listen.Host):
		return "", errors.New("stands for every address of the machine, but guests need one")
	case listen.PortRangeSize() != 1:
		return "", errors.New("is a range of ports, but guests need one")
	case strings.Contains(listen.Host, "%"):
		return "", errors.New("has a zone, which means nothing elsewhere")
	}
	return "http://" + net.JoinHostPort(listen.Host, strconv.FormatUint(uint64(listen.StartPort), 10)) + "/", nil
}

// checkURL says why guests cannot be told that. It goes into a header as it is, before a `;`.
func checkURL(text string) error {
	if len(text) > maxURL {
		return fmt.Errorf("has %d bytes, but may have at most %d", len(text), maxURL)
	}
	for _, r := range text {
		if r <= ' ' || r > '~' || strings.ContainsRune(`;,"\`, r) {
			return fmt.Errorf("has the character %q in it", r)
		}
	}
	if path, ok := strings.CutPrefix(text, "unix/"); ok {
		if !strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") {
			return errors.New("is not the absolute path of a unix socket")
		}
		if strings.Contains(path, "|") {
			return errors.New("has a file mode, which is for Caddy only")
		}
		return nil
	}
	parsed, err := url.Parse(text)
	hasScheme := strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://")
	switch {
	case hasScheme && err != nil:
		return fmt.Errorf("is not a URL: %w", cmp.Or(errors.Unwrap(err), err))
	case !hasScheme || parsed.Hostname() == "":
		return errors.New("does not begin with http:// or https:// and a host, or with unix//")
	case parsed.User != nil || strings.ContainsAny(text, "?#"):
		return errors.New("has a user, a query or a fragment")
	case isWildcard(parsed.Hostname()):
		return errors.New("stands for every address of a machine, but guests need one")
	}
	return nil
}

func unixPath(a caddy.NetworkAddress) string {
	path, _, _ := strings.Cut(a.Host, "|")
	return path
}

func isTCP(network string) bool { return network == "tcp" || network == "tcp4" || network == "tcp6" }

func isWildcard(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// Overlap reports whether a connection to one of two addresses, each of one port, may come to who listens on
// the other.
func Overlap(a, b caddy.NetworkAddress) bool {
	if isTCP(a.Network) && isTCP(b.Network) {
		return a.StartPort == b.StartPort && (isWildcard(a.Host) || isWildcard(b.Host) || host(a) == host(b))
	}
	return a.Network == b.Network && a.StartPort == b.StartPort && host(a) == host(b)
}

// host is the same for an address however it is written, as far as that can be seen.
func host(a caddy.NetworkAddress) string {
	switch {
	case a.Network == "unix":
		return filepath.Clean(unixPath(a))
	case strings.EqualFold(a.Host, "localhost"):
		return "127.0.0.1"
	}
	if ip := net.ParseIP(a.Host); ip != nil {
		return ip.String()
	}
	return strings.ToLower(a.Host)
}

// OnlyLocal reports whether an address that Caddy listens on is reached from this machine only.
func OnlyLocal(listen string) bool {
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
	case strings.EqualFold(host, "localhost"):
		return true
	default:
		return net.ParseIP(host).IsLoopback()
	}
}
