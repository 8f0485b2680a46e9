// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package admincommand has what commands share that ask the admin API of a running Caddy, and show
// people what it says.
package admincommand

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// Path is where the admin API shows parties.
const Path = "/wsgi_party/"

// Run makes a command of the function. The errors may have in them what guests say.
func Run(f func(caddycmd.Flags) error) func(*cobra.Command, []string) error {
	return caddycmd.WrapCommandFuncForCobra(func(fl caddycmd.Flags) (int, error) {
		if slices.Contains(fl.Args()[:min(2, fl.NArg())], "") { // else it would be another path
			return caddy.ExitCodeFailedStartup, errors.New("a name is empty: write it, or leave it out")
		}
		err := f(fl)
		if err == nil {
			return caddy.ExitCodeSuccess, nil
		}
		status := caddy.ExitCodeFailedStartup
		if IsUnreachable(err) {
			status = exitUnreachable
		}
		return status, errors.New(Printable(err.Error()))
	})
}

// Args returns the check of a command's arguments, whose error says what to write instead.
func Args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		if err := check(command, args); err != nil {
			return fmt.Errorf("%w: write `%s %s`", err, command.Parent().CommandPath(), command.Use)
		}
		return nil
	}
}

// exitUnreachable is the exit status when no Caddy answers.
const exitUnreachable = 2

type unreachableError struct{ error }

// Call makes a request below Path to the running Caddy's admin API, or to a path that begins with a slash, and returns the
// decoded response; with --json it is printed, too.
func Call[T any](fl caddycmd.Flags, method, path string, body []byte) (response T, err error) {
	response, encoded, err := call[T](fl, method, path, body)
	if err == nil && fl.Bool("json") {
		_, err = os.Stdout.Write(encoded)
	}
	return response, err
}

// Getter returns what gets what is at a path below Path, if need be with header fields such as If-None-Match, for a
// command that asks again and again. It looks for the address once, and keeps no connection.
func Getter(fl caddycmd.Flags) (func(path string, header http.Header) (*http.Response, error), error) {
	address, err := addressOf(fl)
	return func(path string, header http.Header) (*http.Response, error) {
		return request(address, http.MethodGet, path, nil, header)
	}, err
}

// Get is Call for something to read, and never prints it.
func Get[T any](fl caddycmd.Flags, path string) (response T, err error) {
	response, _, err = call[T](fl, http.MethodGet, path, nil)
	return response, err
}

// FindAddress finds the address of the admin API once for many calls.
func FindAddress(fl caddycmd.Flags) error {
	address, err := addressOf(fl)
	if err != nil {
		return err
	}
	return fl.Set("address", address)
}

func addressOf(fl caddycmd.Flags) (string, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(fl.String("address"), nil, fl.String("config"), fl.String("adapter"))
	if err != nil {
		err = fmt.Errorf("couldn't determine admin API address: %w", err)
	}
	return address, err
}

// IsUnreachable reports whether an error means that no Caddy answers.
func IsUnreachable(err error) bool {
	_, ok := errors.AsType[unreachableError](err)
	return ok
}

func call[T any](fl caddycmd.Flags, method, path string, body []byte) (response T, encoded []byte, err error) {
	address, err := addressOf(fl)
	if err != nil {
		return response, nil, err
	}
	r, err := request(address, method, path, body, nil)
	if IsUnreachable(err) && method == http.MethodGet {
		r, err = request(address, method, path, body, nil) // a reload ends connections
	}
	if err != nil {
		return response, nil, err
	}
	defer r.Body.Close()
	encoded, err = io.ReadAll(r.Body)
	if err != nil {
		return response, nil, unreachableError{fmt.Errorf("the admin API at %s broke off: %w", address, err)}
	}
	if err := json.Unmarshal(encoded, &response); err != nil {
		return response, nil, fmt.Errorf("what answers at %s is not Caddy's admin API: %w", address, err)
	}
	return response, encoded, nil
}

func request(address, method, path string, body []byte, header http.Header) (*http.Response, error) {
	header = maps.Clone(header)
	if header == nil {
		header = make(http.Header)
	}
	header.Set("Connection", "close") // AdminAPIRequest makes a new client each time, whose connections would stay
	if !strings.HasPrefix(path, "/") {
		path = Path + path
	}
	r, err := caddycmd.AdminAPIRequest(address, method, path, header, bytes.NewReader(body))
	if err == nil {
		return r, nil
	}
	_, answer, answered := strings.Cut(err.Error(), "caddy responded with error: HTTP ")
	if !answered {
		return nil, unreachableError{fmt.Errorf("no Caddy answers at the admin address %s: is it running? --address sets another: %w", address, err)}
	}
	_, answer, _ = strings.Cut(answer, ": ")
	var apiError struct{ Error string }
	if json.Unmarshal([]byte(answer), &apiError) == nil && apiError.Error != "" {
		err = errors.New(apiError.Error)
	}
	return nil, err
}

// EscapeSegment escapes a name for a path, of which dots alone would be no part.
func EscapeSegment(name string) string { return strings.ReplaceAll(url.PathEscape(name), ".", "%2E") }
