// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/token"
)

// ManifestType is the media type of manifests.
const ManifestType = "application/vnd.wsgi-party+json"

// Key makes a key for the guest, which the config has as {env.GUEST_PARTY_KEY}.
func Key(t testing.TB, guest string) string {
	t.Helper()
	key := guest + strings.Repeat("-Key", 8)
	t.Setenv(guest+"_PARTY_KEY", key)
	return key
}

// Keys are the keys of a guest.
func Keys(t testing.TB, texts ...string) token.Keys {
	t.Helper()
	keys, err := token.NewKeys(texts)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// Asker is a guest of Caddy's that can ask, with the key of that name.
const Asker = "invite /asker/__invite__/\nhandle_path /asker/* {\nwsgi_party_guest {\nkey {env.asker_PARTY_KEY}\nanswer x y\n}\nrespond 404\n}\n"

// Application is a server of the test that a guest handler stands in front of. It
// keeps what it is sent.
type Application struct {
	*httptest.Server
	Name, Key string // of the guest, if NewGuest has made it
	caddy     *Caddy

	mu      sync.Mutex
	invite  http.HandlerFunc // answers invites; nil: as all else
	answer  http.HandlerFunc
	invites int
	seen    []*http.Request
}

// NewApplication starts an application that answers its invite with the manifest, if
// that is not empty, and everything else with the function.
func NewApplication(t testing.TB, manifest string, answer http.HandlerFunc) *Application {
	t.Helper()
	a := &Application{answer: answer}
	if manifest != "" {
		a.invite = Manifest(manifest)
	}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

// NewInvited starts an application that answers its invite like that, and everything
// else with 404.
func NewInvited(t testing.TB, invite http.HandlerFunc) *Application {
	t.Helper()
	a := NewApplication(t, "", http.NotFound)
	a.OnInvite(invite)
	return a
}

// ServeHTTP answers a request.
func (a *Application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	serve := a.invite
	if r.Header.Get("Accept") == ManifestType {
		a.invites++
	} else {
		serve = nil
	}
	a.mu.Unlock()
	if serve == nil {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		seen := r.Clone(context.Background())
		seen.Body = io.NopCloser(bytes.NewReader(body))
		a.mu.Lock()
		a.seen = append(a.seen, seen)
		serve = a.answer
		a.mu.Unlock()
	}
	if serve != nil {
		serve(w, r)
	}
}

// Address is where it listens.
func (a *Application) Address() string { return a.Listener.Addr().String() }

// Requests returns what has come, but for invites that it answers.
func (a *Application) Requests() []*http.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.seen)
}

// Invites returns how many have come.
func (a *Application) Invites() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.invites
}

// OnInvite changes how it answers its invite.
func (a *Application) OnInvite(invite http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.invite = invite
}

// On changes how it answers everything else.
func (a *Application) On(answer http.HandlerFunc) *Application {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = answer
	return a
}

// Mounted is a guest at the path of its name, with options, without its invite.
func Mounted(guest, options string, a *Application) string {
	return fmt.Sprintf("handle_path /%s/* {\nwsgi_party_guest {\n%s\n}\nreverse_proxy %s\n}\n", guest, options, a.Address())
}

// JSON answers everything with that JSON.
func JSON(text string) http.HandlerFunc { return answers("application/json", text) }

// Manifest answers everything with that manifest.
func Manifest(text string) http.HandlerFunc { return answers(ManifestType, text) }

func answers(mediaType, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		_, _ = io.WriteString(w, text)
	}
}

// Status answers everything with that status, and with these names and values as its
// header.
func Status(status int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
	}
}

// Echo answers with the path that the application sees.
func Echo(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RequestURI) }

// NewHeld starts an application that answers what is below /held when it is let, and
// says how many wait for that.
func NewHeld(t testing.TB) (a *Application, waiting *atomic.Int64, let func()) {
	t.Helper()
	waiting = new(atomic.Int64)
	hold := make(chan struct{})
	let = sync.OnceFunc(func() { close(hold) })
	a = NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
		waiting.Add(1)
		defer waiting.Add(-1)
		if strings.HasPrefix(r.URL.Path, "/held") {
			select {
			case <-hold:
			case <-r.Context().Done():
			}
		}
		JSON("1")(w, r)
	})
	t.Cleanup(let)
	return a, waiting, let
}

