// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package examples

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/conformance"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/chromium"
	"github.com/wsgiparty/wsgiparty/internal/debian"
	"github.com/wsgiparty/wsgiparty/internal/testport"
	"github.com/wsgiparty/wsgiparty/internal/token"
)

// applications are all of the examples; those that are not processes have no keys.
var (
	processes    = []string{"django", "express", "fastapi", "flask", "node", "php"}
	applications = append([]string{"gopher", "legacy"}, processes...)
)

// running is examples/run at work.
type running struct {
	*testing.T
	examples string            // the folder
	dir      string            // for its sockets and keys
	keys     map[string]string // by application
	site     string
	log      *syncBuffer
	client   *http.Client
}

// run starts all examples, as a newcomer does. They end with the test, as they should.
func run(t *testing.T) *running {
	t.Helper()
	debian.Install(t, "gunicorn", "python3-flask", "python3-django", "uvicorn", "python3-fastapi", "python3-jinja2", "php-fpm", "php-cli", "nodejs", "npm", "chromium")
	dir := clone(t, "examples", "clients")
	r := &running{T: t, examples: filepath.Join(dir, "examples"), dir: filepath.Join(dir, "run"), log: new(syncBuffer), keys: make(map[string]string)}
	check.Must(t, os.Mkdir(r.dir, 0o700))
	portOf := func(address string) string {
		_, port, _ := net.SplitHostPort(address)
		return port
	}
	port, legacy, admin := portOf(testport.Address(t)), testport.Address(t), testport.Address(t)
	r.site = "https://localhost:" + port
	environment := []string{"CADDY=" + builtCaddy(t), "RUN=" + r.dir, "PORT=" + port, "LEGACY_PORT=" + portOf(legacy), "ADMIN=" + admin,
		"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}
	r.testNeeds(environment)
	c, end, err := command("bash", filepath.Join(r.examples, "run"))
	check.Must(t, err)
	c.Env = append(c.Env, environment...)
	c.Stdout, c.Stderr = r.log, r.log
	check.Must(t, c.Start())
	watchdog := time.AfterFunc(8*time.Minute, end)
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
	r.client = &http.Client{Transport: transport, Timeout: time.Minute}
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
	for _, application := range processes {
		key, err := os.ReadFile(filepath.Join(r.dir, application+".key"))
		check.Must(t, err)
		r.keys[application] = strings.TrimSpace(string(key))
	}
	return r
}

// testNeeds installs what the examples need, after they have said so.
func (r *running) testNeeds(environment []string) {
	r.Helper()
	for want, arguments := range map[string][]string{
		"express needs what `npm install --prefix examples/express` installs":                        {"flask", "express"},
		"there is no application gophers: it is one of django express fastapi flask legacy node php": {"gophers"},
	} {
		c := exec.Command(filepath.Join(r.examples, "run"), arguments...)
		c.Env = append(os.Environ(), environment...)
		if output, err := c.CombinedOutput(); err == nil || !strings.Contains(string(output), want) {
			r.Errorf("run %v: %v, want %q\n%s", arguments, err, want, output)
		}
	}
	c := exec.Command("npm", "install", "--no-audit", "--no-fund", "--prefix", "examples/express")
	c.Dir = filepath.Dir(r.examples)
	if output, err := c.CombinedOutput(); err != nil {
		r.Fatalf("npm install: %v\n%s", err, output)
	}
}

func (r *running) eventually(what string, condition func() bool) {
	r.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !condition(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.Fatalf("not in time: %s", what)
		}
	}
}

// get visits a URL.
func (r *running) get(address string) (page, error) {
	return get(r.client, address)
}

// TestTheExamples runs what a newcomer runs, once for all it has to show.
func TestTheExamples(t *testing.T) {
	r := run(t)
	t.Run("every application links to every other", r.testLinks)
	t.Run("also in a browser", r.testBrowser)
	t.Run("every worker process knows the others", r.testWorkers)
	t.Run("visitors do not reach what is the party's", r.testPrivate)
	t.Run("every application is a good guest", r.testConformance)
	t.Run("no application waits for a connection that says nothing", r.testIdle)
	t.Run("Django is as strict as in production", r.testDjango)
	t.Run("keys are told to nobody", r.testKeys)
}

