// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"strings"

	"github.com/wsgiparty/wsgiparty/partyline"
)

// URLService is the service that guests connect to answer where their pages are: the
// payload is a URLRequest, the answer a string.
const URLService = "url"

// URLRequest is the payload of URLService. Handlers get it by
// PayloadAs[URLRequest], since guests that are no Go modules ask with JSON.
type URLRequest struct {
	// Name is the page's.
	Name string `json:"name"`

	// Values are what the page's URL depends on.
	Values map[string]any `json:"values,omitempty"`
}

// URLRequestOf is PayloadAs[URLRequest], quicker for payloads that came as JSON.
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
		if request, err := URLRequestOf(payload); err == nil {
			if guest, _, ok := strings.Cut(request.Name, ":"); ok {
				return guest
			}
		}
		return ""
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
		return fmt.Errorf(`a URL is asked for with {"name": …, "values": {…}} or [name, values]: %w`, err)
	}
	if isPair {
		if len(pair) != 2 {
			return fmt.Errorf("a URL is asked for with [name, values], not with a list of %d", len(pair))
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

// URLFor asks around for the URL of the page of that name and returns the first one that is safe to link to:
// a path that begins with a slash, or a URL with the scheme and host of one of the party's invites. Anything
// else is its guest's *HandlerError. Like First it then returns what failed, or ErrHighAndDry.
func URLFor(ctx context.Context, o *partyline.Operator, name string, values map[string]any) (string, error) {
	return partyline.FirstFunc(ctx, o, URLService, URLRequest{name, values}, func(answer string) (string, error) {
		return Linkable(o.Partyline(), answer)
	})
}

// Linkable returns the URL, or an error if it is none that URLFor returns.
func Linkable(p *partyline.Partyline, text string) (string, error) {
	// Browsers drop control characters, and take a backslash for a slash.
	if i := strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }); i >= 0 {
		return "", fmt.Errorf("the URL %q has a %q, which is to be escaped", text, text[i])
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
	return "", fmt.Errorf("the URL %q is neither a path beginning with one slash, nor does it begin with the scheme and host of an invite to party %q", text, p.Name())
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