// Reply is what an application answers: a status and JSON.
type Reply struct {
	Status int
	Body   any
}

// Answer is a reply.
func Answer(status int, body any) Reply { return Reply{status, body} }

// NewGuest starts an application with a key, whose answer to the service in the path is
// what answer returns.
func (c *Caddy) NewGuest(name string, answer func(a *Application, r *http.Request, service string) Reply) *Application {
	c.Helper()
	a := NewApplication(c, "", nil)
	a.Name, a.Key, a.caddy = name, Key(c, name), c
	return a.On(func(w http.ResponseWriter, r *http.Request) {
		reply := answer(a, r, strings.TrimPrefix(r.URL.Path, "/"))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(reply.Status)
		if reply.Status != http.StatusNoContent {
			if err := json.NewEncoder(w).Encode(reply.Body); err != nil {
				c.Error(err)
			}
		}
	})
}

// AskBack asks around with the token it was asked with.
func (a *Application) AskBack(r *http.Request, service string) (Response, error) {
	return a.caddy.TryAsk(r.Context(), Asking{Key: a.Key, Path: "/" + service, Header: http.Header{"Party-Token": r.Header["Party-Token"]}})
}

// Directives are those of its mount, with its invite and these services.
func (a *Application) Directives(services ...string) string {
	options := "key {env." + a.Name + "_PARTY_KEY}\ntimeout 20s\n"
	for _, service := range services {
		options += "service " + service + " /" + service + "\n"
	}
	return "invite /" + a.Name + "/__invite__/\n" + Mounted(a.Name, options, a)
}

// Token returns what the token that a request came with says, if it proves that
// the request is the party's.
func Token(r *http.Request, guest string, keys token.Keys) (token.Token, error) {
	if n := len(r.Header["Party-Token"]); n != 1 {
		return token.Token{}, fmt.Errorf("%d tokens", n)
	}
	got, err := keys.Verify(guest, r.Header.Get("Party-Token"), time.Now())
	if err != nil {
		return got, err
	}
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	if err == nil && !got.IsFor(r.Method, r.RequestURI, body) {
		err = fmt.Errorf("the token is for another request")
	}
	return got, err
}

// TwoGuests loads a and b, each with a key, and wsgi_party_ask at /ask.
func (c *Caddy) TwoGuests(party, optionsA, optionsB string, a, b *Application) {
	c.Helper()
	c.Site("wsgi_party " + party + " {\ninvite /a/__invite__/ /b/__invite__/\n" +
		Mounted("a", "key {env.a_PARTY_KEY}\n"+optionsA, a) + Mounted("b", "key {env.b_PARTY_KEY}\n"+optionsB, b) +
		"}\nhandle_path /ask/* {\nwsgi_party_ask " + party + "\n}")
}

// SiteWithPages loads a party main with an application as guest app, and with Pages.
func (c *Caddy) SiteWithPages(options string, a *Application) {
	c.Helper()
	TemplateApp(c)
	c.Site("wsgi_party main {\ninvite /app/__invite__/\n" + Mounted("app", options, a) + Pages + "}")
}

// Signed is a token that the key signed for that guest.
func Signed(t testing.TB, key, guest string, at time.Time, path ...token.Ask) string {
	t.Helper()
	text, err := Keys(t, key).Sign(token.Token{Guest: guest, Method: "POST", URI: "/x", Path: path}, at)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// ThreeGuests are guests that answer ping. The last one has no key.
const ThreeGuests = `
	invite /one/__invite__/ /two/__invite__/ /keyless/__invite__/
	handle_path /one/* {
		wsgi_party_guest {
			key {env.one_PARTY_KEY}
			answer ping one
		}
		respond "page of one"
	}
	handle_path /two/* {
		wsgi_party_guest {
			key {env.two_PARTY_KEY} {env.next_PARTY_KEY}
			answer ping two
			url home /
		}
		respond "page of two"
	}
	handle_path /keyless/* {
		wsgi_party_guest {
			answer ping keyless
		}
		respond "page of keyless"
	}`

// LoadThreeGuests loads them, and returns the keys of the first two.
func (c *Caddy) LoadThreeGuests() (one, two string) {
	c.Helper()
	one, two = Key(c, "one"), Key(c, "two")
	Key(c, "next")
	c.Around(ThreeGuests)
	return one, two
}
