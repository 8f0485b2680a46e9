// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func TestNewKeysRefuses(t *testing.T) {
	const good = "0123456789abcdef0123456789abcdef"
	for _, c := range []struct {
		keys []string
		want string
	}{
		{[]string{""}, "key 1 is empty"},
		{[]string{good, ""}, "key 2 is empty"},
		{[]string{"x"}, "key 1 has 1 bytes, but needs at least 32"},
		{[]string{good, good[1:], good}, "key 2 has 31 bytes, but needs at least 32"},
		{[]string{good + "\n"}, "key 1 begins or ends with white space"},
		{[]string{" " + good}, "key 1 begins or ends with white space"},
		{[]string{strings.Repeat(" ", 32)}, "key 1 begins or ends with white space"},
		{[]string{good + "\r\n" + good}, "key 1 has a control character or a line break in it"},
		{[]string{"\x00" + good}, "key 1 has a control character or a line break in it"},
	} {
		k, err := NewKeys(c.keys)
		if err == nil || err.Error() != c.want || !k.IsZero() {
			t.Errorf("%q: error %v, want %s", c.keys, err, c.want)
		}
	}
	for _, key := range []string{"a secret", "swordfish\n", "   swordfish that is long enough to be one"} {
		_, err := NewKeys([]string{key})
		if err == nil || strings.Contains(err.Error(), strings.TrimSpace(key)) {
			t.Errorf("%q: error %v", key, err)
		}
	}
}

func TestNewKeysTakes(t *testing.T) {
	const good = "0123456789abcdef0123456789abcdef"
	for _, c := range []struct {
		keys []string
		want int
	}{
		{nil, 0},
		{[]string{good}, 1},
		{[]string{good, good + "."}, 2},
		{[]string{good, good + ".", good}, 2}, // while a key is being replaced
		{[]string{"a phrase with spaces, and é, is a key, too"}, 1},
		{[]string{strings.Repeat("é", 16)}, 1}, // bytes, not characters
	} {
		k, err := NewKeys(c.keys)
		if err != nil || k.IsZero() != (c.want == 0) {
			t.Fatalf("%q: error %v", c.keys, err)
		}
		if c.want != 0 && (len(k.secrets().digests) != c.want || len(k.secrets().verifying.Keys) != c.want) {
			t.Errorf("%q: %d keys, want %d", c.keys, len(k.secrets().digests), c.want)
		}
	}
}

// TestKeysDoNotShow prints and encodes Keys in every way there is.
func TestKeysDoNotShow(t *testing.T) {
	k := newKeys(t, secret, oldSecret)
	type embedded struct{ Keys }
	type exported struct {
		Keys Keys
		List []Keys
		Map  map[string]Keys
		Ptr  *Keys
	}
	type hidden struct {
		keys Keys
		list []Keys
		m    map[string]Keys
		ptr  *Keys
	}
	values := []any{
		k, &k, []Keys{k}, [1]Keys{k}, map[string]Keys{"blog": k}, fmt.Errorf("%v %s %q", k, k, k), embedded{k},
		exported{k, []Keys{k}, map[string]Keys{"blog": k}, &k}, &exported{k, []Keys{k}, map[string]Keys{"blog": k}, &k},
		hidden{k, []Keys{k}, map[string]Keys{"blog": k}, &k}, &hidden{k, []Keys{k}, map[string]Keys{"blog": k}, &k},
		k.String(), k.GoString(),
	}
	var texts []string
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(writeFunc(func(p []byte) {
		texts = append(texts, string(p))
	})), zap.DebugLevel)
	for _, v := range values {
		for _, verb := range "vdsqxXcbopUTteEfFgGtw" {
			for _, flag := range []string{"", "+", "#", " ", "0", "-20", ".3"} {
				texts = append(texts, fmt.Sprintf("%"+flag+string(verb), v))
			}
		}
		texts = append(texts, fmt.Sprint(v), fmt.Sprintln(v))
		if data, err := json.Marshal(v); err == nil {
			texts = append(texts, string(data))
		}
		if data, err := xml.Marshal(v); err == nil {
			texts = append(texts, string(data))
		}
		zap.New(core).Info("message", zap.Any("keys", v), zap.Reflect("reflect", v))
		zap.New(core).Sugar().Infof("%v %+v %#v", v, v, v)
		var out bytes.Buffer
		slog.New(slog.NewTextHandler(&out, nil)).Info("message", "keys", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("message", "keys", v)
		texts = append(texts, out.String())
	}
	for _, text := range texts {
		if shows(text) {
			t.Errorf("it shows: %.200s", text)
		}
	}
	if len(texts) < 1000 || !slices.Contains(texts, `"[redacted]"`) || !slices.Contains(texts, redacted) {
		t.Errorf("%d texts, but not what is expected", len(texts))
	}
	// What the check would find, were the keys there.
	for _, v := range []any{secret, []byte(secret), k.secrets().verifying, k.secrets().digests} {
		for _, verb := range []string{"%v", "%x", "%d", "%#v"} {
			if text := fmt.Sprintf(verb, v); !shows(text) && !strings.HasPrefix(text, "%!") {
				t.Errorf("the check misses %s", text)
			}
		}
	}
}

