// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package upstreams_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

func TestMain(m *testing.M) {
	partytest.Main(m, wsgiparty.Lookup, wsgiparty.Join, wsgiparty.OperatorFrom, wsgiparty.ErrHighAndDry)
}

var connectMain = partytest.ConnectMain(wsgiparty.Lookup)

// site loads a party whose requests go where the guests p and q say, or to a static upstream.
func site(c *partytest.Caddy, allow, static string) {
	c.Helper()
	c.Site("wsgi_party main {\nreverse_proxy " + static + " {\ndynamic wsgi_party where {\nguests p q\nallow " + allow + "\n}\n}\n}")
}

// says starts a server that says this.
func says(t *testing.T, text string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }))
	t.Cleanup(s.Close)
	return s
}

func address(s *httptest.Server) string { return s.Listener.Addr().String() }

func TestGuestsSayWhereRequestsGo(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, static := says(t, "one"), says(t, "static")
	_, port, _ := net.SplitHostPort(address(one))
	socket := filepath.Join(t.TempDir(), "a.sock")
	listener := check.Value(net.Listen("unix", socket))(t)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "socket") })}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	for _, try := range []struct {
		allow  string
		answer any
		want   string
	}{
		{"127.0.0.0/8", address(one), "one"},
		{"127.0.0.0/8", json.RawMessage(`["` + address(one) + `"]`), "one"},
		{"127.0.0.0/8", []any{address(one)}, "one"},
		{"127.0.0.0/8", "localhost:" + port, "one"}, // but not its ::1
		{"127.0.0.0/8", "[::ffff:127.0.0.1]:" + port, "one"},
		{"localhost:" + port, "127.0.0.1:" + port, "one"},
		{"localhost:" + port, "localhost:" + port, "one"},
		{"127.0.0.1:" + port, "localhost:" + port, "one"},
		{"unix/" + socket, "unix/" + socket, "socket"},
		{"127.0.0.2/32", address(one), "static"},
		{"127.0.0.1:1", address(one), "static"},
		{"unix/" + socket, "unix/" + socket + "x", "static"},
		{"unix/" + socket, address(one), "static"},
	} {
		site(c, try.allow, address(static))
		connectMain(t, "p", "where", partytest.Answers(try.answer))
		connectMain(t, "other", "where", partytest.Answers("127.0.0.1:1"))
		c.ExpectSoon("/", 200, try.want)
	}
}

// TestWhatAHostileGuestAnswersIsItsFailure has another guest answer well.
func TestWhatAHostileGuestAnswersIsItsFailure(t *testing.T) {
	c := partytest.NewCaddy(t)
	good, static := says(t, "good"), says(t, "static")
	t.Setenv("SECRET", "127.0.0.1")
	var answer any
	for _, answer = range []any{
		"{env.SECRET}:80", "127.0.0.1:{http.request.uri.query.port}", "{http.request.host}:80", "udp/127.0.0.1:53", "fd/3", "unix+h2c//run/a.sock", "tcp6/[::1]:80", "http://127.0.0.1:80/", "127.0.0.1", ":80", "127.0.0.1:0", "127.0.0.1:80-90", "127.0.0.1:65536", "127.0.0.1:x",
		"0.0.0.0:80", "[::]:80", "10.0.0.1:80", "[::1]:80", "[fe80::1%lo]:80", "[::ffff:10.0.0.1]:80", "224.0.0.1:80", "127.0.0.1:80\x00", "127.0.0.1:80\n", " 127.0.0.1:80", "unix//etc/passwd", "unix/relative", "unix//run/../etc/x", "unix//run/a|0777", "nothing.invalid:80", strings.Repeat("x", 600) + ":80",
		"", 7, nil, map[string]any{"a": "127.0.0.1:80"}, []any{7}, []any{address(good), "10.0.0.1:80"}, json.RawMessage(`{`), make([]string, 33), errors.New("oh no"),
	} {
		site(c, "127.0.0.0/8", address(static))
		connectMain(t, "p", "where", func(context.Context, any) (any, error) {
			if err, ok := answer.(error); ok {
				return nil, err
			}
			return answer, nil
		})
		connectMain(t, "q", "where", partytest.Answers(address(good)))
		partytest.ResetLog()
		c.ExpectSoon("/?port=80", 200, "good")
		entries := partytest.LogEntries(t, "guest failed")
		if len(entries) == 0 || entries[0]["guest"] != "p" || entries[0]["service"] != "where" || entries[0]["level"] != "warn" {
			t.Errorf("%.100v: %v", answer, entries)
		}
	}
}

func TestTheAdminAPIIsNoUpstream(t *testing.T) {
	c := partytest.NewCaddyWithAdmin(t)
	static := says(t, "static")
	_, port, _ := net.SplitHostPort(c.Admin)
	for _, answer := range []string{c.Admin, "localhost:" + port, "127.0.0.2:" + port, "[::ffff:127.0.0.1]:" + port} {
		site(c, "127.0.0.0/8 ::1/128", address(static))
		connectMain(t, "p", "where", partytest.Answers(answer))
		before := len(partytest.LogEntries(t, "guest failed"))
		c.ExpectSoon("/config/", 200, "static")
		entries := partytest.LogEntries(t, "guest failed")[before:]
		if len(entries) == 0 || !strings.Contains(entries[0]["error"].(string), "is that of this Caddy's admin API") {
			t.Errorf("%s: %v", answer, entries)
		}
	}
}

