// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Links to guests: asking for them, which are safe, and the prefix that they begin with.

package party

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/excerpt"
	"github.com/wsgiparty/wsgiparty/internal/invitepath"
	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
	"github.com/wsgiparty/wsgiparty/partyline"
	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"
)

// URLService is the service that guests connect to answer what the URLs of their pages
// are: the payload is a URLRequest, the answer a string.
const URLService = "url"

// URLRequest is the payload of URLService. Handlers get it by
// PayloadAs[URLRequest], since guests that are not Go modules ask with JSON.
type URLRequest struct {
	// Name is the page's name.
	Name string `json:"name"`

	// Values are what the page's URL depends on.
	Values map[string]any `json:"values,omitempty"`
}

// URLRequestOf is PayloadAs[URLRequest], but faster for payloads that came as JSON.
func URLRequestOf(payload any) (URLRequest, error) {
	if object, ok := payload.(map[string]any); ok {
		name, isName := object["name"].(string)
		values, isValues := object["values"].(map[string]any)
		if isName && (len(object) == 1 || len(object) == 2 && isValues) {
			return URLRequest{name, values}, nil
		}
	}
	return partyline.PayloadAs[URLRequest](payload)
}

// addressee says who alone is asked for a page whose name, as blog:post, begins with that of a
// guest: if that is invited, nobody else.
func addressee(service string) func(payload any) (guest string) {
	if service != URLService {
		return nil
	}
	return func(payload any) string {
		name, _ := pageIn(payload)
		guest, _, named := strings.Cut(name, ":")
		if !named {
			return ""
		}
		return guest
	}
}

// UnmarshalJSON takes {"name", "values"}, [name, values] or {"name", "kwargs",
// "query"}, where kwargs and query together are the values.
func (r *URLRequest) UnmarshalJSON(b []byte) error {
	var object struct {
		Name                  string
		Values, Kwargs, Query map[string]any
	}
	pair := []any{&object.Name, &object.Values}
	var into any = &object
	isPair := bytes.HasPrefix(bytes.TrimSpace(b), []byte("["))
	if isPair {
		into = &pair
	}
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.UseNumber() // or long numbers would lose digits
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf(`ask for a URL with {"name": …, "values": {…}} or [name, values]: %w`, err)
	}
	if isPair {
		if len(pair) != 2 {
			return fmt.Errorf("ask for a URL with [name, values], not with a list of %d", len(pair))
		}
		*r = URLRequest{object.Name, object.Values}
		return nil
	}
	*r = URLRequest{Name: object.Name}
	for _, values := range []map[string]any{object.Query, object.Kwargs, object.Values} {
		if r.Values == nil && len(values) > 0 {
			r.Values = make(map[string]any)
		}
		maps.Copy(r.Values, values)
	}
	return nil
}

// URLFor asks around for the URL of a page and returns the first one that is safe to link to: a path that begins
// with a slash, or a URL with the scheme and host of one of the party's invites. Anything else becomes its
// guest's *HandlerError. Without a safe URL it returns the failures, or ErrHighAndDry, as First does.
func URLFor(ctx context.Context, o *partyline.Operator, name string, values map[string]any) (string, error) {
	return partyline.FirstFunc(ctx, o, URLService, URLRequest{name, values}, func(answer string) (string, error) {
		return Linkable(o.Partyline(), answer)
	})
}

// Linkable returns the URL, or an error if URLFor would not return it.
func Linkable(p *partyline.Partyline, text string) (string, error) {
	// Browsers drop control characters, and take a backslash for a slash.
	if i := strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }); i >= 0 {
		return "", fmt.Errorf("the URL %q has a %q, which must be escaped", text, text[i])
	}
	parsed, err := url.Parse(text)
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "//") {
		return text, nil
	}
	if parsed.IsAbs() && parsed.User == nil {
		if e, ok := p.Owner().(*Entry); ok {
			if _, ok := e.origins.Load(originOf(parsed)); ok {
				return text, nil
			}
		}
	}
	return "", fmt.Errorf("the URL %q begins neither with exactly one slash nor with the scheme and host of an invite to party %q", text, p.Name())
}

// originOf returns the scheme and host of a URL, as RFC 6454 compares them: only ASCII letters are
// the same in both cases.
func originOf(u *url.URL) string {
	origin := strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, u.Scheme+"://"+u.Host)
	if strings.HasPrefix(origin, "http://") {
		return strings.TrimSuffix(origin, ":80")
	}
	if strings.HasPrefix(origin, "https://") {
		return strings.TrimSuffix(origin, ":443")
	}
	return origin
}

// CheckPrefix returns an error for what cannot be a party's prefix. Otherwise it returns the header that the
// prefix names, empty if it is a path.
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
		return fmt.Errorf("prefix %q: write the stripped path with a slash at the beginning and none at the end, such as /apps", prefix)
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
		return "", errors.New("it is not a path")
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
	a.logger.Warn("a request's prefix is ignored", zap.String("header", header), zap.String("value", excerpt.Of(value)), zap.Error(err),
		zap.String("hint", "links for such requests have no prefix. If a proxy that you trust sets the header, name the proxy in the global options, as in `servers { trusted_proxies static 10.0.0.1 }`, and have it set a path such as /apps"))
}
