// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpask_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// TestAskOnIsAsWsgiPartyAskIs runs the tests of the one with the other.
func TestAskOnIsAsWsgiPartyAskIs(t *testing.T) {
	partytest.ByAskOn(t)
	for _, test := range []func(*testing.T){
		TestAGuestAsksFromOutsideAndIsNotAskedItself, TestEachReplySaysWhatBecameOfIt, TestThePayloadOfAnAskIsItsBody, TestFirstEndsAnAskFromOutside,
		TestGuestsSeeWhoIsThere, TestOnlyTheMethodsOfAskingAreAllowed, TestWhoAsksNeedsAKey, TestAnUnknownServiceIsNotFound,
		TestAnswersOfGoGuestsThatJSONCannotCarryComeAsTheirTypes,
		TestABatchOfAsksHasAResultForEachInOrder, TestWhatIsNoListOfAsksSaysSo, TestABatchIsAListOfUpTo256Asks, TestTheAsksOfABatchRunTogether,
		TestTheAsksOfBatchesWaitInLine, TestABatchDoesNotWaitForTheAskThatLedToIt, TestABatchIsAskedInTheContextOfItsToken,
		TestAnAskerSaysWhatGoesOn, TestNothingOfAnAskIsForwardedButItsTrace,
		TestAnAnswerStandsOnceInAResponse, TestAShortListOfAsksDoesNotCallEverybodyAtOnce, TestABatchOfLongAnswersIsBounded,
		TestTwoApplicationsAskEachOther, TestGuestsAreSkippedAcrossProcessesAsInOne, TestAsksNestedTooDeepEnd, TestATokenThatIsNotTheAskersOrOldIsRefused,
		TestAnAskEndsWithItsClient, TestAnAskUnderWayOutlivesAReload, TestNoAskGoesWrongWhileConfigsReload,
	} {
		name := runtime.FuncForPC(reflect.ValueOf(test).Pointer()).Name()
		t.Run(name[strings.LastIndex(name, ".")+1:], test)
	}
}

// keptAlive is a client whose connections outlive requests, of an address or a unix socket.
func keptAlive(t testing.TB, address string) *http.Client {
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 4, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

func askOver(c *http.Client, key, service string) (string, error) {
	r, err := http.NewRequest("POST", "http://party/"+service, strings.NewReader("null"))
	if err != nil {
		return "", err
	}
	r.Header.Set("Authorization", "Bearer "+key)
	response, err := c.Do(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return fmt.Sprint(response.StatusCode, " ", string(body)), err
}

// TestAllAsksAreAnsweredWhileConfigsReload has several ask all the time over connections that they keep and
// over new ones, to which nothing may happen: not one is asked again.
func TestAllAsksAreAnsweredWhileConfigsReload(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "party.sock")
	for _, socket := range []string{"", socket} {
		c := partytest.NewCaddy(t)
		key := partytest.Key(t, "a")
		slow := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(20 * time.Millisecond)
			partytest.JSON(`"slow"`)(w, r)
		})
		listen, address := c.Endpoint, c.Endpoint
		if socket != "" {
			listen, address = "unix/"+socket+"|0660", socket
		}
		load := func(i int) {
			c.Site("wsgi_party main {\nask_on " + listen + "\ninvite /a/__invite__/ /b/__invite__/\n" + fmt.Sprintf("respond /x%d %[1]d\n", i) +
				partytest.Mounted("a", "answer who a\nkey {env.a_PARTY_KEY}", slow) + partytest.Mounted("b", "answer who b\nservice slow /slow", slow) + "}")
		}
		load(0)
		var asks atomic.Int64
		stop := make(chan struct{})
		var group sync.WaitGroup
		for i := range 6 {
			client := keptAlive(t, address)
			client.Transport.(*http.Transport).DisableKeepAlives = i%2 == 0
			service, want := "who", `200 {"answers":["b"]`
			if i > 3 {
				service, want = "slow", `200 {"answers":["slow"]`
			}
			group.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					got, err := askOver(client, key, service)
					if err != nil || !strings.HasPrefix(got, want) {
						t.Errorf("%s: %q, %v", listen, got, err)
						return
					}
					asks.Add(1)
				}
			})
		}
		for i := range 10 {
			before := asks.Load()
			load(i + 1)
			partytest.Eventually(t, "asks go on", func() bool { return asks.Load() > before+20 || t.Failed() })
		}
		close(stop)
		group.Wait()
	}
}

// refused reports whether nobody listens there.
func refused(address string) bool {
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	conn, err := net.Dial(network, address)
	if err == nil {
		conn.Close()
	}
	return err != nil
}

const nobody = "invite /a/__invite__/\nhandle_path /a/* {\nwsgi_party_guest {\nanswer who a\nkey {env.a_PARTY_KEY}\n}\nrespond a\n}\n}\n"

