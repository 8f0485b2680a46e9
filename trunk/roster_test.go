// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package trunk

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
	"github.com/wsgiparty/wsgiparty/party"
	"github.com/wsgiparty/wsgiparty/partyline"
)

// testNode is a node without a server, in this process.
type testNode struct {
	*link
	app    *party.App
	ctx    caddy.Context
	events chan string
}

// listening returns the settings of a node with a server, and of others that connect to it.
func listening(t testing.TB) (withServer, others settings) {
	t.Helper()
	address := testport.Address(t)
	withServer = settings{Node: "n0", Embedded: &Embedded{Listen: address}, Secret: testSecret, Subject: "wsgi_party"}
	return withServer, settings{Servers: []string{"nats://" + address}, Secret: testSecret, Subject: "wsgi_party"}
}

func openLink(t testing.TB, s settings) *link {
	t.Helper()
	l := newLink(s, zap.NewNop())
	check.Must(t, l.open())
	t.Cleanup(func() { check.Must(t, l.Destruct()) })
	return l
}

// newTestNode returns a node of which join has guests join the party main.
func newTestNode(t testing.TB, s settings, join func(ctx caddy.Context)) *testNode {
	t.Helper()
	ctx := partytest.ProvisionContext(t)
	app, err := party.AppOf(ctx)
	check.Must(t, err)
	l := openLink(t, s)
	events := make(chan string, 1000)
	g := newGeneration(l, app, zap.NewNop(), func(name string, data map[string]any) {
		events <- fmt.Sprint(name, " ", data["node"], " ", data["address"])
	})
	t.Cleanup(g.end)
	app.OnParty(g.add)
	join(ctx)
	check.Must(t, l.start(g))
	return &testNode{l, app, ctx, events}
}

// joins has a guest join, with handlers.
func joins(t testing.TB, ctx caddy.Context, guest string, handlers map[string]partyline.Handler) *partyline.Operator {
	t.Helper()
	o, err := party.Join(ctx, "main", guest)
	check.Must(t, err)
	for service, h := range handlers {
		check.Must(t, o.ConnectRemote(service, h))
	}
	return o
}

func (n *testNode) line() *partyline.Partyline { return n.app.Entry("main").Partyline }

// knows reports whether a guest is on the line of the node, with all of its services.
func (n *testNode) knows(guest string) bool {
	n.mu.Lock() // else it may be connected right now
	defer n.mu.Unlock()
	_, ok := n.line().Guest(guest)
	return ok
}

func pong(context.Context, any) (any, error) { return "pong", nil }

func TestAnAskOfAGuestOfAnotherNodeHoldsWhatItPromises(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) })
	server, client := listening(t)
	client.Node = "n1"
	canceled := make(chan struct{}, 1)
	var path []partyline.Step
	var deadline bool
	var n0 *testNode
	n0 = newTestNode(t, server, func(ctx caddy.Context) {
		shop := joins(t, ctx, "shop", map[string]partyline.Handler{
			"two": pong, "declines": func(context.Context, any) (any, error) { return nil, partyline.ErrHighAndDry },
			"fails":   func(context.Context, any) (any, error) { return nil, fmt.Errorf("oh no") },
			"panics":  func(context.Context, any) (any, error) { panic("oh no") },
			"refuses": func(context.Context, any) (any, error) { return nil, fmt.Errorf("%w: no", partyline.ErrRefused) },
			"nothing": func(context.Context, any) (any, error) { return func() {}, nil },
			"hangs": func(ctx context.Context, _ any) (any, error) {
				_, deadline = ctx.Deadline()
				<-ctx.Done()
				canceled <- struct{}{}
				return nil, ctx.Err()
			},
			"path": func(ctx context.Context, payload any) (any, error) {
				path = partyline.PathOf(ctx, n0.line())
				return payload, nil
			},
		})
		check.Must(t, shop.Connect("two", func(context.Context, any) (any, error) { return 2, nil }))
		check.Must(t, shop.Connect("around", func(ctx context.Context, payload any) (any, error) { return shop.AskAround(ctx, "around", payload) }))
	})
	n1 := newTestNode(t, client, func(ctx caddy.Context) {
		blog := joins(t, ctx, "blog", nil)
		check.Must(t, blog.Connect("around", func(ctx context.Context, payload any) (any, error) { return blog.AskAround(ctx, "around", payload) }))
	})
	partytest.Eventually(t, "n1 knows the shop", func() bool { return n1.knows("shop") && n0.knows("blog") })
	blog := n1.line().Operator("blog")
	ask := func(service string, payload any) (texts []string, err error) {
		answers, err := blog.AskAround(t.Context(), service, payload)
		for _, answer := range answers {
			text, _ := json.Marshal(answer)
			texts = append(texts, string(text))
		}
		return texts, err
	}
	got, err := ask("two", nil)
	check.ErrorIf(t, err != nil, err)
	check.Slices(t, got, []string{`"pong"`, "2"})
	got, err = ask("path", json.RawMessage(`{"n": 12345678901234567890.10}`))
	check.ErrorIf(t, err != nil, err)
	check.Slices(t, got, []string{`{"n":12345678901234567890.10}`})
	check.Slices(t, path, []partyline.Step{{Guest: "blog", Service: "path"}})
	got, err = ask("declines", nil)
	check.ErrorIf(t, err != nil || got != nil, "got %v, %v", got, err)
	for service, want := range map[string]string{"fails": "node n0: oh no", "panics": "node n0: panic", "refuses": "asked more than it can answer", "nothing": "JSON cannot carry"} {
		_, err = ask(service, nil)
		check.ErrorIf(t, err == nil || !strings.Contains(err.Error(), want), "%s: got %v", service, err)
	}
	got, err = ask("around", 1) // shop asks around, which skips blog, who asks
	check.ErrorIf(t, err != nil, err)
	check.Slices(t, got, []string{"[]"})

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	go func() {
		partytest.Eventually(t, "it hangs", func() bool { n0.serving.mu.Lock(); defer n0.serving.mu.Unlock(); return len(n0.serving.cancel) > 0 })
		cancel()
	}()
	_, err = blog.AskAround(ctx, "hangs", nil)
	check.ErrorIf(t, err == nil, "it answered")
	<-canceled
	check.ErrorIf(t, !deadline, "the deadline did not come along")

	_, err = ask("path", strings.Repeat("x", 9<<20))
	check.ErrorIf(t, err == nil || !strings.Contains(err.Error(), "max_payload"), "got %v", err)
}

