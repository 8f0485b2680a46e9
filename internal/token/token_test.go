// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"maps"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/debian"
)

const (
	secret      = "the key of the guest that is called blog"
	oldSecret   = "the key it had before, still accepted..."
	otherSecret = "the key of another guest, to be refused."
)

var now = time.Unix(1_780_000_000, 500_000_000)

func newKeys(t testing.TB, keys ...string) Keys {
	t.Helper()
	k, err := NewKeys(keys)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(t testing.TB, k Keys, tok Token) string {
	t.Helper()
	text, err := k.Sign(tok, now)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// sample is the token of an ask that two others led to.
func sample() Token {
	return Token{
		Guest:    "blog",
		ID:       "an id",
		Method:   "POST",
		URI:      "/blog/api/üser?q=a&b=<c>",
		Mount:    "/blog",
		BodyHash: sha256.Sum256([]byte(`{"id":1}`)),
		Path:     []Ask{{"shop", "render"}, {"", "user"}},
	}
}

// encode64 is base64url without padding.
var encode64 = base64.RawURLEncoding.EncodeToString

// forge makes a JWT of any header and payload with the standard library alone.
func forge(h func() hash.Hash, key, header, payload string) string {
	text := encode64([]byte(header)) + "." + encode64([]byte(payload))
	mac := hmac.New(h, []byte(key))
	mac.Write([]byte(text))
	return text + "." + encode64(mac.Sum(nil))
}

const hs256 = `{"alg":"HS256","typ":"JWT"}`

// claimsWith returns a valid payload with these claims changed; nil removes one.
func claimsWith(change map[string]any) string {
	c := map[string]any{
		"aud": "blog", "iat": now.Unix(), "exp": now.Unix() + 60, "jti": "x", "htm": "GET", "htu": "/blog/x", "bsh": encode64(make([]byte, 32)),
		"mnt": "/blog", "path": [][]string{{"shop", "render"}},
	}
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	payload, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return string(payload)
}

// checkError demands that error, that it is one of this package's kinds, and that
// it quotes neither the token nor a key.
func checkError(t *testing.T, name, text string, err, want error) {
	t.Helper()
	if err == nil || err.Error() != want.Error() {
		t.Errorf("%s: error %v, want %v", name, err, want)
		return
	}
	if errors.Is(err, ErrInvalid) == errors.Is(err, ErrTooDeep) {
		t.Errorf("%s: %v is not one of ErrInvalid and ErrTooDeep", name, err)
	}
	for _, part := range append(strings.Split(text, "."), secret, otherSecret) {
		if len(part) > 4 && strings.Contains(err.Error(), part) {
			t.Errorf("%s: the error quotes %q: %v", name, part, err)
		}
	}
}

// begun returns the token as one that was signed now.
func begun(tok Token) Token {
	tok.begin(now)
	return tok
}

func TestSignThenVerify(t *testing.T) {
	k := newKeys(t, secret)
	deep := sample()
	deep.Path = slices.Repeat([]Ask{{"a guest", "a service"}}, MaxPath)
	invite := Token{Guest: "root", ID: "i", Method: "GET", URI: "/__invite__/", BodyHash: sha256.Sum256(nil), Path: []Ask{}}
	odd := sample()
	odd.Guest, odd.ID, odd.Path = "\x00\"\u2028é\U0001F389", "</script>", []Ask{{"\n", "\\u0000"}}
	for name, want := range map[string]Token{"ask": sample(), "deepest": deep, "invite": invite, "odd": odd} {
		got, err := k.Verify(want.Guest, sign(t, k, want), now)
		if err != nil || !reflect.DeepEqual(got, begun(want)) {
			t.Errorf("%s: %+v, error %v, want %+v", name, got, err, want)
		}
	}
	noPath := invite
	noPath.Path = nil
	if got, err := k.Verify("root", sign(t, k, noPath), now); err != nil || !reflect.DeepEqual(got, begun(invite)) {
		t.Errorf("without a path: %+v, error %v", got, err)
	}
}

// TestTheTokenOfTheProtocolsPage has docs/guests.md tell a token, its key and its
// request, for whoever writes a client.
func TestTheTokenOfTheProtocolsPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/guests.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile("(?s)With the key `(.*?)` and the body `(.*?)`.*?```\n(.*?)\n```").FindSubmatch(page)
	claims := regexp.MustCompile(`(?s)\{"alg": "HS256", "typ": "JWT"\}\n(\{.*?\n\})`).FindSubmatch(page)
	if lines == nil || claims == nil {
		t.Fatal("there is none")
	}
	text := strings.ReplaceAll(string(lines[3]), "\n", "")
	got, err := newKeys(t, string(lines[1])).Verify("blog", text, time.Unix(1795350030, 0))
	if err != nil || !got.IsFor("POST", "/blog/__invite__/render/a", lines[2]) || !got.IsFor("POST", "/__invite__/render/a", lines[2]) {
		t.Errorf("%+v %v", got, err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[1])
	var is, said any
	if err != nil || json.Unmarshal(payload, &is) != nil || json.Unmarshal(claims[1], &said) != nil || !reflect.DeepEqual(is, said) {
		t.Errorf("it says %s, not %s", payload, claims[1])
	}
}

// TestTheAddressOfTheProtocolsPage has it tell where to ask.
func TestTheAddressOfTheProtocolsPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/guests.md")
	if err != nil {
		t.Fatal(err)
	}
	header := regexp.MustCompile("(?s)\nParty-Ask: (\\S+; line=\\S+); mac=([\\w-]+)\n.*?here under\\s`(.*?)`").FindSubmatch(page)
	if header == nil {
		t.Fatal("there is none")
	}
	keys := newKeys(t, string(header[3]))
	if mac := keys.SignAddress(string(header[1])); mac != string(header[2]) {
		t.Errorf("the MAC is %s, not %s", mac, header[2])
	}
}

func TestSignMakesAnIDWhereThereIsNone(t *testing.T) {
	k := newKeys(t, secret)
	ids := make(map[string]bool)
	for range 100 {
		tok := sample()
		tok.ID = ""
		got, err := k.Verify("blog", sign(t, k, tok), now)
		if err != nil || len(got.ID) < 22 || ids[got.ID] {
			t.Fatalf("id %q, error %v", got.ID, err)
		}
		ids[got.ID] = true
	}
}

// TestTheStandardLibraryVerifies has a client's code, without this package.
func TestTheStandardLibraryVerifies(t *testing.T) {
	verify := func(text, key string) (map[string]any, error) {
		head, signature, _ := strings.Cut(text, ".")
		payload, signature, _ := strings.Cut(signature, ".")
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(head + "." + payload))
		if subtle.ConstantTimeCompare([]byte(signature), []byte(encode64(mac.Sum(nil)))) != 1 {
			return nil, errors.New("signature")
		}
		data, err := base64.RawURLEncoding.DecodeString(payload)
		var c map[string]any
		if err == nil {
			err = json.Unmarshal(data, &c)
		}
		return c, err
	}
	tok := sample()
	text := sign(t, newKeys(t, secret, oldSecret), tok)
	got, err := verify(text, secret)
	want := map[string]any{
		"aud": "blog", "iat": float64(now.Unix()), "exp": float64(now.Unix() + 60), "jti": "an id", "htm": "POST", "htu": "/blog/api/üser?q=a&b=<c>",
		"bsh": encode64(tok.BodyHash[:]), "mnt": "/blog", "path": []any{[]any{"shop", "render"}, []any{"", "user"}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("claims %v, error %v, want %v", got, err, want)
	}
	if _, err := verify(text, otherSecret); err == nil {
		t.Error("another key verifies it")
	}
	head, _, _ := strings.Cut(text, ".")
	if header, _ := base64.RawURLEncoding.DecodeString(head); string(header) != hs256 {
		t.Errorf("header %s", header)
	}
}

func TestPythonVerifies(t *testing.T) {
	debian.Install(t, "python3")
	const program = `import sys,hmac,json,base64 as b;t,k=sys.argv[1:];m,s=t.rsplit(".",1);` +
		`assert hmac.compare_digest(b.urlsafe_b64encode(hmac.digest(k.encode(),m.encode(),"sha256")).rstrip(b"="),s.encode());` +
		`print(json.dumps(json.loads(b.urlsafe_b64decode(m.split(".")[1]+"==")),sort_keys=True))`
	text := sign(t, newKeys(t, secret), sample())
	out, err := exec.Command("python3", "-c", program, text, secret).CombinedOutput()
	want := `{"aud": "blog", "bsh": "A3ySFO73TMOIfzpPCFtOF9digNr9JzsO4WDAnEuhz9Q", "exp": 1780000060, "htm": "POST", ` +
		`"htu": "/blog/api/\u00fcser?q=a&b=<c>", "iat": 1780000000, "jti": "an id", "mnt": "/blog", "path": [["shop", "render"], ["", "user"]]}`
	if err != nil || strings.TrimSpace(string(out)) != want {
		t.Errorf("error %v, output\n%swant\n%s", err, out, want)
	}
	if out, err := exec.Command("python3", "-c", program, text, otherSecret).CombinedOutput(); err == nil {
		t.Errorf("another key verifies it: %s", out)
	}
}

func TestTheFirstKeySignsAndAllVerify(t *testing.T) {
	before, during, after := newKeys(t, oldSecret), newKeys(t, secret, oldSecret), newKeys(t, secret)
	for _, c := range []struct {
		signs, verifies Keys
		want            bool
	}{
		{before, during, true}, {during, during, true}, {during, after, true}, {after, during, true},
		{during, before, false}, {before, after, false}, {after, before, false},
	} {
		if _, err := c.verifies.Verify("blog", sign(t, c.signs, sample()), now); (err == nil) != c.want {
			t.Errorf("%d keys sign, %d verify: %v", len(c.signs.secrets().digests), len(c.verifies.secrets().digests), err)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	k := newKeys(t, secret, oldSecret)
	valid := forge(sha256.New, secret, hs256, claimsWith(nil))
	parts := strings.Split(valid, ".")
	none := encode64([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + "."
	with := func(claim string, value any) string {
		return forge(sha256.New, secret, hs256, claimsWith(map[string]any{claim: value}))
	}
	last := strings.Repeat("x", len(parts[2])-1) + "B" // two bits that are not in it
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"no algorithm":                  {none, errSignature},
		"no algorithm, signature":       {none + parts[2], errSignature},
		"no algorithm in capitals":      {encode64([]byte(`{"alg":"NONE"}`)) + "." + parts[1] + ".", errSignature},
		"no alg":                        {forge(sha256.New, secret, `{"typ":"JWT"}`, claimsWith(nil)), errSignature},
		"alg is a number":               {forge(sha256.New, secret, `{"alg":256}`, claimsWith(nil)), errSignature},
		"alg is unknown":                {forge(sha256.New, secret, `{"alg":"hs256"}`, claimsWith(nil)), errSignature},
		"HS384":                         {forge(sha512.New384, secret, `{"alg":"HS384"}`, claimsWith(nil)), errSignature},
		"HS512":                         {forge(sha512.New, secret, `{"alg":"HS512"}`, claimsWith(nil)), errSignature},
		"HS512 under the name of HS256": {forge(sha512.New, secret, hs256, claimsWith(nil)), errSignature},
		"RS256, the key for public":     {forge(sha256.New, secret, `{"alg":"RS256"}`, claimsWith(nil)), errSignature},
		"ES256":                         {forge(sha256.New, secret, `{"alg":"ES256"}`, claimsWith(nil)), errSignature},
		"EdDSA":                         {forge(sha256.New, secret, `{"alg":"EdDSA"}`, claimsWith(nil)), errSignature},
		"critical header":               {forge(sha256.New, secret, `{"alg":"HS256","crit":["b64"],"b64":false}`, claimsWith(nil)), errMalformed},
		"wrong key":                     {forge(sha256.New, otherSecret, hs256, claimsWith(nil)), errSignature},
		"empty key":                     {forge(sha256.New, "", hs256, claimsWith(nil)), errSignature},
		"key with a NUL":                {forge(sha256.New, secret+"\x00x", hs256, claimsWith(nil)), errSignature},
		"altered payload":               {parts[0] + "." + encode64([]byte(claimsWith(map[string]any{"aud": "shop"}))) + "." + parts[2], errSignature},
		"altered header":                {encode64([]byte(`{"typ":"JWT","alg":"HS256"}`)) + "." + parts[1] + "." + parts[2], errSignature},
		"altered signature":             {parts[0] + "." + parts[1] + "." + encode64(make([]byte, 32)), errSignature},
		"half a signature":              {parts[0] + "." + parts[1] + "." + parts[2][:20], errSignature},
		"no signature":                  {parts[0] + "." + parts[1] + ".", errSignature},
		"two parts":                     {parts[0] + "." + parts[1], errMalformed},
		"four parts":                    {valid + "." + parts[2], errMalformed},
		"five parts, as of a JWE":       {valid + ".x.y", errMalformed},
		"twice":                         {valid + valid, errMalformed},
		"a list":                        {valid + "," + valid, errMalformed},
		"empty":                         {"", errMalformed},
		"dots":                          {"..", errMalformed},
		"garbage":                       {"no.token.here", errMalformed},
		"Bearer":                        {"Bearer " + valid, errMalformed},
		"space before":                  {" " + valid, errMalformed},
		"space after":                   {valid + " ", errMalformed},
		"line break after":              {valid + "\n", errMalformed},
		"line break within":             {parts[0] + "." + parts[1] + "." + parts[2][:10] + "\r\n" + parts[2][10:], errMalformed},
		"padding":                       {valid + "=", errMalformed},
		"standard base64":               {parts[0] + "." + parts[1] + "." + "+/" + parts[2][2:], errMalformed},
		"stray bits":                    {parts[0] + "." + parts[1] + "." + last, errMalformed},
		"header that is not JSON":       {forge(sha256.New, secret, "HS256", claimsWith(nil)), errMalformed},
		"header that is null":           {forge(sha256.New, secret, "null", claimsWith(nil)), errSignature},
		"payload that is not JSON":      {forge(sha256.New, secret, hs256, "claims"), errMalformed},
		"payload that is a list":        {forge(sha256.New, secret, hs256, "[]"), errMalformed},
		"payload that is null":          {forge(sha256.New, secret, hs256, "null"), claimError("aud")},
		"payload twice":                 {forge(sha256.New, secret, hs256, claimsWith(nil)+claimsWith(nil)), errMalformed},
		"payload deeply nested":         {forge(sha256.New, secret, hs256, strings.Repeat("[", 4000)), errMalformed},
		"too long":                      {with("x", strings.Repeat("x", MaxLength)), errTooLong},
		"too long, signed by nobody":    {strings.Repeat("x", MaxLength+1), errTooLong},
		"for another guest":             {with("aud", "shop"), errGuest},
		"for two guests":                {with("aud", []string{"blog", "shop"}), claimError("aud")},
		"for this guest in a list":      {with("aud", []string{"blog"}), claimError("aud")},
		"for nobody":                    {with("aud", ""), claimError("aud")},
		"a claim in capitals":           {forge(sha256.New, secret, hs256, strings.Replace(claimsWith(nil), `"htm"`, `"HTM"`, 1)), claimError("htm")},
		"iat is text":                   {with("iat", fmt.Sprint(now.Unix())), claimError("iat")},
		"iat with a fraction":           {with("iat", 1_779_999_999.5), claimError("iat")},
		"iat before 1970":               {with("iat", -1), errLifetime},
		"exp before iat":                {with("exp", now.Unix()-1), errLifetime},
		"exp too late":                  {with("exp", now.Unix()+61), errLifetime},
		"exp beyond all time":           {with("exp", int64(1<<63-1)), errLifetime},
		"exp out of range":              {with("exp", json.Number("9223372036854775808")), claimError("exp")},
		"jti is empty":                  {with("jti", ""), claimError("jti")},
		"htm is empty":                  {with("htm", ""), claimError("htm")},
		"htu is empty":                  {with("htu", ""), claimError("htu")},
		"htu is absolute":               {with("htu", "https://example.com/"), claimError("htu")},
		"bsh is empty":                  {with("bsh", ""), claimError("bsh")},
		"bsh is short":                  {with("bsh", encode64(make([]byte, 31))), claimError("bsh")},
		"bsh is long":                   {with("bsh", encode64(make([]byte, 33))), claimError("bsh")},
		"bsh is padded":                 {with("bsh", encode64(make([]byte, 32))+"="), claimError("bsh")},
		"bsh with stray bits":           {with("bsh", strings.Repeat("A", 42)+"B"), claimError("bsh")},
		"bsh with a line break":         {with("bsh", encode64(make([]byte, 32))+"\n"), claimError("bsh")},
		"bsh is hex":                    {with("bsh", strings.Repeat("0", 64)), claimError("bsh")},
		"mnt is not a path":             {with("mnt", "blog"), claimError("mnt")},
		"mnt ends with a slash":         {with("mnt", "/blog/"), claimError("mnt")},
		"path is text":                  {with("path", "shop"), claimError("path")},
		"path with one":                 {with("path", [][]string{{"shop"}}), claimError("path")},
		"path with three":               {with("path", [][]string{{"shop", "x", "y"}}), claimError("path")},
		"path with null":                {with("path", []any{nil}), claimError("path")},
		"path with null for a name":     {with("path", [][]any{{"shop", nil}}), claimError("path")},
		"path with an object":           {with("path", []any{map[string]string{"guest": "a", "service": "b"}}), claimError("path")},
		"path without a service":        {with("path", [][]string{{"shop", ""}}), claimError("path")},
		"path too deep":                 {with("path", slices.Repeat([][]string{{"a", "b"}}, MaxPath+1)), ErrTooDeep},
	} {
		tok, err := k.Verify("blog", c.text, now)
		checkError(t, name, c.text, err, c.want)
		if !reflect.DeepEqual(tok, Token{}) {
			t.Errorf("%s: token %+v", name, tok)
		}
	}
	for _, claim := range []string{"aud", "iat", "exp", "jti", "htm", "htu", "bsh", "mnt", "path"} {
		text := with(claim, nil)
		_, err := k.Verify("blog", text, now)
		checkError(t, "no "+claim, text, err, claimError(claim))
		text = forge(sha256.New, secret, hs256, claimsWith(map[string]any{claim: json.RawMessage("null")}))
		_, err = k.Verify("blog", text, now)
		checkError(t, "null for "+claim, text, err, claimError(claim))
	}
	if _, err := k.Verify("blog", valid, now); err != nil {
		t.Errorf("the one they were made from: %v", err)
	}
	if _, err := k.Verify("blog", with("more", "unknown claims are ignored"), now); err != nil {
		t.Errorf("with an unknown claim: %v", err)
	}
}

// TestEveryAlteredByteIsRefused: JWT's base64 is often read so that some are not.
func TestEveryAlteredByteIsRefused(t *testing.T) {
	k := newKeys(t, secret)
	text := sign(t, k, sample())
	for i := range text {
		for _, c := range []byte("Aw_.=\n\xff") {
			if c == text[i] {
				continue
			}
			for _, altered := range []string{text[:i] + string(c) + text[i+1:], text[:i] + string(c) + text[i:], text[:i] + text[i+1:]} {
				if _, err := k.Verify("blog", altered, now); !errors.Is(err, ErrInvalid) {
					t.Fatalf("%q at %d: %v", c, i, err)
				}
			}
		}
	}
}

func TestVerifyWithoutKeyOrGuest(t *testing.T) {
	text := sign(t, newKeys(t, secret), sample())
	_, err := Keys{}.Verify("blog", text, now)
	checkError(t, "without a key", text, err, errSignature)
	unsigned := forge(sha256.New, "", hs256, claimsWith(nil))
	_, err = Keys{}.Verify("blog", unsigned, now)
	checkError(t, "without a key, signed with none", unsigned, err, errSignature)
	for _, guest := range []string{"", "Blog", "blog ", "shop"} {
		if _, err := newKeys(t, secret).Verify(guest, text, now); !errors.Is(err, ErrInvalid) {
			t.Errorf("guest %q: %v", guest, err)
		}
	}
}

func TestTime(t *testing.T) {
	k := newKeys(t, secret)
	text := sign(t, k, sample())
	made := time.Unix(now.Unix(), 0)
	for _, c := range []struct {
		after time.Duration
		want  error
	}{
		{-1000 * time.Hour, errFuture},
		{-Leeway - time.Second, errFuture},
		{-Leeway - 1, errFuture},
		{-Leeway, nil},
		{0, nil},
		{Lifetime, nil},
		{Lifetime + Leeway - 1, nil},
		{Lifetime + Leeway, errExpired},
		{Lifetime + Leeway + time.Second, errExpired},
		{1000 * time.Hour, errExpired},
	} {
		_, err := k.Verify("blog", text, made.Add(c.after))
		if err != c.want {
			t.Errorf("%v after it was made: %v, want %v", c.after, err, c.want)
		}
	}
	for _, c := range []struct {
		iat, exp int64
		want     error
	}{
		{now.Unix(), now.Unix(), nil},
		{now.Unix() - 60, now.Unix(), nil},
		{now.Unix() - 61, now.Unix(), errLifetime},
		{now.Unix() - 100, now.Unix() - 40, errExpired},
		{now.Unix() + 30, now.Unix() + 90, nil},
		{now.Unix() + 31, now.Unix() + 91, errFuture},
		{0, 0, errExpired},
		{0, 60, errExpired},
		{1<<63 - 61, 1<<63 - 1, errExpired}, // time.Time wraps around
		{1 << 62, 1<<62 + 60, errFuture},
		{-1 << 63, 1<<63 - 1, errLifetime},
	} {
		text := forge(sha256.New, secret, hs256, claimsWith(map[string]any{"iat": c.iat, "exp": c.exp}))
		if _, err := k.Verify("blog", text, now); err != c.want {
			t.Errorf("iat %d, exp %d: %v, want %v", c.iat, c.exp, err, c.want)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	k := newKeys(t, secret)
	for name, c := range map[string]struct {
		change func(*Token)
		want   error
	}{
		"no guest":             {func(t *Token) { t.Guest = "" }, claimError("aud")},
		"guest no UTF-8":       {func(t *Token) { t.Guest = "\xff" }, claimError("aud")},
		"id no UTF-8":          {func(t *Token) { t.ID = "\xff" }, claimError("jti")},
		"no method":            {func(t *Token) { t.Method = "" }, claimError("htm")},
		"no URI":               {func(t *Token) { t.URI = "" }, claimError("htu")},
		"an absolute URI":      {func(t *Token) { t.URI = "http://blog/" }, claimError("htu")},
		"URI no UTF-8":         {func(t *Token) { t.URI = "/\xff" }, claimError("htu")},
		"mount that is /":      {func(t *Token) { t.Mount = "/" }, claimError("mnt")},
		"mount without /":      {func(t *Token) { t.Mount = "blog" }, claimError("mnt")},
		"mount no UTF-8":       {func(t *Token) { t.Mount = "/\xff" }, claimError("mnt")},
		"path without service": {func(t *Token) { t.Path = []Ask{{"a", ""}} }, claimError("path")},
		"path no UTF-8":        {func(t *Token) { t.Path = []Ask{{"\xff", "a"}} }, claimError("path")},
		"path too deep":        {func(t *Token) { t.Path = slices.Repeat([]Ask{{"a", "b"}}, MaxPath+1) }, ErrTooDeep},
		"too long":             {func(t *Token) { t.URI += strings.Repeat("x", MaxLength) }, errTooLong},
	} {
		tok := sample()
		c.change(&tok)
		text, err := k.Sign(tok, now)
		checkError(t, name, "", err, c.want)
		if text != "" {
			t.Errorf("%s: %q", name, text)
		}
	}
	if text, err := (Keys{}).Sign(sample(), now); err != errNoKey || text != "" {
		t.Errorf("without a key: %q, error %v", text, err)
	}
}

func TestTheLongestTokenVerifies(t *testing.T) {
	k := newKeys(t, secret)
	tok := sample()
	for {
		text, err := k.Sign(tok, now)
		if err != nil {
			break
		}
		if _, err := k.Verify("blog", text, now); err != nil || len(text) > MaxLength {
			t.Fatalf("%d bytes: %v", len(text), err)
		}
		tok.URI += "/a segment"
	}
	if len(tok.URI) < MaxLength/2 {
		t.Errorf("a URI of %d bytes is too long", len(tok.URI))
	}
}

func TestSignDoesNotKeepThePath(t *testing.T) {
	tok := sample()
	before := slices.Clone(tok.Path)
	sign(t, newKeys(t, secret), tok)
	if !slices.Equal(tok.Path, before) {
		t.Errorf("the path became %v", tok.Path)
	}
}

func TestIsFor(t *testing.T) {
	body := []byte(`{"id":1}`)
	blog := Token{Method: "POST", URI: "/blog/api/x?y=%2F", Mount: "/blog", BodyHash: sha256.Sum256(body)}
	top := Token{Method: "GET", URI: "/x", BodyHash: sha256.Sum256(nil)}
	mount := Token{Method: "GET", URI: "/blog?x", Mount: "/blog", BodyHash: sha256.Sum256(nil)}
	blogger := Token{Method: "GET", URI: "/blogger/x", Mount: "/blog", BodyHash: sha256.Sum256(nil)}
	for _, c := range []struct {
		t           Token
		method, uri string
		body        []byte
		want        bool
	}{
		{blog, "POST", "/blog/api/x?y=%2F", body, true},
		{blog, "POST", "/api/x?y=%2F", body, true},
		{blog, "GET", "/api/x?y=%2F", body, false},
		{blog, "post", "/api/x?y=%2F", body, false},
		{blog, "POST", "/api/x?y=%2F", nil, false},
		{blog, "POST", "/api/x?y=%2F", []byte(`{"id":2}`), false},
		{blog, "POST", "/api/x?y=/", body, false},
		{blog, "POST", "/api/x", body, false},
		{blog, "POST", "/x?y=%2F", body, false},
		{blog, "POST", "/blog/blog/api/x?y=%2F", body, false},
		{blog, "POST", "api/x?y=%2F", body, false},
		{blog, "POST", "", body, false},
		{top, "GET", "/x", nil, true},
		{top, "GET", "/x", []byte{}, true},
		{top, "GET", "/", nil, false},
		{top, "GET", "x", nil, false},
		{mount, "GET", "/blog?x", nil, true},
		{mount, "GET", "/?x", nil, true},
		{mount, "GET", "?x", nil, false},
		{mount, "GET", "/", nil, false},
		{blogger, "GET", "/blogger/x", nil, true},
		{blogger, "GET", "ger/x", nil, false},
		{blogger, "GET", "/x", nil, false},
		{Token{Method: "GET", URI: "/x", Mount: "/blog", BodyHash: sha256.Sum256(nil)}, "GET", "/blog/x", nil, false}, // it was outside
	} {
		if got := c.t.IsFor(c.method, c.uri, c.body); got != c.want {
			t.Errorf("%s below %q: IsFor(%q, %q, %q) = %t", c.t.URI, c.t.Mount, c.method, c.uri, c.body, got)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	keys, tok := newKeys(b, secret), sample()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := keys.Sign(tok, now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	keys := newKeys(b, secret)
	text := sign(b, keys, sample())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := keys.Verify("blog", text, now); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHMAC is what signing cannot do without.
func BenchmarkHMAC(b *testing.B) {
	text := []byte(sign(b, newKeys(b, secret), sample()))
	b.ReportAllocs()
	for b.Loop() {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(text)
		mac.Sum(nil)
	}
}
