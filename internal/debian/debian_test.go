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

package debian

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestATestThatLacksAProgramIsSkippedAndFailsInCI runs itself where nothing is
// installed, apt-get neither.
func TestATestThatLacksAProgramIsSkippedAndFailsInCI(t *testing.T) {
	const inside = "WSGIPARTY_TEST_NOTHING_INSTALLED"
	if os.Getenv(inside) != "" {
		Install(t, "nodejs", "python3")
		t.Log("it goes on")
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for ci, want := range map[string]string{"": "--- SKIP", "false": "--- SKIP", "true": "--- FAIL"} {
		c := exec.Command(self, "-test.v", "-test.run", "^"+t.Name()+"$")
		c.Env = []string{"PATH=" + t.TempDir(), inside + "=yes", "CI=" + ci}
		output, err := c.CombinedOutput()
		if text := string(output); !strings.Contains(text, want) || !strings.Contains(text, "nodejs, python3") || strings.Contains(text, "it goes on") || (err == nil) != (ci != "true") {
			t.Errorf("CI=%s: %v\n%s", ci, err, text)
		}
	}
}
