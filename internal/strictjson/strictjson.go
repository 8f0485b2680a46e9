// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package strictjson tells JSON that every parser accepts from JSON that some reject. One
// of the latter, among what several have said, would take the rest with it.
package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxDepth  = 64
	maxNumber = 64 // characters

	maxPointer = 100 // of an error's message
)

// Error says what of a text some parser refuses, and what to write instead.
type Error struct {
	Pointer jsontext.Pointer // to the value, or the object it is in
	Offset  int
	What    string
}

func (e *Error) Error() string {
	at := ""
	if pointer := string(e.Pointer); len(pointer) > maxPointer {
		at = fmt.Sprintf("below %q, ", strings.ToValidUTF8(pointer[:maxPointer], ""))
	} else if pointer != "" {
		at = fmt.Sprintf("at %q, ", pointer)
	}
	return fmt.Sprintf("JSON that some parsers reject: %sbyte %d: %s", at, e.Offset, e.What)
}

// Check returns nil for JSON that every parser accepts: one value in UTF-8, without half
// surrogate pairs, members that occur twice and names with a NUL, nested no more than 64
// deep, with numbers of at most 64 characters that are in a double's range. For other
// JSON the error is an *Error.
func Check(text []byte) error {
	if jsontext.Value(text).IsValid() {
		return Limits(text)
	}
	decoder := jsontext.NewDecoder(bytes.NewReader(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if _, err := decoder.ReadValue(); err == io.EOF {
		return errors.New("not JSON: it is empty")
	} else if err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	if rest := bytes.TrimLeft(text[decoder.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return fmt.Errorf("more than one JSON value, from byte %d on", len(text)-len(rest))
	}
	_, err := jsontext.NewDecoder(bytes.NewReader(text)).ReadValue()
	syntactic, ok := err.(*jsontext.SyntacticError)
	if !ok {
		return fmt.Errorf("not JSON: %w", err)
	}
	e := &Error{syntactic.JSONPointer, int(syntactic.ByteOffset), "not UTF-8: write it in UTF-8"}
	switch {
	case syntactic.Err == jsontext.ErrDuplicateName:
		e.What = "it occurs twice: write it once"
	case e.Offset < len(text) && text[e.Offset] == '\\':
		e.What = "half of a surrogate pair: write both halves"
	}
	return e
}

// Limits is Check for a text that is the JSON that a jsontext.Decoder takes by default.
// Nothing of the text is decoded.
func Limits(text []byte) error {
	depth := 0
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case '"':
			end, nul := skipString(text, i)
			if nul && isName(text, end) {
				return errorAt(text, i, "a NUL in a member's name: leave it out")
			}
			i = end
			continue
		case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
			end := skipNumber(text, i)
			if what := checkNumber(text[i:end]); what != "" {
				return errorAt(text, i, what)
			}
			i = end
			continue
		case '[', '{':
			if depth++; depth > maxDepth {
				return errorAt(text, i, fmt.Sprintf("it is nested more than %d levels deep: flatten it", maxDepth))
			}
		case ']', '}':
			depth--
		}
		i++
	}
	return nil
}

// skipString returns the end of the string that begins at i, and whether there is a NUL
// in it.
func skipString(text []byte, i int) (end int, nul bool) {
	for i++; i < len(text) && text[i] != '"'; i++ {
		if text[i] == '\\' {
			nul = nul || bytes.HasPrefix(text[i:], []byte(`\u0000`))
			i++
		}
	}
	return min(i+1, len(text)), nul
}

// isName reports whether the string that ends at i is that of a member.
func isName(text []byte, i int) bool {
	return bytes.HasPrefix(bytes.TrimLeft(text[i:], " \t\r\n"), []byte(":"))
}

func skipNumber(text []byte, i int) (end int) {
	for i++; i < len(text); i++ {
		switch c := text[i]; {
		case '0' <= c && c <= '9', c == '.', c == 'e', c == 'E', c == '+', c == '-':
		default:
			return i
		}
	}
	return i
}

func checkNumber(number []byte) (what string) {
	if len(number) > maxNumber {
		return fmt.Sprintf("a number of %d characters: write no more than %d, or write it as a string", len(number), maxNumber)
	}
	mantissa := number
	if i := bytes.IndexAny(number, "eE"); i >= 0 {
		mantissa = number[:i]
	} else {
		return "" // it is too short to be out of range
	}
	value, err := strconv.ParseFloat(string(number), 64)
	if err != nil || value == 0 && bytes.ContainsAny(mantissa, "123456789") {
		return fmt.Sprintf("the number %s is out of a double's range: write it as a string", number)
	}
	return ""
}

// errorAt returns the error for what begins at an offset in valid JSON.
func errorAt(text []byte, offset int, what string) error {
	decoder := jsontext.NewDecoder(bytes.NewReader(text))
	for decoder.InputOffset() <= int64(offset) {
		if _, err := decoder.ReadToken(); err != nil {
			break
		}
	}
	return &Error{decoder.StackPointer(), offset, what}
}
