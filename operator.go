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
	"maps"
	"math"
	"math/bits"
	"reflect"
	"runtime"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"
	"unique"
	"unsafe"
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
	ledger                *ledger
	observer              observer                              // may be nil; set before the partyline is shared
	carry                 func(context.Context) context.Context // makes the context of an ask's remote handlers; may be nil; set before, too
	origins               sync.Map                              // of scheme and host, to nil: where guests' URLs may lead

	ranks     atomic.Pointer[map[string]ranked]                            // of the guests that are asked before all others
	addressee func(service string) func(payload any) unique.Handle[string] // whom alone to ask, by service and payload; may be nil; set before, too

	mu        sync.Mutex // serializes connecting and leaving; asking never takes it
	services  sync.Map   // of service name to *service; written with mu held
	guests    map[unique.Handle[string]]*presentGuest
	lastPlace uint64
	reserved  map[reservation]uint64 // places in the order of services
}

// reservation is of a guest's place in the order of a service.
type reservation struct {
	guest   unique.Handle[string]
	service string
}

// presentGuest is a guest on the line.
type presentGuest struct {
	operators map[*Operator]struct{}
	announced bool // one of them has joined, and not just connected something
	joined    time.Time
}

// services returns the names of the services the guest is connected under, in
// alphabetical order. The partyline must be locked.
func (g *presentGuest) services() []string {
	var services []string
	for o := range g.operators {
		services = slices.AppendSeq(services, maps.Keys(o.presences))
	}
	slices.Sort(services)
	return slices.Compact(services)
}

// observer is told what happens on the line.
type observer interface {
	// observing reports whether begin is to be called for every ask.
	observing() bool
	begin(guest, service string) (asked func(answered, declined, failed int, err error))

	// joined and left are called, with the partyline locked, when the first
	// operator of a guest joins, and when its last one leaves after that.
	joined(guest string)
	left(guest string, services []string)
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
	return newPartyline(name, opts, new(ledger))
}

func newPartyline(name string, opts Options, ledger *ledger) *Partyline {
	p := &Partyline{name: name, ledger: ledger, guests: make(map[unique.Handle[string]]*presentGuest)}
	p.ignoreMissingServices.Store(opts.IgnoreMissingServices)
	return p
}

// Name returns the name the partyline was made with.
func (p *Partyline) Name() string { return p.name }

// GuestInfo is what a partyline knows of a guest.
type GuestInfo struct {
	// Name is the guest's.
	Name string

	// Services are those it is connected under, in alphabetical order.
	Services []string

	// Replicas is how many operators of this guest are on the line.
	Replicas int

	// Joined is since when the guest has been on the line.
	Joined time.Time
}

// Guests returns who is on the line: the guests that have joined, or connected
// something, and have not left. They are in alphabetical order.
func (p *Partyline) Guests() []GuestInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	guests := make([]GuestInfo, 0, len(p.guests))
	for guest, present := range p.guests {
		guests = append(guests, GuestInfo{guest.Value(), present.services(), len(present.operators), present.joined})
	}
	slices.SortFunc(guests, func(a, b GuestInfo) int { return cmp.Compare(a.Name, b.Name) })
	return guests
}

// servicesOf returns the names of the services a guest is connected under, in
// alphabetical order.
func (p *Partyline) servicesOf(guest string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if present, ok := p.guests[unique.Make(guest)]; ok {
		return present.services()
	}
	return nil
}

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
		for _, c := range s.(*service).load().connections {
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
	tally     *serviceTally
	addressee func(payload any) unique.Handle[string] // may be nil

	// order is whom to ask. What was stored is never changed; a longer slice of
	// connections may share its array.
	order atomic.Pointer[order]

	// Guarded by Partyline.mu:
	presences map[unique.Handle[string]][]*presence // of each guest, in the order they connected; the first is asked
}

// order is whom to ask, one after the other.
type order struct {
	connections []connection
	row         atomic.Pointer[row] // nil until somebody asks
}

