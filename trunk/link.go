// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// A node's link to the trunk, which outlives configs: for the other nodes a reload is no change.

package trunk

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// processID tells this process from the others, also from one that had the node's name before.
var processID = rand.Text()

// endsWithin is how long the asks that are under way may take when a link ends, as after a reload that changes the trunk.
const endsWithin = 3 * time.Second

// link is a node's. All it knows is guarded by mu, which is never held while a message is waited for.
type link struct {
	settings settings
	logger   *zap.Logger
	session  string
	as       atomic.Pointer[session] // what the others know it as
	counts   *counts
	nats     *nats.Conn
	server   *embeddedServer // nil if NATS is elsewhere
	messages chan *nats.Msg  // of the roster
	serving  serving
	asking   atomic.Int64 // asks of other nodes' guests that are under way

	reached     time.Time             // when NATS was there last
	unreachable atomic.Pointer[error] // why it was not, the last time
	warned      time.Time             // of that

	ctx  context.Context // ends with the link
	end  context.CancelFunc
	over chan struct{} // closed when run has returned

	mu          sync.Mutex
	nodes       map[string]*node
	announced   announced
	generations map[*generation]struct{}
	started     []*generation // the last one is announced
	wanted      bool          // the guests of all other nodes
	claimed     time.Time     // when this node asked whether another has its name
	namesake    sender        // an older node of the same name
	reminded    time.Time     // of it last, zero if never
	emitted     chan struct{} // closed when the last event was emitted, nil if there was none
}

// newLink returns a link that is not open yet.
func newLink(s settings, logger *zap.Logger) *link {
	l := &link{settings: s, logger: logger.With(zap.String("this", s.Node)), session: rand.Text(), counts: newCounts(),
		messages: make(chan *nats.Msg, 1<<14), nodes: make(map[string]*node), generations: make(map[*generation]struct{}),
		announced: announced{guests: make(map[guestKey]announcedGuest)}, over: make(chan struct{})}
	l.as.Store(&session{l.session, time.Now()})
	l.ctx, l.end = context.WithCancel(context.Background())
	l.serving.init()
	return l
}

// open connects the link, if no config has done so before. If NATS cannot be reached, it goes on trying. Another node of
// the same name is an error.
func (l *link) open() error {
	if l.nats != nil {
		return nil
	}
	if l.settings.Embedded != nil {
		var err error
		if l.server, err = embed(l.settings, l.logger); err != nil {
			return err
		}
	}
	l.reached = time.Now()
	err := l.connect()
	if err == nil {
		err = l.checkName()
	}
	if err == nil {
		err = l.subscribe()
	}
	if err != nil {
		_ = l.close()
		l.nats, l.server = nil, nil
		return err
	}
	l.serving.waiting.Store(1)
	go l.answerAll()
	go l.run()
	return nil
}

func (l *link) connect() (err error) {
	var embedded = l.server
	options := []nats.Option{nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrAuthorization) {
			l.unreachable.Store(&err)
			return
		}
		subject := ""
		if sub != nil {
			subject = sub.Subject
		}
		l.counts.drop(l.logger, kindOf(subject), subject, err)
	}), nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { l.unreachable.Store(&err) })}
	if embedded != nil {
		l.nats, err = connect(l.settings, embedded.Server, l.logger, options...)
	} else {
		l.nats, err = connect(l.settings, nil, l.logger, options...)
	}
	if err == nil && errors.Is(l.nats.LastError(), nats.ErrAuthorization) {
		return fmt.Errorf("NATS at %s refuses the login: correct user, password, token or credentials, or the secret: %w", strings.Join(l.settings.Servers, ", "), l.nats.LastError())
	}
	return err
}

// warnUnreachable says why NATS cannot be reached, once a minute.
func (l *link) warnUnreachable(now time.Time) {
	if l.nats.IsConnected() {
		l.reached = now
		return
	}
	if now.Sub(l.reached) < warnAfter || now.Sub(l.warned) < time.Minute {
		return
	}
	l.warned = now
	err := l.nats.LastError()
	if last := l.unreachable.Load(); err == nil && last != nil {
		err = *last
	}
	l.logger.Warn("NATS cannot be reached yet", zap.Strings("servers", l.settings.Servers), zap.Error(err), zap.String("hint", "the trunk tries again and again; until then there are no guests of other nodes"))
}

// kindOf returns the kind of messages of a subject, for those that never arrived.
func kindOf(subject string) string {
	for _, kind := range []string{kindAsk, kindCancel} {
		if strings.Contains(subject, "."+kind+".") {
			return kind
		}
	}
	return "beat"
}

func (l *link) subscribe() error {
	for _, subject := range []string{l.subject("roster"), l.subject("node", l.settings.Node)} {
		if _, err := l.nats.ChanSubscribe(subject, l.messages); err != nil {
			return err
		}
	}
	return l.takeCancels()
}

// subject returns the subject of a kind of messages, to a node.
func (l *link) subject(kind string, to ...string) string {
	subject := l.settings.Subject + "." + kind
	for _, name := range to {
		subject += "." + token(name)
	}
	return subject
}

