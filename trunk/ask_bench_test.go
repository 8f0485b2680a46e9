// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package trunk_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/nats-io/nats.go"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
	"github.com/wsgiparty/wsgiparty/party"
	_ "github.com/wsgiparty/wsgiparty/trunk"
)

// BenchmarkAsk asks an application behind another node. The reference is a request by NATS to where nothing is done, and
// after it such an application behind this node. A bare node is what the trunk cannot be faster than: another process that
// asks its application when a request comes by NATS, without roster, path, deadline or cancellation. The benchmark also asks
// 16 applications behind three nodes at once, which is to be compared with one only if they take time themselves: all of
// them have the same processors here. All are medians.
func BenchmarkAsk(b *testing.B) {
	for _, takes := range []time.Duration{0, 5 * time.Millisecond} {
		for _, options := range []string{"", "direct"} {
			b.Run(fmt.Sprintf("%s,takes=%v", options, takes), func(b *testing.B) { benchmarkAsk(b, options, takes) })
		}
	}
}

func benchmarkAsk(b *testing.B, guestOptions string, takes time.Duration) {
	address := testport.Address(b)
	startNATS(b, address)
	b.Setenv("TRUNK_SECRET", secret)
	upstream := testport.Address(b)
	child := func(environment ...string) {
		c := exec.Command(os.Args[0])
		c.Env = append(append(os.Environ(), "NATS_AT="+address), environment...)
		check.Must(b, c.Start())
		b.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	}
	child("APPLICATION_AT="+upstream, "APPLICATION_TAKES="+takes.String())
	newNode := func(name, options string) *caddyNode {
		n := newNode(b, name, "nats nats://"+address+"\nuser trunk {env.TRUNK_SECRET}\n"+options)
		n.options, n.upstream = guestOptions, upstream
		return n
	}
	child("BARE_NODE=" + newNode("bare", "subject bare").caddyfile())
	var nodes []*caddyNode
	for i, name := range []string{"here", "b", "c"} {
		n := newNode(name, "")
		for g := range []int{5, 4, 4}[i] {
			n.guests = append(n.guests, fmt.Sprintf("%s%d", name, g))
		}
		nodes = append(nodes, n)
		if i > 0 {
			n.run()
		}
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(nodes[0].caddyfile()), nil)
	check.Must(b, err)
	check.Must(b, caddy.Load(config, true))
	b.Cleanup(func() { check.Must(b, caddy.Stop()) })
	parties, err := party.AppOf(caddy.ActiveContext())
	check.Must(b, err)
	asker := parties.Entry("main").Operator("")
	partytest.Eventually(b, "all are known", func() bool { return len(asker.Partyline().Guests()) == 16 })

	client, err := nats.Connect("nats://"+address, nats.UserInfo("trunk", secret))
	check.Must(b, err)
	b.Cleanup(client.Close)
	request := func(subject string) (int, error) {
		m, err := client.Request(subject, []byte("5"), time.Second)
		if err != nil {
			return 0, err
		}
		return len(m.Data), nil
	}
	for _, subject := range []string{"plain", "bare"} {
		partytest.Eventually(b, "somebody responds to "+subject, func() bool { n, err := request(subject); return err == nil && n == 1 })
	}

	var remote, reference, bare, around []time.Duration // of blocks, in turns
	const block = 20
	timed := func(blocks *[]time.Duration, f func() (int, error)) {
		began := time.Now()
		for range block {
			if n, err := f(); err != nil || n == 0 {
				b.Fatalf("got %d answers, %v", n, err)
			}
		}
		*blocks = append(*blocks, time.Since(began))
	}
	ask := func(guest string) (int, error) {
		answers, err := asker.Ask(b.Context(), guest, "echo", 5)
		return len(answers), err
	}
	for b.Loop() {
		timed(&remote, func() (int, error) { return ask("b") })
		timed(&reference, func() (int, error) {
			if n, err := request("plain"); err != nil {
				return n, err
			}
			return ask("here")
		})
		timed(&bare, func() (int, error) { return request("bare") })
		timed(&around, func() (int, error) {
			answers, err := asker.AskAround(b.Context(), "echo", 5)
			return len(answers) / 16, err
		})
	}
	median := func(blocks []time.Duration) float64 {
		slices.Sort(blocks)
		return float64(blocks[len(blocks)/2])
	}
	b.ReportMetric(median(remote)/median(reference), "x-reference")
	b.ReportMetric(median(remote)/median(bare), "x-bare-node")
	b.ReportMetric(median(around)/median(remote), "16-x-one")
	b.ReportMetric(median(remote)/block/1000, "remote-µs")
}

// runApplication is an application in a process of its own, as they are. It also responds to plain requests by NATS.
func runApplication(address, natsAddress string) {
	takes, err := time.ParseDuration(os.Getenv("APPLICATION_TAKES"))
	if err != nil {
		log.Fatal(err)
	}
	subscribe(natsAddress, "plain", func(m *nats.Msg) { _ = m.Respond(m.Data) })
	log.Fatal(http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(takes)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.Copy(w, r.Body)
	})))
}

// runBareNode asks the application of a party, in a process of its own, when a request comes by NATS.
func runBareNode(caddyfile, natsAddress string) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
	if err == nil {
		err = caddy.Load(config, true)
	}
	if err != nil {
		log.Fatal(err)
	}
	parties, err := party.AppOf(caddy.ActiveContext())
	if err != nil {
		log.Fatal(err)
	}
	operator := parties.Entry("main").Operator("")
	subscribe(natsAddress, "bare", func(m *nats.Msg) {
		go func() {
			answers, err := operator.Ask(context.Background(), "bare", "echo", json.RawMessage(m.Data))
			if len(answers) != 1 {
				log.Print(err)
				return
			}
			_ = m.Respond(answers[0].(json.RawMessage))
		}()
	})
	select {}
}

func subscribe(natsAddress, subject string, f nats.MsgHandler) {
	connection, err := nats.Connect("nats://"+natsAddress, nats.UserInfo("trunk", secret))
	if err == nil {
		_, err = connection.Subscribe(subject, f)
	}
	if err != nil {
		log.Fatal(err)
	}
}
