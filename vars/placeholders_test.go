// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package vars_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

func TestAPlaceholderIsAPagesURL(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site(`
		wsgi_party main {
			` + shop + `
			respond /home "{http.wsgi_party.url.shop:home}"
			respond /constant "{http.wsgi_party.url.shop:item?slug=a%26b c+d%25&tag=%40x&tag=y}"
			@old path_regexp old (?s)^/old/(.*)$
			redir @old {http.wsgi_party.url.shop:item?slug=@http.regexp.old.1&page=@http.request.uri.query.page}
			respond /none "<{http.wsgi_party.url.shop:none}{http.wsgi_party.url.about}{http.wsgi_party.url.other:home}>"
			respond /other "<{http.wsgi_party.other}{http.wsgi_party.guest}>"
			header /header X-Home {http.wsgi_party.url.shop:home}
			templates /template
			respond /template "{{placeholder \"http.wsgi_party.url.shop:home\"}}{{placeholder \"http.wsgi_party.url.?\"}}"
			@home vars {http.wsgi_party.url.shop:home} /shop/
			respond @home matched
		}
		respond "behind {http.wsgi_party.url.shop:home}"`)
	c.Expect("/home", 200, "/shop/")
	c.Expect("/constant", 200, "/shop/items/a%26b%20c%2Bd%25?tag=%40x&tag=y")
	for path, want := range map[string]string{
		"/old/a?page=2":                     "/shop/items/a?page=2",
		"/old/a/b%20c":                      "/shop/items/a%2Fb%20c?page=",
		"/old/50%25%2F":                     "/shop/items/50%25%2F?page=",
		"/old/%22%7Benv.HOME%7D?page=%7B":   "/shop/items/%22%7Benv.HOME%7D?page=%7B",
		"/old/a%0aSet-Cookie:x":             "", // guests refuse control characters
		"/old/%00":                          "",
		"/old/x?page=%26admin=1%23":         "/shop/items/x?page=%26admin%3D1%23",
		"/old/" + strings.Repeat("x", 9000): "/shop/items/" + strings.Repeat("x", 9000) + "?page=",
	} {
		response := get(c, path, nil)
		check.Equal(t, response.Header.Get("Location"), want, path)
		check.Equal(t, response.Status, http.StatusFound, path)
	}
	c.Expect("/none", 200, "<>")
	c.Expect("/other", 200, "<{http.wsgi_party.other}{http.wsgi_party.guest}>")
	c.Expect("/template", 200, "/shop/")
	check.Equal(t, get(c, "/header", nil).Header.Get("X-Home"), "/shop/")
	c.Expect("/x", 200, "matched")
	c.Site("wsgi_party main {\n" + shop + "respond /home {http.wsgi_party.url.shop:home}\n}\nrespond \"behind {http.wsgi_party.url.shop:home}\"")
	c.ExpectSoon("/behind", 200, "behind /shop/")
}

func TestAPageIsAskedForOnceARequest(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site(`
		wsgi_party main {
			map {query.x} {y} {
				default "{http.wsgi_party.url.p?v=@http.request.uri.query.x}"
			}
			header X-One "{http.wsgi_party.url.p} {y} {y}"
			header X-Two "{http.wsgi_party.url.p} {http.wsgi_party.url.p?v=@http.request.uri.query.x} {http.wsgi_party.url.p?v=@http.request.uri.query.y}"
			respond "{http.wsgi_party.url.p}"
		}
		log`)
	var asked atomic.Int64
	connectMain(c, "p", "url", func(_ context.Context, payload any) (any, error) {
		request, err := wsgiparty.PayloadAs[wsgiparty.URLRequest](payload)
		return fmt.Sprint("/", asked.Add(1), "/", url.PathEscape(fmt.Sprint(request.Values["v"]))), err
	})
	c.Expect("/?x=a&y=b", 200, "/1/%3Cnil%3E")
	check.Equal(t, asked.Load(), 3, "asks")
	c.Expect("/?x=a&y=a", 200, "/4/%3Cnil%3E")
	check.Equal(t, asked.Load(), 5, "asks")
}

