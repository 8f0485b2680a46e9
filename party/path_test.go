// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/golang-jwt/jwt/v5"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/token"
	"github.com/wsgiparty/wsgiparty/party"
)

// signedBy returns a token that the guest with that key signed itself, with whatever
// claims besides.
func signedBy(t testing.TB, guest, key string, claims map[string]any) string {
	t.Helper()
	all := jwt.MapClaims{
		"aud": guest, "iat": time.Now().Unix(), "exp": time.Now().Unix() + 60, "jti": "x", "htm": "POST", "htu": "/" + guest + "/x",
		"bsh": "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU", "mnt": "/" + guest, "path": [][]string{},
	}
	maps.Copy(all, claims)
	return check.Value(jwt.NewWithClaims(jwt.SigningMethodHS256, all).SignedString([]byte(key)))(t)
}

// pathClaims are what a token says of what led to its ask.
type pathClaims struct {
	jwt.RegisteredClaims
	Path      [][]string
	Root, MAC string
}

// claimsOf returns what a token says.
func claimsOf(t testing.TB, text string) (claims pathClaims) {
	t.Helper()
	_, _, err := jwt.NewParser().ParseUnverified(text, &claims)
	check.Must(t, err)
	return claims
}

func TestAPathThatAGuestMakesUpIsNone(t *testing.T) {
	c := partytest.NewCaddy(t)
	var mu sync.Mutex
	seen := make(map[string]string) // tokens
	serve := func(a *partytest.Application, r *http.Request, _ string) partytest.Reply {
		mu.Lock()
		defer mu.Unlock()
		seen[a.Name] = r.Header.Get("Party-Token")
		return partytest.Answer(200, a.Name)
	}
	one, two, three := c.NewGuest("one", serve), c.NewGuest("two", serve), c.NewGuest("three", serve)
	c.Around(one.Directives("auth") + two.Directives("auth") + three.Directives("auth"))
	check.Value(c.AskAround("main", "auth", nil))(t)
	mu.Lock()
	ended, ofTwo := claimsOf(t, seen["one"]), claimsOf(t, seen["two"])
	mu.Unlock()
	for name, claims := range map[string]map[string]any{
		"guests that ask already":             {"path": [][]string{{"two", "auth"}, {"three", "auth"}}},
		"more than there are":                 {"path": [][]string{{"a", "auth"}, {"b", "auth"}, {"c", "auth"}}},
		"as many as there may be":             {"path": slices.Repeat([][]string{{"two", "auth"}}, 8)},
		"nobody":                              {"path": slices.Repeat([][]string{{"", "auth"}}, 7)},
		"with another token's claims":         {"path": [][]string{{"two", "auth"}}, "root": ended.Root, "mac": ended.MAC, "jti": ended.ID},
		"with those of another guest's token": {"path": ofTwo.Path, "root": ofTwo.Root, "mac": ofTwo.MAC, "jti": ofTwo.ID},
		"with a call that never was":          {"path": [][]string{{"two", "auth"}}, "root": "x.1", "mac": ended.MAC},
		"with a call of this Caddy":           {"path": [][]string{{"two", "auth"}}, "root": party.ProcessID + ".1", "mac": "AAAA"},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{"Party-Token": {signedBy(t, "one", one.Key, claims)}}
			for _, a := range []partytest.Asking{
				{Key: one.Key, Path: "/auth", Header: header},
				{Key: one.Key, Path: "/", Body: `[{"service":"auth"}]`, Header: header},
			} {
				check.Has(t, c.Ask(a).Body, `"answers":["two","three"]`)
			}
			mu.Lock()
			for _, guest := range []string{"two", "three"} {
				check.Equal(t, fmt.Sprint(claimsOf(t, seen[guest]).Path), "[[one auth]]", "%s: %s is told", name, guest)
			}
			mu.Unlock()
		})
	}
	for name, path := range map[string]any{
		"too many": slices.Repeat([][]string{{"two", "auth"}}, 9),
		"no pair":  [][]string{{"two"}}, "no list": "two", "no service": [][]string{{"two", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			response := c.Ask(partytest.Asking{Key: one.Key, Path: "/auth", Header: http.Header{"Party-Token": {signedBy(t, "one", one.Key, map[string]any{"path": path})}}})
			check.ErrorIf(t, response.Status != 400 && response.Status != 508, "%s: %d %s", name, response.Status, response.Body)
		})
	}
}