type connection struct {
	guest     unique.Handle[string]
	handler   Handler
	tally     *tally
	remote    bool
	addressed bool // called whomever an ask is addressed to
}

// rowOf returns the row that asks in this order are counted in.
func (o *order) rowOf(s *service) *row {
	if row := o.row.Load(); row != nil || s.partyline.ledger == nil {
		return row
	}
	return o.newRow(s)
}

func (o *order) newRow(s *service) *row {
	tallies := make([]*tally, len(o.connections))
	for i, c := range o.connections {
		if !c.remote {
			tallies[i] = c.tally
		}
	}
	added := newRow(s.partyline.ledger, s.tally, tallies)
	if !o.row.CompareAndSwap(nil, added) {
		return o.row.Load()
	}
	s.tally.add(added)
	runtime.AddCleanup(o, (*row).retire, added)
	return added
}

// presence is what one operator has connected under one service.
type presence struct {
	connections []connection
	places      []uint64 // where each connection stands in the service's order
}

// noConnections is the order of a service that has none yet.
var noConnections order

func (s *service) load() *order {
	if order := s.order.Load(); order != nil {
		return order
	}
	return &noConnections
}

func (s *service) add(p *presence, c connection) {
	place, reserved := s.partyline.reserved[reservation{c.guest, s.name}]
	if !reserved {
		place = s.partyline.nextPlace()
	}
	p.connections = append(p.connections, c)
	p.places = append(p.places, place)
	connections := s.load().connections
	rank := s.partyline.rankOf(c.guest)
	behind := func(i int) bool { return s.partyline.rankOf(connections[i].guest) > rank }
	switch n := len(connections); {
	case s.presences[c.guest][0] != p:
	case reserved:
		s.rebuild()
	case n > 0 && behind(n-1): // by far not always: appending copies nothing
		i := sort.Search(n, behind)
		s.order.Store(&order{connections: slices.Concat(connections[:i], []connection{c}, connections[i:])})
	default:
		s.order.Store(&order{connections: append(connections, c)})
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
		s.order.Store(&order{connections: slices.DeleteFunc(slices.Clone(s.load().connections), func(c connection) bool { return c.guest == guest })})
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
		rank  int
		place uint64
	}
	var all []placed
	for guest, presences := range s.presences {
		rank := s.partyline.rankOf(guest)
		for i, c := range presences[0].connections {
			all = append(all, placed{c, rank, presences[0].places[i]})
		}
	}
	slices.SortStableFunc(all, func(a, b placed) int { return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.place, b.place)) })
	connections := make([]connection, len(all))
	for i, c := range all {
		connections[i] = c.connection
	}
	s.order.Store(&order{connections: connections})
}

