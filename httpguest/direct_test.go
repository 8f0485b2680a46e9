// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testbackend"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// TestDirectly is what holds for asks through the routes, for those by connections of the guest's own.
func TestDirectly(t *testing.T) {
	directly = true
	t.Cleanup(func() { directly = false })
	for name, test := range map[string]func(*testing.T){
		"HowAnApplicationIsAsked":                       TestHowAnApplicationIsAsked,
		"WhatAnApplicationAnswersAnAsk":                 TestWhatAnApplicationAnswersAnAsk,
		"TheLimitsOfAnAskByDefault":                     TestTheLimitsOfAnAskByDefault,
		"AConnectionThatWasIdleMayEndWhenItIsUsed":      TestAConnectionThatWasIdleMayEndWhenItIsUsed,
		"AServiceMayBeAList":                            TestAServiceMayBeAList,
		"AServiceThatDoesNotAnswerIsLeftAloneForAWhile": TestAServiceThatDoesNotAnswerIsLeftAloneForAWhile,
		"OneSlowGuestCostsItsTimeoutOnce":               TestOneSlowGuestCostsItsTimeoutOnce,
		"AnAskTakesAlongWhatIsForwardedAndNothingElse":  TestAnAskTakesAlongWhatIsForwardedAndNothingElse,
		"TheApplicationIsAskedForItsManifest":           TestTheApplicationIsAskedForItsManifest,
		"WhatTheApplicationAnswers":                     TestWhatTheApplicationAnswers,
		"ANewManifestReplacesTheOldWithoutAGap":         TestANewManifestReplacesTheOldWithoutAGap,
		"AnAskWhoseTurnComesTooLateIsRefused":           TestAnAskWhoseTurnComesTooLateIsRefused,
		"AChainDoesNotWaitForASlotThatItHolds":          TestAChainDoesNotWaitForASlotThatItHolds,
	} {
		t.Run(name, test)
	}
}

// TestADirectRequestIsThatOfTheProxy compares what the application is sent directly and through the routes.
func TestADirectRequestIsThatOfTheProxy(t *testing.T) {
	t.Setenv("TEST_GUEST_KEY", testGuestKey)
	for name, config := range map[string]struct{ invite, proxy, options string }{
		"no more": {},
		"headers": {proxy: "header_up Host {upstream_hostport}\nheader_up X-Site {http.request.host}\nheader_up X-From {http.request.remote.host}\nheader_up +Via other\nheader_up -X-Forwarded-Proto\nheader_up Accept json yaml"},
		"rewrite": {proxy: "rewrite /v2{http.request.uri}\nmethod PUT"},
		"origin":  {invite: "https://example.com", options: "forward User-Agent X-Forwarded-Host"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newGuestTest(t)
			b := testbackend.Start(t, testport.Address(t))
			b.On("", jsonOf("[1]"))
			guest := func(options string) string {
				return "invite " + config.invite + "/blog/__invite__/\nhandle_path /blog/* {\nwsgi_party_guest {\nkey {env.TEST_GUEST_KEY}\nservice who /who{?q}\nservice tell /tell\n" + config.options + "\n" + options + "\n}\nreverse_proxy " + b.Upstream() + " {\n" + config.proxy + "\n}\n}\n"
			}
			sent := func(options string) (requests []testbackend.Request) {
				c.load(guest(options))
				before := len(b.Requests(""))
				for _, service := range []string{"who", "tell"} {
					c.expectAsk(service, map[string]any{"q": "a/b"}, "[1]")
				}
				for _, r := range b.Requests("")[before:] {
					check.ErrorIf(t, r.Header.Get("Party-Token") == "", "no token")
					r.Header.Del("Party-Token")
					r.Header.Del("Accept-Encoding") // which is not asked for directly
					r.Began, r.Ended = time.Time{}, time.Time{}
					requests = append(requests, r)
				}
				return requests
			}
			through, direct := sent(""), sent("direct")
			for i := range through {
				check.Equal(t, fmt.Sprintf("%+v", direct[i]), fmt.Sprintf("%+v", through[i]), "the request")
			}
			check.Equal(t, len(direct), 2, "requests")
		})
	}
}

// TestADirectWayMeetsNothingBetween has handlers and health checks between the guest and the application.
func TestADirectWayMeetsNothingBetween(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, testport.Address(t))
	b.On("/who", testbackend.Response{Status: 503})
	b.On("/page", jsonOf(`"page"`))
	c.load("invite /blog/__invite__/\nhandle_path /blog/* {\nwsgi_party_guest {\ndirect " + b.Upstream() + "\nservice who /who\nservice how /how\n}\nrespond /how 403\nreverse_proxy " + b.Upstream() + " {\nfail_duration 1m\nunhealthy_status 5xx\n}\n}\n")
	c.expectFailure("who", nil, "status 503")
	_, page := c.Get("/blog/page")
	check.Equal(t, page, `"page"`, "what a visitor gets, as the proxy knows nothing of that")
	b.On("/how", jsonOf("1"))
	c.expectAsk("how", nil, "1")
}