// stranger publishes as if it were a node.
func stranger(t testing.TB, of *link) func(subject, text string) {
	c, err := nats.Connect("", nats.InProcessServer(of.server.Server), nats.UserInfo(natsUser, derive(of.settings.Secret, "client")))
	check.Must(t, err)
	t.Cleanup(c.Close)
	return func(subject, text string) {
		check.Must(t, c.Publish(of.subject(subject), []byte(text)))
		check.Must(t, c.Flush())
	}
}

func TestMessagesOfNodesOfOtherVersionsAndOfNonsense(t *testing.T) {
	n := newTestNode(t, settings{Node: "n0", Embedded: new(Embedded), Subject: "wsgi_party"}, func(ctx caddy.Context) { joins(t, ctx, "blog", map[string]partyline.Handler{"x": pong}) })
	publish := stranger(t, n.link)
	const from = `"from": {"node": "new", "session": "s", "process": "p", "address": "there", "age": 1, "mood": "new"}`
	publish("roster", `{"kind": "guest", "party": "main", "guest": "shop", "version": 7, "digest": "d", "says": {"services": ["who", "url"], "color": "red", "manifest": {"urls": {"page": "/p/{id}"}, "services": {"who": {"answer": 1}}, "moods": []}, "mount": {"path": "/shop", "floor": 3}}, "new": {"member": 1}, `+from+`}`)
	partytest.Eventually(t, "the shop is there", func() bool { return n.knows("shop") })
	link, err := party.URLFor(t.Context(), n.line().Operator("blog"), "shop:page", map[string]any{"id": "ü"})
	check.ErrorIf(t, err != nil || link != "/shop/p/%C3%BC", "got %s, %v", link, err)
	_, err = party.URLFor(t.Context(), n.line().Operator("blog"), "shop:page", map[string]any{"id": 1})
	check.Must(t, err)

	dropped := func() (n0 uint64) {
		for _, kind := range kinds {
			n0 += n.counts.of[[2]string{kind, dropped}].Load()
		}
		return n0
	}
	for i, text := range []string{
		"", "nonsense", "{}", "[]", `{"kind": "guest"}`, `{"kind": "guest", "party": "main", "guest": "a:b", "version": 1, "says": {"services": ["x"]}, ` + from + `}`,
		`{"kind": "guest", "party": "", "guest": "a", "version": 1, "says": {"services": ["x"]}, ` + from + `}`, `{"kind": "guest", "party": "main", "guest": "a", "version": 1, "says": {"services": [""]}, ` + from + `}`,
		`{"kind": "guest", "party": "main", "guest": "a", "version": 1, "says": {"services": ["x"], "timeout": -1}, ` + from + `}`,
		`{"kind": "guest", "party": "main", "guest": "a", "version": 1, "says": {"services": ["x"], "manifest": {"urls": 1}}, ` + from + `}`,
		`{"kind": "guest", "party": "main", "guest": "a", "version": 1, "says": {"services": ["` + strings.Repeat("x", 70<<10) + `"], "manifest": {"services": {"x": {"answer": "` + strings.Repeat("x", 70<<10) + `"}}}}, ` + from + `}`,
		`{"kind": "guest", "party": "main", "guest": "a", "version": 1, "says": {"services": ["x"], "mount": {"path": "//evil.example"}}, ` + from + `}`,
		`{"kind": "guest", "party": "main", "guest": "a", "version": 1, "says": {"services": ["x"], "mount": {"prefix": "//evil.example"}}, ` + from + `}`,
		strings.Repeat(" ", maxMessage+1),
	} {
		publish("roster", text)
		partytest.Eventually(t, fmt.Sprintf("message %d is dropped: %.100s", i, text), func() bool { return dropped() == uint64(i+1) })
	}
	check.ErrorIf(t, n.knows("a"), "nonsense has become a guest")

	for i := range maxGuests + 10 {
		publish("roster", fmt.Sprintf(`{"kind": "guest", "party": "main", "guest": "g%d", "version": %d, "says": {"services": ["x"]}, %s}`, i, i+10, from))
	}
	partytest.Eventually(t, "all are taken or dropped", func() bool { return dropped() == 14+11 })
	n.mu.Lock()
	check.Equal(t, len(n.nodes["new"].guests), maxGuests)
	n.mu.Unlock()
	publish("roster", `{"kind": "bye", `+from+`}`)
	partytest.Eventually(t, "all are gone", func() bool { return len(n.line().Guests()) == 1 })
	check.Equal(t, <-n.events, "node_joined new there")
	check.Equal(t, <-n.events, "node_left new there")
}