// asksBack is a guest that answers with what it is told when it asks around itself.
func asksBack(a *partytest.Application, r *http.Request, service string) partytest.Reply {
	response, err := a.AskBack(r, service)
	if err != nil {
		return partytest.Answer(500, err.Error())
	}
	return partytest.Answer(200, json.RawMessage(response.Body))
}

// xAsksAndOneAsksBack has guest x of the party main ask such a one, which is told what y answers.
func xAsksAndOneAsksBack(c *partytest.Caddy, one *partytest.Application) {
	c.Helper()
	c.Around(one.Directives("name"))
	x := connectMain(c, "x", "name", partytest.Answers("x"))
	connectMain(c, "y", "name", partytest.Answers("y"))
	answers := check.Value(x.AskAround(c.Context(), "name", nil))(c)
	check.Equal(c, len(answers), 2, "%s", answers)
	check.Has(c, fmt.Sprintf("%s", answers[0]), `"answers":["y"]`, "while x asks, one is told")
}

// TestAPathCountsWhileItsCallIsUnderWay has a guest use a token when it is asked, and
// again when the call is over.
func TestAPathCountsWhileItsCallIsUnderWay(t *testing.T) {
	c := partytest.NewCaddy(t)
	var kept atomic.Value
	one := c.NewGuest("one", func(a *partytest.Application, r *http.Request, service string) partytest.Reply {
		kept.Store(r.Header.Get("Party-Token"))
		return asksBack(a, r, service)
	})
	xAsksAndOneAsksBack(c, one)
	again := partytest.Asking{Key: one.Key, Path: "/name", Header: http.Header{"Party-Token": {kept.Load().(string)}}}
	check.Has(t, c.Ask(again).Body, `"answers":["x","y"]`, "when x has ended")
	party.Roots.Range(func(id, _ any) bool {
		t.Errorf("the call %v is kept", id)
		return true
	})
}

// TestAPathOfAnotherCaddyCounts is for one that shares this one's storage, and so its
// key: its calls cannot be known here.
func TestAPathOfAnotherCaddyCounts(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := c.LoadThreeGuests()
	stored := filepath.Join(c.Storage(), "wsgi_party", "path.key")
	var key token.PathKey
	partytest.Eventually(t, "the key in storage", func() bool {
		text, err := os.ReadFile(stored)
		if err == nil {
			key, err = token.ParsePathKey(text)
		}
		return err == nil
	})
	guestKeys := partytest.Keys(t, one)
	with := func(at time.Time, party, root string, path ...token.Ask) partytest.Asking {
		tok := token.Token{Guest: "one", Method: "POST", URI: "/one/x", Mount: "/one", Path: path, Root: root}
		key.Sign(&tok, party, at)
		text := check.Value(guestKeys.Sign(tok, at))(t)
		return partytest.Asking{Key: one, Path: "/ping", Header: http.Header{"Party-Token": {text}}}
	}
	now, twoAsks := time.Now(), token.Ask{Guest: "two", Service: "ping"}
	answered := func(what string, a partytest.Asking, want string) {
		t.Helper()
		check.Has(t, c.Ask(a).Body, `"answers":`+want, what)
	}
	partytest.Eventually(t, "the key in use", func() bool {
		return strings.Contains(c.Ask(with(now, "main", "other.1", twoAsks)).Body, `"answers":["keyless"]`)
	})
	answered("its own", with(now, "main", "other.1", twoAsks), `["keyless"]`)
	answered("another party's", with(now, "other", "other.1", twoAsks), `["two","keyless"]`)
	answered("one that has expired, for a clock that is right", with(now.Add(-75*time.Second), "main", "other.1", twoAsks), `["two","keyless"]`)
	answered("one of a call of this Caddy's that has ended", with(now, "main", party.ProcessID+".ended", twoAsks), `["two","keyless"]`)
	c.ExpectProblem(with(now, "main", "other.1", slices.Repeat([]token.Ask{{Guest: "x", Service: "y"}}, 8)...), http.StatusLoopDetected, "too deep")

	// The same key is there after a reload.
	before := check.Value(os.ReadFile(stored))(t)
	check.Equal(t, len(before), 32)
	c.Around(partytest.ThreeGuests + "\nheader Reloaded yes")
	partytest.Eventually(t, "the key in use again", func() bool {
		response, err := c.TryAsk(t.Context(), with(time.Now(), "main", "other.1", twoAsks))
		return err == nil && strings.Contains(response.Body, `"answers":["keyless"]`)
	})
	check.Equal(t, string(check.Value(os.ReadFile(stored))(t)), string(before), "the key")
}

