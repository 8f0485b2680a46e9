// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package python

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/measure"
)

// underFlaskRun serves the shop.
func (g *guest) underFlaskRun() *guest {
	g.t.Helper()
	_, port, err := net.SplitHostPort(g.address)
	if err != nil {
		g.t.Fatal(err)
	}
	g.start(g.key, debianPython, "flask_shop.py", port)
	return g
}

// TestFlaskApplicationsAreGuestsOfOneParty has one under gunicorn with three processes, and
// one by `flask run`. Each knows nothing but its key.
func TestFlaskApplicationsAreGuestsOfOneParty(t *testing.T) {
	f := newFrameworks(t)
	blog, shop := newGuest(t, "blog", "").underGunicornOf("flask_blog:app"), newGuest(t, "shop", "").underFlaskRun()
	f.load(nil, blog, shop)

	t.Run("pages", func(t *testing.T) {
		f.is(map[string]string{
			"/blog/":                      `{"blueprint":"/shop/admin/ann","item":"/shop/items/7","own":"/blog/posts/a%20b-%C3%BC","static":"/blog/static/x.css"}`,
			"/blog/posts/a%20b":           `"a b"`,
			"/blog/template":              `/shop/items/7#%22`,
			"/blog/stream":                `["/shop/items/1"]`,
			"/blog/options":               `["/shop/items/1#a%20b","ORIGIN/shop/items/1","ORIGIN/shop/items/1","ORIGIN/blog/posts/x","/shop/files/css/a%20b.css","/shop/files/css/b","/shop/items/1"]`,
			"/blog/links/50":              `[50,"/shop/items/49"]`,
			"/shop/items/7":               `[7,"/shop/items/7","/blog/posts/x","#"]`,
			"/shop/files/css/a%20b.css":   `"css/a b.css"`,
			"/shop/files/css%2Fa%20b.css": `"css/a b.css"`,
			"/shop/admin/ann":             `"ann"`,
			"/blog/nobody/shop:nobody":    `"Could not build url for endpoint 'shop:nobody'"`,
			"/blog/nobody/nobody:x":       `"Could not build url for endpoint 'nobody:x'"`,
			"/blog/nobody/post":           `"Could not build url for endpoint 'post'"`,
			"/blog/nobody/shop:index":     `"Could not build url for endpoint 'shop:index'"`,
		})
	})

	t.Run("services", func(t *testing.T) {
		f.is(map[string]string{
			"/blog/ask/name":      `["shop"]`,
			"/blog/ask/nothing":   `[]`,
			"/blog/first/name":    `"shop"`,
			"/blog/first/nothing": `"high and dry"`,
		})
		for service, want := range map[string]string{
			"name": `["blog","shop"]`, "decline": `[]`, "where": `[["/blog/posts/7","/shop/items/7",["shop"]]]`,
		} {
			if got := f.asked("", service, 7); sorted(t, got) != sorted(t, want) {
				t.Errorf("%s: %s, want %s", service, got, want)
			}
		}
		if got := f.asked("", "fail", nil); !strings.Contains(got, "see its log") || strings.Contains(got, "on purpose") {
			t.Error(got)
		}
		eventually(t, "the request of an ask is torn down, and what failed is logged", func() bool {
			return blog.asked("name") > 0 && blog.timesSaid("RuntimeError: on purpose") == 1
		})
	})

	t.Run("every worker does", func(t *testing.T) {
		pids := make(map[string]bool)
		eventually(t, "three workers answer", func() bool {
			_, _, pid := f.do("GET", "/blog/pid", nil)
			pids[pid] = true
			_, _, page := f.do("GET", "/blog/", nil)
			if !strings.Contains(page, "/shop/items/7") {
				t.Fatal(page)
			}
			return len(pids) == 3
		})
	})

	t.Run("what is told", func(t *testing.T) {
		for _, said := range []string{
			"INFO:wsgi_party:flask_shop tells the party of pages: 4, and services: 1 (name)",
			"flask_shop leaves out ",
			"index as / (Caddy is told /page/<int:page>, and one name has one template: give this route an endpoint of its own)",
			"a b (a name has 1 to 64 of", "</script> (its variable 'year' is filled up with zeros)",
		} {
			if shop.timesSaid(said) != 1 {
				t.Errorf("not said once: %s", said)
			}
		}
		if shop.timesSaid(shop.key)+blog.timesSaid(blog.key) > 0 {
			t.Error("a key is logged")
		}
		operator, _ := wsgiparty.Lookup(f.party)
		for _, c := range []struct {
			name   string
			values map[string]any
			want   string
		}{
			{"post", map[string]any{"slug": "a/b"}, "/blog/posts/a%2Fb"}, {"blog:file", map[string]any{"path": "a/b c"}, "/blog/files/a/b%20c"},
			{"admin.user", map[string]any{"name": "x"}, "/shop/admin/x"}, {"shop:index", map[string]any{"page": 2}, "/shop/page/2"},
		} {
			if got, err := wsgiparty.URLFor(t.Context(), operator, c.name, c.values); err != nil || got != c.want {
				t.Errorf("%s: %q %v, want %q", c.name, got, err, c.want)
			}
		}
	})

	t.Run("what is not Caddy's is Flask's", func(t *testing.T) {
		for _, path := range []string{"/__invite__/", "/__invite__/partyline/name"} {
			request, err := http.NewRequest("POST", "http://"+shop.address+path, strings.NewReader("null"))
			if err != nil {
				t.Fatal(err)
			}
			if path == "/__invite__/" {
				request.Method = "GET"
			}
			request.Header.Set("Accept", "application/vnd.wsgi-party+json")
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != http.StatusNotFound {
				t.Errorf("%s: %d", path, response.StatusCode)
			}
		}
	})
}

