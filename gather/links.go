// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Documents of links: linksets, sitemap indexes and OPML.

package gather

import (
	"encoding/xml"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/wsgiparty/wsgiparty/internal/wire"
)

// link returns a URL that the guest may link to, with an origin: that of its own invite, or the site's.
func (p *part) link(text, origin string) (string, error) {
	text, err := p.linkable(text)
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(text, "/") {
		text = origin + text
	}
	return text, nil
}

// checkLinkset makes the answers link context objects (RFC 9264, section 4.2), with origins where links have none.
func checkLinkset(p *part, origin string) error {
	for i, answer := range p.answers {
		if object, ok := answer.(map[string]any); ok && len(object) == 1 && object["linkset"] != nil {
			p.answers[i] = object["linkset"]
		}
	}
	return p.each(func(element any) (any, error) {
		object, ok := element.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("the answer has %s, but a linkset has objects, as in {\"anchor\": \"/api\", \"service-desc\": [{\"href\": \"/openapi.json\"}]}", kindOf(element))
		}
		return object, checkContext(object, origin)
	})
}

func checkContext(object map[string]any, origin string) (err error) {
	for relation, value := range object {
		if relation == "anchor" {
			if object[relation], err = withOrigin("anchor", value, origin); err != nil {
				return err
			}
			continue
		}
		targets, ok := value.([]any)
		if !ok {
			return fmt.Errorf("the relation %.100q is %s: write a list of objects with href", relation, kindOf(value))
		}
		for _, target := range targets {
			object, ok := target.(map[string]any)
			if !ok {
				return fmt.Errorf("the relation %.100q has %s: write objects with href", relation, kindOf(target))
			}
			if object["href"], err = withOrigin("href", object["href"], origin); err != nil {
				return err
			}
		}
	}
	return nil
}

// withOrigin returns a link with an origin, if it has none. One that is a program is an error.
func withOrigin(member string, value any, origin string) (string, error) {
	text, ok := value.(string)
	if !ok {
		return "", fmt.Errorf("the member %s is %s: write a URL", member, kindOf(value))
	}
	parsed, err := url.Parse(text)
	if err != nil || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }) {
		return "", fmt.Errorf("the member %s is %.100q, which is not a URL", member, text)
	}
	switch {
	case slices.Contains([]string{"javascript", "data", "vbscript"}, parsed.Scheme):
		return "", fmt.Errorf("the member %s is %.100q, which is not a link", member, text)
	case strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "//"):
		return origin + text, nil
	}
	return text, nil
}

func writeLinkset(f *frame) ([]byte, error) {
	contexts := []any{}
	for _, p := range f.parts {
		contexts = append(contexts, p.answers...)
	}
	return wire.Encode(map[string]any{"linkset": contexts})
}

// maxSitemaps is how many a sitemap index may have.
const maxSitemaps = 50_000

// checkSitemaps makes the answers URLs.
func checkSitemaps(p *part, origin string) error {
	return p.each(func(element any) (any, error) {
		text, ok := element.(string)
		if !ok {
			return nil, fmt.Errorf("the answer has %s in place of a sitemap's URL", kindOf(element))
		}
		return p.link(text, origin)
	})
}

func writeSitemapIndex(f *frame) ([]byte, error) {
	var b strings.Builder
	b.WriteString(xml.Header + `<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">` + "\n")
	for _, p := range f.parts {
		for _, link := range p.answers {
			b.WriteString("<sitemap><loc>" + escapeXML(link.(string)) + "</loc></sitemap>\n")
		}
	}
	b.WriteString("</sitemapindex>\n")
	return []byte(b.String()), nil
}

func escapeXML(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder does not fail
	return b.String()
}

// attributeName matches those of OPML, and namespaces that are not declared are none.
var attributeName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,63}$`)

// checkOutlines makes the answers OPML outlines.
func checkOutlines(p *part, origin string) error {
	return p.each(func(element any) (any, error) { return p.outline(element, origin) })
}

// outline returns an outline with its links checked, of a feed if it is a URL.
func (p *part) outline(value any, origin string) (map[string]any, error) {
	if feed, ok := value.(string); ok {
		value = map[string]any{"type": "rss", "text": p.guest, "xmlUrl": feed}
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the answer has %s in place of an outline: write an object with text, or the URL of a feed", kindOf(value))
	}
	if _, ok := object["text"].(string); !ok {
		return nil, fmt.Errorf("an outline has no text: write a string")
	}
	for name, member := range object {
		if name == "outline" {
			list, ok := member.([]any)
			if !ok {
				return nil, fmt.Errorf("the member outline is %s: write a list of outlines", kindOf(member))
			}
			for i := range list {
				below, err := p.outline(list[i], origin)
				if err != nil {
					return nil, err
				}
				list[i] = below
			}
			continue
		}
		text, ok := member.(string)
		if !ok {
			return nil, fmt.Errorf("the member %.100q is %s: write a string, since the members of an outline become attributes", name, kindOf(member))
		}
		lower := strings.ToLower(name) // as some programs read them
		if !attributeName.MatchString(name) || strings.HasPrefix(lower, "xml") && lower != "xmlurl" {
			return nil, fmt.Errorf("the member %.100q cannot be an attribute, as the members of an outline become: leave it out", name)
		}
		if lower == "xmlurl" || lower == "htmlurl" || lower == "url" {
			link, err := p.link(text, origin)
			if err != nil {
				return nil, err
			}
			object[name] = link
		}
	}
	return object, nil
}

func writeOPML(f *frame) ([]byte, error) {
	var b strings.Builder
	b.WriteString(xml.Header + "<opml version=\"2.0\">\n<head><title>" + escapeXML(f.party) + "</title></head>\n<body>\n")
	for _, p := range f.parts {
		for _, outline := range p.answers {
			writeOutline(&b, outline.(map[string]any))
		}
	}
	b.WriteString("</body>\n</opml>\n")
	return []byte(b.String()), nil
}

func writeOutline(b *strings.Builder, outline map[string]any) {
	b.WriteString(`<outline text="` + escapeXML(outline["text"].(string)) + `"`)
	for _, name := range slices.Sorted(maps.Keys(outline)) {
		if text, ok := outline[name].(string); ok && name != "text" {
			b.WriteString(" " + name + `="` + escapeXML(text) + `"`)
		}
	}
	below, _ := outline["outline"].([]any)
	if len(below) == 0 {
		b.WriteString("/>\n")
		return
	}
	b.WriteString(">\n")
	for _, outline := range below {
		writeOutline(b, outline.(map[string]any))
	}
	b.WriteString("</outline>\n")
}
