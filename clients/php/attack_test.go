// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package php

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/conformance"
	"github.com/wsgiparty/wsgiparty/internal/debian"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// start starts an application of testdata as a server of its own, past Caddy.
func start(t testing.TB, script string, environment ...string) (address string, output *partyOutput) {
	t.Helper()
	debian.Install(t, "php-cli", "php-symfony-framework-bundle", "php-symfony-twig-bundle", "php-apcu")
	address = testport.Address(t)
	command := exec.Command("php", "-S", address, here(t, script))
	command.Env = append(os.Environ(), "PHP_CLI_SERVER_WORKERS=6")
	command.Env = append(command.Env, environment...)
	output = new(partyOutput)
	command.Stdout, command.Stderr = output, output
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its workers do not end with it
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGTERM)
		_ = command.Wait()
		http.DefaultClient.CloseIdleConnections()
	})
	partytest.Eventually(t, "php listens", func() bool {
		conn, err := net.Dial("tcp", address)
		return err == nil && conn.Close() == nil
	})
	return address, output
}

// mac is what Caddy sends in Party-Ask.
func mac(key, address string) string {
	h := hmac.New(sha256.New, []byte(key))
	h.Write([]byte("wsgi_party ask v1\x00" + address))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

func get(t testing.TB, address string, header http.Header) (status int, body string, took time.Duration) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	began := time.Now()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text), time.Since(began)
}

// TestApplicationsConform has both applications checked with forged, replayed, foreign and empty-key tokens.
func TestApplicationsConform(t *testing.T) {
	key, other := partytest.Key(t, "php"), partytest.Key(t, "other")
	for script, options := range map[string]conformance.Options{
		"testdata/plain.php":         {Mount: "/php", Guest: "php", Page: "/many", Payloads: map[string]string{"user": `{"id":7}`}},
		"testdata/symfony/index.php": {Mount: "/sf", Guest: "sf", Page: "/many", Payloads: map[string]string{"user": `{"id":1}`}},
	} {
		t.Run(script, func(t *testing.T) {
			t.Parallel() // it waits for most of the time
			address, output := start(t, script, "WSGI_PARTY_KEY="+key+" "+other, "WSGI_PARTY_GUEST="+options.Guest, "CACHE="+cache())
			options.URL, options.Keys = "http://"+address+"/__invite__/", []string{key, other}
			report, err := conformance.Check(t.Context(), options)
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range report.Lines {
				if line.Result == conformance.Fail || line.Result != conformance.OK && strings.HasPrefix(line.ID, "asking.") {
					t.Errorf("%+v", line)
				}
			}
			if t.Failed() {
				t.Log(output)
			}
		})
	}
}

// TestTheKeyGoesNowhereElse sends what a visitor could who reaches PHP past Caddy.
func TestTheKeyGoesNowhereElse(t *testing.T) {
	key, other := partytest.Key(t, "php"), partytest.Key(t, "other")
	attacker := newAsking(t, "")
	attacker.do(partytest.Status(http.StatusOK))
	there := attacker.URL + "/"
	unix := "unix/" + here(t, "nowhere")
	address, output := start(t, "testdata/plain.php", "WSGI_PARTY_KEY="+key)
	for name, headers := range map[string][]string{
		"no mac":           {there},
		"an empty mac":     {there + "; mac="},
		"another key's":    {there + "; mac=" + mac(other, there)},
		"an empty key's":   {there + "; mac=" + mac("", there)},
		"another URL's":    {there + "; mac=" + mac(key, "http://127.0.0.1:1/")},
		"two macs":         {there + "; mac=" + mac(key, there) + "; mac=" + mac(key, there)},
		"two headers":      {there + "; mac=" + mac(key, there), unix + "; mac=" + mac(key, unix)},
		"a longer one":     {there + "; mac=" + mac(key, there) + "; x=" + strings.Repeat("x", 1<<10)},
		"padding":          {there + "; mac=" + mac(key, there) + "="},
		"another alphabet": {there + "; mac=" + strings.NewReplacer("-", "+", "_", "/").Replace(mac(key, there)+"-")},
		"no address":       {"; mac=" + mac(key, "")},
		"spaces":           {there + " ; mac=" + mac(key, there+" ")},
		"credentials":      {"http://a@" + there[7:] + "; mac=" + mac(key, "http://a@"+there[7:])},
		"a query":          {there + "?x; mac=" + mac(key, there+"?x")},
		"file":             {"file:///etc/passwd; mac=" + mac(key, "file:///etc/passwd")},
		"php":              {"php://input; mac=" + mac(key, "php://input")},
		"a header":         {there + "\tX; mac=" + mac(key, there+"\tX")},
	} {
		if _, body, _ := get(t, "http://"+address+links("", "", "shop:cart"), http.Header{"Party-Ask": headers}); !strings.Contains(body, "Party-Ask is not trusted") {
			t.Errorf("%s: %s", name, body)
		}
		if requests, _ := attacker.seen(); len(requests) > 0 {
			t.Errorf("%s: %q is believed: %v", name, headers, requests[0].Header)
		}
	}
	if strings.Contains(output.String(), key) || strings.Count(output.String(), "Party-Ask is not trusted") != 1 {
		t.Errorf("in the log: %s", output)
	}
	for _, header := range []string{there + ";mac=" + mac(key, there), there + " ; other=x; MAC=" + mac(key, there) + "; y", there + "; line=a.1; mac=" + mac(key, there+"; line=a.1")} {
		get(t, "http://"+address+links("", "", "shop:cart"), http.Header{"Party-Ask": {header}})
		if requests, _ := attacker.seen(); len(requests) != 1 || requests[0].Header.Get("Authorization") != "Bearer "+key {
			t.Errorf("%q is not believed", header)
		}
	}
}

