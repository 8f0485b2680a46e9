// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testbackend"
)

func TestMain(m *testing.M) {
	partytest.Main(m, wsgiparty.Lookup, wsgiparty.Join, wsgiparty.OperatorFrom, wsgiparty.ErrHighAndDry)
}

var (
	operatorOf = partytest.OperatorOf(wsgiparty.Lookup)
	invitesOf  = partytest.InvitesOf[wsgiparty.InviteInfo](wsgiparty.Parties)
)

const testGuestKey = "0123456789abcdef0123456789abcdef"

// guestTest is a Caddy with a party of which nothing is kept yet.
type guestTest struct {
	*partytest.Caddy
	party string
}

// newGuestTest is to be called before applications are started: Caddy keeps its
// connections to them until they end.
func newGuestTest(t testing.TB) *guestTest {
	t.Helper()
	return &guestTest{partytest.NewCaddy(t), partytest.FreshParty()}
}

// directly is whether the guests ask by connections of their own.
var directly bool

// inParty returns the config of one site with the party.
func (c *guestTest) inParty(directives string) string {
	if directly {
		directives = strings.ReplaceAll(directives, "wsgi_party_guest {", "wsgi_party_guest {\ndirect")
	}
	return "ADDRESS {\nwsgi_party " + c.party + " {\n" + directives + "\n}\n}"
}

func (c *guestTest) load(directives string) {
	c.Helper()
	c.Caddy.Load(c.inParty(directives))
}

// manifestOf is a response with a manifest, and with headers.
func manifestOf(body string, headers ...string) testbackend.Response {
	r := testbackend.Response{Body: body, Header: map[string]string{"Content-Type": partytest.ManifestType}}
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = headers[i+1]
	}
	return r
}

// ofType is a response of another type.
func ofType(mediaType, body string) testbackend.Response {
	return testbackend.Response{Body: body, Header: map[string]string{"Content-Type": mediaType}}
}

// partyline returns that of the running config.
func (c *guestTest) partyline() *wsgiparty.Partyline {
	c.Helper()
	return operatorOf(c, c.party).Partyline()
}

// ask returns what comes of asking around as nobody.
func (c *guestTest) ask(service string, payload any) (string, error) {
	c.Helper()
	answers, err := operatorOf(c, c.party).AskAround(context.Background(), service, payload)
	return joinAnswers(answers), err
}

func joinAnswers(answers []any) string {
	texts := make([]string, len(answers))
	for i, answer := range answers {
		if raw, ok := answer.(json.RawMessage); ok {
			answer = string(raw)
		}
		texts[i] = fmt.Sprint(answer)
	}
	return strings.Join(texts, " ")
}

// expectAsk fails the test unless asking gives these answers, and no error.
func (c *guestTest) expectAsk(service string, payload any, want string) {
	c.Helper()
	check.Equal(c, check.Value(c.ask(service, payload))(c), want, "asking for %s with %v", service, payload)
}

// expectLink fails the test unless that is where the page is, and "" unless nobody
// says so.
func (c *guestTest) expectLink(page, want string) {
	c.Helper()
	got, err := wsgiparty.URLFor(context.Background(), operatorOf(c, c.party), page, nil)
	check.ErrorIf(c, got != want || (err != nil) != (want == ""), "the URL for %s is %q, %v, want %q", page, got, err, want)
}

// await waits until guests are connected under these services.
func (c *guestTest) await(services ...string) {
	c.Helper()
	partytest.Eventually(c, fmt.Sprintf("%q are on the line", services), func() bool {
		all := c.partyline().Services()
		return !slices.ContainsFunc(services, func(service string) bool { return all[service] == nil })
	})
}

// awaitRequests waits until the application was sent that many requests to a path.
func awaitRequests(t testing.TB, b *testbackend.Backend, path string, n int) []testbackend.Request {
	t.Helper()
	var requests []testbackend.Request
	partytest.Eventually(t, fmt.Sprintf("%d requests to %s", n, path), func() bool {
		requests = b.Requests(path)
		return len(requests) >= n
	})
	return requests
}

// applicationOf returns the guest's of the running config.
func applicationOf(t testing.TB, guest string) *httpguest.Application {
	t.Helper()
	for _, g := range partytest.Handlers[*wsgiparty.Guest](t) {
		if a := g.SpeaksFor(guest); a != nil {
			return a
		}
	}
	t.Fatalf("guest %q is not invited", guest)
	return nil
}

// stored is the file in which the manifest of the running config's guest is kept.
func (c *guestTest) stored(guest string) string {
	c.Helper()
	return filepath.Join(caddy.DefaultStorage.Path, filepath.FromSlash(applicationOf(c, guest).StoredAt()))
}

// newBlogTest is newGuestTest with an application, which listens at a unix socket.
func newBlogTest(t testing.TB) (*guestTest, *testbackend.Backend) {
	t.Helper()
	return newGuestTest(t), testbackend.Start(t, "")
}

// guestAt is the config of a guest that is invited and mounted at the path of its name.
func guestAt(name string, b *testbackend.Backend, options ...string) string {
	return fmt.Sprintf("invite /%s/__invite__/\nhandle_path /%[1]s/* {\nwsgi_party_guest {\n%s\n}\nreverse_proxy %s\n}\n", name, strings.Join(options, "\n"), b.Upstream())
}

// blogAt is guestAt for blog.
func blogAt(b *testbackend.Backend, options ...string) string { return guestAt("blog", b, options...) }

// unstripped is the same config with the name left in the paths that applications see.
func unstripped(config string) string { return strings.ReplaceAll(config, "handle_path", "handle") }

// jsonOf is a response with JSON.
func jsonOf(body string) testbackend.Response { return ofType("application/json", body) }

// expectFailure fails the test unless asking gives no answer, and an error that says this.
func (c *guestTest) expectFailure(service string, payload any, want ...string) {
	c.Helper()
	answers, err := c.ask(service, payload)
	check.Equal(c, answers, "", "asking for %s with %v", service, payload)
	check.Fails(c, err, want...)
}