// TestADirectAskGoesWhereItIsTold whatever its asker's own request is proxied to.
func TestADirectAskGoesWhereItIsTold(t *testing.T) {
	c := newGuestTest(t)
	b, other := testbackend.Start(t, testport.Address(t)), testbackend.Start(t, testport.Address(t))
	b.On("/who", jsonOf(`"blog"`))
	other.On("/who", jsonOf(`"other"`))
	c.load(blogAt(b, "direct", "service who /who"))
	info := reverseproxy.DialInfo{Network: "tcp", Address: other.Upstream()}
	vars := map[string]any{"reverse_proxy.dial_info": info, "reverse_proxy.proxy": "http://" + other.Upstream()}
	ctx := context.WithValue(context.WithValue(t.Context(), caddy.CtxKey("reverse_proxy.dial_info"), info), caddyhttp.VarsCtxKey, vars)
	answers, err := operatorOf(t, c.party).AskAround(ctx, "who", nil)
	check.ErrorIf(t, joinAnswers(answers) != `"blog"` || err != nil, "%v %v", answers, err)
	check.Equal(t, len(vars), 2, "the asker's variables")
}

// TestADirectWayByEachTransport asks at a unix socket, over h2c, and over TLS, by addresses and as the proxy does.
func TestADirectWayByEachTransport(t *testing.T) {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	serve := func(t *testing.T, l net.Listener, encrypted bool) string {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode([]any{r.Proto, r.TLS != nil, r.Host == l.Addr().String()})
		}))
		s.Listener, s.Config.Protocols = l, &protocols
		if encrypted {
			s.EnableHTTP2 = true
			s.StartTLS()
		} else {
			s.Start()
		}
		t.Cleanup(s.Close)
		return l.Addr().String()
	}
	socket := filepath.Join(t.TempDir(), "s")
	for name, way := range map[string]struct {
		network, address, upstream, transport, want string
	}{
		"unix":          {"unix", socket, "unix/" + socket, "", `["HTTP/1.1",false,false]`},
		"h2c":           {"tcp", "127.0.0.1:0", "h2c://%s", "", `["HTTP/2.0",false,false]`},
		"TLS":           {"tcp", "127.0.0.1:0", "https://%s", "tls_insecure_skip_verify", `["HTTP/2.0",true,true]`},
		"TLS, HTTP/1.1": {"tcp", "127.0.0.1:0", "https://%s", "tls_insecure_skip_verify\nversions 1.1", `["HTTP/1.1",true,true]`},
	} {
		t.Run(name, func(t *testing.T) {
			c := newGuestTest(t)
			address := serve(t, check.Value(net.Listen(way.network, way.address))(t), strings.HasPrefix(way.upstream, "https"))
			block := strings.ReplaceAll(way.upstream, "%s", address)
			if way.transport != "" {
				block += " {\ntransport http {\n" + way.transport + "\n}\n}"
			}
			for _, direct := range []string{"", block} {
				c.load("invite /blog/__invite__/\nhandle_path /blog/* {\nwsgi_party_guest {\ndirect " + direct + "\nservice how /how\n}\nreverse_proxy " + block + "\n}\n")
				c.expectAsk("how", nil, way.want+"\n")
			}
		})
	}
}

// TestADirectAskGoesToTheLeastBusyAddressThatCanBeReached has two addresses, of which one is busy, or down, or both are.
func TestADirectAskGoesToTheLeastBusyAddressThatCanBeReached(t *testing.T) {
	c := newGuestTest(t)
	one, two := testbackend.Start(t, testport.Address(t)), testbackend.Start(t, testport.Address(t))
	for name, b := range map[string]*testbackend.Backend{"one": one, "two": two} {
		b.On("/held", testbackend.Response{Hold: true, Body: "1", Header: map[string]string{"Content-Type": "application/json"}})
		b.On("/who", jsonOf(`"`+name+`"`))
	}
	c.load(blogAt(one, "direct "+one.Upstream()+" "+two.Upstream(), "service who /who", "service held /held", "timeout 1m"))
	held := make(chan error, 1)
	go func() {
		_, err := c.ask("held", nil)
		held <- err
	}()
	partytest.Eventually(t, "one is busy", func() bool { return len(one.Requests("/held"))+len(two.Requests("/held")) > 0 })
	free := `"two"`
	if len(two.Requests("/held")) > 0 {
		free = `"one"`
	}
	for range 20 {
		c.expectAsk("who", nil, free)
	}
	one.Release()
	two.Release()
	check.Nil(t, <-held)

	one.Kill()
	for range 20 {
		c.expectAsk("who", nil, `"two"`)
	}
	two.Kill()
	c.expectFailure("who", nil, "status 502", "connection refused")
	one.Start()
	c.expectAsk("who", nil, `"one"`) // though it could not be reached lately
}

