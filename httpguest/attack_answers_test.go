// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

func TestRedirectsAreNotFollowed(t *testing.T) {
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	trap := partytest.NewApplication(t, "", partytest.JSON(`"caught"`))
	target := trap.URL + "/x"
	redirect := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", target)
		if strings.HasPrefix(r.URL.Path, "/local") || r.Header.Get("Accept") == partytest.ManifestType {
			w.Header().Set("Location", "/trap/x")
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusTemporaryRedirect)
		_, _ = io.WriteString(w, `"redirected"`)
	}
	a := partytest.NewApplication(t, "", redirect)
	c.Site("wsgi_party " + party + " {\ninvite /a/__invite__/ /b/__invite__/\n" +
		partytest.Mounted("a", "service far /far\nservice near /local\nservice get /far{?x}", a) + partytest.Mounted("b", "", a) +
		"handle_path /trap/* {\nreverse_proxy " + trap.Address() + "\n}\n}")
	for _, service := range []string{"far", "near", "get"} {
		if err := c.Failure(party, service, map[string]any{}); err != nil && !strings.Contains(err.Error(), "307") {
			t.Errorf("%s: error %v", service, err)
		}
	}
	partytest.Eventually(t, "the manifest's redirect is reported", func() bool {
		for _, e := range partytest.LogEntries(t, "invite not answered") {
			if e["party"] == party && e["guest"] == "b" && strings.Contains(fmt.Sprint(e["hint"]), "not followed") {
				return true
			}
		}
		for _, e := range partytest.LogEntries(t, "invite failed") {
			if e["party"] == party && e["guest"] == "b" && strings.Contains(fmt.Sprint(e["hint"]), "not followed") {
				return true
			}
		}
		return false
	})
	for _, r := range trap.Requests() {
		t.Errorf("%s %s was followed", r.Method, r.RequestURI)
	}
}

// endless writes until it cannot, and notes how much that was.
func endless(written *atomic.Int64, first string, chunk string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Header.Get("Accept") == partytest.ManifestType {
			w.Header().Set("Content-Type", partytest.ManifestType)
		}
		_, err := io.WriteString(w, first)
		for err == nil && r.Context().Err() == nil {
			var n int
			n, err = io.WriteString(w, chunk)
			written.Add(int64(n))
		}
	}
}

func TestAnswersAndManifestsOverTheLimitFail(t *testing.T) {
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	var answered, manifests atomic.Int64
	quoted := func(n int) string { return `"` + strings.Repeat("x", n-2) + `"` }
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	a := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/endless":
			endless(&answered, `"`, strings.Repeat("x", 4096))(w, r)
		case "/limit":
			partytest.JSON(quoted(4096))(w, r)
		case "/over":
			partytest.JSON(quoted(4097))(w, r)
		case "/cut": // valid JSON, as far as it goes
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, "12")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/short":
			w.Header().Set("Content-Length", "5")
			partytest.JSON("12")(w, r)
		case "/deepest":
			partytest.JSON(nested(64))(w, r)
		case "/deep":
			partytest.JSON(nested(65))(w, r)
		case "/escaped":
			partytest.JSON(`["\"[[[[\\", {"`+strings.Repeat("[", 100)+`\\\"": []}]`)(w, r)
		case "/two":
			partytest.JSON("1 2")(w, r)
		}
	})
	m := partytest.NewApplication(t, "", endless(&manifests, `{"services": {"x": {"answer": "`, strings.Repeat("x", 4096)))
	var site strings.Builder
	site.WriteString("wsgi_party " + party + " {\ninvite /a/__invite__/ /endless/__invite__/\ninvite_timeout 5s\n" + partytest.Mounted("endless", "", m))
	options := "max_answer 4096B\ntimeout 30s\n"
	for _, service := range []string{"endless", "limit", "over", "cut", "short", "deepest", "deep", "escaped", "two"} {
		options += "service " + service + " /" + service + "\n"
	}
	site.WriteString(partytest.Mounted("a", options, a))
	for guest, text := range map[string]string{
		"large": `{"services": {"x": {"answer": ` + quoted(64<<10) + `}}}`,
		"deep":  `{"services": {"x": {"answer": ` + nested(65) + `}}}`,
		"bomb":  nested(200_000),
	} {
		fmt.Fprintf(&site, "invite /%s/__invite__/\n%s", guest, partytest.Mounted(guest, "", partytest.NewApplication(t, text, nil)))
	}
	site.WriteString("}")
	c.Site(site.String())
	for service, want := range map[string]bool{
		"endless": false, "limit": true, "over": false, "cut": false, "short": false, "deepest": true, "deep": false, "escaped": true, "two": false,
	} {
		answers, err := operatorOf(c, party).AskAround(context.Background(), service, nil)
		got := err == nil && len(answers) == 1
		check.ErrorIf(t, got != want || strings.Contains(fmt.Sprint(err), "it took longer"), "%s: answers %.50s, error %v", service, answers, err)
	}
	for _, guest := range []string{"large", "deep", "bomb", "endless"} {
		partytest.Eventually(t, guest+"'s manifest is refused", func() bool {
			for _, e := range partytest.LogEntries(t, "invite failed") {
				if e["party"] == party && e["guest"] == guest {
					return true
				}
			}
			return false
		})
	}
	_, ok := operatorOf(c, party).Partyline().Services()["x"]
	check.ErrorIf(t, ok, "a manifest over the limit was taken")
	// What is beyond the limit is in the buffers of sockets and proxies at most.
	if n := answered.Load(); n > 16<<20 {
		t.Errorf("%d bytes of an endless answer were read", n)
	}
	if n := manifests.Load(); n > 64<<20 {
		t.Errorf("%d bytes of endless manifests were read", n)
	}
}