// TestWithoutStorageThePathKeyIsTheProcesss: asks in this Caddy know what led to them.
func TestWithoutStorageThePathKeyIsTheProcesss(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"not a folder": func(dir string) error { return os.WriteFile(filepath.Join(dir, "wsgi_party"), nil, 0o600) },
		"not a key": func(dir string) error {
			return errors.Join(os.Mkdir(filepath.Join(dir, "wsgi_party"), 0o700), os.WriteFile(filepath.Join(dir, "wsgi_party", "path.key"), []byte("short"), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := partytest.NewCaddy(t)
			check.Must(t, spoil(c.Storage()))
			xAsksAndOneAsksBack(c, c.NewGuest("one", asksBack))
			partytest.Eventually(t, "a warning", func() bool {
				return len(partytest.LogEntries(t, "the key for the paths of Party-Tokens is not in storage: Caddys that share the storage do not recognize each other's asks")) == 1
			})
		})
	}
}

// TestAGuestThatNeverSaysWhatLedToItsAskIsBounded drops the token: each ask is a new one.
func TestAGuestThatNeverSaysWhatLedToItsAskIsBounded(t *testing.T) {
	c := partytest.NewCaddy(t)
	var calls atomic.Int64
	serve := func(a *partytest.Application, r *http.Request, service string) partytest.Reply {
		calls.Add(1)
		response, err := c.TryAsk(r.Context(), partytest.Asking{Key: a.Key, Path: "/" + service})
		if err != nil || response.Status != 200 {
			return partytest.Answer(500, nil)
		}
		return partytest.Answer(204, nil)
	}
	one, two := c.NewGuest("one", serve), c.NewGuest("two", serve)
	short := func(directives string) string { return strings.ReplaceAll(directives, "timeout 20s", "timeout 500ms") }
	c.Around(short(one.Directives("name") + two.Directives("name")))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := operatorOf(c, "main").AskAround(ctx, "name", nil)
	check.ErrorIf(t, ctx.Err() != nil, "it goes on: %v", err)
	n := calls.Load()
	check.ErrorIf(t, n > 1000, "%d calls", n)
}

// FuzzWhatAGuestCanSend sends what a guest can sign and send: afterwards, everybody is
// answered as before.
func FuzzWhatAGuestCanSend(f *testing.F) {
	const batch = `[{"service":"ping"},{"service":"url","payload":{"name":"two:home"}}]`
	f.Add("/", `[["a","ping"],["b","ping"],["c","ping"]]`, batch, "X", "")
	f.Add("/ping", `[]`, `null`, "Cdn-Loop", "a, b, c")
	f.Add("/url?first", `[["",""]]`, `["two:home", {"a": [1, {"b": null}]}]`, "Party-Forward-Cookie", "a=b")
	f.Add("/url", `[["one","url"],["","url"],["two","url"],["x","url"],["x","url"],["x","url"],["x","url"],["x","url"]]`, `{"name":"\u0000:x","kwargs":{},"query":{"":1}}`, "X-Forwarded-Prefix", "/../x")
	f.Add("/%00?first=maybe", `{"a":1}`, "\xff", "Content-Length", "-1")
	f.Add("/ping/../..//url", `null`, `[]`, "Transfer-Encoding", "chunked")
	f.Add("/", `[["two","ping"]]`, `[{"service":"","first":1},null,{"payload":1e999}]`, "Traceparent", "00-0-0-0")
	for _, guest := range []string{"one", "two", "next"} {
		f.Setenv(guest+"_PARTY_KEY", guest+strings.Repeat("-Key", 8))
	}
	key := "one" + strings.Repeat("-Key", 8)
	c := partytest.NewCaddy(f)
	c.Around(partytest.ThreeGuests)
	f.Fuzz(func(t *testing.T, path, asks, body, name, value string) {
		var claims any
		if json.Unmarshal([]byte(asks), &claims) != nil {
			claims = asks
		}
		r, err := http.NewRequest(http.MethodPost, "http://"+c.Endpoint+path, strings.NewReader(body))
		if err != nil || !strings.HasPrefix(path, "/") {
			return
		}
		r.Header.Set(name, value)
		r.Header.Set("Authorization", "Bearer "+key)
		r.Header.Set("Party-Token", signedBy(t, "one", key, map[string]any{"path": claims}))
		response, err := partytest.Client.Do(r)
		if err != nil {
			_, sent := errors.AsType[*url.Error](err)
			check.FatalIf(t, !sent || strings.Contains(err.Error(), "EOF") || strings.Contains(err.Error(), "refused"), err)
			return // net/http does not send it
		}
		read, err := io.ReadAll(response.Body)
		response.Body.Close()
		check.ErrorIf(t, err != nil || response.StatusCode >= 500 && response.StatusCode != http.StatusLoopDetected, "%s %q: %d %s %v", path, body, response.StatusCode, read, err)
		check.ErrorIf(t, response.StatusCode == 200 && !json.Valid(read), "%s %q: no JSON: %s", path, body, read)
		answer, err := c.TryAsk(t.Context(), partytest.Asking{Key: key, Path: "/ping"})
		check.ErrorIf(t, err != nil || answer.Status != 200 || !strings.Contains(answer.Body, `"answers":["two","keyless"]`), "after %s %q, an honest ask: %d %s %v", path, body, answer.Status, answer.Body, err)
	})
}

