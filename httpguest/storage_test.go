// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/httpguest"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/kept"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testbackend"
	"github.com/wsgiparty/wsgiparty/internal/testport"
	"github.com/wsgiparty/wsgiparty/party"
)

// restart stops Caddy, and starts it with no memory of what was before.
func (c *guestTest) restart(config string) {
	c.Helper()
	check.Must(c, caddy.Stop())
	kept.Clear()
	c.Caddy.Load(config)
}

// awaitFile waits until the file is there, and returns what is in it.
func awaitFile(t testing.TB, path string) (content []byte) {
	t.Helper()
	partytest.Eventually(t, path+" is there", func() bool {
		var err error
		content, err = os.ReadFile(path)
		return err == nil
	})
	return content
}

// TestAStorageThatHangsDelaysALoadOnce has pipes in the place of ten guests' manifests,
// which nobody writes to: whoever opens one waits for ever.
func TestAStorageThatHangsDelaysALoadOnce(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("", manifestOf(`{"urls": {"home": "/"}}`))
	config := ""
	const guests = 10
	for i := range guests {
		config += guestAt(fmt.Sprint(i), b)
	}
	c.load(config)
	partytest.Eventually(t, "all have joined", func() bool { return len(c.partyline().Services()["url"]) == guests })
	var writers []*os.File
	for i := range guests {
		pipe := c.stored(fmt.Sprint(i))
		awaitFile(t, pipe)
		check.Must(t, os.Remove(pipe))
		check.Must(t, syscall.Mkfifo(pipe, 0o600))
		writers = append(writers, check.Value(os.OpenFile(pipe, os.O_RDWR, 0))(t))
	}
	began := time.Now()
	c.restart(c.inParty(config))
	took := time.Since(began)
	check.ErrorIf(t, took > (guests-1)*2*time.Second, "the load took %v, as if each guest waited", took)
	warned := partytest.LogEntries(t, "the guest's last manifest cannot be read from storage")
	check.ErrorIf(t, len(warned) != guests || warned[0]["error"] != "no answer from Caddy's storage within 2s", "warned of %v", warned)
	partytest.Eventually(t, "all have joined", func() bool { return len(c.partyline().Services()["url"]) == guests })
	for _, writer := range writers { // ends the waiting
		writer.Close()
	}
}

// TestAManifestThatCouldNotBeStoredIsStoredLater has something in the way.
func TestAManifestThatCouldNotBeStoredIsStoredLater(t *testing.T) {
	httpguest.Waits{Apart: time.Millisecond}.Set(t)
	c, b := newBlogTest(t)
	b.On("/__invite__/", testbackend.Response{Status: 404})
	c.load(blogAt(b))
	partytest.Eventually(t, "it is asked", func() bool { return len(partytest.InvitesLogged(t, "blog")) == 1 })
	file := c.stored("blog")
	inTheWay := filepath.Join(file, "in the way")
	check.Must(t, os.MkdirAll(inTheWay, 0o700))
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/"}}`, "ETag", `"1"`), testbackend.Response{Status: 304})
	wsgiparty.SendInvites(c.party, "blog")
	c.await("url")
	partytest.Eventually(t, "it is told", func() bool { return len(partytest.LogEntries(t, "the guest's manifest cannot be stored")) == 1 })
	heard := func() time.Time { return invitesOf(t, c.party, false)["blog"].Time }
	before := heard()
	applicationOf(t, "blog").FetchSoon()
	partytest.Eventually(t, "it has been tried again", func() bool { return heard().After(before) })
	check.Must(t, os.RemoveAll(file))
	applicationOf(t, "blog").FetchSoon()
	check.Has(t, string(awaitFile(t, file)), `"home":"/"`, "stored")
	check.Equal(t, len(b.Requests("/__invite__/")), 4, "requests")
	check.Equal(t, len(partytest.LogEntries(t, "the guest's manifest cannot be stored")), 1, "times that it is told")
}

