// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package operations_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/wire"
)

// unspeakableError is one of an application that has not tested its errors.
type unspeakableError struct{}

func (unspeakableError) Error() string { panic("no message") }

func TestAnAdminAskHasTheAnswersInOrderAndEachReply(t *testing.T) {
	party := partytest.FreshParty()
	c := newAdminTest(t, "wsgi_party "+party)
	c.connect(party, "zoe", "number", partytest.Answers("first"))
	c.connect(party, "shy", "number", func(context.Context, any) (any, error) { return nil, fmt.Errorf("no: %w", wsgiparty.ErrHighAndDry) })
	c.connect(party, "broken", "number", func(context.Context, any) (any, error) { return "lost", errors.New("oh no") })
	adam := c.connect(party, "adam", "number", partytest.Answers(map[string]any{"b": []int{1, 2}, "a": nil}))
	partytest.Connect(t, adam, "number", partytest.Answers(nil))
	c.connect(party, "adam", "other", partytest.Answers("wrong"))
	c.expectJSON("POST", "/wsgi_party/"+party+"/ask/number", "", `{
		"answers": ["first", {"a": null, "b": [1, 2]}, null],
		"replies": [
			{"guest": "zoe", "mount": "", "status": "answered", "duration": "DURATION"},
			{"guest": "shy", "mount": "", "status": "declined", "duration": "DURATION"},
			{"guest": "broken", "mount": "", "status": "failed", "error": "guest \"broken\" failed to answer \"number\": oh no", "duration": "DURATION"},
			{"guest": "adam", "mount": "", "status": "answered", "duration": "DURATION"},
			{"guest": "adam", "mount": "", "status": "answered", "duration": "DURATION"}
		],
		"duration": "DURATION"
	}`)
	c.connect(party, "shy", "secret", partytest.Declines)
	c.expectJSON("POST", "/wsgi_party/"+party+"/ask/secret/", "", `{"answers": [], "replies": [{"guest": "shy", "mount": "", "status": "declined", "duration": "DURATION"}], "duration": "DURATION"}`)
	check.Equal(t, fmt.Sprint(c.shown(party).Counts), `[{adam number 2 2 0 0 0 } {adam other 0 0 0 0 0 } {broken number 1 0 0 1 0 guest "broken" failed to answer "number": oh no} `+
		`{shy number 1 0 1 0 0 } {shy secret 1 0 1 0 0 } {zoe number 1 1 0 0 0 }]`, "counts")
}

type askedJSON struct {
	Answers  []any
	Replies  []replyJSON
	Duration float64
}

type replyJSON struct {
	Guest, Status, Note, Error string
	Duration                   float64
}

// String is the answers, and who replied how, without what follows an error's first line.
func (a askedJSON) String() string {
	text := fmt.Sprint(a.Answers)
	for _, r := range a.Replies {
		line, _, _ := strings.Cut(r.Error, "\n")
		text += strings.TrimRight(fmt.Sprint("; ", r.Guest, " ", r.Status, " ", line), " ")
	}
	return text
}

func TestAdminAskFirst(t *testing.T) {
	c := newAdminTest(t, "wsgi_party main")
	var calls []string
	for _, guest := range []string{"shy", "one", "two"} {
		c.connect("main", guest, "number", func(context.Context, any) (any, error) {
			calls = append(calls, guest)
			if guest == "shy" {
				return nil, wsgiparty.ErrHighAndDry
			}
			return guest, nil
		})
	}
	const all, first, wrong = "[one two]; shy declined; one answered; two answered", "[one]; one answered", "" // who declined before the first is left out
	for query, want := range map[string]string{
		"": all, "?": all, "?second": all, "?first=false": all, "?first=0": all,
		"?first": first, "?first=": first, "?first=true": first, "?first=1": first, "?x=y&first": first,
		"?first=no": wrong, "?first=truely": wrong, "?first=%00": wrong,
	} {
		calls = nil
		if want == wrong {
			c.expectError(query, c.Call("POST", "/wsgi_party/main/ask/number"+query, ""), http.StatusBadRequest, "first", "write true or false")
		} else {
			check.Equal(t, c.ask("main/ask/number"+query, "").String(), want, query)
		}
		check.Equal(t, strings.Join(calls, " "), map[string]string{all: "shy one two", first: "shy one"}[want], "%s: asked", query)
	}
}

