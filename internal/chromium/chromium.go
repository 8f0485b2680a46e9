// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

// Package chromium lets tests use a headless Chromium by its DevTools protocol, as a visitor would.
package chromium

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/debian"
)

// patience is how long anything may take, however busy the machine is.
const patience = time.Minute

// Browser is a Chromium that was never used before.
type Browser struct {
	t      testing.TB
	to     *os.File
	from   *os.File
	reader *bufio.Reader
	calls  int
	pages  map[string]*Page // by session
}

// Page is one of its tabs.
type Page struct {
	*Browser
	session string
	Said    []string // in its console, errors of the page and of its policies
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(text)
}

// Open opens one, and closes it when the test ends.
func Open(t testing.TB) *Browser {
	t.Helper()
	debian.Install(t, "chromium")
	home := check.Value(os.MkdirTemp("", "chromium"))(t)
	c := exec.Command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage",
		"--ignore-certificate-errors", "--user-data-dir="+home, "--remote-debugging-pipe")
	commands, to, err := os.Pipe()
	check.Must(t, err)
	from, results, err := os.Pipe()
	check.Must(t, err)
	log := new(lockedBuffer)
	c.ExtraFiles, c.Stderr = []*os.File{commands, results}, log
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.WaitDelay = 5 * time.Second
	check.Must(t, c.Start())
	commands.Close()
	results.Close()
	b := &Browser{t: t, to: to, from: from, reader: bufio.NewReader(from), pages: make(map[string]*Page)}
	t.Cleanup(func() {
		_ = b.call("", "Browser.close", nil, nil) // it may be gone before it answers
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		_ = c.Wait()
		to.Close()
		from.Close()
		_ = os.RemoveAll(home)
		if t.Failed() {
			t.Logf("Chromium said\n%s", log.String())
		}
	})
	return b
}

// NewPage opens a tab.
func (b *Browser) NewPage() *Page {
	b.t.Helper()
	var target struct{ TargetID string }
	check.Must(b.t, b.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target))
	var attached struct{ SessionID string }
	check.Must(b.t, b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached))
	p := &Page{Browser: b, session: attached.SessionID}
	b.pages[p.session] = p
	for _, domain := range []string{"Runtime.enable", "Log.enable", "Page.enable"} {
		p.Call(domain, nil, nil)
	}
	return p
}

// call calls a method of the protocol.
func (b *Browser) call(session, method string, parameters, result any) error {
	b.calls++
	text, err := json.Marshal(struct {
		ID        int    `json:"id"`
		Method    string `json:"method"`
		SessionID string `json:"sessionId,omitempty"`
		Params    any    `json:"params,omitempty"`
	}{b.calls, method, session, parameters})
	if err != nil {
		return err
	}
	if err := b.from.SetReadDeadline(time.Now().Add(5 * patience)); err != nil {
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
			ID        int
			Method    string
			SessionID string
			Params    json.RawMessage
			Result    json.RawMessage
			Error     *struct{ Message string }
		}
		if err := json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &answer); err != nil {
			return err
		}
		switch {
		case answer.ID != b.calls:
			if p := b.pages[answer.SessionID]; p != nil && (answer.Method == "Log.entryAdded" || answer.Method == "Runtime.consoleAPICalled" || answer.Method == "Runtime.exceptionThrown") {
				p.Said = append(p.Said, string(answer.Params))
			} else if p != nil && answer.Method == "Page.javascriptDialogOpening" {
				p.Said = append(p.Said, "a dialog opens: "+string(answer.Params))
			}
		case answer.Error != nil:
			return fmt.Errorf("%s: %s", method, answer.Error.Message)
		case result != nil:
			return json.Unmarshal(answer.Result, result)
		default:
			return nil
		}
	}
}

// Call calls a method of the protocol, of the tab.
func (p *Page) Call(method string, parameters, result any) {
	p.t.Helper()
	check.Must(p.t, p.call(p.session, method, parameters, result))
}

// Visit goes to an address.
func (p *Page) Visit(address string) {
	p.t.Helper()
	p.Call("Page.navigate", map[string]any{"url": address}, nil)
}

// Evaluate has the page run a program, and returns its value, which is a string.
func (p *Page) Evaluate(program string) (string, error) {
	var evaluated struct {
		Result           struct{ Value string }
		ExceptionDetails *struct{ Exception struct{ Description string } }
	}
	err := p.call(p.session, "Runtime.evaluate", map[string]any{"expression": program, "returnByValue": true, "awaitPromise": true}, &evaluated)
	if err == nil && evaluated.ExceptionDetails != nil {
		err = errors.New(evaluated.ExceptionDetails.Exception.Description)
	}
	return evaluated.Result.Value, err
}

// Get is Evaluate for a program that must not fail.
func (p *Page) Get(program string) string {
	p.t.Helper()
	return check.Value(p.Evaluate(program))(p.t)
}

// Until waits until an expression is true on the page.
func (p *Page) Until(condition string) {
	p.t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var got string
		if got, err = p.Evaluate("String(Boolean(" + condition + "))"); err == nil && got == "true" { // an error is of a page that is just being left
			return
		}
	}
	page, _ := p.Evaluate("location.href + ' ' + document.body.innerText")
	p.t.Fatalf("the page never has %s: %v\n%s\n%q", condition, err, page, p.Said)
}

// Key presses a key, such as Tab, Enter, Escape or a letter.
func (p *Page) Key(key string) {
	p.t.Helper()
	codes := map[string]int{"Tab": 9, "Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
	event := map[string]any{"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
	switch {
	case key == "Enter":
		event["text"] = "\r"
	case len(key) == 1:
		event["text"] = key
	}
	p.Call("Input.dispatchKeyEvent", event, nil)
	p.Call("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": codes[key]}, nil)
}

// Type types a text.
func (p *Page) Type(text string) {
	p.t.Helper()
	for _, letter := range strings.Split(text, "") {
		p.Key(letter)
	}
}

// Size makes the tab that large.
func (p *Page) Size(width, height int) {
	p.t.Helper()
	p.Call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}, nil)
}

// Dark has the visitor prefer dark pages, or light ones.
func (p *Page) Dark(dark bool) {
	p.t.Helper()
	value := map[bool]string{true: "dark", false: "light"}[dark]
	p.Call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]any{{"name": "prefers-color-scheme", "value": value}}}, nil)
}

// Screenshot returns a picture of what is to be seen in the tab, a PNG.
func (p *Page) Screenshot() []byte {
	p.t.Helper()
	var shot struct{ Data string }
	p.Call("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	return check.Value(base64.StdEncoding.DecodeString(shot.Data))(p.t)
}
