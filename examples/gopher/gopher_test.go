// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package gopher

import (
	"html"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/testsite"
)

var (
	titles = regexp.MustCompile(`<title>(.*)</title>`)
	links  = regexp.MustCompile(`<a href="([^"]*)">([^<]*)</a>`)
)

// TestAllLinksOfTheExampleLead follows the links from the root application's page
// on, each of which must lead to the page it names.
func TestAllLinksOfTheExampleLead(t *testing.T) {
	for name, test := range map[string]struct {
		replace []string
		prefix  string
	}{
		"as it is":                    {nil, ""},
		"with other mounts and pages": {[]string{"/one", "/uno", "/who-is-one", "/quien", "/2026/november", "/a/b/c"}, ""},
		"with an invite that does not end in a slash":        {[]string{"/one/__invite__/", "/one/__invite__"}, ""},
		"with an invite that comes to a guest a second time": {[]string{"/one/__invite__/", "/one/__invite__/ /typo/__invite__/"}, ""},
		"behind a prefix": {[]string{
			"wsgi_party main {", "handle_path /apps/* {\nwsgi_party main {\nprefix /apps",
			"\n\t}\n}\n", "\n\t}\n}\n}\n",
			`<a href="/">`, `<a href="/apps/">`,
		}, "/apps"},
	} {
		t.Run(name, func(t *testing.T) {
			address := testsite.Run(t, "Caddyfile", test.replace...)
			seen := map[string]bool{}
			var follow func(path, want string)
			follow = func(path, want string) {
				if seen[path] {
					return
				}
				seen[path] = true
				status, body := get(t, address+path)
				title := titles.FindStringSubmatch(body)
				if status != 200 || title == nil || want != "" && title[1] != want {
					t.Fatalf("%s is %d %q, want %q", path, status, body, want)
				}
				if strings.HasPrefix(title[1], "root:") && !strings.Contains(body, "Where three:index is, nobody knows.") {
					t.Errorf("%s: %s", path, body)
				}
				if title[1] != "three" && !strings.Contains(body, "Others who answer: 2") {
					t.Errorf("%s: %s", path, body)
				}
				for _, link := range links.FindAllStringSubmatch(body, -1) {
					if name := link[2]; name != "Back" {
						follow(html.UnescapeString(link[1]), name)
					}
				}
			}
			follow(test.prefix+"/", "root:index")
			if len(seen) != 5 {
				t.Errorf("there are links to %v", seen)
			}
			follow(test.prefix+"/three/", "three")
		})
	}
}

// TestTheMapLeadsToThePagesItNames follows the links of the page that a template
// makes.
func TestTheMapLeadsToThePagesItNames(t *testing.T) {
	for name, replace := range map[string][]string{
		"as it is":                    nil,
		"with other mounts and pages": {"/one", "/uno", "/who-is-one", "/quien", "/2026/november", "/a/b/c"},
	} {
		t.Run(name, func(t *testing.T) {
			address := testsite.Run(t, "Caddyfile", replace...)
			status, body := get(t, address+"/map")
			if status != 200 || !strings.Contains(body, "<h1>map</h1>") || !strings.Contains(body, "<p>Who answers: 3</p>") || strings.Contains(body, "three") {
				t.Errorf("%d %s", status, body)
			}
			found := links.FindAllStringSubmatch(body, -1)
			var names []string
			for _, link := range found {
				names = append(names, link[2])
				status, body := get(t, address+html.UnescapeString(link[1]))
				if title := titles.FindStringSubmatch(body); status != 200 || title == nil || title[1] != link[2] {
					t.Errorf("%s is %d %q, want %q", link[1], status, body, link[2])
				}
			}
			if got := strings.Join(names, " "); got != "root:index one:about two:news" {
				t.Errorf("there are links to %s", got)
			}
		})
	}
}

func TestTheMetricsOfTheExample(t *testing.T) {
	address := testsite.Run(t, "Caddyfile")
	get(t, address+"/map")
	status, body := get(t, address+"/metrics")
	if status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	for _, want := range []string{
		`caddy_wsgi_party_guests{party="main"} 3`,
		`caddy_wsgi_party_replies_total{guest="two",outcome="answered",party="main",service="ping"} `,
	} {
		if !strings.Contains(body, "\n"+want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
}

// TestAGopherJoinsByALaterInvite has the first invite refused, and a later one come
// while the gopher serves requests.
func TestAGopherJoinsByALaterInvite(t *testing.T) {
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.WriteFile(closed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	address := testsite.Run(t, "Caddyfile", "gopher one {", `@refused {
		vars_regexp partyline .+
		file {
			root "`+filepath.ToSlash(filepath.Dir(closed))+`"
			try_files closed
		}
	}
	error @refused 503
	gopher one {`)
	const alone, together = "Others who answer: 0", "Others who answer: 2"
	if _, body := get(t, address+"/one/"); !strings.Contains(body, alone) || !strings.Contains(body, "Where root:index is, nobody knows.") {
		t.Errorf("it joined before: %s", body)
	}
	if sent := wsgiparty.SendInvites("main", "one"); len(sent) != 1 || !sent[0].Sent || sent[0].Result != wsgiparty.InviteFailed || sent[0].Status != 503 {
		t.Errorf("%+v", sent)
	}
	if err := os.Remove(closed); err != nil {
		t.Fatal(err)
	}

	joined := make(chan struct{})
	var visitors, arrived sync.WaitGroup
	for range 4 {
		arrived.Add(1)
		visitors.Go(func() {
			for visits := 0; ; visits++ {
				last := false
				select {
				case <-joined:
					last = true
				default:
				}
				status, body, err := tryGet(address + "/one/")
				if visits == 0 {
					arrived.Done()
				}
				// Never with some of the others, or some of the links.
				before := strings.Contains(body, alone) && strings.Contains(body, "Where root:index is, nobody knows.")
				after := strings.Contains(body, together) && !strings.Contains(body, "nobody knows")
				if err != nil || status != 200 || before == after || last && before {
					t.Errorf("%d %s %v", status, body, err)
				}
				if last {
					return
				}
			}
		})
	}
	arrived.Wait()
	sent := wsgiparty.SendInvites("main", "")
	close(joined)
	visitors.Wait()
	if len(sent) != 3 {
		t.Fatalf("%+v", sent)
	}
	for _, i := range sent {
		if i.Result != wsgiparty.InviteJoined || i.Sent != (i.Guest == "one") {
			t.Errorf("%+v", i)
		}
	}
	if _, body := get(t, address+"/two/"); !strings.Contains(body, `<a href="/one/who-is-one">one:about</a>`) {
		t.Error(body)
	}
	if _, body := get(t, address+"/metrics"); !strings.Contains(body, "\n"+`caddy_wsgi_party_guests{party="main"} 3`) {
		t.Error(body)
	}
}

func TestTheInvitePathIsNotFoundAfterwards(t *testing.T) {
	address := testsite.Run(t, "Caddyfile")
	for _, path := range []string{"/__invite__/", "/one/__invite__/", "/two/__invite__/", "/one/nothing"} {
		if status, body := get(t, address+path); status != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	status, body, err := tryGet(url)
	if err != nil {
		t.Fatal(err)
	}
	return status, body
}

func tryGet(url string) (int, string, error) {
	response, err := http.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}
