// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package trunk_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

func TestTwoNodesOfOneName(t *testing.T) {
	trunk := newTrunk(t, false)
	other := newNode(t, "b", trunk.nodes[1].trunk)
	other.process = nil
	err := other.try()
	check.ErrorIf(t, !strings.Contains(err, `has a node \"b\" already, at`) || !strings.Contains(err, "and this one is at"), "got %s", err)
	trunk.answersAll()
}

// TestTwoNodesOfOneNameThatStartWithoutNATS has the older of the two be the node, however they get to NATS, and the
// younger in its place once it is gone.
func TestTwoNodesOfOneNameThatStartWithoutNATS(t *testing.T) {
	trunk := newTrunk(t, false)
	a, older := trunk.nodes[0], trunk.nodes[1]
	older.stop(syscall.SIGTERM)
	trunk.nats.stop(syscall.SIGKILL)
	older.run()
	isClearlyOlder()
	younger := newNode(t, "b", older.trunk)
	younger.app.node = "b2"
	younger.guests = []string{"extra"}
	younger.run()
	trunk.nats = startNATS(t, trunk.where)
	trunk.settle()
	eventually(t, "the younger one says so", func() bool { return strings.Contains(younger.log.String(), "has an older node of the same name") })
	for range 200 {
		r := a.ask("echo", "1", "?guest=b")
		if len(r.Answers) != 1 || !strings.Contains(string(r.Answers[0]), `"b"`) {
			t.Fatalf("got %s, %+v", r.Answers, r.Replies)
		}
	}
	check.Equal(t, len(a.guestsShown()), 3)
	check.ErrorIf(t, strings.Contains(older.log.String(), "has an older node"), "the older one gives way, too")
	older.stop(syscall.SIGKILL)
	eventually(t, "the younger one is the node", func() bool { return a.guestsShown()["extra"] == "b" })
	r := a.ask("echo", "1", "?guest=b")
	check.ErrorIf(t, len(r.Answers) != 1 || !strings.Contains(string(r.Answers[0]), `"b2"`), "got %s, %+v", r.Answers, r.Replies)
}

// TestAConfigIsValidatedWhileItRuns has the name and the addresses of the config in use.
func TestAConfigIsValidatedWhileItRuns(t *testing.T) {
	byNATS(t, func(t *testing.T, trunk *trunkOfThree) {
		n := trunk.nodes[0]
		p := start(t, []string{environmentSecret, "HOME=" + n.dir, "XDG_DATA_HOME=" + n.dir, "XDG_CONFIG_HOME=" + n.dir}, "caddy-trunk", "validate", "--config", filepath.Join(n.dir, "Caddyfile"))
		<-p.over
		check.ErrorIf(t, !p.ProcessState.Success(), "caddy validate: %s", p.log.String())
		trunk.answersAll()
	})
}

// TestTwoNodesOfOneNameWhoseServersMeet has them find out only when the younger one serves already.
func TestTwoNodesOfOneNameWhoseServersMeet(t *testing.T) {
	trunk := newTrunk(t, true)
	a, older := trunk.nodes[0], trunk.nodes[1]
	_, routes, _ := strings.Cut(older.trunk, "routes")
	isClearlyOlder()
	younger := newNode(t, "b", "embedded {\ncluster "+testport.Address(t)+"\nroutes"+routes)
	younger.run()
	var shown struct{ Namesake string }
	eventually(t, "the younger one knows", func() bool {
		younger.get("/wsgi_party_trunk", &shown)
		return shown.Namesake != ""
	})
	said, addresses := younger.log.String(), []string{fmt.Sprintf(" pid %d ", older.Process.Pid), fmt.Sprintf(" pid %d ", younger.Process.Pid)}
	check.ErrorIf(t, !strings.Contains(shown.Namesake, addresses[0]), "got %q", shown.Namesake)
	for _, want := range append(addresses, "has an older node of the same name") {
		check.ErrorIf(t, !strings.Contains(said, want), "the log has no %q: %s", want, said)
	}
	trunk.isWhole()
	younger.app.asks.Store(0)
	for range 50 {
		trunk.answersAll()
	}
	check.Equal(t, younger.app.asks.Load(), int64(0))
	older.stop(syscall.SIGKILL)
	eventually(t, "the younger one is the node", func() bool {
		_, _ = a.ask("echo", "1", "").of("b")
		return younger.app.asks.Load() > 0
	})
}

// isClearlyOlder lets the nodes that run be older than others by more than what messages may take. Of nodes of the same
// age, either may be the one.
func isClearlyOlder() { time.Sleep(3 * time.Second) }
