// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wsgiparty/wsgiparty/internal/budget"
	"github.com/wsgiparty/wsgiparty/internal/strictjson"
)

// Asked is what came of an ask. The n-th answer is that of the n-th reply that answered.
type Asked struct {
	Answers  []json.RawMessage `json:"answers"`
	Replies  []Replied         `json:"replies"`
	Duration float64           `json:"duration"` // 0 if not timed
	Lasting  bool              `json:"lasting"`
}

// Replied is what came of an ask with one guest.
type Replied struct {
	Guest    string  `json:"guest"`
	Mount    string  `json:"mount"`
	Status   string  `json:"status"`
	Note     string  `json:"note"`
	Error    string  `json:"error"`
	Duration float64 `json:"duration"`
}

const (
	StatusAnswered = "answered"
	StatusDeclined = "declined"
	StatusFailed   = "failed"
)

// Reply is what a Writer writes of a guest.
type Reply struct {
	Guest    string
	Mount    string // the path at which the guest is mounted, escaped
	Answer   any
	Err      error // nil for an answer
	Declined bool  // Err says no more than that
	Duration time.Duration
}

// Status returns the status of the reply.
func (r Reply) Status() string {
	switch {
	case r.Err == nil:
		return StatusAnswered
	case r.Declined:
		return StatusDeclined
	}
	return StatusFailed
}

// MaxResponse is how long a response to asks may be, in bytes, unless it is configured.
const MaxResponse = 8 << 20

// ErrNoRoom says that a response would be too long.
var ErrNoRoom = errors.New("the response would be longer than max_response: ask for less at a time")

// Writer writes what comes of asks, one after the other, as the JSON of an Asked. It does
// so by hand because asks may be many, and of most the JSON is short.
type Writer struct {
	Room  *budget.Budget // of the response
	Whole bool           // an answer for which there is no room refuses all others, too
	Timed bool           // write durations, too

	Lasting bool // set before End: the answers hold until the version of the line changes

	json    []byte
	encoded []byte // an answer that was a string

	// Of the ask under way:
	begun          int      // where it, or its next part, begins in the JSON
	parts          [][]byte // before that
	taken          int      // of the room
	first          bool
	answered       int
	began, replied time.Time
	replies        []byte
}

// maxCopied is how long an answer may be that is copied into the JSON, and no part of
// its own.
const maxCopied = 4 << 10

// Begin begins to write what comes of an ask. With first, it leaves out who declined.
func (w *Writer) Begin(first bool) error {
	if cap(w.json)-len(w.json) < 256 { // what is written so far is not to be copied
		w.json = make([]byte, 0, min(max(256, 2*cap(w.json)), 16<<10))
	}
	w.begun, w.parts, w.taken, w.replies = len(w.json), nil, 0, w.replies[:0]
	w.first, w.answered, w.began = first, 0, time.Now()
	w.replied = w.began
	w.json = append(w.json, `{"answers":[`...)
	return w.take(len(`{"answers":[],"replies":[],"lasting":true,"duration":123456789.123456789},`))
}

// Reply writes a reply, and reports whether that is an answer. An error, as that of a reply
// without a guest, is the ask's as a whole, which then has no room any more.
func (w *Writer) Reply(r Reply) (answered bool, err error) {
	defer func() {
		if err != nil {
			w.Room.Give(w.taken)
		}
	}()
	if r.Guest == "" {
		return false, r.Err
	}
	if w.Timed {
		now := time.Now()
		r.Duration = cmp.Or(r.Duration, now.Sub(w.replied))
		w.replied = now
	}
	if w.first && r.Declined {
		return false, nil
	}
	var answer []byte
	var note string
	if r.Err == nil {
		if answer, note, err = w.encode(r.Answer); err != nil {
			r.Err = fmt.Errorf("the answer is %w", err)
		}
	}
	err = w.describe(r, note, len(answer))
	if err != nil && r.Err == nil && !w.Whole {
		r.Err = err
		err = w.describe(r, "", 0)
	}
	if err != nil || r.Err != nil {
		return false, err
	}
	w.add(answer)
	return true, nil
}