func TestNoMessageHasATime(t *testing.T) {
	var walk func(of reflect.Type)
	walk = func(of reflect.Type) {
		check.ErrorIf(t, of == reflect.TypeFor[time.Time](), "clocks of machines differ")
		switch of.Kind() {
		case reflect.Struct:
			for i := range of.NumField() {
				walk(of.Field(i).Type)
			}
		case reflect.Pointer, reflect.Slice, reflect.Map:
			walk(of.Elem())
		}
	}
	for _, of := range []reflect.Type{reflect.TypeFor[message](), reflect.TypeFor[askMessage](), reflect.TypeFor[replyMessage]()} {
		walk(of)
	}
}

func TestNamesAreTokensOfSubjects(t *testing.T) {
	for name, want := range map[string]string{"a-B_1": "a-B_1", "a.b": "a=2Eb", "*": "=2A", ">": "=3E", "ü": "=C3=BC", "=": "=3D"} {
		check.Equal(t, token(name), want)
	}
}

func FuzzRosterMessages(f *testing.F) {
	f.Add([]byte(`{"kind": "guest", "party": "main", "guest": "shop", "version": 7, "says": {"services": ["who"]}, "from": {"node": "n", "session": "s"}}`))
	f.Add([]byte(`{"kind": "whole", "guests": {"main": "x"}, "from": {"node": "n", "session": "s"}}`))
	f.Add([]byte(`{"kind": "beat", "digest": "x", "from": {"node": "n", "session": "s", "age": -1}}`))
	ctx := partytest.ProvisionContext(f)
	app, err := party.AppOf(ctx)
	check.Must(f, err)
	l := openLink(f, settings{Node: "n0", Embedded: new(Embedded), Subject: "wsgi_party"})
	g := newGeneration(l, app, zap.NewNop(), func(string, map[string]any) {})
	app.OnParty(g.add)
	joins(f, ctx, "blog", map[string]partyline.Handler{"x": pong})
	f.Fuzz(func(t *testing.T, data []byte) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.receive(data, "roster")
		for _, n := range l.nodes {
			l.forget(n, "of a test")
		}
	})
}

