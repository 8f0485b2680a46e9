// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/testport"

	_ "github.com/wsgiparty/wsgiparty/operations" // the command that this one is below
)

const asCaddy = "WSGIPARTY_TEST_CHECK"

func TestMain(m *testing.M) {
	if arguments, ok := os.LookupEnv(asCaddy); ok {
		os.Args = append([]string{"caddy", "wsgi-party"}, strings.Split(arguments, "\n")...)
		caddycmd.Main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// said is what became of the command.
type said struct {
	status         int
	stdout, stderr string
}

// runCheck runs this program once more, as `caddy wsgi-party check`.
func runCheck(t *testing.T, arguments ...string) said {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), asCaddy+"="+strings.Join(append([]string{"check"}, arguments...), "\n"), "BLOG_PARTY_KEY="+testKey+" "+secondKey, "HOME="+t.TempDir())
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	} else if exit != nil {
		return said{exit.ExitCode(), stdout.String(), stderr.String()}
	}
	return said{0, stdout.String(), stderr.String()}
}

// newFullApplication makes one that takes what the command sends.
func newFullApplication() *application {
	a := newApplication()
	a.most = maxBody
	return a
}

// usual are the arguments to check it.
func usual(a *application, t *testing.T, more ...string) []string {
	return append([]string{a.start(t).URL, "--mount", "/blog", "--key", "{env.BLOG_PARTY_KEY}", "--payload", `url={"name": "old-about", "values": {}}`, "--payload", `user={"id": 7}`}, more...)
}

// inProcess runs the command, but for its exit status.
func inProcess(t *testing.T, arguments ...string) (stdout string, err error) {
	t.Setenv("BLOG_PARTY_KEY", testKey+" "+secondKey)
	t.Setenv("SHORT_KEY", "short")
	command := newCommand()
	var out bytes.Buffer
	command.SetOut(&out)
	command.SetErr(&out)
	command.SetArgs(arguments)
	err = command.Execute()
	return out.String(), err
}

func TestTheCommandSaysWhatItSaw(t *testing.T) {
	got := runCheck(t, usual(newFullApplication(), t)...)
	check.Equal(t, got.status, 0, got.stderr)
	check.Contains(t, got.stdout, []string{
		"ok    the invite is answered with 200 ", " GET /__invite__/: 200\n", "ok    answers come in time ", " ms", "\nskip  … and 11 more ", " 0 failed,",
	})
	check.ErrorIf(t, strings.Contains(got.stdout+got.stderr, testKey), "the key is printed")

	a := newFullApplication()
	alters(isInvite, header("Content-Type", "application/json"))(a)
	got = runCheck(t, usual(a, t)...)
	check.Equal(t, got.status, 1, got.stderr)
	check.Equal(t, got.stderr, "")
	check.Contains(t, got.stdout, []string{"\nFAIL  the manifest is application/vnd.wsgi-party+json", "\n      send it with `Content-Type: application/vnd.wsgi-party+json`\n", " 1 failed,"})

	got = runCheck(t, "http://"+testport.Address(t))
	check.ErrorIf(t, got.status != 2 || got.stdout != "" || !strings.Contains(got.stderr, "the application cannot be reached"), "%+v", got)
}

func TestTheCommandWritesJSON(t *testing.T) {
	stdout, err := inProcess(t, usual(newFullApplication(), t, "--json")...)
	check.Must(t, err)
	var report struct {
		Invite, Mount, Guest string
		Passed               bool
		Counts               map[string]int
		Lines                []map[string]string
	}
	check.Must(t, json.Unmarshal([]byte(stdout), &report))
	check.ErrorIf(t, !report.Passed || report.Invite != "/__invite__/" || report.Mount != "/blog" || report.Guest != "blog" || report.Counts["fail"] != 0, "%+v", report)
	check.Equal(t, len(report.Lines), len(sentences))
	for i, line := range report.Lines {
		check.ErrorIf(t, line["id"] != sentences[i].id || line["what"] == "" || line["seen"] == "" || line["result"] == "" || !strings.HasPrefix(line["section"], "docs/guests.md#"), line)
	}
}

func TestTheCommandSaysHowItIsUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	check.Must(t, os.WriteFile(file, []byte("\n"), 0o600))
	url := "http://" + testport.Address(t)
	for arguments, want := range map[string]string{
		"":                                       "there are 0 URLs to check: write it like http://localhost:8000/__invite__/",
		"a b":                                    "there are 2 URLs",
		"localhost:8000":                         "is not a URL of an application",
		"ftp://localhost":                        "is not a URL of an application",
		"http://bob@localhost/":                  "has a user",
		url + " --mount blog":                    "is not a path: write it like /blog",
		url + " --mount /a/../b":                 "is not a path",
		url + " --origin example.com":            "write it like https://example.com",
		url + " --payload user":                  "write it like user=",
		url + " --payload user={":                "is not JSON",
		url + " --timeout 0s":                    "write a duration",
		url + " --key " + testKey:                "--key is not a placeholder: write {env.BLOG_PARTY_KEY}",
		url + " --key {env.MISSING_PARTY_KEY}":   "--key {env.MISSING_PARTY_KEY} is empty: the variable is empty, or not exported",
		url + " --key {env.SHORT_KEY}":           "has 5 bytes, but needs at least 32",
		url + " --key {file." + file + "}":       "the file is empty",
		url + " --key {file." + file + ".other}": "no such file",
		url + " --nonsense":                      "unknown flag: --nonsense",
		url:                                      "the application cannot be reached: is it running?",
		"unix/" + file:                           "the application cannot be reached",
	} {
		stdout, err := inProcess(t, strings.Fields(arguments)...)
		check.Fails(t, err, want)
		check.ErrorIf(t, stdout != "" || err != nil && strings.Contains(err.Error(), testKey), "%s: %s%v", arguments, stdout, err)
	}
}

func TestHelpNamesWhatCannotBeChecked(t *testing.T) {
	check.Contains(t, newCommand().Long, []string{"FastCGI", "php -S", "--page", "{env.BLOG_PARTY_KEY}", "The exit status is 0"})
}

func TestAnApplicationAtASocketOrBehindTLSIsChecked(t *testing.T) {
	a := newApplication()
	dir, err := os.MkdirTemp("", "check") // short enough for a socket
	check.Must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	l := check.Value(net.Listen("unix", dir+"/app.sock"))(t)
	server := &http.Server{Handler: a}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	secure := httptest.NewTLSServer(a)
	t.Cleanup(secure.Close)
	for _, o := range []Options{
		{URL: "unix/" + dir + "/app.sock"},
		{URL: "unix/" + dir + "/app.sock/__invite__/"},
		{URL: secure.URL, Insecure: true},
	} {
		o.Mount, o.Keys, o.limits = "/blog", a.keys, unhurried
		checked(t, o).Expect(t)
	}
	_, err = Check(t.Context(), Options{URL: secure.URL, Mount: "/blog", limits: unhurried})
	check.Fails(t, err, "certificate", "--insecure")
	_, err = Check(t.Context(), Options{URL: "http://" + secure.Listener.Addr().String(), Mount: "/blog", limits: unhurried})
	check.Nil(t, err)
}

// TestTheOriginIsWhatTheApplicationIsTold has an application that knows one host, and https only.
func TestTheOriginIsWhatTheApplicationIsTold(t *testing.T) {
	a := newApplication()
	answers(func(r *http.Request, _ []byte) bool {
		return r.Host != "example.com" || r.Header.Get("X-Forwarded-Proto") != "https"
	}, status(400))(a)
	o := a.start(t)
	line := checked(t, o).Line("manifest.status")
	check.ErrorIf(t, line.Result != Fail || !strings.Contains(line.Write, "--origin"), line)
	o.Origin = "https://example.com"
	checked(t, o).Expect(t)
}

