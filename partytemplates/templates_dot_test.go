// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytemplates_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/partytemplates"
)

func TestFunctionsOfPagesTakeTheDot(t *testing.T) {
	c := partytest.NewCaddy(t)
	a := partytest.NewApplication(t, "", partytest.JSON(`"pong"`))
	c.SiteWithPages("service ping /ping\nurl post /posts/{slug}\nurl index /", a)
	for template, want := range map[string]string{
		`{{askAround . "ping"}} {{askAround $ "ping" 7}}`:                                                "[pong] [pong]",
		`{{askFirst . "ping"}} {{7 | askFirst . "ping"}}`:                                                "pong pong",
		`{{urlFor . "post" "slug" "a"}}{{maybeURL . "post" "slug" "b" | html}}{{maybeURL . "none"}}`:     "/app/posts/a/app/posts/b",
		`{{range list "index" "app:index"}}{{urlFor $ .}}{{with maybeURL $ "index"}}{{.}}{{end}}{{end}}`: "/app//app//app//app/",
	} {
		c.ExpectPage(template, want)
	}
	for template, want := range map[string]string{
		`{{askAround .}}`:                              "a service is missing",
		`{{urlFor .}}`:                                 "a page's name is missing",
		`{{askAround . 7}}`:                            "a service must be a string, but is int",
		`{{askFirst . "ping" 1 2}}`:                    "there are 2 payloads",
		`{{with dict "a" 1}}{{maybeURL . "x"}}{{end}}`: "$ inside range and with",
		`{{range list "x"}}{{urlFor . "y"}}{{end}}`:    "$ inside range and with",
		`{{urlFor . . "index"}}`:                       "a page's name must be a string",
	} {
		expectNoPage(c, template, want)
	}
}

func TestAPagesAskEndsWithItsVisitor(t *testing.T) {
	c := partytest.NewCaddy(t)
	held, waiting, _ := partytest.NewHeld(t)
	c.SiteWithPages("timeout 10m\nservice held /held\nservice url /held", held)
	for _, function := range []string{`{{askAround . "held"}}`, `{{askFirst . "held"}}`, `{{askReplies . "held"}}`, `{{maybeURL . "x"}}`, `{{urlFor . "x"}}`} {
		ctx, leave := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { _, _, _ = c.TryDo(ctx, "GET", partytest.Page(function), "", nil) })
		partytest.Eventually(t, "the application is asked", func() bool { return waiting.Load() == 1 })
		leave()
		group.Wait()
		partytest.Eventually(t, "the application's request has ended", func() bool { return waiting.Load() == 0 })
	}
	var errors []string
	partytest.Eventually(t, "all pages are at their end", func() bool {
		errors = nil
		for line := range strings.Lines(partytest.Logged()) {
			if strings.Contains(line, `"logger":"http.log.error`) {
				errors = append(errors, line)
			}
		}
		return len(errors) == 5
	})
	for _, line := range errors {
		check.ErrorIf(t, !strings.Contains(line, `"level":"debug"`) || !strings.Contains(line, `"status":499`), "that a visitor has gone is an error: %s", line)
	}
}

func TestPagesForwardHeadersAndTheTrace(t *testing.T) {
	c := partytest.NewCaddy(t)
	a := partytest.NewApplication(t, "", partytest.JSON(`"/"`))
	c.SiteWithPages("forward X-Wanted Cookie\nservice url /url\nservice ping /ping", a)
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	header := http.Header{"X-Wanted": {"a"}, "X-Other": {"b"}, "Cookie": {"c=d"}, "Authorization": {"Basic eDp5"}, "Traceparent": {trace}}
	for i, function := range []string{`{{askAround . "ping"}}`, `{{askFirst . "ping"}}`, `{{urlFor . "x"}}`, `{{maybeURL . "x"}}`} {
		if status, body := c.Do("GET", partytest.Page(function), "", header); status != 200 {
			t.Fatalf("%s: %d %s%s", function, status, body, partytest.LastHTTPError(t))
		}
		got := a.Requests()[i].Header
		check.ErrorIf(t, got.Get("X-Wanted") != "a" || got.Get("Cookie") != "c=d" || got.Get("Traceparent") != trace || got.Get("X-Other") != "" || got.Get("Authorization") != "", "%s: %v", function, got)
	}
}

