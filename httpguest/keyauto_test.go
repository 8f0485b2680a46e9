// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/keyfile"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// withKeyAuto is a party with ask_on, of guest a, whose key Caddy makes, and of b.
func withKeyAuto(c *partytest.Caddy, keyAuto, more string, a, b *partytest.Application) string {
	return "ADDRESS {\nwsgi_party main {\nask_on " + c.Endpoint + "\ninvite /a/__invite__/ /b/__invite__/\n" +
		partytest.Mounted("a", keyAuto+"\nservice a /a", a) + partytest.Mounted("b", "answer who b", b) + more + "}\n}"
}

// keyIn waits for nothing: when a config has loaded, the key is there.
func keyIn(t testing.TB, path string, mode fs.FileMode) string {
	t.Helper()
	key := strings.TrimSuffix(string(check.Value(os.ReadFile(path))(t)), "\n")
	check.ErrorIf(t, !keyfile.IsMade(key), "%s holds %q", path, key)
	check.Equal(t, check.Value(os.Lstat(path))(t).Mode(), mode, path)
	return key
}

// storedKeys are the keys in Caddy's storage, by path.
func storedKeys(c *partytest.Caddy) map[string]string {
	c.Helper()
	keys := make(map[string]string)
	files, _ := filepath.Glob(filepath.Join(c.Storage(), "wsgi_party", "*", "*.key"))
	for _, path := range files {
		keys[path] = string(check.Value(os.ReadFile(path))(c))
	}
	return keys
}

// TestCaddyMakesAKey has a guest ask, and be asked, with the key that it finds in its file, in every config.
func TestCaddyMakesAKey(t *testing.T) {
	c := partytest.NewCaddy(t)
	file := filepath.Join(t.TempDir(), "made", "a.key")
	a, b := partytest.NewApplication(t, "", partytest.JSON(`"a"`)), partytest.NewApplication(t, "", nil)
	config := withKeyAuto(c, "key auto "+file+" 0640", "", a, b)
	c.Load(config)
	key := keyIn(t, file, 0o640)
	for i := range 3 {
		c.ExpectAsk(partytest.Asking{Key: key, Path: "/who"}, `{"answers": ["b"], "replies": [{"guest": "b", "mount": "/b", "status": "answered"}]}`)
		c.Get("/a/page")
		r := a.Requests()[len(a.Requests())-1]
		address := "http://" + c.Endpoint + "/"
		check.Equal(t, partytest.WithoutLine(r.Header.Get("Party-Ask"), key), address+"; mac="+partytest.Keys(t, key).SignAddress(address))
		c.ExpectJSONAnswers("main", "a", `"a"`)
		_, err := partytest.Token(a.Requests()[len(a.Requests())-1], "a", partytest.Keys(t, key))
		check.Nil(t, err)
		check.Equal(t, len(storedKeys(c)), 1, "keys in the storage")
		if i == 1 { // a restart forgets all but the storage
			check.Must(t, caddy.Stop())
			check.Must(t, os.Remove(file))
		}
		c.Load(config)
		check.Equal(t, keyIn(t, file, 0o640), key, "the key of the next config")
	}
	for path := range storedKeys(c) {
		check.Equal(t, check.Value(os.Stat(path))(t).Mode().Perm(), 0o600, path)
		check.Must(t, os.Remove(path)) // as whoever wants another key does
	}
	c.Load(config)
	next := keyIn(t, file, 0o640)
	check.ErrorIf(t, next == key, "the key is still the same")
	c.ExpectProblem(partytest.Asking{Key: key, Path: "/who"}, 401)
	check.Equal(t, c.Ask(partytest.Asking{Key: next, Path: "/who"}).Status, 200)
}

// TestTheFileIsInCaddysDataUnlessSaid has guests whose names have slashes in them.
func TestTheFileIsInCaddysDataUnlessSaid(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	c := partytest.NewCaddy(t)
	a := partytest.NewApplication(t, "", nil)
	c.Site("wsgi_party ../main {\ninvite /shop/old/__invite__/ /plain/__invite__/\n" +
		partytest.Mounted("shop/old", "answer x y\nkey auto", a) + partytest.Mounted("plain", "answer x y\nkey auto", a) + "}")
	dir := filepath.Join(caddy.AppDataDir(), "keys")
	one, two := keyIn(t, filepath.Join(dir, "%2E.%2Fmain", "shop%2Fold"), 0o600), keyIn(t, filepath.Join(dir, "%2E.%2Fmain", "plain"), 0o600)
	check.ErrorIf(t, one == two, "two guests have one key")
	for _, d := range []string{dir, filepath.Join(dir, "%2E.%2Fmain")} {
		check.Equal(t, check.Value(os.Stat(d))(t).Mode().Perm(), 0o700, d)
	}
}

