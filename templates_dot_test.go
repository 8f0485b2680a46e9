// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/wsgiparty/wsgiparty/internal/wire"
)

// dotSite loads a party with an application as guest `app`, and a page at /page that
// asks it.
func (c *testCaddy) dotSite(options string, a *attackedApp) {
	c.t.Helper()
	templateApp(c.t)
	c.site("wsgi_party main {\ninvite /app/__invite__/\n" + mounted("app", options, a) +
		"handle /page {\ntemplates {\nextensions {\nwsgi_party\n}\n}\ntest_app template\n}\n}")
}

func page(template string) string { return "/page?t=" + url.QueryEscape(template) }

func TestFunctionsOfPagesTakeTheDot(t *testing.T) {
	c := newCaddy(t)
	a := newAttackedApp(t, "", serveJSON(`"pong"`))
	c.dotSite("service ping /ping\nurl post /posts/{slug}\nurl index /", a)
	for template, want := range map[string]string{
		`{{askAround . "ping"}} {{askAround $ "ping" 7}}`:                                                "[pong] [pong]",
		`{{askFirst . "ping"}} {{7 | askFirst . "ping"}}`:                                                "pong pong",
		`{{urlFor . "post" "slug" "a"}}{{maybeURL . "post" "slug" "b" | html}}{{maybeURL . "none"}}`:     "/app/posts/a/app/posts/b",
		`{{range list "index" "app:index"}}{{urlFor $ .}}{{with maybeURL $ "index"}}{{.}}{{end}}{{end}}`: "/app//app//app//app/",
	} {
		c.expectPage(template, want)
	}
	for template, want := range map[string]string{
		`{{askAround .}}`:                              "a service is missing",
		`{{urlFor .}}`:                                 "a page's name is missing",
		`{{askAround . 7}}`:                            "a service is a string, and not a int",
		`{{askFirst . "ping" 1 2}}`:                    "there are 2 payloads",
		`{{with dict "a" 1}}{{maybeURL . "x"}}{{end}}`: "which is $ inside range and with",
		`{{range list "x"}}{{urlFor . "y"}}{{end}}`:    "which is $ inside range and with",
		`{{urlFor . . "index"}}`:                       "a page's name is a string",
	} {
		c.expectNoPage(template, want)
	}
}

func TestAPagesAskEndsWithItsVisitor(t *testing.T) {
	c := newCaddy(t)
	held, waiting, _ := heldApplication(t)
	c.dotSite("timeout 10m\nservice held /held\nservice url /held", held)
	for _, function := range []string{`{{askAround . "held"}}`, `{{askFirst . "held"}}`, `{{askReplies . "held"}}`, `{{maybeURL . "x"}}`, `{{urlFor . "x"}}`} {
		ctx, leave := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { _, _, _ = c.tryDo(ctx, "GET", page(function), "", nil) })
		eventually(t, "the application is asked", func() bool { return waiting.Load() == 1 })
		leave()
		group.Wait()
		eventually(t, "the application's request has ended", func() bool { return waiting.Load() == 0 })
	}
	var errors []string
	eventually(t, "all pages are at their end", func() bool {
		errors = nil
		logged.Lock()
		defer logged.Unlock()
		for line := range strings.Lines(logged.String()) {
			if strings.Contains(line, `"logger":"http.log.error`) {
				errors = append(errors, line)
			}
		}
		return len(errors) == 5
	})
	for _, line := range errors {
		if !strings.Contains(line, `"level":"debug"`) || !strings.Contains(line, `"status":499`) {
			t.Errorf("that a visitor has gone is an error: %s", line)
		}
	}
}

func TestPagesForwardHeadersAndTheTrace(t *testing.T) {
	c := newCaddy(t)
	a := newAttackedApp(t, "", serveJSON(`"/"`))
	c.dotSite("forward X-Wanted Cookie\nservice url /url\nservice ping /ping", a)
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	header := http.Header{"X-Wanted": {"a"}, "X-Other": {"b"}, "Cookie": {"c=d"}, "Authorization": {"Basic eDp5"}, "Traceparent": {trace}}
	for i, function := range []string{`{{askAround . "ping"}}`, `{{askFirst . "ping"}}`, `{{urlFor . "x"}}`, `{{maybeURL . "x"}}`} {
		if status, body := c.do("GET", page(function), "", header); status != 200 {
			t.Fatalf("%s: %d %s%s", function, status, body, lastHTTPError(t))
		}
		got := a.requests()[i].Header
		if got.Get("X-Wanted") != "a" || got.Get("Cookie") != "c=d" || got.Get("Traceparent") != trace || got.Get("X-Other") != "" || got.Get("Authorization") != "" {
			t.Errorf("%s: %v", function, got)
		}
	}
}

