// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"slices"
	"strings"
	"testing"
)

func TestWarnings(t *testing.T) {
	for body, want := range map[string]string{
		`{"urls": {"home": "/", "post": "/posts/{slug}"}}`:                                         "",
		`{"urls": {"home": "/", "blog": "/blog/", "x": "/blogs"}}`:                                 "",
		`{"urls": {"home": "/blogs/{blog}"}}`:                                                      "",
		`{"urls": {}, "uri": 1, "title": "Blog"}`:                                                  "",
		`{"urls": {"time": "/at/12:30", "cost": "/$", "all": "/*"}}`:                               "",
		`{"urls": {"post": "/posts/:slug"}}`:                                                       `urls.post is "/posts/:slug", in which :slug is text, not a variable: write {slug}`,
		`{"urls": {"post": "/[lang]/posts", "home": "/"}}`:                                         `in which [lang] is text, not a variable: write {lang}`,
		`{"urls": {"file": "/files/[...path]"}}`:                                                   `[...path] is text, not a variable: write {path}`,
		`{"urls": {"file": "/files/*path"}}`:                                                       `*path is text, not a variable: write {path}`,
		`{"services": {"user": [{"answer": 1}, {"href": "/u/:id"}]}}`:                              `services.user[1] is "/u/:id", in which :id is text, not a variable: write {id}`,
		`{"urls": {"home": "/blog/", "post": "/blog/{slug}", "all": "/blog{?q}", "top": "/blog"}}`: `urls.all is "/blog{?q}", which is "/blog/blog{?q}" to visitors, because everything is relative to the mount, /blog: leave that out, as in "/{?q}"`,
		`{"urls": {"home": "/"}, "services": {"user": {"href": "/blog/user{?id}"}}}`:               `services.user[0] is "/blog/user{?id}"`,
		`{"urls": {"home": "/apps/blog/"}}`:                                                        `urls.home is "/apps/blog/", which is "/apps/blog/apps/blog/" to visitors`,
		`{"url": {"home": "/"}}`:                                                                   `the member "url" is unknown, and is ignored: did you mean urls?`,
		`{"urls": {"home": "/"}, "Service": {}}`:                                                   `the member "Service" is unknown, and is ignored: did you mean services?`,
		`{"claims": "urls"}`:                                                                       "",
		`{"hosts": ["example.com"], "claims": ["GET /blogs/", "/x/{blog}"]}`:                       "",
		`{"claims": ["/x/{$}", "GET example.com/posts/:slug"]}`:                                    `claims[1] is "/posts/:slug", in which :slug is text, not a variable: write {slug}`,
		`{"claims": ["urls", "GET /blog/{id}", "/blog/"]}`:                                         `claims[0] is "/blog/{id}", which is "/blog/blog/{id}" to visitors, because everything is relative to the mount, /blog: leave that out, as in "/{id}"`,
		`{"claim": ["/"]}`:            `the member "claim" is unknown, and is ignored: did you mean claims?`,
		`{"urls": {}, "host": ["a"]}`: `the member "host" is unknown, and is ignored: did you mean hosts?`,
		`{}`:                          `neither urls nor services`,
		`{"title": "Blog"}`:           `neither urls nor services`,
		`{"url": {}, "uris": {}, "urs": {}, "link": {}, "URL": {}, "URLS": {}}`: `"URL" is unknown, and is ignored: did you mean urls?; the member "URLS"`,
	} {
		m, err := Parse([]byte(body))
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		got := strings.Join(m.Warnings("/blog", "/apps/blog", ""), "; ")
		if !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
		if again := m.Warnings("/blog", "/apps/blog", ""); strings.Join(again, "; ") != got || len(again) > 8 {
			t.Errorf("%s: %q, before %s", body, again, got)
		}
	}
	if got := Merge(mustParse(t, `{"url": {}}`), nil, nil).Warnings(); slices.Contains(got, "url") {
		t.Error(got)
	}
}
