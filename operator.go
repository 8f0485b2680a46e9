// Copyright 2026 The wsgi_party Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

package wsgiparty

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"unique"
)

// Handler answers what a guest is asked under a service. The context is the
// asker's and knows which asks led here: a handler that asks around in turn
// passes it on. Returning ErrHighAndDry, possibly wrapped, declines; any other
// error, or a panic, is this guest's failure and nobody else's.
//
// A handler may be called from several goroutines at once, and with a payload
// that other handlers are given too: it must not modify it.
type Handler func(ctx context.Context, payload any) (answer any, err error)

// Options configure a Partyline.
type Options struct {
	// IgnoreMissingServices makes an ask for a service nobody is connected
	// under return no answers instead of a *NoSuchServiceError.
	IgnoreMissingServices bool
}

// Partyline is a switchboard: guests connect handlers under the names of
// services, and ask each other's handlers. All its methods, and those of its
// operators, may be called from any goroutine at any time, handlers included.
type Partyline struct {
	name                  string
	ignoreMissingServices atomic.Bool
	observer              observer // may be nil; set before the partyline is shared

	mu       sync.Mutex // serializes connecting and leaving; asking never takes it
	services sync.Map   // of service name to *service; written with mu held
}

// observer is told of every ask while it is observing. The error concerns the
// ask as a whole.
type observer interface {
	observing() bool
	begin(guest, service string) (asked func(answered, declined, failed int, err error))
}

// observing returns the observer if it is to be told of an ask, else nil.
func (p *Partyline) observing() observer {
	if p.observer != nil && p.observer.observing() {
		return p.observer
	}
	return nil
}

// NewPartyline returns a partyline with nobody on it. The name is only a label.
func NewPartyline(name string, opts Options) *Partyline {
	p := &Partyline{name: name}
	p.ignoreMissingServices.Store(opts.IgnoreMissingServices)
	return p
}

// Name returns the name the partyline was made with.
func (p *Partyline) Name() string { return p.name }

// Operator returns a new operator for the guest. Operators with the same guest
// name are replicas of one guest: for each service, only the one that connected
// to it first and has not left is asked. With an empty name it is the operator
// of a caller that is no guest: it cannot connect, and asks everyone.
func (p *Partyline) Operator(guest string) *Operator {
	o := &Operator{partyline: p}
	if guest != "" {
		o.guest = unique.Make(guest)
	}
	return o
}

// Services returns the names of the services somebody is connected under, each
// with its guests in the order in which they are asked. The map is a copy.
func (p *Partyline) Services() map[string][]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	services := make(map[string][]string)
	p.services.Range(func(name, s any) bool {
		var guests []string
		seen := make(map[unique.Handle[string]]struct{})
		for _, c := range s.(*service).load() {
			if _, ok := seen[c.guest]; !ok {
				seen[c.guest] = struct{}{}
				guests = append(guests, c.guest.Value())
			}
		}
		services[name.(string)] = guests
		return true
	})
	return services
}

// service is everyone who is connected under one name.
type service struct {
	partyline *Partyline
	name      string

	// connections is whom to ask, in order. What was stored is never changed;
	// a longer slice may share its array.
	connections atomic.Pointer[[]connection]

	// Guarded by Partyline.mu:
	presences map[unique.Handle[string]][]*presence // of each guest, in the order they connected; the first is asked
	lastPlace uint64
}

type connection struct {
	guest   unique.Handle[string]
	handler Handler
	remote  bool
}

// presence is what one operator has connected under one service.
type presence struct {
	connections []connection
	places      []uint64 // where each connection stands in the service's order
}

func (s *service) load() []connection {
	if connections := s.connections.Load(); connections != nil {
		return *connections
	}
	return nil
}

func (s *service) add(guest unique.Handle[string], p *presence, c connection) {
	s.lastPlace++
	p.connections = append(p.connections, c)
	p.places = append(p.places, s.lastPlace)
	if s.presences[guest][0] == p {
		connections := append(s.load(), c)
		s.connections.Store(&connections)
	}
}

