// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package trunk_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/measure"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// proxy stands between a node and NATS.
type proxy struct {
	net.Listener
	target  string
	parted  atomic.Bool // lets nothing through, and closes nothing
	forgets bool        // connections that were parted
	wg      sync.WaitGroup
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", testport.Address(t))
	check.Must(t, err)
	p := &proxy{Listener: listener, target: target}
	p.wg.Go(func() {
		for {
			from, err := p.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", target)
			if err != nil {
				from.Close()
				continue
			}
			p.wg.Go(func() { p.copy(from, to) })
			p.wg.Go(func() { p.copy(to, from) })
		}
	})
	t.Cleanup(func() {
		p.Close()
		p.parted.Store(false)
		p.wg.Wait()
	})
	return p
}

func (p *proxy) copy(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		for was := false; p.parted.Load() || was && p.forgets && err == nil; was = true {
			if time.Sleep(10 * time.Millisecond); !p.parted.Load() {
				_, err = from.Read(buffer)
				n = 0
			}
		}
		if _, failed := to.Write(buffer[:n]); err != nil || failed != nil {
			return
		}
	}
}

func TestANodeThatIsCutOff(t *testing.T) {
	for name, embedded := range map[string]bool{"of NATS": false, "of an embedded server": true} {
		t.Run(name, func(t *testing.T) {
			trunk := newTrunk(t, embedded)
			a, c := trunk.nodes[0], trunk.nodes[2]
			c.stop(syscall.SIGTERM)
			if embedded {
				trunk.where = testport.Address(t)
				a.stop(syscall.SIGTERM)
				a.trunk = strings.Replace(a.trunk, "embedded", "embedded "+trunk.where, 1)
				a.run()
			}
			between := newProxy(t, trunk.where)
			c.trunk = strings.Replace(c.trunk, trunk.where, between.Addr().String(), 1)
			if embedded { // c has no server of its own
				c.trunk = "nats nats://" + between.Addr().String() + "\nsecret {env.TRUNK_SECRET}"
			}
			c.run()
			trunk.settle()
			trunk.answersAll()

			between.parted.Store(true)
			areApart(t, a, c)
			eventually(t, "c is gone for a, and a for c", func() bool { return len(a.guestsShown()) == 2 && len(c.guestsShown()) == 1 })
			between.parted.Store(false)
			trunk.isWhole()
		})
	}
}

// areApart checks that two nodes say that they do not reach each other, and answer themselves. Both ask at once, before
// either is gone for the other.
func areApart(t *testing.T, one, other *caddyNode) {
	t.Helper()
	var wg sync.WaitGroup
	for _, n := range [][2]*caddyNode{{one, other}, {other, one}} {
		wg.Go(func() {
			got := n[0].ask("echo", "1", "")
			r, times := got.of(n[1].name)
			check.ErrorIf(t, times != 1 || r.Status != "failed" || !strings.Contains(r.Error, "no answer of node "+n[1].name), "at %s: got %d: %+v", n[0].name, times, r)
			r, times = got.of(n[0].name)
			check.ErrorIf(t, times != 1 || r.Status != "answered", "at %s: got %d: %+v", n[0].name, times, r)
		})
	}
	wg.Wait()
}

// isWhole waits until everybody answers everybody again.
func (trunk *trunkOfThree) isWhole() {
	trunk.t.Helper()
	trunk.settle()
	eventually(trunk.t, "everybody answers", func() bool {
		for _, n := range trunk.nodes {
			if len(n.ask("echo", "1", "").Answers) != 3 {
				return false
			}
		}
		return true
	})
	trunk.answersAll()
}

func TestWrongCredentialsFailTheLoad(t *testing.T) {
	where := testport.Address(t)
	startNATS(t, where)
	n := newNode(t, "a", "nats nats://"+where+"\nuser other {env.TRUNK_SECRET}")
	said := n.try()
	check.ErrorIf(t, !strings.Contains(said, "refuses the login: correct user, password"), "got %s", said)
}

// TestASlowConsumer has more asks of a node than it can take, of which none is lost without a word.
func TestASlowConsumer(t *testing.T) {
	byNATS(t, isSlow)
}

