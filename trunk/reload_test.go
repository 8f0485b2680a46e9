// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package trunk_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// TestASecretIsChangedByReloads has all nodes get another secret, one after the other.
func TestASecretIsChangedByReloads(t *testing.T) {
	trunk := newTrunk(t, true)
	file := filepath.Join(t.TempDir(), "secret")
	write := func(secret string) { check.Must(t, os.WriteFile(file, []byte(secret+"\n"), 0o600)) }
	write(secret)
	for _, n := range trunk.nodes {
		n.trunk = strings.Replace(n.trunk, "{env.TRUNK_SECRET}", "{file."+file+"}", 1)
		check.Must(t, n.reload())
	}
	trunk.isWhole()
	for _, next := range []string{strings.Repeat("another ", 8), secret} {
		write(next)
		for i, n := range trunk.nodes {
			check.Must(t, n.reload())
			for _, asker := range trunk.nodes {
				got := asker.ask("echo", "1", "")
				for _, guest := range []string{"a", "b", "c"} {
					r, times := got.of(guest)
					check.ErrorIf(t, times > 1 || r.Status == "failed" && r.Error == "" || guest == asker.name && r.Status != "answered", "%d reloaded, at %s: got %d: %+v", i+1, asker.name, times, r)
				}
			}
		}
		trunk.isWhole()
	}

	// Whoever has only a secret of before stays outside.
	t.Setenv("OTHER_SECRET", strings.Repeat("another ", 8))
	d := newNode(t, "d", regexp.MustCompile(`cluster \S+`).ReplaceAllString(trunk.nodes[2].trunk, "cluster "+testport.Address(t)))
	d.trunk = strings.Replace(d.trunk, "{file."+file+"}", "{env.OTHER_SECRET}", 1)
	d.run()
	eventually(t, "it says so", func() bool { return strings.Contains(d.log.String(), "give all nodes the same secret") })
	check.ErrorIf(t, len(d.guestsShown()) != 1, "it is in: %v", d.guestsShown())
}

// asksAllTheTime has a ask b until the test calls what it returns: all is answered.
func asksAllTheTime(t *testing.T, a, b *caddyNode) (end func()) {
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; ; n++ {
			r, times := a.ask("echo", "1", "").of(b.name)
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
	}()
	return func() {
		close(over)
		<-ended
	}
}

// TestSettingsOfAnEmbeddedServerAreChangedByAReload has its address stay the same. Nobody notices.
func TestSettingsOfAnEmbeddedServerAreChangedByAReload(t *testing.T) {
	trunk := newTrunk(t, true)
	a, b := trunk.nodes[0], trunk.nodes[1]
	end := asksAllTheTime(t, a, b)
	before := b.trunk
	for range 3 {
		b.trunk = strings.Replace(before, "routes", "routes nats://"+testport.Address(t), 1)
		check.Must(t, b.reload())
	}
	b.trunk = before
	check.Must(t, b.reload())
	end()
	trunk.isWhole()
}

// TestAConfigThatDoesNotLoadIsNoChangeForOthers has its trunk differ, and start before the config fails.
func TestAConfigThatDoesNotLoadIsNoChangeForOthers(t *testing.T) {
	for name, change := range map[string]func(options string) string{
		"of the trunk":           func(options string) string { return options + "\norigins https://b.example" },
		"of the embedded server": func(options string) string { return strings.Replace(options, "routes", "routes nats://127.0.0.1:9", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			trunk := newTrunk(t, true)
			a, b := trunk.nodes[0], trunk.nodes[1]
			taken, err := net.Listen("tcp", testport.Address(t))
			check.Must(t, err)
			defer taken.Close()
			end := asksAllTheTime(t, a, b)
			before, site := b.trunk, b.site
			b.trunk, b.site, b.guests = change(before), taken.Addr().String(), []string{"shop"}
			for range 10 { // Caddy starts apps in any order
				err := b.reload()
				check.ErrorIf(t, err == nil || !strings.Contains(err.Error(), "address already in use"), "got %v", err)
			}
			b.trunk, b.site, b.guests = before, site, nil
			eventually(t, "a knows what b has", func() bool { return len(a.guestsShown()) == 3 })
			check.Must(t, b.reload())
			end()
			trunk.isWhole()
		})
	}
}

// TestAnotherAddressOfNATSIsTakenByAReload has all nodes move, one after the other, to where NATS can be reached, too.
func TestAnotherAddressOfNATSIsTakenByAReload(t *testing.T) {
	trunk := newTrunk(t, false)
	end := asksAllTheTime(t, trunk.nodes[0], trunk.nodes[1])
	other := newProxy(t, trunk.where)
	for _, n := range trunk.nodes {
		n.trunk = strings.Replace(n.trunk, trunk.where, other.Addr().String(), 1)
		check.Must(t, n.reload())
	}
	end()
	trunk.isWhole()
	for _, n := range trunk.nodes {
		n.stop(syscall.SIGTERM) // before the proxy
	}
}

// TestAReloadOfItsTrunkLosesNoGuestOfOthers has the node that asks be reloaded.
func TestAReloadOfItsTrunkLosesNoGuestOfOthers(t *testing.T) {
	byNATS(t, func(t *testing.T, trunk *trunkOfThree) {
		a, b := trunk.nodes[0], trunk.nodes[1]
		end := asksAllTheTime(t, a, b)
		for i := range 5 {
			a.trunk += fmt.Sprintf("\norigins https://%d.example", i)
			check.Must(t, a.reload())
			time.Sleep(200 * time.Millisecond)
		}
		end()
		trunk.isWhole()
		check.ErrorIf(t, strings.Count(a.log.String(), "a node has joined the trunk") != 2, "others have joined again: %s", a.log.String())
	})
}

