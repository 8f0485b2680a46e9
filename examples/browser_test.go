// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package examples

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

// browser is a Chromium with one page, which is told by its DevTools protocol what a visitor does.
type browser struct {
	*testing.T
	to      *os.File
	from    *os.File
	reader  *bufio.Reader
	calls   int
	session string // of the page
	log     bytes.Buffer
}

// openBrowser opens one that was never used before.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	b := &browser{T: t}
	c, end, err := command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
		"--user-data-dir="+t.TempDir(), "--ignore-certificate-errors", "--remote-debugging-pipe")
	check.Must(t, err)
	commands, to, err := os.Pipe()
	check.Must(t, err)
	from, results, err := os.Pipe()
	check.Must(t, err)
	c.Env = append(c.Env, watched+"="+withPipes)
	c.ExtraFiles = []*os.File{commands, results}
	c.Stderr = &b.log
	check.Must(t, c.Start())
	commands.Close()
	results.Close()
	b.to, b.from, b.reader = to, from, bufio.NewReader(from)
	t.Cleanup(func() {
		_ = b.call("Browser.close", nil, nil) // it may be gone before it answers
		end()
		c.Wait() // it may leave a helper behind, which is ended then
		to.Close()
		from.Close()
		if t.Failed() {
			t.Logf("Chromium said\n%s", &b.log)
		}
	})
	check.Must(t, from.SetReadDeadline(time.Now().Add(time.Minute)))
	var target struct{ TargetID string }
	check.Must(t, b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target))
	var attached struct{ SessionID string }
	check.Must(t, b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached))
	b.session = attached.SessionID
	return b
}

// call calls a method of the protocol.
func (b *browser) call(method string, parameters, result any) error {
	b.calls++
	text, err := json.Marshal(struct {
		ID        int    `json:"id"`
		Method    string `json:"method"`
		SessionID string `json:"sessionId,omitempty"`
		Params    any    `json:"params,omitempty"`
	}{b.calls, method, b.session, parameters})
	if err != nil {
		return err
	}
	if _, err := b.to.Write(append(text, 0)); err != nil {
		return err
	}
	for {
		text, err := b.reader.ReadBytes(0)
		if err != nil {
			return fmt.Errorf("%s: %w", method, err)
		}
		var answer struct {
			ID     int
			Result json.RawMessage
			Error  *struct{ Message string }
		}
		if err := json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &answer); err != nil {
			return err
		}
		switch {
		case answer.ID != b.calls: // an event
		case answer.Error != nil:
			return fmt.Errorf("%s: %s", method, answer.Error.Message)
		case result != nil:
			return json.Unmarshal(answer.Result, result)
		default:
			return nil
		}
	}
}

// evaluate has the page run a program, and returns its value, which is a string.
func (b *browser) evaluate(program string) (string, error) {
	var evaluated struct {
		Result           struct{ Value string }
		ExceptionDetails *struct{ Exception struct{ Description string } }
	}
	err := b.call("Runtime.evaluate", map[string]any{"expression": program, "returnByValue": true}, &evaluated)
	if err == nil && evaluated.ExceptionDetails != nil {
		err = errors.New(evaluated.ExceptionDetails.Exception.Description)
	}
	return evaluated.Result.Value, err
}

// visit goes to an address.
func (b *browser) visit(address string) {
	b.Helper()
	check.Must(b.T, b.call("Page.navigate", map[string]any{"url": address}, nil))
}

// click clicks the link that has the first of the texts that a link has.
func (b *browser) click(texts ...string) {
	b.Helper()
	names := check.Value(json.Marshal(texts))(b)
	if _, err := b.evaluate("document.from = 'here'; " + string(names) + ".map((text) => [...document.links].find((a) => a.textContent === text)).find(Boolean).click(); ''"); err != nil {
		page, _ := b.evaluate("location.href + document.documentElement.outerHTML")
		b.Fatalf("no link %q is clicked: %v\n%s", texts, err, page)
	}
}

// sees waits until the page is there that has this title.
func (b *browser) sees(title string) {
	b.Helper()
	var seen string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		// An error is of a page that is just being left.
		if got, err := b.evaluate("document.from || document.readyState !== 'complete' ? '' : document.title"); err == nil && got == title {
			return
		} else if got != "" {
			seen = got
		}
	}
	page, err := b.evaluate("location.href + document.documentElement.outerHTML")
	b.Fatalf("the browser shows %q, want %q: %v\n%s", seen, title, err, page)
}
