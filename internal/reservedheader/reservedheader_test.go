// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package reservedheader

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

// foldings returns names that a client may write for a reserved one: every
// combination of separators, each in several cases.
func foldings(reserved string) []string {
	all := []string{""}
	for _, c := range reserved {
		var longer []string
		for _, s := range all {
			if c == '-' {
				longer = append(longer, s+"-", s+"_", s+".")
			} else {
				longer = append(longer, s+string(c))
			}
		}
		all = longer
	}
	var names []string
	for _, s := range all {
		swapped := strings.Map(func(c rune) rune {
			if lower := strings.ToLower(string(c)); lower != string(c) {
				return []rune(lower)[0]
			}
			return []rune(strings.ToUpper(string(c)))[0]
		}, s)
		names = append(names, s, strings.ToLower(s), strings.ToUpper(s), swapped, http.CanonicalHeaderKey(s))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

var allFoldings = slices.Concat(foldings(Token), foldings(Ask), foldings(Prefix), foldings(Forward), foldings(Forward+"Cookie"), foldings(Forward+"Ask"), []string{Forward + "X-Long-Name-Of-A-Header", Forward + "\u212a"})

// others are names that are not reserved, though they look it.
var others = []string{
	"Party", "Token", "Party-Tokens", "Party-Toke", "PartyToken", "Party--Token", "-Party-Token", "Party-Token-", "Party/Token", "Party Token",
	"Party\x00Token", "Partx-Token", "Party-T0ken", "Party-To\u212aen", "arty-Token", "Party^Token", "PARTY=TOKEN", "Party,Token", "Party-Token ",
	"Party-As", "Party-Asks", "Party--Ask", "Partx-Ask", "PartyAsk", "Party-Forward", "Party-Forwar-d", "Party-ForwardX", "Party-Forwarded-Cookie", "Arty-Forward-Cookie", "Party\u212aForward-X", "X-Party-Forward-Cookie",
	"X-Forwarded-Prefi", "X-Forwarded-Prefixx", "X-Forwarded-Pref\u0131x", "X-ForwardedPrefix", "X--ForwardedPrefix", "XForwarded-Prefix", "X-Forwarded-Proto",
	"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded", "X-Script-Name", "Forwarded", "X-Forwarded_Suffix", "", "-", "_-.", "X-Client-Id", "Sec-Ch-Ua-Platform",
}

func newRequest(h http.Header) *http.Request {
	return &http.Request{Header: h, Body: http.NoBody}
}

func TestStripEveryFolding(t *testing.T) {
	if n := len(foldings(Token)); n < 12 {
		t.Fatalf("%d foldings", n)
	}
	for _, name := range allFoldings {
		h := http.Header{name: {"forged"}, "Accept": {"*/*"}}
		r := newRequest(h)
		r.Trailer = http.Header{name: {"forged"}, "Expires": nil}
		Strip(r)
		if !reflect.DeepEqual(r.Header, http.Header{"Accept": {"*/*"}}) || !reflect.DeepEqual(r.Trailer, http.Header{"Expires": nil}) {
			t.Errorf("%q leaves header %v and trailer %v", name, r.Header, r.Trailer)
		}
	}
	r := newRequest(make(http.Header))
	for _, name := range allFoldings {
		r.Header[name] = []string{"forged", "twice"}
	}
	Strip(r)
	if len(r.Header) != 0 {
		t.Errorf("all at once leave %v", r.Header)
	}
}

func TestStripTouchesNothingElse(t *testing.T) {
	h := http.Header{"Nil": nil, "Empty": {}, "Two": {"a", "b"}, "Te": {"trailers, Party-Token"}, "Keep-Alive": {"Party-Token"}, "Cookie": {"Party-Token=x"}}
	for _, name := range others {
		h[name] = []string{"kept", Token}
	}
	r := newRequest(h)
	r.Trailer = maps.Clone(h)
	r.Trailer["Connection"] = []string{"Party-Token"} // means nothing there
	header, trailer := r.Header.Clone(), r.Trailer.Clone()
	header["Empty"], trailer["Empty"] = h["Empty"], h["Empty"]
	Strip(r)
	if !reflect.DeepEqual(r.Header, header) {
		t.Errorf("header %v, want %v", r.Header, header)
	}
	if !reflect.DeepEqual(r.Trailer, trailer) {
		t.Errorf("trailer %v, want %v", r.Trailer, trailer)
	}
}

func TestStripNamesInConnectionAndTrailer(t *testing.T) {
	withoutSpace := slices.DeleteFunc(slices.Clone(others), func(name string) bool { return trim(name) != name })
	for _, c := range []struct{ values, want []string }{
		{[]string{"Party-Token"}, nil},
		{[]string{"party-token"}, nil},
		{[]string{"PARTY_TOKEN, x.forwarded_prefix"}, nil},
		{[]string{" \tParty-Token\r\n "}, nil},
		{[]string{"Party-Token,"}, nil},
		{[]string{", ,Party-Token, ,"}, nil},
		{[]string{"Party-Token", "X-Forwarded-Prefix"}, nil},
		{[]string{"close, Party-Token"}, []string{"close"}},
		{[]string{"Party-Token, close"}, []string{" close"}},
		{[]string{"Party-Token,Upgrade"}, []string{"Upgrade"}},
		{[]string{"keep-alive, Party-Token , Upgrade,X-Forwarded-Prefix,HTTP2-Settings"}, []string{"keep-alive, Upgrade,HTTP2-Settings"}},
		{[]string{"a,Party-Token,,b,"}, []string{"a,,b,"}},
		{[]string{"close", "Party-Token", "Upgrade"}, []string{"close", "Upgrade"}},
		{[]string{"x, y", "Party_Token, z"}, []string{"x, y", " z"}},
		{[]string{"", "Party-Token"}, nil},
		{[]string{strings.Repeat("Party-Token,", 1000) + "close"}, []string{"close"}},
		// What is left as it is.
		{[]string{"keep-alive"}, []string{"keep-alive"}},
		{[]string{""}, []string{""}},
		{[]string{}, []string{}},
		{[]string{",", " , "}, []string{",", " , "}},
		{[]string{" Upgrade ,\tHTTP2-Settings,"}, []string{" Upgrade ,\tHTTP2-Settings,"}},
		{[]string{"Party-Tokens, X-Party-Token, Party Token, Party-Token;q=1"}, []string{"Party-Tokens, X-Party-Token, Party Token, Party-Token;q=1"}},
		{withoutSpace, withoutSpace},
	} {
		for _, header := range []string{"Connection", "connection", "CONNECTION", "Trailer", "trailer"} {
			h := http.Header{header: slices.Clone(c.values), "Te": {"trailers"}}
			given := h[header]
			Strip(newRequest(h))
			if got, ok := h[header]; !slices.Equal(got, c.want) || ok != (c.want != nil) {
				t.Errorf("%s: %q becomes %q, want %q", header, c.values, got, c.want)
			}
			if !slices.Equal(given, c.values) {
				t.Errorf("%s: the values of %q were changed in place to %q", header, c.values, given)
			}
			if !reflect.DeepEqual(h["Te"], []string{"trailers"}) {
				t.Errorf("%s: TE is %q", header, h["Te"])
			}
		}
	}
}

func TestStripWithoutHeaderOrBody(t *testing.T) {
	for _, r := range []*http.Request{{}, {ContentLength: -1}, {ContentLength: -1, Body: http.NoBody}, {Trailer: http.Header{}}} {
		body := r.Body
		Strip(r)
		if r.Body != body || r.Header != nil {
			t.Errorf("%+v", r)
		}
	}
}

// lateBody gives a request trailers at its end, as net/http does.
type lateBody struct {
	io.Reader
	end func()
	err error // at the end, for io.EOF
}

func (b *lateBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF && b.end != nil {
		b.end()
		if b.end = nil; b.err != nil {
			err = b.err
		}
	}
	return n, err
}

func (b *lateBody) Close() error {
	if b.end != nil {
		b.end()
		b.end = nil
	}
	return b.err
}

// TestStripLateTrailers has trailers come with the end of the body, announced or
// not, read to the end or closed before.
func TestStripLateTrailers(t *testing.T) {
	failure := errors.New("failure")
	late := func(h http.Header) {
		for _, name := range allFoldings {
			h[name] = []string{"forged"}
		}
		h["X-Checksum"] = []string{"sum"}
	}
	for name, announced := range map[string]http.Header{
		"none":     nil,
		"another":  {"X-Checksum": nil},
		"reserved": {Token: nil, "Party.token": nil},
	} {
		for _, read := range []func(*http.Request) error{
			func(r *http.Request) error { _, err := io.ReadAll(r.Body); return err },
			func(r *http.Request) error { return r.Body.Close() },
		} {
			for _, want := range []error{nil, failure} {
				r := &http.Request{ContentLength: -1, Trailer: maps.Clone(announced)}
				r.Body = &lateBody{Reader: strings.NewReader("content"), err: want, end: func() {
					if r.Trailer == nil {
						r.Trailer = make(http.Header)
					}
					late(r.Trailer)
				}}
				Strip(r)
				passedOn := *r // as by WithContext
				if err := read(&passedOn); !errors.Is(err, want) {
					t.Errorf("announced %s: %v, want %v", name, err, want)
				}
				if !reflect.DeepEqual(r.Trailer, http.Header{"X-Checksum": {"sum"}}) {
					t.Errorf("announced %s: trailers %v", name, r.Trailer)
				}
				if announced != nil && !reflect.DeepEqual(passedOn.Trailer, r.Trailer) {
					t.Errorf("announced %s: trailers passed on %v", name, passedOn.Trailer)
				}
			}
		}
	}
}

func TestStripLeavesTheBodyOfARequestWithoutTrailers(t *testing.T) {
	body := io.NopCloser(strings.NewReader("content"))
	r := &http.Request{ContentLength: 7, Body: body, Header: http.Header{Token: {"x"}}}
	if Strip(r); r.Body != body {
		t.Errorf("the body became a %T", r.Body)
	}
}

// TestServers has net/http's servers read the trailers, and nothing between.
func TestServers(t *testing.T) {
	seen := make(chan http.Header, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/strip" {
			Strip(r)
		}
		if content, err := io.ReadAll(r.Body); err != nil || string(content) != "content" {
			t.Errorf("body %q, error %v", content, err)
		}
		seen <- r.Trailer
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	for _, client := range []*http.Client{server.Client(), {Transport: http1Only(server.Client())}} {
		for path, stripped := range map[string]bool{"/": false, "/strip": true} {
			r, err := http.NewRequest(http.MethodPost, server.URL+path, io.NopCloser(strings.NewReader("content")))
			if err != nil {
				t.Fatal(err)
			}
			r.Trailer = http.Header{"Party-Token": {"forged"}, "X_forwarded.prefix": {"/forged"}, "X-Checksum": {"sum"}}
			response, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			want := r.Trailer
			if stripped {
				want = http.Header{"X-Checksum": {"sum"}}
			}
			if got := <-seen; !reflect.DeepEqual(got, want) {
				t.Errorf("%s %s: trailers %v, want %v", response.Proto, path, got, want)
			}
		}
	}
}

func http1Only(client *http.Client) *http.Transport {
	transport := client.Transport.(*http.Transport).Clone()
	transport.ForceAttemptHTTP2 = false
	transport.TLSClientConfig.NextProtos = nil
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(true)
	return transport
}

// TestCloseWhileReading is for the race detector, with net/http's own body.
func TestCloseWhileReading(t *testing.T) {
	const text = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Checksum\r\n\r\n" +
		"7\r\ncontent\r\n0\r\nX-Checksum: sum\r\nParty-Token: forged\r\nX_Forwarded_Prefix: /forged\r\n\r\n"
	for range 200 {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			t.Fatal(err)
		}
		Strip(r)
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = io.ReadAll(r.Body) })
		wg.Go(func() { _ = r.Body.Close() })
		wg.Wait()
		if !reflect.DeepEqual(r.Trailer, http.Header{"X-Checksum": {"sum"}}) {
			t.Fatalf("trailers %v", r.Trailer)
		}
	}
}

