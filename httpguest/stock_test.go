// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/debian"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// stockApplications are made for the root of a site. Each is started with what returns its upstream.
var stockApplications = map[string]struct {
	start           func(t *testing.T) (upstream string)
	home, login     string // their pages
	logout          string
	user, loggedOut string // what the pages say
}{
	"Express":        {startExpress, "/", "/login", "/logout", "Welcome, ada", "Log in"},
	"PHP":            {startPHP, "/", "/login", "/logout", "Welcome, ada", "Log in"},
	"Django's admin": {startDjangoAdmin, "/admin/", "/admin/login/", "/admin/logout/", "Site administration", "Log in"},
}

func startExpress(t *testing.T) string {
	modules := debian.NodeModules(t, "testdata/stock/package.json")
	script := filepath.Join(modules, "stock.mjs") // beside its modules
	check.Must(t, os.WriteFile(script, check.Value(os.ReadFile("testdata/stock/express.mjs"))(t), 0o600))
	address := testport.Address(t)
	_, port, _ := net.SplitHostPort(address)
	startProcess(t, address, "node", script, port)
	return "reverse_proxy " + address
}

func startPHP(t *testing.T) string {
	debian.Install(t, "php-cli")
	address := testport.Address(t)
	startProcess(t, address, "php", "-S", address, "testdata/stock/login.php")
	return "reverse_proxy " + address
}

func startDjangoAdmin(t *testing.T) string {
	debian.Install(t, "python3-django")
	address := testport.Address(t)
	startProcess(t, address, "/usr/bin/python3", "testdata/stock/django_admin.py", t.TempDir(), address)
	return "reverse_proxy " + address
}

// startProcess starts an application, and waits until it listens.
func startProcess(t *testing.T, address, name string, arguments ...string) {
	process, output := exec.Command(name, arguments...), new(bytes.Buffer)
	process.Stdout, process.Stderr = output, output
	stdin := check.Value(process.StdinPipe())(t)
	check.Must(t, process.Start())
	t.Cleanup(func() {
		stdin.Close()
		_ = process.Process.Kill()
		_ = process.Wait()
		if t.Failed() {
			t.Logf("%s said\n%s", name, output)
		}
	})
	partytest.Eventually(t, name+" listens", func() bool {
		conn, err := net.Dial("tcp", address)
		return err == nil && conn.Close() == nil
	})
}

// TestStockApplicationsAreMounted logs in to applications that know nothing of their mount, follows their redirects, and
// logs out.
func TestStockApplicationsAreMounted(t *testing.T) {
	for name, stock := range stockApplications {
		t.Run(name, func(t *testing.T) {
			c := newGuestTest(t)
			upstream := stock.start(t)
			c.Caddy.Load(c.inParty("invite /old/__invite__/\nhandle_path /old/* {\nwsgi_party_guest {\nmount_responses\nfetch_manifest off\n}\n" + upstream + "\n}"))
			base := "http://" + c.Address + "/old"
			var cookies []string
			visitor := &http.Client{Jar: check.Value(cookiejar.New(nil))(t), Transport: roundTripperFunc(func(r *http.Request) (*http.Response, error) {
				check.Contains(t, r.URL.String(), []string{base}, "the visitor is sent there")
				response, err := partytest.Client.Transport.RoundTrip(r)
				if err == nil {
					cookies = append(cookies, response.Header["Set-Cookie"]...)
				}
				return response, err
			})}
			expect := func(response *http.Response, page, says string) string {
				t.Helper()
				body := check.Value(io.ReadAll(response.Body))(t)
				response.Body.Close()
				check.Equal(t, response.Request.URL.Path, "/old"+page)
				check.Contains(t, string(body), []string{says})
				return string(body)
			}
			form := func(page string) url.Values {
				values := url.Values{"username": {"ada"}, "password": {"lovelace"}}
				if token := regexp.MustCompile(`name="csrfmiddlewaretoken" value="(\w+)"`).FindStringSubmatch(page); token != nil {
					values["csrfmiddlewaretoken"] = token[1:]
				}
				if next := regexp.MustCompile(`name="next" value="([^"]+)"`).FindStringSubmatch(page); next != nil {
					values["next"] = next[1:]
				}
				return values
			}
			loginPage := expect(check.Value(visitor.Get(base+stock.home))(t), stock.login, stock.loggedOut)
			homePage := expect(check.Value(visitor.PostForm(base+stock.login, form(loginPage)))(t), stock.home, stock.user)
			response := check.Value(visitor.Get(base + stock.logout))(t)
			response.Body.Close()
			if response.StatusCode == http.StatusMethodNotAllowed { // since Django 5
				response = check.Value(visitor.PostForm(base+stock.logout, form(homePage)))(t)
				response.Body.Close()
			}
			expect(check.Value(visitor.Get(base+stock.home))(t), stock.login, stock.loggedOut)
			check.ErrorIf(t, len(cookies) == 0, "no cookie was set")
			for _, cookie := range cookies {
				check.Contains(t, strings.ToLower(cookie)+";", []string{"; path=/old;"})
			}
		})
	}
}

type roundTripperFunc func(*http.Request) (*http.Response, error)

func (f roundTripperFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
