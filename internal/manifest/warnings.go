// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/wsgiparty/wsgiparty/internal/nearest"
)

// otherVariable is how frameworks write a variable of a path that RFC 6570 takes for
// text: /:slug, /*path, /[slug], /[...path], /$slug.
var otherVariable = regexp.MustCompile(`/(?:[:*$]([A-Za-z_]\w*)|\[\.{0,3}([A-Za-z_]\w*)\])`)

// Warnings says what is probably not meant, and what to write. Each mount is one that
// the guest may take for its own, as the beginning of links to it.
func (m *Manifest) Warnings(mounts ...string) []string {
	warnings := slices.Clone(m.unknown)
	texts := make(map[string]string)
	for name, t := range m.URLs {
		texts["urls."+name] = t.String()
	}
	urls := slices.Sorted(maps.Keys(texts))
	var hrefs, claims []string
	for service, handlers := range m.Services {
		for i, h := range handlers {
			if h.Href != nil {
				name := path{"services", service, i}.String()
				texts[name], hrefs = h.Href.String(), append(hrefs, name)
			}
		}
	}
	slices.Sort(hrefs)
	if m.Claims != nil {
		for i, pattern := range m.Claims.Texts {
			name := path{"claims", i}.String()
			texts[name], claims = pattern[strings.IndexByte(pattern, '/'):], append(claims, name)
		}
	}
	for _, name := range slices.Concat(urls, hrefs, claims) {
		if found := otherVariable.FindStringSubmatch(texts[name]); found != nil {
			variable := "{" + found[1] + found[2] + "}"
			warnings = append(warnings, fmt.Sprintf("%s is %q, in which %s is text, not a variable: write %s", name, texts[name], found[0][1:], variable))
			break // the others are no other mistake
		}
	}
	for _, mount := range mounts {
		for _, names := range [][]string{urls, hrefs, claims} {
			if len(names) == 0 || mount == "" || slices.ContainsFunc(names, func(name string) bool { return !isBelow(mount, texts[name]) }) {
				continue
			}
			text := texts[names[0]]
			warnings = append(warnings, fmt.Sprintf("%s is %q, which is %q to visitors, because everything is relative to the mount, %s: leave that out, as in %q",
				names[0], text, mount+text, mount, "/"+strings.TrimPrefix(strings.TrimPrefix(text, mount), "/")))
		}
	}
	return warnings
}

func isBelow(mount, text string) bool {
	rest, ok := strings.CutPrefix(text, mount)
	return ok && (rest == "" || strings.ContainsAny(rest[:1], "/?{"))
}

// unknownMembers says which members of a manifest are probably meant to be others, and
// whether none are there that count.
func unknownMembers(top map[string]json.RawMessage) []string {
	var warnings []string
	members := []string{"urls", "services", "claims", "hosts"}
	says := slices.ContainsFunc(members, func(name string) bool { return top[name] != nil })
	for _, name := range slices.Sorted(maps.Keys(top)) {
		if known := nearest.Word(name, members...); known != "" && known != name {
			warnings = append(warnings, fmt.Sprintf("the member %s is unknown, and is ignored: did you mean %s?", quoteName(name), known))
		}
	}
	if !says && len(warnings) == 0 {
		warnings = append(warnings, `it has neither urls nor services, so that nobody can link to the guest or ask it: write {"urls": {"home": "/"}, "services": {…}}`)
	}
	return warnings[:min(len(warnings), maxWarnings)]
}

// maxWarnings bounds what is logged.
const maxWarnings = 4
