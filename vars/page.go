// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The placeholder {http.wsgi_party.url.<page>}, and the values in it.

package vars

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty/internal/jsonpayload"
)

const (
	prefix    = "http.wsgi_party."
	urlPrefix = prefix + "url."
)

// page is what the placeholder of a URL asks for.
type page struct {
	name   string
	values []pageValue
}

type pageValue struct {
	key         string
	constant    string
	placeholder string // whose value it is, instead of the constant
}

const howPages = "write a page's name, and values as in " + urlPrefix + "shop:cart?slug=hello&number=@http.regexp.old.1, where @ begins the name of a placeholder, and other values are percent-encoded"

// parsePage parses what follows urlPrefix.
func parsePage(text string) (*page, error) {
	name, query, hasValues := strings.Cut(text, "?")
	p := &page{name: name}
	if name == "" {
		return nil, fmt.Errorf("the placeholder {%s%s} names no page: %s", urlPrefix, text, howPages)
	}
	if !hasValues {
		return p, nil
	}
	for pair := range strings.SplitSeq(query, "&") {
		key, value, ok := strings.Cut(pair, "=")
		key, err := url.PathUnescape(key)
		if !ok || key == "" || err != nil {
			return nil, fmt.Errorf("the placeholder {%s%s} has %q for a value: %s", urlPrefix, text, pair, howPages)
		}
		v := pageValue{key: key}
		if name, ok := strings.CutPrefix(value, "@"); ok && name != "" {
			v.placeholder = name
		} else if ok {
			return nil, fmt.Errorf("the placeholder {%s%s} has no name behind the @ of %q: %s", urlPrefix, text, key, howPages)
		} else if v.constant, err = url.PathUnescape(value); err != nil {
			return nil, fmt.Errorf("the placeholder {%s%s} has %q for a value: %s", urlPrefix, text, pair, howPages)
		}
		p.values = append(p.values, v)
	}
	return p, nil
}

// fill returns the values by their keys, a list where a key occurs more than once, and a text that is
// the same only for the same page and values. It is false for values that are longer than a payload may be.
func (p *page) fill(placeholders *caddy.Replacer) (values map[string]any, id string, ok bool) {
	if len(p.values) == 0 {
		return nil, p.name, true
	}
	values = make(map[string]any, len(p.values))
	text := make([]byte, 0, 128)
	text = append(text, p.name...)
	room := jsonpayload.Max
	for _, v := range p.values {
		value := v.constant
		if v.placeholder != "" {
			value, _ = placeholders.GetString(v.placeholder)
			if room -= len(value); room < 0 {
				return nil, "", false
			}
			value = strings.ToValidUTF8(value, "\ufffd")
		}
		text = append(strconv.AppendInt(append(text, '?'), int64(len(v.key)), 10), v.key...)
		text = append(strconv.AppendInt(append(text, '='), int64(len(value)), 10), value...)
		switch before := values[v.key].(type) {
		case nil:
			values[v.key] = value
		case string:
			values[v.key] = []any{before, value}
		case []any:
			values[v.key] = append(before, value)
		}
	}
	return values, string(text), true
}
