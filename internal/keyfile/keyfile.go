// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package keyfile has the keys that Caddy makes for guests, and the files in which
// applications find them.
package keyfile

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const prefix = "wsgi_party_" // shows people, and those who look for secrets in files, what it is

var made = regexp.MustCompile(`^` + prefix + `[A-Za-z0-9_-]{43}$`)

// New returns a new key, of 32 random bytes.
func New() string {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	return prefix + base64.RawURLEncoding.EncodeToString(random)
}

// IsMade reports whether a text is as New returns it.
func IsMade(text string) bool { return made.MatchString(text) }

// File is where a key is to be, and who may read it.
type File struct {
	Path string
	Mode fs.FileMode
}

// DefaultMode is for applications that run as Caddy's user.
const DefaultMode fs.FileMode = 0o600

// ParseMode returns an octal mode. Nobody but its owner may write to a file with a key.
func ParseMode(text string) (fs.FileMode, error) {
	mode, err := strconv.ParseUint(text, 8, 32)
	if err != nil || mode&^0o644 != 0 || mode&0o600 != 0o600 {
		return 0, fmt.Errorf("the mode of its file is %q: write 0600, for applications that run as Caddy's user, or 0640, for those in the file's group, too", text)
	}
	return fs.FileMode(mode), nil
}

// Default is where a key is whose file is not said: each name is one of a file below the directory.
func Default(dir string, names ...string) string {
	for _, name := range names {
		dir = filepath.Join(dir, escape(name))
	}
	return dir
}

// escape returns a name for one file that no other has. What is not a letter, digit, `_`, `-` or `.` within
// becomes %XX.
func escape(name string) string {
	var escaped strings.Builder
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-', c == '.' && i > 0 && i < len(name)-1:
			escaped.WriteByte(c)
		default:
			fmt.Fprintf(&escaped, "%%%02X", c)
		}
	}
	return escaped.String()
}

// Prepared is a file that is ready to be written. Nothing that is there changes before Commit.
type Prepared struct {
	file      File
	root      *os.Root // its directory
	name      string
	present   string      // the key that is there, if it is one that was made
	mode      fs.FileMode // of the file that is there
	temporary string      // the new file; empty if that which is there will do
	dirs      []string    // that were made for it, the last one last
}

// Prepare readies the directory. It returns an error for a file that is there and is no key that
// Caddy made.
func (f File) Prepare() (_ *Prepared, err error) {
	p := &Prepared{file: f, name: filepath.Base(f.Path)}
	defer func() {
		if err != nil {
			p.Abort()
		}
	}()
	dir := filepath.Dir(f.Path)
	if err := p.makeDirs(dir); err != nil {
		return p, err
	}
	if p.root, err = os.OpenRoot(dir); err != nil {
		return p, err
	}
	return p, p.look()
}

// makeDirs makes the directories that are not there, which whoever may read the file may enter.
func (p *Prepared) makeDirs(dir string) error {
	var missing []string
	for {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			break // another error is told when it is opened
		}
		missing = append(missing, dir)
		dir = filepath.Dir(dir)
	}
	mode := 0o700 | p.file.Mode&0o044 | p.file.Mode&0o044>>2
	for _, dir := range slices.Backward(missing) {
		err := os.Mkdir(dir, mode)
		if errors.Is(err, fs.ErrExist) {
			continue // another guest's
		}
		if err != nil {
			return err
		}
		p.dirs = append(p.dirs, dir)
		if err := os.Chmod(dir, mode); err != nil { // whatever the umask is
			return err
		}
	}
	return nil
}

// look looks at what is there. What Caddy has not written stays.
func (p *Prepared) look() error {
	info, err := p.root.Lstat(p.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s exists and is %s: write the path of a file, or delete it", p.file.Path, kindOf(info.Mode()))
	}
	opened, err := p.root.Open(p.name)
	if err != nil {
		return err
	}
	defer opened.Close()
	if same, err := opened.Stat(); err != nil || !os.SameFile(info, same) {
		return fmt.Errorf("%s is being changed by somebody else", p.file.Path)
	}
	text, err := io.ReadAll(io.LimitReader(opened, 1024))
	if err != nil {
		return err
	}
	p.present, p.mode = strings.TrimSuffix(string(text), "\n"), info.Mode().Perm()
	if p.present != "" && !IsMade(p.present) {
		return fmt.Errorf("%s holds something that Caddy did not make: if it is the guest's key, write `key {file.%[1]s}` instead; otherwise delete the file, or write another one", p.file.Path)
	}
	return nil
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	}
	return "not a regular file"
}

// Present is the key that is there, empty if there is none.
func (p *Prepared) Present() string { return p.present }

// Write writes the key beside the file, unless it is there already.
func (p *Prepared) Write(key string) error {
	if p.present == key && p.mode == p.file.Mode {
		return nil
	}
	temporary := "." + p.name[:min(len(p.name), 64)] + "." + rand.Text()
	f, err := p.root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	p.temporary = temporary
	_, err = f.WriteString(key + "\n")
	return errors.Join(err, f.Chmod(p.file.Mode), f.Sync(), f.Close())
}

// Commit puts what was written in the file's place.
func (p *Prepared) Commit() error {
	var err error
	if p.temporary != "" {
		err = p.root.Rename(p.temporary, p.name)
	}
	if err == nil {
		p.temporary, p.dirs = "", nil
	}
	p.Abort()
	return err
}

// Abort leaves everything as it was. It does nothing after Commit.
func (p *Prepared) Abort() {
	if p.root != nil {
		if p.temporary != "" {
			_ = p.root.Remove(p.temporary)
		}
		_ = p.root.Close()
	}
	for _, dir := range slices.Backward(p.dirs) {
		_ = os.Remove(dir) // unless there is something else in it now
	}
	p.root, p.temporary, p.dirs = nil, "", nil
}
