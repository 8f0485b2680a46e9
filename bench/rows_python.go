// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Questions and links in Python, against uWSGI's RPC, Flask's own links, and the original in one process.

package main

import (
	"bufio"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/wsgiparty/wsgiparty/bench/question"
)

const python = "/usr/bin/python3" // for which Debian has uWSGI's plugin

// pythonRows starts an application that answers and one that asks, both under uWSGI, and Caddy.
func pythonRows(s *stage) ([]row, error) {
	free, err := addresses(9)
	if err != nil {
		return nil, err
	}
	shop, rpc, blog, site, ask := free[0], free[1], free[2], free[3], free[4]
	path := "PYTHONPATH=" + filepath.Join(s.source, "..", "clients", "python") + ":" + s.bin
	uwsgi := func(address, module string, env []string, more ...string) error {
		args := append([]string{
			"--plugin", "rpc,python3", "--http11-socket", address, "--master", "--need-app", "--die-on-term", "--disable-logging",
			"--threads", "16", "--chdir", filepath.Join(s.source, "python"), "--module", module + ":app",
		}, more...)
		return s.serve(address, module, append(env, path), "uwsgi", args...)
	}
	if err := uwsgi(shop, "answering", []string{"WSGI_PARTY_KEY=" + guestKey}, "--socket", rpc); err != nil {
		return nil, err
	}
	if err := uwsgi(blog, "asking", []string{"WSGI_PARTY_KEY=" + askerKey, "RPC=" + rpc, "PLAIN=" + shop}); err != nil {
		return nil, err
	}
	err = s.caddy(free[5], site, fmt.Sprintf(`
	wsgi_party main {
		ask_on %s
		invite /shop/__invite__/
		invite /blog/__invite__/
		handle_path /shop/* {
			wsgi_party_guest {
				key {env.GUEST_KEY}
				direct %[2]s
			}
			reverse_proxy %[2]s
		}
		handle_path /blog/* {
			wsgi_party_guest {
				key {env.ASKER_KEY}
				direct %[3]s
			}
			reverse_proxy %[3]s
		}
	}`, ask, shop, blog))
	if err != nil {
		return nil, err
	}
	direct, hop, floor := free[6], free[7], free[8]
	if err := s.serve(direct, "direct", nil, "app", "-listen", direct); err != nil {
		return nil, err
	}
	if err := s.serve(hop, "hop", nil, "app", "-listen", hop, "-hop", shop); err != nil {
		return nil, err
	}
	if err := s.serve(floor, "floor", nil, "app", "-listen", floor, "-hop", shop+"/floor"); err != nil {
		return nil, err
	}
	at := "http://" + site + "/blog"
	if err := until(20*time.Second, func() error {
		for _, page := range []string{"/party/1", "/links/others"} {
			if _, err := question.Plain.Get(at + page); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	asker := func(name, by, whom string) contender {
		c := timed(by, at+"/%s/%d"+whom)
		c.name = name
		return c
	}
	links := func(name, where string) contender {
		return contender{name, func(times int) (sum time.Duration, err error) {
			for range times {
				text, err := question.Plain.Get(at + "/links/" + where)
				if err != nil {
					return 0, err
				}
				n, err := strconv.ParseInt(string(text), 10, 64)
				if err != nil {
					return 0, err
				}
				sum += time.Duration(n)
			}
			return sum, nil
		}}
	}
	const rpcName, plain = "uWSGI RPC", "a plain request"
	one := row{
		work:        "one question, from Python to Python",
		contenders:  []contender{asker(ours, "party", ""), asker(rpcName, "rpc", ""), asker(plain, "plain", "")},
		comparisons: []comparison{{ours, rpcName, 2}, {ours, plain, 0}, {plain, rpcName, 0}},
	}
	for _, floor := range []struct{ to, address, path string }{ // what of it is whose
		{"a server in Go", direct, "user"},
		{"WSGI", shop, "floor/user"},
		{"Flask", shop, "user"},
		{"WSGI, through a server in Go", floor, "one"},
		{"Flask, through a server in Go", hop, "one"},
		{"Caddy", ask, "user?first"},
	} {
		name := "constant bytes to " + floor.to
		one.contenders = append(one.contenders, asker(name, "bytes", "/"+floor.address+"/"+floor.path))
		one.comparisons = append(one.comparisons, comparison{name, rpcName, 0})
	}
	rows := []row{
		one,
		{
			work:        "50 links to another application's pages on a page of Flask",
			contenders:  []contender{links(ours, "others"), links("Flask's `url_for`, to its own pages", "own")},
			comparisons: []comparison{{ours, "Flask's `url_for`, to its own pages", 1}},
			remark: func() (string, error) {
				before, err := s.asked("shop", "url")
				if err != nil {
					return "", err
				}
				for range 100 {
					if _, err := question.Plain.Get(at + "/links/others"); err != nil {
						return "", err
					}
				}
				after, err := s.asked("shop", "url")
				return fmt.Sprintf("for 100 more such pages, Caddy was asked for %d links", after-before), err
			},
		},
	}
	alone, err := inProcess(s, path)
	return append(rows, alone...), err
}

// inProcess starts a process that asks in itself.
func inProcess(s *stage, env string) ([]row, error) {
	p, err := s.pipe("inprocess", []string{env}, python, filepath.Join(s.source, "python", "inprocess.py"))
	if err != nil {
		return nil, err
	}
	answers := bufio.NewReader(p.out)
	line, err := answers.ReadString('\n')
	if err != nil {
		return nil, err
	}
	peer := "Python's original"
	if line == "rebuilt\n" {
		peer = "Python's original, rebuilt"
	}
	asker := func(name, whose string, handlers int) contender {
		return contender{name, func(times int) (time.Duration, error) {
			if _, err := fmt.Fprintln(p.in, whose, handlers, times); err != nil {
				return 0, err
			}
			line, err := answers.ReadString('\n')
			if err != nil {
				return 0, err
			}
			n, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
			return time.Duration(n), err
		}}
	}
	var rows []row
	for _, handlers := range []int{1, 64} {
		rows = append(rows, row{
			work:        fmt.Sprintf("asking around in one process of Python, %d handlers", handlers),
			contenders:  []contender{asker(ours, "ours", handlers), asker(peer, "original", handlers)},
			comparisons: []comparison{{ours, peer, 1.2}},
		})
	}
	rows[0].work = strings.Replace(rows[0].work, "1 handlers", "1 handler", 1)
	return rows, nil
}