func TestAGuestThatFailsLeavesAPlaceholderEmpty(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\nrespond <{http.wsgi_party.url.p}>\n}")
	var answer any
	connectMain(c, "p", "url", func(context.Context, any) (any, error) {
		if err, ok := answer.(error); ok {
			return nil, err
		}
		return answer, nil
	})
	for _, answer = range []any{errors.New("oh no"), "", "relative", "//evil.example/", "https://evil.example/", "javascript:alert(1)", "/a b", "/a\r\nSet-Cookie: x", "/a\x00", `/\evil.example`, 7, nil, map[string]any{}} {
		partytest.ResetLog()
		c.Expect("/", 200, "<>")
		entries := partytest.LogEntries(t, "guests failed")
		if len(entries) != 1 || entries[0]["level"] != "warn" || entries[0]["party"] != "main" || entries[0]["name"] != "p" {
			t.Errorf("%v: %v", answer, entries)
		}
	}
	answer = wsgiparty.ErrHighAndDry
	partytest.ResetLog()
	c.Expect("/", 200, "<>")
	check.Equal(t, len(partytest.LogEntries(t, "guests failed")), 0)
	answer = "/{env.HOME}/{x"
	c.Expect("/", 200, "</%7Benv.HOME%7D/%7Bx>")
}

func TestThePlaceholdersOfTheInnermostPartyCount(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site(`
		wsgi_party outer {
			header X-Before {http.wsgi_party.url.p}
			header >X-After {http.wsgi_party.url.p}
			wsgi_party main {
				header X-In {http.wsgi_party.url.p}
			}
			respond {http.wsgi_party.url.p}
		}`)
	connectMain(c, "p", "url", partytest.Answers("/main"))
	outer, _ := wsgiparty.Lookup("outer")
	partytest.Connect(t, outer.Partyline().Operator("p"), "url", wsgiparty.Handler(partytest.Answers("/outer")))
	response := get(c, "/", nil)
	check.Equal(t, fmt.Sprint(response.Header["X-Before"], response.Header["X-After"], response.Header["X-In"]), "[/outer] [/outer] [/main]")
}

// TestPlaceholdersInWhatAnAskLeadsTo has a guest's own routes need the URL of a page, which leads to it again.
func TestPlaceholdersInWhatAnAskLeadsTo(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site(`
		wsgi_party main {
			` + shop + `
			invite /a/__invite__/
			handle_path /a/* {
				wsgi_party_guest {
					service s GET /s
					service url GET /u
				}
				header Content-Type application/json
				respond /s ` + "`\"{http.wsgi_party.url.shop:home}\"`" + `
				respond /u ` + "`\"/u{http.wsgi_party.url.loop}\"`" + `
			}
			respond /loop {http.wsgi_party.url.loop}
		}`)
	c.ExpectJSONAnswers("main", "s", `"/shop/"`)
	status, body := c.Get("/loop")
	check.ErrorIf(t, status != 200 || !strings.HasPrefix(body, "/a/u") || len(body) > 4*partytest.MaxDepth, status, len(body), body)
}

// TestAGuestInCaddyMayNeedThePlaceholderThatLedToIt has it ask for what it is asked for.
func TestAGuestInCaddyMayNeedThePlaceholderThatLedToIt(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\nrespond {http.wsgi_party.url.p}\n}")
	var asked atomic.Int64
	connectMain(c, "p", "url", func(ctx context.Context, _ any) (any, error) {
		asked.Add(1)
		placeholders := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		return "/p" + placeholders.ReplaceAll("{http.wsgi_party.url.p}{http.wsgi_party.url.p?x=1}", ""), nil
	})
	status, body := c.Get("/")
	check.ErrorIf(t, status != 200 || !strings.HasPrefix(body, "/p") || asked.Load() > 1000, status, len(body), asked.Load())
}

func TestPlaceholdersMayBeNeededTogether(t *testing.T) {
	partytest.App(t, "together", func(_ http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		placeholders := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() {
				placeholders.ReplaceAll(fmt.Sprintf("{http.wsgi_party.url.shop:home}{http.wsgi_party.url.shop:item?slug=%d}", i), "")
			})
		}
		group.Wait()
		return nil
	})
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\n" + shop + "header X {http.wsgi_party.url.shop:home}\ntest_app together\n}")
	check.Equal(t, get(c, "/", nil).Header.Get("X"), "/shop/")
}

func TestAPlaceholderThatCannotBeMeantFailsTheConfig(t *testing.T) {
	c := partytest.NewCaddy(t)
	for text, want := range map[string]string{
		"": "names no page", "?a=b": "names no page", "p?": `has "" for a value`, "p?a": `has "a" for a value`, "p?a=b&": `has "" for a value`, "p?=b": `has "=b" for a value`,
		"p?a=@": `no name behind the @ of "a"`, "p?a=%zz": `has "a=%zz" for a value`, "p?%z=1": `has "%z=1" for a value`,
	} {
		err := c.TryLoad("ADDRESS {\nwsgi_party main {\nrespond \"x{http.wsgi_party.url.p}{http.wsgi_party.url." + text + "}\"\n}\n}")
		check.Fails(t, err, `in the routes of party "main"`, "{http.wsgi_party.url."+text+"}", want, "?slug=hello&number=@http.regexp.old.1")
	}
}
