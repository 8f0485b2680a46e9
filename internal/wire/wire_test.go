// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/strictjson"
)

// FuzzParsePayload compares with what encoding/json makes of what every parser accepts.
func FuzzParsePayload(f *testing.F) {
	for _, body := range []string{
		"", " \n", "null", "true", `"a"`, "1", "-0", "1e400", "12345678901234567890.10", "[]", `{"a": [1, {"b": null}], "a": 2}`,
		"1 2", "{} x", "1]", "[1,]", "{", `"`, "nul", "01", "NaN", "\ufeff1", "\xa0", "\u00a01", "\v", "1\x00", "\"\xff\"", `"\ud800"`,
		strings.Repeat("[", 10001) + strings.Repeat("]", 10001),
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		payload, err := ParsePayload(body)
		if len(bytes.TrimSpace(body)) == 0 {
			if payload != nil || err != nil {
				t.Errorf("%q: %v, %v", body, payload, err)
			}
			return
		}
		if strict := strictjson.Check(body); (strict == nil) != (err == nil) {
			t.Fatalf("%q: %v, but: %v", body, err, strict)
		}
		if err != nil {
			if payload != nil {
				t.Errorf("%q: %v and %v", body, payload, err)
			}
			return
		}
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.UseNumber()
		var want any
		if err := decoder.Decode(&want); err != nil || !reflect.DeepEqual(payload, want) {
			t.Errorf("%q: %#v, want %#v, %v", body, payload, want, err)
		}
		encoded, err := json.Marshal(payload)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParsePayload(encoded); err != nil || !reflect.DeepEqual(again, payload) {
			t.Errorf("%q: %#v, and again %#v, %v", body, payload, again, err)
		}
	})
}

func TestWhereAPayloadIsMoreThanOneValueIsSaid(t *testing.T) {
	for body, want := range map[string]string{
		"1 2": "from byte 2 on", "1 22222": "from byte 2 on", "1   null": "from byte 4 on", "{} x": "from byte 3 on", "1]": "from byte 1 on", "1 ]": "from byte 2 on",
		`1 "a"`: "from byte 2 on", "1  [1,2]": "from byte 3 on",
	} {
		_, err := ParsePayload([]byte(body))
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", body, err, want)
		}
	}
}

// FuzzParseAsks compares with encoding/json.
func FuzzParseAsks(f *testing.F) {
	for _, body := range []string{
		`[]`, `null`, `[null]`, `[{}]`, `{}`, `[1]`, `[{"service": "a", "payload": {"n": 1.50, "l": [true, null, "x"]}, "first": true}, {"service": null, "first": null}]`,
		`[{"service": "a", "service": "b", "other": [{}]}]`, `[{"\u0073ervice": "a"}]`, `[{"service": 7}]`, `[{"service": 7, "service": "a", "first": 1, "first": true}]`, `[{"first": 1}]`, `[{"service": "\ud800"}]`, "[{\"service\": \"\xff\"}]", `[] []`, `[{]`, `[{"a" 1}]`, `[,]`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		asks, err := ParseAsks(body)
		var objects []map[string]any
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.UseNumber()
		good := decoder.Decode(&objects) == nil && strictjson.Check(body) == nil && objects != nil
		want := make([]Ask, len(objects))
		for i, object := range objects {
			var isString, isBool bool
			want[i].Service, isString = object["service"].(string)
			want[i].Payload = object["payload"]
			want[i].First, isBool = object["first"].(bool)
			good = good && (isString || object["service"] == nil) && (isBool || object["first"] == nil)
		}
		if (err == nil) != good {
			t.Fatalf("%q: %v", body, err)
		}
		if good && !(len(asks) == 0 && len(want) == 0) && !reflect.DeepEqual(asks, want) {
			t.Errorf("%q: %#v, want %#v", body, asks, want)
		}
	})
}