func TestLoopOf(t *testing.T) {
	long := strings.Repeat("other, ", 1000)
	for _, test := range []struct {
		before string
		nested bool
		want   string
	}{
		{"", false, party.LoopID},
		{" , ", true, party.LoopID},
		{"cdn.example; v=1", false, "cdn.example; v=1, " + party.LoopID},
		{party.LoopID, false, party.LoopID + ", " + party.LoopID},
		{"a," + party.LoopID + ";x", true, "a," + party.LoopID + ";x"},
		{"a", true, "a, " + party.LoopID},
		{"x-" + party.LoopID, true, "x-" + party.LoopID + ", " + party.LoopID},
		{strings.Repeat("x", 5000), false, party.LoopID},
	} {
		check.Equal(t, party.LoopOf(test.before, test.nested), test.want, "%q becomes", test.before)
	}
	got := party.LoopOf(long+party.LoopID+", last", false)
	if len(got) > party.MaxLoopHeader+100 || !strings.HasSuffix(got, ", other, "+party.LoopID+", last, "+party.LoopID) || party.LoopsIn([]string{got}) != 2 {
		t.Errorf("%d bytes, %q", len(got), got[len(got)-100:])
	}
	check.Equal(t, party.LoopsIn([]string{party.LoopID + "," + party.LoopID, "b", party.LoopID + " ;q=1"}), 3, "times")
}

// loops is a request's CDN-Loop, with "ID" for this process.
func loops(h http.Header) string { return strings.ReplaceAll(h.Get("CDN-Loop"), party.LoopID, "ID") }

func TestSubrequestsSayWhatTheyHaveComeThrough(t *testing.T) {
	c := partytest.NewCaddy(t)
	asked := make(chan string, 10)
	key := partytest.Key(t, "asker")
	one := c.NewGuest("one", func(a *partytest.Application, r *http.Request, service string) partytest.Reply {
		asked <- service + " " + loops(r.Header)
		if service == "first" {
			header := http.Header{"Party-Token": r.Header["Party-Token"], "Cdn-Loop": r.Header["Cdn-Loop"]}
			response, err := c.TryAsk(r.Context(), partytest.Asking{Key: a.Key, Path: "/second", Header: header})
			if err != nil || response.Status != http.StatusOK {
				return partytest.Answer(500, nil)
			}
		}
		return partytest.Answer(200, 1)
	})
	two := c.NewGuest("two", func(a *partytest.Application, r *http.Request, service string) partytest.Reply {
		asked <- service + " " + loops(r.Header)
		return partytest.Answer(200, 1)
	})
	fetched := make(chan string, 10)
	three := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") == partytest.ManifestType {
			fetched <- loops(r.Header)
		}
		w.WriteHeader(http.StatusNotFound)
	})
	partytest.App(t, "page", func(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
		answers, err := operatorOf(c, "main").AskAround(r.Context(), "first", nil)
		_, _ = fmt.Fprint(w, len(answers))
		return err
	})
	c.Around(partytest.Asker + one.Directives("first", "name") + two.Directives("second") + "invite /three/__invite__/\n" + partytest.Mounted("three", "", three) + "handle /page {\ntest_app page\n}\n")
	expect := func(what string, want ...string) {
		t.Helper()
		for _, want := range want {
			check.Equal(t, <-asked, want, what)
		}
	}
	check.Equal(t, <-fetched, "ID", "a manifest is asked for with")
	check.Value(c.AskAround("main", "name", nil))(t)
	expect("an ask that no request led to", "name ID")
	c.Ask(partytest.Asking{Key: key, Path: "/name"})
	expect("a guest's ask", "name ID")
	c.Ask(partytest.Asking{Key: key, Path: "/name", Header: http.Header{"Cdn-Loop": {"a, b;v=1", "c"}}})
	expect("a guest's ask with others", "name a, b;v=1,c, ID")
	status, body := c.Do("GET", "/page", "", http.Header{"Cdn-Loop": {"cdn.example"}})
	check.ErrorIf(t, status != http.StatusOK || body != "1", "%d %s", status, body)
	expect("a page's ask, and one that it leads to", "first cdn.example, ID", "second cdn.example, ID")
}