// selfApp makes `test_app self` a page with this template, and counts how often it is
// made.
func selfApp(t *testing.T, template string) *atomic.Int64 {
	t.Helper()
	made := new(atomic.Int64)
	app(t, "self", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		made.Add(1)
		w.Header().Set("Content-Type", "text/html")
		_, err := io.WriteString(w, template)
		return err
	})
	return made
}

// TestAPageThatAsksItselfEnds has pages that ask for a service that the page itself
// answers, once and more often.
func TestAPageThatAsksItselfEnds(t *testing.T) {
	for _, test := range []struct {
		dot      string
		perVisit int64 // of the page, by each of its asks
	}{{"", maxDotless}, {".", 2 * maxDepth}} {
		for asks := 1; asks <= 3; asks++ {
			for _, function := range []string{"askAround", "askFirst"} {
				t.Run(fmt.Sprintf("%s%s x%d", function, test.dot, asks), func(t *testing.T) {
					made := selfApp(t, strings.Repeat(`{{`+function+` `+test.dot+` "self"}}`, asks))
					c := newCaddy(t)
					c.site(`
					wsgi_party main {
						invite /self/__invite__/
						handle_path /self/* {
							wsgi_party_guest {
								service self /
							}
							templates {
								extensions {
									wsgi_party
								}
							}
							test_app self
						}
					}`)
					c.get("/self/")
					if most := 1 + int64(asks)*test.perVisit; made.Load() < 2 || made.Load() > most {
						t.Errorf("the page was made %d times, want at most %d", made.Load(), most)
					}
					after := made.Load()
					eventually(t, "nothing is under way", func() bool {
						l := dotlessOf(t, "main")
						l.mu.Lock()
						defer l.mu.Unlock()
						return l.underWay == 0 && !l.refusing
					})
					if made.Load() != after {
						t.Errorf("the page was made %d times more when it was there", made.Load()-after)
					}
				})
			}
		}
	}
}

// dotlessOf returns those of the running config's party.
func dotlessOf(t *testing.T, party string) *dotlessAsks {
	t.Helper()
	a, ok := running()
	if !ok {
		t.Fatal("no config runs")
	}
	return a.Entry(party).value(dotlessKey{}, func() any { return new(dotlessAsks) }).(*dotlessAsks)
}

func TestAsksWithoutTheDotAreFewAtATime(t *testing.T) {
	c := newCaddy(t)
	held, waiting, let := heldApplication(t)
	c.dotSite("timeout 10m\nmax_answer 1KiB\nservice held /held\nservice quick /quick\nanswer constant 1\nurl index /", held)
	var group sync.WaitGroup
	for range maxDotless {
		group.Go(func() {
			if status, body, err := c.tryGet(page(`{{askFirst "held"}}`)); err != nil || status != 200 || body != "1" {
				t.Errorf("%d %q %v%s", status, body, err, lastHTTPError(t))
			}
		})
	}
	eventually(t, "all are under way", func() bool { return waiting.Load() == maxDotless })
	for _, function := range []string{`{{askFirst "quick"}}`, `{{askAround "quick"}}`} {
		c.expectNoPage(function, `16 asks of pages without the page's dot are under way already: write the dot as first argument, as in {{urlFor . "shop:cart"}}`)
	}
	// Of those that wait for nothing, and those of requests, there may be more.
	c.expectPage(`{{askFirst "constant"}}{{urlFor "index"}}{{maybeURL "none"}}`, "1/app/")
	c.expectPage(`{{askFirst . "quick"}}{{askAround . "quick"}}`, "1[1]")
	let()
	group.Wait()
	c.expectPage(`{{askFirst "quick"}}`, "1")
}

// TestAnAskWithoutTheDotEndsByItself takes those 5 s.
func TestAnAskWithoutTheDotEndsByItself(t *testing.T) {
	c := newCaddy(t)
	held, waiting, _ := heldApplication(t)
	c.dotSite("timeout 10m\nservice held /held", held)
	began := time.Now()
	c.expectNoPage(`{{askFirst "held"}}`, `nobody in party "main" answers service "held"`)
	if took := time.Since(began); took < dotlessTimeout {
		t.Errorf("it took %v", took)
	}
	eventually(t, "the application's request has ended", func() bool { return waiting.Load() == 0 })
}

