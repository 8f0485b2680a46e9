// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

const (
	testKey   = "0123456789abcdef0123456789abcdef"
	secondKey = "fedcba9876543210fedcba9876543210"
)

// application is a good guest that does what docs/guests.md says, but for what is broken.
type application struct {
	keys     []string // none: it verifies no token
	manifest string
	etag     string
	without  map[string]bool // what it does not verify
	most     int64           // bytes of a body
	leeway   int64           // seconds that clocks may be apart
	seen     map[string]bool // signatures that were right, to those who do not verify claims

	// broken answers in the place of what is good, if it is not nil and does not pass.
	broken func(w http.ResponseWriter, r *http.Request, body []byte, good http.Handler)
}

const goodManifest = `{
	"urls": {"home": "/", "about": "/about", "post": "/posts/{slug}", "search": "/search{?q}"},
	"services": {
		"ping": {"answer": "pong"},
		"count": {"href": "/__invite__/party/count"},
		"stock": {"href": "/__invite__/party/stock", "batch": true},
		"user": [{"href": "/__invite__/party/user{?id}"}, {"href": "/users/{id}"}],
		"url": {"href": "/__invite__/party/url"},
		"claims": {"href": "/__invite__/party/claims{?method,host,path}"}
	},
	"claims": ["urls", "GET /users/{id}"],
	"hosts": ["shop.example.com"],
	"later": {"members": "are ignored"}
}`

func newApplication() *application {
	return &application{keys: []string{testKey, secondKey}, manifest: goodManifest, etag: `"1"`, most: testBody + 8<<10, leeway: 30, without: make(map[string]bool), seen: make(map[string]bool)}
}

// start starts it and returns the options to check it.
func (a *application) start(t testing.TB) Options {
	t.Helper()
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	return Options{URL: server.URL, Mount: "/blog", Keys: a.keys, Payloads: map[string]string{"url": `{"name": "old-about", "values": {}}`, "user": `{"id": 7}`, "stock": `{"id": 7}`}, limits: unhurried}
}

func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, a.most+1))
	if int64(len(body)) > a.most {
		_, _ = io.Copy(io.Discard, r.Body) // else the server would wait before it ends
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	good := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.serve(w, r, body) })
	if a.broken != nil {
		a.broken(w, r, body, good)
		return
	}
	good(w, r)
}