// address is where the node is, for people.
func (l *link) address() string {
	host, _ := os.Hostname()
	at := ""
	if l.server != nil {
		at = l.settings.Embedded.Cluster
	} else if l.nats != nil {
		at = l.nats.LocalAddr()
	}
	return strings.TrimSpace(fmt.Sprintf("%s pid %d %s", host, os.Getpid(), at))
}

func (l *link) sender() sender {
	as := l.as.Load()
	return sender{Node: l.settings.Node, Session: as.name, Process: processID, Address: l.address(), Age: time.Since(as.began)}
}

// publish sends a message of the roster, unless another node may have the name. One that is lost is made good for by the
// next beats.
func (l *link) publish(subject string, m message) {
	if m.Kind != "hello" && m.Kind != "bye" && l.isSilent() {
		return
	}
	m.From = l.sender()
	data, err := json.Marshal(m)
	if err == nil {
		err = l.nats.Publish(subject, data)
	}
	if err != nil {
		l.counts.add(m.Kind, dropped)
		return
	}
	l.counts.add(m.Kind, sent)
}

// run keeps the roster until the link is closed.
func (l *link) run() {
	defer close(l.over)
	ticker := time.NewTicker(gatherFor)
	defer ticker.Stop()
	var beat, ticked time.Time
	for {
		select {
		case m := <-l.messages:
			l.guarded("a message came", func() { l.handle(m) })
		case <-ticker.C:
			now := time.Now()
			if late := now.Sub(ticked); !ticked.IsZero() && late > beatEvery { // the process has been stopped for a while
				l.guarded("it went on", func() { l.forgive(now, late) })
			}
			ticked = now
			if l.server != nil && now.Sub(beat) >= beatEvery {
				l.server.renew()
			}
			l.guarded("it was time", func() {
				l.warnUnreachable(now)
				l.claimName(now)
				l.announceChanges()
				if now.Sub(beat) >= beatEvery {
					beat = now
					l.beat(now)
				}
			})
		case <-l.ctx.Done():
			return
		}
	}
}

func (l *link) guarded(what string, f func()) {
	defer recovered(l.logger, what)
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

func (l *link) handle(m *nats.Msg) {
	if m.Reply != "" { // a hello
		if data, err := json.Marshal(message{Kind: "hello", From: l.sender()}); err == nil && !l.isOutranked() {
			_ = m.Respond(data)
		}
		return
	}
	l.receive(m.Data, m.Subject)
}

// announceChanges announces what has changed since it was called last.
func (l *link) announceChanges() {
	if g := l.current(); g != nil && g.hasChanged() {
		l.announce()
	}
}

// beat says that the node is there, and sees who no longer is.
func (l *link) beat(now time.Time) {
	for _, n := range l.nodes {
		if now.Sub(n.seen) > silentFor {
			l.forget(n, fmt.Sprintf("it has been silent for %v", silentFor))
		}
	}
	if len(l.started) > 0 {
		l.publish(l.subject("roster"), message{Kind: "beat", Digest: digestOfAll(l.announced.digests())})
	}
}

// forgive counts silence from now on.
func (l *link) forgive(now time.Time, late time.Duration) {
	l.logger.Warn("this process was stopped for a while", zap.Duration("for", late), zap.String("hint", "other nodes took it for gone; their guests, and its own, are back soon"))
	for _, n := range l.nodes {
		n.seen = now
	}
}

// current returns the config whose guests are announced, nil if there is none.
func (l *link) current() *generation {
	if len(l.started) == 0 {
		return nil
	}
	return l.started[len(l.started)-1]
}

// emit emits an event about a node, after those before it.
func (l *link) emit(event string, n *node) {
	if g := l.current(); g != nil {
		data := map[string]any{"node": n.Node, "address": n.Address}
		before, emitted := l.emitted, make(chan struct{})
		l.emitted = emitted
		go func() {
			defer close(emitted)
			defer recovered(l.logger, "an event was emitted")
			if before != nil {
				<-before
			}
			g.emit(event, data)
		}()
	}
}

// Destruct says good-bye, and ends the link with the last config that uses it. Asks of others that are under way are told
// that the guest is gone: the node may have another link. Those of this node have a while to be answered.
func (l *link) Destruct() error {
	l.end()
	if l.nats == nil { // it has never been open, as when a config is only validated
		return nil
	}
	<-l.over
	l.serving.wait()
	for began := time.Now(); l.asking.Load() > 0 && time.Since(began) < endsWithin; {
		time.Sleep(10 * time.Millisecond)
	}
	if l.nats.IsConnected() {
		l.handBack()
		l.publish(l.subject("roster"), message{Kind: "bye"})
		_ = l.nats.FlushTimeout(time.Second)
	}
	return l.close()
}

func (l *link) close() (err error) {
	l.end()
	l.serving.wait()
	if l.nats != nil {
		l.nats.Close()
	}
	if l.server != nil {
		err = l.server.release(l.settings)
	}
	return err
}

// ErrNotConnected is why no guest of another node can be asked.
var errNotConnected = errors.New("the trunk is not connected to NATS")

func natsError(c *nats.Conn) error {
	return fmt.Errorf("%w: %w", errNotConnected, cmp.Or(c.LastError(), errors.New("no server answers")))
}