// TestNothingIsWrittenUntilTheConfigStarts validates, and has loads fail in every way.
func TestNothingIsWrittenUntilTheConfigStarts(t *testing.T) {
	c := partytest.NewCaddy(t)
	top := t.TempDir()
	file := filepath.Join(top, "made", "a.key")
	a := partytest.NewApplication(t, "", nil)
	partytest.OnProvision(t, "fails", partytest.DuringStart(t, func() error { return errors.New("another app cannot start") }))
	nothing := func() {
		t.Helper()
		check.Equal(t, len(check.Value(os.ReadDir(top))(t)), 0, "files")
	}
	check.Must(t, caddy.Validate(partytest.ParseConfig(t, c.Adapt(withKeyAuto(c, "key auto "+file, "", a, a)))))
	nothing()
	check.Equal(t, len(storedKeys(c)), 0, "keys in the storage")
	for range 4 { // apps start in an order of chance
		check.Fails(t, c.TryLoad(withKeyAuto(c, "key auto "+file, "route /never {\ntest_app fails\n}\n", a, a)), "another app cannot start")
		nothing()
	}
	// One that fails leaves the file of the one before.
	c.Load(withKeyAuto(c, "key auto "+file, "", a, a))
	key := keyIn(t, file, 0o600)
	for path := range storedKeys(c) {
		check.Must(t, os.Remove(path))
	}
	check.Fails(t, c.TryLoad(withKeyAuto(c, "key auto "+file, "route /never {\ntest_app fails\n}\n", a, a)), "another app cannot start")
	check.Equal(t, keyIn(t, file, 0o600), key)
	check.Equal(t, len(check.Value(os.ReadDir(filepath.Dir(file)))(t)), 1, "files")
	check.Equal(t, c.Ask(partytest.Asking{Key: key, Path: "/who"}).Status, 200)
}

// TestAKeyThatCannotBeThereFailsTheLoad says what to write.
func TestAKeyThatCannotBeThereFailsTheLoad(t *testing.T) {
	c := partytest.NewCaddy(t)
	dir := t.TempDir()
	foreign := filepath.Join(dir, "foreign")
	check.Must(t, os.WriteFile(foreign, []byte(strings.Repeat("openssl", 6)), 0o600))
	link := filepath.Join(dir, "link")
	check.Must(t, os.Symlink(foreign, link))
	a := partytest.NewApplication(t, "", nil)
	partytest.Key(t, "b")
	for keyAuto, want := range map[string]string{
		"key auto " + foreign:              "write `key {file." + foreign + "}` instead",
		"key auto " + link:                 "is a symbolic link",
		"key auto " + foreign + "/below/x": "not a directory",
		"key auto " + dir:                  "is a directory",
		"key auto /proc/x":                 "",
	} {
		check.Fails(t, c.TryLoad(withKeyAuto(c, keyAuto, "", a, a)), want, `key auto of guest "a" of party "main"`)
	}
	check.Equal(t, string(check.Value(os.ReadFile(foreign))(t)), strings.Repeat("openssl", 6))
	same := "ADDRESS {\nwsgi_party main {\ninvite /a/__invite__/ /b/__invite__/\n" + partytest.Mounted("a", "answer x y\nkey auto "+dir+"/same", a) + partytest.Mounted("b", "answer x y\nkey auto "+dir+"/SAME", a) + "}\n}"
	check.Fails(t, c.TryLoad(same), `guest "a" of party "main" and guest "b" of party "main" share the file`, "write `key auto <file>` with another file in one of them")
	file := filepath.Join(dir, "a.key")
	modes := "ADDRESS, http://127.0.0.1:" + c.Endpoint[strings.LastIndex(c.Endpoint, ":")+1:] + " {\nwsgi_party main {\ninvite /a/__invite__/\n" + partytest.Mounted("a", "answer x y\nkey auto "+file, a) + "}\n}\n" +
		"http://127.0.0.3:" + c.Address[strings.LastIndex(c.Address, ":")+1:] + " {\nwsgi_party other {\ninvite /a/__invite__/\n" + partytest.Mounted("a", "answer x y\nkey {file."+file+"}", a) + "}\n}\n"
	check.Fails(t, c.TryLoad(modes), "is empty: ") // it is not there yet
	c.Load(withKeyAuto(c, "key auto "+file, "", a, a))
	check.Fails(t, c.TryLoad(modes), "share a key")
	for path := range storedKeys(c) {
		check.Must(t, os.WriteFile(path, []byte("something else that nobody is to see"), 0o600))
	}
	err := c.TryLoad(withKeyAuto(c, "key auto "+file, "", a, a))
	check.Fails(t, err, "is not a key that Caddy made: delete it, and Caddy makes a new one", "wsgi_party/main/a-")
	check.ErrorIf(t, strings.Contains(fmt.Sprint(err), "nobody is to see"), err)
}

// hangingStorage is one that does not answer.
type hangingStorage struct{ certmagic.FileStorage }

