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

package nearest

import (
	"strings"
	"testing"
)

func TestWord(t *testing.T) {
	for written, want := range map[string]string{
		"url":                     "urls",
		"URLs":                    "urls",
		"uris":                    "urls",
		"service":                 "services",
		"serivces":                "services",
		"ulrs":                    "urls",
		"max-asks":                "max_asks",
		"":                        "",
		"u":                       "",
		"title":                   "",
		"links":                   "",
		"urls":                    "urls",
		"key":                     "",
		strings.Repeat("s", 1e6):  "",
		strings.Repeat("\xff", 4): "",
	} {
		if got := Word(written, "urls", "services", "max_asks"); got != want {
			t.Errorf("%.20q: %q, want %q", written, got, want)
		}
	}
}