// TestManyNodes has 20 nodes with 50 guests each in one process.
func TestManyNodes(t *testing.T) {
	const nodes, guests = 20, 50
	server, client := listening(t)
	var all []*testNode
	for i := range nodes {
		s := client
		if i == 0 {
			s = server
		}
		s.Node = fmt.Sprint("n", i)
		all = append(all, newTestNode(t, s, func(ctx caddy.Context) {
			for j := range guests {
				joins(t, ctx, fmt.Sprintf("g%d-%d", i, j), map[string]partyline.Handler{"who": pong, "url": pong, "menu": pong})
			}
		}))
	}
	everywhere := func(n int) bool {
		for _, node := range all {
			if len(node.line().Guests()) != n {
				return false
			}
		}
		return true
	}
	partytest.Eventually(t, "everybody knows everybody", func() bool { time.Sleep(10 * time.Millisecond); return everywhere(nodes * guests) })
	before := all[1].nats.Stats()
	began := time.Now()
	time.Sleep(3 * beatEvery)
	after, took := all[1].nats.Stats(), time.Since(began).Seconds()
	in, out := float64(after.InBytes-before.InBytes)/took, float64(after.OutBytes-before.OutBytes)/took
	t.Logf("idle, a node gets %.0f bytes/s, and sends %.0f", in, out)
	check.ErrorIf(t, in+out > 20<<10, "%.0f bytes/s", in+out)
	began = time.Now()
	joins(t, all[0].ctx, "new", map[string]partyline.Handler{"who": pong})
	partytest.Eventually(t, "the change is everywhere", func() bool { return everywhere(nodes*guests + 1) })
	t.Logf("a change is everywhere after %v", time.Since(began))
}

// As in the middle of a reload that changes the trunk's settings: the node has a second link, whose config has not started.
func TestALinkIsSilentUntilItsConfigHasStarted(t *testing.T) {
	server, client := listening(t)
	newTestNode(t, server, func(ctx caddy.Context) { joins(t, ctx, "shop", map[string]partyline.Handler{"ping": pong}) })
	n1 := client
	n1.Node = "n1"
	asker := newTestNode(t, n1, func(ctx caddy.Context) { joins(t, ctx, "blog", nil) })
	partytest.Eventually(t, "n1 knows the shop", func() bool { return asker.knows("shop") })
	next := server
	next.Origins = []string{"https://shop.example"}
	l := openLink(t, next)
	check.Must(t, l.nats.Flush())

	whole := asker.counts.of[[2]string{"whole", received}]
	told := whole.Load()
	asker.publish(asker.subject("node", "n0"), message{Kind: "want"})
	partytest.Eventually(t, "n1 is told of all guests", func() bool { return whole.Load() > told })
	for range 200 {
		answers, err := asker.line().Operator("").AskAround(t.Context(), "ping", nil)
		if err != nil || len(answers) != 1 {
			t.Fatalf("got %v, %v", answers, err)
		}
	}
}

func TestANewLinkAsksForTheGuestsOfAllOthers(t *testing.T) {
	server, client := listening(t)
	n0 := newTestNode(t, server, func(caddy.Context) {})
	c, err := nats.Connect("", nats.InProcessServer(n0.server.Server), nats.UserInfo(natsUser, derive(testSecret, "client")))
	check.Must(t, err)
	t.Cleanup(c.Close)
	roster, err := c.SubscribeSync(n0.subject("roster"))
	check.Must(t, err)
	check.Must(t, c.Flush())
	client.Node = "n1"
	newTestNode(t, client, func(ctx caddy.Context) { joins(t, ctx, "blog", nil) })
	for m := (message{}); m.Kind != "want"; {
		next, err := roster.NextMsg(time.Minute)
		check.Must(t, err)
		m, err = decode(next.Data)
		check.Must(t, err)
	}
}

// As when a reload changes the trunk's settings: requests of the last config are still there.
func TestALinkEndsAfterTheAsksThatAreUnderWay(t *testing.T) {
	server, client := listening(t)
	asked, goOn := make(chan struct{}), make(chan struct{})
	newTestNode(t, server, func(ctx caddy.Context) {
		joins(t, ctx, "shop", map[string]partyline.Handler{"ping": func(context.Context, any) (any, error) {
			close(asked)
			<-goOn
			return "pong", nil
		}})
	})
	client.Node = "n1"
	asker := newTestNode(t, client, func(ctx caddy.Context) { joins(t, ctx, "blog", nil) })
	partytest.Eventually(t, "n1 knows the shop", func() bool { return asker.knows("shop") })
	answered := make(chan error)
	go func() {
		_, err := asker.line().Operator("").Ask(context.Background(), "shop", "ping", nil)
		answered <- err
	}()
	<-asked
	ended := make(chan error)
	go func() { ended <- asker.Destruct() }()
	time.Sleep(50 * time.Millisecond)
	close(goOn)
	check.Must(t, <-answered)
	check.Must(t, <-ended)
}
