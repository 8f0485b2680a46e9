// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/excerpt"
	"github.com/wsgiparty/wsgiparty/internal/invitepath"
	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"
)

// CheckPrefix returns an error for what cannot be a party's prefix, and else the header
// that it names, empty if it is a path.
func CheckPrefix(prefix string) (header string, err error) {
	if strings.ContainsAny(prefix, "{}") {
		name, isHeader := strings.CutPrefix(prefix, "{http.request.header.")
		name, ends := strings.CutSuffix(name, "}")
		if !isHeader || !ends || !httpguts.ValidHeaderFieldName(name) {
			return "", fmt.Errorf("prefix %q: write a path, such as /apps, or a header that a trusted proxy sets, such as {http.request.header.X-Forwarded-Prefix}", prefix)
		}
		return http.CanonicalHeaderKey(name), nil
	}
	if prefix != "" {
		err = checkPrefixPath(prefix)
	}
	return "", err
}

func checkPrefixPath(prefix string) error {
	switch {
	case prefix == "/" || path.Clean("/"+prefix) != prefix || strings.ContainsAny(prefix, "?#"):
		return fmt.Errorf("prefix %q: write the path that was stripped with a slash at its beginning and none at its end, such as /apps", prefix)
	case strings.Contains(prefix, "%"):
		return fmt.Errorf("prefix %q has a %%: write the path unescaped, such as /café", prefix)
	}
	if err := urltemplate.Check(invitepath.Escape(prefix)); err != nil {
		return fmt.Errorf("prefix %q: %w", prefix, err)
	}
	return nil
}

// maxPrefix is how long the prefix that a request has may be, in bytes.
const maxPrefix = 1 << 10

var errNotTrusted = errors.New("the request did not come through one of the server's trusted_proxies")

// parsePrefix returns the prefix that a header says, escaped as it is there, or an error
// for one that the config could not have.
func parsePrefix(value string) (string, error) {
	if len(value) > maxPrefix || strings.Contains(value, ",") { // it is more than one
		return "", errors.New("it is no path")
	}
	prefix, err := url.PathUnescape(value)
	if err != nil {
		return "", err
	}
	return prefix, checkPrefixPath(prefix)
}

// prefixes are those that the request has which led to an ask: unescaped, by the header that a
// party's may be.
type prefixes map[string]string

type prefixesKey struct{} // of those of an ask, or of what it led to

// prefixesVar is the request variable of those that a request had before a guest's handler set its header.
const prefixesVar = "wsgi_party.prefixes"

// prefixesIn returns the prefixes that whoever asks in that context has.
func (a *App) prefixesIn(ctx context.Context) prefixes {
	headers := a.prefixHeaders.all()
	if len(headers) == 0 {
		return nil
	}
	if known, ok := ctx.Value(prefixesKey{}).(prefixes); ok {
		return known
	}
	vars, _ := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	if known, ok := vars[prefixesVar].(prefixes); ok {
		return known
	}
	placeholders, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return nil
	}
	trusted, _ := vars[caddyhttp.TrustedProxyVarKey].(bool)
	found := make(prefixes)
	for _, header := range headers {
		value, _ := placeholders.GetString("http.request.header." + header)
		prefix, err := parsePrefix(value)
		if !trusted {
			err = errNotTrusted
		}
		if err != nil {
			a.warnOfPrefix(header, value, err)
			continue
		}
		found[header] = prefix
	}
	return found
}

// keepPrefixes keeps those of a request before its header is set.
func (a *App) keepPrefixes(r *http.Request) {
	if len(a.prefixHeaders.all()) == 0 {
		return
	}
	if vars, ok := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any); ok {
		vars[prefixesVar] = a.prefixesIn(r.Context())
	}
}

// withPrefixes returns the context for an ask whose prefixes do not change any more.
func (a *App) withPrefixes(ctx context.Context) context.Context {
	if len(a.prefixHeaders.all()) == 0 {
		return ctx
	}
	return context.WithValue(ctx, prefixesKey{}, a.prefixesIn(ctx))
}

// withPrefixOf returns the context for what a guest asks that was sent a request with that
// prefix and its mount, as it hands that back.
func (e *Entry) withPrefixOf(ctx context.Context, guest, value string) context.Context {
	headers := e.app.prefixHeaders.all()
	if len(headers) == 0 {
		return ctx
	}
	found := make(prefixes)
	if m, ok := e.mounts.Load(guest); ok {
		if value, ok := strings.CutSuffix(value, m.(*mount).path); ok {
			if prefix, err := parsePrefix(value); err == nil {
				for _, header := range headers {
					found[header] = prefix
				}
			}
		}
	}
	return context.WithValue(ctx, prefixesKey{}, found)
}

// prefixFor returns the prefix of links that are made in that context, unescaped.
func (h *Host) prefixFor(ctx context.Context) string {
	if h.prefixHeader == "" {
		return h.settings.Prefix
	}
	return h.app.prefixesIn(ctx)[h.prefixHeader]
}

// escapedPrefixFor is prefixFor for what is put before escaped paths.
func (h *Host) escapedPrefixFor(ctx context.Context) string {
	if h.prefixHeader == "" {
		return h.escapedPrefix
	}
	return invitepath.Escape(h.prefixFor(ctx))
}

// warnOfPrefix warns, once, of a request whose prefix does not count.
func (a *App) warnOfPrefix(header, value string, err error) {
	if value == "" || a.prefixWarned.Swap(true) {
		return
	}
	a.logger.Warn("a request's prefix does not count", zap.String("header", header), zap.String("value", excerpt.Of(value)), zap.Error(err),
		zap.String("hint", "links for such requests have no prefix. If a proxy that you trust sets the header, name the proxy in the global options, as in `servers { trusted_proxies static 10.0.0.1 }`, and have it set a path such as /apps"))
}
