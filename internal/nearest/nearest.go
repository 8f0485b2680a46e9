// Copyright 2026 The wsgi_party Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

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
