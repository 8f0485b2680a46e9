// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/budget"
	"github.com/wsgiparty/wsgiparty/internal/strictjson"
)

// Asked is what came of an ask. The n-th answer is that of the n-th reply that answered.
type Asked struct {
	Answers  []json.RawMessage `json:"answers"`
	Replies  []Replied         `json:"replies"`
	Duration float64           `json:"duration"` // 0 if not timed
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

// Writer writes what comes of asks as the JSON of an Asked. It does so by hand because
// asks may be many, and of most the JSON is short.
type Writer struct {
	Room  *budget.Budget // of the response
	Whole bool           // an answer for which there is no room refuses all others, too
	Timed bool           // write durations, too

	json []byte

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
	w.begin()
	if !w.take(len(`{"answers":[],"replies":[],"duration":123456789.123456789},`)) {
		return ErrNoRoom
	}
	w.json = append(w.json, `{"answers":[`...)
	w.first, w.answered, w.began = first, 0, w.now()
	w.replied = w.began
	return nil
}

// Reply writes a reply. It reports whether it wrote an answer.
func (w *Writer) Reply(r Reply) (answered bool, err error) {
	now := w.now()
	if r.Duration == 0 {
		r.Duration = now.Sub(w.replied)
	}
	w.replied = now
	if w.first && r.Declined {
		return false, nil
	}
	if answered, err = w.reply(r); answered {
		w.answered++
	}
	return answered, err
}

// End returns what came of the ask, in parts.
func (w *Writer) End() [][]byte {
	w.json = append(append(append(w.json, `],"replies":[`...), w.replies...), ']')
	w.duration(&w.json, w.now().Sub(w.began))
	w.json = append(w.json, '}')
	return w.end()
}

// Undo forgets the ask, which has failed as a whole.
func (w *Writer) Undo() {
	w.json = w.json[:w.begun]
	w.Room.Give(w.taken)
}

// Problem returns the JSON of a problem in place of an ask's, if there is room for it.
func (w *Writer) Problem(problem any) ([][]byte, error) {
	encoded, err := Encode(problem)
	if err != nil {
		return nil, err
	}
	w.begin()
	if !w.take(len(encoded) + 1) {
		return nil, ErrNoRoom
	}
	w.json = append(w.json, encoded...)
	return w.end(), nil
}

// begin begins to write what comes of an ask.
func (w *Writer) begin() {
	if cap(w.json)-len(w.json) < 256 { // what is written so far is not to be copied
		w.json = make([]byte, 0, min(max(256, 2*cap(w.json)), 16<<10))
	}
	w.begun, w.parts, w.taken, w.replies = len(w.json), nil, 0, w.replies[:0]
}

// end returns what has been written of the ask.
func (w *Writer) end() [][]byte { return append(w.parts, w.json[w.begun:]) }

// take takes n bytes of the room.
func (w *Writer) take(n int) bool {
	if !w.Room.Take(n) {
		return false
	}
	w.taken += n
	return true
}

// now returns the time, if that is of interest.
func (w *Writer) now() time.Time {
	if !w.Timed {
		return time.Time{}
	}
	return time.Now()
}

func (w *Writer) reply(reply Reply) (answered bool, err error) {
	replies, length, begun, parts := len(w.replies), len(w.json), w.begun, w.parts
	size, note := 0, ""
	if reply.Err == nil {
		if w.answered > 0 {
			w.json = append(w.json, ',')
		}
		if size, note, err = w.answer(reply.Answer); err != nil {
			w.json = w.json[:length]
			reply.Err = fmt.Errorf("the answer is %w", err)
		}
	}
	w.describe(reply, note)
	if w.take(size + 1 + len(w.replies) - replies) {
		return reply.Err == nil, nil
	}
	if reply.Err != nil || w.Whole {
		return false, ErrNoRoom
	}
	w.replies, w.json, w.begun, w.parts = w.replies[:replies], w.json[:length], begun, parts
	reply.Err = ErrNoRoom
	w.describe(reply, "")
	if !w.take(1 + len(w.replies) - replies) {
		return false, ErrNoRoom
	}
	return false, nil
}

// answer writes an answer as JSON, or its type with a note that says so. It returns
// how long that is. The error is for JSON that some asker could not read.
func (w *Writer) answer(answer any) (size int, note string, err error) {
	if text, ok := answer.(string); ok {
		before := len(w.json)
		w.json = appendString(w.json, text)
		return len(w.json) - before, "", nil
	}
	raw, ok := answer.(json.RawMessage)
	encoded := bytes.TrimSpace(raw)
	if !ok || raw == nil {
		encoded, err = encodeAnswer(answer)
	}
	if err == nil {
		err = strictjson.Check(encoded)
	}
	if strict, ok := errors.AsType[*strictjson.Error](err); ok {
		return 0, "", strict
	}
	if err != nil {
		encoded = appendString(nil, fmt.Sprintf("%T", answer))
		note = "this is the type of the answer, which JSON cannot carry: " + Message(err)
	}
	if len(encoded) <= maxCopied {
		w.json = append(w.json, encoded...)
	} else {
		w.parts = append(w.parts, w.json[w.begun:], encoded)
		w.begun = len(w.json)
	}
	return len(encoded), note, nil
}

// encodeAnswer returns the answer as JSON, by methods that may be the guest's own and
// panic.
func encodeAnswer(answer any) (encoded []byte, err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("panic: %v", value)
		}
	}()
	return Encode(answer)
}

// describe writes a reply without its answer.
func (w *Writer) describe(reply Reply, note string) {
	b := w.replies
	if len(b) > 0 {
		b = append(b, ',')
	}
	b = appendString(append(b, `{"guest":`...), reply.Guest)
	b = appendString(append(b, `,"mount":`...), reply.Mount)
	status := reply.Status()
	b = append(append(append(b, `,"status":"`...), status...), '"')
	switch {
	case note != "":
		b = appendString(append(b, `,"note":`...), note)
	case status == StatusFailed:
		b = appendString(append(b, `,"error":`...), Message(reply.Err))
	}
	w.duration(&b, reply.Duration)
	w.replies = append(b, '}')
}

func (w *Writer) duration(b *[]byte, d time.Duration) {
	if w.Timed {
		*b = strconv.AppendFloat(append(*b, `,"duration":`...), d.Seconds(), 'f', 9, 64)
	}
}
