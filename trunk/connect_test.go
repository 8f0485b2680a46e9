// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package trunk

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// door is where others reach a server, while it is open.
type door struct {
	address, behind string
	listener        net.Listener
	wg              sync.WaitGroup
	mu              sync.Mutex
	connections     []net.Conn
	closed          bool
}

func (d *door) open(t *testing.T) {
	var err error
	d.listener, err = net.Listen("tcp", d.address)
	check.Must(t, err)
	d.closed = false
	d.wg.Go(func() {
		for {
			from, err := d.listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", d.behind)
			if err != nil {
				from.Close()
				continue
			}
			d.mu.Lock()
			if d.connections = append(d.connections, from, to); d.closed {
				from.Close()
				to.Close()
			}
			d.mu.Unlock()
			d.wg.Go(func() { defer to.Close(); io.Copy(to, from) })
			d.wg.Go(func() { defer from.Close(); io.Copy(from, to) })
		}
	})
}

func (d *door) close() {
	d.listener.Close()
	d.mu.Lock()
	d.closed = true
	for _, c := range d.connections {
		c.Close()
	}
	d.mu.Unlock()
	d.wg.Wait()
}

// TestServersThatLearnOfEachOtherFindEachOtherAgain has a, in the routes of all, tell b and c of each other, who then
// lose each other, and not a.
func TestServersThatLearnOfEachOtherFindEachOtherAgain(t *testing.T) {
	first := testport.Address(t)
	var servers []*server.Server
	var doors []*door
	for _, name := range []string{"a", "b", "c"} {
		s := settings{Node: name, Subject: "x", Secret: testSecret, Embedded: &Embedded{Cluster: testport.Address(t), Routes: []string{"nats://" + first}}}
		if name == "a" {
			s.Embedded.Cluster = first
		}
		options, err := s.serverOptions()
		check.Must(t, err)
		if name != "a" {
			d := &door{address: testport.Address(t), behind: s.Embedded.Cluster}
			d.open(t)
			doors = append(doors, d)
			options.Cluster.Advertise = d.address
		}
		embedded, err := server.NewServer(options)
		check.Must(t, err)
		embedded.Start()
		t.Cleanup(func() { embedded.Shutdown(); embedded.WaitForShutdown() })
		servers = append(servers, embedded)
	}
	routesTo := func(from, to *server.Server) (n int) {
		routes, err := from.Routez(nil)
		check.Must(t, err)
		for _, r := range routes.Routes {
			if r.RemoteID == to.ID() {
				n++
			}
		}
		return n
	}
	both := func() bool { return routesTo(servers[1], servers[2]) > 0 && routesTo(servers[2], servers[1]) > 0 }
	partytest.Eventually(t, "b and c are connected", both)
	for _, d := range doors {
		d.close()
	}
	partytest.Eventually(t, "b and c are not", func() bool { return routesTo(servers[1], servers[2])+routesTo(servers[2], servers[1]) == 0 })
	time.Sleep(3 * time.Second) // they try in vain
	check.ErrorIf(t, routesTo(servers[1], servers[0]) == 0 || routesTo(servers[2], servers[0]) == 0, "they have lost a")
	for _, d := range doors {
		d.open(t)
		defer d.close()
	}
	partytest.Eventually(t, "b and c are connected again", both)
}

func TestAnEmbeddedServerStartsWithoutAWarning(t *testing.T) {
	core, logged := observer.New(zap.WarnLevel)
	embedded, err := embed(settings{Node: "a", Subject: "x", Secret: testSecret, Embedded: &Embedded{Listen: testport.Address(t)}}, zap.New(core))
	check.Must(t, err)
	defer servers.Delete(embedded.key)
	check.ErrorIf(t, !embedded.ReadyForConnections(time.Minute), "it is not ready")
	check.Equal(t, len(logged.All()), 0)
}

// TestWhatAnEmbeddedServerLogs has it say the same of each of many connections.
func TestWhatAnEmbeddedServerLogs(t *testing.T) {
	core, logged := observer.New(zap.WarnLevel)
	l := &natsLogger{logger: zap.New(core), logged: make(map[string]time.Time)}
	for _, id := range []string{"127.0.0.1:1 - rid:14", "127.0.0.1:2 - rid:15", "10.0.0.1:2 - rid:16"} {
		l.Errorf(id+" - Error flushing: %v", "broken pipe")
		l.Errorf(id+" - TLS route handshake error: %v", "unknown certificate authority")
		l.Noticef(id+" - Slow Consumer Detected: MaxPending of %d Exceeded", 7)
		l.Noticef(id+" - Router connection closed: %v", "duplicate")
	}
	l.Fatalf("Error listening on router port: %d - %v", 6222, "in use")
	l.Fatalf("Error listening on port: %s", "127.0.0.1:65536")
	var got []string
	for _, entry := range logged.All() {
		text := entry.ContextMap()
		got = append(got, fmt.Sprint(entry.Level, text["error"], text["warning"], text["hint"]))
	}
	check.Contains(t, strings.Join(got, "\n"), []string{"broken pipe", "another node is stopped", "unknown certificate", "the same secret", "warn", "Slow Consumer", "in use", "free it"})
	check.Equal(t, len(got), 4)
}

// TestWhoTakesTheAddressOfANodeLearnsNothing has a stranger listen where another node is stopped, which the secret alone
// must not let it see.
func TestWhoTakesTheAddressOfANodeLearnsNothing(t *testing.T) {
	listener, err := net.Listen("tcp", testport.Address(t))
	check.Must(t, err)
	t.Cleanup(func() { listener.Close() })
	s := settings{Node: "a", Subject: "x", Secret: testSecret, Embedded: &Embedded{Cluster: testport.Address(t), Routes: []string{"nats://" + listener.Addr().String()}}}
	embedded, err := embed(s, zap.NewNop())
	check.Must(t, err)
	defer servers.Delete(embedded.key)
	client := settings{Node: "b", Servers: []string{"nats://" + listener.Addr().String()}, Secret: testSecret, Subject: "x"}
	for _, what := range []string{"a server", "a client"} {
		if what == "a client" {
			c, err := connect(client, nil, zap.NewNop())
			check.Must(t, err)
			defer c.Close()
		}
		from, err := listener.Accept()
		check.Must(t, err)
		_, err = io.WriteString(from, `INFO {"server_id":"S","version":"2.15.0","host":"127.0.0.1","port":1,"max_payload":1048576,"proto":1,"cluster":"x"}`+"\r\n")
		check.Must(t, err)
		check.Must(t, from.SetReadDeadline(time.Now().Add(3*time.Second)))
		said, _ := io.ReadAll(from)
		from.Close()
		for _, use := range []string{"cluster", "client"} {
			check.ErrorIf(t, bytes.Contains(said, []byte(derive(testSecret, use))) || bytes.Contains(said, []byte("CONNECT")), "%s says %q", what, said)
		}
		if what == "a server" {
			embedded.Shutdown()
		}
	}
}
