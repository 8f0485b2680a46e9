// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package nearest finds what somebody meant who wrote something else.
package nearest

import "strings"

// Word returns the first of the known words that is hardly different from what was
// written: by its case, or by one or two letters. It returns "" if there is
// none.
func Word(written string, known ...string) string {
	best, least := "", 1+min(2, len(written)/3)
	for _, word := range known {
		d := distance(fold(written), fold(word))
		if d < least {
			best, least = word, d
		}
	}
	return best
}

// DidYouMean suggests the known word that is nearest, if one is near.
func DidYouMean(word string, known ...string) string {
	if near := Word(word, known...); near != "" {
		return ": did you mean " + near + "?"
	}
	return ""
}

// ThereAre says what there is of a kind, by its name in the singular.
func ThereAre(kind string, names []string) string {
	switch len(names) {
	case 0:
		return "there is none"
	case 1:
		return "the only " + kind + " is " + names[0]
	}
	kinds := kind + "s"
	if stem, ok := strings.CutSuffix(kind, "y"); ok {
		kinds = stem + "ies"
	}
	return "the " + kinds + " are " + strings.Join(names, ", ")
}

// maxWord bounds the work.
const maxWord = 64

func fold(word string) string {
	word = strings.ReplaceAll(strings.ToLower(word), "-", "_")
	return word[:min(len(word), maxWord)]
}

// distance is that of Damerau and Levenshtein: how many bytes to change, leave out, put
// in or swap with the next.
func distance(a, b string) int {
	var d [maxWord + 1][maxWord + 1]int
	for i := range len(a) + 1 {
		for j := range len(b) + 1 {
			if i == 0 || j == 0 {
				d[i][j] = i + j
				continue
			}
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
