// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// served makes requests for one page that follow each other, but for those with a "+", which
// begin before the one before them ends.
func served(visitor string, guests ...string) (step []request) {
	now := time.Unix(0, 0)
	for _, guest := range guests {
		name, overlaps := strings.CutSuffix(guest, "+")
		started := now.Add(2)
		if overlaps {
			started = now.Add(-1)
		}
		now = now.Add(4)
		step = append(step, request{visitor: visitor, page: "Reports", guest: name, started: started, ended: now})
	}
	return step
}

func TestWhoWentBack(t *testing.T) {
	for name, test := range map[string]struct {
		step []request
		each bool
		back int
	}{
		"nobody":                   {served("a", "legacy", "legacy"), false, 0},
		"moved":                    {served("a", "legacy", "legacy", "new", "new"), false, 0},
		"taken back":               {served("a", "new", "legacy"), false, 0},
		"moved and back":           {served("a", "legacy", "new", "legacy"), false, 1},
		"back, and there again":    {served("a", "new", "legacy", "new", "new"), false, 2},
		"begun before it moved":    {served("a", "legacy", "new", "legacy+", "new"), false, 0},
		"others are elsewhere":     {append(served("a", "new", "new"), served("b", "legacy", "legacy")...), true, 0},
		"one of others moved":      {append(served("a", "legacy", "new"), served("b", "legacy", "legacy")...), true, 0},
		"one of others went back":  {append(served("a", "legacy", "new", "legacy"), served("b", "legacy")...), true, 1},
		"all together, but others": {append(served("a", "legacy", "new"), served("b", "legacy", "legacy", "legacy")...), false, 1},
	} {
		if got := newTable(test.step, test.each).back; got != test.back {
			t.Errorf("%s: %d went back, want %d", name, got, test.back)
		}
	}
}

// TestWhatIsNotAsItShouldBe has one request fail, or go back, among those that run takes.
func TestWhatIsNotAsItShouldBe(t *testing.T) {
	for name, test := range map[string]struct {
		word    string
		changed func(*request)
		fine    bool
		says    string
	}{
		"all is well":        {"together", func(*request) {}, true, " 0 lost"},
		"one failed":         {"together", func(r *request) { r.err = errors.New("broken") }, false, "broken"},
		"one failed, though": {"trouble", func(r *request) { r.err = errors.New("broken") }, true, " 0 lost"},
		"one went back":      {"together", func(r *request) { r.guest = "legacy" }, false, " 0 lost"},
		"one is nobody's":    {"each", func(r *request) { r.guest = "" }, false, `was served by ""`},
	} {
		requests := make(chan request)
		go func() {
			for n := 0; ; n++ {
				time.Sleep(10 * time.Microsecond)
				r := request{visitor: "a", page: pages[n%len(pages)], guest: "new", started: time.Now()}
				if n < len(pages) {
					r.guest = "legacy"
				}
				if r.ended = time.Now(); n > 0 && n%(4*len(pages)) == 0 {
					test.changed(&r)
				}
				requests <- r
			}
		}()
		in, write := io.Pipe()
		out := new(strings.Builder)
		go func() {
			time.Sleep(20 * time.Millisecond)
			io.WriteString(write, test.word+" Title\n")
			write.Close()
		}()
		if fine := run(in, out, requests); fine != test.fine || !strings.Contains(out.String(), test.says) {
			t.Errorf("%s: %v\n%s", name, fine, out)
		}
	}
}