// TestAPagesAskKnowsWhoAsksAlready has a guest asked by its own page's ask: what led
// there goes with the request, and back with the token.
func TestAPagesAskKnowsWhoAsksAlready(t *testing.T) {
	c := newAskTest(t)
	calls := new(atomic.Int64)
	one := newApplication(t, c, "one", func(a *application, r *http.Request, service string) reply {
		calls.Add(1)
		response, err := a.askBack(r, service)
		if err != nil || response.status != http.StatusOK {
			return reply{500, fmt.Sprint(response, err)}
		}
		return reply{200, json.RawMessage(compactJSON(t, response.body))}
	})
	templateApp(t)
	c.around(one.directives("who") + "handle /page {\ntemplates {\nextensions {\nwsgi_party\n}\n}\ntest_app template\n}\n")
	status, body := c.get(page(`{{(askFirst . "who").answers}}`))
	if status != 200 || body != "[]" || calls.Load() != 1 {
		t.Errorf("%d %s after %d calls%s", status, body, calls.Load(), lastHTTPError(t))
	}
}

// TestAPageSeesWhoFailed has a page over two applications, one of them down, one guest
// that declines, one in Go, and one that was not invited.
func TestAPageSeesWhoFailed(t *testing.T) {
	c := newAskTest(t)
	key := keyOf(t, "asker")
	up, down := newAttackedApp(t, "", serveJSON(`{"ok": true}`)), newAttackedApp(t, "", nil)
	down.Close()
	templateApp(t)
	guest(t, "go", "ok", "health")
	c.around("prefix /apps\n" + guestThatAsks + "invite /up/__invite__/ /down/__invite__/ /go%20go/__invite__/hello /shy/__invite__/\n" +
		mounted("up", "service health GET /healthz", up) + mounted("down", "service health GET /healthz", down) + `
		handle_path /go* {
			test_app go
		}
		handle /shy/* {
			wsgi_party_guest {
				service health /{needed}
			}
		}
		handle /page {
			templates {
				extensions {
					wsgi_party
				}
			}
			test_app template
		}`)
	c.joined("joined", "health", answers(json.RawMessage(`{`)))
	const health = `{{range askReplies . "health"}}{{.guest}} {{.status}} at {{.mount}}{{if .answer}}, {{.answer}}{{end}}{{if .error}}: failed{{end}}; {{end}}`
	c.expectPage(health, "up answered at /apps/up, map[ok:true]; down failed at /apps/down: failed; go go answered at /apps/go%20go, ok; shy declined at /apps; joined failed at : failed; ")
	c.expectPage(`{{with index (askReplies . "health") 1}}{{.error}}{{end}}`, fmt.Sprintf(`guest "down" failed to answer "health": status 502: dial tcp %s: connect: connection refused`, down.address()))
	c.expectPage(`{{len (askReplies "health" 7)}}`, "5")
	c.expectNoPage(`{{askReplies . "none"}}`, `nobody on partyline "main" is connected under service "none"`)
	c.expectNoPage(`{{askReplies .}}`, "a service is missing")
	if entries := logEntries(t, "guest failed"); len(entries) != 0 {
		t.Error(entries)
	}

	var asked wire.Asked
	if err := json.Unmarshal([]byte(c.do(asking{key: key, path: "/health", body: "{}"}).body), &asked); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, reply := range asked.Replies {
		got = append(got, reply.Guest+" "+reply.Mount)
	}
	if want := "up /apps/up, down /apps/down, go go /apps/go%20go, shy /apps, joined "; strings.Join(got, ", ") != want {
		t.Errorf("%q, want %q", strings.Join(got, ", "), want)
	}
}

// TestAnotherRouteGetsNothingThatIsForwarded has a route in front take an ask, whose
// headers are for its guest alone.
func TestAnotherRouteGetsNothingThatIsForwarded(t *testing.T) {
	c := newCaddy(t)
	own, other := newAttackedApp(t, "", serveJSON(`"own"`)), newAttackedApp(t, "", serveJSON(`"other"`))
	c.site(`
	wsgi_party main {
		invite /a/__invite__/
		handle /a/taken {
			reverse_proxy ` + other.address() + `
		}
		` + mounted("a", "forward Cookie Authorization\nservice own /own\nservice taken /taken", own) + `
		handle /page {
			templates {
				mime text/plain
				extensions {
					wsgi_party
				}
			}
			header Content-Type text/plain
			respond ` + "`{{askAround . \"taken\"}}{{askAround . \"own\"}}`" + `
		}
	}`)
	header := http.Header{"Cookie": {"c=d"}, "Authorization": {"Basic eDp5"}}
	if status, body := c.do("GET", "/page", "", header); status != 200 || body != "[][own]" {
		t.Fatalf("%d %q", status, body)
	}
	for what, want := range map[*attackedApp]http.Header{own: header, other: {}} {
		requests := what.requests()
		if len(requests) != 1 {
			t.Fatalf("%d requests", len(requests))
		}
		for name := range header {
			if got := requests[0].Header.Get(name); got != want.Get(name) {
				t.Errorf("%s: %q, want %q", name, got, want.Get(name))
			}
		}
	}
}
