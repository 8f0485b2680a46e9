// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package partytest is what the tests of all packages share: a Caddy to test, applications
// that may misbehave, keys, requests, and what came of them. It knows parties by the
// functions that a test package's TestMain gives it, so that each package may use it.
package partytest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// asker is what tests that know no package of parties do with an operator.
type asker interface {
	AskAround(ctx context.Context, service string, payload any) ([]any, error)
}

// An operator with handlers of type H, on a partyline L.
type operator[H, L any] interface {
	asker
	Connect(service string, h H) error
	Guest() string
	Leave()
	Partyline() L
}

// A partyline with operators of type O.
type partyline[O any] interface {
	Operator(guest string) O
	Services() map[string][]string
}

// known is what Main was told of parties.
var known struct {
	lookup     func(party string) (asker, bool)
	services   func(asker) map[string][]string
	join       func(ctx caddy.Context, party, guest string) (*Operator, error)
	invited    func(*http.Request) (*Operator, bool)
	highAndDry error
}

// Handler is the type of a handler, without its name.
type Handler = func(ctx context.Context, payload any) (answer any, err error)

// Main runs the tests of a package whose parties are found by lookup, and joined by join, and whose
// guests find their operator by operatorFrom. Caddy's folders are of these tests only.
func Main[O operator[H, L], H ~func(context.Context, any) (any, error), L partyline[O]](m *testing.M, lookup func(string) (O, bool),
	join func(ctx caddy.Context, party, guest string) (O, error), operatorFrom func(*http.Request) (O, bool), highAndDry error) {
	operator := func(o O) *Operator {
		return &Operator{o.Guest(), o.Partyline(), func(service string, h Handler) error { return o.Connect(service, h) }, o.Leave}
	}
	known.lookup = func(party string) (asker, bool) { return lookup(party) }
	known.services = func(a asker) map[string][]string { return a.(O).Partyline().Services() }
	known.join = func(ctx caddy.Context, party, guest string) (*Operator, error) {
		o, err := join(ctx, party, guest)
		if err != nil {
			return nil, err
		}
		return operator(o), nil
	}
	known.invited = func(r *http.Request) (*Operator, bool) {
		o, ok := operatorFrom(r)
		if !ok {
			return nil, false
		}
		return operator(o), true
	}
	known.highAndDry = highAndDry
	dir, err := os.MkdirTemp("", "wsgiparty")
	if err != nil {
		log.Fatal(err)
	}
	for _, variable := range []string{"HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
		os.Setenv(variable, dir)
	}
	caddy.DefaultStorage.Path = filepath.Join(dir, "storage")
	caddy.ConfigAutosavePath = filepath.Join(dir, "autosave.json")
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// Pong is a handler that answers "pong".
func Pong(context.Context, any) (any, error) { return "pong", nil }

// Answers is a handler that always answers that.
func Answers(answer any) Handler {
	return func(context.Context, any) (any, error) { return answer, nil }
}

// Fails is a handler that always fails.
func Fails(context.Context, any) (any, error) { return nil, errors.New("oh no") }

// Declines is a handler that always declines.
func Declines(context.Context, any) (any, error) {
	return nil, fmt.Errorf("not mine: %w", known.highAndDry)
}

// BadJSON is a value that makes its JSON itself.
type BadJSON func() ([]byte, error)

// MarshalJSON does that.
func (f BadJSON) MarshalJSON() ([]byte, error) { return f() }

// MaxDepth is how many asks may be nested.
const MaxDepth = 32

// Connect connects a handler.
func Connect[H any](t testing.TB, o interface{ Connect(string, H) error }, service string, h H) {
	t.Helper()
	if err := o.Connect(service, h); err != nil {
		t.Fatal(err)
	}
}

// ConnectRemote connects a remote handler.
func ConnectRemote[H any](t testing.TB, o interface{ ConnectRemote(string, H) error }, service string, h H) {
	t.Helper()
	if err := o.ConnectRemote(service, h); err != nil {
		t.Fatal(err)
	}
}

var freshParties atomic.Uint64

// FreshParty returns the name of a party for which nothing has been counted yet in
// this process.
func FreshParty() string { return fmt.Sprint("fresh", freshParties.Add(1)) }

// AwaitSelects waits until so many goroutines wait in a select of this function, as others have no way to see.
func AwaitSelects(t testing.TB, n int, function string) {
	t.Helper()
	isWaiting := regexp.MustCompile(`(?m)^goroutine \d+ \[select.*\n.*\.` + function + `\(`)
	Eventually(t, fmt.Sprint(n, " wait in ", function), func() bool {
		stacks := make([]byte, 16<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		return len(isWaiting.FindAll(stacks, -1)) == n
	})
}

func (c *Caddy) line(party string) asker {
	c.Helper()
	o, ok := known.lookup(party)
	if !ok {
		c.Fatalf("there is no party %q", party)
	}
	return o
}

// AskAround asks on the party as nobody.
func (c *Caddy) AskAround(party, service string, payload any) ([]any, error) {
	c.Helper()
	return c.line(party).AskAround(context.Background(), service, payload)
}

// ExpectAnswers fails the test unless asking around on the party gives them, or, for
// none, nobody is connected.
func (c *Caddy) ExpectAnswers(party, service string, want ...any) {
	c.Helper()
	answers, err := c.AskAround(party, service, nil)
	if err != nil && !(len(want) == 0 && len(known.services(c.line(party))[service]) == 0) {
		c.Error(err)
	}
	if !slices.Equal(answers, want) {
		c.Errorf("asking %s for %s: %v, want %v", party, service, answers, want)
	}
}

// ExpectJSONAnswers is ExpectAnswers for JSON.
func (c *Caddy) ExpectJSONAnswers(party, service string, want ...string) {
	c.Helper()
	answers, err := c.AskAround(party, service, nil)
	var got []string
	for _, answer := range answers {
		encoded, _ := json.Marshal(answer)
		got = append(got, string(encoded))
	}
	if err != nil || !slices.Equal(got, want) {
		c.Errorf("%s: %q %v, want %q", service, got, err, want)
	}
}

// Answered waits until an ask for the service gives answers, and returns them.
func (c *Caddy) Answered(party, service string, payload any) (answers []any) {
	c.Helper()
	Eventually(c, "answers to "+service, func() bool {
		answers, _ = c.AskAround(party, service, payload)
		return len(answers) > 0
	})
	return answers
}

// Connected waits until these guests, and no others, answer for the service.
func (c *Caddy) Connected(party, service string, guests ...string) {
	c.Helper()
	Eventually(c, fmt.Sprintf("%q answer for %s", guests, service), func() bool {
		return slices.Equal(slices.Sorted(slices.Values(known.services(c.line(party))[service])), guests)
	})
}

// Failure returns how the only guest of the service fails.
func (c *Caddy) Failure(party, service string, payload any) error {
	c.Helper()
	answers, err := c.AskAround(party, service, payload)
	if err == nil || len(answers) > 0 {
		c.Errorf("asking for %s with %v: answers %s, error %v, want a failure", service, payload, answers, err)
	}
	return err
}

// OperatorOf makes a function that returns the operator of the running config's party.
func OperatorOf[O any](lookup func(string) (O, bool)) func(t testing.TB, party string) O {
	return func(t testing.TB, party string) O {
		t.Helper()
		operator, ok := lookup(party)
		if !ok {
			t.Fatalf("there is no party %q", party)
		}
		return operator
	}
}

// ConnectMain makes a function that connects a handler under the service of the running config's
// party main.
func ConnectMain[O operator[H, L], H ~func(context.Context, any) (any, error), L partyline[O]](lookup func(string) (O, bool)) func(t testing.TB, guest, service string, h H) O {
	return func(t testing.TB, guest, service string, h H) O {
		t.Helper()
		o := OperatorOf(lookup)(t, "main").Partyline().Operator(guest)
		Connect(t, o, service, h)
		return o
	}
}

// Joins is the Provision of an application that joins the party and answers.
func Joins(party, guest, service string, answer any) func(caddy.Context) error {
	return func(ctx caddy.Context) error {
		operator, err := known.join(ctx, party, guest)
		if err != nil {
			return err
		}
		return operator.Connect(service, Answers(answer))
	}
}

// InvitesOf makes a function that returns what the running config's party knows of its invites, by
// guest, and may wait for each application to have answered. An I has Guest, Status and Err; what
// parties returns has Partyline and Invites.
func InvitesOf[I, P any](parties func() []P) func(t testing.TB, party string, wait bool) map[string]I {
	return func(t testing.TB, party string, wait bool) (invites map[string]I) {
		t.Helper()
		Eventually(t, "the applications answer their invites", func() bool {
			invites = make(map[string]I)
			for _, p := range parties() {
				info := reflect.ValueOf(p)
				if info.FieldByName("Partyline").Interface().(interface{ Name() string }).Name() != party {
					continue
				}
				for _, invite := range info.FieldByName("Invites").Interface().([]I) {
					of := reflect.ValueOf(invite)
					invites[of.FieldByName("Guest").String()] = invite
					if wait && of.FieldByName("Status").IsZero() && of.FieldByName("Err").IsNil() {
						return false
					}
				}
			}
			return true
		})
		return invites
	}
}
