// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package jsonpayload

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/wire"
)

func replacer(values map[string]any) *caddy.Replacer {
	r := caddy.NewReplacer()
	for name, value := range values {
		r.Set(name, value)
	}
	return r
}

// filled returns the payload as JSON, whose members Go sorts.
func filled(t *testing.T, text string, types []string, values map[string]any) string {
	t.Helper()
	value := check.Value(check.Value(Parse([]byte(text), types))(t).Fill(replacer(values)))(t)
	return string(check.Value(json.Marshal(value))(t))
}

func TestPlaceholdersAreReplacedInStrings(t *testing.T) {
	t.Setenv("SECRET", "secret")
	visitor := map[string]any{"x": "4", "quote": `", "admin": "yes`, "brace": "{x}{env.SECRET}", "end": `\`, "lines": "a\r\nb\x00c", "number": 7, "none": "", "bytes": []byte("b"), "bad": "a\xffb"}
	for text, want := range map[string]string{
		"":                                    `null`,
		` null `:                              `null`,
		`{"a": [1.50, 12345678901234567890]}`: `{"a":[1.50,12345678901234567890]}`,
		`"{x}"`:                               `"4"`,
		`{"a": "{x}", "b": ["{x}", {"c": "<{x}{x}>"}], "d": 1, "e": {"f": null}}`: `{"a":"4","b":["4",{"c":"\u003c44\u003e"}],"d":1,"e":{"f":null}}`,
		`{"a": "{quote}"}`:                       `{"a":"\", \"admin\": \"yes"}`,
		`{"a": "{brace}"}`:                       `{"a":"{x}{env.SECRET}"}`,
		`{"a": "{end}"}`:                         `{"a":"\\"}`,
		`{"a": "{lines}"}`:                       `{"a":"a\r\nb\u0000c"}`,
		`{"a": "{number} {bytes} {none}{what}"}`: `{"a":"7 b "}`,
		`{"a": "{bad}"}`:                         `{"a":"a�b"}`,
		`{"a": "\\{x\\}"}`:                       `{"a":"{x}"}`,
		`{"a": "{x"}`:                            `{"a":"{x"}`,
		`["\u007bx}"]`:                           `["4"]`,
	} {
		check.Equal(t, filled(t, text, nil, visitor), want, text)
	}
}

func TestPayloadTypesSayWhichMembersMayBecomeMore(t *testing.T) {
	const text = `{"page": "{v}", "text": "{v}", "in": {"page": ["{v}", "7", {"other": "{v}"}]}}`
	for value, want := range map[string]string{
		"4": `4`, "-1.50e3": `-1.50e3`, "true": `true`, "false": `false`, "null": `null`, "12345678901234567890": `12345678901234567890`,
		"": `""`, " 4": `" 4"`, "4 ": `"4 "`, "04": `"04"`, "+4": `"+4"`, "4]": `"4]"`, "-": `"-"`, "1e400": `"1e400"`, "0x1": `"0x1"`, "True": `"True"`, "NaN": `"NaN"`, `"a"`: `"\"a\""`,
		"[1]": `"[1]"`, `{"a":1}`: `"{\"a\":1}"`, "4\n": `"4\n"`, "1,2": `"1,2"`, "1 2": `"1 2"`, strings.Repeat("1", 65): `"` + strings.Repeat("1", 65) + `"`,
	} {
		quoted, _ := json.Marshal(value)
		check.Equal(t, filled(t, text, []string{"page"}, map[string]any{"v": value}),
			`{"in":{"page":[`+want+`,"7",{"other":`+string(quoted)+`}]},"page":`+want+`,"text":`+string(quoted)+`}`, value)
	}
}

func TestWhatCannotBeAPayloadSaysSo(t *testing.T) {
	for _, c := range []struct {
		text  string
		types []string
		want  []string
	}{
		{`{name: "home"}`, nil, []string{"not JSON", "in backquotes"}},
		{`home`, nil, []string{"not JSON", "`\"home\"`"}},
		{`{"a": {x}}`, nil, []string{"not JSON"}},
		{`{"a": 1, "a": 2}`, nil, []string{"occurs twice"}},
		{`1 2`, nil, []string{"more than one"}},
		{strings.Repeat("[", 65) + strings.Repeat("]", 65), nil, []string{"64 levels deep"}},
		{`{"{x}": 1}`, nil, []string{`"{x}"`, "in its name"}},
		{`{"a": "` + strings.Repeat("{", 200) + `"}`, nil, []string{"unclosed"}},
		{`{"page": "{x}", "b": "{x}", "c": "d"}`, []string{"pgae"}, []string{`"pgae"`, "did you mean page?", "b, page"}},
		{`{"page": "{x}", "c": "d"}`, []string{"c"}, []string{`"c"`, "there is page"}},
		{`{"page": 4}`, []string{"page"}, []string{`"page"`, "no member of the payload has a placeholder"}},
		{`"{x}"`, []string{""}, []string{"no member of the payload"}},
	} {
		_, err := Parse([]byte(c.text), c.types)
		check.Fails(t, err, c.want...)
	}
}

