// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package trunk_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// asking is an application that asks at its node before it answers.
type asking struct {
	node     *caddyNode
	line     string            // where it asks
	asks     map[string]string // by the service that it is asked for, what it asks for
	handsOn  []string          // headers of the ask that it answers
	asked    atomic.Int64
	underWay atomic.Int64
	hangs    atomic.Bool
}

func (a *asking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.asked.Add(1)
	a.underWay.Add(1)
	defer a.underWay.Add(-1)
	_, _ = io.Copy(io.Discard, r.Body) // else net/http does not see who goes away
	if a.hangs.Load() {
		<-r.Context().Done()
		return
	}
	next, err := http.NewRequestWithContext(r.Context(), "POST", "http://"+a.line+"/"+a.asks[strings.TrimPrefix(r.URL.Path, "/")], strings.NewReader("1"))
	if err != nil {
		panic(err)
	}
	next.Header.Set("Authorization", "Bearer "+a.key())
	next.Header.Set("Content-Type", "application/json")
	for _, name := range a.handsOn {
		next.Header[name] = r.Header[name]
	}
	response, err := http.DefaultClient.Do(next)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"app": %q, "status": %d, "body": %s}`, a.node.name, response.StatusCode, bytes.TrimSpace(body))
}

func (a *asking) key() string { return strings.Repeat(a.node.name, 32) }

// newAskingTrunk returns three nodes whose applications ask. Each is asked for two services, and for what both lead to.
func newAskingTrunk(t *testing.T, embedded bool, options string, asks func(node string) map[string]string, handsOn ...string) (*trunkOfThree, []*asking) {
	t.Helper()
	for _, node := range []string{"a", "b", "c"} {
		t.Setenv("KEY_"+node, strings.Repeat(node, 32))
	}
	trunk := newTrunk(t, embedded)
	var apps []*asking
	for _, n := range trunk.nodes {
		app := &asking{node: n, line: testport.Address(t), asks: asks(n.name), handsOn: handsOn}
		server := httptest.NewServer(app)
		t.Cleanup(server.Close)
		n.upstream, n.routes = server.Listener.Addr().String(), "ask_on "+app.line
		n.options = "key {env.KEY_" + n.name + "}\n" + options
		for service := range app.asks {
			n.options += "\nservice " + service + " POST /" + service
		}
		check.Must(t, n.reload())
		apps = append(apps, app)
	}
	for _, n := range trunk.nodes {
		eventually(t, n.name+" can ask all applications", func() bool {
			var shown struct {
				Services []struct {
					Service string
					Guests  []string
				}
			}
			n.get("/wsgi_party/main", &shown)
			has := make(map[string]bool)
			for _, s := range shown.Services {
				for _, guest := range s.Guests {
					has[guest+" "+s.Service] = true
				}
			}
			for _, app := range apps {
				for service := range app.asks {
					if !has[app.node.name+" "+service] {
						return false
					}
				}
			}
			return true
		})
	}
	return trunk, apps
}

// sum returns how often applications were asked, once none is any more.
func sum(t *testing.T, apps []*asking) (asked int64) {
	t.Helper()
	for _, app := range apps {
		eventually(t, app.node.name+" is done", func() bool { return app.underWay.Load() == 0 })
	}
	for _, app := range apps {
		asked += app.asked.Swap(0)
	}
	return asked
}

// TestApplicationsOfThreeNodesAskEachOther has each ask all others for the service that it is asked for: as often as if
// all were on one node.
func TestApplicationsOfThreeNodesAskEachOther(t *testing.T) {
	for name, embedded := range map[string]bool{"nats-server": false, "embedded": true} {
		t.Run(name, func(t *testing.T) {
			trunk, apps := newAskingTrunk(t, embedded, "timeout 20s", func(string) map[string]string { return map[string]string{"around": "around"} }, "Party-Token")
			for _, n := range trunk.nodes {
				got := n.ask("around", "1", "")
				for _, r := range got.Replies {
					check.ErrorIf(t, r.Status != "answered", "at %s: %+v", n.name, r)
				}
				check.Equal(t, len(got.Replies), 3)
				check.Equal(t, sum(t, apps), 3+3*2+3*2*1) // each in turn: a guest skips those that ask already
				text := fmt.Sprintf("%s", got.Answers)
				check.ErrorIf(t, strings.Contains(text, `"failed"`), "a nested ask has failed: %s", text)
			}
		})
	}
}

// TestARingOverThreeNodesEnds has a ask b, b ask c, and c ask a: for one service, and for one that differs each time, with
// the token handed back, with CDN-Loop, and with neither.
func TestARingOverThreeNodesEnds(t *testing.T) {
	next := map[string]string{"a": "b", "b": "c", "c": "a"}
	one := func(node string) map[string]string { return map[string]string{"ring": "ring?guest=" + next[node]} }
	others := func(node string) map[string]string { return map[string]string{"to-" + node: "to-" + next[node]} }
	for _, test := range []struct {
		what    string
		asks    func(node string) map[string]string
		service string
		handsOn string
		timeout string
		most    int64
		says    string
	}{
		{"one service", one, "ring?guest=a", "Party-Token", "20s", 3, `"answers":[],"replies":[]`},
		{"a service each", others, "to-a", "Party-Token", "20s", 8, `more than 8 asks led here`},
		{"one service, by CDN-Loop", one, "ring?guest=a", "Cdn-Loop", "20s", 9, "status 508 (loop detected)"},
		{"a service each, by CDN-Loop", others, "to-a", "Cdn-Loop", "20s", 9, "status 508 (loop detected)"},
		{"one service, of applications that hand nothing back", one, "ring?guest=a", "", "1s", 1 << 20, "it took longer than 1s"},
		{"a service each, of applications that hand nothing back", others, "to-a", "", "1s", 1 << 20, "it took longer than 1s"},
	} {
		t.Run(test.what, func(t *testing.T) {
			var handsOn []string
			if test.handsOn != "" {
				handsOn = []string{test.handsOn}
			}
			trunk, apps := newAskingTrunk(t, true, "timeout "+test.timeout, test.asks, handsOn...)
			service, query, _ := strings.Cut(test.service, "?")
			for i, n := range trunk.nodes {
				if i > 0 && test.handsOn == "" {
					break // applications that fail are left alone for a while
				}
				got := n.ask(service, "1", "?"+query)
				n := sum(t, apps)
				t.Logf("%d asks", n)
				check.ErrorIf(t, n > test.most || n == 0, "%d asks", n)
				said := fmt.Sprintf("%s %+v", got.Answers, got.Replies)
				check.ErrorIf(t, !strings.Contains(said, test.says), "got %s", said)
				check.ErrorIf(t, len(got.Replies) != 1, "got %+v", got.Replies)
			}
		})
	}
}

// TestAVisitorWhoGoesAwayEndsAChainOverNodes has a ask b, and b ask c, which does not answer.
func TestAVisitorWhoGoesAwayEndsAChainOverNodes(t *testing.T) {
	next := map[string]string{"a": "b", "b": "c", "c": "a"}
	trunk, apps := newAskingTrunk(t, false, "timeout 1m", func(node string) map[string]string {
		return map[string]string{"ring": "ring?guest=" + next[node]}
	}, "Party-Token")
	apps[2].hangs.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		r, err := http.NewRequestWithContext(ctx, "POST", "http://"+trunk.nodes[0].admin+"/wsgi_party/main/ask/ring?guest=a", strings.NewReader("1"))
		if err == nil {
			_, err = http.DefaultClient.Do(r)
		}
		gone <- err
	}()
	eventually(t, "c is asked", func() bool { return apps[2].underWay.Load() == 1 })
	cancel()
	<-gone
	began := time.Now()
	check.Equal(t, sum(t, apps), 3)
	check.ErrorIf(t, time.Since(began) > 30*time.Second, "it took until a time-out")

	// The deadline of b's node ends what it has led to.
	trunk.nodes[1].options = strings.Replace(trunk.nodes[1].options, "timeout 1m", "timeout 1s", 1)
	check.Must(t, trunk.nodes[1].reload())
	eventually(t, "a hears of it", func() bool {
		said := fmt.Sprintf("%s", trunk.nodes[0].ask("ring", "1", "?guest=a").Answers)
		return strings.Contains(said, `longer than 1s`) && sum(t, apps) == 3
	})
}