func TestWithoutAnAnswerCaddyTakesTheStaticUpstreams(t *testing.T) {
	c := partytest.NewCaddy(t)
	site(c, "127.0.0.0/8", address(says(t, "static")))
	c.Expect("/", 200, "static")
	check.Equal(t, len(partytest.LogEntries(t, "failed getting dynamic upstreams; falling back to static upstreams")), 1)
	site(c, "127.0.0.0/8", "")
	c.ExpectSoon("/", 503, "")
}

// TestAnswersAreKept counts asks under load, and after a failure.
func TestAnswersAreKept(t *testing.T) {
	c := partytest.NewCaddy(t)
	one := says(t, "one")
	site(c, "127.0.0.0/8", "")
	var asked atomic.Int64
	began := time.Now()
	connectMain(t, "p", "where", func(context.Context, any) (any, error) {
		asked.Add(1)
		return address(one), nil
	})
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 25 {
				c.Expect("/", 200, "one")
			}
		})
	}
	group.Wait()
	n, most := asked.Load(), int64(time.Since(began)/(5*time.Second))+1
	check.ErrorIf(t, n < 1 || n > most, "asked %d times, want %d", n, most)
}

func TestARequestThatIsRetriedAsksAgain(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, gone := says(t, "one"), says(t, "")
	gone.Close()
	c.Site("wsgi_party main {\nreverse_proxy {\ndynamic wsgi_party where {\nguests p\nallow 127.0.0.0/8\n}\nlb_try_duration 60s\nlb_try_interval 50ms\n}\n}")
	var asked atomic.Int64
	connectMain(t, "p", "where", func(context.Context, any) (any, error) {
		if asked.Add(1) == 1 {
			return address(gone), nil
		}
		return address(one), nil
	})
	c.Expect("/", 200, "one")
	check.Equal(t, asked.Load(), 2, "asks")
}

// TestAGuestMayBeReachedByItsOwnAnswer has it answer over a proxy that needs its answer.
func TestAGuestMayBeReachedByItsOwnAnswer(t *testing.T) {
	c := partytest.NewCaddy(t)
	a := partytest.NewApplication(t, "", nil)
	a.On(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/where" {
			partytest.JSON(`"`+a.Address()+`"`)(w, r)
			return
		}
		_, _ = io.WriteString(w, "page")
	})
	c.Site("wsgi_party main {\ninvite /p/__invite__/\nhandle_path /p/* {\nwsgi_party_guest {\nservice where GET /where\n}\nreverse_proxy " + a.Address() + " {\ndynamic wsgi_party where {\nguests p\nallow 127.0.0.0/8\n}\n}\n}\n}")
	c.Expect("/p/", 200, "page")
	check.Equal(t, len(partytest.LogEntries(t, "guest failed")), 0)
}

func TestWhatCannotBeMeantFailsTheConfig(t *testing.T) {
	c := partytest.NewCaddy(t)
	const guests, allow = "guests p\n", "allow 10.0.0.0/8\n"
	for lines, want := range map[string]string{
		"{\n" + guests + "}": "allow is missing", "{\n" + allow + "}": "guests is missing", "": "guests is missing", "{\n" + guests + "allow\n}": "`allow <cidr|host:port|unix path>...`", "{\nguests\n" + allow + "}": "`guests <name>...`",
		"{\n" + guests + "allow 10.0.0.1\n}": `allow is "10.0.0.1"`, "{\n" + guests + "allow 10.0.0.1/8\n}": "which is 10.0.0.0/8", "{\n" + guests + "allow ::ffff:10.0.0.0/104\n}": "which is 10.0.0.0/8", "{\n" + guests + "allow http://x/\n}": "a network such as", "{\n" + guests + "allow unix/run\n}": "absolute path",
		"{\nguests p p\n" + allow + "}": `"p" twice`, "{\nguests p:q\n" + allow + "}": `guests has "p:q"`, "{\nparty\n" + guests + allow + "}": "`party <party>`", "{\nparty a\nparty b\n" + guests + allow + "}": "already specified",
		"{\n" + guests + allow + "allows x\n}": "did you mean allow?", "more {\n" + guests + allow + "}": "`dynamic wsgi_party <service>`", "{\n" + guests + "allow 10.0.0.0/8 {\nx\n}\n}": "takes no block",
	} {
		_, _, err := c.TryAdapt("ADDRESS {\nwsgi_party main {\nreverse_proxy {\ndynamic wsgi_party where " + lines + "\n}\n}\n}")
		if err == nil {
			t.Errorf("%s: no error", lines)
			continue
		}
		check.Has(t, err.Error(), want, lines)
	}
	check.Fails(t, c.TryLoad("ADDRESS {\nreverse_proxy {\ndynamic wsgi_party where {\n"+guests+allow+"}\n}\n}"), "in no party's routes", "party <party>")
}

func TestTheJSONOfTheSource(t *testing.T) {
	const caddyfile = "localhost {\n\treverse_proxy {\n\t\tdynamic wsgi_party where {\n\t\t\tparty main\n\t\t\tguests a b\n\t\t\tallow 10.0.0.0/8 app.internal:80\n\t\t\tallow unix//run/a.sock\n\t\t}\n\t}\n}"
	config, _, err := partytest.AdaptCaddyfile(caddyfile)
	check.Must(t, err)
	partytest.CheckAdaptedAgain(t, caddyfile, config)
	handlers := partytest.HandlersIn(partytest.DecodeJSON(t, config), "reverse_proxy")
	check.FatalIf(t, len(handlers) != 1, string(config))
	encoded := check.Value(json.Marshal(handlers[0]["dynamic_upstreams"]))(t)
	check.Equal(t, string(encoded), `{"allow":["10.0.0.0/8","app.internal:80","unix//run/a.sock"],"guests":["a","b"],"party":"main","service":"where","source":"wsgi_party"}`)
}
