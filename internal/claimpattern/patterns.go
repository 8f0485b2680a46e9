// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package claimpattern tells which requests are an application's: by patterns of
// http.ServeMux, and by the URL templates of its pages.
package claimpattern

import (
	"fmt"
	"net/http"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/wsgiparty/wsgiparty/internal/urltemplate"
)

const (
	// MaxPatterns is how many patterns there may be.
	MaxPatterns = 4096

	// maxShown is how much of a pattern an error shows.
	maxShown = 200
)

// Patterns are patterns of http.ServeMux, which says what they are, and which of them conflict.
// They match what it matches, but without what it allocates. They do not change once parsed.
type Patterns struct {
	hosts map[string]methods // those of a host, "" for all
}

// methods are the pages by method, "" for all.
type methods map[string]*page

// Error says what is wrong with one of the patterns, and what to write.
type Error struct {
	Index int // of the pattern
	What  string
}

func (e *Error) Error() string { return e.What }

// Parse parses patterns. For the same patterns the error is always the same.
func Parse(texts []string) (*Patterns, error) {
	if len(texts) > MaxPatterns {
		return nil, fmt.Errorf("%d patterns: write at most %d", len(texts), MaxPatterns)
	}
	p, mux := &Patterns{make(map[string]methods)}, new(http.ServeMux)
	patterns := make([]pattern, len(texts))
	for i, text := range texts {
		var err error
		if patterns[i], err = parse(text); err != nil {
			return nil, &Error{i, fmt.Sprintf("%s: %s", quote(text), err)}
		}
		if err := handle(mux, patterns[i].String()); err != nil {
			return nil, &Error{i, explain(patterns[:i+1], texts, err)}
		}
		p.add(patterns[i])
	}
	return p, nil
}

func (p *Patterns) add(pat pattern) {
	ofHost := p.hosts[pat.host]
	if ofHost == nil {
		ofHost = make(methods)
		p.hosts[pat.host] = ofHost
	}
	if ofHost[pat.method] == nil {
		ofHost[pat.method] = new(page)
	}
	ofHost[pat.method].add(pat.segments(), pat.String())
}

// HasHosts reports whether some patterns are for a host.
func (p *Patterns) HasHosts() bool {
	return len(p.hosts) > 1 || len(p.hosts) == 1 && p.hosts[""] == nil
}

// Match returns the pattern that claims a request: the one that a mux would take, whether for the path or, if it
// lacks that, for the path with a slash at its end, to which it would redirect. Host is in lower case,
// without a port; the path is as claimpath.Clean has it.
func (p *Patterns) Match(method, host, path string) (pattern string, ok bool) {
	if path == "" || path[0] != '/' {
		return "", false
	}
	if host != "" {
		pattern = p.hosts[host].match(method, path)
	}
	if pattern == "" {
		pattern = p.hosts[""].match(method, path)
	}
	return pattern, pattern != ""
}

func (m methods) match(method, path string) (pattern string) {
	for _, of := range [...]string{method, http.MethodGet, ""} {
		pages := m[of]
		if pages == nil || of == http.MethodGet && method != http.MethodGet && method != http.MethodHead {
			continue
		}
		if pattern = pages.match(path[1:]); pattern != "" {
			break
		}
	}
	return pattern
}

// handle has the mux handle a pattern. The error is what the mux would panic with.
func handle(mux *http.ServeMux, pattern string) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("%v", value)
		}
	}()
	mux.Handle(pattern, http.NotFoundHandler())
	return nil
}

// explain says what the mux has against the last of the patterns.
func explain(patterns []pattern, texts []string, err error) string {
	last := len(patterns) - 1
	refused := patterns[last].String()
	for i, before := range patterns[:last] {
		mux := new(http.ServeMux)
		if handle(mux, before.String()) != nil {
			continue
		}
		conflict := handle(mux, refused)
		if conflict == nil {
			continue
		}
		_, why, conflicts := strings.Cut(conflict.Error(), "):\n")
		if !conflicts {
			break
		}
		why = shorten(strings.ReplaceAll(why, "\n", " "), 4*maxShown)
		return fmt.Sprintf("%s conflicts with %s: %s: leave one out, or make one more specific", quote(texts[last]), quote(texts[i]), strings.TrimSuffix(why, "."))
	}
	_, what, _ := strings.Cut(err.Error(), ": at offset ") // after "parsing" and the pattern
	if _, after, ok := strings.Cut(what, ": "); ok {
		what = after
	}
	return fmt.Sprintf("%s: %s: write a pattern of Go's ServeMux, such as %s", quote(texts[last]), shorten(what, maxShown), examples)
}

const examples = `"/reports/" or "GET /users/{id}"`

// pattern is the parts of a pattern.
type pattern struct{ method, host, path string }

func (p pattern) String() string {
	text := p.host + p.path
	if p.method != "" {
		text = p.method + " " + text
	}
	return text
}

