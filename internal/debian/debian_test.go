// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

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