// TestAKeylessApplicationIsNotTestedByTokens also has no hrefs, as the smallest of the README.
func TestAKeylessApplicationIsNotTestedByTokens(t *testing.T) {
	a := newApplication()
	a.keys, a.manifest = nil, `{"urls": {"index": "/"}}`
	o := a.start(t)
	o.Payloads = nil
	report := checked(t, o)
	report.Expect(t)
	for _, line := range report.Lines {
		if strings.HasPrefix(line.ID, "token.") {
			check.ErrorIf(t, line.Result != Skip || line.Seen != "no --key is given", line)
		}
		if strings.HasPrefix(line.ID, "ask.") {
			check.ErrorIf(t, line.Result != Skip || line.Seen != "the manifest has no hrefs", line)
		}
	}
}

func TestWhatCaddyWouldNotAskForIsNot(t *testing.T) {
	for payload, want := range map[string]string{`[7]`: "users: its --payload is not an object, and Caddy asks nobody for that", `{"name": 7}`: `users: its --payload lacks one of ["id"], and Caddy asks nobody without it`} {
		a := newApplication()
		a.manifest = `{"services": {"users": {"href": "/users/{id}"}}}`
		o := a.start(t)
		o.Payloads = map[string]string{"users": payload}
		line := checked(t, o).Line("ask.status")
		check.ErrorIf(t, line.Result != Skip || line.Seen != want, line)
	}
}

func TestWhatIsWrongWithAStatusIsSaid(t *testing.T) {
	for _, wrong := range []struct {
		status int
		header [2]string
		advice string
	}{
		{301, [2]string{"Location", "/login?next=\u202e"}, `Caddy does not follow redirects, here to "/login?next=\u202e"`},
		{400, [2]string{}, "does the application know the host"},
		{401, [2]string{}, `is this the path of the manifest? If it is, is its key the first --key, and does it know its guest's name, "blog"`},
		{404, [2]string{}, "is this the path of the manifest?"},
		{500, [2]string{}, "the application's own log may say why"},
		{204, [2]string{}, "answer with 200"},
	} {
		a := newApplication()
		answers(isInvite, func(w http.ResponseWriter, _ *http.Request) {
			if wrong.header[0] != "" {
				w.Header()[wrong.header[0]] = wrong.header[1:]
			}
			w.WriteHeader(wrong.status)
		})(a)
		line := checked(t, a.start(t)).Line("manifest.status")
		check.ErrorIf(t, line.Result != Fail || !strings.HasPrefix(line.Write, wrong.advice), "%+v, want %s", line, wrong.advice)
	}
}

func TestTheSentencesHaveTheirSections(t *testing.T) {
	text := string(check.Value(os.ReadFile("../docs/guests.md"))(t))
	var sections []string
	for line := range strings.SplitSeq(text, "\n") {
		if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			kept := strings.Map(func(r rune) rune {
				if r == ' ' {
					return '-'
				} else if strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-", r) {
					return r
				}
				return -1
			}, strings.ToLower(title))
			sections = append(sections, kept)
		}
	}
	seen := make(map[string]bool)
	for _, s := range sentences {
		check.ErrorIf(t, !slices.Contains(sections, s.section), "%s: docs/guests.md has no section %s, but %q", s.id, s.section, sections)
		check.ErrorIf(t, !strings.Contains(text, "`"+s.id+"`"), "docs/guests.md does not name "+s.id)
		check.ErrorIf(t, seen[s.id] || seen[s.what], "twice: "+s.id)
		seen[s.id], seen[s.what] = true, true
	}
}

// TestOneWarningIsOne reads the last line of a report.
func TestOneWarningIsOne(t *testing.T) {
	for n, want := range map[int]string{0: "0 warnings,", 1: "1 warning,", 2: "2 warnings,"} {
		var b strings.Builder
		check.Must(t, (&Report{Counts: map[Result]int{Warn: n}}).WriteText(&b))
		check.Has(t, b.String(), want)
	}
}