// Start returns the host of a pattern, "" for all, and the beginning of its path that has no wildcards.
func Start(text string) (host, path string) {
	p, err := parse(text)
	if err != nil {
		return "", "/"
	}
	if i := strings.IndexByte(p.path, '{'); i >= 0 {
		p.path = p.path[:i]
	}
	return p.host, p.path
}

// segments are those of the path, which a mux has taken.
func (p pattern) segments() []urltemplate.Segment {
	var segments []urltemplate.Segment
	for segment := range strings.SplitSeq(p.path[1:], "/") {
		switch {
		case segment == "", strings.HasSuffix(segment, "...}"): // only the last can be
			segments = append(segments, urltemplate.Segment{Texts: []string{"", ""}, Many: true})
		case segment == "{$}":
			segments = append(segments, urltemplate.Segment{Texts: []string{""}})
		case segment[0] == '{':
			segments = append(segments, urltemplate.Segment{Texts: []string{"", ""}})
		default:
			text, ok := unescape(segment)
			if !ok {
				text = segment // as a mux takes it
			}
			segments = append(segments, urltemplate.Segment{Texts: []string{text}})
		}
	}
	return segments
}

// parse takes a pattern to pieces, of which the mux looks at the path.
func parse(text string) (p pattern, err error) {
	rest, hasMethod := text, false
	if i := strings.IndexAny(text, " \t"); i >= 0 {
		p.method, rest, hasMethod = text[:i], strings.TrimLeft(text[i:], " \t"), true
	}
	slash := strings.IndexByte(rest, '/')
	switch {
	case text == "":
		return p, fmt.Errorf("it is empty: write a pattern such as %s", examples)
	case !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) && r != '\t' }):
		return p, fmt.Errorf("it has an unprintable character: escape it, as in /%%20")
	case hasMethod && p.method == "":
		return p, fmt.Errorf("it begins with white space: write a method there, as in \"GET /users/{id}\", or nothing")
	case strings.Contains(p.method, "/"):
		return p, fmt.Errorf("it has white space in its path: write it as %%20, or make two patterns of it")
	case p.method != strings.ToUpper(p.method):
		return p, fmt.Errorf("its method is %s, but methods are in capitals: write %s", shorten(p.method, 32), shorten(strings.ToUpper(p.method), 32))
	case strings.Contains(text, "{http."):
		return p, placeholderError(text)
	case slash < 0 && IsMethod(text):
		return p, fmt.Errorf("it is a method without a path: write both as one pattern, as in \"%s /users/{id}\" (in a Caddyfile with the quotes)", text)
	case slash < 0:
		return p, fmt.Errorf("it has no path: write one, which begins with a slash, as in %s", examples)
	}
	if strings.Contains(rest[:slash+1], ":/") {
		return p, fmt.Errorf("it has a scheme: write it without, as in example.com/reports/")
	}
	p.host, p.path = rest[:slash], rest[slash:]
	if i := strings.IndexAny(p.path, "?#"); i >= 0 {
		return p, fmt.Errorf("it has a %q, but a pattern has only a path: leave out everything from there on, or write %%%02X", p.path[i], p.path[i])
	}
	if before, _, found := strings.Cut(p.path, "*"); found && strings.Count(before, "{") == strings.Count(before, "}") {
		folder := quote(before[:strings.LastIndexByte(before, '/')+1])
		return p, fmt.Errorf("it has a *, which is not a wildcard here: write %s for everything that begins so, {name} for one segment, or %%2A for a * itself", folder)
	}
	if clean := cleaned(p.path); clean != p.path {
		return p, fmt.Errorf("no path looks like that once Caddy has cleaned it: write %s", quote(clean))
	}
	if p.host != "" {
		if noHosts[p.host] {
			return p, fmt.Errorf("%s is taken for a host: write a space between method and path, %s", p.host, quote(p.host+" "+p.path))
		}
		if strings.HasPrefix(p.host, "*") {
			return p, fmt.Errorf("a pattern has a whole host, without a wildcard: write each host, or none to match all")
		}
		if p.host, err = Host(p.host); err != nil {
			return p, err
		}
	}
	return p, nil
}

func cleaned(p string) string {
	clean := path.Clean(p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}

// placeholderError is for a pattern with a wildcard that a Caddyfile has made a placeholder.
func placeholderError(text string) error {
	_, name, _ := strings.Cut(text, "{http.")
	name, _, _ = strings.Cut(name, "}")
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		name = name[i+1:]
	}
	return fmt.Errorf("it has a Caddy placeholder, {http.…}, which {uuid}, {path}, {file}, {host} and others become in a Caddyfile: write another name for the wildcard, such as {the_%s}", shorten(strings.TrimRight(name, "."), 32))
}

// noHosts are methods that stand where a host would, for want of a space.
var noHosts = map[string]bool{"GET": true, "HEAD": true, "POST": true, "PUT": true, "PATCH": true, "DELETE": true, "OPTIONS": true}

// IsMethod reports whether a pattern is the name of a method alone.
func IsMethod(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r < 'A' || r > 'Z' })
}

func quote(text string) string { return fmt.Sprintf("%q", shorten(text, maxShown)) }

func shorten(text string, most int) string {
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
