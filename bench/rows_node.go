// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Pages of fragments that applications in Node have, against Podium.

package main

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/wsgiparty/wsgiparty/bench/question"
)

// nodeRows starts 16 applications, a layout of Podium, and Caddy with pages of templates.
func nodeRows(s *stage) ([]row, error) {
	free, err := addresses(20)
	if err != nil {
		return nil, err
	}
	podlets, layout, site := free[:16], free[16], free[17]
	program := func(name string) string { return filepath.Join(s.bin, name) } // beside node_modules
	var guests strings.Builder
	for i, address := range podlets {
		services := "fragment16"
		if i < 4 {
			services += ",fragment4"
		}
		name := fmt.Sprintf("app%d", i)
		key := fmt.Sprintf("the-key-of-the-fragments-of-app-%d", i)
		if err := s.serve(address, name, []string{"WSGI_PARTY_KEY=" + key, "NODE_ENV=production"}, "node", program("podlet.mjs"), address, services); err != nil {
			return nil, err
		}
		fmt.Fprintf(&guests, `
		invite /%[1]s/__invite__/
		handle_path /%[1]s/* {
			wsgi_party_guest {
				direct %[2]s
				key {file.%[3]s}
			}
			reverse_proxy %[2]s
		}
`, name, address, filepath.Join(s.dir, name+".key"))
		if _, err := s.write(name+".key", key); err != nil {
			return nil, err
		}
	}
	if err := s.serve(layout, "layout", []string{"NODE_ENV=production"}, "node", append([]string{program("layout.mjs"), layout}, podlets...)...); err != nil {
		return nil, err
	}
	for _, n := range []int{4, 16} {
		if _, err := s.write(fmt.Sprintf("%d.html", n), fmt.Sprintf(`<!doctype html>
<html lang="en-US">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title></title>
</head>
<body>
{{range askAround . "fragment%d" (dict "name" "Ann")}}{{.}}{{end}}
</body>
</html>
`, n)); err != nil {
			return nil, err
		}
	}
	err = s.caddy(free[18], site, fmt.Sprintf(`
	wsgi_party main {
		%s
		handle {
			root %s
			templates {
				extensions {
					wsgi_party
				}
			}
			file_server
		}
	}`, &guests, s.dir))
	if err != nil {
		return nil, err
	}
	page := func(url string, n int) func() error {
		return func() error {
			text, err := question.Plain.Get(url)
			if err == nil && strings.Count(string(text), "Hello, Ann") != n {
				err = fmt.Errorf("%s: %.500s", url, text)
			}
			return err
		}
	}
	plain := func(n int) func() error {
		return func() error {
			errs := make(chan error, n)
			for _, podlet := range podlets[:n] {
				go func() {
					text, err := question.Plain.Get("http://" + podlet + "/floor?name=Ann")
					if err == nil && !strings.Contains(string(text), "Hello, Ann") {
						err = fmt.Errorf("%s: %.500s", podlet, text)
					}
					errs <- err
				}()
			}
			var failed error
			for range n {
				failed = cmp.Or(<-errs, failed)
			}
			return failed
		}
	}
	var rows []row
	for _, n := range []int{4, 16} {
		mine, theirs := page(fmt.Sprintf("http://%s/%d.html", site, n), n), page(fmt.Sprintf("http://%s/%d", layout, n), n)
		for _, ready := range []func() error{mine, theirs} {
			if err := until(20*time.Second, ready); err != nil {
				return nil, err
			}
		}
		rows = append(rows, row{
			work:        fmt.Sprintf("a page of %d fragments", n),
			contenders:  []contender{by(1, ours, mine), by(1, "Podium", theirs), by(1, "plain parallel requests", plain(n))},
			comparisons: []comparison{{ours, "Podium", 0.5}, {"plain parallel requests", "Podium", 0}},
		})
	}
	return rows, nil
}
