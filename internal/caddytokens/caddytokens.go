// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package caddytokens is what the parsers of Caddyfile directives share.
package caddytokens

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"
)

// ParseHandler sets up a handler that unmarshals itself.
func ParseHandler[H any, P interface {
	*H
	caddyfile.Unmarshaler
	caddyhttp.MiddlewareHandler
}](h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := P(new(H))
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// ParseParty consumes what the tokens are of and, if it is there, the party's name.
func ParseParty(d *caddyfile.Dispenser, party *string, usage string) error {
	d.Next() // consume the directive's or module's name
	if !d.NextArg() {
		return nil
	}
	if *party = d.Val(); *party == "" {
		return d.Err("the party's name is empty: write a name, or leave it out")
	}
	if d.NextArg() {
		return ArgErr(d, usage)
	}
	return nil
}

// OpensBlock reports whether the next token is an opening curly brace.
func OpensBlock(d *caddyfile.Dispenser) bool {
	if d.Next() {
		defer d.Prev()
		return d.Val() == "{" && !d.Token().Quoted()
	}
	return false
}

// ArgErr returns the dispenser's error of the same name, for arguments that are missing or too many, and says
// what to write instead.
func ArgErr(d *caddyfile.Dispenser, write string) error {
	return d.Errf("wrong argument count or unexpected line ending after '%s': write `%s`", d.Val(), strings.TrimSpace(write))
}

// ListOf lists what can be written.
func ListOf[T any](known map[string]T) string {
	return strings.Join(slices.Sorted(maps.Keys(known)), ", ")
}

// MaxSize is the greatest size that a setting may have, in bytes.
const MaxSize = 1 << 30

// ParseSize returns a setting's size in bytes.
func ParseSize(setting, text, example string) (int64, error) {
	size, err := humanize.ParseBytes(text)
	if err != nil || size == 0 || size > MaxSize {
		return 0, fmt.Errorf("%s is %s: write a size above zero and up to 1GiB, such as %s", setting, text, example)
	}
	return int64(size), nil
}
