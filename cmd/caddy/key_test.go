// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestCaddysThatShareAStorageMakeOneKey starts three of them at once, each with a file of its own.
func TestCaddysThatShareAStorageMakeOneKey(t *testing.T) {
	dir := t.TempDir()
	var keys [3]string
	var group sync.WaitGroup
	for i := range keys {
		file := filepath.Join(dir, fmt.Sprint("key", i))
		config := filepath.Join(dir, fmt.Sprint("Caddyfile", i))
		if err := os.WriteFile(config, []byte(`{
	admin off
	storage file_system `+filepath.Join(dir, "storage")+`
}
http:// {
	bind unix/`+filepath.Join(dir, fmt.Sprint("site", i))+`
	wsgi_party {
		ask_on unix/`+filepath.Join(dir, fmt.Sprint("ask", i))+`
		invite /blog/__invite__/
		handle_path /blog/* {
			wsgi_party_guest {
				key auto `+file+`
				answer ping pong
			}
			respond blog
		}
	}
}
`), 0o600); err != nil {
			t.Fatal(err)
		}
		process := runCaddy(t, config)
		group.Go(func() {
			defer process.kill()
			log := bufio.NewScanner(process.stderr)
			for log.Scan() && !strings.Contains(log.Text(), "serving initial configuration") {
				if strings.Contains(log.Text(), "rror") {
					t.Log(log.Text())
				}
			}
			go io.Copy(io.Discard, process.stderr)
			key, err := os.ReadFile(file)
			if err != nil {
				t.Error(err)
			}
			keys[i] = string(key)
		})
	}
	group.Wait()
	if keys[0] == "" || keys[1] != keys[0] || keys[2] != keys[0] {
		t.Errorf("the keys are %q", keys)
	}
}
