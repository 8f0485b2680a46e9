// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package keyfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/token"
)

func TestNewKeysAreKeys(t *testing.T) {
	seen := make(map[string]bool)
	for range 100 {
		key := New()
		_, err := token.NewKeys([]string{key})
		check.Nil(t, err)
		check.ErrorIf(t, !IsMade(key) || seen[key] || len(strings.Fields(key)) != 1, key)
		seen[key] = true
	}
	for _, text := range []string{"", New() + "\n", New() + "x", New()[1:], " " + New(), strings.ToUpper(New())} {
		check.ErrorIf(t, IsMade(text), text)
	}
}

func TestModes(t *testing.T) {
	for text, want := range map[string]fs.FileMode{"0600": 0o600, "600": 0o600, "0640": 0o640, "0644": 0o644} {
		got, err := ParseMode(text)
		check.ErrorIf(t, err != nil || got != want, text, got, err)
	}
	for _, text := range []string{"", "0", "0400", "0660", "0700", "0606", "1600", "rw", "0800", "-0600", "0o600", "00000000000000600000"} {
		_, err := ParseMode(text)
		check.Fails(t, err, text, "write 0600", "0640")
	}
}

// TestNamesAreOneFileEach has names that lead elsewhere, or that others are escaped to.
func TestNamesAreOneFileEach(t *testing.T) {
	seen := make(map[string]string)
	for _, name := range []string{"blog", "../../etc/passwd", "..", ".", "", "a/b", "a%2Fb", "a%2fb", ".hidden", "x.", "C:", `a\b`, "a\x00b", "ü", "a b", "%", "a..b"} {
		path := Default("/keys", "main", name)
		rest, ok := strings.CutPrefix(path, "/keys/main/")
		if name == "" { // no guest has that name
			continue
		}
		check.ErrorIf(t, !ok || strings.ContainsAny(rest, "/\\:\x00 ") || rest == "." || rest == ".." || strings.HasPrefix(rest, "."), "%q is %q", name, path)
		check.ErrorIf(t, seen[path] != "", "%q and %q are both %s", name, seen[path], path)
		seen[path] = name
	}
	check.Equal(t, Default("/keys", "main", "shop/old"), "/keys/main/shop%2Fold")
}

func write(t testing.TB, f File, key string) {
	t.Helper()
	p := check.Value(f.Prepare())(t)
	check.Must(t, p.Write(key))
	check.Must(t, p.Commit())
	has(t, f, key)
}

func has(t testing.TB, f File, key string) {
	t.Helper()
	info := check.Value(os.Lstat(f.Path))(t)
	check.Equal(t, info.Mode(), f.Mode)
	check.Equal(t, string(check.Value(os.ReadFile(f.Path))(t)), key+"\n")
}

// TestOnlyWhatDiffersIsWritten whatever the umask is.
func TestOnlyWhatDiffersIsWritten(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	dir := filepath.Join(t.TempDir(), "keys", "main")
	f, key := File{filepath.Join(dir, "blog"), 0o640}, New()
	write(t, f, key)
	check.Equal(t, check.Value(os.Stat(dir))(t).Mode().Perm(), 0o750, "who may read the file may enter its directory")
	before := check.Value(os.Stat(f.Path))(t)
	write(t, f, key)
	check.ErrorIf(t, !os.SameFile(before, check.Value(os.Stat(f.Path))(t)), "it was written again")
	f.Mode = 0o600
	write(t, f, key)
	write(t, f, New())
	check.Must(t, os.Truncate(f.Path, 0)) // as a crash may leave it
	write(t, f, key)
	entries := check.Value(os.ReadDir(dir))(t)
	check.Equal(t, len(entries), 1, "files")
	f = File{filepath.Join(t.TempDir(), "private", "blog"), DefaultMode}
	write(t, f, key)
	check.Equal(t, check.Value(os.Stat(filepath.Dir(f.Path)))(t).Mode().Perm(), 0o700)
}

func TestAbortLeavesNoTrace(t *testing.T) {
	top := t.TempDir()
	f := File{filepath.Join(top, "keys", "main", "blog"), DefaultMode}
	p := check.Value(f.Prepare())(t)
	check.Must(t, p.Write(New()))
	p.Abort()
	p.Abort()
	check.Equal(t, len(check.Value(os.ReadDir(top))(t)), 0, "what is left")
	key := New()
	write(t, f, key)
	p = check.Value(f.Prepare())(t)
	check.Equal(t, p.Present(), key)
	check.Must(t, p.Write(New()))
	has(t, f, key)
	p.Abort()
	has(t, f, key)
	check.Equal(t, len(check.Value(os.ReadDir(filepath.Dir(f.Path)))(t)), 1, "files")
}

// TestWhatCaddyHasNotWrittenStays has links, devices and texts where the key is to be.
func TestWhatCaddyHasNotWrittenStays(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious")
	check.Must(t, os.WriteFile(precious, []byte("precious"), 0o644))
	foreign := filepath.Join(dir, "foreign")
	check.Must(t, os.WriteFile(foreign, []byte("a key that openssl has made for the guest\n"), 0o600))
	long := filepath.Join(dir, "long")
	check.Must(t, os.WriteFile(long, []byte(strings.Repeat(New()+"\n", 100)), 0o600))
	link, dangling, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "dangling"), filepath.Join(dir, "fifo")
	check.Must(t, os.Symlink(precious, link))
	check.Must(t, os.Symlink(filepath.Join(dir, "nowhere"), dangling))
	check.Must(t, syscall.Mkfifo(fifo, 0o600))
	for path, want := range map[string]string{
		precious: "holds something that Caddy did not make", foreign: "write `key {file." + foreign + "}` instead", long: "holds something", link: "is a symbolic link",
		dangling: "is a symbolic link", fifo: "is not a regular file", dir: "is a directory", precious + "/key": "not a directory",
	} {
		_, err := (File{path, DefaultMode}).Prepare()
		check.Fails(t, err, want)
	}
	check.Equal(t, string(check.Value(os.ReadFile(precious))(t)), "precious")
	_, err := os.Lstat(filepath.Join(dir, "nowhere"))
	check.ErrorIf(t, err == nil, "a link was followed")
	// One that is put there in between is replaced, and not followed.
	f := File{filepath.Join(dir, "raced"), DefaultMode}
	p := check.Value(f.Prepare())(t)
	key := New()
	check.Must(t, p.Write(key))
	check.Must(t, os.Symlink(precious, f.Path))
	check.Must(t, p.Commit())
	has(t, f, key)
	check.Equal(t, string(check.Value(os.ReadFile(precious))(t)), "precious")
}

// TestADirectoryThatIsSwappedInBetweenIsNotWrittenTo has whoever may write where the directory is put
// a link in its place.
func TestADirectoryThatIsSwappedInBetweenIsNotWrittenTo(t *testing.T) {
	top := t.TempDir()
	dir, elsewhere := filepath.Join(top, "dir"), filepath.Join(top, "elsewhere")
	check.Must(t, os.Mkdir(dir, 0o755))
	check.Must(t, os.Mkdir(elsewhere, 0o755))
	p := check.Value(File{filepath.Join(dir, "key"), DefaultMode}.Prepare())(t)
	check.Must(t, os.Rename(dir, dir+".moved"))
	check.Must(t, os.Symlink(elsewhere, dir))
	check.Must(t, p.Write(New()))
	check.Must(t, p.Commit())
	check.Equal(t, len(check.Value(os.ReadDir(elsewhere))(t)), 0, "files elsewhere")
}
