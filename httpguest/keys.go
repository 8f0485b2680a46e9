// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty/internal/keyfile"
	"github.com/wsgiparty/wsgiparty/party"
)

// KeyAuto has Caddy make a guest's key, once. All Caddys that share a storage have the same key, and so do all their
// configs. Caddy writes the key to the file when a config starts, unless the key is there already. It never overwrites
// a file that holds anything but such a key. Whoever can read the file or Caddy's storage has the key. To get a new
// key, delete the one in the storage, `wsgi_party/<party>/<guest>-….key`, and reload with `--force`.
type KeyAuto struct {
	// The file for the application, which finds it through `WSGI_PARTY_KEY_FILE`. Global placeholders are replaced
	// when the config loads. Missing directories are created, accessible to those who may read the file. Default:
	// `keys/<party>/<guest>` in Caddy's data directory, with each name escaped to make one file name.
	File string `json:"file,omitempty"`

	// The file's mode, in octal: with `0640` the file's group can read it, too. Default: `0600`.
	Mode string `json:"mode,omitempty"`
}

// resolve returns the file, for a guest that has other keys or not.
func (k *KeyAuto) resolve(others bool) (file party.KeyFile, err error) {
	if others {
		return file, errKeyAutoAlone
	}
	if file.Path, err = caddy.NewReplacer().ReplaceOrErr(k.File, true, true); err != nil {
		return file, fmt.Errorf("the file of key auto: %w", err)
	}
	if _, err := keyfile.ParseMode(file.Path); err == nil && k.Mode == "" {
		return file, fmt.Errorf("the file of key auto is %s, which looks like a mode: write the file before it", file.Path)
	}
	if strings.HasSuffix(file.Path, "/") {
		return file, fmt.Errorf("key auto: %s is a directory: write the path of a file in it", file.Path)
	}
	if k.Mode != "" {
		if file.Mode, err = keyfile.ParseMode(k.Mode); err != nil {
			return file, fmt.Errorf("key auto: %w", err)
		}
	}
	return file, nil
}

var errKeyAutoAlone = errors.New("key auto makes the guest's only key: leave out key auto, or the other key")

// setKeyAuto sets what `key auto [<file> [<mode>]]` says.
func (g *Guest) setKeyAuto(args []string) error {
	if g.KeyAuto != nil || len(g.Keys) > 0 {
		return errKeyAutoAlone
	}
	if len(args) > 3 {
		return errors.New("key auto takes no more than a file and a mode: write `key auto <file> <mode>`")
	}
	args = append(args, "", "")
	g.KeyAuto = &KeyAuto{File: args[1], Mode: args[2]}
	if strings.Contains(args[1]+args[2], "{") {
		return nil // has a placeholder, which Provision replaces
	}
	_, err := g.KeyAuto.resolve(false)
	return err
}

func checkKeys(keys []string) error {
	for i, key := range keys {
		if !(strings.HasPrefix(key, "{env.") || strings.HasPrefix(key, "{file.")) || strings.Index(key, "}") != len(key)-1 {
			return fmt.Errorf("key %d is in the config itself ({$VARIABLE} puts it there, too): write a placeholder such as {env.BLOG_PARTY_KEY} or {file./run/secrets/blog}, which keeps it out, or `key auto`, with which Caddy makes the key", i+1)
		}
	}
	return nil
}

func resolveKeys(keys []string) (party.Keys, error) {
	if err := checkKeys(keys); err != nil {
		return party.Keys{}, err
	}
	placeholders := caddy.NewReplacer()
	resolved := make([]string, len(keys))
	for i, key := range keys {
		resolved[i] = strings.TrimSpace(placeholders.ReplaceAll(key, ""))
	}
	made, err := party.NewKeys(resolved)
	if wrong, ok := errors.AsType[*party.KeyError](err); ok {
		placeholder := keys[wrong.Index]
		if why := whyEmpty(placeholder); resolved[wrong.Index] == "" && why != "" {
			wrong.Problem = "is empty: " + why
		}
		err = fmt.Errorf("key %d, %s, %s; put there what `openssl rand -base64 32` prints, and give it to the application, too", wrong.Index+1, placeholder, wrong.Problem)
	}
	return made, err
}

// whyEmpty says why nothing is in a key's placeholder, if that is to be known.
func whyEmpty(placeholder string) string {
	kind, name, _ := strings.Cut(strings.Trim(placeholder, "{}"), ".")
	if kind == "env" {
		if _, ok := os.LookupEnv(name); !ok {
			return "the variable " + name + " is unset in Caddy's environment"
		}
	} else if _, err := os.Stat(name); err != nil {
		return err.Error()
	}
	return ""
}
