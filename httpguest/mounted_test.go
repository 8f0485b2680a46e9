// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// mounted is what an application at the root answers in a header, and what a client gets of one at /blog.
var mounted = []struct{ header, answered, want string }{
	{"Location", "/", "/blog/"},
	{"Location", "/login?next=/admin/#form", "/blog/login?next=/admin/#form"},
	{"Location", "/login?next=//x/y", "/blog/login?next=//x/y"},
	{"Location", "/blog", "/blog"},
	{"Location", "/blog/", "/blog/"},
	{"Location", "/blog?page=2", "/blog?page=2"},
	{"Location", "/%62log/login", "/%62log/login"},
	{"Location", "/blogs/1", "/blog/blogs/1"},
	{"Location", "/a//b", "/blog/a//b"},
	{"Location", "/../x", "/blog/x"},
	{"Location", "/blog/../x", "/blog/x"},
	{"Location", "/blog/%2E%2e/x", "/blog/x"},
	{"Location", "/a/./b/..", "/blog/a/"},
	{"Location", "/a/.b/..c", "/blog/a/.b/..c"},
	{"Location", `/a\..\..\shop?b=\`, `/blog/shop?b=\`},
	{"Location", "/.\t./shop", "/blog/shop"},
	{"Location", `\shop`, "/blog/shop"},
	{"Location", `/\example.com`, `/\example.com`}, // which is another host to browsers
	{"Location", `http:\\localhost\login`, "http://localhost/blog/login"},
	{"Location", "/\u202e/%00/\xff", "/blog/\u202e/%00/\xff"},
	{"Location", "///example.com/login", "///example.com/login"},
	{"Location", "/caf%C3%A9?q=%2F", "/blog/caf%C3%A9?q=%2F"},
	{"Location", "/100%", "/blog/100%"},
	{"Location", "next", "next"},
	{"Location", "../up", "../up"},
	{"Location", "?page=2", "?page=2"},
	{"Location", "#top", "#top"},
	{"Location", "http://localhost/login", "http://localhost/blog/login"},
	{"Location", "https://LOCALHOST:443/login", "https://LOCALHOST:443/blog/login"},
	{"Location", "http://localhost", "http://localhost/blog/"},
	{"Location", "http://localhost?x", "http://localhost/blog/?x"},
	{"Location", "http://localhost/blog/login", "http://localhost/blog/login"},
	{"Location", "//localhost/login", "//localhost/blog/login"},
	{"Location", "http://localhost:81/login", "http://localhost:81/login"},
	{"Location", "http://localhost.example.com/login", "http://localhost.example.com/login"},
	{"Location", "http://user@localhost/login", "http://user@localhost/login"},
	{"Location", "//example.com/login", "//example.com/login"},
	{"Location", "mailto:me@localhost", "mailto:me@localhost"},
	{"Content-Location", "/posts/1.json", "/blog/posts/1.json"},
	{"Link", `</style.css>; rel=preload, </script.js>;rel="preload; <x>", <https://example.com/>; rel=me, <p2>; rel="next"`,
		`</blog/style.css>; rel=preload, </blog/script.js>;rel="preload; <x>", <https://example.com/>; rel=me, <p2>; rel="next"`},
	{"Link", `</a,b>; title="\"</c>\""`, `</blog/a,b>; title="\"</c>\""`},
	{"Link", "</open", "</open"},
	{"Link", `</a>; rel=x; anchor="/b", <c>; Anchor = "https://localhost/d"; rel=x`, `</blog/a>; rel=x; anchor="/blog/b", <c>; Anchor = "https://localhost/blog/d"; rel=x`},
	{"Link", `</a>; anchor="#b"; title="; anchor=\"/c\""`, `</blog/a>; anchor="#b"; title="; anchor=\"/c\""`},
	{"Link", "< /a >; rel=x", "</blog/a>; rel=x"},
	{"Refresh", "5; url=/next", "5; url=/blog/next"},
	{"Refresh", "0;URL='/next'", "0;URL='/blog/next'"},
	{"Refresh", `1.5 , "/next" more`, `1.5 , "/blog/next" more`},
	{"Refresh", "0;/next", "0;/blog/next"},
	{"Refresh", "0; url = next", "0; url = next"},
	{"Refresh", "5", "5"},
	{"Refresh", "0 /next", "0 /blog/next"},
	{"Refresh", " 1.5\turl = '/next'", "1.5\turl = '/blog/next'"}, // as net/http sends it
	{"Refresh", "0 ./next", "0 ./next"},
	{"Refresh", "0;./next", "0;./next"},
	{"Refresh", "0/next", "0/next"},
	{"Set-Cookie", "session=1; Path=/; HttpOnly", "session=1; Path=/blog; HttpOnly"},
	{"Set-Cookie", "session=/;path = /admin/ ;Secure", "session=/;path =/blog/admin/;Secure"},
	{"Set-Cookie", "session=1; Path=/blog/", "session=1; Path=/blog/"},
	{"Set-Cookie", "session=1; Path=/x; path=/shop", "session=1; Path=/blog/x; path=/blog/shop"},
	{"Set-Cookie", "session=1; Path=//evil.example", "session=1; Path=/blog//evil.example"},
	{"Set-Cookie", `session=1; Path="/"`, `session=1; Path="/"`}, // which is none to browsers
	{"Set-Cookie", "session=1; Path=/blogs", "session=1; Path=/blog/blogs"},
	{"Set-Cookie", "session=1", "session=1"},
	{"Set-Cookie", "session=1; Path=", "session=1; Path="},
	{"Set-Cookie", "__host-session=1; Secure; Path=/", "__host-session=1; Secure; Path=/"},
}

