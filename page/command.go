// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The command `caddy wsgi-party page`, which serves the page to whoever runs it.

package page

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"github.com/wsgiparty/wsgiparty/internal/admincommand"
	"github.com/wsgiparty/wsgiparty/party"
)

func init() {
	party.RegisterCommand(func() *cobra.Command {
		return &cobra.Command{
			Use:   "page <party>",
			Short: "Shows a party in a browser: who asks whom for what, and what fails",
			Long: `
Serves a page that shows the guests of a party, who asks whom for what, what
fails, and which invites did not come through. The page updates every second,
and changes nothing.

The command prints the page's address on this machine. Nobody else can guess
it. Ctrl-C stops the command. Caddy logs each look of an open page, like every
request to its admin API.`,
			Args: admincommand.Args(cobra.ExactArgs(1)),
			RunE: admincommand.Run(commandPage),
		}
	})
}

const maxDocument = 64 << 20 // far more than it has

func commandPage(fl caddycmd.Flags) error {
	if fl.Bool("json") {
		return fmt.Errorf("page serves a page and prints no JSON: leave --json out, or see `caddy wsgi-party show %s --json`", fl.Arg(0))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	getter, err := admincommand.Getter(fl)
	if err != nil {
		return err
	}
	get := func(query string, header http.Header) (*http.Response, error) {
		return getter(admincommand.EscapeSegment(fl.Arg(0))+"/page?"+query, header)
	}
	first, err := get("", nil) // else a wrong name, or address, is seen only in the browser
	if err != nil {
		return err
	}
	first.Body.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	local := newLocal(listener.Addr().String(), get)
	fmt.Printf("Party %s is shown at\n\n    http://%s%s\n\nPress Ctrl-C to stop.\n", fl.Arg(0), local.host, local.path)
	return local.serve(ctx, listener)
}

// local serves the page on an address of this machine.
type local struct {
	host string
	path string // which nobody can guess
	get  func(query string, header http.Header) (*http.Response, error)
}

func newLocal(host string, get func(string, http.Header) (*http.Response, error)) *local {
	var secret [24]byte
	_, _ = rand.Read(secret[:]) // which does not fail
	return &local{host, "/" + base64.RawURLEncoding.EncodeToString(secret[:]) + "/", get}
}

// serve serves until the context ends.
func (l *local) serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{Handler: l, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10}
	stopped := context.AfterFunc(ctx, func() { server.Close() })
	defer stopped()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ServeHTTP answers only those who know the path, by the name that was printed: a page elsewhere whose
// name comes to lead to this machine has another.
func (l *local) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Host != l.host:
		http.Error(w, "this is not the address that was printed", http.StatusMisdirectedRequest)
	case r.URL.Path != l.path:
		http.NotFound(w, r)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	case !wantsJSON(r):
		_ = serveHTML(w) // or the browser has gone
	default:
		l.pass(w, r)
	}
}

// pass passes on what the admin API answers.
func (l *local) pass(w http.ResponseWriter, r *http.Request) {
	v, err := viewOf(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	header := make(http.Header)
	if etags := r.Header["If-None-Match"]; len(etags) > 0 {
		header["If-None-Match"] = etags
	}
	response, err := l.get(v.query(), header)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer response.Body.Close()
	setHeaders(w.Header())
	for _, name := range []string{"ETag", "Content-Type", "Content-Length", "Content-Security-Policy"} {
		if value := response.Header.Get(name); value != "" {
			w.Header().Set(name, value)
		}
	}
	w.WriteHeader(response.StatusCode)
	_, _ = io.Copy(w, io.LimitReader(response.Body, maxDocument))
}
