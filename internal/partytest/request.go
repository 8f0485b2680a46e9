// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/token"
	"github.com/wsgiparty/wsgiparty/internal/wire"
)

// Response is what came of a request.
type Response struct {
	Status int
	Header http.Header
	Body   string
}

// Client uses each connection once, as a reload ends them, and follows no redirects.
var Client = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Send makes a request.
func Send(r *http.Request) (Response, error) {
	response, err := Client.Do(r)
	if err != nil {
		return Response{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return Response{response.StatusCode, response.Header, string(body)}, err
}

func send(ctx context.Context, method, url string, body io.Reader, header http.Header) (Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return Response{}, err
	}
	for name, values := range header {
		r.Header[name] = values
	}
	return Send(r)
}

// ReadAll returns the body of a response.
func ReadAll(t testing.TB, response *http.Response) string {
	t.Helper()
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// Get returns the status and body of a response of the site.
func (c *Caddy) Get(path string) (int, string) {
	c.Helper()
	return c.Do("GET", path, "", nil)
}

// TryGet is Get when the site may not answer.
func (c *Caddy) TryGet(path string) (int, string, error) {
	return c.TryDo(context.Background(), "GET", path, "", nil)
}

// Do makes a request to the site and returns its status and body.
func (c *Caddy) Do(method, path, body string, header http.Header) (int, string) {
	c.Helper()
	status, text, err := c.TryDo(context.Background(), method, path, body, header)
	if err != nil {
		c.Fatal(err)
	}
	return status, text
}

// TryDo is Do when the site may not answer.
func (c *Caddy) TryDo(ctx context.Context, method, path, body string, header http.Header) (int, string, error) {
	response, err := send(ctx, method, "http://"+c.Address+path, strings.NewReader(body), header)
	return response.Status, response.Body, err
}

// Raw sends the site a request as it is written and returns the response.
func (c *Caddy) Raw(request string) Response {
	c.Helper()
	conn, err := net.Dial("tcp", c.Address)
	if err != nil {
		c.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		c.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		c.Fatalf("%q: %v", request, err)
	}
	return Response{response.StatusCode, response.Header, ReadAll(c, response)}
}

// TryCall makes a request to the admin endpoint.
func (c *Caddy) TryCall(ctx context.Context, method, path string, body io.Reader) (Response, error) {
	return send(ctx, method, "http://"+c.Admin+path, body, http.Header{"Content-Type": {"application/json"}})
}

// Call is TryCall when the endpoint has to answer.
func (c *Caddy) Call(method, path, body string) Response {
	c.Helper()
	response, err := c.TryCall(context.Background(), method, path, strings.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	return response
}

// Decode decodes a response, which has to be a success.
func Decode(t testing.TB, response Response, value any) {
	t.Helper()
	if err := json.Unmarshal([]byte(response.Body), value); err != nil || response.Status != http.StatusOK {
		t.Fatalf("%d %s: %v", response.Status, response.Body, err)
	}
}

// Asking is a request to the endpoint that guests ask at: a POST, if it is not said.
type Asking struct {
	Key, Method, Path, Body string
	Header                  http.Header
}

// Around loads a party main with these directives, and an endpoint to ask it.
func (c *Caddy) Around(directives string) {
	c.Helper()
	c.Load(c.AroundConfig(directives))
}

// AroundConfig is what Around loads.
func (c *Caddy) AroundConfig(directives string) string {
	if askOn {
		return "ADDRESS {\nwsgi_party main {\nask_on " + c.Endpoint + "\n" + directives + "\n}\n}"
	}
	return "ADDRESS {\nwsgi_party main {\n" + directives + "\n}\n}\nhttp://" + c.Endpoint + " {\nwsgi_party_ask main\n}"
}

var askOn bool

// ByAskOn makes the endpoint of Around one of ask_on, until the test ends.
func ByAskOn(t testing.TB) {
	askOn = true
	t.Cleanup(func() { askOn = false })
}

// TryAsk is Ask when the endpoint may not answer.
func (c *Caddy) TryAsk(ctx context.Context, a Asking) (Response, error) {
	header := a.Header.Clone()
	if header == nil {
		header = make(http.Header)
	}
	if a.Key != "" {
		header.Set("Authorization", "Bearer "+a.Key)
	}
	if a.Method == "" {
		a.Method = http.MethodPost
	}
	return send(ctx, a.Method, "http://"+c.Endpoint+a.Path, strings.NewReader(a.Body), header)
}

// Ask makes a request to the endpoint.
func (c *Caddy) Ask(a Asking) Response {
	c.Helper()
	response, err := c.TryAsk(context.Background(), a)
	if err != nil {
		c.Fatal(err)
	}
	return response
}

// ExpectAsk fails the test unless the answer is that JSON.
func (c *Caddy) ExpectAsk(a Asking, want string) {
	c.Helper()
	response := c.Ask(a)
	if response.Status != http.StatusOK || response.Header.Get("Content-Type") != "application/json" || response.Header.Get("Cache-Control") != "no-store" {
		c.Errorf("%s %s %.200s: %d %v %s", a.Method, a.Path, a.Body, response.Status, response.Header, response.Body)
		return
	}
	if got, want := CompactJSON(c, response.Body), CompactJSON(c, want); got != want {
		c.Errorf("%s %s %.200s:\n%s\nwant\n%s", a.Method, a.Path, a.Body, got, want)
	}
}

// ExpectProblem fails the test unless the answer is a problem.
func (c *Caddy) ExpectProblem(a Asking, status int, want ...string) Response {
	c.Helper()
	response := c.Ask(a)
	what := fmt.Sprintf("%s %s %.100q", a.Method, a.Path, a.Body)
	if response.Status != status || response.Header.Get("Content-Type") != "application/problem+json" {
		c.Errorf("%s: %d %s, want %d", what, response.Status, response.Header.Get("Content-Type"), status)
	}
	IsProblem(c, what, response.Body, status, want...)
	return response
}

// IsProblem fails the test unless the JSON is a problem as RFC 9457 has it, with all
// of these in the detail.
func IsProblem(t testing.TB, what, body string, status int, want ...string) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(body))
	decoder.DisallowUnknownFields()
	var problem struct {
		Type, Title, Detail string
		Status              int
	}
	if err := decoder.Decode(&problem); err != nil || problem.Type != "about:blank" || problem.Title != http.StatusText(status) || problem.Status != status {
		t.Errorf("%s: %q is not a problem of status %d: %v", what, body, status, err)
	}
	for _, part := range want {
		if !strings.Contains(problem.Detail, part) {
			t.Errorf("%s: the detail does not contain %q: %s", what, part, problem.Detail)
		}
	}
}

// DecodeJSON decodes JSON, and keeps numbers as they are written.
func DecodeJSON(t testing.TB, text []byte) any {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return value
}

// CompactJSON returns JSON as encoding/json writes it, with all digits.
func CompactJSON(t testing.TB, text string) string {
	t.Helper()
	plain, err := json.Marshal(DecodeJSON(t, []byte(text)))
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}

// AskAs asks through wsgi_party_ask at the site's /ask with that key.
func (c *Caddy) AskAs(key, service, payload, partyToken string) (int, wire.Asked) {
	c.Helper()
	header := http.Header{"Authorization": {"Bearer " + key}}
	if partyToken != "" {
		header["Party-Token"] = []string{partyToken}
	}
	status, body := c.Do("POST", "/ask/"+service, payload, header)
	var answer wire.Asked
	if status == http.StatusOK {
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			c.Fatalf("%s: %v", body, err)
		}
	}
	return status, answer
}

var partyAskWithLine = regexp.MustCompile(`^((\S+); line=[\w-]{16}\.[0-9]+); mac=([\w-]{43})$`)

// WithoutLine returns a Party-Ask as it would be without the version of the line, if the MAC is right under one of the
// keys, or else under a guest's of the environment.
func WithoutLine(header string, keys ...string) string {
	if said := partyAskWithLine.FindStringSubmatch(header); said != nil {
		for _, variable := range os.Environ() {
			if name, key, _ := strings.Cut(variable, "="); strings.HasSuffix(name, "_PARTY_KEY") {
				keys = append(keys, key)
			}
		}
		for _, key := range keys {
			if k, err := token.NewKeys([]string{key}); err == nil && k.SignAddress(said[1]) == said[3] {
				return said[2] + "; mac=" + k.SignAddress(said[2])
			}
		}
	}
	return header
}
