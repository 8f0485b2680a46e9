// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package claimpattern

import (
	"fmt"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

func TestHosts(t *testing.T) {
	h := check.Value(ParseHosts([]string{"Shop.example.com", "*.Example.org", "bücher.example", "localhost", "127.0.0.1", "_x.example.net"}))(t)
	for host, want := range map[string]string{
		"shop.example.com":        "shop.example.com",
		"example.com":             "",
		"a.shop.example.com":      "",
		"a.example.org":           "*.example.org",
		"a.b.example.org":         "",
		"example.org":             "",
		".example.org":            "",
		"*.example.org":           "*.example.org",
		"xn--bcher-kva.example":   "xn--bcher-kva.example",
		"localhost":               "localhost",
		"127.0.0.1":               "127.0.0.1",
		"":                        "",
		".":                       "",
		"SHOP.example.com":        "",
		"shop.example.com.":       "",
		"shop.example.com:443":    "",
		strings.Repeat("a.", 999): "",
	} {
		got, ok := h.Match(host)
		check.ErrorIf(t, got != want || ok != (want != ""), "%.50s is claimed by %q, %v, want %q", host, got, ok, want)
	}
}

func TestHostsThatAreRefused(t *testing.T) {
	for name, want := range map[string]string{
		"":                              `"" is not a host name, because it is empty: write a name such as shop.example.com`,
		"*.":                            `"*.": "" is not a host name`,
		"https://example.com":           `because it has a scheme: write the host alone`,
		"example.com/x":                 `because it has a path: write the host alone`,
		"example.com:443":               `because it has a port: write it without the port, which covers all ports`,
		"*":                             `because it has a * that is not all of its first label: write *.example.com for all hosts with one more label`,
		"a.*.example.com":               `because it has a *`,
		"*a.example.com":                `because it has a *`,
		"*.*.example.com":               `because it has a *`,
		"example.com.":                  `because it ends with a dot: write it without the dot`,
		"a..b":                          `because it has two dots with nothing between them`,
		".example.com":                  `because it has two dots`,
		"a b":                           `because it has a ' ': write letters, digits, - and dots`,
		"a\x00b":                        `because it has a '\x00'`,
		"{http.request.host}":           `because it has a '{'`,
		"-a.example.com":                `because it has a label that begins or ends with -, "-a"`,
		strings.Repeat("a", 64):         `because it has a label of 64 characters: write no more than 63`,
		strings.Repeat("a.", 127):       `because it ends with a dot`,
		strings.Repeat("a.", 127) + "b": `because it has 255 characters: write no more than 253`,
	} {
		_, err := ParseHosts([]string{"ok.example.com", name})
		problem, ok := err.(*Error)
		check.ErrorIf(t, !ok || problem.Index != 1, "%q: %v", name, err)
		check.Fails(t, err, want)
	}
	names := make([]string, MaxHosts+1)
	for i := range names {
		names[i] = fmt.Sprintf("h%d.example.com", i)
	}
	check.Value(ParseHosts(names[:MaxHosts]))(t)
	_, err := ParseHosts(names)
	check.Fails(t, err, "1001 hosts: write at most 1000")
}
