// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/party"
)

func TestTheGuestsURIIsItsOwn(t *testing.T) {
	onInvite(t, "app", func(i *wsgiparty.Invitation, _ *http.Request) error {
		i.URI.Path = "/changed"
		return i.Operator.Connect("ping", partytest.Pong)
	})
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\ninvite /__invite__/\ntest_app app\n}")
	check.Equal(t, partytest.InviteLogged(t)["uri"], "/__invite__/", "uri")
}

func TestAStrictInviteThatDoesNotJoinFailsTheLoad(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site("respond running")
	partytest.Guest(t, "one", "pong", "ping")
	err := c.TryLoad("ADDRESS {\nwsgi_party main {\nstrict_invites\ninvite /one/__invite__/ /two/__invite__/\nroute {\nrespond /one/* nobody 410\ntest_app one\n}\n}\n}")
	check.Fails(t, err, `guest "one" at /one/__invite__/`, "410", "strict_invites", "`not vars partyline one`")
	c.Expect("/", 200, "running")

	c.Site("wsgi_party main {\nstrict_invites\ninvite /one/__invite__/\ntest_app one\n}")
	c.ExpectAnswers("main", "ping", "pong")
}

func TestOneGuestsFaultIsNotAnothers(t *testing.T) {
	partytest.Guest(t, "good", "pong", "ping")
	onInvite(t, "bad", func(i *wsgiparty.Invitation, _ *http.Request) error {
		check.Nil(t, i.Operator.Connect("ping", func(context.Context, any) (any, error) { panic("no pong") }))
		panic("no welcome")
	})
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\ninvite /bad/__invite__/ /good/__invite__/\ntest_app /bad/* bad\ntest_app /good/* good\n}")
	answers, err := operatorOf(c, "main").AskAround(context.Background(), "ping", nil)
	check.Slices(t, answers, []any{"pong"}, "answers")
	var failure *wsgiparty.HandlerError
	check.ErrorIf(t, !errors.As(err, &failure) || failure.Guest != "bad", "error: %v", err)
}

func TestInvitesAreSentInOrder(t *testing.T) {
	var order []string
	onInvite(t, "app", func(i *wsgiparty.Invitation, _ *http.Request) error {
		order = append(order, i.Operator.Guest())
		return nil
	})
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\ninvite /c/__invite__/ /a/__invite__/\ninvite /b/__invite__/\ntest_app app\n}")
	check.Slices(t, order, []string{"c", "a", "b"}, "invited")
}

// TestTheInviteIsACompleteRequest says what a guest, and what stands before it,
// sees of an invite.
func TestTheInviteIsACompleteRequest(t *testing.T) {
	for uri, want := range map[string]map[string]string{
		"/blog/__invite__/?x=1": {"request.method": "GET", "request.host": "localhost", "request.uri": "/blog/__invite__/?x=1", "request.uri.path": "/blog/__invite__/",
			"request.scheme": "http", "request.remote.host": "192.0.2.1", "vars.partyline": "blog"},
		"https://example.com/blog/__invite__/": {"request.host": "example.com", "request.uri": "/blog/__invite__/", "request.scheme": "https", "vars.partyline": "blog", "request.local.port": "443"},
		"http://example.com:8080/__invite__/":  {"request.hostport": "example.com:8080", "request.scheme": "http", "vars.partyline": "root", "request.local.port": "8080"},
	} {
		t.Run(uri, func(t *testing.T) {
			invited := false
			onInvite(t, "app", func(i *wsgiparty.Invitation, r *http.Request) error {
				invited = true
				replacer := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
				for name, want := range want {
					check.Equal(t, replacer.ReplaceAll("{http."+name+"}", ""), want, name)
				}
				check.ErrorIf(t, (r.TLS != nil) != strings.HasPrefix(uri, "https") || r.TLS != nil && (!r.TLS.HandshakeComplete || r.TLS.ServerName != "example.com"), "TLS: %+v", r.TLS)
				check.Equal(t, r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server).Name(), "srv0", "the server")
				check.ErrorIf(t, i.URI.String() != uri || i.Prefix != "/apps", "invitation: %+v", i)
				return i.Operator.Connect("ping", partytest.Pong)
			})
			c := partytest.NewCaddy(t)
			// Host matchers inside the party work, remote_ip takes it for nobody.
			c.Site("wsgi_party main {\ninvite " + uri + "\nprefix /apps\n@here remote_ip private_ranges\nrespond @here local\n@hosts host localhost example.com\ntest_app @hosts app\n}")
			check.ErrorIf(t, !invited || partytest.InviteLogged(t)["msg"] != "guest joined", partytest.InviteLogged(t))
		})
	}
}

func TestPartylineKeyRenamesTheRequestVariable(t *testing.T) {
	onInvite(t, "app", func(i *wsgiparty.Invitation, r *http.Request) error {
		check.Equal(t, caddyhttp.GetVar(r.Context(), "line"), any(i.Operator), "the variable")
		check.Equal(t, caddyhttp.GetVar(r.Context(), "partyline"), nil, "the variable of the default name")
		return i.Operator.Connect("ping", partytest.Pong)
	})
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\npartyline_key line\ninvite /__invite__/\ntest_app app\n}")
	c.ExpectAnswers("main", "ping", "pong")
}

func TestPlaceholdersOfTheEnvironmentInAnInvite(t *testing.T) {
	t.Setenv("GUEST_HOST", "example.com")
	t.Setenv("GUEST_NAME", "bob")
	partytest.Guest(t, "app", "pong", "ping")
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\ninvite https://{env.GUEST_HOST}/__invite__/ as {env.GUEST_NAME}\n@host host example.com\ntest_app @host app\n}")
	c.ExpectAnswers("main", "ping", "pong")
	check.Equal(t, partytest.InviteLogged(t)["guest"], "bob", "guest")
	err := c.TryLoad("ADDRESS {\nwsgi_party main {\ninvite {env.NO_SUCH_VARIABLE}\n}\n}")
	check.Fails(t, err, "NO_SUCH_VARIABLE")
	c.ExpectAnswers("main", "ping", "pong")
}

func TestGuestNames(t *testing.T) {
	for uri, want := range map[string]string{
		"/__invite__/":                       "root",
		"/__invite__":                        "root",
		"/one/__invite__/":                   "one",
		"/one/two/__invite__/x":              "one/two",
		"https://example.com/one/__invite__": "one",
		"/one/hello/":                        "one/hello",
		"/one__invite__/":                    "one__invite__",
		"https://example.com/__invite__/":    "root",
	} {
		check.Equal(t, check.Value(party.GuestOf(uri))(t), want, uri)
	}
}

// TestNestedParties has the outer party's invites run through the inner one, which
// has sent its own before.
func TestNestedParties(t *testing.T) {
	onInvite(t, "app", func(i *wsgiparty.Invitation, _ *http.Request) error {
		return i.Operator.Connect("party", partytest.Answers(i.Operator.Partyline().Name()))
	})
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party outer {\ninvite /app/__invite__/\nwsgi_party inner {\ninvite /app/__invite__/\ntest_app /app/* app\n}\n}\nrespond next")
	c.ExpectAnswers("outer", "party", "outer")
	c.ExpectAnswers("inner", "party", "inner")
	c.Expect("/app/", 200, "app")
	c.Expect("/elsewhere", 200, "next")
	c.Expect("/app/__invite__/", 404, "")
}

func TestBadInvites(t *testing.T) {
	c := partytest.NewCaddy(t)
	c.Site("respond running")
	for name, test := range map[string]struct{ party, want string }{
		"not a URI":               {`"invites": ["/%zz"]`, `invite "/%zz" is not a URI`},
		"control character":       {`"invites": ["/\u0001"]`, `is not a URI`},
		"relative":                {`"invites": ["blog/__invite__/"]`, `write "/blog/__invite__/"`},
		"another scheme":          {`"invites": [{"uri": "ftp://example.com/x"}]`, "scheme ftp: write a path"},
		"no host":                 {`"invites": ["https:///x"]`, "no host"},
		"opaque":                  {`"invites": ["http:x"]`, "no host"},
		"no scheme":               {`"invites": ["//example.com/x"]`, `write "https://example.com/x"`},
		"user":                    {`"invites": ["http://bob@example.com/x"]`, "leave out the user"},
		"empty":                   {`"invites": [""]`, "an invite is empty"},
		"null":                    {`"invites": [null]`, "an invite is empty"},
		"no URI":                  {`"invites": [{"guest": "bob"}]`, "an invite is empty"},
		"a number":                {`"invites": [7]`, "an invite is the string of its URI, or an object"},
		"the same guest twice":    {`"invites": ["/a/__invite__/", "https://example.com/a/__invite__"]`, `guest "a" is invited twice: write "invite https://example.com/a/__invite__ as <guest>"`},
		"the root":                {`"invites": ["/"]`, `would hide everything`},
		"as in a matcher":         {`"invites": ["/blog/__invite__/*"]`, `leave out the *`},
		"the root of a host":      {`"invites": ["https://example.com"]`, `would hide everything`},
		"the root in disguise":    {`"invites": ["/.//x/..;y/"]`, `would hide everything`},
		"unknown field":           {`"invite": []`, `unknown field "invite"`},
		"unknown field of invite": {`"invites": [{"uri": "/x", "gest": "bob"}]`, `unknown field "gest"`},
		"negative duration":       {`"invite_timeout": "-5s"`, "invite_timeout is -5s"},
		"relative prefix":         {`"prefix": "apps"`, `prefix "apps"`},
		"prefix with a slash":     {`"prefix": "/apps/"`, `prefix "/apps/"`},
		"prefix with a query":     {`"prefix": "/apps?x"`, `prefix "/apps?x"`},
		"Caddy's variable":        {`"partyline_key": "client_ip"`, `partyline_key "client_ip" is one of Caddy's own`},
	} {
		t.Run(name, func(t *testing.T) {
			config := `{"admin": {"disabled": true, "config": {"persist": false}}, "apps": {"http": {"servers": {"srv0": {"listen": ["` + c.Address + `"],
				"routes": [{"handle": [{"handler": "wsgi_party", ` + test.party + `}]}]}}}}}`
			check.Fails(t, caddy.Load([]byte(config), true), test.want)
			c.Expect("/", 200, "running")
		})
	}
}

func TestAValidatedConfigLeavesNoTrace(t *testing.T) {
	invites := 0
	onInvite(t, "app", func(i *wsgiparty.Invitation, _ *http.Request) error {
		invites++
		return i.Operator.Connect("ping", partytest.Pong)
	})
	c := partytest.NewCaddy(t)
	check.Must(t, caddy.Validate(partytest.ParseConfig(t, c.Adapt("ADDRESS {\nwsgi_party main {\ninvite /__invite__/\ntest_app app\n}\n}"))))
	check.Equal(t, invites, 1, "invites were sent")
	_, ok := wsgiparty.Lookup("main")
	check.ErrorIf(t, ok, "the partyline is that of the running config")
}

func TestInviteDuration(t *testing.T) {
	onInvite(t, "app", func(i *wsgiparty.Invitation, _ *http.Request) error {
		time.Sleep(20 * time.Millisecond)
		return i.Operator.Connect("ping", partytest.Pong)
	})
	c := partytest.NewCaddy(t)
	c.Site("wsgi_party main {\ninvite /__invite__/\ntest_app app\n}")
	seconds, _ := partytest.InviteLogged(t)["duration"].(float64)
	check.ErrorIf(t, seconds < .02 || seconds > 5, "duration: %v s", seconds)
}