// TestStoredManifestsAreOfTheSameServerAndUpstreams has two projects on one machine,
// which call their parties and guests alike.
func TestStoredManifestsAreOfTheSameServerAndUpstreams(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/"}}`))
	config := c.inParty(blogAt(b))
	c.Caddy.Load(config)
	c.await("url")
	awaitFile(t, c.stored("blog"))
	b.Kill()
	for what, other := range map[string]string{
		"another upstream":   strings.Replace(config, b.Upstream(), testport.Address(t), 1),
		"a second upstream":  strings.Replace(config, b.Upstream(), b.Upstream()+" "+testport.Address(t), 1),
		"another address":    strings.Replace(config, "ADDRESS", "http://"+testport.Address(t), 1),
		"a second address":   strings.Replace(config, "ADDRESS", "ADDRESS, http://"+testport.Address(t), 1),
		"another in a route": strings.Replace(config, "reverse_proxy "+b.Upstream(), "handle_path /* {\nreverse_proxy "+testport.Address(t)+"\n}", 1),
	} {
		c.restart(other)
		if what == "a second address" { // one of the two servers is the same
			c.expectLink("home", "/blog/")
			continue
		}
		if c.expectLink("home", ""); t.Failed() {
			t.Fatal(what)
		}
	}

	// The same one tells how old it is.
	c.restart(config)
	c.expectLink("home", "/blog/")
	joined := partytest.LogEntries(t, "guest joined")
	last := joined[len(joined)-1]
	text := fmt.Sprint(last["manifest"])
	check.ErrorIf(t, !strings.HasPrefix(text, "joined with the manifest of "+time.Now().UTC().Format("2006-01-02T")), "it is told as %v", last)
	partytest.Eventually(t, "it is asked", func() bool {
		infos := invitesOf(t, c.party, false)
		return infos["blog"].Result == wsgiparty.InviteFailed && time.Since(infos["blog"].OldManifest) < time.Hour && infos["blog"].Hint != ""
	})
	// A reload with another upstream, as of blue and green, keeps the links.
	green := testbackend.Start(t, "")
	green.On("/__invite__/", manifestOf(`{"urls": {"home": "/"}}`))
	c.Caddy.Load(strings.Replace(config, b.Upstream(), green.Upstream(), 1))
	c.expectLink("home", "/blog/")
	awaitFile(t, c.stored("blog")) // for the next start with that one
	partytest.Eventually(t, "it is not old any more", func() bool { return invitesOf(t, c.party, false)["blog"].OldManifest.IsZero() })
}

// TestOldManifestsInStorageAreDeleted has files that are older than thirty days, and some
// that are not, or are not manifests.
func TestOldManifestsInStorageAreDeleted(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/"}}`))
	c.load(blogAt(b))
	c.await("url")
	own := c.stored("blog")
	content := awaitFile(t, own)
	age := func(path string, days int) string {
		t.Helper()
		at := time.Now().Add(-time.Duration(days)*24*time.Hour - time.Hour)
		check.Must(t, os.Chtimes(path, at, at))
		return path
	}
	file := func(name string, days int) string {
		t.Helper()
		path := filepath.Join(caddy.DefaultStorage.Path, "wsgi_party", name)
		check.Must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		check.Must(t, os.WriteFile(path, content, 0o600))
		return age(path, days)
	}
	old := file(strings.TrimPrefix(party.StorageKey("a", "b", "c", nil), "wsgi_party/"), 30)
	young := file(strings.TrimPrefix(party.StorageKey("a", "young", "c", nil), "wsgi_party/"), 29)
	others := []string{file("old.key", 1000), file("old-party/notes.json", 1000)}
	age(own, 1000)
	b.Kill()
	c.restart(c.inParty(blogAt(b)))
	partytest.Eventually(t, "the old one is gone", func() bool { _, err := os.Stat(old); return errors.Is(err, fs.ErrNotExist) })
	partytest.Eventually(t, "a config's own is stored again", func() bool {
		info, err := os.Stat(own)
		return err == nil && time.Since(info.ModTime()) < time.Hour
	})
	again := awaitFile(t, own)
	check.ErrorIf(t, !bytes.Equal(again, content), "stored again is %s", again)
	for _, path := range append(others, young) {
		_, err := os.Stat(path)
		check.Nil(t, err)
	}
}

