// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package examples

import (
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/testsite"
)

// page is what a visit to a URL shows.
type page struct {
	title, body string
	links       map[string]string // text by URL
}

var (
	titles = regexp.MustCompile(`<title>(.*)</title>`)
	links  = regexp.MustCompile(`<a href="([^"]*)">([^<]*)</a>`)
)

// parse returns the page at an address.
func parse(address, body string) (page, error) {
	p := page{body: body, links: make(map[string]string)}
	base, err := url.Parse(address)
	if err != nil {
		return p, err
	}
	title := titles.FindStringSubmatch(body)
	if title == nil {
		return p, fmt.Errorf("%s is not a page: %s", address, body)
	}
	p.title = html.UnescapeString(title[1])
	for _, link := range links.FindAllStringSubmatch(body, -1) {
		target, err := base.Parse(html.UnescapeString(link[1]))
		if err != nil {
			return p, err
		}
		p.links[target.String()] = link[2]
	}
	return p, nil
}

// get visits a URL and follows redirects.
func get(client *http.Client, address string) (page, error) {
	response, err := client.Get(address)
	if err != nil {
		return page{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return page{}, err
	}
	if response.StatusCode != http.StatusOK {
		return page{}, fmt.Errorf("%s is %s %s", address, response.Status, body)
	}
	return parse(response.Request.URL.String(), string(body))
}

// crawl follows all links from the first page on, and returns the pages by URL. Each
// link to an application's page must lead to the one it names.
func crawl(t *testing.T, first string, visit func(string) (page, error)) map[string]page {
	t.Helper()
	pages := map[string]page{}
	var mu sync.Mutex
	for next := []string{first}; len(next) > 0; {
		var visits sync.WaitGroup
		slots := make(chan struct{}, 2)
		for _, address := range next {
			visits.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				p, err := visit(address)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				pages[address] = p
			})
		}
		visits.Wait()
		if t.Failed() {
			t.FailNow()
		}
		next = nil
		for _, address := range slices.Collect(maps.Keys(pages)) {
			for link := range pages[address].links {
				if !strings.HasPrefix(link, first) {
					t.Errorf("%s leads to %s", address, link)
				} else if _, ok := pages[link]; !ok && !slices.Contains(next, link) {
					next = append(next, link)
				}
			}
		}
	}
	for address, p := range pages {
		for link, text := range p.links {
			if strings.Contains(text, ":") && text != pages[link].title {
				t.Errorf("%s has a link %s to %s, which is %s", address, text, link, pages[link].title)
			}
		}
	}
	return pages
}

func TestCaddyfileExampleIsFormatted(t *testing.T) {
	for _, name := range []string{"../Caddyfile.example", "Caddyfile", "gopher/Caddyfile", "graft/Caddyfile", "graft/Caddyfile.after"} {
		config, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if formatted := caddyfile.Format(config); string(formatted) != string(config) {
			t.Errorf("caddy fmt would change %s", name)
		}
	}
}

// TestAllLinksOfCaddyfileExampleLead follows the links from each page on. Of this module
// there is nothing in this program but the package at its root.
func TestAllLinksOfCaddyfileExampleLead(t *testing.T) {
	two := []string{"Brass lamp", "Evening, a magazine", "Four minutes, no phone", "In praise of one small lamp", "Links that follow", "Teapot for two", "Wick & Daughters, a shop"}
	for name, test := range map[string]struct{ pages, replace []string }{
		"as it is":                    {two, nil},
		"with other mounts and pages": {two, []string{"/shop/", "/a/b/", "/magazine/", "/m/", "/products/", "/p/", "/articles/", "/x/y/"}},
		"with a third application":    {slices.Sorted(slices.Values(append([]string{"Reading aloud", "The Night Owl, a café"}, two...))), []string{"# invite", "invite"}},
		"with only one application":   {[]string{"Brass lamp", "Links that follow", "Teapot for two", "Wick & Daughters, a shop"}, []string{"invite /magazine/", "# invite /magazine/"}},
	} {
		t.Run(name, func(t *testing.T) {
			address := testsite.Run(t, "../Caddyfile.example", test.replace...)
			t.Cleanup(http.DefaultClient.CloseIdleConnections)
			visit := func(address string) (page, error) { return get(http.DefaultClient, address) }
			var seen []string
			for address, p := range crawl(t, address+"/", visit) {
				seen = append(seen, p.title)
				check.ErrorIf(t, !strings.Contains(p.body, "Where these links come from") || !strings.Contains(p.body, "everybody: <b>"), "%s does not say where its links come from:\n%s", address, p.body)
			}
			slices.Sort(seen)
			check.ErrorIf(t, !slices.Equal(seen, test.pages), "there are links to %q, want %q", seen, test.pages)
		})
	}
}

func TestCaddyfileExampleHasNoOtherPages(t *testing.T) {
	address := testsite.Run(t, "../Caddyfile.example")
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	for path, want := range map[string]int{
		"/": 200, "/cafe/": 200, "/look.css": 200, "/look.js": 200, "/look.svg": 200,
		"/__invite__/": 404, "/shop/__invite__/": 404, "/shop/nothing": 404, "/nothing": 404, "/look.html": 404,
	} {
		response, err := http.Get(address + path)
		check.Must(t, err)
		response.Body.Close()
		check.ErrorIf(t, response.StatusCode != want, "%s: %s", path, response.Status)
	}
}
