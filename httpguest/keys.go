// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/http/httpguts"

	"github.com/wsgiparty/wsgiparty/internal/reservedheader"
	"github.com/wsgiparty/wsgiparty/internal/token"
)

// checkKeys refuses keys that are no placeholders.
func checkKeys(keys []string) error {
	for i, key := range keys {
		if !(strings.HasPrefix(key, "{env.") || strings.HasPrefix(key, "{file.")) || strings.Index(key, "}") != len(key)-1 {
			return fmt.Errorf("key %d is written in the config ({$VARIABLE} writes it there, too): write a placeholder such as {env.BLOG_PARTY_KEY} or {file./run/secrets/blog}, so that it stays out of it", i+1)
		}
	}
	return nil
}

// resolveKeys replaces the placeholders that keys have to be.
func resolveKeys(keys []string) (token.Keys, error) {
	if err := checkKeys(keys); err != nil {
		return token.Keys{}, err
	}
	placeholders := caddy.NewReplacer()
	resolved := make([]string, len(keys))
	for i, key := range keys {
		resolved[i] = strings.TrimSpace(placeholders.ReplaceAll(key, ""))
	}
	made, err := token.NewKeys(resolved)
	if wrong, ok := errors.AsType[*token.KeyError](err); ok {
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

// checkForwarded refuses the headers that are not to be forwarded.
func checkForwarded(names []string) error {
	for _, name := range names {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("forward: %q is no header's name", name)
		}
		if reservedheader.Reserves(name) {
			return fmt.Errorf("forward: the header %s is the party's own, which every ask has: leave it out", name)
		}
		switch http.CanonicalHeaderKey(name) {
		case reservedheader.Loop, "Connection", "Content-Length", "Content-Type", "Host", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
			"Accept-Encoding", "Content-Encoding", "Expect", "Range",
			"If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since":
			return fmt.Errorf("forward: the header %s belongs to one request, and an ask has its own: leave it out", name)
		}
	}
	return nil
}
