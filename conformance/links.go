// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"cmp"
	"fmt"
	"html"
	"net/http"
	"regexp"
	"strings"
)

// linked finds links in HTML.
var linked = regexp.MustCompile(`(?i)\s(?:href|action)\s*=\s*(?:"([^"]*)"|'([^']*)')`)

// maxLinks is how many links of a page are looked at.
const maxLinks = 200

// checkLinks looks at the links of pages to other pages of the application.
func (c *checker) checkLinks() {
	if c.manifest == nil {
		return
	}
	mount := cmp.Or(c.mount, "/wsgi-party-check") // a wrong one shows what is there twice, too
	for _, q := range c.pages() {
		page := c.do(q.with("X-Forwarded-Prefix", mount))
		if page.status != http.StatusOK || page.mediaType() != "text/html" {
			continue
		}
		for _, found := range linked.FindAllSubmatch(page.body, maxLinks) {
			link := html.UnescapeString(cmp.Or(string(found[1]), string(found[2])))
			link = strings.TrimPrefix(link, c.client.origin.String())
			below, mounted := strings.CutPrefix(link, mount+"/")
			below = "/" + below
			again, twice := strings.CutPrefix(below, mount+"/")
			switch {
			case mounted && twice && c.isOwn("/"+again):
				c.see("mount.links", Fail, fmt.Sprintf("%s links to %s", q.target, link))
			case mounted && c.isOwn(below):
				c.see("mount.links", OK, fmt.Sprintf("%s links to %s", q.target, link))
			case !mounted && c.mount != "" && c.isOwn(link):
				c.see("mount.links", Warn, fmt.Sprintf("%s links to %s, without %s", q.target, link, mount))
			}
		}
	}
}

// isOwn reports whether a path is that of a page of the manifest. Which page / is nobody
// can tell.
func (c *checker) isOwn(link string) bool {
	path := strings.TrimSuffix(link, "/")
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	for _, template := range c.manifest.URLs {
		start := strings.TrimSuffix(template.Start(), "/")
		if start != "" && (path == start || len(template.Required()) > 0 && strings.HasPrefix(path, start+"/")) {
			return true
		}
	}
	return false
}
