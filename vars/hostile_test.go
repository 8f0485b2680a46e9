// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package vars_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// TestAHostileGuestLeavesTheAnswerToTheNext has one behave as badly as it can before another answers.
func TestAHostileGuestLeavesTheAnswerToTheNext(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\nwsgi_party_vars {\nask a s\nask b s\nmissing 503\n}\nrespond \"{http.wsgi_party.a.x} {http.wsgi_party.b.x}\"\n}")
	var does func() (any, error)
	connectMain(t, "hostile", "s", func(context.Context, any) (any, error) { return does() })
	connectMain(t, "good", "s", partytest.Answers(json.RawMessage(`{"x": "good"}`)))
	for name, hostile := range map[string]func() (any, error){
		"no JSON":          func() (any, error) { return json.RawMessage(`{"x": `), nil },
		"two members":      func() (any, error) { return json.RawMessage(`{"x": 1, "x": 2}`), nil },
		"65 levels":        func() (any, error) { return json.RawMessage(strings.Repeat("[", 65) + strings.Repeat("]", 65)), nil },
		"no UTF-8":         func() (any, error) { return json.RawMessage("\"\xff\""), nil },
		"what has no JSON": func() (any, error) { return make(chan int), nil },
		"JSON that panics": func() (any, error) { return partytest.BadJSON(func() ([]byte, error) { panic("oh no") }), nil },
		"an error":         func() (any, error) { return nil, errors.New("{env.HOME}") },
		"a panic":          func() (any, error) { panic("oh no") },
	} {
		does = hostile
		status, body := c.Get("/")
		check.ErrorIf(t, status != 200 || body != "good good", name, status, body)
	}
	does = func() (any, error) { return nil, wsgiparty.ErrHighAndDry }
	c.Expect("/", 200, "good good")
}

// TestALinkStaysWhereItIsPut has a guest's URL end what stands around it: a link of a header, and a string of JSON.
func TestALinkStaysWhereItIsPut(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\nwsgi_party_vars {\nask page url `{\"name\": \"p\"}`\n}\nheader Link `<{http.wsgi_party.url.p}>; rel=edit`\nrespond `{\"resource\": \"{http.wsgi_party.page}\"}`\n}")
	connectMain(t, "p", "url", partytest.Answers("/x>;rel=preload,</y\",\"issuer\":\"`{z}"))
	const put = "/x%3E;rel=preload,%3C/y%22,%22issuer%22:%22%60%7Bz%7D"
	response := get(c, "/", nil)
	check.Equal(t, response.Header.Get("Link"), "<"+put+">; rel=edit")
	check.Equal(t, response.Body, `{"resource": "`+put+`"}`)
}

// TestAPayloadThatIsTooLongIsAskedOfNobody has a visitor send more than a payload may have.
func TestAPayloadThatIsTooLongIsAskedOfNobody(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\nwsgi_party_vars {\nask a s `{\"text\": \"{http.request.body}\"}`\nmissing 413\n}\nrespond {http.wsgi_party.a}\n}")
	connectMain(t, "p", "s", func(_ context.Context, payload any) (any, error) {
		return len(payload.(map[string]any)["text"].(string)), nil
	})
	for length, want := range map[int]int{10: 200, 1 << 20: 200, 1<<20 + 1: 413} {
		r := check.Value(http.NewRequest("POST", "http://"+c.Address+"/", io.LimitReader(zeros{}, int64(length))))(t)
		response := check.Value(partytest.Send(r))(t)
		check.Equal(t, response.Status, want, length)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

// TestARedirectToWhereAPageIsNow is how examples/Caddyfile leads to pages that have moved.
func TestARedirectToWhereAPageIsNow(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\n" + shop + `
		handle_path /legacy/* {
			map {path} {moved_to} {
				/shop.html shop:home
				/gone.html gone:home
				default ""
			}
			@moved not vars {moved_to} ""
			handle @moved {
				wsgi_party_vars {
					ask moved url ` + "`{\"name\": \"{moved_to}\"}`" + `
					missing 503
				}
				redir {http.wsgi_party.moved}
			}
			respond legacy
		}
	}`)
	response := get(c, "/legacy/shop.html", nil)
	check.ErrorIf(t, response.Status != http.StatusFound || response.Header.Get("Location") != "/shop/", response)
	response = get(c, "/legacy/gone.html", nil)
	check.ErrorIf(t, response.Status != http.StatusServiceUnavailable || response.Header.Get("Location") != "", response)
	c.Expect("/legacy/other.html", 200, "legacy")
}