func (*hangingStorage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.storage.test_hanging", New: func() caddy.Module { return new(hangingStorage) }}
}
func (s *hangingStorage) CertMagicStorage() (certmagic.Storage, error) { return s, nil }
func (*hangingStorage) Load(ctx context.Context, _ string) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func init() { caddy.RegisterModule(new(hangingStorage)) }

// TestTheKeyInTheFileCountsWhenTheStorageIsAway has a Caddy start whose storage does not answer.
func TestTheKeyInTheFileCountsWhenTheStorageIsAway(t *testing.T) {
	c := partytest.NewCaddy(t)
	file := filepath.Join(t.TempDir(), "a.key")
	a := partytest.NewApplication(t, "", nil)
	hanging := strings.Replace(string(c.Adapt(withKeyAuto(c, "key auto "+file, "", a, a))), `{"admin"`, `{"storage":{"module":"test_hanging"},"admin"`, 1)
	began := time.Now()
	check.Fails(t, c.TryLoadJSON([]byte(hanging)), "it cannot be kept in Caddy's storage, at wsgi_party/main/a-", "no answer from Caddy's storage within 2s")
	check.ErrorIf(t, time.Since(began) > 10*time.Second, "it took %v", time.Since(began))
	c.Load(withKeyAuto(c, "key auto "+file, "", a, a))
	key := keyIn(t, file, 0o600)
	check.Must(t, caddy.Stop())
	c.LoadJSON([]byte(hanging))
	check.Equal(t, c.Ask(partytest.Asking{Key: key, Path: "/who"}).Status, 200)
	check.Equal(t, keyIn(t, file, 0o600), key)
	check.Equal(t, len(partytest.LogEntries(t, "a guest's key is not in Caddy's storage: the one in its file counts")), 1)
}

// TestReplicasHaveOneKey has a guest in two servers, in two files, and again after an invite.
func TestReplicasHaveOneKey(t *testing.T) {
	c := partytest.NewCaddy(t)
	dir := t.TempDir()
	a := partytest.NewApplication(t, "", partytest.JSON("1"))
	second := "http://127.0.0.2:" + c.Address[strings.LastIndex(c.Address, ":")+1:]
	c.Load("ADDRESS, " + second + " {\nwsgi_party main {\nask_on " + c.Endpoint + "\ninvite /a/__invite__/\n" + partytest.Mounted("a", "service x /x\nkey auto "+dir+"/a", a) + "}\n}\n")
	key := keyIn(t, dir+"/a", 0o600)
	for _, site := range []string{"http://" + c.Address, second} {
		response := check.Value(http.Get(site + "/a/page"))(t)
		partytest.ReadAll(t, response)
		r := a.Requests()[len(a.Requests())-1]
		check.Has(t, partytest.WithoutLine(r.Header.Get("Party-Ask"), key), "; mac="+partytest.Keys(t, key).SignAddress("http://"+c.Endpoint+"/"), site)
	}
	check.Equal(t, len(partytest.LogEntries(t, "the guest's key is in its file")), 1)
}

// TestAKeyThatCaddyMadeDoesNotShow looks wherever one might.
func TestAKeyThatCaddyMadeDoesNotShow(t *testing.T) {
	c := partytest.NewCaddyWithAdmin(t)
	file := filepath.Join(t.TempDir(), "a.key")
	a := partytest.NewApplication(t, "", partytest.JSON("1"))
	c.Load(withKeyAuto(c, "key auto "+file+" 0644", "", a, a))
	key := keyIn(t, file, 0o644)
	var shown strings.Builder
	for _, path := range []string{"/config/", "/wsgi_party/", "/wsgi_party/main", "/metrics"} {
		response := c.Call("GET", path, "")
		fmt.Fprintln(&shown, response.Status, response.Body)
	}
	fmt.Fprintln(&shown, c.Ask(partytest.Asking{Key: key, Path: "/who"}), c.Ask(partytest.Asking{Key: key + "x", Path: "/who"}))
	c.Get("/a/x")
	_, _ = c.AskAround("main", "a", nil)
	check.Must(t, os.Remove(file))
	check.Must(t, os.Mkdir(file, 0o700))
	fmt.Fprintln(&shown, c.TryLoad(withKeyAuto(c, "key auto "+file, "", a, a)))
	shown.WriteString(partytest.Logged())
	check.Contains(t, shown.String(), []string{"is a directory", `"key_auto":{"file":"` + file, "the guest's key is in its file", "every process on this machine may read a guest's key", `"upstream roundtrip"`})
	for name, form := range map[string]string{"as it is": key, "in part": key[11:31], "in base64": base64.StdEncoding.EncodeToString([]byte(key))[:30], "in hexadecimal": fmt.Sprintf("%x", key)} {
		check.ErrorIf(t, strings.Contains(shown.String(), form), "the key shows %s", name)
	}
}
