// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package examples

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/debian"
	"github.com/wsgiparty/wsgiparty/internal/testport"
	"github.com/wsgiparty/wsgiparty/internal/token"
)

// running is examples/run at work.
type running struct {
	*testing.T
	dir    string            // for its sockets
	keys   map[string]string // by application
	site   string
	log    *syncBuffer
	client *http.Client
}

// run starts all examples, as a newcomer does. They end with the test, as they should.
func run(t *testing.T) *running {
	t.Helper()
	debian.Install(t, "gunicorn", "python3-flask", "python3-django", "php-fpm", "nodejs", "chromium")
	dir, err := os.MkdirTemp("", "examples") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	caddy := filepath.Join(dir, "caddy.exe")
	arguments := []string{"build", "-o", caddy}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		arguments = append(arguments, "-race")
	}
	if output, err := exec.Command("go", append(arguments, "../cmd/caddy")...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}

	r := &running{T: t, dir: filepath.Join(dir, "run"), log: new(syncBuffer), keys: make(map[string]string)}
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	portOf := func(address string) string {
		_, port, _ := net.SplitHostPort(address)
		return port
	}
	port, legacy, admin := portOf(testport.Address(t)), testport.Address(t), testport.Address(t)
	r.site = "https://localhost:" + port
	c, end, err := command("bash", "./run")
	if err != nil {
		t.Fatal(err)
	}
	c.Env = append(c.Env, "CADDY="+caddy, "RUN="+r.dir, "PORT="+port, "LEGACY_PORT="+portOf(legacy),
		"ASK_PORT="+portOf(testport.Address(t)), "ADMIN="+admin,
		"HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	for _, application := range []string{"django", "flask", "node", "php"} {
		r.keys[application] = rand.Text() + rand.Text()
		c.Env = append(c.Env, strings.ToUpper(application)+"_PARTY_KEY="+r.keys[application])
	}
	c.Stdout, c.Stderr = r.log, r.log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(3*time.Minute, end)
	t.Cleanup(func() {
		watchdog.Stop()
		end()
		c.Wait()
		const terminated = 128 + int(syscall.SIGTERM)
		if code := c.ProcessState.ExitCode(); code != terminated {
			t.Errorf("examples/run ends with status %d, want %d (%d: it left processes behind)", code, terminated, leftBehind)
		}
		if _, err := os.Stat(r.dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it left its sockets behind: %v", err)
		}
		if l, err := net.Listen("tcp", legacy); err != nil {
			t.Errorf("it left a listener behind: %v", err)
		} else {
			l.Close()
		}
		if strings.Contains(r.log.String(), "DATA RACE") {
			t.Error("there was a data race")
		}
		if t.Failed() {
			t.Log(r.log)
		}
	})

	// Visitors verify the certificate.
	roots := x509.NewCertPool()
	r.eventually("there is a certificate authority", func() bool {
		root, err := os.ReadFile(filepath.Join(dir, "caddy/pki/authorities/local/root.crt"))
		return err == nil && roots.AppendCertsFromPEM(root)
	})
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	r.client = &http.Client{Transport: transport, Timeout: 20 * time.Second}
	r.eventually("all have joined", func() bool {
		response, err := http.Get("http://" + admin + "/wsgi_party/main")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		shown, err := io.ReadAll(response.Body)
		return err == nil && bytes.Count(shown, []byte(`"result":"joined"`)) == len(applications)
	})
	r.eventually("the application runs for which Caddy speaks", func() bool {
		c, err := net.Dial("tcp", legacy)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	r.eventually("the site has its certificate", func() bool {
		_, err := r.get(r.site + "/")
		return err == nil
	})
	return r
}

func (r *running) eventually(what string, condition func() bool) {
	r.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.Fatalf("not in time: %s", what)
		}
	}
}

// get visits a URL.
func (r *running) get(address string) (page, error) {
	return get(r.client, address)
}