// TestRequestsThatCameThroughTooOftenEnd has requests with this process's id.
func TestRequestsThatCameThroughTooOftenEnd(t *testing.T) {
	c := partytest.NewCaddy(t)
	var asked atomic.Int64
	key := partytest.Key(t, "asker")
	a := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) { asked.Add(1); partytest.JSON("1")(w, r) })
	c.Load("ADDRESS {\nwsgi_party main {\n" + partytest.Asker + "invite /a/__invite__/\n" + partytest.Mounted("a", "service s /s", a) + "handle /page {\nrespond page\n}\n}\nhandle_errors {\nreverse_proxy " + a.Address() + "\n}\n}\nhttp://" + c.Endpoint + " {\nwsgi_party_ask main\n}")
	header := func(n int) http.Header {
		return http.Header{"Cdn-Loop": {"a", strings.TrimSuffix(strings.Repeat(party.LoopID+", ", n), ", ")}}
	}
	c.ExpectProblem(partytest.Asking{Key: key, Path: "/s", Header: header(4)}, http.StatusLoopDetected, "has come through this Caddy 4 times (CDN-Loop)")
	c.ExpectProblem(partytest.Asking{Path: "/", Method: "GET", Header: header(5)}, http.StatusLoopDetected)
	expect := func(path string, times, wantStatus int, want string) {
		t.Helper()
		status, body := c.Do("GET", path, "", header(times))
		check.ErrorIf(t, status != wantStatus || body != want, "%s: %d %q", path, status, body)
	}
	expect("/a/", 4, http.StatusLoopDetected, "")
	check.Equal(t, asked.Load(), 0, "the application was asked")
	expect("/page", 4, http.StatusOK, "page") // no guest's
	expect("/a/", 3, http.StatusOK, "1")
	// The fourth time is that of the ask itself.
	check.Has(t, c.Ask(partytest.Asking{Key: key, Path: "/s", Header: header(3)}).Body, "status 508")
	c.ExpectAsk(partytest.Asking{Key: key, Path: "/s", Header: header(2)}, `{"answers": [1], "replies": [{"guest": "a", "mount": "/a", "status": "answered"}]}`)
}

// TestAnApplicationThatVisitsWhoAsksItEnds has one that hands back no token, as another
// Caddy does.
func TestAnApplicationThatVisitsWhoAsksItEnds(t *testing.T) {
	for _, template := range []string{`{{askAround . "s"}}{{askAround . "s"}}`, `{{len (askReplies . "s")}}{{maybeURL . "x"}}`} {
		c := partytest.NewCaddy(t)
		var asked atomic.Int64
		a := partytest.NewApplication(t, "", func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			status, body, err := c.TryDo(r.Context(), "GET", partytest.Page(template), "", http.Header{"Cdn-Loop": {r.Header.Get("Cdn-Loop") + ", other"}})
			if err != nil || status != http.StatusOK {
				http.Error(w, body, http.StatusInternalServerError)
				return
			}
			partytest.JSON(`"/"`)(w, r)
		})
		c.SiteWithPages("timeout 20s\nservice s /s\nservice url /url", a)
		status, body := c.Get(partytest.Page(template))
		check.Equal(t, status, http.StatusOK, "%s%s", body, partytest.LastHTTPError(t))
		check.Equal(t, asked.Load(), 2+4+8, "times that it was asked")
	}
}
