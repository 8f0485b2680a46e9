// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Visitors of the invoice tool, who follow its links, sign in and send forms while its pages
// move from one application to the other:
//
//	go run ./examples/graft/load http://localhost:8080 200
//
// That is 200 requests a second, if the machine can.
//
// For each line on its stdin, of one of the words below and a title, it waits until every
// page has been requested some times more, and says what was served by whom since the line
// before, as the header Served-By says; an empty line ends that. Enter alone is "together".
//
//	together   no request may fail; a page changes sides for all visitors together, and once
//	each       no request may fail; each visitor changes sides alone, and once
//	trouble    requests fail, which is waited for; they are only counted
//
// Its status is 1 if anything was otherwise.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	visitors = 100 // with a session each
	workers  = 6   // visitors at a time
	settled  = 3   // requests for each page after a line
)

func main() {
	rate := 0
	if len(os.Args) == 3 {
		rate, _ = strconv.Atoi(os.Args[2])
	}
	if rate < 1 || rate > 10_000 {
		fmt.Fprintln(os.Stderr, "usage: load <site> <requests a second, 1 to 10000>")
		os.Exit(2)
	}
	requests := make(chan request)
	ticks := time.NewTicker(time.Second / time.Duration(rate))
	transport := &http.Transport{MaxIdleConnsPerHost: workers}
	for worker := range workers {
		var own []*visitor
		for n := worker; n < visitors; n += workers {
			own = append(own, newVisitor(strings.TrimSuffix(os.Args[1], "/"), n, transport, ticks.C, requests))
		}
		go func() {
			for {
				for _, v := range own {
					v.visit()
				}
			}
		}()
	}
	if !run(os.Stdin, os.Stdout, requests) {
		os.Exit(1)
	}
}

// run reads lines until they end, and returns whether all was as it should be.
func run(in io.Reader, out io.Writer, requests <-chan request) bool {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(in); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	fine, total, lost := true, 0, 0
	var step []request
	for {
		select {
		case r := <-requests:
			step = append(step, r)
		case line, more := <-lines:
			if !more {
				fmt.Fprintf(out, "%d requests, %d lost\n", total+len(step), lost)
				return fine
			}
			word, title, _ := strings.Cut(line, " ")
			failed := slices.ContainsFunc(step, func(r request) bool { return r.err != nil })
			step = append(step, settle(requests, word == "trouble" && !failed)...)
			t := newTable(step, word == "each")
			t.print(out, title)
			total += len(step)
			if word != "trouble" {
				lost += len(t.failures)
				fine = fine && len(t.failures) == 0 && t.back == 0
			}
			step = nil
		}
	}
}

// settle takes requests until there were some for each page, and, if one is to fail, until
// one has. It does not wait for ever.
func settle(requests <-chan request, trouble bool) (taken []request) {
	since, seen := time.Now(), make(map[string]int)
	for (!enough(seen) || trouble) && time.Since(since) < 20*time.Second {
		r := <-requests
		if taken = append(taken, r); r.started.After(since) {
			seen[r.page]++
			trouble = trouble && r.err == nil
		}
	}
	return taken
}

func enough(seen map[string]int) bool {
	for _, page := range pages {
		if seen[page] < settled {
			return false
		}
	}
	return true
}