// TestLinksOfAnAdminAskFollowClaims has two applications know a page, of which the one that was invited
// last claims it, and then does not.
func TestLinksOfAnAdminAskFollowClaims(t *testing.T) {
	c := newAdminTest(t)
	const legacy, fresh = "/legacy/invoices/7", "/new/invoices/7"
	for _, test := range []struct{ claim, all, first string }{
		{"claim \"GET /invoices/{id}\"", "[" + fresh + " " + legacy + "]; new answered; legacy answered", "[" + fresh + "]; new answered"},
		{"claim urls", "[" + fresh + " " + legacy + "]; new answered; legacy answered", "[" + fresh + "]; new answered"},
		{"claim \"POST /invoices/{id}\"", "[" + legacy + " " + fresh + "]; legacy answered; new answered", "[" + legacy + "]; legacy answered"},
		{"", "[" + legacy + " " + fresh + "]; legacy answered; new answered", "[" + legacy + "]; legacy answered"},
	} {
		c.Site("wsgi_party main {\n" + mounted("legacy", "") + mounted("new", test.claim) + "}")
		for _, payload := range []string{`["invoice", {"id": 7}]`, `{"name": "invoice", "values": {"id": 7}}`} {
			check.Equal(t, c.ask("main/ask/url", payload).String(), test.all, "%s: %s", test.claim, payload)
			check.Equal(t, c.ask("main/ask/url?first", payload).String(), test.first, "%s: %s, the first", test.claim, payload)
		}
		check.Equal(t, c.ask("main/ask/url?first", `["legacy:invoice", {"id": 7}]`).String(), "["+legacy+"]; legacy answered", test.claim)
	}
}

// mounted are the directives of a guest that has a page, with this option.
func mounted(guest, option string) string {
	return "invite /" + guest + "/__invite__/\nhandle_path /" + guest + "/* {\nwsgi_party_guest {\nurl invoice /invoices/{id}\n" + option + "\n}\nrespond " + guest + "\n}\n"
}

func TestAdminAskDurationsAreThoseOfTheHandlers(t *testing.T) {
	c := newAdminTest(t, "wsgi_party main")
	const pause = 20 * time.Millisecond
	c.connect("main", "quick", "wait", partytest.Pong)
	c.connect("main", "slow", "wait", func(context.Context, any) (any, error) { time.Sleep(pause); return nil, nil })
	c.connect("main", "quick, too", "wait", partytest.Pong)
	asked := c.ask("main/ask/wait", "")
	sum := 0.
	for _, reply := range asked.Replies {
		sum += reply.Duration
	}
	slow := asked.Replies[1].Duration
	check.ErrorIf(t, slow < pause.Seconds() || slow > 10, "the slow one took %v s", slow)
	if sum > asked.Duration+1e-9 { // of adding up decimals
		t.Errorf("the handlers took %v s, one after the other, and the ask %v", sum, asked.Duration)
	}
}

