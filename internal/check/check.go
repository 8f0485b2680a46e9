// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package check says in one line what a test expects. What follows the values says of
// what they are: as fmt.Sprintf has it if a format comes first, else as fmt.Sprint.
package check

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Must ends the test unless err is nil.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Nil fails the test unless err is nil.
func Nil(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// Value returns a function that returns the value, and ends the test unless err is nil.
func Value[V any](value V, err error) func(testing.TB) V {
	return func(t testing.TB) V {
		t.Helper()
		Must(t, err)
		return value
	}
}

// Equal fails the test unless got is what is wanted.
func Equal[V comparable](t testing.TB, got, want V, what ...any) {
	t.Helper()
	if got != want {
		t.Errorf("%sgot %s, want %s", said(what), shown(got), shown(want))
	}
}

// Slices fails the test unless got has what is wanted, in that order.
func Slices[S ~[]V, V comparable](t testing.TB, got, want S, what ...any) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%sgot %v, want %v", said(what), got, want)
	}
}

// Deep fails the test unless got is what is wanted, as reflect.DeepEqual has it.
func Deep(t testing.TB, got, want any, what ...any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%sgot %+v, want %+v", said(what), got, want)
	}
}

// ErrorIf fails the test if something is wrong.
func ErrorIf(t testing.TB, wrong bool, what ...any) {
	t.Helper()
	if wrong {
		t.Error(strings.TrimSuffix(said(what), ": "))
	}
}

// FatalIf ends the test if something is wrong.
func FatalIf(t testing.TB, wrong bool, what ...any) {
	t.Helper()
	if wrong {
		t.Fatal(strings.TrimSuffix(said(what), ": "))
	}
}

// Contains fails the test unless the text has all these parts.
func Contains(t testing.TB, text string, parts []string, what ...any) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s%q is not in %s", said(what), part, text)
		}
	}
}

// Has is Contains for one part.
func Has(t testing.TB, text, part string, what ...any) {
	t.Helper()
	Contains(t, text, []string{part}, what...)
}

// Fails fails the test unless there is an error whose text has all these parts.
func Fails(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", parts)
		return
	}
	Contains(t, err.Error(), parts, "the error")
}

func said(what []any) string {
	if len(what) == 0 {
		return ""
	}
	if format, ok := what[0].(string); ok && len(what) > 1 {
		return fmt.Sprintf(format, what[1:]...) + ": "
	}
	return fmt.Sprint(what...) + ": "
}

func shown(value any) string {
	if _, ok := value.(string); ok {
		return fmt.Sprintf("%q", value)
	}
	return fmt.Sprintf("%v", value)
}