// browse visits a URL with a browser that was never used before.
func (r *running) browse(address string) (page, error) {
	profile, err := os.MkdirTemp(filepath.Dir(r.dir), "profile")
	if err != nil {
		return page{}, err
	}
	c, end, err := command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
		"--user-data-dir="+profile, "--ignore-certificate-errors", "--dump-dom", address)
	if err != nil {
		return page{}, err
	}
	var dom, log bytes.Buffer
	c.Stdout, c.Stderr = &dom, &log
	watchdog := time.AfterFunc(30*time.Second, end)
	defer watchdog.Stop()
	defer end()
	if err := c.Run(); err != nil && c.ProcessState.ExitCode() != leftBehind { // it may leave a helper
		return page{}, fmt.Errorf("%s: chromium: %w\n%s", address, err, log.Bytes())
	}
	return parse(address, dom.String())
}

var applications = []string{"django", "flask", "gopher", "legacy", "node", "php"}

// crawl follows all links from the first page on. The pages of each application have
// to lead to those of every other.
func (r *running) crawl(t *testing.T, visit func(string) (page, error)) {
	pages := crawl(t, r.site+"/", visit)
	seen := map[string]bool{}
	for address, p := range pages {
		seen[p.title] = true
		own, _, _ := strings.Cut(p.title, ":")
		linked := map[string]bool{own: true}
		for link := range p.links {
			application, _, _ := strings.Cut(pages[link].title, ":")
			linked[application] = true
		}
		delete(linked, "home")
		if got := slices.Sorted(maps.Keys(linked)); !slices.Equal(got, applications) {
			t.Errorf("%s, at %s, links to %v, want %v", p.title, address, got, applications)
		}
		said := "Others who answer: 5"
		switch own {
		case "home":
			said = "Open on monday: 9 to 5"
		case "legacy": // knows of nobody
			said = ""
		}
		if !strings.Contains(p.body, said) || strings.Contains(p.body, "nobody knows") {
			t.Errorf("%s: %s", address, p.body)
		}
	}
	want := []string{"django:article", "home"}
	for _, application := range applications {
		want = append(want, application+":index", application+":about")
	}
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, want) {
		t.Errorf("there are the pages %v, want %v", got, want)
	}
}

// TestTheExamples runs what a newcomer runs, once for all it has to show.
func TestTheExamples(t *testing.T) {
	r := run(t)
	t.Run("every application links to every other", func(t *testing.T) { r.crawl(t, r.get) })
	t.Run("also in a browser", func(t *testing.T) { r.crawl(t, r.browse) })
	t.Run("every worker process knows the others", r.testWorkers)
	t.Run("visitors do not reach what is the party's", r.testPrivate)
	t.Run("applications verify who asks", r.testTokens)
	t.Run("Django is as strict as in production", r.testDjango)
	t.Run("keys are told to nobody", r.testKeys)
}

// testWorkers has every application serve a visitor at once, who often comes again, so
// that all of its worker processes do. They ask each other meanwhile.
func (r *running) testWorkers(t *testing.T) {
	var visitors sync.WaitGroup
	for _, application := range applications {
		visitors.Go(func() {
			for range 12 {
				p, err := r.get(r.site + "/" + application + "/")
				if err != nil || application != "legacy" && (!strings.Contains(p.body, "Others who answer: 5") || strings.Contains(p.body, "nobody knows")) {
					t.Errorf("%s: %v %s", application, err, p.body)
				}
			}
		})
	}
	visitors.Wait()
}