// TestAdminAskOfRemoteHandlers has the first one wait for the second.
func TestAdminAskOfRemoteHandlers(t *testing.T) {
	c := newAdminTest(t, "wsgi_party main")
	const pause = 20 * time.Millisecond
	done := make(chan struct{}, 2)
	for _, guest := range []string{"zoe", "adam", "broken", "shy"} {
		partytest.ConnectRemote(t, operatorOf(c, "main").Partyline().Operator(guest), "far", func(ctx context.Context, payload any) (any, error) {
			switch guest {
			case "zoe":
				select {
				case <-done:
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			case "adam":
				time.Sleep(pause)
				done <- struct{}{}
			case "broken":
				panic("oh no")
			case "shy":
				return nil, wsgiparty.ErrHighAndDry
			}
			return payload, nil
		})
	}
	asked := c.ask("main/ask/far", `"x"`)
	check.Equal(t, asked.String(), `[x x]; zoe answered; adam answered; broken failed guest "broken" failed to answer "far": panic: oh no; shy declined`)
	for i, reply := range asked.Replies {
		// When its turn came the second one had replied already.
		check.ErrorIf(t, reply.Duration <= 0 || reply.Duration > asked.Duration || i < 2 && reply.Duration < pause.Seconds(), "%s took %v s, the ask %v", reply.Guest, reply.Duration, asked.Duration)
	}
	asked = c.ask("main/ask/far?first", `"x"`)
	check.ErrorIf(t, len(asked.Replies) != 1 || fmt.Sprint(asked.Answers) != "[x]", "first: %v", asked)
}

func TestAdminAskPassesOnThePayload(t *testing.T) {
	c := newAdminTest(t, "wsgi_party main")
	var got []any
	c.connect("main", "echo", "echo", func(_ context.Context, payload any) (any, error) {
		got = append(got, payload)
		return payload, nil
	})
	long := strings.Repeat("x", 1<<20-2)
	nested := strings.Repeat("[", 64) + strings.Repeat("]", 64)
	for body, want := range map[string]any{
		"":                     nil,
		" \r\n\t":              nil,
		"null":                 nil,
		"true":                 true,
		` "a\u00e9\n" `:        "aé\n",
		`""`:                   "",
		"0":                    json.Number("0"),
		"12345678901234567890": json.Number("12345678901234567890"),
		"-1.10":                json.Number("-1.10"),
		"1E+300":               json.Number("1E+300"),
		"[]":                   []any{},
		`{"id": 9007199254740993, "x": [1.0, null]}`: map[string]any{"id": json.Number("9007199254740993"), "x": []any{json.Number("1.0"), nil}},
		`"` + long + `"`: long,
	} {
		got = nil
		response := c.Call("POST", "/wsgi_party/main/ask/echo", body)
		if len(body) > 100 {
			body = body[:100]
		}
		if response.Status != http.StatusOK || len(got) != 1 || !reflect.DeepEqual(got[0], want) {
			t.Errorf("%q: %d %.200s, the handler got %.200v, want %.200v", body, response.Status, response.Body, got, want)
			continue
		}
		var asked struct{ Answers []json.RawMessage }
		partytest.Decode(c, response, &asked)
		if again, err := wire.ParsePayload(asked.Answers[0]); err != nil || !reflect.DeepEqual(again, want) {
			t.Errorf("%q: answered %.200s, want %.200v", body, asked.Answers[0], want)
		}
	}
	got = nil
	if response := c.Call("POST", "/wsgi_party/main/ask/echo", nested); response.Status != http.StatusOK || len(got) != 1 {
		t.Errorf("nested: %d %.200s", response.Status, response.Body)
	}

	type typed struct{ ID uint64 }
	var id typed
	c.connect("main", "typed", "typed", func(_ context.Context, payload any) (_ any, err error) {
		id, err = wsgiparty.PayloadAs[typed](payload)
		return nil, err
	})
	if response := c.Call("POST", "/wsgi_party/main/ask/typed", `{"id": 18446744073709551615}`); id.ID != math.MaxUint64 {
		t.Errorf("%v: %s", id, response.Body)
	}
}

type cyclic struct{ Self *cyclic }

func TestAnAnswerThatJSONCannotCarryIsShownAsItsType(t *testing.T) {
	ring := new(cyclic)
	ring.Self = ring
	list := make([]any, 1)
	list[0] = list
	c := newAdminTest(t, "wsgi_party main")
	var answer any
	c.connect("main", "before", "any", partytest.Answers("before"))
	c.connect("main", "odd", "any", func(context.Context, any) (any, error) { return answer, nil })
	c.connect("main", "after", "any", partytest.Answers("after"))
	for _, test := range []struct {
		answer    any
		want, why string
	}{
		{func(int) string { return "" }, "func(int) string", "unsupported type"},
		{make(chan int), "chan int", "unsupported type"},
		{math.NaN(), "float64", "unsupported value: NaN"},
		{math.Inf(-1), "float64", "-Inf"},
		{complex(1, 2), "complex128", "unsupported type"},
		{ring, "*operations_test.cyclic", "cycle"},
		{list, "[]interface {}", "cycle"},
		{map[string]any{"x": func() {}}, "map[string]interface {}", "func()"},
		{map[struct{ X int }]int{}, "map[struct { X int }]int", "unsupported type"},
		{struct {
			F func() `json:"<ü>"`
		}{}, "struct { F func() \"json:\\\"<ü>\\\"\" }", "func()"},
		{http.DefaultServeMux.ServeHTTP, "func(http.ResponseWriter, *http.Request)", "unsupported type"},
		{partytest.BadJSON(func() ([]byte, error) { panic("oh no") }), "partytest.BadJSON", "panic: oh no"},
		{partytest.BadJSON(func() ([]byte, error) { panic(unspeakableError{}) }), "partytest.BadJSON", "panic"},
		{partytest.BadJSON(func() ([]byte, error) { var none *cyclic; return nil, fmt.Errorf("%v", none.Self) }), "partytest.BadJSON", "nil pointer"},
		{partytest.BadJSON(func() ([]byte, error) { return nil, errors.New("oh no") }), "partytest.BadJSON", "oh no"},
		{partytest.BadJSON(func() ([]byte, error) { return []byte("{"), nil }), "partytest.BadJSON", "unexpected end"},
		{partytest.BadJSON(func() ([]byte, error) { return nil, unspeakableError{} }), "partytest.BadJSON", "whose message is not available"},
		{json.RawMessage("{}}"), "json.RawMessage", "more than one JSON value"},
		{json.Number("one"), "json.Number", "invalid number"},
	} {
		answer = test.answer
		asked := c.ask("main/ask/any", "")
		if !reflect.DeepEqual(asked.Answers, []any{"before", test.want, "after"}) || len(asked.Replies) != 3 {
			t.Errorf("%T: %v", answer, asked)
			continue
		}
		odd := asked.Replies[1]
		check.ErrorIf(t, odd.Status != "answered" || odd.Error != "" || !strings.Contains(odd.Note, "JSON cannot carry") || !strings.Contains(odd.Note, test.why), "%T: %+v", answer, odd)
		check.ErrorIf(t, asked.Replies[0].Note != "" || asked.Replies[2].Note != "", "notes about the others: %+v", asked.Replies)
	}
}

func TestAnswersThatJSONCanCarryComeAsTheyAre(t *testing.T) {
	c := newAdminTest(t, "wsgi_party main")
	var answer any
	c.connect("main", "app", "any", func(context.Context, any) (any, error) { return answer, nil })
	for _, test := range []struct{ answer, want any }{
		{`<a href="/x?y=1&z=2">é</a>`, `<a href="/x?y=1&z=2">é</a>`},
		{json.RawMessage(`{"a": [1]}`), map[string]any{"a": []any{1.}}},
		{json.RawMessage(nil), nil},
		{(*cyclic)(nil), nil},
		{struct {
			A int `json:"a"`
			b int
		}{1, 2}, map[string]any{"a": 1.}},
		{[]string(nil), nil},
		{time.Unix(0, 0).UTC(), "1970-01-01T00:00:00Z"},
		{"\xff", "\ufffd"},
		{"", ""},
		{false, false},
	} {
		answer = test.answer
		asked := c.ask("main/ask/any", "")
		check.ErrorIf(t, len(asked.Replies) != 1 || !reflect.DeepEqual(asked.Answers, []any{test.want}) || asked.Replies[0].Note != "", "%#v: %+v, want %#v", answer, asked, test.want)
	}
}

func TestAdminAskSaysHowAHandlerPanicked(t *testing.T) {
	party := partytest.FreshParty()
	c := newAdminTest(t, "wsgi_party "+party)
	for _, value := range []any{"oh no", unspeakableError{}, http.ErrAbortHandler, wsgiparty.ErrHighAndDry} {
		operator := c.connect(party, "wild", "any", func(context.Context, any) (any, error) { panic(value) })
		c.connect(party, "tame", "any", partytest.Answers("tame"))
		asked := c.ask(party+"/ask/any", "")
		i := slices.IndexFunc(asked.Replies, func(r replyJSON) bool { return r.Guest == "wild" && r.Status == "failed" })
		check.FatalIf(t, i < 0, "%T: %v", value, asked)
		wild := asked.Replies[i].Error
		check.ErrorIf(t, !strings.HasPrefix(wild, `guest "wild" failed to answer "any": panic: `) || !strings.Contains(wild, "admin_ask_test.go:") || fmt.Sprint(asked.Answers) != "[tame]", "%T: %+v", value, asked)
		shown := c.shown(party).Counts[1]
		check.ErrorIf(t, shown.Guest != "wild" || shown.LastError != wild, "%T: the last error is %+v, want %s", value, shown, wild)
		operator.Leave()
	}
}

// TestAClientThatGoesAwayEndsItsAsk has it go while the first handler is at it.
func TestAClientThatGoesAwayEndsItsAsk(t *testing.T) {
	party := partytest.FreshParty()
	c := newAdminTest(t, "wsgi_party "+party)
	var next atomic.Int64
	asked, ended, gone := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	c.connect(party, "patient", "wait", func(ctx context.Context, _ any) (any, error) {
		close(asked)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	})
	last := c.connect(party, "next", "wait", func(context.Context, any) (any, error) { return next.Add(1), nil })
	ctx, leave := context.WithCancel(context.Background())
	go func() {
		_, err := c.TryCall(ctx, "POST", "/wsgi_party/"+party+"/ask/wait", strings.NewReader("1"))
		gone <- err
	}()
	<-asked
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-ended
	partytest.Eventually(t, "the ask is counted", func() bool {
		_, replies := last.Partyline().Counts()
		return replies[1].Failed == 1
	})
	check.Equal(t, next.Load(), 0, "the next guest is asked")
	check.Equal(t, len(partytest.LogEntries(t, "request error")), 0, "nobody is there to be told")
}

// bodyOf is a request's body that is made when the server reads it.
type bodyOf func()

func (f bodyOf) Read(p []byte) (int, error) {
	f()
	return copy(p, "1"), io.EOF
}

// askAfter asks for the path's service, and does something before the payload comes.
func (c *adminTest) askAfter(path string, do func()) partytest.Response {
	c.Helper()
	transport := partytest.Client.Transport.(*http.Transport).Clone()
	transport.ExpectContinueTimeout = time.Minute
	r := check.Value(http.NewRequest("POST", "http://"+c.Admin+"/wsgi_party/"+path, bodyOf(do)))(c)
	r.Header.Set("Expect", "100-continue")
	response := check.Value(transport.RoundTrip(r))(c)
	return partytest.Response{Status: response.StatusCode, Header: response.Header, Body: partytest.ReadAll(c, response)}
}

// TestWhoLeavesWhileAnAdminAskArrivesIsNotThere has the only guest leave after its
// service was found.
func TestWhoLeavesWhileAnAdminAskArrivesIsNotThere(t *testing.T) {
	c := newAdminTest(t, "wsgi_party main\nwsgi_party quiet {\nignore_missing_services\n}")
	c.expectError("main", c.askAfter("main/ask/ping", c.connect("main", "app", "ping", partytest.Pong).Leave), http.StatusNotFound, `"main"`, `"ping"`)
	c.isJSON("quiet", c.askAfter("quiet/ask/ping", c.connect("quiet", "app", "ping", partytest.Pong).Leave), `{"answers": [], "replies": [], "duration": "DURATION"}`)
}

// TestAnAskOutlivesItsConfig has the config replaced by one without the party while the
// payload of an ask is yet to come.
func TestAnAskOutlivesItsConfig(t *testing.T) {
	c := newAdminTest(t, "wsgi_party main")
	c.connect("main", "teller", "tell", partytest.Pong)
	response := c.askAfter("main/ask/tell", func() { check.Nil(t, caddy.Load(c.Adapt("ADDRESS {\nrespond nothing\n}"), true)) })
	check.ErrorIf(t, response.Status != http.StatusOK || !strings.Contains(response.Body, `"answers":["pong"]`), response)
}

func TestABrokenQueryIsRefused(t *testing.T) {
	c := newAdminTest(t, "wsgi_party main")
	c.connect("main", "app", "any", partytest.Answers(1))
	for _, path := range []string{"ask/any?first=%zz", "ask/any?first;", "ask/any?first=true;x", "invite?guest=%zz", "invite?guest=one;two"} {
		check.Equal(t, c.Call("POST", "/wsgi_party/main/"+path, "").Status, 400, path)
	}
}

func TestAPayloadThatIsNoJSONIsRejected(t *testing.T) {
	asks := 0
	c := newAdminTest(t, "wsgi_party main")
	c.connect("main", "guest", "ping", func(context.Context, any) (any, error) { asks++; return nil, nil })
	for _, body := range []string{
		"hello", "{", `"`, `{"a": 1`, "[1,]", "{,}", "NaN", "1.", "'x'", "\x00", "\ufeff1", "tru",
		strings.Repeat("[", 10001) + strings.Repeat("]", 10001), // Go's own limit
		strings.Repeat(`{"a":`, 100000),
	} {
		c.expectError(fmt.Sprintf("%.20q", body), c.Call("POST", "/wsgi_party/main/ask/ping", body), http.StatusBadRequest, "the payload is not JSON")
	}
	for _, body := range []string{"1 2", "{} {}", "null null", `"a" b`, "1]", "{}}", "[],", "01", "1\x00"} {
		c.expectError(fmt.Sprintf("%.20q", body), c.Call("POST", "/wsgi_party/main/ask/ping", body), http.StatusBadRequest, "the payload is more than one JSON value")
	}
	check.Equal(t, asks, 0, "asks")
}

// sizeUnknown makes a request chunked.
type sizeUnknown struct{ io.Reader }

func TestAPayloadOverOneMebibyteIsRejected(t *testing.T) {
	asks, length := 0, 0
	c := newAdminTest(t, "wsgi_party main")
	c.connect("main", "guest", "ping", func(_ context.Context, payload any) (any, error) {
		asks++
		length = len(payload.(string))
		return nil, nil
	})
	const mebibyte = 1 << 20
	for _, more := range []int{0, 1} {
		body := `"` + strings.Repeat("x", mebibyte-2+more) + `"`
		for name, reader := range map[string]io.Reader{"": strings.NewReader(body), "chunked": sizeUnknown{strings.NewReader(body)}} {
			asks = 0
			response, err := c.TryCall(context.Background(), "POST", "/wsgi_party/main/ask/ping", reader)
			switch {
			case err != nil:
				t.Errorf("%d bytes more %s: %v", more, name, err)
			case more > 0:
				c.expectError(name, response, http.StatusRequestEntityTooLarge, "1048576")
			case response.Status != http.StatusOK || length != mebibyte-2:
				t.Errorf("%s: %d %s, got %d bytes", name, response.Status, response.Body, length)
			}
			check.Equal(t, asks, 1-more, "%d bytes more %s: times asked", more, name)
		}
	}
}

func TestHTMLInAnswersIsShownAsItIs(t *testing.T) {
	c := newAdminTest(t, "wsgi_party main")
	c.connect("main", "app", "any", partytest.Answers(`<a href="/x?y=1&z=2">`))
	check.Has(t, c.Call("POST", "/wsgi_party/main/ask/any", "").Body, `"<a href=\"/x?y=1&z=2\">"`)
}
