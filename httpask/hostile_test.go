// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpask_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/wire"
)

// TestWhatApplicationsSaySpoilsNoEvent has applications put into their manifests,
// answers and headers what would do harm where events and logs are shown, or where
// placeholders are replaced in them.
func TestWhatApplicationsSaySpoilsNoEvent(t *testing.T) {
	const secret = "the secret of the environment"
	t.Setenv("HOSTILE_SECRET", secret)
	nasty := []string{
		"{env.HOSTILE_SECRET}", "{event.data.error}", "$(touch /tmp/x)`id`;|&", "\x1b[2J\x1b]0;title\x07", "a\r\nb: c", "\u202egnp.exe", "\x00\x01", "\xff\xfe", strings.Repeat("long", 10_000),
	}
	var answers []http.HandlerFunc
	for _, text := range nasty {
		quoted := strings.NewReplacer("\x1b", `\u001b`, "\x07", `\u0007`, "\r", `\r`, "\n", `\n`, "\x00", `\u0000`, "\x01", `\u0001`).Replace(text)
		for _, manifest := range []string{
			`{"services": {"` + quoted + `": {"answer": 1}}}`,
			`{"urls": {"` + quoted + `": "/"}}`,
			`{"urls": {"home": "/` + quoted + `{x"}}`,
			`{"services": {"a": {"href": "` + quoted + `"}}}`,
			`{"services": {"a": {"href": "/", "method": "` + quoted + `"}}}`,
			`{"services": "` + quoted + `"}`,
			`{` + text + `}`,
		} {
			answers = append(answers, partytest.Manifest(manifest))
		}
		answers = append(answers, partytest.Status(302, "Location", "/"+text), func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/"+text)
			_, _ = io.WriteString(w, text)
		}, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			_, _ = io.WriteString(w, text)
		})
	}
	var mu sync.Mutex
	told := make(map[string]string)
	partytest.HandleEvents(t, "hostile", func(ctx context.Context, e caddy.Event) error {
		replacer := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		line := replacer.ReplaceAll("{event.data.party} {event.data.guest} {event.data.services} {event.data.uri} {event.data.status} {event.data.error}", "")
		mu.Lock()
		defer mu.Unlock()
		told[e.Data["guest"].(string)] = line
		return nil
	})
	c := partytest.NewCaddy(t)
	a := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
		var n int
		_, _ = fmt.Sscanf(r.URL.Path, "/bad%d/", &n)
		answers[n](w, r)
	})
	var site strings.Builder
	site.WriteString("wsgi_party main {\n")
	for n := range answers {
		fmt.Fprintf(&site, "invite /bad%d/__invite__/\nhandle /bad%d/* {\nwsgi_party_guest\nreverse_proxy %s\n}\n", n, n, a.Address())
	}
	config := bytes.Replace(c.Adapt("ADDRESS {\n"+site.String()+"}\n}"), []byte(`"apps":{`),
		[]byte(`"apps":{"events":{"subscriptions":[{"handlers":[{"handler":"test_recorder","key":"hostile"}],"events":["guest_joined","invite_refused","invite_failed","invite_not_answered"]}]},`), 1)
	check.Must(t, caddy.Load(config, true))
	partytest.Eventually(t, "all is told", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(told) == len(answers)
	})
	check := func(what, text string) {
		t.Helper()
		switch {
		case strings.Contains(text, secret):
			t.Errorf("%s has a secret: %.300q", what, text)
		case len(text) > 2000:
			t.Errorf("%s has %d bytes: %.300q", what, len(text), text)
		case !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }):
			t.Errorf("%s is not plain: %.300q", what, text)
		}
	}
	for guest, line := range told {
		check("the event of "+guest, line)
	}
	for _, message := range []string{"invite failed", "invite refused", "invite not answered", "guest joined"} {
		for _, e := range partytest.LogEntries(t, message) {
			for _, field := range []string{"error", "hint", "services"} {
				check(message+", "+field, fmt.Sprint(e[field]))
			}
		}
	}
	for _, p := range wsgiparty.Parties() {
		for _, i := range p.Invites {
			check("the error shown", wire.Message(i.Err))
			check("the hint shown", i.Hint)
		}
	}
}
