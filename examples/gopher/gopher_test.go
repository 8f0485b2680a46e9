// Copyright 2026 The wsgi_party Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

package gopher

import (
	"html"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// runExample runs Caddyfile.example, with something replaced in it, and returns
// the address of its site.
func runExample(t *testing.T, replace ...string) string {
	t.Helper()
	address := "http://" + strings.Replace(testport.Address(t), "127.0.0.1", "localhost", 1)
	example, err := os.ReadFile("../../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	config := "{\nadmin off\npersist_config off\nstorage_check off\nstorage_clean_interval off\n}\n" +
		strings.NewReplacer(append(replace, "http://localhost:8080", address)...).Replace(string(example))
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(adapted, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	return address
}

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
			address := runExample(t, test.replace...)
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

func TestTheInvitePathIsNotFoundAfterwards(t *testing.T) {
	address := runExample(t)
	for _, path := range []string{"/__invite__/", "/one/__invite__/", "/two/__invite__/", "/one/nothing"} {
		if status, body := get(t, address+path); status != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}
