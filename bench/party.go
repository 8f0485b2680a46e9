// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The Caddy of a group of rows.

package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/wsgiparty/wsgiparty/bench/question"
)

// caddy starts Caddy with a site that has this in its block.
func (s *stage) caddy(admin, site, block string) error {
	s.admin = admin
	config, err := s.write("Caddyfile", fmt.Sprintf(`{
	admin %s
	auto_https off
	persist_config off
	storage file_system %s/storage
}

http://%s {
%s
}
`, admin, s.dir, site, block))
	if err != nil {
		return err
	}
	return s.serve(site, "caddy", []string{"ASKER_KEY=" + askerKey, "GUEST_KEY=" + guestKey}, "caddy", "run", "--config", config, "--adapter", "caddyfile")
}

// profile writes a CPU profile of Caddy while only one contender works.
func (s *stage) profile(c contender, path string) error {
	type profiled struct {
		text []byte
		err  error
	}
	done := make(chan profiled, 1)
	go func() {
		text, err := question.Plain.Get("http://" + s.admin + "/debug/pprof/profile?seconds=4")
		done <- profiled{text, err}
	}()
	for {
		if _, err := c.run(100); err != nil {
			return err
		}
		select {
		case got := <-done:
			if got.err != nil {
				return got.err
			}
			fmt.Fprintln(os.Stderr, path)
			return os.WriteFile(path, got.text, 0o644)
		default:
		}
	}
}

// asked returns how often a guest has been asked for a service.
func (s *stage) asked(guest, service string) (int, error) {
	text, err := question.Plain.Get("http://" + s.admin + "/wsgi_party/main")
	if err != nil {
		return 0, err
	}
	var party struct {
		Counts []struct {
			Guest, Service string
			Asked          int
		}
	}
	if err := json.Unmarshal(text, &party); err != nil {
		return 0, err
	}
	for _, count := range party.Counts {
		if count.Guest == guest && count.Service == service {
			return count.Asked, nil
		}
	}
	return 0, nil
}