// reserved is isReserved in other words.
func reserved(name string) bool {
	name = strings.NewReplacer("_", "-", ".", "-").Replace(name)
	ascii := !strings.ContainsFunc(name, func(c rune) bool { return c > 127 })
	if len(name) >= len(Forward) && strings.EqualFold(name[:len(Forward)], Forward) && !strings.ContainsFunc(name[:len(Forward)], func(c rune) bool { return c > 127 }) {
		return true
	}
	return ascii && (strings.EqualFold(name, Token) || strings.EqualFold(name, Ask) || strings.EqualFold(name, Prefix))
}

// FuzzStrip has three headers and trailers of any name, with any value.
func FuzzStrip(f *testing.F) {
	for i, name := range append(slices.Clone(allFoldings), others...) {
		f.Add(name, others[i%len(others)], allFoldings[i%len(allFoldings)], "close, "+name, i%2 == 0)
	}
	f.Add("Connection", "connection", "Trailer", "Party-Token, Party.Token,x,, X_Forwarded-Prefix ,close", true)
	f.Add("Te", "Connection", "", "\tparty_token\r\n,\xff", false)
	f.Add("PARTY-TO\u212aEN", "X-FORWARDED-PREF\u0131X", "\u017f", "Party-To\u212aen", true)
	f.Fuzz(func(t *testing.T, a, b, c, value string, announced bool) {
		before := http.Header{a: {value}, b: {"x", value}, c: {value, value}}
		r := &http.Request{Header: before.Clone(), ContentLength: -1}
		if announced {
			r.Trailer = http.Header{b: nil}
		}
		r.Body = &lateBody{Reader: strings.NewReader(""), end: func() {
			if r.Trailer == nil {
				r.Trailer = make(http.Header)
			}
			maps.Copy(r.Trailer, before.Clone())
		}}
		Strip(r)
		if announced {
			for name := range r.Trailer {
				if reserved(name) {
					t.Errorf("%q is still announced", name)
				}
			}
		}
		if _, err := io.ReadAll(r.Body); err != nil {
			t.Fatal(err)
		}
		for name, values := range before {
			lists := strings.EqualFold(name, "Connection") || strings.EqualFold(name, "Trailer")
			trailer, inTrailer := r.Trailer[name]
			header, inHeader := r.Header[name]
			switch {
			case reserved(name):
				if inHeader || inTrailer {
					t.Errorf("%q is left: header %q, trailer %q", name, header, trailer)
				}
				continue
			case !slices.Equal(trailer, values) || !inTrailer:
				t.Errorf("trailer %q is %q, want %q", name, trailer, values)
			case !lists && (!slices.Equal(header, values) || !inHeader):
				t.Errorf("header %q is %q, want %q", name, header, values)
			}
			if !lists {
				continue
			}
			var want, got []string
			for _, listed := range strings.Split(strings.Join(values, ","), ",") {
				if listed = strings.Trim(listed, " \t\r\n"); listed != "" && !reserved(listed) {
					want = append(want, listed)
				}
			}
			for _, listed := range strings.Split(strings.Join(header, ","), ",") {
				if listed = strings.Trim(listed, " \t\r\n"); listed != "" {
					got = append(got, listed)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %q became %q", name, values, header)
			}
			if !slices.ContainsFunc(strings.Split(strings.Join(values, ","), ","), func(s string) bool { return reserved(strings.Trim(s, " \t\r\n")) }) && !slices.Equal(header, values) {
				t.Errorf("%s: %q became %q for no reason", name, values, header)
			}
		}
		if len(r.Header) > len(before) || len(r.Trailer) > len(before) {
			t.Errorf("header %v, trailer %v, of %v", r.Header, r.Trailer, before)
		}
	})
}

// ordinary is the header of a request like most: 15 fields.
func ordinary() http.Header {
	h := make(http.Header)
	for i, name := range []string{
		"User-Agent", "Accept", "Accept-Language", "Accept-Encoding", "Connection", "Cookie", "Referer", "Cache-Control",
		"Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-User", "Sec-Ch-Ua-Platform", "Upgrade-Insecure-Requests", "X-Client-Id",
	} {
		h.Set(name, fmt.Sprint("value ", i))
	}
	h.Set("Connection", "keep-alive")
	return h
}

func TestStripDoesNotAllocate(t *testing.T) {
	r := newRequest(ordinary())
	if n := testing.AllocsPerRun(100, func() { Strip(r) }); n != 0 || len(r.Header) != 15 {
		t.Errorf("%v allocations, %d headers left", n, len(r.Header))
	}
}

// BenchmarkStrip stands beside a loop that does nothing.
func BenchmarkStrip(b *testing.B) {
	r := newRequest(ordinary())
	b.Run("strip", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Strip(r)
		}
	})
	b.Run("loop", func(b *testing.B) {
		b.ReportAllocs()
		length := 0
		for b.Loop() {
			for name := range r.Header {
				length += len(name)
			}
		}
	})
	b.Run("forged", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r.Header[Token], r.Header["X_forwarded.prefix"] = nil, nil
			Strip(r)
		}
	})
}