func TestAPayloadIsBounded(t *testing.T) {
	values := map[string]any{"x": strings.Repeat("x", Max/2)}
	p := check.Value(Parse([]byte(`["{x}", "{x}"]`), nil))(t)
	_, err := p.Fill(replacer(values))
	check.Nil(t, err)
	for _, text := range []string{`["{x}", "{x}y", "{x}"]`, `{"a": "{x}{x}{x}"}`} {
		value, err := check.Value(Parse([]byte(text), nil))(t).Fill(replacer(values))
		check.ErrorIf(t, err != ErrTooLong || value != nil, text, err)
	}
}

func TestAFixedPayloadIsTheSameForAll(t *testing.T) {
	for text, want := range map[string]bool{``: true, `{"a": [1, "b"]}`: true, `{"a": [1, "{b}"]}`: false} {
		check.Equal(t, check.Value(Parse([]byte(text), nil))(t).Fixed(), want, text)
	}
	p := check.Value(Parse([]byte(`{"a": [1, "b"]}`), nil))(t)
	allocations := testing.AllocsPerRun(100, func() { _, _ = p.Fill(nil) })
	check.Equal(t, allocations, 0)
	check.Equal(t, new(Payload).Fixed(), true)
}

// FuzzFill has a visitor send anything: it stays in its string, and the rest is as it was.
func FuzzFill(f *testing.F) {
	for _, value := range []string{"", "4", "null", "true", `"`, `", "admin": true, "x": "`, "{y}", "{env.HOME}", "{file./etc/passwd}", "\\", "\\{y}", "}", "\x00", "\xff", "\u2028", "1e5", "[1]", "-0"} {
		f.Add(value)
	}
	payload, err := Parse([]byte(`{"plain": "<{x}>", "page": "{x}", "list": ["{x}", "{y}"], "fixed": {"n": 1}}`), []string{"page"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got, err := payload.Fill(replacer(map[string]any{"x": value, "y": "secret"}))
		if err != nil {
			check.ErrorIf(t, len(value)*3 < Max, err)
			return
		}
		valid := strings.ToValidUTF8(value, "\ufffd")
		members := got.(map[string]any)
		var page any = valid
		switch p := members["page"].(type) {
		case json.Number:
			check.Equal(t, p.String(), value)
			page = p
		case bool:
			check.Equal(t, map[bool]string{true: "true", false: "false"}[p], value)
			page = p
		case nil:
			check.Equal(t, value, "null")
			page = nil
		}
		check.Deep(t, got, map[string]any{"plain": "<" + valid + ">", "page": page, "list": []any{valid, "secret"}, "fixed": map[string]any{"n": json.Number("1")}})
		encoded := check.Value(json.Marshal(got))(t)
		again, err := wire.ParsePayload(encoded)
		check.ErrorIf(t, err != nil || !utf8.Valid(encoded), err)
		check.Deep(t, again, got)
	})
}