// send sends a request with headers and returns its status, and where it redirects to.
func send(t *testing.T, client *http.Client, method, address string, header ...string) (int, string) {
	t.Helper()
	request, err := http.NewRequest(method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	if host := request.Header.Get("Host"); host != "" {
		request.Host = host
	}
	response, err := client.Transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode, response.Header.Get("Location")
}

// signed returns a Party-Token for a request without a body.
func signed(t *testing.T, key string, t0 token.Token, at time.Time) string {
	t.Helper()
	keys, err := token.NewKeys([]string{key})
	if err != nil {
		t.Fatal(err)
	}
	text, err := keys.Sign(t0, at)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// forged returns a token whose header and claims are changed and which is signed again
// with the key; null deletes a claim.
func forged(t *testing.T, key, token string, header, claims map[string]any) string {
	t.Helper()
	parts := strings.Split(token, ".")
	for i, changes := range []map[string]any{header, claims} {
		var members map[string]any
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			decoder := json.NewDecoder(bytes.NewReader(text))
			decoder.UseNumber()
			err = decoder.Decode(&members)
		}
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(members, changes)
		maps.DeleteFunc(members, func(_ string, value any) bool { return value == nil })
		if text, err = json.Marshal(members); err != nil {
			t.Fatal(err)
		}
		parts[i] = base64.RawURLEncoding.EncodeToString(text)
	}
	text := parts[0] + "." + parts[1]
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// tokenFor returns what the token of a GET says.
func tokenFor(application, path string) token.Token {
	return token.Token{Guest: application, Method: "GET", URI: "/" + application + path, Mount: "/" + application, BodyHash: sha256.Sum256(nil)}
}

const manifestType = "application/vnd.wsgi-party+json"

func (r *running) testPrivate(t *testing.T) {
	for _, application := range applications {
		for _, path := range []string{"/__invite__/", "/__invite__/ping", "/__INVITE__/", "//__invite__/"} {
			status, _ := send(t, r.client, "GET", r.site+"/"+application+path, "Accept", manifestType, "Party-Token", signed(t, rand.Text()+rand.Text(), tokenFor(application, path), time.Now()))
			if status != http.StatusNotFound {
				t.Errorf("%s%s: %d", application, path, status)
			}
		}
	}
}

// direct returns a client whose requests come to an application's socket, past Caddy.
func (r *running) direct(t *testing.T, application string) *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(r.dir, application+".sock"))
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// testTokens sends requests past Caddy to the applications that verify tokens.
func (r *running) testTokens(t *testing.T) {
	now, other := time.Now(), rand.Text()+rand.Text()
	for application, asked := range map[string]string{
		"django": "/__invite__/ping/",
		"flask":  "/__invite__/partyline/ping.0",
		"node":   "/__invite__/ping",
	} {
		client := r.direct(t, application)
		key := r.keys[application]
		for _, path := range []string{"/__invite__/", asked} {
			right := tokenFor(application, path)
			with := func(change func(*token.Token)) string {
				changed := right
				change(&changed)
				return signed(t, key, changed, now)
			}
			claiming := func(header, claims map[string]any) string {
				return forged(t, key, signed(t, key, right, now), header, claims)
			}
			ok, refused := http.StatusOK, http.StatusUnauthorized
			without := refused
			if application == "flask" {
				without = http.StatusNotFound // is then the application's own path
				if path == asked {
					ok = http.StatusMethodNotAllowed
				}
			}
			for name, test := range map[string]struct {
				token string
				want  int
			}{
				"the right token":          {with(func(*token.Token) {}), ok},
				"no token":                 {"", without},
				"no JWT":                   {"a.b.c", refused},
				"another key's":            {signed(t, other, right, now), refused},
				"one for another guest":    {with(func(t *token.Token) { t.Guest = "php" }), refused},
				"one for another method":   {with(func(t *token.Token) { t.Method = "POST" }), refused},
				"one for another path":     {with(func(t *token.Token) { t.URI += "x" }), refused},
				"one for another body":     {with(func(t *token.Token) { t.BodyHash[0]++ }), refused},
				"one of two minutes ago":   {signed(t, key, right, now.Add(-2*time.Minute)), refused},
				"one of the last minute's": {signed(t, key, right, now.Add(-70*time.Second)), ok}, // for clocks that differ
				"one of two minutes hence": {signed(t, key, right, now.Add(2*time.Minute)), refused},
				"one of a quarter's hence": {signed(t, key, right, now.Add(15*time.Second)), ok},
				"the same, as JSON has it": {claiming(nil, nil), ok},
				"one with other claims":    {claiming(nil, map[string]any{"root": "x", "mac": "y", "new": []int{1}}), ok},
				"one of another algorithm": {claiming(map[string]any{"alg": "none"}, nil), refused},
				"one without an algorithm": {claiming(map[string]any{"alg": nil}, nil), refused},
				"one that is critical":     {claiming(map[string]any{"crit": []string{"b64"}}, nil), refused},
				"one good for an hour":     {claiming(nil, map[string]any{"exp": now.Add(time.Hour).Unix()}), refused},
				"one good for less than 0": {claiming(nil, map[string]any{"iat": now.Unix(), "exp": now.Unix() - 1}), refused},
				"one without a beginning":  {claiming(nil, map[string]any{"iat": nil}), refused},
			} {
				header := []string{"Host", "localhost", "X-Forwarded-Proto", "https", "Accept", manifestType, "Party-Token", test.token}
				if status, _ := send(t, client, "GET", "http://localhost"+path, header...); status != test.want {
					t.Errorf("%s%s with %s: %d, want %d", application, path, name, status, test.want)
				}
			}
		}
	}
}

// testDjango shows that nothing was switched off so that the party gets through.
func (r *running) testDjango(t *testing.T) {
	direct := r.direct(t, "django")
	if status, to := send(t, direct, "GET", "http://localhost/", "Host", "localhost"); status != http.StatusMovedPermanently || !strings.HasPrefix(to, "https:") {
		t.Errorf("without TLS: %d to %q", status, to)
	}
	if status, _ := send(t, direct, "GET", "http://localhost/", "Host", "example.com", "X-Forwarded-Proto", "https"); status != http.StatusBadRequest {
		t.Errorf("with another host: %d", status)
	}
	if status, _ := send(t, r.client, "POST", r.site+"/django/"); status != http.StatusForbidden {
		t.Errorf("without a CSRF token: %d", status)
	}
	if status, to := send(t, r.client, "GET", r.site+"/django/about-django"); status != http.StatusMovedPermanently || to != "/django/about-django/" {
		t.Errorf("without the slash at the end: %d to %q", status, to)
	}
}

// testKeys looks for keys in what was logged and in the examples' files. (These are
// read besides so that go test knows that the result depends on them.)
func (r *running) testKeys(t *testing.T) {
	for application, key := range r.keys {
		if strings.Contains(r.log.String(), key) {
			t.Errorf("the key of %s was logged", application)
		}
	}
	for _, root := range []string{".", "../clients/python/wsgi_party"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if entry.Name() == "__pycache__" {
				return fs.SkipDir
			}
			if err != nil || entry.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			if key := regexp.MustCompile(`[0-9a-fA-F]{32}`).Find(text); key != nil {
				t.Errorf("%s: %s", path, key)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestNodeDoesNotStartWithoutAKey starts it with what is no key: with that of a variable
// which is not set, everybody could sign.
func TestNodeDoesNotStartWithoutAKey(t *testing.T) {
	debian.Install(t, "nodejs")
	for _, key := range []string{"", strings.Repeat("k", 31)} {
		// Without a directory for its socket, one that did start ends, too.
		c := exec.Command("node", "server.mjs", "/nowhere/node.sock")
		c.Dir, c.Env = "node", append(os.Environ(), "WSGI_PARTY_KEY="+key)
		output, err := c.CombinedOutput()
		if err == nil || !strings.Contains(string(output), "WSGI_PARTY_KEY has to be a key of 32 bytes or more") {
			t.Errorf("with the key %q: %v\n%s", key, err, output)
		}
	}
}
