// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package trunk_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

// byNATS runs a test with a NATS server, and with embedded ones.
func byNATS(t *testing.T, test func(t *testing.T, trunk *trunkOfThree)) {
	for name, embedded := range map[string]bool{"nats-server": false, "embedded": true} {
		t.Run(name, func(t *testing.T) { test(t, newTrunk(t, embedded)) })
	}
}

func TestGuestsOfOtherNodesAreGuestsLikeAny(t *testing.T) {
	byNATS(t, func(t *testing.T, trunk *trunkOfThree) {
		trunk.answersAll()
		a, b := trunk.nodes[0], trunk.nodes[1]
		for _, guest := range []string{"a", "b", "c"} {
			check.Equal(t, a.link(guest), "/"+guest+"/page/5")
		}
		var shown struct{ Nodes []struct{ Node string } }
		a.get("/wsgi_party_trunk", &shown)
		check.Equal(t, len(shown.Nodes), 2)

		// A guest that comes is there at once, and one that goes is not.
		b.guests = []string{"shop"}
		check.Must(t, b.reload())
		eventually(t, "a knows the shop", func() bool { return a.guestsShown()["shop"] == "b" })
		check.Equal(t, a.link("shop"), "/shop/page/5")
		b.guests = nil
		check.Must(t, b.reload())
		eventually(t, "a knows that it has gone", func() bool { return len(a.guestsShown()) == 3 })
		check.Equal(t, a.link("shop"), "")
	})
}

func TestANodeThatIsKilledOrStopped(t *testing.T) {
	byNATS(t, func(t *testing.T, trunk *trunkOfThree) {
		a, b := trunk.nodes[0], trunk.nodes[1]
		b.Process.Signal(syscall.SIGSTOP)
		r, n := a.ask("echo", "1", "").of("b")
		check.ErrorIf(t, n != 1 || r.Status != "failed" || !strings.Contains(r.Error, "no answer of node b in 2s"), "got %d: %+v", n, r)
		check.Equal(t, a.link("b"), "/b/page/5") // it is said by value
		eventually(t, "b is gone", func() bool { return len(a.guestsShown()) == 2 })
		b.Process.Signal(syscall.SIGCONT)
		eventually(t, "b says so", func() bool { return strings.Contains(b.log.String(), "this process was stopped for a while") })
		trunk.settle()
		trunk.answersAll()

		b.app.hangs.Store(true)
		b.options = "timeout 1m"
		check.Must(t, b.reload())
		time.Sleep(time.Second)
		asked := make(chan replies)
		go func() { asked <- a.ask("echo", "1", "") }()
		eventually(t, "b's application is asked", func() bool { return b.app.asks.Load() > 0 && b.app.ended.Load() == 0 })
		b.stop(syscall.SIGKILL)
		r, n = (<-asked).of("b")
		check.ErrorIf(t, n != 1 || r.Status != "failed" || !strings.Contains(r.Error, "node b is gone"), "got %d: %+v", n, r)
		b.app.hangs.Store(false)
		b.run()
		trunk.settle()
		trunk.answersAll()
	})
}

func TestAGuestThatIsHereIsAskedHere(t *testing.T) {
	trunk := newTrunk(t, false)
	a, b := trunk.nodes[0], trunk.nodes[1]
	asked := func() (node string) {
		for _, n := range trunk.nodes {
			n.app.asks.Store(0)
		}
		_, n := a.ask("echo", "1", "").of("shop")
		check.Equal(t, n, 1)
		for _, n := range trunk.nodes {
			if n.app.asks.Load() > 1 {
				node = n.name // it is asked as the guest of the node's name, too
			}
		}
		return node
	}
	b.guests = []string{"shop"}
	check.Must(t, b.reload())
	eventually(t, "a knows the shop", func() bool { return a.guestsShown()["shop"] == "b" })
	check.Equal(t, asked(), "b")
	a.guests = []string{"shop"}
	check.Must(t, a.reload())
	check.Equal(t, asked(), "a")
	a.guests = nil
	check.Must(t, a.reload())
	check.Equal(t, asked(), "b")
}

func TestAReloadIsNoChangeForOthers(t *testing.T) {
	for name, change := range map[string]string{"of something else": "", "of the trunk": "\norigins https://%d.example"} {
		t.Run(name, func(t *testing.T) {
			byNATS(t, func(t *testing.T, trunk *trunkOfThree) { reloadsAreNoChange(t, trunk, change) })
		})
	}
}

func reloadsAreNoChange(t *testing.T, trunk *trunkOfThree, change string) {
	a, b := trunk.nodes[0], trunk.nodes[1]
	over := make(chan struct{})
	go func() {
		defer close(over)
		for i := range 5 {
			if change != "" {
				b.trunk += fmt.Sprintf(change, i)
			}
			if err := b.reload(); err != nil {
				t.Error(err)
			}
			time.Sleep(200 * time.Millisecond)
		}
	}()
	for n := 0; ; n++ {
		r, times := a.ask("echo", "1", "").of("b")
		if times != 1 || r.Status != "answered" {
			t.Errorf("got %d replies: %+v", times, r)
		}
		select {
		case <-over:
			t.Logf("%d asks", n)
			return
		default:
		}
	}
}

func TestARestartOfNATS(t *testing.T) {
	trunk := newTrunk(t, false)
	a := trunk.nodes[0]
	trunk.nats.stop(syscall.SIGKILL)
	r, n := a.ask("echo", "1", "").of("b")
	check.ErrorIf(t, n != 1 || r.Status != "failed" || !strings.Contains(r.Error, "NATS"), "got %d: %+v", n, r)
	check.Equal(t, a.link("b"), "/b/page/5")
	trunk.nats = startNATS(t, trunk.where)
	eventually(t, "the trunk is back", func() bool {
		r, _ := a.ask("echo", "1", "").of("b")
		return r.Status == "answered"
	})
	trunk.isWhole()
}

// A NATS that refuses logins for a while, as while its accounts are set up, ends no connection for good.
func TestANATSThatRefusesForAWhile(t *testing.T) {
	trunk := newTrunk(t, false)
	trunk.nats.stop(syscall.SIGKILL)
	host, port, _ := strings.Cut(trunk.where, ":")
	refusing := start(t, nil, "nats-server", "-a", host, "-p", port, "--user", "trunk", "--pass", "another")
	eventually(t, "all have tried more than twice", func() bool { return strings.Count(refusing.log.String(), "authentication error") > 2*len(trunk.nodes) })
	for _, n := range trunk.nodes {
		eventually(t, n.name+" says why", func() bool {
			_, why, _ := strings.Cut(n.log.String(), "NATS cannot be reached yet")
			return strings.Contains(strings.ToLower(why), "authorization violation")
		})
	}
	refusing.stop(syscall.SIGTERM)
	trunk.nats = startNATS(t, trunk.where)
	for _, n := range trunk.nodes {
		eventually(t, n.name+" asks the others", func() bool {
			answered := 0
			for _, r := range n.ask("echo", "1", "").Replies {
				if r.Status == "answered" {
					answered++
				}
			}
			return answered == len(trunk.nodes)
		})
	}
}