func (a *application) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	w.Header().Set("Keep-Alive", "timeout=150")
	mount := r.Header.Get("X-Forwarded-Prefix")
	switch path := r.URL.Path; {
	case strings.HasPrefix(path, "/__invite__/"):
		if err := a.verify(r, body); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		a.serveParty(w, r, body, strings.TrimPrefix(path, "/__invite__/"))
	case path == "/", path == "/about":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<a href="%s/about">About</a> <a href='/shop/'>Shop</a>`, mount)
	case strings.HasPrefix(path, "/users/") && r.Method == http.MethodGet:
		answer(w, http.StatusNoContent, nil)
	default:
		http.NotFound(w, r)
	}
}

func (a *application) serveParty(w http.ResponseWriter, r *http.Request, body []byte, below string) {
	switch {
	case below == "" && r.Method == http.MethodGet:
		w.Header().Set("Etag", a.etag)
		w.Header().Set("Cache-Control", "max-age=60")
		if r.Header.Get("If-None-Match") == a.etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Content-Type", "application/vnd.wsgi-party+json")
		_, _ = io.WriteString(w, a.manifest)
	case below == "party/user" && r.Method == http.MethodGet:
		if r.FormValue("id") != "7" {
			answer(w, http.StatusNoContent, nil)
			return
		}
		answer(w, http.StatusOK, map[string]any{"name": "Ann"})
	case below == "party/claims" && r.Method == http.MethodGet:
		answer(w, http.StatusOK, strings.HasPrefix(r.FormValue("path"), "/drafts/"))
	case below == "party/count" && r.Method == http.MethodPost:
		if !json.Valid(body) {
			http.Error(w, "no JSON", http.StatusBadRequest)
			return
		}
		answer(w, http.StatusOK, len(body))
	case below == "party/stock" && r.Method == http.MethodPost:
		a.serveBatch(w, body)
	case below == "party/url" && r.Method == http.MethodPost:
		if name, err := pageIn(body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		} else if strings.TrimPrefix(name, "blog:") != "old-about" {
			answer(w, http.StatusNoContent, nil)
		} else {
			answer(w, http.StatusOK, "/about")
		}
	default:
		http.NotFound(w, r)
	}
}

// serveBatch answers each ask with how long its payload is, and declines null.
func (a *application) serveBatch(w http.ResponseWriter, body []byte) {
	var batch []struct{ Payload json.RawMessage }
	if json.Unmarshal(body, &batch) != nil || len(batch) == 0 || len(batch) > 64 || slices.ContainsFunc(batch, func(e struct{ Payload json.RawMessage }) bool { return e.Payload == nil }) {
		http.Error(w, "no batch", http.StatusBadRequest)
		return
	}
	elements := make([]any, len(batch))
	for i, e := range batch {
		elements[i] = map[string]any{"answer": len(e.Payload)}
		if string(e.Payload) == "null" {
			elements[i] = map[string]any{"declined": true}
		}
	}
	answer(w, http.StatusOK, elements)
}

// pageIn returns the name in a question for a page, in any of its forms.
func pageIn(body []byte) (name string, err error) {
	var list []any
	if json.Unmarshal(body, &list) == nil && len(list) == 2 {
		return fmt.Sprint(list[0]), nil
	}
	var question struct{ Name string }
	err = json.Unmarshal(body, &question)
	return question.Name, err
}

func answer(w http.ResponseWriter, status int, value any) {
	if status == http.StatusOK {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	if status == http.StatusOK {
		_ = json.NewEncoder(w).Encode(value)
	}
}

// verify is written from docs/guests.md, and leaves out what is to be left out.
func (a *application) verify(r *http.Request, body []byte) error {
	if a.keys == nil {
		return nil
	}
	text := r.Header.Get("Party-Token")
	parts := strings.Split(text, ".")
	if text == "" && a.without["missing"] {
		return nil
	}
	if len(parts) != 3 {
		return errors.New("not three parts")
	}
	var header struct {
		Alg  string
		Crit []string
	}
	unreadable := readPart(parts[0], &header)
	if !a.isSigned(parts, header.Alg) {
		return errors.New("not signed")
	}
	if (header.Alg != "HS256" || header.Crit != nil) && !a.without["header"] && !(header.Alg == "none" && a.without["none"]) {
		return errors.New("not HS256")
	}
	var claims struct {
		Aud, Htm, Htu, Bsh, Mnt string
		Iat, Exp                int64
		Path                    [][2]string
	}
	if unreadable = errors.Join(unreadable, readPart(parts[1], &claims)); unreadable != nil {
		return unreadable
	}
	now, hash := time.Now().Unix(), sha256.Sum256(body)
	for what, wrong := range map[string]bool{
		"lifetime": claims.Exp-claims.Iat > 60 || claims.Exp < claims.Iat,
		"expired":  now > claims.Exp+a.leeway,
		"early":    now < claims.Iat-a.leeway,
		"guest":    claims.Aud != "blog",
		"method":   claims.Htm != r.Method,
		"uri":      claims.Htu != r.RequestURI && claims.Htu != claims.Mnt+r.RequestURI,
		"body":     claims.Bsh != base64.RawURLEncoding.EncodeToString(hash[:]),
		"path":     len(claims.Path) > 0 && a.without["any path"],
	} {
		if wrong && !a.without[what] {
			return errors.New("wrong " + what)
		}
	}
	return nil
}

func (a *application) isSigned(parts []string, alg string) bool {
	keys := a.keys
	if a.without["empty-key"] {
		keys = append(keys[:len(keys):len(keys)], "")
	}
	if a.without["keys"] {
		keys = keys[:1]
	}
	for _, key := range keys {
		mac := hmac.New(sha256.New, []byte(key))
		_, _ = io.WriteString(mac, parts[0]+"."+parts[1])
		signature := base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
		if a.without["key"] {
			return true
		}
		if a.without["claim"] && (signature == parts[2] || a.seen[parts[2]]) {
			a.seen[parts[2]] = true
			return true
		}
		if signature == parts[2] || a.without["signature"] && strings.HasPrefix(signature, parts[2]) && parts[2] != "" {
			return true
		}
	}
	return a.without["none"] && alg == "none" && parts[2] == ""
}

func readPart(part string, value any) error {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, value)
}

func checked(t testing.TB, o Options) *Report {
	t.Helper()
	return check.Value(Check(t.Context(), o))(t)
}

func TestAGoodApplicationPasses(t *testing.T) {
	for _, line := range checked(t, newApplication().start(t)).Lines {
		check.ErrorIf(t, line.Result != OK && !strings.HasPrefix(line.ID, "asking."), "%+v", line)
	}
}
