// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package urltemplate

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

func TestATemplateHasAtMost64Expressions(t *testing.T) {
	most := "/x?a=1" + strings.Repeat("{&a*}", 64)
	nulls := make([]any, maxElements)
	if got, err := mustParse(t, most).Expand(ctx, "", values{"a": nulls}); got != "/x?a=1" || err != nil {
		t.Errorf("64 expressions: %q, %v", got, err)
	}
	_, err := Parse(most + "{&b}")
	if want := fmt.Sprintf("byte %d: more than 64 expressions: put several variables into one, as in {?q,page}", len(most)); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("65 expressions: %v, want %s", err, want)
	}
}

// called is a value that says how often it was encoded, and may do something then.
type called struct {
	times *int
	json  string
	do    func()
}

func (c called) MarshalJSON() ([]byte, error) {
	*c.times++
	if c.do != nil {
		c.do()
	}
	return []byte(c.json), nil
}

func TestAValueIsPreparedOnceForAllExpressions(t *testing.T) {
	for _, json := range []string{`[null, null]`, `["x"]`, `{"k": "v"}`, `{}`, `"x"`} {
		times := 0
		template := mustParse(t, "/x{?a*}")
		if _, err := template.Expand(ctx, "", values{"a": called{&times, json, nil}}); err != nil || times != 1 {
			t.Errorf("%s in one expression: encoded %d times, %v", json, times, err)
		}
		times = 0
		template = mustParse(t, "/x?y"+strings.Repeat("{&a*}", 64))
		if _, err := template.Expand(ctx, "", values{"a": called{&times, json, nil}}); err != nil || times != 1 {
			t.Errorf("%s in 64 expressions: encoded %d times, %v", json, times, err)
		}
	}
}

func TestAnExpansionEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	first, second := 0, 0
	_, err := mustParse(t, "/x?y{&a}{&b}").Expand(ctx, "", values{"a": called{&first, "1", cancel}, "b": called{&second, "2", nil}})
	if !errors.Is(err, context.Canceled) || first != 1 || second != 0 {
		t.Errorf("%v; the values were encoded %d and %d times", err, first, second)
	}
}

// TestTooLongURLsAreNotMade counts the bytes that are allocated on the way to the
// error.
func TestTooLongURLsAreNotMade(t *testing.T) {
	empty, long := make([]any, maxElements), make([]any, maxElements)
	object := make(map[string]any, maxElements)
	many := make(values)
	var names []string
	for i := range maxElements {
		empty[i], long[i] = "", strings.Repeat("x", 4000)
		object[fmt.Sprint(i)] = long[i]
	}
	for i := range 1000 {
		names = append(names, fmt.Sprint("v", i))
		many[names[i]] = strings.Repeat("ß", 20000)
	}
	name := strings.Repeat("n", 60000)
	for _, c := range []struct {
		text   string
		values values
	}{
		{"/x{?" + name + "*}", values{name: empty}},
		{"/x{;" + name + "*}", values{name: empty}},
		{"/x{?a}", values{"a": long}},
		{"/x{?a*}", values{"a": object}},
		{"/x{/a*}", values{"a": long}},
		{"/x{?a}", values{"a": strings.Repeat("ß", 50_000_000)}},
		{"/x{?" + strings.Join(names, ",") + "}", many},
		{"/x{?a,b}", values{"a": strings.Repeat("ß", 50_000_000), "b": []any{1}}},
	} {
		template := mustParse(t, c.text)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, err := template.Expand(ctx, "", c.values)
		runtime.ReadMemStats(&after)
		if got != "" || !errors.Is(err, errTooLong) {
			t.Errorf("%.20s…: %.99q, %v", c.text, got, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
			t.Errorf("%.20s…: %d bytes for a URL that is none", c.text, n)
		}
	}
}
