// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package trunk_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
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
// after it such an application behind this node. It also asks 16 applications behind three nodes at once, which is to be
// compared with one only if they take time themselves: all of them have the same processors here.
func BenchmarkAsk(b *testing.B) {
	for _, takes := range []time.Duration{0, 5 * time.Millisecond} {
		for _, options := range []string{"", "direct"} {
			b.Run(fmt.Sprintf("%s,takes=%v", options, takes), func(b *testing.B) { benchmarkAsk(b, options, takes) })
		}
	}
}

func benchmarkAsk(b *testing.B, options string, takes time.Duration) {
	address := testport.Address(b)
	startNATS(b, address)
	b.Setenv("TRUNK_SECRET", secret)
	upstream := testport.Address(b)
	application := exec.Command(os.Args[0])
	application.Env = append(os.Environ(), "APPLICATION_AT="+upstream, "NATS_AT="+address, "APPLICATION_TAKES="+takes.String())
	check.Must(b, application.Start())
	b.Cleanup(func() { _ = application.Process.Kill(); _ = application.Wait() })
	var nodes []*caddyNode
	for i, name := range []string{"here", "b", "c"} {
		n := newNode(b, name, "nats nats://"+address+"\nuser trunk {env.TRUNK_SECRET}")
		n.options, n.upstream = options, upstream
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
	partytest.Eventually(b, "the application responds", func() bool {
		_, err := client.Request("plain", nil, time.Second)
		return err == nil
	})

	var remote, reference, around time.Duration
	const block = 20 // of each, in turns
	timed := func(total *time.Duration, f func() (int, error)) {
		began := time.Now()
		for range block {
			if n, err := f(); err != nil || n == 0 {
				b.Fatalf("got %d answers, %v", n, err)
			}
		}
		*total += time.Since(began)
	}
	ask := func(guest string) (int, error) {
		answers, err := asker.Ask(b.Context(), guest, "echo", 5)
		return len(answers), err
	}
	for b.Loop() {
		timed(&remote, func() (int, error) { return ask("b") })
		timed(&reference, func() (int, error) {
			if _, err := client.Request("plain", []byte("5"), time.Second); err != nil {
				return 0, err
			}
			return ask("here")
		})
		timed(&around, func() (int, error) {
			answers, err := asker.AskAround(b.Context(), "echo", 5)
			return len(answers) / 16, err
		})
	}
	b.ReportMetric(float64(remote)/float64(reference), "x-reference")
	b.ReportMetric(float64(around)/float64(remote), "16-x-one")
	b.ReportMetric(float64(remote.Microseconds())/float64(b.N*block), "remote-µs")
	b.ReportMetric(float64(reference.Microseconds())/float64(b.N*block), "reference-µs")
}

// runApplication is an application in a process of its own, as they are. It also responds to plain requests by NATS.
func runApplication(address, natsAddress string) {
	takes, err := time.ParseDuration(os.Getenv("APPLICATION_TAKES"))
	if err != nil {
		log.Fatal(err)
	}
	connection, err := nats.Connect("nats://"+natsAddress, nats.UserInfo("trunk", secret))
	if err == nil {
		_, err = connection.Subscribe("plain", func(m *nats.Msg) { _ = m.Respond(m.Data) })
	}
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(takes)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.Copy(w, r.Body)
	})))
}