// testLinks follows all links from the first page on. The pages of each application have
// to lead to those of every other.
func (r *running) testLinks(t *testing.T) {
	pages := crawl(t, r.site+"/", r.get)
	seen := map[string]bool{}
	for address, p := range pages {
		seen[p.title] = true
		own, _, _ := strings.Cut(p.title, ":")
		linked := map[string]bool{own: true}
		for link, text := range p.links {
			application, page, _ := strings.Cut(pages[link].title, ":")
			linked[application] = true
			if own == application && !strings.HasSuffix(text, page) {
				t.Errorf("%s calls %s %q", address, link, text)
			}
		}
		delete(linked, "home")
		if got := slices.Sorted(maps.Keys(linked)); !slices.Equal(got, slices.Sorted(slices.Values(applications))) {
			t.Errorf("%s, at %s, links to %v, want %v", p.title, address, got, applications)
		}
		said := "Others who answer: 7"
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

// testBrowser clicks through all applications. The last one knows nobody: its pages have moved to
// the others.
func (r *running) testBrowser(t *testing.T) {
	b := visitor{t, chromium.Open(t).NewPage()}
	b.Visit(r.site + "/")
	b.sees("home")
	var names []string
	for _, application := range processes {
		names = append(names, application+":index", application+":about")
	}
	for _, name := range append(names, "gopher:about", "legacy:index") {
		_, short, _ := strings.Cut(name, ":") // what an application calls its own
		b.click(name, short)
		b.sees(name)
	}
	for _, moved := range [][2]string{{"Shop", "django"}, {"Prices", "express"}, {"Search", "fastapi"}, {"News", "flask"}, {"Team", "gopher"}, {"Status", "node"}, {"Guestbook", "php"}} {
		b.click(moved[0])
		b.sees(moved[1] + ":index")
		b.click("legacy:index")
		b.sees("legacy:index")
	}
}

// testWorkers has every application serve a visitor at once, who often comes again, so
// that all of its worker processes do. They ask each other meanwhile.
func (r *running) testWorkers(t *testing.T) {
	var visitors sync.WaitGroup
	for _, application := range applications {
		visitors.Go(func() {
			for range 12 {
				p, err := r.get(r.site + "/" + application + "/")
				if err != nil || application != "legacy" && (!strings.Contains(p.body, "Others who answer: 7") || strings.Contains(p.body, "nobody knows")) {
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
	check.Must(t, err)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	if host := request.Header.Get("Host"); host != "" {
		request.Host = host
	}
	response, err := client.Transport.RoundTrip(request)
	check.Must(t, err)
	defer response.Body.Close()
	return response.StatusCode, response.Header.Get("Location")
}

func (r *running) testPrivate(t *testing.T) {
	for _, application := range applications {
		for _, path := range []string{"/__invite__/", "/__invite__/partyline/ping", "/__INVITE__/", "//__invite__/"} {
			header := []string{"Accept", "application/vnd.wsgi-party+json"}
			if key := r.keys[application]; key != "" { // not even with its key
				keys, err := token.NewKeys([]string{key})
				check.Must(t, err)
				signed, err := keys.Sign(token.Token{Guest: application, Method: "GET", URI: "/" + application + path, Mount: "/" + application, BodyHash: sha256.Sum256(nil)}, time.Now())
				check.Must(t, err)
				header = append(header, "Party-Token", signed)
			}
			if status, _ := send(t, r.client, "GET", r.site+"/"+application+path, header...); status != http.StatusNotFound {
				t.Errorf("%s%s: %d", application, path, status)
			}
		}
	}
}

// testConformance checks the applications past Caddy, as `caddy wsgi-party check` does.
func (r *running) testConformance(t *testing.T) {
	for _, application := range processes {
		t.Run(application, func(t *testing.T) {
			t.Parallel()
			address := "unix/" + filepath.Join(r.dir, application+".sock")
			if application == "php" {
				address = r.servePHP(t)
			}
			report, err := conformance.Check(t.Context(), conformance.Options{
				URL: address + "/__invite__/", Origin: r.site, Mount: "/" + application, Guest: application, Keys: []string{r.keys[application]},
			})
			check.Must(t, err)
			for _, line := range report.Lines {
				// They are told nothing but their key, so not the name that tokens are for.
				if line.Result == conformance.Fail || line.Result == conformance.Warn && line.ID != "token.guest" {
					t.Errorf("%+v", line)
				}
			}
		})
	}
}

// servePHP serves the example for PHP over HTTP, instead of FastCGI, and returns where.
func (r *running) servePHP(t *testing.T) string {
	address := testport.Address(t)
	// It leaves its workers alone when it ends.
	c, end, err := command("bash", "-c", `trap "kill 0" TERM; php -S "$0" -t "$1" & wait`, address, filepath.Join(r.examples, "php/public"))
	check.Must(t, err)
	c.Env = append(c.Env, "PHP_CLI_SERVER_WORKERS=4", "WSGI_PARTY_KEY="+r.keys["php"])
	check.Must(t, c.Start())
	t.Cleanup(func() {
		end()
		c.Wait()
	})
	r.eventually("PHP listens", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return "http://" + address
}

// testDjango shows that nothing was switched off so that the party gets through.
func (r *running) testDjango(t *testing.T) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(r.dir, "django.sock"))
	}}
	defer transport.CloseIdleConnections()
	direct := &http.Client{Transport: transport}
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

// testKeys looks for keys in what was logged and in the examples' files.
func (r *running) testKeys(t *testing.T) {
	for application, key := range r.keys {
		if len(key) < 32 || strings.Contains(r.log.String(), key) {
			t.Errorf("the key of %s was logged, or is none", application)
		}
		info, err := os.Stat(filepath.Join(r.dir, application+".key"))
		if check.Must(t, err); info.Mode() != 0o600 {
			t.Errorf("the key of %s has the mode %v", application, info.Mode())
		}
	}
	secret := regexp.MustCompile(`[0-9a-fA-F]{32}`)
	check.Must(t, filepath.WalkDir(clone(t, "examples", "clients/python/wsgi_party", "clients/node/lib", "clients/php/src"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if key := secret.Find(text); key != nil {
			t.Errorf("%s: %s", path, key)
		}
		return err
	}))
}
