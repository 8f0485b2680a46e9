// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/wsgiparty/wsgiparty/internal/guestname"
	"github.com/wsgiparty/wsgiparty/internal/invitepath"
	"github.com/wsgiparty/wsgiparty/internal/privatepath"
)

// Invite says which application to invite.
type Invite struct {
	// Required. The path of the application's invite route as requests have it when they reach the party, such
	// as `/blog/__invite__/`. Or an http or https URL, whose host becomes the host of the invite. An invite to
	// an https URL counts as having come over TLS.
	//
	// From outside, this path and everything below it are 404. They are 404 also where a rewrite inside the
	// party leads to them, if a `wsgi_party_guest` stands behind the rewrite. So the path cannot be `/`, and
	// one without a segment `__invite__` brings a warning. Global placeholders such as `{env.HOST}` are
	// replaced when the config loads.
	URI string `json:"uri"`

	// The guest's name: 1 to 64 of the characters `A-Z a-z 0-9 . _ / -`, with no segment `.` or `..`.
	// Global placeholders are replaced here, too. Default: the path before `/__invite__`, without its
	// outer slashes, or `root` if nothing is left.
	Guest string `json:"guest,omitempty"`
}

// UnmarshalJSON takes an object or the plain string of the URI.
func (i *Invite) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte(`"`)) {
		return json.Unmarshal(b, &i.URI)
	}
	type invite Invite // without this method
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode((*invite)(i)); err != nil {
		return fmt.Errorf("an invite is a string, its URI, or an object with uri and guest: %w", err)
	}
	return nil
}

// invited is an invite and what came of it.
type invited struct {
	host    *Host // nil while a Caddyfile is parsed
	uri     *url.URL
	guest   string
	base    string          // unescaped, and empty or with a slash at its beginning
	private privatepath.Set // what of the party's is the guest's
	last    atomic.Pointer[InviteInfo]
	sending *sending // again; nil if it is not; guarded by the host
}

// parse checks the invite and returns what it means.
func (i Invite) parse() (*invited, error) {
	if i.URI == "" {
		return nil, errors.New("an invite is empty: write the path of an application's invite route, such as /blog/__invite__/")
	}
	uri, err := url.Parse(i.URI)
	if err != nil {
		return nil, fmt.Errorf("invite %q is not a URI: %w", i.URI, errors.Unwrap(err))
	}
	switch {
	case uri.Scheme == "" && !strings.HasPrefix(i.URI, "/"):
		return nil, fmt.Errorf("invite %q is a relative URI: write \"/%s\", or a URL beginning with https://", i.URI, i.URI)
	case uri.Scheme == "" && uri.Host != "":
		return nil, fmt.Errorf("invite %q has a host but no scheme: write \"https:%s\"", i.URI, i.URI)
	case uri.Scheme != "" && uri.Scheme != "http" && uri.Scheme != "https":
		return nil, fmt.Errorf("invite %q has the scheme %s: write a path, or a URL beginning with https:// or http://", i.URI, uri.Scheme)
	case uri.Scheme != "" && uri.Hostname() == "":
		return nil, fmt.Errorf("invite %q has a scheme but no host: write it as in https://example.com/blog/__invite__/", i.URI)
	case uri.User != nil || uri.Fragment != "":
		return nil, fmt.Errorf("invite %q: leave out the user and the fragment", i.URI)
	case strings.HasSuffix(uri.Path, "*"):
		return nil, fmt.Errorf("invite %q hides everything below its path anyway: leave out the *", i.URI)
	}
	return &invited{uri: uri, guest: cmp.Or(i.Guest, invitepath.Guest(uri.Path)), base: invitepath.Base(uri.Path)}, nil
}

// GuestList is whom a party invites. The zero GuestList is empty.
type GuestList struct {
	invited     []*invited
	private     privatepath.Set // the paths of their invites
	privateEnds privatepath.Set // what is left of those behind any mount
}

// Add adds the guest of an invite without placeholders. It returns an error for an invite that is wrong, or that
// conflicts with those on the list.
func (l *GuestList) Add(i Invite) error {
	parsed, err := i.parse()
	if err != nil {
		return err
	}
	if l.has(parsed.guest) {
		return fmt.Errorf("guest %q is invited twice: write \"invite %s as <guest>\" with another name (\"guest\" in JSON)", parsed.guest, i.URI)
	}
	if !l.private.Add(parsed.uri.Path) {
		return fmt.Errorf("invite %q would hide everything from outside: write the path of an invite route, such as /__invite__/", i.URI)
	}
	if err := guestname.Check(parsed.guest); err != nil {
		if i.Guest == "" {
			return fmt.Errorf("the guest of invite %q would be called %q, as its path says, but %w: write \"invite %[1]s as <name>\" (\"guest\" in JSON)", i.URI, parsed.guest, err)
		}
		return fmt.Errorf("the guest of invite %q cannot be called %q: %w", i.URI, parsed.guest, err)
	}
	parsed.private.Add(parsed.uri.Path)
	for end := parsed.uri.Path; end != ""; {
		l.privateEnds.Add(end)
		_, end, _ = strings.Cut(end, "/")
	}
	l.invited = append(l.invited, parsed)
	return nil
}

func (l *GuestList) has(guest string) bool {
	return slices.ContainsFunc(l.invited, func(i *invited) bool { return i.guest == guest })
}
