// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/testbackend"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// TestLinksAreThereAfterARestartThoughTheApplicationIsDown kills Caddy, and starts it
// again.
func TestLinksAreThereAfterARestartThoughTheApplicationIsDown(t *testing.T) {
	backend := testbackend.Start(t, "")
	backend.On("/__invite__/", testbackend.Response{
		Header: map[string]string{"Content-Type": "application/vnd.wsgi-party+json"},
		Body:   `{"urls": {"post": "/posts/{slug}"}}`,
	})
	site := testport.Address(t)
	dir := t.TempDir()
	config := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(config, []byte(`{
	admin off
	storage file_system `+filepath.Join(dir, "storage")+`
}
http://`+site+` {
	wsgi_party {
		invite /blog/__invite__/
		handle_path /blog/* {
			wsgi_party_guest
			reverse_proxy `+backend.Upstream()+`
		}
		handle / {
			templates {
				mime text/plain
				extensions {
					wsgi_party
				}
			}
			respond `+"`{{urlFor \"post\" \"slug\" \"hello\"}}`"+`
		}
	}
}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	stored := func() bool {
		files, err := filepath.Glob(filepath.Join(dir, "storage", "wsgi_party", "*", "*.json"))
		return err == nil && len(files) == 1
	}
	// page starts Caddy, and returns its page: the first one, or as soon as there is one
	// and the manifest is stored.
	page := func(eventually bool) string {
		t.Helper()
		process := runCaddy(t, config)
		defer process.Wait()
		defer process.kill()
		log := bufio.NewScanner(process.stderr)
		for log.Scan() && !strings.Contains(log.Text(), "serving initial configuration") {
		}
		go io.Copy(io.Discard, process.stderr)
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			response, err := http.Get("http://" + site)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode == 200 && stored() || !eventually || time.Now().After(deadline) {
				return string(body)
			}
		}
	}
	if got := page(true); got != "/blog/posts/hello" {
		t.Fatalf("before the restart it is %q", got)
	}
	backend.Kill()
	if got := page(false); got != "/blog/posts/hello" {
		t.Errorf("after the restart it is %q", got)
	}
}
