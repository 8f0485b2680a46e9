// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// TestALoopOverTwoCaddysEnds has two Caddys that share nothing. A page of each asks an
// application twice, which is the other's page.
func TestALoopOverTwoCaddysEnds(t *testing.T) {
	var asked atomic.Int64
	addresses := [2]string{testport.Address(t), testport.Address(t)}
	for i, address := range addresses {
		other := httptest.NewServer(counting(&asked, addresses[1-i]))
		t.Cleanup(other.Close)
		config := filepath.Join(t.TempDir(), "Caddyfile")
		if err := os.WriteFile(config, fmt.Appendf(nil, `{
	admin off
}
http://%s {
	wsgi_party {
		invite /other/__invite__/
		handle_path /other/* {
			wsgi_party_guest {
				service s /
				timeout 20s
			}
			reverse_proxy %s
		}
		handle / {
			templates {
				mime application/json
				extensions {
					wsgi_party
				}
			}
			header Content-Type application/json
			respond "[{{len (askAround . `+"`s`"+`)}}, {{len (askAround . `+"`s`"+`)}}]"
		}
	}
}
`, address, other.Listener.Addr()), 0o600); err != nil {
			t.Fatal(err)
		}
		process := runCaddy(t, config)
		t.Cleanup(func() { process.kill(); _ = process.Wait() })
		log := bufio.NewScanner(process.stderr)
		for log.Scan() && !strings.Contains(log.Text(), "serving initial configuration") {
		}
		go io.Copy(io.Discard, process.stderr)
	}
	response, err := http.Get("http://" + addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || string(body) != "[1, 1]" {
		t.Errorf("%d %s %v", response.StatusCode, body, err)
	}
	// Each of them is passed three times at most, and asks twice each time.
	if n := asked.Load(); n < 4 || n > 2+4+8+16+32+64 {
		t.Errorf("there were %d asks", n)
	}
}

// counting passes requests on to a Caddy and counts them.
func counting(n *atomic.Int64, address string) http.Handler {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		r.Host = address
		proxy.ServeHTTP(w, r)
	})
}