// TestNothingListensButARunningConfig adapts, validates, runs and replaces one.
func TestNothingListensButARunningConfig(t *testing.T) {
	c := partytest.NewCaddy(t)
	key := partytest.Key(t, "a")
	socket := filepath.Join(t.TempDir(), "party.sock")
	config := c.Adapt("ADDRESS {\nwsgi_party one {\nask_on " + c.Endpoint + "\n" + nobody + "wsgi_party two {\nask_on unix/" + socket + "\n}\n}")
	check.Must(t, caddy.Validate(partytest.ParseConfig(t, config)))
	listens := func(want bool) {
		t.Helper()
		_, err := os.Lstat(socket)
		check.Equal(t, err == nil, want, "there is a socket")
		check.Equal(t, !refused(c.Endpoint), want, "somebody listens")
	}
	listens(false)
	c.LoadJSON(config)
	listens(true)
	check.Must(t, caddy.Validate(partytest.ParseConfig(t, config))) // beside one that runs
	listens(true)
	got, err := askOver(keptAlive(t, c.Endpoint), key, "")
	check.ErrorIf(t, err != nil || !strings.HasPrefix(got, "400 "), got, err)
	c.Site("respond done")
	listens(false)
	c.LoadJSON(config)
	listens(true)
	check.Must(t, caddy.Stop())
	listens(false)
}

// TestAsksUnderWayEndWhenAnAddressCloses has a config without ask_on replace one with it.
func TestAsksUnderWayEndWhenAnAddressCloses(t *testing.T) {
	c := partytest.NewCaddy(t)
	key := partytest.Key(t, "asker")
	held, waiting, let := partytest.NewHeld(t)
	config := "wsgi_party main {\n" + partytest.Asker + "invite /a/__invite__/\n" + partytest.Mounted("a", "timeout 60s\nservice held /held", held) + "}"
	c.Site(strings.Replace(config, "main {", "main {\nask_on "+c.Endpoint, 1))
	got := make(chan string, 1)
	go func() {
		answer, err := askOver(keptAlive(t, c.Endpoint), key, "held")
		got <- fmt.Sprint(answer, err)
	}()
	partytest.Eventually(t, "it is asked", func() bool { return waiting.Load() == 1 })
	c.Site(config)
	check.ErrorIf(t, !refused(c.Endpoint), "it still listens")
	let()
	check.Has(t, <-got, `200 {"answers":[1]`)
}

// TestAFailedLoadLeavesTheConfigBeforeAsItWas has configs fail when ours cannot start, when another
// app cannot, and before that.
func TestAFailedLoadLeavesTheConfigBeforeAsItWas(t *testing.T) {
	c := partytest.NewCaddy(t)
	key := partytest.Key(t, "a")
	partytest.Key(t, "b")
	foreign := check.Value(net.Listen("tcp", testport.Address(t)))(t)
	defer foreign.Close()
	dir := t.TempDir()
	socket, precious := filepath.Join(dir, "party.sock"), filepath.Join(dir, "precious")
	check.Must(t, os.WriteFile(precious, nil, 0o600))
	b := partytest.NewApplication(t, "", nil)
	config := func(first, second, more string) string {
		return "ADDRESS {\nwsgi_party a {\nask_on " + first + "\n" + more + "invite /a/__invite__/ /b/__invite__/\n" +
			partytest.Mounted("a", "answer who a\nkey {env.a_PARTY_KEY}", b) + partytest.Mounted("b", "answer who before", b) + "}\nwsgi_party z {\nask_on " + second + "\n}\n}"
	}
	goesOn := func() {
		t.Helper()
		got, err := askOver(keptAlive(t, c.Endpoint), key, "who")
		check.ErrorIf(t, err != nil || !strings.HasPrefix(got, `200 {"answers":["before"]`), got, err)
		check.ErrorIf(t, refused(socket), "the socket has gone")
		check.Equal(t, check.Value(os.Lstat(socket))(t).Mode().Perm(), 0o660)
	}
	c.Load(config(c.Endpoint, "unix/"+socket+"|0660", ""))
	goesOn()
	other := testport.Address(t)
	starts := errors.New("another app cannot start")
	partytest.OnProvision(t, "fails", partytest.DuringStart(t, func() error { return starts }))
	for want, config := range map[string]string{
		"address already in use: another process listens there; write another address": config(c.Endpoint, foreign.Addr().String(), ""),
		"is not a socket":          config(other, "unix/"+precious, ""),
		"another app cannot start": config(other, "unix/"+socket+"|0600", "route /never {\ntest_app fails\n}\n"),
		"no such file or directory: create the socket's directory first": config(other, "unix/"+dir+"/missing/party.sock", ""),
		"which has no connections":                                       config(other, "udp/127.0.0.1:2080", ""),
		"test has no application":                                        config(other, "unix/"+socket+"|0600", "route /never {\ntest_app missing\n}\n"),
		"both have ask_on at " + other:                                   config(other, other, ""),
	} {
		for range 4 { // apps start in an order of chance
			adapted, _, err := c.TryAdapt(config)
			if err == nil {
				err = c.TryLoadJSON(adapted)
			}
			check.Fails(t, err, want)
			check.ErrorIf(t, !refused(other), "a config that failed listens")
			goesOn()
		}
	}
	_, err := os.Lstat(precious)
	check.Nil(t, err)
}