func TestABadPayloadDoesNotMuteAGuest(t *testing.T) {
	c := partytest.NewCaddy(t)
	party := partytest.FreshParty()
	a := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch string(body) {
		case `"400"`:
			w.WriteHeader(400)
		case `"500"`:
			w.WriteHeader(500)
		case `"nojson"`:
			partytest.JSON("{")(w, r)
		case `"long"`:
			partytest.JSON(`"`+strings.Repeat("x", 5000)+`"`)(w, r)
		case `"404"`:
			w.WriteHeader(404)
		case `"429"`:
			w.WriteHeader(429)
		case `"503"`:
			w.WriteHeader(503)
		case `"slow"`:
			select {
			case <-r.Context().Done():
			case <-time.After(time.Second):
			}
		default:
			partytest.JSON("1")(w, r)
		}
	})
	c.Site("wsgi_party " + party + " {\ninvite /a/__invite__/\n" + partytest.Mounted("a", "service try /try\nservice muted /muted\nmax_answer 4096B\ntimeout 5s", a) + "}")
	for _, payload := range []string{"400", "500", "nojson", "long", "404", "429"} {
		for range 2 * httpguest.BreakerFailures {
			_ = c.Failure(party, "try", payload)
		}
		if answers, err := operatorOf(c, party).AskAround(context.Background(), "try", "good"); err != nil || len(answers) != 1 {
			t.Errorf("after %s: answers %s, error %v", payload, answers, err)
		}
	}
	// An asker that waits for no answer says nothing of the guest.
	for range 2 * httpguest.BreakerFailures {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		_, _ = operatorOf(c, party).AskAround(ctx, "try", "slow")
		cancel()
	}
	if answers, err := operatorOf(c, party).AskAround(context.Background(), "try", "good"); err != nil || len(answers) != 1 {
		t.Errorf("after askers in a hurry: answers %s, error %v", answers, err)
	}
	// What does mute it mutes one service only.
	for range httpguest.BreakerFailures {
		_ = c.Failure(party, "muted", "503")
	}
	before := len(a.Requests())
	_ = c.Failure(party, "muted", "good")
	check.Equal(t, len(a.Requests()), before, "the muted service was asked")
	if answers, err := operatorOf(c, party).AskAround(context.Background(), "try", "good"); err != nil || len(answers) != 1 {
		t.Errorf("another service: answers %s, error %v", answers, err)
	}
}