// TestCertificatesAreRenewedWithoutAReload has another authority certify all nodes anew.
func TestCertificatesAreRenewedWithoutAReload(t *testing.T) {
	dir := t.TempDir()
	ca, certificate, key := certificates(t, dir)
	first := testport.Address(t)
	node := func(name, cluster string) *caddyNode {
		return newNode(t, name, "embedded {\ncluster "+cluster+"\nroutes nats://"+first+"\ntls {\nca "+ca+"\ncertificate "+certificate+" "+key+"\n}\n}\nsecret {env.TRUNK_SECRET}")
	}
	a, b := node("a", first), node("b", testport.Address(t))
	a.run()
	b.run()
	knowEachOther := func(nodes ...*caddyNode) {
		t.Helper()
		for _, n := range nodes {
			eventually(t, n.name+" knows all", func() bool { return len(n.guestsShown()) == len(nodes) })
		}
	}
	knowEachOther(a, b)

	check.Must(t, os.WriteFile(key, []byte("nonsense"), 0o600))
	for _, n := range []*caddyNode{a, b} {
		eventually(t, n.name+" says what is wrong", func() bool {
			return strings.Contains(n.log.String(), "changed certificates of the trunk cannot be read")
		})
	}
	certificates(t, dir)
	for _, n := range []*caddyNode{a, b} {
		eventually(t, n.name+" has read them", func() bool { return strings.Contains(n.log.String(), "changed certificates of the trunk were read") })
	}
	c := node("c", testport.Address(t)) // which trusts only the new ones, and they only it
	c.run()
	knowEachOther(a, b, c)
	a.stop(syscall.SIGKILL)
	a.run()
	knowEachOther(a, b, c)
}

// TestACertificateForNATSIsRenewedWithoutAReload has NATS demand certificates, and those of an authority of another time.
func TestACertificateForNATSIsRenewedWithoutAReload(t *testing.T) {
	dir := t.TempDir()
	ca, certificate, key := certificates(t, dir)
	where := testport.Address(t)
	nats := func() *process {
		host, port, _ := strings.Cut(where, ":")
		p := start(t, nil, "nats-server", "-a", host, "-p", port, "--tlsverify", "--tlscacert", ca, "--tlscert", certificate, "--tlskey", key)
		eventually(t, "NATS listens", func() bool { return strings.Contains(p.log.String(), "Server is ready") })
		return p
	}
	server := nats()
	options := "nats nats://" + where + "\ntls {\nca " + ca + "\ncertificate " + certificate + " " + key + "\n}"
	a, b := newNode(t, "a", options), newNode(t, "b", options)
	a.run()
	b.run()
	know := func() bool { return len(a.guestsShown()) == 2 && len(b.guestsShown()) == 2 }
	eventually(t, "they know each other", know)
	server.stop(syscall.SIGTERM)
	certificates(t, dir)
	nats()
	eventually(t, "they are connected again", func() bool {
		ra, _ := a.ask("echo", "1", "").of("b")
		rb, _ := b.ask("echo", "1", "").of("a")
		return know() && ra.Status == "answered" && rb.Status == "answered"
	})
}

// TestWatchingFollowsGuestsOfOtherNodes has them join, move, and leave with their node. A reload is no change.
func TestWatchingFollowsGuestsOfOtherNodes(t *testing.T) {
	trunk := newTrunk(t, true)
	a, b, c := trunk.nodes[0], trunk.nodes[1], trunk.nodes[2]
	watching := start(t, nil, "caddy-trunk", "wsgi-party", "watch", "main", "--address", a.admin, "--interval", "100ms")
	tells := func(what ...string) {
		t.Helper()
		eventually(t, "it tells "+fmt.Sprint(what), func() bool {
			for line := range strings.Lines(watching.log.String()) {
				all := true
				for _, part := range what {
					all = all && strings.Contains(line, part)
				}
				if all {
					return true
				}
			}
			return false
		})
	}
	tells("watching", "main: 3 guests")
	b.guests = []string{"shop"}
	check.Must(t, b.reload())
	tells("guest joined", "shop", "on node b", "echo, url, who")
	c.guests = []string{"shop"}
	check.Must(t, c.reload())
	tells("node changed", "shop", "on node b, c", "not on node b")
	b.guests = nil
	check.Must(t, b.reload())
	tells("node changed", "shop", "on node c", "not on node b, c")
	a.guests = []string{"shop"}
	check.Must(t, a.reload())
	tells("node changed", "shop", "not on node c")
	a.guests = nil
	check.Must(t, a.reload())
	tells("node changed", "shop", "on node c", "not on this node")

	so := watching.log.String()
	b.trunk += "\norigins https://b.example"
	check.Must(t, b.reload())
	check.Must(t, c.reload())
	trunk.answersAll()
	time.Sleep(time.Second) // of ten looks
	for line := range strings.Lines(strings.TrimPrefix(watching.log.String(), so)) {
		check.ErrorIf(t, !strings.Contains(line, "asked"), "a reload of others: %s", line)
	}
	c.stop(syscall.SIGKILL)
	tells("guest left", "shop", "on node c")
	tells("guest left", "  c  ", "on node c")
	check.Has(t, a.log.String(), `"why":"it has been silent for 6s"`)
	b.stop(syscall.SIGTERM)
	eventually(t, "a knows", func() bool { return len(a.guestsShown()) == 1 })
	check.Has(t, a.log.String(), `"why":"it said good-bye"`)
	eventually(t, "a's log says so", func() bool {
		for line := range strings.Lines(a.log.String()) {
			if strings.Contains(line, "guest left") && strings.Contains(line, `"shop"`) && strings.Contains(line, `"node":"c"`) {
				return true
			}
		}
		return false
	})
}