// selfApp makes `test_app self` a page with this template, and counts how often it is
// made.
func selfApp(t *testing.T, template string) *atomic.Int64 {
	t.Helper()
	made := new(atomic.Int64)
	partytest.App(t, "self", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
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
	}{{"", partytemplates.MaxDotless}, {".", 2 * partytest.MaxDepth}} {
		for asks := 1; asks <= 3; asks++ {
			for _, function := range []string{"askAround", "askFirst"} {
				t.Run(fmt.Sprintf("%s%s x%d", function, test.dot, asks), func(t *testing.T) {
					made := selfApp(t, strings.Repeat(`{{`+function+` `+test.dot+` "self"}}`, asks))
					c := partytest.NewCaddy(t)
					c.Site(`
					wsgi_party main {
						invite /self/__invite__/
						handle_path /self/* {
							wsgi_party_guest {
								service self /
							}
							` + partytest.Templates("") + `
							test_app self
						}
					}`)
					c.Get("/self/")
					if most := 1 + int64(asks)*test.perVisit; made.Load() < 2 || made.Load() > most {
						t.Errorf("the page was made %d times, want at most %d", made.Load(), most)
					}
					after := made.Load()
					partytest.Eventually(t, "nothing is under way", func() bool { return partytemplates.NoDotless("main") })
					check.ErrorIf(t, made.Load() != after, "the page was made %d times more when it was there", made.Load()-after)
				})
			}
		}
	}
}

func TestAsksWithoutTheDotAreFewAtATime(t *testing.T) {
	c := partytest.NewCaddy(t)
	held, waiting, let := partytest.NewHeld(t)
	c.SiteWithPages("timeout 10m\nmax_answer 1KiB\nservice held /held\nservice quick /quick\nanswer constant 1\nurl index /", held)
	var group sync.WaitGroup
	for range partytemplates.MaxDotless {
		group.Go(func() {
			if status, body, err := c.TryGet(partytest.Page(`{{askFirst "held"}}`)); err != nil || status != 200 || body != "1" {
				t.Errorf("%d %q %v%s", status, body, err, partytest.LastHTTPError(t))
			}
		})
	}
	partytest.Eventually(t, "all are under way", func() bool { return waiting.Load() == partytemplates.MaxDotless })
	for _, function := range []string{`{{askFirst "quick"}}`, `{{askAround "quick"}}`} {
		expectNoPage(c, function, `16 asks by pages without their dot are already under way: write the dot as the first argument ($ inside range and with), as in {{urlFor . "shop:cart"}}`)
	}
	// Of those that wait for nothing, and those of requests, there may be more.
	c.ExpectPage(`{{askFirst "constant"}}{{urlFor "index"}}{{maybeURL "none"}}`, "1/app/")
	c.ExpectPage(`{{askFirst . "quick"}}{{askAround . "quick"}}`, "1[1]")
	let()
	group.Wait()
	c.ExpectPage(`{{askFirst "quick"}}`, "1")
}

// TestAnAskWithoutTheDotEndsByItself takes those 5 s.
func TestAnAskWithoutTheDotEndsByItself(t *testing.T) {
	c := partytest.NewCaddy(t)
	held, waiting, _ := partytest.NewHeld(t)
	c.SiteWithPages("timeout 10m\nservice held /held", held)
	began := time.Now()
	expectNoPage(c, `{{askFirst "held"}}`, `nobody in party "main" answers service "held"`)
	took := time.Since(began)
	check.ErrorIf(t, took < partytemplates.DotlessTimeout, "it took %v", took)
	partytest.Eventually(t, "the application's request has ended", func() bool { return waiting.Load() == 0 })
}

// TestAPagesAskKnowsWhoAsksAlready has a guest asked by its own page's ask: what led
// there goes with the request, and back with the token.
func TestAPagesAskKnowsWhoAsksAlready(t *testing.T) {
	c := partytest.NewCaddy(t)
	calls := new(atomic.Int64)
	one := c.NewGuest("one", func(a *partytest.Application, r *http.Request, service string) partytest.Reply {
		calls.Add(1)
		response, err := a.AskBack(r, service)
		if err != nil || response.Status != http.StatusOK {
			return partytest.Answer(500, fmt.Sprint(response, err))
		}
		return partytest.Answer(200, json.RawMessage(partytest.CompactJSON(t, response.Body)))
	})
	partytest.TemplateApp(t)
	c.Around(one.Directives("who") + partytest.Pages)
	status, body := c.Get(partytest.Page(`{{(askFirst . "who").answers}}`))
	check.ErrorIf(t, status != 200 || body != "[]" || calls.Load() != 1, "%d %s after %d calls%s", status, body, calls.Load(), partytest.LastHTTPError(t))
}