// remove takes p out of the service. If p was the one being asked, the guest's
// next presence takes its places, but for those where it was earlier itself.
func (s *service) remove(guest unique.Handle[string], p *presence) {
	presences := s.presences[guest]
	i := slices.Index(presences, p)
	presences = slices.Delete(presences, i, i+1)
	if len(presences) == 0 {
		delete(s.presences, guest)
	} else {
		s.presences[guest] = presences
	}
	if i != 0 {
		return
	}
	if len(presences) == 0 {
		connections := slices.DeleteFunc(slices.Clone(s.load()), func(c connection) bool { return c.guest == guest })
		s.connections.Store(&connections)
	} else {
		for i := range min(len(presences[0].places), len(p.places)) {
			presences[0].places[i] = min(presences[0].places[i], p.places[i])
		}
		s.rebuild()
	}
}

// rebuild makes connections anew from the presences.
func (s *service) rebuild() {
	type placed struct {
		connection
		place uint64
	}
	var all []placed
	for _, presences := range s.presences {
		for i, c := range presences[0].connections {
			all = append(all, placed{c, presences[0].places[i]})
		}
	}
	slices.SortFunc(all, func(a, b placed) int { return cmp.Compare(a.place, b.place) })
	connections := make([]connection, len(all))
	for i, c := range all {
		connections[i] = c.connection
	}
	s.connections.Store(&connections)
}

// Operator is a guest's handle on the partyline. A nil Operator, which an
// application has that was not invited, belongs to no guest and no partyline:
// connecting and asking through it is an error that says so.
type Operator struct {
	partyline *Partyline
	guest     unique.Handle[string] // zero for a caller that is no guest

	// Guarded by partyline.mu:
	presences map[string]*presence // by service
	left      bool
}

// Guest returns the guest's name, empty for a caller that is no guest.
func (o *Operator) Guest() string {
	if o == nil {
		return ""
	}
	return guestName(o.guest)
}

// noGuest is in place of the name of a caller that is no guest.
var noGuest unique.Handle[string]

func guestName(guest unique.Handle[string]) string {
	if guest == noGuest {
		return ""
	}
	return guest.Value()
}

// String returns the guest's name, so that Caddy prints and matches the
// request variable that holds an operator as that name.
func (o *Operator) String() string { return o.Guest() }

// Partyline returns the partyline the operator belongs to.
func (o *Operator) Partyline() *Partyline {
	if o == nil {
		return nil
	}
	return o.partyline
}

// Connect connects a handler under a service, behind all that are connected
// already. A service can have many handlers, of one guest or of several. It
// returns an error for an empty service name, a nil handler or an operator
// without a guest name, and ErrLeft after Leave.
func (o *Operator) Connect(service string, h Handler) error {
	return o.connect(service, h, false)
}

// ConnectRemote is Connect for a handler that waits on something outside this
// process. Remote handlers are started together, each in its own goroutine,
// when an ask reaches the first of them; their replies still come in the order
// in which they were connected. The handler must return soon after its context
// has ended.
func (o *Operator) ConnectRemote(service string, h Handler) error {
	return o.connect(service, h, true)
}

func (o *Operator) connect(name string, h Handler, remote bool) error {
	switch {
	case o == nil:
		return errNoOperator
	case o.guest == noGuest:
		return &partylineError{"connecting needs a guest name: this operator can only ask"}
	case name == "":
		return &partylineError{fmt.Sprintf("guest %q connects a handler under a service without a name", o.Guest())}
	case h == nil:
		return &partylineError{fmt.Sprintf("the handler that guest %q connects under service %q is nil", o.Guest(), name)}
	}
	p := o.partyline
	p.mu.Lock()
	defer p.mu.Unlock()
	if o.left {
		return ErrLeft
	}
	loaded, ok := p.services.Load(name)
	if !ok {
		loaded = &service{partyline: p, name: name, presences: make(map[unique.Handle[string]][]*presence)}
		p.services.Store(name, loaded)
	}
	s := loaded.(*service)
	own, ok := o.presences[name]
	if !ok {
		own = new(presence)
		if o.presences == nil {
			o.presences = make(map[string]*presence)
		}
		o.presences[name] = own
		s.presences[o.guest] = append(s.presences[o.guest], own)
	}
	s.add(o.guest, own, connection{guest: o.guest, handler: h, remote: remote})
	return nil
}

