// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package strictjson

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"unicode/utf8"
)

func deep(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestCheckTakes(t *testing.T) {
	for _, text := range []string{
		`null`, ` {"a": [1, -0, 0.5e-3, 1E+2, "é\u00e9\ud83d\ude00\u0000"], "": {"A": {}, "a": true}} `, `{"a\\u0000": 1}`, `{"a": "\u0000"}`, `["\u0000" , 1]`,
		strings.Repeat("9", 64), `-1.` + strings.Repeat("0", 61), `1.7976931348623157e308`, `5e-324`, `0e9999`, `-0.000E-9999`, deep(64), `"` + strings.Repeat("[", 100) + `"`, `"\"[{"`,
		`{"` + strings.Repeat("x", 100000) + `": "` + strings.Repeat("9", 1000) + `"}`,
	} {
		if err := Check([]byte(text)); err != nil {
			t.Errorf("%.99q: %v", text, err)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	const strict = "JSON that some parsers reject: "
	for text, want := range map[string]string{
		"":         "not JSON: it is empty",
		" \n":      "not JSON: it is empty",
		"{":        "not JSON: jsontext: unexpected EOF after offset 1",
		"[1,]":     "not JSON: jsontext: invalid character ']' at start of value within \"/1\" after offset 3",
		"1 2":      "more than one JSON value, from byte 2 on",
		"\ufeff{}": "not JSON: jsontext: invalid character '\\ufeff' at start of value",
		"[NaN]":    "not JSON: jsontext: invalid character 'N' at start of value within \"/0\" after offset 1",

		"[0, \"é\xff\"]":         strict + "at \"/1\", byte 7: not UTF-8: write it in UTF-8",
		"{\"a\xff\": 1}":         strict + "byte 3: not UTF-8: write it in UTF-8",
		"\"\xed\xa0\x80\"":       strict + "byte 1: not UTF-8: write it in UTF-8",
		"\"\xc0\xae\"":           strict + "byte 1: not UTF-8: write it in UTF-8",
		`{"a": {"b": "\ud800"}}`: strict + "at \"/a/b\", byte 13: half of a surrogate pair: write both halves",
		`["\udc00\ud800"]`:       strict + "at \"/0\", byte 2: half of a surrogate pair: write both halves",
		`{"\ud800x": 1}`:         strict + "byte 2: half of a surrogate pair: write both halves",

		`{"a": {"b": 1, "\u0062": 2}}`: strict + "at \"/a/b\", byte 15: it occurs twice: write it once",
		`[{"": 1, "": 1}]`:             strict + "at \"/0/\", byte 9: it occurs twice: write it once",
		`{"a": {"b\u0000": 1}}`:        strict + "at \"/a/b\\x00\", byte 7: a NUL in a member's name: leave it out",
		"{\"\\u0000\"\n : 1}":          strict + "at \"/\\x00\", byte 1: a NUL in a member's name: leave it out",

		`{"n": [` + strings.Repeat("9", 65) + `]}`: strict + "at \"/n/0\", byte 7: a number of 65 characters: write no more than 64, or write it as a string",
		strings.Repeat("9", 5000):                  strict + "byte 0: a number of 5000 characters: write no more than 64, or write it as a string",
		`[1, -1e309]`:                              strict + "at \"/1\", byte 4: the number -1e309 is out of a double's range: write it as a string",
		`1.8E+308`:                                 strict + "byte 0: the number 1.8E+308 is out of a double's range: write it as a string",
		`1e-400`:                                   strict + "byte 0: the number 1e-400 is out of a double's range: write it as a string",
		`1e99999999999999999999999`:                strict + "byte 0: the number 1e99999999999999999999999 is out of a double's range: write it as a string",
		deep(65):                                   strict + `below "` + strings.Repeat("/0", 50) + `", ` + "byte 64: it is nested more than 64 levels deep: flatten it",
		`{"a": ` + deep(64) + `}`:                  strict + `below "/a` + strings.Repeat("/0", 49) + `", ` + "byte 69: it is nested more than 64 levels deep: flatten it",
	} {
		err := Check([]byte(text))
		if err == nil || err.Error() != want {
			t.Errorf("%.99q: %v, want %s", text, err, want)
		}
		if _, ok := errors.AsType[*Error](err); ok != strings.HasPrefix(want, strict) {
			t.Errorf("%.99q: the error is a %T", text, err)
		}
	}
}

func TestCheckAllocatesNothing(t *testing.T) {
	text := []byte(`{"name": "Ann", "id": 12345, "tags": ["a", "b", {"c": 1.5e3}]}`)
	least := 1.0 // the race detector has pools drop some of what they keep
	for range 100 {
		least = min(least, testing.AllocsPerRun(1, func() { _ = Check(text) }))
	}
	if least > 0 {
		t.Errorf("%v allocations", least)
	}
}

// FuzzCheck holds what Check takes against encoding/json.
func FuzzCheck(f *testing.F) {
	for _, text := range []string{
		`{"a": [1, -0.5e-3, "é\ud83d\ude00\\\u0000", {}], "b": null}`, `{"a": 1, "\u0061": 2}`, `"\ud800"`, "\"\xff\"", `{"\u0000" : 1}`, `1e309`, `1e-400`, `0e999`, strings.Repeat("9", 65), deep(65), `"\\"`, `["\"", 1`, "{\"\\u0000\"\r:1}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		_ = Limits(text) // whatever it is
		if Check(text) != nil {
			return
		}
		if !utf8.Valid(text) || !json.Valid(text) {
			t.Fatalf("%q is taken", text)
		}
		var value any
		if err := json.Unmarshal(text, &value); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		members := 0
		var look func(value any, depth int)
		look = func(value any, depth int) {
			if depth > maxDepth {
				t.Errorf("%q is nested more than %d deep", text, maxDepth)
			}
			switch value := value.(type) {
			case float64:
				if math.IsInf(value, 0) {
					t.Errorf("%q has an infinite number", text)
				}
			case string:
				if strings.ContainsRune(value, utf8.RuneError) && !strings.Contains(string(text), "\ufffd") && !strings.Contains(strings.ToLower(string(text)), `\ufffd`) {
					t.Errorf("%q has half a surrogate pair", text)
				}
			case []any:
				for _, element := range value {
					look(element, depth+1)
				}
			case map[string]any:
				members += len(value)
				for name, element := range value {
					look(element, depth+1)
					if strings.Contains(name, "\x00") {
						t.Errorf("%q has a name with a NUL", text)
					}
				}
				if len(value) == 0 {
					look(nil, depth+1)
				}
			}
		}
		look(value, 0)
		names := 0
		decoder := json.NewDecoder(strings.NewReader(string(text)))
		decoder.UseNumber()
		var read func()
		read = func() {
			token, _ := decoder.Token()
			delim, _ := token.(json.Delim)
			for delim != 0 && decoder.More() {
				if delim == '{' {
					_, _ = decoder.Token()
					names++
				}
				read()
			}
			if delim != 0 {
				_, _ = decoder.Token()
			}
			if number, ok := token.(json.Number); ok && len(number) > maxNumber {
				t.Errorf("%q has a number of %d characters", text, len(number))
			}
		}
		read()
		if names != members {
			t.Errorf("%q has %d names of %d members", text, names, members)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	for name, text := range map[string]string{
		"small": `{"name":"Ann","id":12345}`,
		"large": "[" + strings.Repeat(`{"name":"some text here that is of medium length","id":12345,"list":[1,2,3.5,null,true]},`, 10000) + "1]",
	} {
		text := []byte(text)
		b.Run(name+"/this", func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				_ = Check(text)
			}
		})
		b.Run(name+"/json.Valid", func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				json.Valid(text)
			}
		})
	}
}
