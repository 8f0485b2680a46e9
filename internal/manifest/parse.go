// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/wsgiparty/wsgiparty/internal/strictjson"
	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
)

// parse parses valid JSON, whose members occur once.
func parse(body []byte) (*Manifest, error) {
	m := &Manifest{URLs: make(map[string]*urltemplate.Template), Services: make(map[string][]Handler)}
	top, err := object(nil, body, `{"urls": {…}, "services": {…}}`)
	if err != nil {
		return nil, err
	}
	m.unknown = unknownMembers(top)
	if raw, ok := top["urls"]; ok {
		if m.URLs, err = named(path{"urls"}, raw, `{"post": "/posts/{slug}"}`, maxURLs, "URLs", urlTemplate); err != nil {
			return nil, err
		}
	}
	if raw, ok := top["services"]; ok {
		if m.Services, err = named(path{"services"}, raw, `{"ping": {"answer": "pong"}}`, maxServices, "services", handlers); err != nil {
			return nil, err
		}
	}
	if raw, ok := top["claims"]; ok {
		if m.Claims, err = parseClaims(path{"claims"}, raw); err != nil {
			return nil, err
		}
	}
	if raw, ok := top["hosts"]; ok {
		if m.Hosts, err = parseHosts(path{"hosts"}, raw); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// named parses the members of an object that may be left out: no more than most things of
// that name in the plural.
func named[T any](at path, raw json.RawMessage, example string, most int, plural string, parse func(path, json.RawMessage) (T, error)) (map[string]T, error) {
	members, err := object(at, raw, example+", or leave it out")
	if err != nil {
		return nil, err
	}
	if len(members) > most {
		return nil, at.errorf("it has %d %s: write at most %d", len(members), plural, most)
	}
	parsed := make(map[string]T, len(members))
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if err := checkName(at, name); err != nil {
			return nil, err
		}
		if parsed[name], err = parse(append(at, name), members[name]); err != nil {
			return nil, err
		}
	}
	return parsed, nil
}

func urlTemplate(at path, raw json.RawMessage) (*urltemplate.Template, error) {
	return template(at, raw, `a template such as "/posts/{slug}"`)
}

func handlers(at path, raw json.RawMessage) ([]Handler, error) {
	if kind(raw) != "a list" {
		h, err := parseHandler(at, raw)
		if err == nil {
			err = checkTypes(at, []Handler{h})
		}
		return []Handler{h}, err
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, at.errorf("%w", err)
	}
	if len(list) == 0 {
		return nil, at.errorf("the list is empty: leave the service out")
	}
	if len(list) > maxHandlers {
		return nil, at.errorf("the list has %d handlers: write at most %d", len(list), maxHandlers)
	}
	handlers, hrefs := make([]Handler, len(list)), 0
	for i, raw := range list {
		var err error
		if handlers[i], err = parseHandler(append(at, i), raw); err != nil {
			return nil, err
		}
		if handlers[i].Href != nil {
			hrefs++
		}
	}
	if hrefs > maxHrefs {
		return nil, at.errorf("the list has %d hrefs, each of which is a request whenever somebody asks: write at most %d", hrefs, maxHrefs)
	}
	return handlers, checkTypes(at, handlers)
}

func parseHandler(at path, raw json.RawMessage) (Handler, error) {
	var h Handler
	members, err := object(at, raw, `{"answer": …} or {"href": "/api/user{?id}"}`)
	if err != nil {
		return h, err
	}
	answer, hasAnswer := members["answer"]
	href, hasHref := members["href"]
	if hasAnswer == hasHref {
		what := "it has neither an answer nor an href"
		if hasAnswer {
			what = "it has both an answer and an href"
		}
		return h, at.errorf(`%s: write {"answer": …} or {"href": "/api/user{?id}"}`, what)
	}
	if hasAnswer {
		var b bytes.Buffer
		if err := json.Compact(&b, answer); err != nil {
			return h, append(at, "answer").errorf("%w", err)
		}
		h.Answer = b.Bytes()
		return h, nil
	}
	atHref := append(at, "href")
	if h.Href, err = template(atHref, href, `a path such as "/api/user{?id}"`); err != nil {
		return h, err
	}
	if i := strings.IndexByte(h.Href.String(), '#'); i >= 0 {
		return h, atHref.errorf("byte %d: a request has no fragment: leave out what begins with #", i)
	}
	h.Method = methodOf(h.Href)
	if raw, ok := members["method"]; ok {
		h.Method = ""
		_ = json.Unmarshal(raw, &h.Method) // it stays empty if that is not a string
		if h.Method != http.MethodGet && h.Method != http.MethodPost {
			return h, append(at, "method").errorf(`it is %s: write "GET" or "POST", or leave it out: then an href with expressions is a GET, and any other a POST`, shorten(raw))
		}
	}
	if raw, ok := members["batch"]; ok {
		if k := kind(raw); k != "a boolean" {
			return h, append(at, "batch").errorf("it is %s: write true, or leave it out", k)
		}
		h.Batch = bytes.Equal(bytes.TrimSpace(raw), []byte("true"))
		if h.Batch && (h.Method != http.MethodPost || h.Href.HasExpressions()) {
			return h, append(at, "batch").errorf("a batch of asks is one POST with all their payloads: leave batch out, or write an href without expressions and without another method")
		}
	}
	if raw, ok := members["type"]; ok {
		if h.Type, err = parseType(append(at, "type"), raw); err != nil {
			return h, err
		}
		if h.Batch {
			return h, append(at, "type").errorf("the answer to a batch is JSON: leave out this or batch")
		}
	}
	return h, nil
}

// shorten returns JSON for an error, or what it is if it is long or cannot be shown.
func shorten(raw json.RawMessage) string {
	if len(raw) > maxName || strings.ContainsFunc(string(raw), func(r rune) bool { return !unicode.IsPrint(r) }) {
		return kind(raw)
	}
	return string(raw)
}

func template(at path, raw json.RawMessage, example string) (*urltemplate.Template, error) {
	if k := kind(raw); k != "a string" {
		return nil, at.errorf("it is %s: write %s", k, example)
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return nil, at.errorf("%w", err)
	}
	t, err := urltemplate.Parse(text)
	if err != nil {
		return nil, at.errorf("%w", err)
	}
	return t, nil
}

// object returns the members of an object.
func object(at path, raw json.RawMessage, example string) (map[string]json.RawMessage, error) {
	if k := kind(raw); k != "an object" {
		return nil, at.errorf("it is %s: write %s", k, example)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, at.errorf("%w", err)
	}
	return members, nil
}

// kind says what valid JSON is.
func kind(raw json.RawMessage) string {
	switch bytes.TrimLeft(raw, " \t\r\n")[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

func checkName(at path, name string) error {
	switch {
	case name == "":
		return at.errorf("a name is empty: write 1 to %d characters", maxName)
	case len(name) > maxName:
		return at.errorf("the name %s has %d bytes: write no more than %d", quoteName(name), len(name), maxName)
	}
	for _, r := range name {
		if !isNameRune(r) {
			return at.errorf("the name %s has a %q: write letters, digits and . _ : - only", quoteName(name), r)
		}
	}
	return nil
}

// quoteName returns a name quoted for an error, and cut if it is too long for a name.
func quoteName(name string) string {
	if len(name) > maxName {
		return strconv.Quote(strings.ToValidUTF8(name[:maxName], "")) + "…"
	}
	return strconv.Quote(name)
}

func isNameRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._:-", r)
}

// validate says what is wrong with the manifest as JSON.
func validate(body []byte) error {
	switch {
	case len(body) > maxSize:
		return fmt.Errorf("it has %d bytes: write at most %d", len(body), maxSize)
	case bytes.HasPrefix(body, []byte("\ufeff")):
		return errors.New("byte 0: a byte order mark: write JSON without one")
	case len(bytes.TrimSpace(body)) == 0:
		return errors.New("it is empty: write {} if there is nothing to say")
	}
	var raw json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		var syntax *json.SyntaxError
		if !errors.As(err, &syntax) {
			return err
		}
		at := max(0, int(syntax.Offset)-1)
		line := 1 + bytes.Count(body[:at], []byte("\n"))
		return fmt.Errorf("byte %d, line %d: %w: write one JSON object", at, line, err)
	}
	err := strictjson.Check(body)
	problem, ok := errors.AsType[*strictjson.Error](err)
	if !ok {
		return err
	}
	var at path
	for token := range problem.Pointer.Tokens() {
		if i, err := strconv.Atoi(token); err == nil {
			at = append(at, i)
		} else {
			at = append(at, token)
		}
	}
	if len(at) == 0 {
		return fmt.Errorf("byte %d: %s", problem.Offset, problem.What)
	}
	return at[:min(len(at), maxSteps)].errorf("%s", problem.What)
}

// path is where in a manifest something is: names and indexes.
type path []any

func (p path) String() string {
	var b strings.Builder
	for i, step := range p {
		name, ok := step.(string)
		switch {
		case !ok:
			fmt.Fprintf(&b, "[%d]", step)
		case name == "" || len(name) > maxName || strings.ContainsFunc(name, func(r rune) bool { return !isNameRune(r) || strings.ContainsRune(".:-", r) }):
			fmt.Fprintf(&b, "[%s]", quoteName(name))
		case i > 0:
			b.WriteString("." + name)
		default:
			b.WriteString(name)
		}
	}
	return b.String()
}

func (p path) errorf(format string, arguments ...any) error {
	if len(p) == 0 {
		return fmt.Errorf(format, arguments...)
	}
	return fmt.Errorf("%s: %w", p, fmt.Errorf(format, arguments...))
}
