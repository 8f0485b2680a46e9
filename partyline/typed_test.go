// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

func TestFirstStopsAtTheFirstAnswer(t *testing.T) {
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("a"), "s", failWith(ErrHighAndDry))
	connect(t, p.Operator("b"), "s", failWith(fs.ErrNotExist))
	connect(t, p.Operator("c"), "s", answerWith(3.14))
	connect(t, p.Operator("d"), "s", answerWith("yes"))
	connect(t, p.Operator("e"), "s", neverCalled(t))
	check.Equal(t, check.Value(First[string](t.Context(), p.Operator("asker"), "s", nil))(t), "yes", "got")
}

func TestAnAnswerOfTheWrongTypeIsItsGuestsHandlerError(t *testing.T) {
	for _, answer := range []any{3.14, nil, errors.New("an error"), json.RawMessage(`{"not": "a string"}`), json.RawMessage("not JSON"), json.RawMessage(nil)} {
		p := NewPartyline("main", Options{})
		connect(t, p.Operator("a"), "s", answerWith("one"))
		connect(t, p.Operator("b"), "s", answerWith(answer))
		connect(t, p.Operator("c"), "s", answerWith("two"))
		asker := p.Operator("asker")
		got, err := All[string](t.Context(), asker, "s", nil)
		check.Slices(t, got, []string{"one", "two"}, "%T: got", answer)
		_, errFirst := First[string](t.Context(), p.Operator("a"), "s", nil)
		check.ErrorIf(t, errFirst != nil, "%T: First does not go on: %v", answer, errFirst)
		connect(t, p.Operator("d"), "alone", answerWith(answer))
		_, errFirst = First[string](t.Context(), asker, "alone", nil)
		for guest, err := range map[string]error{"b": err, "d": errFirst} {
			var failure *HandlerError
			if !errors.As(err, &failure) || failure.Guest != guest || !errors.Is(err, ErrPartyline) ||
				!strings.Contains(err.Error(), fmt.Sprintf("%T", answer)) || !strings.Contains(err.Error(), "string") {
				t.Errorf("%T: got error %v", answer, err)
			}
		}
	}
}

func TestARawMessageIsDecoded(t *testing.T) {
	type page struct {
		N   int
		URL string
	}
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("a"), "s", answerWith(page{1, "/a/"}))
	connect(t, p.Operator("b"), "s", answerWith(json.RawMessage(`{"URL": "/b/"}`)))
	connect(t, p.Operator("c"), "s", answerWith(json.RawMessage(`{"N": 3, "URL": 5}`))) // half decoded is not decoded
	asker := p.Operator("asker")
	got, err := All[page](t.Context(), asker, "s", nil)
	var failure *HandlerError
	check.ErrorIf(t, !slices.Equal(got, []page{{1, "/a/"}, {0, "/b/"}}) || !errors.As(err, &failure) || failure.Guest != "c", got, err)
	if first, err := First[page](t.Context(), p.Operator("a"), "s", nil); first.URL != "/b/" || err != nil {
		t.Error(first, err)
	}
	connect(t, p.Operator("c"), "half", answerWith(json.RawMessage(`{"N": 3, "URL": 5}`)))
	if first, err := First[page](t.Context(), asker, "half", nil); first != (page{}) || err == nil {
		t.Error(first, err)
	}
	raw, err := All[json.RawMessage](t.Context(), p.Operator("a"), "s", nil) // as it is
	check.ErrorIf(t, len(raw) != 2 || string(raw[0]) != `{"URL": "/b/"}` || err != nil, raw, err)
}

func TestNilIsAnAnswer(t *testing.T) {
	p := NewPartyline("main", Options{})
	connect(t, p.Operator("a"), "s", answerWith(nil))
	asker := p.Operator("asker")
	wantAnswers(t, asker, "s", nil)
	check.Slices(t, check.Value(All[any](t.Context(), asker, "s", nil))(t), []any{nil})
	if got, err := All[error](t.Context(), asker, "s", nil); !slices.Equal(got, []error{nil}) || err != nil { // any interface can be nil
		t.Error(got, err)
	}
	if got, err := First[any](t.Context(), asker, "s", nil); got != nil || err != nil {
		t.Error(got, err)
	}
	if got, err := First[*int](t.Context(), asker, "s", nil); got != nil || err == nil {
		t.Error(got, err)
	}
}

func TestPayloadAs(t *testing.T) {
	type page struct {
		N     int
		Title string
	}
	pointer := &page{1, "as it is"}
	check.Equal(t, check.Value(PayloadAs[*page](pointer))(t), pointer)
	check.Equal(t, check.Value(PayloadAs[fmt.Stringer](time.Second))(t), fmt.Stringer(time.Second))
	for _, payload := range []any{map[string]any{"Title": "x"}, &page{1, "x"}, json.RawMessage(`{"Title": "x"}`)} {
		if got, err := PayloadAs[page](payload); got.Title != "x" || err != nil {
			t.Errorf("%T: got %v, %v", payload, got, err)
		}
	}
	check.Equal(t, check.Value(PayloadAs[int](2.0))(t), 2)
	// nil is null.
	check.Equal(t, check.Value(PayloadAs[page](nil))(t), (page{}))
	if got, err := PayloadAs[*page](nil); got != nil || err != nil {
		t.Error(got, err)
	}
	if got, err := PayloadAs[any](nil); got != nil || err != nil {
		t.Error(got, err)
	}
	for _, payload := range []any{map[string]int{"N": 1, "Title": 1}, 2.5, make(chan int), json.RawMessage("not JSON")} {
		got, err := PayloadAs[page](payload)
		check.ErrorIf(t, got != (page{}) || err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%T", payload)) || !strings.Contains(err.Error(), "partyline.page"), "%T: got %v, %v", payload, got, err)
	}
}
