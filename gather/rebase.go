// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// URLs that are relative to a guest, put under its mount.

package gather

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
)

// members are those of answers that hold URLs: by name, at any depth, or by the names that lead there from the answer.
type members struct {
	names []string
	paths [][]string
}

// parseMembers parses the setting rebase. Only what begins with a dot is a path.
func parseMembers(rebase []string) (m members, err error) {
	for _, member := range rebase {
		path, isPath := strings.CutPrefix(member, ".")
		switch names := strings.Split(path, "."); {
		case slices.Contains(names, "") && (isPath || member == ""):
			return m, fmt.Errorf("rebase has %q: write the name of a member, as in `rebase href`, or where it is in the answer, as in `rebase .links.href`", member)
		case isPath:
			m.paths = append(m.paths, names)
		default:
			m.names = append(m.names, member)
		}
	}
	return m, nil
}

// below reports whether the member of an object holds URLs, and returns what leads further down.
func (m members) below(name string) (holds bool, below members) {
	holds, below.names = slices.Contains(m.names, name), m.names
	for _, path := range m.paths {
		if path[0] == name && len(path) == 1 {
			holds = true
		} else if path[0] == name {
			below.paths = append(below.paths, path[1:])
		}
	}
	return holds, below
}

// rebase puts the URLs under the guest's mount, in place.
func (p *part) rebase(value any, in members, origin string) error {
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			if err := p.rebase(element, in, origin); err != nil {
				return err
			}
		}
	case map[string]any:
		for name, member := range value {
			holds, below := in.below(name)
			if !holds {
				if err := p.rebase(member, below, origin); err != nil {
					return err
				}
				continue
			}
			rebased, err := p.rebased(member, below, origin)
			if err != nil {
				return fmt.Errorf("the answer's member %.100q: %w", name, err)
			}
			value[name] = rebased
		}
	}
	return nil
}

// rebased returns the value of a member that is a URL, or a list of them.
func (p *part) rebased(value any, below members, origin string) (any, error) {
	switch value := value.(type) {
	case string:
		return p.under(value, origin)
	case []any:
		for i, element := range value {
			var err error
			if value[i], err = p.rebased(element, below, origin); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		return value, p.rebase(value, below, origin)
	}
	return value, nil
}

// under returns a URL that is relative to the guest, as it is for clients. One that leads elsewhere is an error.
func (p *part) under(text, origin string) (string, error) {
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }) {
		return "", fmt.Errorf("the URL %.100q has a character that must be escaped", text)
	}
	parsed, err := url.Parse(text)
	if err != nil {
		return "", fmt.Errorf("the URL %.100q cannot be parsed", text)
	}
	if parsed.Scheme != "" || parsed.Host != "" || parsed.User != nil || strings.HasPrefix(text, "//") {
		if p.origin == "" || parsed.User != nil || !strings.EqualFold(parsed.Scheme+"://"+parsed.Host, p.origin) {
			return "", fmt.Errorf("the URL %.100q does not lead to the guest: write it relative to the guest's mount, as in /path; if it is meant to lead there, have rebase say where the other URLs are, as in `rebase .url`", text)
		}
	}
	if parsed.Opaque != "" {
		return "", fmt.Errorf("the URL %.100q has no path", text)
	}
	escaped, err := cleanPath(parsed.EscapedPath())
	if err != nil {
		return "", fmt.Errorf("the URL %.100q: %w", text, err)
	}
	if escaped != p.mount && !strings.HasPrefix(escaped, p.mount+"/") {
		escaped = p.mount + escaped
	}
	rest := ""
	if i := strings.IndexAny(text, "?#"); i >= 0 {
		rest = text[i:]
	}
	return origin + escaped + rest, nil
}

// maxEscaped is how often a path may be escaped that is looked at for dots.
const maxEscaped = 4

// cleanPath returns an escaped path with one slash at its beginning, and no empty segments. One that some server takes for
// a path that leads up is an error, however often that is escaped.
func cleanPath(escaped string) (string, error) {
	for text, times := escaped, 0; ; times++ {
		for segment := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '/' || r == '\\' }) {
			if segment, _, _ = strings.Cut(segment, ";"); segment == ".." || segment == "." {
				return "", fmt.Errorf("its path has a %q: write where that leads", segment)
			}
		}
		next, err := url.PathUnescape(text)
		switch {
		case err != nil && times == 0:
			return "", err
		case times == maxEscaped:
			return "", fmt.Errorf("its path is escaped more than %d times", maxEscaped)
		}
		if err != nil || next == text {
			break
		}
		text = next
	}
	cleaned := path.Clean("/" + escaped)
	if strings.HasSuffix(escaped, "/") && cleaned != "/" {
		cleaned += "/"
	}
	return cleaned, nil
}