// TestAPageSeesWhoFailed has a page over two applications, one of them down, one guest
// that declines, one in Go, and one that was not invited.
func TestAPageSeesWhoFailed(t *testing.T) {
	c := partytest.NewCaddy(t)
	key := partytest.Key(t, "asker")
	up, down := partytest.NewApplication(t, "", partytest.JSON(`{"ok": true}`)), partytest.NewApplication(t, "", nil)
	down.Close()
	partytest.TemplateApp(t)
	partytest.Guest(t, "go", "ok", "health")
	c.Around("prefix /apps\n" + partytest.Asker + "invite /up/__invite__/ /down/__invite__/\ninvite /go%20go/__invite__/hello as go-go\ninvite /shy/__invite__/\n" +
		partytest.Mounted("up", "service health GET /healthz", up) + partytest.Mounted("down", "service health GET /healthz", down) + `
		handle_path /go* {
			test_app go
		}
		handle /shy/* {
			wsgi_party_guest {
				service health /{needed}
			}
		}
		` + partytest.Pages)
	connectMain(c, "joined", "health", partytest.Answers(json.RawMessage(`{`)))
	const health = `{{range askReplies . "health"}}{{.guest}} {{.status}} at {{.mount}}{{if .answer}}, {{.answer}}{{end}}{{if .error}}: failed{{end}}; {{end}}`
	c.ExpectPage(health, "up answered at /apps/up, map[ok:true]; down failed at /apps/down: failed; go-go answered at /apps/go%20go, ok; shy declined at /apps; joined failed at : failed; ")
	c.ExpectPage(`{{with index (askReplies . "health") 1}}{{.error}}{{end}}`, fmt.Sprintf(`guest "down" failed to answer "health": status 502: dial tcp %s: connect: connection refused`, down.Address()))
	c.ExpectPage(`{{len (askReplies "health" 7)}}`, "5")
	expectNoPage(c, `{{askReplies . "none"}}`, `nobody on partyline "main" is connected under service "none"`)
	expectNoPage(c, `{{askReplies .}}`, "a service is missing")
	check.Equal(t, len(partytest.LogEntries(t, "guest failed")), 0)

	var asked wire.Asked
	check.Must(t, json.Unmarshal([]byte(c.Ask(partytest.Asking{Key: key, Path: "/health", Body: "{}"}).Body), &asked))
	var got string
	for _, reply := range asked.Replies {
		got += reply.Guest + " " + reply.Mount + ", "
	}
	check.Equal(t, got, "up /apps/up, down /apps/down, go-go /apps/go%20go, shy /apps, joined , ")
}

// TestAnotherRouteGetsNothingThatIsForwarded has a route in front take an ask, whose
// headers are for its guest alone.
func TestAnotherRouteGetsNothingThatIsForwarded(t *testing.T) {
	c := partytest.NewCaddy(t)
	own, other := partytest.NewApplication(t, "", partytest.JSON(`"own"`)), partytest.NewApplication(t, "", partytest.JSON(`"other"`))
	c.Site(`
	wsgi_party main {
		invite /a/__invite__/
		handle /a/taken {
			reverse_proxy ` + other.Address() + `
		}
		` + partytest.Mounted("a", "forward Cookie Authorization\nservice own /own\nservice taken /taken", own) + `
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
	status, body := c.Do("GET", "/page", "", header)
	check.FatalIf(t, status != 200 || body != "[][own]", "%d %q", status, body)
	for what, want := range map[*partytest.Application]http.Header{own: header, other: {}} {
		requests := what.Requests()
		check.FatalIf(t, len(requests) != 1, "%d requests", len(requests))
		for name := range header {
			check.Equal(t, requests[0].Header.Get(name), want.Get(name), name)
		}
	}
}