// TestAFlaskPageWithFiftyLinks takes at most three times as long, where the links lead to another application, as
// where they lead to its own pages. Links to it have the host of its invite.
func TestAFlaskPageWithFiftyLinks(t *testing.T) {
	f := newFrameworks(t)
	blog, shop := newGuest(t, "blog", "").underGunicornOf("flask_blog:app", "--workers", "1", "--threads", "40"), newGuest(t, "shop", "").underFlaskRun()
	f.load([]*guest{blog}, shop)
	f.is(map[string]string{"/shop/items/7": `[7,"/shop/items/7","ORIGIN/blog/posts/x","#"]`, "/blog/template": "/shop/items/7#%22"})
	took := func(page string) func() time.Duration {
		return func() time.Duration {
			begin := time.Now()
			for range 20 {
				if status, _, got := f.do("GET", page, nil); status != http.StatusOK || !strings.HasPrefix(got, "[50,") {
					t.Fatal(status, got)
				}
			}
			return time.Since(begin)
		}
	}
	own, others := took("/blog/own/50"), took("/blog/links/50")
	own()
	others() // the first time with a request for each link
	operator, _ := wsgiparty.Lookup(f.party)
	asked := f.linksAsked
	before := asked()
	others()
	if n := asked() - before; n != 0 {
		t.Errorf("20 pages of known links asked %d times", n)
	}
	another := operator.Partyline().Operator("another")
	another.Join()
	others()
	if n := asked() - before; n != 50 {
		t.Errorf("after somebody has joined, 20 pages asked %d times, and not once for each link of one", n)
	}
	another.Leave()
	others()
	measure.TakesAtMost(t, 1.5, own, others)
}

// TestAProcessThatServesNothingKeepsLinks makes one link all the time, without any request that would tell it of the line.
func TestAProcessThatServesNothingKeepsLinks(t *testing.T) {
	f := newFrameworks(t)
	shop, mails := newGuest(t, "shop", "").underFlaskRun(), newGuest(t, "blog", "").underGunicornOf("flask_blog:app", "--workers", "1")
	f.load(nil, shop, mails)
	asked := f.linksAsked
	before := asked()
	script := exec.CommandContext(t.Context(), debianPython, "-c", `
import time
from wsgi_party._guest import Guest
from wsgi_party._services import Services
from wsgi_party._settings import Settings
guest = Guest(Settings.read(), lambda pages: None, Services())
for _ in range(5):
    print({guest.url("shop:item", {"id": n % 7}) for n in range(7000)} == {f"/shop/items/{n}" for n in range(7)})
    time.sleep(0.6)
`)
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	script.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH="+here, "WSGI_PARTY_KEY="+mails.key, "WSGI_PARTY_URL=http://"+f.ask+"/")
	output, err := script.CombinedOutput()
	if n := asked() - before; err != nil || string(output) != strings.Repeat("True\n", 5) || n != 7 {
		t.Errorf("%d asks for 35,000 links, 7 of which differ: %v\n%s", n, err, output)
	}
}

// linksAsked returns how many links were asked for.
func (f *frameworks) linksAsked() uint64 {
	operator, _ := wsgiparty.Lookup(f.party)
	asks, _ := operator.Partyline().Counts()
	for _, ask := range asks {
		if ask.Service == "url" {
			return ask.Asks
		}
	}
	return 0
}
