// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Command bench measures asking against what a user would pick instead. bench/run calls it.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// groups are the rows by the processes that they share.
var groups = []struct {
	name string
	rows func(*stage) ([]row, error)
}{
	{"go", goRows},
	{"links", linkRows},
	{"python", pythonRows},
	{"node", nodeRows},
}

func main() {
	bin := flag.String("bin", "", "folder of the programs that run has built, and of node_modules")
	source := flag.String("source", ".", "folder of the benchmarks")
	only := flag.String("only", "", "regular expression of the rows to measure, by group and work as in \"go: 16 applications\"; it begins with ^ and the group")
	docs := flag.Bool("docs", false, "write the table of figures into docs/performance.md")
	profile := flag.String("profile", "", "folder for a CPU profile of Caddy for each row that is wanted, while only the row's first contender works, instead of figures")
	s := settings{}
	flag.IntVar(&s.rounds, "rounds", 5, "of which the median counts")
	flag.IntVar(&s.turns, "turns", 6, "of each contender in a round")
	flag.DurationVar(&s.turn, "turn", 80*time.Millisecond, "about as long as one takes")
	flag.Parse()
	if err := run(*bin, *source, *only, *docs, *profile, s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(bin, source, only string, docs bool, profile string, s settings) error {
	if docs && only != "" {
		return fmt.Errorf("docs/performance.md has all figures: leave -only out")
	}
	wanted, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	source, err = filepath.Abs(source)
	if err != nil {
		return err
	}
	var figures []figure
	for _, group := range groups {
		found, err := measureGroup(group.name, group.rows, &stage{bin: bin, source: source}, wanted, profile, s)
		if err != nil {
			return fmt.Errorf("%s: %w", group.name, err)
		}
		figures = append(figures, found...)
	}
	if profile != "" {
		return nil
	}
	where := machine(bin)
	fmt.Print(report(figures, where))
	if docs {
		return writeDocs(filepath.Join(source, "..", "docs", "performance.md"), figures, where)
	}
	return nil
}

// measureGroup measures the rows of a group that are wanted.
func measureGroup(name string, rows func(*stage) ([]row, error), st *stage, wanted *regexp.Regexp, profile string, s settings) (figures []figure, err error) {
	if !wanted.MatchString(name) && wanted.String() != "" && !strings.HasPrefix(wanted.String(), "^"+name+": ") {
		return nil, nil // nothing need be started
	}
	st.dir, err = os.MkdirTemp("", "wsgiparty-bench-")
	if err != nil {
		return nil, err
	}
	defer func() {
		st.end()
		if err != nil {
			err = fmt.Errorf("%w\nthe logs are in %s", err, st.dir)
		} else {
			err = os.RemoveAll(st.dir)
		}
	}()
	all, err := rows(st)
	if err != nil {
		return nil, err
	}
	for i, r := range all {
		if !wanted.MatchString(name + ": " + r.work) {
			continue
		}
		if profile != "" {
			if err := st.profile(r.contenders[0], filepath.Join(profile, fmt.Sprintf("%s%d.pprof", name, i))); err != nil {
				return nil, err
			}
			continue
		}
		found, err := s.measure(r)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			fmt.Fprintf(os.Stderr, "%s: %s against %s: %.2f (%.2f to %.2f), %v\n", r.work, f.of, f.with, f.median, f.least, f.most, f.each.Round(100*time.Nanosecond))
		}
		figures = append(figures, found...)
	}
	return figures, nil
}
