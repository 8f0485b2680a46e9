// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Names of hosts.

package claimpattern

import (
	"fmt"
	"strings"

	"golang.org/x/net/idna"
)

// MaxHosts is how many names there may be.
const MaxHosts = 1000

// Hosts are names of hosts. They do not change once parsed.
type Hosts struct {
	exact map[string]bool
	below map[string]string // name with *, by what follows the *
}

// ParseHosts parses names of hosts, such as shop.example.com, or *.example.com for each that has one label more.
func ParseHosts(names []string) (*Hosts, error) {
	if len(names) > MaxHosts {
		return nil, fmt.Errorf("%d hosts: write at most %d", len(names), MaxHosts)
	}
	h := &Hosts{make(map[string]bool), make(map[string]string)}
	for i, name := range names {
		parent, isWildcard := strings.CutPrefix(name, "*.")
		normal, err := Host(parent)
		if err != nil {
			what := err.Error()
			if isWildcard {
				what = quote(name) + ": " + what
			}
			return nil, &Error{i, what}
		}
		if isWildcard {
			h.below["."+normal] = "*." + normal
		} else {
			h.exact[normal] = true
		}
	}
	return h, nil
}

// Match returns the name by which a host is one of them. It is in lower case and ASCII.
func (h *Hosts) Match(host string) (name string, ok bool) {
	if h.exact[host] {
		return host, true
	}
	i := strings.IndexByte(host, '.')
	if i <= 0 {
		return "", false
	}
	name, ok = h.below[host[i:]]
	return name, ok
}

// Host returns the name of a host as Caddy compares it: in lower case and ASCII.
func Host(name string) (string, error) {
	ascii, err := idna.ToASCII(name)
	if err != nil {
		return "", fmt.Errorf("%s is not a host name: %w", quote(name), err)
	}
	ascii = strings.ToLower(ascii)
	if what, write := problemOf(ascii); what != "" {
		return "", fmt.Errorf("%s is not a host name, because it %s: write %s", quote(name), what, write)
	}
	return ascii, nil
}

// problemOf says what is wrong with a host's name, and what to write.
func problemOf(name string) (what, write string) {
	const example = "a name such as shop.example.com"
	switch {
	case name == "":
		return "is empty", example
	case strings.Contains(name, "://"):
		return "has a scheme", "the host alone"
	case strings.Contains(name, "/"):
		return "has a path", "the host alone"
	case strings.Contains(name, ":"):
		return "has a port", "it without the port, which covers all ports"
	case strings.Contains(name, "*"):
		return "has a * that is not all of its first label", "*.example.com for all hosts with one more label"
	case strings.HasSuffix(name, "."):
		return "ends with a dot", "it without the dot"
	case len(name) > 253:
		return fmt.Sprintf("has %d characters", len(name)), "no more than 253"
	}
	for label := range strings.SplitSeq(name, ".") {
		i := strings.IndexFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
		})
		switch {
		case label == "":
			return "has two dots with nothing between them", example
		case len(label) > 63:
			return fmt.Sprintf("has a label of %d characters", len(label)), "no more than 63 between two dots"
		case i >= 0:
			return fmt.Sprintf("has a %q", []rune(label[i:])[0]), "letters, digits, - and dots"
		case label[0] == '-' || label[len(label)-1] == '-':
			return fmt.Sprintf("has a label that begins or ends with -, %q", label), "- only between letters and digits"
		}
	}
	return "", ""
}