// TestLinksInTheStorage has symbolic links in the place of manifests.
func TestLinksInTheStorage(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/"}}`))
	c.load(blogAt(b))
	c.await("url")
	file := c.stored("blog")
	awaitFile(t, file)
	victim := filepath.Join(t.TempDir(), "victim")
	for what, test := range map[string]struct{ target, content string }{
		"a file that is none": {victim, "root:x:0:0"},
		"nothing":             {victim + "nowhere", ""},
		"itself":              {file, ""},
		"a folder":            {filepath.Dir(victim), ""},
	} {
		if test.content != "" {
			check.Must(t, os.WriteFile(test.target, []byte(test.content), 0o600))
		}
		check.Must(t, errors.Join(os.Remove(file), os.Symlink(test.target, file)))
		c.restart(c.inParty(blogAt(b)))
		c.await("url")
		partytest.Eventually(t, what+" is replaced", func() bool {
			info, err := os.Lstat(file)
			return err == nil && info.Mode().IsRegular()
		})
		got, _ := os.ReadFile(victim)
		check.ErrorIf(t, test.content != "" && string(got) != test.content, "%s: where it leads is now %s", what, got)
	}
}

// forgetSoon has everything be forgotten soon, until the test ends.
func forgetSoon(t testing.TB) {
	before := kept.ForgetAfter
	t.Cleanup(func() { kept.ForgetAfter = before })
	kept.ForgetAfter = 500 * time.Millisecond
}

// TestWhoIsGoneIsForgotten has guests come and go, and a party.
func TestWhoIsGoneIsForgotten(t *testing.T) {
	forgetSoon(t)
	c, b := newBlogTest(t)
	b.On("/preview/__invite__/", manifestOf(`{"urls": {"home": "/preview/"}, "services": {"ping": {"answer": 1}, "preview": {"answer": 1}}}`))
	mounted := func(guest string) string { return unstripped(guestAt(guest, b)) }
	b.On("/stays/__invite__/", manifestOf(`{"services": {"ping": {"answer": 1}}}`))
	c.load(mounted("stays") + mounted("preview"))
	partytest.Eventually(t, "both are on the line", func() bool { return len(c.partyline().Services()["ping"]) == 2 })
	c.expectAsk("ping", nil, "1 1")
	c.expectAsk("preview", nil, "1")

	known := func(guest string) bool {
		known, _ := httpguest.Remembered(c.party, guest, "/"+guest+"/__invite__/")
		return known
	}
	asked := func(guest string) uint64 { // as far as is counted
		_, replies := c.partyline().Counts()
		return replies[slices.IndexFunc(replies, func(r wsgiparty.ReplyCount) bool { return r.Guest == guest && r.Service == "ping" })].Asked
	}
	c.load(mounted("stays"))
	partytest.Eventually(t, "who is gone is forgotten", func() bool { return !known("preview") })
	check.ErrorIf(t, !known("stays") || asked("stays") != 1, "who stays is forgotten, too")
	time.Sleep(kept.ForgetAfter)
	c.load(mounted("stays") + mounted("preview"))
	c.await("preview")
	asks, _ := c.partyline().Counts()
	check.ErrorIf(t, asked("preview") != 0 || slices.Contains(asks, wsgiparty.AskCount{Service: "preview", Asks: 1}), "who is gone is still counted: %v", asks)
	c.load(mounted("stays"))
	asks, _ = c.partyline().Counts()
	check.ErrorIf(t, len(asks) != 1 || asks[0].Service != "ping" || asks[0].Asks != 1, "of who stays is counted %v", asks)

	// Who comes back in time is not forgotten, nor is who is in one of two configs.
	c.expectAsk("ping", nil, "1")
	soon := kept.ForgetAfter
	for range 3 {
		kept.ForgetAfter = time.Hour
		c.Caddy.Load("ADDRESS {\nrespond nothing\n}")
		kept.ForgetAfter = soon
		c.load(mounted("stays"))
		c.load(mounted("stays"))
		time.Sleep(2 * soon)
	}
	asks, _ = c.partyline().Counts()
	check.ErrorIf(t, len(asks) != 1 || asks[0].Asks != 2, "of who comes back is counted %v", asks)
	partytest.Eventually(t, "the party is forgotten", func() bool {
		c.Caddy.Load("ADDRESS {\nrespond nothing\n}")
		time.Sleep(2 * soon)
		forgotten := !known("stays")
		c.load(mounted("stays"))
		asks, _ := c.partyline().Counts()
		return forgotten && !slices.ContainsFunc(asks, func(a wsgiparty.AskCount) bool { return a.Asks > 0 })
	})
}