func isSlow(t *testing.T, trunk *trunkOfThree) {
	a, b := trunk.nodes[0], trunk.nodes[1]
	b.Process.Signal(syscall.SIGSTOP)
	payload := `"` + strings.Repeat("x", 512<<10) + `"`
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			r, n := a.ask("echo", payload, "").of("b")
			if n > 1 || n == 1 && (r.Status != "failed" || r.Error == "") {
				t.Errorf("got %d: %+v", n, r)
			}
		})
	}
	wg.Wait()
	b.Process.Signal(syscall.SIGCONT)
	trunk.isWhole()
}

// TestASoak asks and reloads for a minute, in the middle of which NATS restarts, or a server is stopped for a while.
func TestASoak(t *testing.T) { byNATS(t, soak) }

func soak(t *testing.T, trunk *trunkOfThree) {
	lasts := time.Minute
	if trunk.nats == nil || measure.UnderRaceDetector() {
		lasts = 15 * time.Second // or the tests take too long under the race detector
	}
	trunk.answersAll()
	before := trunk.sizes()
	over := time.Now().Add(lasts)
	var asks, failures atomic.Int64
	var wg sync.WaitGroup
	for _, n := range trunk.nodes {
		for range 2 {
			wg.Go(func() {
				for time.Now().Before(over) {
					number := fmt.Sprintf("%d.%d", rand.Int64(), rand.Int64())
					got := n.ask("echo", number, "")
					for _, guest := range []string{"a", "b", "c"} {
						reply, times := got.of(guest)
						if times > 1 || reply.Status == "failed" && reply.Error == "" || reply.Status == "declined" {
							t.Errorf("%s: %s replied %d times: %+v", n.name, guest, times, reply)
						}
						if reply.Status == "failed" {
							failures.Add(1)
						}
					}
					for _, answer := range got.Answers {
						if !strings.Contains(string(answer), number) {
							t.Errorf("%s: a wrong answer: %s", n.name, answer)
						}
					}
					asks.Add(1)
					time.Sleep(5 * time.Millisecond)
				}
			})
		}
		wg.Go(func() {
			for time.Now().Before(over) {
				time.Sleep(2 * time.Second)
				if err := n.reload(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	time.Sleep(lasts / 2)
	if trunk.nats != nil {
		trunk.nats.stop(syscall.SIGKILL)
		time.Sleep(time.Second)
		trunk.nats = startNATS(t, trunk.where)
	} else {
		trunk.nodes[0].Process.Signal(syscall.SIGSTOP)
		time.Sleep(3 * time.Second)
		trunk.nodes[0].Process.Signal(syscall.SIGCONT)
	}
	wg.Wait()
	if asks.Load() == 0 {
		t.Error("nothing was asked")
	}
	t.Logf("%d asks, %d replies failed", asks.Load(), failures.Load())
	trunk.isWhole()
	var after []size
	defer func() { t.Logf("before: %+v, after: %+v", before, after) }()
	eventually(t, "goroutines and memory are as they were", func() bool {
		after = trunk.sizes()
		for i, now := range after {
			if now.goroutines > before[i].goroutines+10 || now.heap > before[i].heap+8<<20 {
				return false
			}
		}
		return true
	})
}

// size is what a process holds.
type size struct{ goroutines, heap int } // in number, and in bytes after a collection

func (trunk *trunkOfThree) sizes() (sizes []size) {
	trunk.t.Helper()
	for _, n := range trunk.nodes {
		sizes = append(sizes, size{n.profiled("goroutine?debug=1", "goroutine profile: total "), n.profiled("heap?gc=1&debug=1", "# HeapAlloc = ")})
	}
	return sizes
}

// profiled returns the number that is behind some text in a profile of the node's process.
func (n *caddyNode) profiled(profile, text string) (number int) {
	n.t.Helper()
	response, err := http.Get("http://" + n.admin + "/debug/pprof/" + profile)
	check.Must(n.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	check.Must(n.t, err)
	_, behind, _ := strings.Cut(string(body), text)
	_, err = fmt.Sscan(behind, &number)
	check.Must(n.t, err)
	return number
}
