// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package privatepath

import (
	"encoding/hex"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/measure"
)

// newSet returns a Set with the paths, none of which may be the root.
func newSet(t testing.TB, paths ...string) *Set {
	t.Helper()
	s := new(Set)
	for _, p := range paths {
		if !s.Add(p) {
			t.Fatalf("Add(%q) = false", p)
		}
	}
	return s
}

func check(t *testing.T, s *Set, requestPath string, want bool) {
	t.Helper()
	if got := s.Contains(requestPath); got != want {
		t.Errorf("paths %q: Contains(%q) = %t", s.paths, requestPath, got)
	}
}

func TestContainsEverySpelling(t *testing.T) {
	s := newSet(t, "/__invite__/", "/one/__invite__/")
	for _, p := range []string{
		"/__invite__", "/__invite__/", "__invite__", "/__INVITE__/", "/__InViTe__",
		"//__invite__", "///__invite__//", "/./__invite__", "/././__invite__/.", "/__invite__/./",
		"/__invite__/below", "/__invite__/be/low/", "/__invite__//x", "/__invite__/;x",
		"/__invite__;", "/__invite__;v=1", "/__invite__;v=1/", "/__invite__;a;b/x", "/;/__invite__", "/;x/__invite__;y", "/.;x/__invite__",
		"/one/__invite__", "/One/__Invite__/", "/one//__invite__", "//one/__invite__", "/one/./__invite__",
		"/one;a=b/__invite__", "/one;/;/__invite__;/", "/one/;x/__invite__", "/one/.;/__invite__/x",
		// Where ".." leads depends on what comes first: parameters, empty segments, dots.
		"/../__invite__", "/x/../__invite__", "/x/..;/__invite__", "/x/..;y=z/__invite__/", "/__invite__/..;/x", "/..;/..;/__invite__",
		"/one/two/../__invite__", "/ONE/two/..;/__invite__", "/one//../__invite__", "/one/;x/../__invite__", "/one/./../__invite__",
		"/x/;y/../..;/one/__invite__", "/one/;a/../b/..;/__invite__",
		"/__invite__/..", "/__invite__/../x", "/one/__invite__/a/../../x",
		// Some take backslashes for slashes, and what follows two of them for a host.
		`/one\__invite__`, `\__invite__\`, `/one\x\..\__invite__`,
		// Windows drops dots and spaces at a segment's end, and "$" matches before a line break.
		"/__invite__.", "/__invite__...", "/__invite__. ./x", "/one./__invite__/", "/one /__invite__", "/__invite__ ", "/__invite__\n", "/__invite__/\r\n",
		"/__invite__\t", "/__invite__\x00", "/one/.../one/__invite__", "/x/. ./__invite__", "/. /__invite__", "/one/ /__invite__", "/__invite__.;x", "/__invite__;.",
		// An extension chooses a format, or a script, and a script gets the path after it.
		"/__invite__.json", "/__invite__.json/", "/__invite__.php", "/__INVITE__.PHP/x", "/one/__invite__.tar.gz", "/one/__invite__.d/x", "/x/../__invite__.json",
		"/index.php/__invite__/", "/one/index.php/__invite__", "/Index.PHP/one/App.php/__invite__.json", "/one/index.php./__invite__", "//host/index.php/one/__invite__",
		// Behind a rewrite, or in an application, a path is unescaped once more, or cut.
		"/%5F%5finvite__", "/%255F%255Finvite__/", "/__inv%2569te__", "/%2525255f_invite__/x", "/__invite__%2f", "/__invite__%252fx", "/one%2f__invite__", "/one%5C__invite__",
		"/one%25252f__%69nvite__", "/__invite__%3f", "/__invite__%3fx=/..", "/__invite__%23", "/__invite__%00.png", "/__invite__%253fx", "/__invite__%2500", "/__invite__%3bx", "/__invite__%20",
		"/__invite__?", "/__invite__?x", "/__invite__/?/../..", "/__invite__#x", "/__invite__\x00.png", "/__invite__ ?x", "/one#x/__invite__", "/one/__invite__.?",
		"/x/%2e%2e/__invite__", "/x/.%252e/one/__invite__", "/x%2f..%2f__invite__", "/%2e/__invite__", "/__invite__%", "/__invite__%zz", "/one%3b%2fx/__invite__%3f",
		// Parameters may be dropped before, between and after.
		"/one;%2fa/__invite__", "/one;%2fa/__inv%69te__", "/one;%252fa/__inv%2569te__", "/one%3b%252fa/__invite__", "/one;%252fx%2f/__invite__", "/one;%2fx/__invite__%3b%252fy",
		"/one/__invite__" + strings.Repeat("/x", maxLength), "/%" + strings.Repeat("25", 20) + "41",
		"//host/one/__invite__/", "//host:80/ONE//__invite__/x", "///host/one/__invite__", `\\host\__invite__`,
	} {
		check(t, s, p, true)
	}
}

func TestContainsNothingElse(t *testing.T) {
	s := newSet(t, "/one/__invite__/", "/two/Hidden")
	for _, p := range []string{
		"", "/", "//", "*", ".", "/one", "/one/", "/two", "/one;/", // parents
		"/__invite__", "/two/__invite__", "/one/hidden", "/x/one/__invite__", "/one/x/__invite__", // elsewhere
		"/one/__invite", "/one/__invite__x", "/one/x__invite__", "/one/__invite__-html", "/one/__invite__\tx", "/two/hiddens", // parts of a segment
		"/one__invite__", "/one;/x;__invite__", "/one/;__invite__", "/one/x;/__invite__x", "/one/two", "/two/hid/den", // siblings
		"/one/.__invite__", "/one/.hidden", "/.well-known/x", "/one/..__invite__", "/one/...", "/two/..hidden", // dotfiles
		"/one/index.html/__invite__", "/one/index.php", "/one/index.php/x", "/index.phpx/one/__invite__", "/one.php/__invite__", // scripts
		"//host/x/one/__invite__", "//one/two", "/host//one/__invite__", // hosts of something else
		"/one%2ftwo", "/100%", "/%", "/%zz", "/%2", "/one%252fx", "/caf%25C3%25A9", "/one/__init%5f%5f", "/?/x", "/one?x", "/one#/__invite", "/two/%2568idde", // escapes
		"/" + strings.Repeat("x/", maxLength), "/one/%2568i" + strings.Repeat("x", maxLength), // long ones
		"/one/..", "/one/../two", "/a/..;/b", "/a/../one/__invite__x", "/é/../index.html", // climbing without naming it
	} {
		check(t, s, p, false)
	}
	check(t, new(Set), "/", false)
	check(t, new(Set), "/one/../é", false)
}

// TestContainsWhatURLsResolveTo has applications that resolve a path as RFC 3986
// does, which takes an empty segment for one that ".." leaves.
func TestContainsWhatURLsResolveTo(t *testing.T) {
	s := newSet(t, "/one/__invite__")
	for _, p := range []string{"/one//../__invite__", "/one/x//../../__invite__", "/two/..//../one/__invite__"} {
		resolved := new(url.URL).ResolveReference(&url.URL{Path: p}).Path
		if !strings.HasSuffix(resolved, "one/__invite__") {
			t.Fatalf("%q resolves to %q", p, resolved)
		}
		check(t, s, p, true)
	}
}

func TestAddRefusesTheRoot(t *testing.T) {
	var s Set
	for _, p := range []string{"", "/", "//", "/.", "/./", "/..", "/x/..", "/;x", "/;x/;y/", ";", "/x/..;y"} {
		if s.Add(p) {
			t.Errorf("Add(%q) = true", p)
		}
	}
	if s.paths != nil || s.lastSegments != nil {
		t.Errorf("Add left %+v", s)
	}
}

func TestAddTakesEverySpelling(t *testing.T) {
	for _, p := range []string{"/one/__invite__", "one/__invite__/", "/ONE//__Invite__", "/one;v=1/./__invite__;x", "/x/../one/__invite__"} {
		s := newSet(t, p)
		check(t, s, "/one/__invite__/", true)
		check(t, s, "/one", false)
		check(t, s, "/__invite__", false)
	}
}

func TestManyPathsWithOneLastSegment(t *testing.T) {
	s := newSet(t, "/a/__invite__", "/b/__INVITE__/", "/c/d/__invite__", "/a/__invite__", "/other")
	if want := []string{"__invite__", "other"}; !slices.Equal(s.lastSegments, want) {
		t.Errorf("last segments %q, want %q", s.lastSegments, want)
	}
	for p, want := range map[string]bool{
		"/a/__invite__": true, "/b/__invite__/x": true, "/c/d/__invite__": true, "/other/x": true,
		"/d/__invite__": false, "/c/__invite__": false, "/__invite__": false, "/a/other": false, "/a": false,
	} {
		check(t, s, p, want)
	}
}

// TestCaseIsThatOfToLower: letters are the same where strings.ToLower makes them
// the same. That has K (Kelvin) for k and İ for i, but not ſ for s or ß for ss.
func TestCaseIsThatOfToLower(t *testing.T) {
	for _, c := range []struct {
		private, requestPath string
		want                 bool
	}{
		{"/kiosk", "/\u212aios\u212a", true},
		{"/one/__invite__", "/one/__\u0130nv\u0130te__", true},
		{"/one/__invite__", "/one/__ınvıte__", false}, // dotless: its upper case is I
		{"/one/sass", "/one/\u017fa\u017f\u017f", false},
		{"/one/\u017fa", "/one/\u017fA", true},
		{"/one/\u017fa", "/one/sa", false},
		{"/strasse", "/straße", false},
		{"/straße", "/STRAẞE", true},
		{"/Ärger", "/ärger/x", true},
		{"/Ärger", "//ÄRGER;x/", true},
		{"/ärger", "/arger", false},
		{"/\u212a", "/k", true}, // the private path is the ASCII one
		{"/\u212a", "/K", true},
		{"/Å", "/\u212b", true},          // Ångström: longer than what it becomes
		{"/ab\u2c65", "/AB\u023a", true}, // Ⱥ: shorter
		{"/ab\u023a/x", "/ab\u2c65/X", true},
		{"/σας", "/ΣΑΣ", false}, // a final ς is no σ
		{"/招待", "/招待/x", true},
		{"/招待", "/招", false},
		{"/é/__invite__", "/É/__invite__", true},
		{"/é/__invite__", "/É/", false},
		{"/x\xff", "/X\xff", true}, // no UTF-8: U+FFFD
		{"/x\xff", "/X\ufffd", true},
		{"/x", "/x\xff", false},
	} {
		check(t, newSet(t, c.private), c.requestPath, c.want)
	}
}

// TestContainsURLKnowsHowThePathWasEscaped has applications that drop parameters before
// they unescape.
func TestContainsURLKnowsHowThePathWasEscaped(t *testing.T) {
	s := newSet(t, "/one/__invite__")
	for p, want := range map[string]bool{
		"http:one/__invite__": true, "foo:one%2f__invite__?x": true, "http:one/two": false, "http://__invite__/one": false,
		"/one/__invite__": true, "/one/%5F_invite__": true, "/one%2F__invite__": true, "/one;%2Fx/__invite__": true,
		"/one%2Ftwo": false, "/caf%C3%A9": false, "/one%3B": false,
	} {
		u, err := url.ParseRequestURI(p)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.ContainsURL(u); got != want {
			t.Errorf("ContainsURL(%q) = %t", p, got)
		}
	}
}

// TestContainsBehindAMount has mounts that a rewrite inside stripped, or did not.
func TestContainsBehindAMount(t *testing.T) {
	s := newSet(t, "/__invite__/", "/blog/__invite__/", "/Old/Wiki/__invite__", "/blog/a/party")
	for mount, byPath := range map[string]map[string]bool{
		"":          {"/__invite__": true, "/blog/__invite__": true, "/a/party": false, "/blog": false, "/x/__invite__": false},
		"/blog":     {"http:__invite__": true, "http:blog/__invite__": true, "http:x": false, "/__invite__/x": true, "/blog/__invite__": true, "/%5f_invite__": true, "/a/PARTY": true, "/a/%252570arty": true, "/a/x": false, "/x/__invite__": false, "/%2f": false, "/": false},
		"/BLOG/a":   {"/party": true, "/party.json": true, "/a/party": false, "/parties": false},
		"/old/wiki": {"/__invite__": true, "/old/WIKI/__invite__": true, "/__invite__;x%2f": true, "/a/party": false},
		"/old":      {"/wiki/__invite__": true, "/x/wiki/__invite__": false, "/wiki;%2fx/__invite__": true},
		"/none":     {"/__invite__": true, "/wiki/__invite__": false, "/party": false},
	} {
		for p, want := range byPath {
			u, err := url.ParseRequestURI(p)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.ContainsBehind(mount, u); got != want {
				t.Errorf("ContainsBehind(%q, %q) = %t", mount, p, got)
			}
		}
	}
}

// TestAPathMadeToBeSlowIsNot compares work of paths that differ only in length.
func TestAPathMadeToBeSlowIsNot(t *testing.T) {
	s := newSet(t, "/one/__invite__")
	for _, part := range []string{"%25", "25", "/__invite__%2f", "/%5f_invite__", "/;", "?"} {
		times := func(n int) func() time.Duration {
			p := "/x/__invite__x/%25" + strings.Repeat(part, n)
			return func() time.Duration {
				began := time.Now()
				s.Contains(p)
				return time.Since(began)
			}
		}
		measure.TakesAtMost(t, 40, times(10_000), times(80_000))
	}
}

// reference takes all orders of unescaping, cutting, dropping parameters, resolving dots
// as Go and as RFC 3986 do, and not at all, with and without a host, one segment after
// the other.
func reference(private []string, requestPath string) bool {
	drop := func(p string) string {
		var segments []string
		for _, segment := range strings.Split(p, "/") {
			segments = append(segments, strings.Split(segment, ";")[0])
		}
		return strings.Join(segments, "/")
	}
	// trim is what Windows does to names, and "..." it takes for "..".
	trim := func(p string) string {
		segments := strings.Split(p, "/")
		for i, segment := range segments {
			segments[i] = strings.TrimRightFunc(segment, func(r rune) bool { return r <= ' ' || r == '.' })
			if dots := strings.Count(segment, "."); segments[i] == "" && dots > 0 {
				segments[i] = strings.Repeat(".", min(dots, 2))
			}
		}
		return strings.Join(segments, "/")
	}
	runScripts := func(p string) string {
		return strings.Join(slices.DeleteFunc(strings.Split(p, "/"), func(segment string) bool { return strings.HasSuffix(segment, ".php") }), "/")
	}
	resolve := func(p string) string { return new(url.URL).ResolveReference(&url.URL{Path: p}).Path }
	goClean := func(p string) string { return path.Clean("/" + p) }
	segmentsOf := func(p string) []string {
		return slices.DeleteFunc(strings.Split(p, "/"), func(segment string) bool { return segment == "" || segment == "." })
	}
	fold := func(p string) string { return strings.ReplaceAll(strings.ToLower(p), `\`, "/") }
	escape := regexp.MustCompile("%[0-9a-fA-F]{2}")
	decode := func(p string) string {
		return fold(escape.ReplaceAllStringFunc(p, func(e string) string {
			c, _ := hex.DecodeString(e[1:])
			return string(c)
		}))
	}
	cut := func(p string) string { return regexp.MustCompile(`(?s)[?#\x00].*`).ReplaceAllString(p, "") }
	spellings := []string{fold(requestPath)}
	spellings = append(spellings, decode(spellings[0]), decode(decode(spellings[0])))
	for _, p := range spellings { // before anything is resolved
		if p := trim(drop(p)); strings.HasPrefix(p, "//") {
			_, afterHost, _ := strings.Cut(strings.TrimLeft(p, "/"), "/")
			spellings = append(spellings, "/"+afterHost)
		}
	}
	for range 3 {
		for _, p := range spellings {
			spellings = append(spellings, drop(p), trim(p), runScripts(p), resolve(p), goClean(p), decode(p), cut(p))
		}
		slices.Sort(spellings)
		spellings = slices.Compact(spellings)
	}
	for _, p := range spellings {
		for _, private := range private {
			want, got := segmentsOf(goClean(trim(drop(fold(unescapeText(private)))))), segmentsOf(p)
			if len(got) < len(want) {
				continue
			}
			last := len(want) - 1
			if slices.Equal(got[:last], want[:last]) && (got[last] == want[last] || strings.HasPrefix(got[last], want[last]+".")) {
				return true
			}
		}
	}
	return false
}

func FuzzContains(f *testing.F) {
	for _, p := range []string{
		"/one/__invite__.json", "/one./index.php/__invite__ /", "/.../one/__invite__.",
		"/one/__invite__/", "/ONE//__Invite__;x/..", "/one//../__invite__", "/a/..;/one/__invite__", "/é/ÄRGER/x", "/\u212a/..;x", "/ab\u023a", "/.hidden", "\xff/k",
	} {
		f.Add(p, "/one/__invite__", uint8(3))
		f.Add(strings.ReplaceAll(strings.ReplaceAll(p, "_", "%255f"), ".", "%2e"), "/one/__invite__", uint8(3))
		f.Add(url.PathEscape(p)+"%3f", "/one/__invite__", uint8(3))
		f.Add("//host"+p, "/one/__invite__", uint8(3))
		f.Add(p, p, uint8(0))
	}
	fixed := []string{"/__invite__/", "/Ärger", "/k", "/ab\u2c65"}
	f.Fuzz(func(t *testing.T, requestPath, private string, at uint8) {
		if len(requestPath) > 200 || strings.ContainsAny(unescapeText(private), pathEnds) {
			return // resolving is quadratic; nobody invites "/a?b/__invite__"
		}
		var s Set
		paths := slices.DeleteFunc(append(fixed, private), func(p string) bool { return !s.Add(p) })
		got := s.Contains(requestPath)
		climbs := slices.Contains(strings.Split(normalize(requestPath, parameters), "/"), "..")
		doubtful := climbs || strings.ContainsAny(requestPath, "%"+pathEnds)
		want := reference(paths, requestPath)
		if want && !got || got && !want && !doubtful {
			t.Errorf("paths %q: Contains(%q) = %t", paths, requestPath, got)
		}
		if s.isBelow(path.Clean("/"+strings.ToLower(unescapeText(requestPath)))) && !got {
			t.Errorf("paths %q: %q is private once it is cleaned", paths, requestPath)
		}
		if (s.isBelow(path.Clean("/"+normalize(requestPath, parameters))) || got) && !s.mayContain(requestPath) {
			t.Errorf("paths %q: mayContain hides %q", paths, requestPath)
		}
		if !want || strings.HasPrefix(normalize(unescapeText(requestPath), parameters+pathEnds), "//") {
			return
		}
		// However else it is written, it stays private.
		lowered := strings.ToLower(requestPath)
		spellings := []string{
			requestPath + "/", requestPath + ";x", requestPath + "/x", requestPath + ".", requestPath + " ", requestPath + "\n", requestPath + "/;", "/" + requestPath, "/./" + requestPath, "/;x/" + requestPath,
			lowered, strings.ReplaceAll(requestPath, "/", "//"), requestPath + "?x", requestPath + "#", requestPath + "\x00", requestPath + "%2f", requestPath + "%252Fx", requestPath + "%3f",
			strings.ReplaceAll(requestPath, "%", "%25"), url.PathEscape(requestPath), strings.ReplaceAll(requestPath, "_", "%5F"), strings.ReplaceAll(requestPath, "/", ";x/"), strings.ReplaceAll(requestPath, "/", "/./"),
		}
		if upper := strings.ToUpper(requestPath); strings.ToLower(upper) == lowered {
			spellings = append(spellings, upper)
		}
		if i := int(at); i < len(requestPath) && requestPath[i] == '/' {
			spellings = append(spellings, requestPath[:i]+";x/"+requestPath[i:])
		}
		for _, p := range spellings {
			if !s.Contains(p) {
				t.Errorf("paths %q: %q is private, but %q is not", paths, requestPath, p)
			}
		}
	})
}

// ordinary is a request path like most.
const ordinary = "/blog/2026/05/hello-world.html"

func inviteSet(t testing.TB, n int) *Set {
	var paths []string
	for i := range n {
		paths = append(paths, fmt.Sprintf("/app%d/__invite__/", i))
	}
	return newSet(t, paths...)
}

func TestContainsDoesNotAllocate(t *testing.T) {
	s := inviteSet(t, 16)
	for _, p := range []string{ordinary, "/Static/../.well-known//x;y/caf\u00e9", "/_/__init__.py"} {
		u := &url.URL{Path: p}
		if n := testing.AllocsPerRun(100, func() { s.ContainsURL(u); s.ContainsBehind("/app1", u) }); n != 0 {
			t.Errorf("looking for %q allocates %v times", p, n)
		}
	}
}

func BenchmarkContains(b *testing.B) {
	for _, n := range []int{1, 16} {
		s := inviteSet(b, n)
		b.Run(fmt.Sprintf("paths=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if s.Contains(ordinary) {
					b.Fatal("an ordinary path is private")
				}
			}
		})
	}
}