// TestReloadsWithEverOtherGuestsLeaveNothing has a preview deployment in each config.
func TestReloadsWithEverOtherGuestsLeaveNothing(t *testing.T) {
	forgetSoon(t)
	c, b := newBlogTest(t)
	large := `{"services": {"ping": {"answer": "` + strings.Repeat("x", 50<<10) + `"}}}`
	b.On("", manifestOf(large, "Connection", "close")) // an idle connection keeps its config for two minutes
	reload := func(n int) {
		t.Helper()
		c.load(guestAt(fmt.Sprint("preview", n), b))
		c.await("ping")
	}
	rest := func() uint64 {
		t.Helper()
		partytest.Eventually(t, "those that are gone are forgotten", func() bool { return httpguest.RememberedInAll() == 1 })
		return heap()
	}
	const few, many = 10, 50
	for n := range few {
		reload(n)
	}
	before := rest()
	for n := range many {
		reload(few + n)
	}
	after := rest()
	check.ErrorIf(t, after > before+many*50<<10, "%d KB are in use, and %d after %d more", before>>10, after>>10, many)
}

// TestStoredManifestsAreTheirOwnGuests, also where the storage's names are the same.
func TestStoredManifestsAreTheirOwnGuests(t *testing.T) {
	seen := make(map[string][3]string)
	for _, key := range [][3]string{
		{"main", "a/b", "/a/b/__invite__/"}, {"main", "ab", "/ab/__invite__/"}, {"main", "AB", "/AB/__invite__/"}, {"main", "AB", "/ab/__invite__/"},
		{"Main", "ab", "/ab/__invite__/"}, {"main", "ab", "/a.b/__invite__/"}, {"main", "..", "/../__invite__/"}, {"main", "", "/__invite__/"}, {"..", "ab", "/__invite__/"},
		{"main", "ab", "https://example.com/ab/__invite__/"}, {"main", "ab", "https://example.com:8443/ab/__invite__/"}, {"main ab", "", "/"}, {"main", "ab ", "/"},
	} {
		stored := party.StorageKey(key[0], key[1], key[2], nil)
		other, ok := seen[stored]
		check.ErrorIf(t, ok || !strings.HasPrefix(stored, "wsgi_party/") || strings.Contains(stored, ".."), "%q and %q are both stored at %q", key, other, stored)
		seen[stored] = key
	}
}

// TestLastGoodManifestsAreKeptInStorage forgets what the process knows: Caddy in a
// process of its own does so in cmd/caddy.
func TestLastGoodManifestsAreKeptInStorage(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"urls": {"home": "/"}, "services": {"ping": {"href": "/ping"}, "two": [{"answer": 1.50}, {"answer": "<&>"}]}}`))
	c.load(blogAt(b))
	c.await("url")
	file := c.stored("blog")
	var stored []byte
	partytest.Eventually(t, "it is stored", func() bool {
		var err error
		stored, err = os.ReadFile(file)
		return err == nil
	})
	manifest := `{"urls":{"home":"/"},"services":{"ping":{"href":"/ping"},"two":[{"answer":1.50},{"answer":"<&>"}]}}`
	is := func(stored []byte) bool {
		return strings.HasPrefix(string(stored), `{"fetched":"20`) && strings.HasSuffix(string(stored), `Z","manifest":`+manifest+`}`)
	}
	check.ErrorIf(t, !is(stored), "stored is %s", stored)
	b.Kill()
	restart := func(directives string) {
		t.Helper()
		check.Must(t, caddy.Stop())
		kept.Clear()
		c.load(directives)
	}
	restart(blogAt(b))
	c.expectLink("home", "/blog/")
	c.expectAsk("two", nil, `1.50 "<&>"`)
	restart(strings.Replace(blogAt(b), "/__invite__/", "/__invite__/ as other", 1))
	c.expectLink("home", "")
	restart(strings.Replace(blogAt(b), "/__invite__/", "/__invite__/?a as blog", 1))
	c.expectLink("home", "")

	// What cannot be read is not there.
	check.Must(t, os.WriteFile(file, []byte("{"), 0o600))
	b.Start()
	restart(blogAt(b))
	warned := partytest.LogEntries(t, "the guest's last manifest cannot be read from storage")
	check.ErrorIf(t, len(warned) != 1 || warned[0]["guest"] != "blog" || !strings.Contains(fmt.Sprint(warned[0]["error"]), "JSON"), "warned of %v", warned)
	c.await("url")
	c.expectLink("home", "/blog/")
	partytest.Eventually(t, "it is stored again", func() bool {
		stored, err := os.ReadFile(file)
		return err == nil && is(stored)
	})
}