// TestTheManifestIsAskedForAtEachAddress until one answers.
func TestTheManifestIsAskedForAtEachAddress(t *testing.T) {
	c := newGuestTest(t)
	b := testbackend.Start(t, testport.Address(t))
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/"}}`))
	c.load(blogAt(b, "direct "+strings.Repeat(testport.Address(t)+" ", 8)+b.Upstream()))
	partytest.Eventually(t, "it has joined", func() bool { return invitesOf(t, c.party, true)["blog"].Result == wsgiparty.InviteJoined })
	check.Equal(t, len(b.Requests("/__invite__/")), 1, "requests")
}

// TestWhatDirectCannotTakeOver has proxies, and what else stands behind a guest.
func TestWhatDirectCannotTakeOver(t *testing.T) {
	c := newGuestTest(t)
	const write = ": write the addresses of the application, as in `direct localhost:9000`"
	for behind, want := range map[string]string{
		"respond hi":                       "direct cannot take over the handler right behind wsgi_party_guest, which is not a reverse_proxy",
		"":                                 "direct cannot take over the handler right behind wsgi_party_guest, which is not a reverse_proxy",
		"reverse_proxy /x* localhost:9000": "direct cannot take over the reverse_proxy behind wsgi_party_guest, which has a matcher",
		"reverse_proxy localhost:9000 {\ntransport fastcgi\n}":                                  "direct cannot take over the transport of the reverse_proxy, which is not http",
		"reverse_proxy {\ndynamic a localhost 9000\n}":                                          "direct cannot take over the dynamic upstreams of the reverse_proxy",
		"reverse_proxy localhost:9000 {\n@x status 404\nhandle_response @x {\nrespond hi\n}\n}": "direct cannot take over the handle_response of the reverse_proxy",
		"reverse_proxy localhost:9000 {\nheader_down X-A b\n}":                                  "direct cannot take over the header_down of the reverse_proxy",
		"reverse_proxy localhost:9000 {\nheader_up X-A {vars.a}\n}":                             "direct cannot take over its header_up, where {http.vars.a} depends on the routes",
		"reverse_proxy localhost:9000 {\nrewrite {re.x.1}\n}":                                   "direct cannot take over its rewrite, where {http.regexp.x.1} depends on the routes",
		"reverse_proxy localhost:9000 {\ntransport http {\nproxy_protocol v1\n}\n}":             "direct cannot take over a transport with proxy_protocol",
		"reverse_proxy https://localhost:9000 {\ntransport http {\nversions 3\n}\n}":            "direct cannot take over a transport for HTTP/3",
		"reverse_proxy https://localhost {\ntransport http {\ntls_server_name {host}\n}\n}":     "direct cannot take over a transport with placeholders in tls_server_name",
		"reverse_proxy {http.request.header.Upstream}":                                          "direct cannot take over the address {http.request.header.Upstream}, which has placeholders that are not known when the config loads",
	} {
		for _, invite := range []string{"invite /blog/__invite__/\n", ""} { // it is wrong whether its invite comes or not
			err := c.TryLoad(c.inParty(invite + "handle_path /blog/* {\nwsgi_party_guest blog {\ndirect\nurl home /\n}\n" + behind + "\n}\n"))
			check.Fails(t, err, want+write)
		}
	}
	for options, want := range map[string]string{
		"direct localhost:9000 {\nheader_up a b\n}":      "direct takes addresses and, in a block, `transport http`; other options of a reverse_proxy do not apply to asks",
		"direct {\ntransport http {\nversions h2c\n}\n}": "direct has a transport but no addresses: write these, too, or leave out both to use those of the reverse_proxy behind it",
		"direct localhost:9000 {\ntransport fastcgi\n}":  "direct needs the transport http",
		"direct {http.request.host}:80":                  "direct cannot use the address {http.request.host}:80, which has placeholders",
		"direct localhost:9000\ndirect":                  "direct already specified",
		"direct localhost:9000/x":                        "direct cannot use the address localhost:9000/x",
		"direct" + strings.Repeat(" localhost:9000", 65): "direct cannot use 65 addresses, more than 64",
	} {
		_, _, err := c.TryAdapt(c.inParty("invite /blog/__invite__/\nwsgi_party_guest blog {\n" + options + "\nurl home /\n}\n"))
		if err == nil {
			err = c.TryLoad(c.inParty("invite /blog/__invite__/\nwsgi_party_guest blog {\n" + options + "\nurl home /\n}\n"))
		}
		check.Fails(t, err, want)
	}
}