// shows reports whether there is a key in the text, or a digest of one, in any way
// that fmt and JSON have.
func shows(text string) bool {
	for _, key := range []string{secret, oldSecret} {
		k, _ := NewKeys([]string{key})
		digest := k.secrets().digests[0]
		for _, data := range [][]byte{[]byte(key), digest[:]} {
			for _, format := range []string{"%s", "%x", "%X", "% x", "%d", "%#v", "%o", "%c"} {
				if strings.Contains(text, strings.Trim(fmt.Sprintf(format, data[:8]), "[]{}byte")) {
					return true
				}
			}
			if quoted, _ := json.Marshal(data); strings.Contains(text, string(quoted[1:9])) {
				return true
			}
		}
	}
	return false
}

type writeFunc func([]byte)

func (f writeFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

func TestRing(t *testing.T) {
	var r Ring
	if guest, _, ok := r.Identify("main", ""); ok || guest != "" {
		t.Errorf("an empty ring identifies %q", guest)
	}
	add := func(guest string, keys ...string) error { return r.Add("main", guest, newKeys(t, keys...)) }
	for range 2 { // the same guest in two servers
		if err := errors.Join(add("blog", secret, oldSecret), add("shop", otherSecret), add("keyless")); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.entries) != 3 {
		t.Errorf("%d entries", len(r.entries))
	}
	for _, c := range []struct{ key, guest string }{
		{secret, "blog"}, {oldSecret, "blog"}, {otherSecret, "shop"},
		{"", ""}, {secret[1:], ""}, {secret + "x", ""}, {secret + "\x00", ""}, {" " + secret, ""}, {strings.ToUpper(secret), ""},
		{secret + oldSecret, ""}, {redacted, ""}, {"blog", ""}, {strings.Repeat("x", 1<<20), ""},
	} {
		if guest, _, ok := r.Identify("main", c.key); guest != c.guest || ok != (c.guest != "") {
			t.Errorf("key %.50q: %q, %t, want %q", c.key, guest, ok, c.guest)
		}
	}
}

func TestRingRefusesASharedKey(t *testing.T) {
	var r Ring
	if err := r.Add("main", "blog", newKeys(t, secret, oldSecret)); err != nil {
		t.Fatal(err)
	}
	for _, keys := range [][]string{{secret}, {oldSecret}, {otherSecret, oldSecret}} {
		err := r.Add("main", "shop", newKeys(t, keys...))
		if err == nil || err.Error() != `the guests "blog" and "shop" share a key: each needs its own, such as one that `+"`openssl rand -base64 32` prints" {
			t.Errorf("%q: error %v", keys, err)
		}
	}
	if guest, _, ok := r.Identify("main", otherSecret); ok {
		t.Errorf("a key that came with a shared one is %q's", guest)
	}
	if err := r.Add("other", "blog", newKeys(t, secret)); err == nil || !strings.Contains(err.Error(), `"blog of party main" and "blog of party other" share a key`) {
		t.Errorf("in another party: error %v", err)
	}
	if guest, _, ok := r.Identify("other", secret); ok {
		t.Errorf("a key is %q's in another party, too", guest)
	}
}

// TestAStolenKeyIsThatGuestsOnly: the key says who asks, and only tokens for that
// guest verify with it.
func TestAStolenKeyIsThatGuestsOnly(t *testing.T) {
	blog, shop := newKeys(t, secret), newKeys(t, otherSecret)
	text := sign(t, blog, sample())
	if _, err := shop.Verify("shop", text, now); err != errSignature {
		t.Errorf("blog's token handed back by shop: %v", err)
	}
	tok := sample()
	tok.Guest = "shop"
	if _, err := shop.Verify("shop", sign(t, blog, tok), now); err != errSignature {
		t.Errorf("a token for shop, signed with blog's key: %v", err)
	}
	if _, err := shop.Verify("shop", sign(t, shop, sample()), now); err != errGuest {
		t.Errorf("a token for blog, signed with shop's key: %v", err)
	}
}

func FuzzIdentify(f *testing.F) {
	for _, key := range []string{"", secret, oldSecret, otherSecret, secret + "\n", redacted} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		var r Ring
		if err := errors.Join(r.Add("main", "blog", newKeys(t, secret, oldSecret)), r.Add("main", "shop", newKeys(t, otherSecret))); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{secret: "blog", oldSecret: "blog", otherSecret: "shop"}[key]
		if guest, _, ok := r.Identify("main", key); guest != want || ok != (want != "") {
			t.Errorf("%q: %q, %t", key, guest, ok)
		}
		if k, err := NewKeys([]string{key}); err == nil && (len(key) < MinKey || k.IsZero()) {
			t.Errorf("%q is a key", key)
		} else if err != nil && len(key) > 8 && strings.Contains(err.Error(), key) {
			t.Errorf("%q: %v", key, err)
		}
	})
}

func BenchmarkIdentify(b *testing.B) {
	var r Ring
	key := func(i int) string { return fmt.Sprintf("%032d", i) }
	for i := range 64 {
		if err := r.Add("main", strconv.Itoa(i), newKeys(b, key(i))); err != nil {
			b.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		i    int
	}{{"first", 0}, {"last", 63}, {"none", 64}} {
		b.Run("guests=64/match="+c.name, func(b *testing.B) {
			b.ReportAllocs()
			given := key(c.i)
			for b.Loop() {
				r.Identify("main", given)
			}
		})
	}
}