// serveMounted loads an application at a mount that answers its requests with that function.
func serveMounted(t *testing.T, mount, prefix string, answer http.HandlerFunc) *guestTest {
	c := newGuestTest(t)
	a := partytest.NewApplication(t, "", answer)
	site := "wsgi_party " + c.party + " {\n" + prefix + "\ninvite " + mount + "/__invite__/ as blog\n" +
		"handle {\nuri strip_prefix " + mount + "\nwsgi_party_guest {\nmount_responses\nfetch_manifest off\n}\nreverse_proxy " + a.Address() + "\n}\n}\n"
	_, port, _ := net.SplitHostPort(c.Address)
	c.Caddy.Load("http://:" + port + " {\nroute {\n" + strings.Replace(prefix, "prefix", "uri strip_prefix", 1) + "\nheader Link </before>\n" + site + "}\n}")
	return c
}

// TestResponsesAreMounted has an application answer as if it were at the root.
func TestResponsesAreMounted(t *testing.T) {
	c := serveMounted(t, "/blog", "", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add(r.Header.Get("X-Name"), r.Header.Get("X-Value"))
		if r.Header.Get("X-Write") != "" {
			_, _ = io.WriteString(w, "hello")
		}
	})
	for _, write := range []string{"", "body"} {
		for _, test := range mounted {
			r := check.Value(http.NewRequest("GET", "http://"+c.Address+"/blog/x", nil))(t)
			r.Host = "localhost"
			r.Header = http.Header{"X-Name": {test.header}, "X-Value": {test.answered}, "X-Write": {write}}
			response := check.Value(partytest.Send(r))(t)
			values := response.Header[test.header]
			check.Equal(t, values[len(values)-1], test.want, test.answered)
			check.Equal(t, response.Header["Link"][0], "</before>", "what stands in front has set it")
		}
	}
	warned := partytest.LogEntries(t, "a cookie keeps the path /: browsers send it to all applications on the host")
	check.Equal(t, len(warned), 1, "warnings")
	check.Contains(t, fmt.Sprint(warned), []string{"__host-session", "Path=/"})
}

// TestThePrefixOfResponses has a proxy in front of Caddy strip /site. The application may know where it is mounted, or
// where in Caddy.
func TestThePrefixOfResponses(t *testing.T) {
	c := serveMounted(t, "/caf%C3%A9", "prefix /site", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.Header.Get("X-Location"))
		w.WriteHeader(http.StatusFound)
	})
	for answered, want := range map[string]string{
		"/login":                  "/site/caf%C3%A9/login",
		"/caf%C3%A9/login":        "/site/caf%C3%A9/login",
		"/café/login":             "/site/café/login",
		"/site/caf%C3%A9/login":   "/site/caf%C3%A9/login",
		"/site/login":             "/site/caf%C3%A9/site/login",
		"/site/caf%C3%A9login":    "/site/caf%C3%A9/site/caf%C3%A9login",
		"/site/../caf%C3%A9/../x": "/site/caf%C3%A9/x",
	} {
		r := check.Value(http.NewRequest("GET", "http://"+c.Address+"/site/caf%C3%A9/x", nil))(t)
		r.Header = http.Header{"X-Location": {answered}, "X-Forwarded-Prefix": {"/evil"}}
		response := check.Value(partytest.Send(r))(t)
		check.Deep(t, response.Header["Location"], []string{want}, answered)
	}
}

// TestWhatIsNotMounted has hints, upgrades and trailers of applications pass as they are.
func TestWhatIsNotMounted(t *testing.T) {
	c := serveMounted(t, "/blog", "", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hints":
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusOK)
		case "/trailer":
			w.Header().Set("Trailer", "Location")
			_, _ = io.WriteString(w, "hello")
			w.Header().Set("Location", "/trailer")
		case "/upgrade":
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nLocation: /up\r\n\r\n")
				conn.Close()
			}
		}
	})
	hinted := ""
	trace := &httptrace.ClientTrace{Got1xxResponse: func(_ int, header textproto.MIMEHeader) error {
		hinted = strings.Join(header["Link"], " ")
		return nil
	}}
	r := check.Value(http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "GET", "http://"+c.Address+"/blog/hints", nil))(t)
	response := check.Value(partytest.Send(r))(t)
	check.Contains(t, hinted, []string{"</style.css>"}, "the hint")
	check.Contains(t, fmt.Sprint(response.Header["Link"]), []string{"</blog/style.css>"}, "the response")

	whole := check.Value(partytest.Client.Get("http://" + c.Address + "/blog/trailer"))(t)
	partytest.ReadAll(t, whole)
	check.Equal(t, whole.Trailer.Get("Location"), "/trailer")

	conn := check.Value(net.Dial("tcp", c.Address))(t)
	defer conn.Close()
	check.Value(io.WriteString(conn, "GET /blog/upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"))(t)
	upgraded := check.Value(http.ReadResponse(bufio.NewReader(conn), nil))(t)
	check.Equal(t, upgraded.StatusCode, http.StatusSwitchingProtocols)
	check.Equal(t, upgraded.Header.Get("Location"), "/up")
}