// TestAnswersThatAreNone has an application ask a Caddy that is none.
func TestAnswersThatAreNone(t *testing.T) {
	key := partytest.Key(t, "php")
	proxied := newAsking(t, "")
	proxied.do(partytest.Status(http.StatusOK))
	hostile := http.NewServeMux()
	server := httptest.NewServer(hostile)
	t.Cleanup(server.Close)
	elsewhere := newAsking(t, "")
	elsewhere.do(partytest.Status(http.StatusOK))
	raw := func(text string, then func(net.Conn)) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, text)
			if then != nil {
				then(conn)
			}
		}
	}
	trickle := func(text string, pause time.Duration) func(net.Conn) {
		return func(conn net.Conn) {
			for {
				if _, err := io.WriteString(conn, text); err != nil {
					return
				}
				time.Sleep(pause)
			}
		}
	}
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	result := func(answers string) http.HandlerFunc {
		return partytest.JSON(`[{"answers": ` + answers + `, "replies": []}]`)
	}
	// The environment says what PHP's own http:// would obey.
	environment := []string{"WSGI_PARTY_KEY=" + key, "http_proxy=" + proxied.URL, "HTTP_PROXY=" + proxied.URL}
	shared, output := start(t, "testdata/plain.php", environment...)
	var visits sync.WaitGroup
	n := 0
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		why    string
		slow   bool
	}{
		"a redirect":                {partytest.Status(http.StatusTemporaryRedirect, "Location", elsewhere.URL), "status 307", false},
		"401":                       {partytest.Status(http.StatusUnauthorized), "status 401", false},
		"no JSON":                   {partytest.JSON("<html>"), "one result for each question", false},
		"no list":                   {partytest.JSON("{}"), "one result for each question", false},
		"two results":               {partytest.JSON("[{},{}]"), "one result for each question", false},
		"deep":                      {partytest.JSON(strings.Repeat("[", 1e5)), "one result for each question", false},
		"nothing":                   {raw("", nil), "cut off", false},
		"no HTTP":                   {raw("220 mail.example.com ESMTP\r\n", nil), "not HTTP", false},
		"a line without end":        {raw("HTTP/1.1 200 ", trickle(strings.Repeat("x", 1<<12), 0)), "not HTTP", false},
		"a head without end":        {raw(ok, trickle("A: b\r\n", 0)), "endless head", false},
		"100 without end":           {raw("", trickle("HTTP/1.1 100 Continue\r\n\r\n", 0)), "too long", false},
		"a body without end":        {raw(ok+"\r\n", trickle(strings.Repeat("x", 1<<16), 0)), "too long", false},
		"chunks without end":        {raw(ok+"Transfer-Encoding: chunked\r\n\r\n", trickle("10\r\n0123456789abcdef\r\n", 0)), "too long", false},
		"a giant length":            {raw(ok+"Content-Length: 9999999999\r\n\r\n", nil), "too long", false},
		"a giant chunk":             {raw(ok+"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n", nil), "too long", false},
		"no length of a chunk":      {raw(ok+"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", nil), "badly chunked", false},
		"cut off":                   {raw(ok+"Content-Length: 100\r\n\r\n[", nil), "cut off", false},
		"cut off in a chunk":        {raw(ok+"Transfer-Encoding: chunked\r\n\r\n10\r\n[", nil), "cut off", false},
		"trickling":                 {raw(ok+"\r\n[", trickle(" ", 20*time.Millisecond)), "in time", true},
		"a trickling head":          {raw("", trickle("H", 20*time.Millisecond)), "in time", true},
		"silence":                   {raw(ok, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }), "in time", true},
		"a script":                  {result(`["javascript:alert(1)"]`), "", false},
		"another host":              {result(`["//evil.example/"]`), "", false},
		"another host's backslash":  {result(`["/\\evil.example/"]`), "", false},
		"a line break":              {result(`["/a\nSet-Cookie: b"]`), "", false},
		"an attribute":              {result(`["/\" onclick=\"alert(1)"]`), "", false},
		"a tag":                     {result(`["/<script>"]`), "", false},
		"credentials":               {result(`["http://shop.example@evil.example/"]`), "", false},
		"no string":                 {result(`[["/a"]]`), "", false},
		"answers that are none":     {result(`"/a"`), "", false},
		"replies that are none":     {partytest.JSON(`[{"answers": [], "replies": [7, {"status": "failed", "error": {"a": 1}}, {"status": "failed", "error": "a\nb"}]}]`), "", false},
		"null":                      {partytest.JSON(`[null]`), "", false},
		"an interim response first": {raw("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"+ok+"\r\n[{\"answers\":[\"/shop/cart\"]}]", nil), "/shop/cart", false},
		"without a length":          {raw("HTTP/1.0 200 OK\n\n[{\"answers\":[\"/shop/cart\"]}]", nil), "/shop/cart", false},
		"chunked":                   {raw(ok+"Transfer-Encoding: chunked\r\n\r\n5;x=y\r\n[{\"an\r\n1D\r\nswers\":[\"https://a.example/#x\"]}]\r\n0\r\nTrailer: x\r\n\r\n", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }), `https://a.example/#x`, false},
	} {
		n++
		there := fmt.Sprintf("%s/%d/", server.URL, n)
		var asked atomic.Int64
		hostile.HandleFunc(fmt.Sprintf("/%d/", n), func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			test.answer(w, r)
		})
		address := shared
		if test.slow {
			address, _ = start(t, "testdata/plain.php", environment...)
		}
		visit := func() {
			header := http.Header{"Party-Ask": {there + "; mac=" + mac(key, there)}}
			status, body, took := get(t, "http://"+address+links("", "", "shop:cart"), header)
			if test.why == "" {
				test.why = `{"shop:cart":"OutOfBoundsException: nobody has the page \"shop:cart\""}`
			}
			if status != http.StatusOK || !strings.Contains(body, test.why) {
				t.Errorf("%s: %d %s, want %s", name, status, body, test.why)
			}
			if took > 30*time.Second || test.slow && took < 4*time.Second {
				t.Errorf("%s: it took %v", name, took)
			}
			if test.slow { // now the party is down
				_, body, _ = get(t, "http://"+address+links("", "", "shop:cart"), header)
				if asked.Load() != 1 || !strings.Contains(body, "left alone") {
					t.Errorf("%s: asked %d times, %s", name, asked.Load(), body)
				}
			}
			if strings.Contains(body, key) {
				t.Errorf("%s: %s", name, body)
			}
		}
		if test.slow {
			visits.Go(visit)
		} else {
			visit()
		}
	}
	visits.Wait()
	if strings.Contains(output.String(), key) || strings.Contains(output.String(), "\nb") {
		t.Errorf("the log: %s", output)
	}
	if elsewhere.count()+proxied.count() > 0 {
		t.Error("it was asked elsewhere")
	}
}

func TestAPartyThatIsDown(t *testing.T) {
	key := partytest.Key(t, "php")
	address, output := start(t, "testdata/plain.php", "WSGI_PARTY_KEY="+key)
	there := "http://" + testport.Address(t) + "/"
	header := http.Header{"Party-Ask": {there + "; mac=" + mac(key, there)}}
	for range 5 {
		status, body, took := get(t, "http://"+address+"/ask", header)
		if status != http.StatusOK || took > 10*time.Second || body != `[[],null,"default",[],{"cart":null,"own":"/","nobody":null,"3":null}]` {
			t.Errorf("%d %s %v", status, body, took)
		}
	}
	if n := strings.Count(output.String(), "not be reached"); n != 1 {
		t.Errorf("%d times in the log: %s", n, output)
	}
	if !strings.Contains(output.String(), fmt.Sprintf("Caddy could not be reached at %s: no connection: Connection refused; it is left alone for 1 s", there)) {
		t.Errorf("%s", output)
	}
}
