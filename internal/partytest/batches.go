// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// Batches stands between Caddy and an application, which listens at a TCP address, and sees how many asks a request is for.
type Batches struct {
	Address string
	Close   func()

	mu    sync.Mutex
	sizes []int
}

// NewBatches starts it. It is to be closed before the Caddy is. Each request is held up, for others to be gathered meanwhile.
func NewBatches(target string) *Batches {
	b := new(Batches)
	transport := new(http.Transport)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: target})
	proxy.Transport = transport
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		var asks []json.RawMessage
		if strings.Contains(r.URL.Path, "/partyline/") && json.Unmarshal(body, &asks) == nil {
			b.mu.Lock()
			b.sizes = append(b.sizes, len(asks))
			b.mu.Unlock()
			time.Sleep(5 * time.Millisecond)
		}
		proxy.ServeHTTP(w, r)
	}))
	b.Address = server.Listener.Addr().String()
	b.Close = func() {
		server.Close()
		transport.CloseIdleConnections()
	}
	return b
}

// Expect asks a service, which answers with the payload, for many things at once. Each has to get its own answer, and
// several of them have to travel together.
func (b *Batches) Expect(t testing.TB, ask func(payload any) ([]any, error)) {
	t.Helper()
	const asks = 128
	var group sync.WaitGroup
	for i := range asks {
		group.Go(func() {
			want := fmt.Sprintf(`[{"id":%d}]`, i)
			answers, err := ask(map[string]any{"id": i})
			if got, _ := json.Marshal(answers); err != nil || string(got) != want {
				t.Errorf("%s %v, want %s", got, err, want)
			}
		})
	}
	group.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	asked := 0
	for _, size := range b.sizes {
		asked += size
	}
	if asked != asks || len(b.sizes) > asks/2 {
		t.Errorf("%d asks in requests of %d", asked, b.sizes)
	}
	t.Logf("%d asks in requests of %d", asked, b.sizes)
}