// Leave disconnects the operator's handlers. Asks under way may still call
// them. Afterwards the operator can ask, but not connect. Leaving twice does
// nothing.
func (o *Operator) Leave() {
	if o == nil {
		return
	}
	p := o.partyline
	p.mu.Lock()
	defer p.mu.Unlock()
	o.left = true
	for name, own := range o.presences {
		loaded, _ := p.services.Load(name)
		s := loaded.(*service)
		s.remove(o.guest, own)
		if len(s.presences) == 0 {
			p.services.Delete(name)
		}
	}
	o.presences = nil
}

// services returns the names of the services the operator is connected under.
func (o *Operator) services() []string {
	o.partyline.mu.Lock()
	defer o.partyline.mu.Unlock()
	names := make([]string, 0, len(o.presences))
	for name := range o.presences {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Reply is what one handler made of an ask.
type Reply struct {
	// Guest is who replied, empty where Err concerns the ask as a whole.
	Guest string

	// Answer is the answer, nil if Err is not.
	Answer any

	// Err is nil for an answer, ErrHighAndDry if the handler declined, and
	// its *HandlerError if it failed. In the last reply of an ask it may be a
	// *NoSuchServiceError, ErrLoop, or the context's error.
	Err error
}

// AskAround calls the handlers that every other guest has connected under the
// service, one after the other in the order they were connected, and returns
// their answers in that order. Handlers that decline are skipped. The error
// joins the *HandlerError of each handler that failed and, if ctx ended before
// everybody was asked, its error; the answers that were given are returned
// with it. If nobody is connected under the service, it is a
// *NoSuchServiceError, unless the partyline ignores missing services.
//
// Asking takes no lock, sees the connections as they were when it began, and
// allocates once for up to 16 handlers or four answers, twice beyond.
func (o *Operator) AskAround(ctx context.Context, service string, payload any) ([]any, error) {
	s, connections, err := o.lookup(service)
	if len(connections) == 0 {
		return nil, err
	}
	a, answers := newAsk(len(connections))
	a.Context, a.guest, a.service = ctx, o.guest, s
	var failures []error
	err = a.around(connections, payload, &answers, func(_ unique.Handle[string], _ any, err error) bool {
		if err != ErrHighAndDry {
			failures = append(failures, err)
		}
		return true
	})
	return answers, joined(failures, err)
}

// newAsk returns an ask, allocated together with room for some answers: for those
// of up to 16 guests, or of the few among many that do not decline.
func newAsk(guests int) (*ask, []any) {
	if guests > 4 && guests <= 16 {
		a := new(struct {
			ask
			answers [16]any
		})
		return &a.ask, a.answers[:0]
	}
	a := new(struct {
		ask
		answers [4]any
	})
	return &a.ask, a.answers[:0]
}

// Replies is AskAround one reply at a time: each handler is called when the
// loop asks for the next reply. Breaking out of the loop asks nobody else and
// cancels the context of remote handlers under way. An error that concerns the
// ask as a whole comes as the last reply.
func (o *Operator) Replies(ctx context.Context, service string, payload any) iter.Seq[Reply] {
	return func(yield func(Reply) bool) { o.replies(ctx, service, payload, yield) }
}

func (o *Operator) replies(ctx context.Context, service string, payload any, yield func(Reply) bool) {
	more := true
	err := o.each(ctx, service, payload, func(guest unique.Handle[string], answer any, err error) bool {
		more = yield(Reply{Guest: guest.Value(), Answer: answer, Err: err})
		return more
	})
	if err != nil && more {
		yield(Reply{Err: err})
	}
}

// joined joins the failures of handlers and the error of the ask as a whole.
func joined(failures []error, err error) error {
	if len(failures) == 0 {
		return err
	}
	return errors.Join(append(failures, err)...)
}

// lookup returns a service and who is connected under it, or, with nobody, the
// error that says so.
func (o *Operator) lookup(name string) (*service, []connection, error) {
	if o == nil {
		return nil, nil, errNoOperator
	}
	if loaded, ok := o.partyline.services.Load(name); ok {
		s := loaded.(*service)
		if connections := s.load(); len(connections) > 0 {
			return s, connections, nil
		}
	}
	var err error
	if !o.partyline.ignoreMissingServices.Load() {
		err = &NoSuchServiceError{Party: o.partyline.name, Service: name}
	}
	if observer := o.partyline.observing(); observer != nil {
		observer.begin(o.Guest(), name)(0, 0, 0, err)
	}
	return nil, nil, err
}

// each calls yield with every reply until it returns false. The error concerns
// the ask as a whole.
func (o *Operator) each(ctx context.Context, service string, payload any, yield yieldFunc) error {
	s, connections, err := o.lookup(service)
	if len(connections) == 0 {
		return err
	}
	a := &ask{Context: ctx, guest: o.guest, service: s}
	return a.around(connections, payload, nil, yield)
}

// yieldFunc takes a reply - the error is nil, ErrHighAndDry itself or a
// *HandlerError - and says whether to go on.
type yieldFunc func(guest unique.Handle[string], answer any, err error) bool

// maxDepth is how many asks may be nested. It only has to end what the skipping
// of guests does not, long before Go's stack overflows, which cannot be
// recovered from.
const maxDepth = 32

// ask is one asking around, and the context that handlers are called with.
type ask struct {
	context.Context
	guest   unique.Handle[string] // who asks
	service *service
	looped  atomic.Bool // in the outermost ask: one below it was nested too deep
}

// askKey is the context key of the innermost ask.
type askKey struct{}

// Value makes handlers' contexts know which ask they are called by.
func (a *ask) Value(key any) any {
	if key == (askKey{}) {
		return a
	}
	return a.Context.Value(key)
}

// askOf returns the ask whose handler was called with ctx, if any.
func askOf(ctx context.Context) *ask {
	a, _ := ctx.Value(askKey{}).(*ask)
	return a
}

// maxAsking is how many asks for one service may be under way in one call for a
// guest's ask still to call handlers. It bounds a miss among n guests to n² calls.
const maxAsking = 2

// skipped are the guests an ask does not call: the one that asks, and those
// further up that are asking for the same service already.
type skipped [1 + maxAsking]unique.Handle[string]

func (s *skipped) has(guest unique.Handle[string]) bool {
	return guest == s[0] || guest == s[1] || guest == s[2]
}

// around calls the handlers of connections. It appends their answers to answers,
// if that is not nil, and yields all other replies.
func (a *ask) around(connections []connection, payload any, answers *[]any, yield yieldFunc) error {
	c := calls{ask: a, connections: connections, payload: payload, skipped: skipped{a.guest}}
	if up := askOf(a.Context); up != nil {
		if askNobody, err := c.skipAsking(up); askNobody {
			c.connections, c.ended = nil, err
		}
	}
	if observer := a.service.partyline.observing(); observer != nil {
		return c.observed(observer, answers, yield)
	}
	return c.all(answers, yield)
}

// calls are the calls to handlers that one ask makes.
type calls struct {
	*ask
	connections []connection
	payload     any
	skipped     skipped
	next        int   // the connection to call next
	panicked    error // how the one before failed, if it did with a panic
	ended       error // why not everybody was asked: the context's error, or ErrLoop
	remote      remoteAsks
}

// skipAsking finds the guests further up that are asking for this service. It
// returns true if this ask is so deep that nobody is to be asked.
func (c *calls) skipAsking(up *ask) (askNobody bool, err error) {
	depth, asking, guests := 1, 0, 0
	var outermost *ask
	for ; up != nil; up = askOf(up.Context) {
		depth++
		outermost = up
		if up.service.name != c.service.name || up.service.partyline != c.service.partyline {
			continue
		}
		asking++
		if up.guest != noGuest { // at most maxAsking, see below
			guests++
			c.skipped[guests] = up.guest
		}
	}
	if depth > maxDepth {
		outermost.looped.Store(true)
		return true, ErrLoop
	}
	if asking > 0 && outermost.looped.Load() { // else a circle of many goes on for ever
		return true, ErrLoop
	}
	return asking >= maxAsking && c.guest != noGuest, nil
}

// observed is all, counting the replies for the observer.
func (c *calls) observed(observer observer, answers *[]any, yield yieldFunc) (err error) {
	var answered, declined, failed int
	asked := observer.begin(guestName(c.guest), c.service.name)
	defer func() {
		if answers != nil {
			answered = len(*answers)
		}
		asked(answered, declined, failed, err)
	}()
	return c.all(answers, func(guest unique.Handle[string], answer any, err error) bool {
		switch err {
		case nil:
			answered++
		case ErrHighAndDry:
			declined++
		default:
			failed++
		}
		return yield(guest, answer, err)
	})
}

func (c *calls) all(answers *[]any, yield yieldFunc) error {
	for {
		if done, err := c.untilPanic(answers, yield); done {
			return err
		}
	}
}

// untilPanic calls handlers until one panics, or it is done: recovering once for
// many handlers is what makes it cheap.
func (c *calls) untilPanic(answers *[]any, yield yieldFunc) (done bool, err error) {
	calling := false
	defer func() {
		if calling { // else a panic is yield's, the asker's own
			if value := recover(); value != nil {
				c.panicked = newPanicError(value)
				return
			}
		}
		c.remote.cancel()
	}()
	if c.panicked != nil {
		guest := c.connections[c.next].guest
		c.next++
		if !yield(guest, nil, c.failed(guest, c.panicked)) {
			return true, nil
		}
	}
	for ; c.next < len(c.connections); c.next++ {
		connection := &c.connections[c.next]
		if c.skipped.has(connection.guest) {
			continue
		}
		var answer any
		var err error
		if ended := c.Err(); ended != nil && !c.remote.started(connection) {
			c.ended = ended
			continue
		}
		if connection.remote {
			var replied bool
			if answer, err, replied = c.remote.await(c); !replied {
				c.ended = c.Err()
				continue
			}
		} else {
			calling = true
			answer, err = connection.handler(c.ask, c.payload)
			calling = false
		}
		if err != nil {
			calling = true // the error's own methods
			answer, err = nil, c.failed(connection.guest, err)
			calling = false
		} else if answers != nil {
			if len(*answers) == cap(*answers) {
				*answers = append(make([]any, 0, len(c.connections)), *answers...)
			}
			*answers = append(*answers, answer)
			continue
		}
		if !yield(connection.guest, answer, err) {
			return true, nil
		}
	}
	return true, c.ended
}

// failed returns ErrHighAndDry itself if err declines, else the *HandlerError.
func (a *ask) failed(guest unique.Handle[string], err error) error {
	if err == ErrHighAndDry || errors.Is(err, ErrHighAndDry) {
		return ErrHighAndDry
	}
	return &HandlerError{Guest: guest.Value(), Service: a.service.name, Err: err}
}

// remoteAsks are the remote handlers of one ask, started when the first of them
// is reached.
type remoteAsks struct {
	first   int
	replies []chan remoteReply // of connections[first:]; nil where none is to come
	stop    context.CancelFunc
}

type remoteReply struct {
	answer any
	err    error
}

// errExited is the failure of a remote handler that called runtime.Goexit.
var errExited = errors.New("the handler ended its goroutine")

func (r *remoteAsks) cancel() {
	if r.stop != nil {
		r.stop()
	}
}

// started reports whether the connection's handler may have replied already.
func (r *remoteAsks) started(c *connection) bool { return c.remote && r.stop != nil }

// await returns the reply of the next connection, or false if the context ended
// first.
func (r *remoteAsks) await(c *calls) (any, error, bool) {
	if r.stop == nil {
		r.start(c)
	}
	replied := r.replies[c.next-r.first]
	select {
	case reply := <-replied:
		return reply.answer, reply.err, true
	case <-c.Done():
	}
	select {
	case reply := <-replied:
		return reply.answer, reply.err, true
	default:
		return nil, nil, false
	}
}

func (r *remoteAsks) start(c *calls) {
	ctx, stop := context.WithCancel(c.ask)
	payload := c.payload
	r.first, r.stop = c.next, stop
	r.replies = make([]chan remoteReply, len(c.connections)-r.first)
	for i, connection := range c.connections[r.first:] {
		if !connection.remote || c.skipped.has(connection.guest) {
			continue
		}
		replied := make(chan remoteReply, 1) // so that nobody need wait for it
		r.replies[i] = replied
		go func() {
			reply := remoteReply{err: errExited}
			defer func() {
				if value := recover(); value != nil {
					reply = remoteReply{err: newPanicError(value)}
				}
				replied <- reply
			}()
			reply.answer, reply.err = connection.handler(ctx, payload)
		}()
	}
}

// All is AskAround for answers of type T. An answer that is no T is its guest's
// *HandlerError naming both types; a json.RawMessage that is no T is decoded into
// one.
func All[T any](ctx context.Context, o *Operator, service string, payload any) ([]T, error) {
	var answers []T
	var failures []error
	err := o.each(ctx, service, payload, func(guest unique.Handle[string], answer any, err error) bool {
		if err == nil {
			var typed T
			if typed, err = answerAs[T](guest, service, answer); err == nil {
				answers = append(answers, typed)
				return true
			}
		}
		if err != ErrHighAndDry {
			failures = append(failures, err)
		}
		return true
	})
	return answers, joined(failures, err)
}

// First returns the first answer of type T and asks nobody after that. Without
// one it returns what failed, joined, as AskAround does - an answer that is no
// T among it - or ErrHighAndDry if nothing did.
func First[T any](ctx context.Context, o *Operator, service string, payload any) (T, error) {
	var first T
	var failures []error
	found := false
	err := o.each(ctx, service, payload, func(guest unique.Handle[string], answer any, err error) bool {
		if err == nil {
			if first, err = answerAs[T](guest, service, answer); err == nil {
				found = true
				return false
			}
		}
		if err != ErrHighAndDry {
			failures = append(failures, err)
		}
		return true
	})
	if found {
		return first, nil
	}
	if err := joined(failures, err); err != nil {
		return first, err
	}
	return first, ErrHighAndDry
}

// answerAs returns the answer as a T, or the guest's *HandlerError.
func answerAs[T any](guest unique.Handle[string], service string, answer any) (T, error) {
	if typed, ok := answer.(T); ok {
		return typed, nil
	}
	typed, err := decodeAnswer[T](answer)
	if err != nil {
		return typed, &HandlerError{Guest: guest.Value(), Service: service, Err: err}
	}
	return typed, nil
}

// decodeAnswer is apart from answerAs because the variable it decodes into is
// allocated.
func decodeAnswer[T any](answer any) (typed T, err error) {
	want := reflect.TypeFor[T]()
	switch answer := answer.(type) {
	case nil:
		if want.Kind() == reflect.Interface {
			return typed, nil
		}
	case json.RawMessage:
		if err := json.Unmarshal(answer, &typed); err != nil {
			var none T
			return none, fmt.Errorf("the answer is a json.RawMessage that does not decode into a %v: %w", want, err)
		}
		return typed, nil
	}
	return typed, fmt.Errorf("the answer is a %T, not a %v", answer, want)
}

// PayloadAs returns a handler's payload as a T: as it is if it is one, else by
// way of JSON, where no payload is null. The error names both types.
func PayloadAs[T any](payload any) (T, error) {
	if typed, ok := payload.(T); ok {
		return typed, nil
	}
	return decodePayload[T](payload)
}

func decodePayload[T any](payload any) (typed T, err error) {
	encoded, err := json.Marshal(payload)
	if err == nil {
		err = json.Unmarshal(encoded, &typed)
	}
	if err != nil {
		var none T
		return none, fmt.Errorf("the payload is a %T, which does not convert to a %v: %w", payload, reflect.TypeFor[T](), err)
	}
	return typed, nil
}
