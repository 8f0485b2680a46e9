// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package php

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/debian"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// TestWhatGoesWithAnAsk has an application ask while it answers, and while it makes a page.
func TestWhatGoesWithAnAsk(t *testing.T) {
	p, _ := startPlain(t, "-n")
	p.ask("user", map[string]any{"id": 7})
	requests, bodies := p.asking.seen()
	if len(requests) != 1 || bodies[0] != `[{"service":"price","payload":{"id":7},"first":true}]` {
		t.Fatalf("%q", bodies)
	}
	header := requests[0].Header
	if strings.Count(header.Get("Party-Token"), ".") != 2 || header.Get("X-Forwarded-Prefix") != "/php" || header.Get("Authorization") != "Bearer "+p.key || header.Get("CDN-Loop") == "" {
		t.Errorf("while it answers: %v", header)
	}
	r, err := http.NewRequest(http.MethodGet, "http://"+p.Address+"/php/ask", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Party-Token": {"a.b.c"}, "X-Forwarded-Prefix": {"/evil"}, "Cdn-Loop": {"é\tx"}, "Cookie": {"a=b"}}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	requests, _ = p.asking.seen()
	for _, r := range requests {
		if r.Header.Get("Party-Token") != "" || r.Header.Get("X-Forwarded-Prefix") != "/php" || r.Header.Get("Cdn-Loop") != "?? x" && !strings.HasPrefix(r.Header.Get("Cdn-Loop"), "??") || r.Header.Get("Cookie") != "" {
			t.Errorf("for a visitor: %v", r.Header)
		}
	}
	if len(requests) != 5 {
		t.Errorf("%d requests", len(requests))
	}
}

// TestCaddyIsAskedAnywhere has it listen on a unix socket and speak TLS, and has the key in a
// file that it writes itself.
func TestCaddyIsAskedAnywhere(t *testing.T) {
	dir, err := os.MkdirTemp("", "party") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	keyFile := filepath.Join(dir, "key")
	want := `{"shop:cart":"/shop/cart"}`

	t.Run("unix", func(t *testing.T) {
		f := partytest.StartFPM(t, map[string]string{"WSGI_PARTY_KEY_FILE": keyFile}, "-n")
		c := partytest.NewCaddy(t)
		p := &party{Caddy: c}
		p.Site(fmt.Sprintf("wsgi_party main {\nask_on unix/%s/ask\ninvite /php/__invite__/ /shop/__invite__/\n%s\nhandle_path /php/* {\nwsgi_party_guest {\nkey auto %s\n}\n%s\n}\n}", dir, shop, keyFile, plain(t, f)))
		p.joined("php")
		p.pageIs(links("/php", "", "shop:cart"), want)
	})
	t.Run("https", func(t *testing.T) {
		debian.Install(t, "php-cli")
		p := newParty(t, "php", "respond hi")
		server := httptest.NewTLSServer(p.asking.Config.Handler)
		t.Cleanup(server.Close)
		root := filepath.Join(dir, "root.pem")
		if err := os.WriteFile(root, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
		ask := func(arguments ...string) string {
			command := exec.Command("php", append(arguments, "-r", "require '"+here(t, "src/Party.php")+"'; echo (new WsgiParty\\Party())->urlsFor(['shop:cart'])[0] ?? 'none';")...)
			command.Env = append(os.Environ(), "WSGI_PARTY_KEY="+p.key, "WSGI_PARTY_URL="+server.URL)
			output, _ := command.CombinedOutput()
			return string(output)
		}
		if got := ask("-d", "openssl.cafile="+root); got != "/shop/cart" {
			t.Error(got)
		}
		if got := ask(); !strings.HasSuffix(got, "none") || !strings.Contains(got, "certificate verify failed") {
			t.Errorf("with a certificate that nobody trusts: %s", got)
		}
	})
}

// TestAProcessThatLives asks from one that handles many requests, as workers of FrankenPHP do, without APCu.
func TestAProcessThatLives(t *testing.T) {
	debian.Install(t, "php-cli")
	p := newParty(t, "php", "respond hi")
	script := partytest.Scripts(t, map[string]string{"worker.php": `
		require '` + here(t, "src/Party.php") + `';
		$ask = $argv[1];
		$party = new WsgiParty\Party(['page' => '/page/{n}', 'other' => '/other']);
		$visit = function (string $uri, array $links, ?string $partyAsk = null) use ($party, $ask): array {
			$party->handle(['REQUEST_METHOD' => 'GET', 'REQUEST_URI' => $uri, 'SERVER_SOFTWARE' => 'FrankenPHP', 'HTTP_X_FORWARDED_PREFIX' => '/php', 'HTTP_PARTY_ASK' => $partyAsk ?? $ask], fn () => '');
			return array_map(fn (array $link): ?string => $party->urlsFor([$link])[0], $links);
		};
		$links = fn (int $from, int $to): array => array_map(fn (int $i): array => ['shop:item', ['id' => $i]], range($from, $to));
		$log = [];
		$log[] = $visit('/php/page/1', $links(1, 3));
		$log[] = $visit('/php/page/2', $links(1, 3));          // in one request
		$log[] = $visit('/php/page/3', $links(2, 4));          // and one for what is new
		$log[] = $visit('/php/page/4', $links(2, 4), '');      // in one again, without what is not used any more
		$log[] = $visit('/php/other', $links(1, 1), 'http://127.0.0.1:1/; mac=x');
		$party->handle(['REQUEST_METHOD' => 'GET', 'REQUEST_URI' => '/php/many'], fn () => '');
		$log[] = count(array_filter($party->urlsFor($links(1, 600))));
		echo json_encode($log);`})
	command := exec.Command("php", "-n", script+"/worker.php", p.asking.URL+"/; mac="+mac(p.key, p.asking.URL+"/"))
	command.Env = []string{"WSGI_PARTY_KEY=" + p.key}
	output, err := command.Output()
	var log []any
	if err := json.Unmarshal(output, &log); err != nil {
		t.Fatalf("%s", output)
	}
	if err != nil || fmt.Sprint(log) != "[[/shop/items/1 /shop/items/2 /shop/items/3] [/shop/items/1 /shop/items/2 /shop/items/3] [/shop/items/2 /shop/items/3 /shop/items/4] [/shop/items/2 /shop/items/3 /shop/items/4] [/shop/items/1] 600]" {
		t.Errorf("%v %s", err, output)
	}
	_, bodies := p.asking.seen()
	var asked []string
	for _, body := range bodies {
		var batch []struct {
			Payload struct{ Values struct{ ID string } }
		}
		if err := json.Unmarshal([]byte(body), &batch); err != nil {
			t.Fatal(err)
		}
		if len(batch) > 4 {
			asked = append(asked, fmt.Sprint(len(batch)))
			continue
		}
		ids := ""
		for _, question := range batch {
			ids += question.Payload.Values.ID
		}
		asked = append(asked, ids)
	}
	if got := strings.Join(asked, " "); got != "1 2 3 123 213 4 234 1 256 256 88" {
		t.Errorf("asked for %s", got)
	}
}

// TestSeveralAsksTravelTogether has many ask at once.
func TestSeveralAsksTravelTogether(t *testing.T) {
	address, _ := start(t, "testdata/plain.php", "WSGI_PARTY_KEY="+partytest.Key(t, "php"))
	batches := partytest.NewBatches(address)
	p := newParty(t, "php", "reverse_proxy "+batches.Address)
	t.Cleanup(batches.Close)
	p.joined("php")
	batches.Expect(t, func(payload any) ([]any, error) { return p.AskAround("main", "echo", payload) })
}

// TestEachAskOfABatchHandsBackItsOwn asks from handlers of several asks that came in one request.
func TestEachAskOfABatchHandsBackItsOwn(t *testing.T) {
	debian.Install(t, "php-cli")
	p := newParty(t, "php", "respond hi")
	script := partytest.Scripts(t, map[string]string{"worker.php": `
		require '` + here(t, "src/Party.php") + `';
		$party = new WsgiParty\Party([], ['relay' => fn ($id, $party) => [$party->askFirst('price', ['id' => $id]), $party->urlFor('shop:cart')]]);
		$trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
		$batch = json_encode([
			['payload' => 1, 'token' => 'a.b.c', 'traceparent' => $trace], ['payload' => 2], ['payload' => 3, 'token' => 'd.e.f'],
			['payload' => 4, 'token' => "g\r\nh: i", 'traceparent' => 'é'],
		]);
		$encode = WsgiParty\Keys::base64url(...);
		$claims = ['aud' => 'php', 'iat' => time(), 'exp' => time() + 60, 'htm' => 'POST', 'htu' => '/php/i/partyline/relay', 'bsh' => $encode(hash('sha256', $batch, true)), 'mnt' => '/php'];
		$signed = $encode('{"alg":"HS256"}') . '.' . $encode(json_encode($claims));
		$token = $signed . '.' . $encode(hash_hmac('sha256', $signed, getenv('WSGI_PARTY_KEY'), true));
		echo $party->handle(['REQUEST_METHOD' => 'POST', 'REQUEST_URI' => '/i/partyline/relay', 'HTTP_PARTY_TOKEN' => $token, 'HTTP_X_FORWARDED_PREFIX' => '/php', 'HTTP_CDN_LOOP' => 'caddy', 'HTTP_PARTY_ASK' => $argv[1]], fn () => $batch)[2];
		$party->askFirst('price');`})
	command := exec.Command("php", "-n", script+"/worker.php", p.asking.URL+"/; mac="+mac(p.key, p.asking.URL+"/"))
	command.Env = []string{"WSGI_PARTY_KEY=" + p.key}
	p.asking.do(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `[{"answers":["/x"],"replies":[]}]`)
	})
	if output, err := command.Output(); err != nil || string(output) != "["+strings.Repeat(`{"answer":["/x","/x"]},`, 3)+`{"answer":["/x","/x"]}]` {
		t.Errorf("%v %s", err, output)
	}
	requests, _ := p.asking.seen()
	var got []string
	for _, r := range requests {
		got = append(got, fmt.Sprintf("%s %.5s %s %s", r.Header.Get("Party-Token"), r.Header.Get("Traceparent"), r.Header.Get("Cdn-Loop"), r.Header.Get("X-Forwarded-Prefix")))
	}
	if want := []string{"a.b.c 00-0a caddy /php", "a.b.c 00-0a caddy /php", "  caddy /php", "  caddy /php", "d.e.f  caddy /php", "d.e.f  caddy /php", "  caddy /php", "  caddy /php", "  caddy /php"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// TestBehindReverseProxy has both applications in a server of their own, which sees no mount.
func TestBehindReverseProxy(t *testing.T) {
	for guest, script := range map[string]string{"php": "testdata/plain.php", "sf": "testdata/symfony/index.php"} {
		address, _ := start(t, script, "WSGI_PARTY_KEY="+partytest.Key(t, guest), "CACHE="+cache())
		p := newParty(t, guest, "reverse_proxy "+address)
		p.joined(guest)
		for _, path := range []string{"/" + guest + "/posts/x", "/" + guest + "/" + guest + "/links"} {
			if got := strings.ReplaceAll(p.page(path), `\/`, "/"); !strings.Contains(got, `"path":"`+strings.TrimPrefix(path, "/"+guest)+`"`) || !strings.Contains(got, "/"+guest+"/posts/%C3%A9%20b") {
				t.Errorf("%s: %s", path, got)
			}
		}
		if got := strings.ReplaceAll(p.page(links("/"+guest, "", "home", "shop:cart")), `\/`, "/"); got != `{"home":"/`+guest+`/","shop:cart":"/shop/cart"}` {
			t.Error(got)
		}
		if got := p.ask("user", map[string]any{"id": 7}); !strings.Contains(got, "Ann") {
			t.Error(got)
		}
		if got := p.urlFor(guest+":post", `{"slug":"x"}`); got != "/"+guest+"/posts/x" {
			t.Error(got)
		}
	}
}