// Operator is a guest's handle on the partyline. A nil Operator, which an
// application has that was not invited, belongs to no guest and no partyline:
// connecting and asking through it is an error that says so.
type Operator struct {
	partyline *Partyline
	guest     unique.Handle[string] // zero for a caller that is no guest

	// Guarded by partyline.mu:
	presences map[string]*presence // by service
	onLine    bool
	left      bool

	stay func() bool // keeps the operator from leaving by itself; may be nil
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

// Connect connects a handler under a service. Guests that are invited are asked in the
// order of their invites, whenever they connect, and after them all others in the
// order in which they connect. A service can have many handlers, of one guest or of several. It
// returns an error for an empty service name, a nil handler or an operator
// without a guest name, and ErrLeft after Leave.
func (o *Operator) Connect(service string, h Handler) error {
	return o.connect(service, connection{handler: h})
}

// ConnectRemote is Connect for a handler that waits on something outside this
// process. Remote handlers are started together, each in its own goroutine,
// when an ask reaches the first of them; their replies still come in the order
// in which they were connected. The handler must return soon after its context
// has ended.
func (o *Operator) ConnectRemote(service string, h Handler) error {
	return o.connect(service, connection{handler: h, remote: true})
}

func (o *Operator) connect(name string, c connection) error {
	switch {
	case o == nil:
		return errNoOperator
	case o.guest == noGuest:
		return &partylineError{"connecting needs a guest name: this operator can only ask"}
	case name == "":
		return &partylineError{fmt.Sprintf("guest %q connects a handler under a service without a name", o.Guest())}
	case c.handler == nil:
		return &partylineError{fmt.Sprintf("the handler that guest %q connects under service %q is nil", o.Guest(), name)}
	}
	p := o.partyline
	p.mu.Lock()
	defer p.mu.Unlock()
	if o.left {
		return ErrLeft
	}
	var asks *serviceTally
	c.guest = o.guest
	c.tally, asks = p.ledger.tally(o.Guest(), name)
	loaded, ok := p.services.Load(name)
	if !ok {
		s := &service{partyline: p, name: name, tally: asks, presences: make(map[unique.Handle[string]][]*presence)}
		if p.addressee != nil {
			s.addressee = p.addressee(name)
		}
		loaded = s
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
	s.add(own, c)
	o.arrive()
	return nil
}

// Reserve keeps a place in the order of a service, behind all that are connected
// already or have reserved one, for whatever the guest connects under it, also with
// other operators and after it has left. It returns an error for an operator
// without a guest name.
func (o *Operator) Reserve(service string) error {
	switch {
	case o == nil:
		return errNoOperator
	case o.guest == noGuest:
		return &partylineError{"reserving a place needs a guest name: this operator can only ask"}
	}
	p := o.partyline
	p.mu.Lock()
	defer p.mu.Unlock()
	r := reservation{o.guest, service}
	if _, ok := p.reserved[r]; ok {
		return nil
	}
	if p.reserved == nil {
		p.reserved = make(map[reservation]uint64)
	}
	p.reserved[r] = p.nextPlace()
	return nil
}

// ranked is a guest with its place among those that are asked before all others.
type ranked struct {
	guest unique.Handle[string]
	rank  int
}

// rank has these guests asked in this order, and all others behind them in the order
// in which they connect. A guest that is there twice has its first place.
func (p *Partyline) rank(guests []string) {
	ranks := make(map[string]ranked, len(guests))
	for i, guest := range guests {
		if _, ok := ranks[guest]; !ok {
			ranks[guest] = ranked{unique.Make(guest), i}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ranks.Store(&ranks)
	p.services.Range(func(_, s any) bool {
		s.(*service).rebuild()
		return true
	})
}

// rankedGuest returns the guest of that name, if it is one of those that have a rank.
func (p *Partyline) rankedGuest(name string) (ranked, bool) {
	ranks := p.ranks.Load()
	if ranks == nil {
		return ranked{}, false
	}
	guest, ok := (*ranks)[name]
	return guest, ok
}

func (p *Partyline) rankOf(guest unique.Handle[string]) int {
	if guest, ok := p.rankedGuest(guest.Value()); ok {
		return guest.rank
	}
	return math.MaxInt
}

// nextPlace returns the place behind all others. The partyline must be locked.
func (p *Partyline) nextPlace() uint64 {
	p.lastPlace++
	return p.lastPlace
}

// join puts the guest on the line, even if it connects nothing.
func (o *Operator) join() {
	o.partyline.mu.Lock()
	defer o.partyline.mu.Unlock()
	if o.left || o.guest == noGuest {
		return
	}
	guest := o.arrive()
	if !guest.announced && o.partyline.observer != nil {
		o.partyline.observer.joined(o.Guest())
	}
	guest.announced = true
}

// arrive is join with the partyline locked.
func (o *Operator) arrive() *presentGuest {
	guest, ok := o.partyline.guests[o.guest]
	if !ok {
		guest = &presentGuest{operators: make(map[*Operator]struct{}), joined: time.Now()}
		o.partyline.guests[o.guest] = guest
	}
	if !o.onLine {
		o.onLine = true
		guest.operators[o] = struct{}{}
	}
	return guest
}

// joined reports whether the operator is on the line.
func (o *Operator) joined() bool {
	o.partyline.mu.Lock()
	defer o.partyline.mu.Unlock()
	return o.onLine && !o.left
}

// Leave disconnects the operator's handlers. Asks under way may still call
// them. Afterwards the operator can ask, but not connect. Leaving twice does
// nothing.
func (o *Operator) Leave() {
	if o == nil {
		return
	}
	if o.stay != nil {
		o.stay()
	}
	p := o.partyline
	p.mu.Lock()
	defer p.mu.Unlock()
	if o.left {
		return
	}
	o.left = true
	services := slices.Sorted(maps.Keys(o.presences))
	for name, own := range o.presences {
		loaded, _ := p.services.Load(name)
		s := loaded.(*service)
		s.remove(o.guest, own)
		if len(s.presences) == 0 {
			p.services.Delete(name)
		}
	}
	o.presences = nil
	if !o.onLine {
		return
	}
	guest := p.guests[o.guest]
	if delete(guest.operators, o); len(guest.operators) > 0 {
		return
	}
	delete(p.guests, o.guest)
	if guest.announced && p.observer != nil {
		p.observer.left(o.Guest(), services)
	}
}

// services returns the names of the services the operator is connected under.
func (o *Operator) services() []string {
	o.partyline.mu.Lock()
	defer o.partyline.mu.Unlock()
	return slices.Sorted(maps.Keys(o.presences))
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

	// Duration is how long a remote handler took; zero for others.
	Duration time.Duration
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
	s, order, err := o.lookup(service)
	if order == nil {
		return nil, err
	}
	a, answers := newAsk(len(order.connections))
	a.Context, a.guest, a.service = ctx, o.guest, s
	var failures []error
	err = a.around(order, payload, &answers, func(_ unique.Handle[string], _ any, err error, _ time.Duration) bool {
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
	err := o.each(ctx, service, payload, func(guest unique.Handle[string], answer any, err error, took time.Duration) bool {
		more = yield(Reply{Guest: guest.Value(), Answer: answer, Err: err, Duration: took})
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

// lookup returns a service and whom to ask, or, if that is nobody, the error that
// says so.
func (o *Operator) lookup(name string) (*service, *order, error) {
	if o == nil {
		return nil, nil, errNoOperator
	}
	if loaded, ok := o.partyline.services.Load(name); ok {
		s := loaded.(*service)
		if order := s.load(); len(order.connections) > 0 {
			return s, order, nil
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

// remoteCalls returns how many handlers an ask calls at once that wait for something
// outside this process, those of the asker itself included.
func (p *Partyline) remoteCalls(name string, payload any) (n int) {
	loaded, ok := p.services.Load(name)
	if !ok {
		return 0
	}
	s := loaded.(*service)
	only := noGuest
	if s.addressee != nil {
		only = s.addressee(payload)
	}
	for _, c := range s.load().connections {
		if c.remote && (only == noGuest || only == c.guest || c.addressed) {
			n++
		}
	}
	return n
}

// waits reports whether an ask for the service waits for something outside this
// process.
func (p *Partyline) waits(name string) bool {
	loaded, ok := p.services.Load(name)
	return ok && slices.ContainsFunc(loaded.(*service).load().connections, func(c connection) bool { return c.remote })
}

// each calls yield with every reply until it returns false. The error concerns
// the ask as a whole.
func (o *Operator) each(ctx context.Context, service string, payload any, yield yieldFunc) error {
	s, order, err := o.lookup(service)
	if order == nil {
		return err
	}
	a := &ask{Context: ctx, guest: o.guest, service: s}
	return a.around(order, payload, nil, yield)
}

// yieldFunc takes a reply - the error is nil, ErrHighAndDry itself or a
// *HandlerError - and says whether to go on.
type yieldFunc func(guest unique.Handle[string], answer any, err error, took time.Duration) bool

// maxDepth is how many asks may be nested. It only has to end what the skipping
// of guests does not, long before Go's stack overflows, which cannot be
// recovered from.
const maxDepth = 32

// ask is one asking around, and the context that handlers are called with.
type ask struct {
	context.Context
	guest   unique.Handle[string] // who asks
	service *service
	nested  atomic.Pointer[call] // in the outermost ask: nil until one is nested in it
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

// maxAskers is how many guests may ask each other for one service in one call, each
// in turn.
const maxAskers = 8

// around calls the handlers in order. It appends their answers to answers, if that
// is not nil, and yields all other replies.
func (a *ask) around(order *order, payload any, answers *[]any, yield yieldFunc) error {
	c := calls{ask: a, order: order, connections: order.connections, payload: payload}
	if addressee := a.service.addressee; addressee != nil {
		c.only = addressee(payload)
	}
	if up := askOf(a.Context); up != nil {
		c.up = up
		if !c.nest() {
			c.connections, c.ended = nil, ErrLoop
		}
	}
	c.picky = c.only != noGuest || len(c.above) > 0
	if observer := a.service.partyline.observing(); observer != nil {
		return c.observe(observer, answers, yield)
	}
	return c.all(answers, yield)
}

// calls are the calls to handlers that one ask makes.
type calls struct {
	*ask
	up          *ask // whose handler asks; nil in the outermost ask
	order       *order
	connections []connection // the order's, or nobody
	payload     any
	above       []unique.Handle[string] // the guests further up that ask for this service, too
	only        unique.Handle[string]   // the one guest to ask; noGuest for all
	picky       bool                    // one of the two says whom to skip
	spending    *spending               // nil up to the second level
	next        int                     // the connection to call next
	panicked    error                   // how the one before failed, if it did with a panic
	ended       error                   // why not everybody was asked: the context's error, or ErrLoop
	remote      *remoteAsks             // nil until the first remote handler is reached

	part     int        // of the row, which is counted next
	outcome  rowOutcome // of the part
	observed *observed  // nil if nobody observes
}

// observed is what an observer is told.
type observed struct{ answered, declined, failed int }

// skips reports whether the connection is not called.
func (c *calls) skips(connection *connection) bool {
	return connection.guest == c.guest || c.picky && c.skipsOther(connection)
}

func (c *calls) skipsOther(connection *connection) bool {
	return slices.Contains(c.above, connection.guest) || c.only != noGuest && c.only != connection.guest && !connection.addressed
}

// observe is all, telling the observer what came of it.
func (c *calls) observe(observer observer, answers *[]any, yield yieldFunc) (err error) {
	o := new(observed)
	c.observed = o
	asked := observer.begin(guestName(c.guest), c.service.name)
	defer func() { asked(o.answered, o.declined, o.failed, err) }()
	return c.all(answers, yield)
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
			connection := &c.connections[c.next]
			c.note(connection, c.failure(connection.guest, errExited))
		}
		if c.remote != nil {
			c.remote.cancel()
		}
		c.end()
		c.count(min(c.next+1, len(c.connections)))
	}()
	if c.panicked != nil {
		connection := &c.connections[c.next]
		err := c.failure(connection.guest, c.panicked)
		c.note(connection, err)
		if !yield(connection.guest, nil, err, 0) {
			return true, nil
		}
		c.next++
	}
	connections := c.connections
	partEnd := (c.part + 1) * rowPart
	for i := c.next; i < len(connections); i++ {
		c.next = i
		if i == partEnd {
			c.count(i)
			c.part++
			c.outcome = rowOutcome{}
			partEnd += rowPart
		}
		connection := &connections[i]
		if c.skips(connection) {
			c.outcome.skipped |= 1 << (uint(i) % rowPart)
			continue
		}
		if ended := c.Err(); ended != nil && (c.remote == nil || !connection.remote) {
			c.ended = ended
			c.outcome.skipped |= c.bit()
			continue
		}
		if c.spending != nil && !connection.remote && !c.spending.spend() {
			c.ended = ErrLoop
			c.outcome.skipped |= c.bit()
			continue
		}
		if connection.remote {
			if !c.awaitRemote(connection, answers, yield) {
				return true, nil
			}
			continue
		}
		calling = true
		answer, err := connection.handler(c.ask, c.payload)
		switch {
		case err == nil:
			calling = false
			if answers != nil {
				if len(*answers) == cap(*answers) {
					c.grow(answers)
				}
				*answers = append(*answers, answer)
				continue
			}
		case declines(err):
			calling = false
			answer, err = nil, ErrHighAndDry
			c.outcome.declined |= c.bit()
		default:
			answer, err = nil, c.failure(connection.guest, err)
			calling = false
			c.note(connection, err)
		}
		if !yield(connection.guest, answer, err, 0) {
			return true, nil
		}
	}
	return true, c.ended
}

// grow makes room for the answers of all.
func (c *calls) grow(answers *[]any) {
	*answers = append(make([]any, 0, len(c.connections)), *answers...)
}

// awaitRemote waits for the remote connection's reply, and says whether to go on.
func (c *calls) awaitRemote(connection *connection, answers *[]any, yield yieldFunc) bool {
	reply, ended := c.await()
	if ended != nil {
		c.ended = ended
		c.outcome.skipped |= c.bit()
		return true
	}
	switch {
	case reply.err == nil && answers != nil:
		if len(*answers) == cap(*answers) {
			c.grow(answers)
		}
		*answers = append(*answers, reply.answer)
		return true
	case reply.err != nil:
		c.note(connection, reply.err)
	}
	return yield(connection.guest, reply.answer, reply.err, reply.took)
}

// bit is that of the connection to call next.
func (c *calls) bit() uint64 { return 1 << (c.next % rowPart) }

// note takes down that the connection's handler declined, or failed.
func (c *calls) note(connection *connection, err error) {
	if err == ErrHighAndDry {
		c.outcome.declined |= c.bit()
		return
	}
	c.outcome.failed |= c.bit()
	if !connection.remote {
		connection.tally.fail(err)
	}
}

// count counts what came of the part of the connections that ends there.
func (c *calls) count(end int) {
	o := &c.outcome
	o.reached = end - c.part*rowPart
	if row := c.order.rowOf(c.service); row != nil {
		row.count(c.part, o, uintptr(unsafe.Pointer(c.ask)))
	}
	runtime.KeepAlive(c.order) // or its row might be retired before
	if c.observed != nil {
		declined, failed := bits.OnesCount64(o.declined), bits.OnesCount64(o.failed)
		c.observed.answered += o.reached - bits.OnesCount64(o.skipped) - declined - failed
		c.observed.declined += declined
		c.observed.failed += failed
	}
}

// declines reports whether the error is ErrHighAndDry, which is mostly not wrapped.
func declines(err error) bool { return err == ErrHighAndDry || errors.Is(err, ErrHighAndDry) }

// failure returns ErrHighAndDry itself if err declines, else the *HandlerError.
func (a *ask) failure(guest unique.Handle[string], err error) error {
	if declines(err) {
		return ErrHighAndDry
	}
	if looped(err) {
		err = ErrLoop
	}
	return &HandlerError{Guest: guest.Value(), Service: a.service.name, Err: err}
}

// looped reports whether the error says nothing but that guests failed with ErrLoop. It
// would become as long as the loop.
func looped(err error) bool {
	switch err := err.(type) {
	case *HandlerError:
		return err.Err == ErrLoop
	case interface{ Unwrap() []error }:
		return !slices.ContainsFunc(err.Unwrap(), func(err error) bool { return !looped(err) })
	}
	return err == ErrLoop
}

// remoteAsks are the remote handlers of one ask, started when the first of them
// is reached.
type remoteAsks struct {
	first   int
	replies []chan remoteReply // of connections[first:]; nil where none is to come
	cancel  context.CancelFunc
}

type remoteReply struct {
	answer any
	err    error // ErrHighAndDry itself or a *HandlerError
	took   time.Duration
}

func (r *remoteReply) failed() bool { return r.err != nil && r.err != ErrHighAndDry }

// errExited is the failure of a handler that called runtime.Goexit.
var errExited = errors.New("the handler ended its goroutine")

// await returns the reply of the next connection, or why there is none: the context
// ended first, or nobody is called any more.
func (c *calls) await() (reply remoteReply, ended error) {
	if c.remote == nil {
		c.startRemote()
	}
	replied := c.remote.replies[c.next-c.remote.first]
	if replied == nil {
		return remoteReply{}, ErrLoop
	}
	select {
	case reply = <-replied:
	case <-c.Done():
		select {
		case reply = <-replied:
		default:
			return remoteReply{}, c.Err()
		}
	}
	if reply.failed() && c.Err() == context.Canceled {
		return remoteReply{}, context.Canceled
	}
	return reply, nil
}

func (c *calls) startRemote() {
	ctx := context.Context(c.ask)
	if carry := c.service.partyline.carry; carry != nil {
		ctx = carry(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	c.remote = &remoteAsks{c.next, make([]chan remoteReply, len(c.connections)-c.next), cancel}
	for i, connection := range c.connections[c.next:] {
		if !connection.remote || c.skips(&connection) || c.spending != nil && !c.spending.spend() {
			continue
		}
		replied := make(chan remoteReply, 1) // so that nobody need wait for it
		c.remote.replies[i] = replied
		go c.ask.callRemote(ctx, connection, c.payload, replied)
	}
}

func (a *ask) callRemote(ctx context.Context, connection connection, payload any, replied chan<- remoteReply) {
	connection.tally.ask()
	began := time.Now()
	reply, refused := remoteReply{err: a.failure(connection.guest, errExited)}, false
	defer func() {
		if value := recover(); value != nil {
			reply, refused = remoteReply{err: a.failure(connection.guest, newPanicError(value))}, false
		}
		reply.took = time.Since(began)
		if !reply.failed() || ctx.Err() != context.Canceled {
			connection.tally.reply(reply.took, reply.err, refused)
		} // else the asker has gone, which is nobody's failure
		replied <- reply
	}()
	answer, err := connection.handler(ctx, payload)
	if err != nil {
		answer, err = nil, a.failure(connection.guest, err)
		refused = errors.Is(err, ErrRefused) // by methods that may be the guest's own and panic
	}
	reply = remoteReply{answer: answer, err: err}
}

// All is AskAround for answers of type T. An answer that is no T is its guest's
// *HandlerError naming both types; a json.RawMessage that is no T is decoded into
// one.
func All[T any](ctx context.Context, o *Operator, service string, payload any) ([]T, error) {
	var answers []T
	var failures []error
	err := o.each(ctx, service, payload, func(guest unique.Handle[string], answer any, err error, _ time.Duration) bool {
		if err == nil {
			var typed T
			if typed, err = answerAs[T](answer); err == nil {
				answers = append(answers, typed)
				return true
			}
			err = &HandlerError{Guest: guest.Value(), Service: service, Err: err}
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
	return firstTaken[T](ctx, o, service, payload, nil)
}

// firstTaken is First for answers that a function, if it is not nil, changes or
// refuses.
func firstTaken[T any](ctx context.Context, o *Operator, service string, payload any, take func(T) (T, error)) (T, error) {
	var first T
	var failures []error
	found := false
	err := o.each(ctx, service, payload, func(guest unique.Handle[string], answer any, err error, _ time.Duration) bool {
		if err == nil {
			first, err = answerAs[T](answer)
			if err == nil && take != nil {
				first, err = take(first)
			}
			if err == nil {
				found = true
				return false
			}
			err = &HandlerError{Guest: guest.Value(), Service: service, Err: err}
		}
		if err != ErrHighAndDry {
			failures = append(failures, err)
		}
		return true
	})
	if found {
		return first, nil
	}
	var none T
	if err := joined(failures, err); err != nil {
		return none, err
	}
	return none, ErrHighAndDry
}

// answerAs returns the answer as a T.
func answerAs[T any](answer any) (T, error) {
	if typed, ok := answer.(T); ok {
		return typed, nil
	}
	return decodeAnswer[T](answer)
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