// End returns what came of the ask, in parts.
func (w *Writer) End() [][]byte {
	w.json = append(append(append(w.json, `],"replies":[`...), w.replies...), ']')
	if w.Lasting {
		w.json = append(w.json, `,"lasting":true`...)
	}
	w.duration(&w.json, time.Since(w.began))
	w.json = append(w.json, '}')
	return append(w.parts, w.json[w.begun:])
}

func (w *Writer) take(n int) error {
	if !w.Room.Take(n) {
		return ErrNoRoom
	}
	w.taken += n
	return nil
}

// encode returns an answer as JSON, or its type with a note that says so. The error is for
// JSON that some asker could not read.
func (w *Writer) encode(answer any) (encoded []byte, note string, err error) {
	if text, ok := answer.(string); ok {
		w.encoded = appendString(w.encoded[:0], text)
		return w.encoded, "", nil
	}
	encoded, err = EncodeAnswer(answer)
	if err == nil {
		return encoded, "", nil
	}
	if strict, ok := errors.AsType[*strictjson.Error](err); ok {
		return nil, "", strict
	}
	note = "this is the type of the answer, which JSON cannot carry: " + Message(err)
	return appendString(nil, fmt.Sprintf("%T", answer)), note, nil
}

// EncodeAnswer returns an answer as JSON that every parser accepts. Its methods may be the
// guest's own, and panic.
func EncodeAnswer(answer any) (encoded []byte, err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("panic: %v", value)
		}
	}()
	if raw, ok := answer.(json.RawMessage); ok && raw != nil {
		encoded = bytes.TrimSpace(raw)
	} else if encoded, err = Encode(answer); err != nil {
		return nil, err
	}
	return encoded, strictjson.Check(encoded)
}

// add adds an answer's JSON.
func (w *Writer) add(answer []byte) {
	if w.answered > 0 {
		w.json = append(w.json, ',')
	}
	w.answered++
	if len(answer) <= maxCopied {
		w.json = append(w.json, answer...)
		return
	}
	w.parts = append(w.parts, w.json[w.begun:], answer)
	w.begun = len(w.json)
	w.encoded = nil // it may be the part
}

// describe writes a reply without its answer, of that size, if there is room for both.
func (w *Writer) describe(r Reply, note string, size int) error {
	b := w.replies
	if len(b) > 0 {
		b = append(b, ',')
	}
	b = appendString(append(b, `{"guest":`...), r.Guest)
	b = appendString(append(b, `,"mount":`...), r.Mount)
	status := r.Status()
	b = append(append(append(b, `,"status":"`...), status...), '"')
	switch {
	case note != "":
		b = appendString(append(b, `,"note":`...), note)
	case status == StatusFailed:
		b = appendString(append(b, `,"error":`...), Message(r.Err))
	}
	w.duration(&b, r.Duration)
	b = append(b, '}')
	if err := w.take(size + 1 + len(b) - len(w.replies)); err != nil {
		return err
	}
	w.replies = b
	return nil
}

func (w *Writer) duration(b *[]byte, d time.Duration) {
	if w.Timed {
		*b = strconv.AppendFloat(append(*b, `,"duration":`...), d.Seconds(), 'f', 9, 64)
	}
}

// Message returns an error's in UTF-8. The error may be an application's own and panic.
func Message(err error) (text string) {
	if err == nil {
		return ""
	}
	defer func() {
		if recover() != nil {
			text = fmt.Sprintf("a %T, whose message is not available", err)
		}
	}()
	return strings.ToValidUTF8(err.Error(), "\uFFFD")
}

// Encode returns the value as JSON, in which HTML is left as it is.
func Encode(value any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSpace(text.Bytes()), err
}

// appendString appends a string as JSON, as Encode has it.
func appendString(b []byte, text string) []byte {
	if strings.ContainsFunc(text, func(r rune) bool { return r > '~' }) { // of which AppendQuote escapes less
		encoded, _ := Encode(text) // a string always has JSON
		return append(b, encoded...)
	}
	b, _ = jsontext.AppendQuote(b, text)
	return b
}
