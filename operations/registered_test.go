// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package operations_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/party"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	party.RegisterAdmin("greet", func(w http.ResponseWriter, r *http.Request, party string) error {
		if _, ok := wsgiparty.Lookup(party); !ok {
			return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("nobody to greet in " + party)}
		}
		_, err := fmt.Fprintf(w, "%s %s by %s", r.Method, r.URL.Path, party)
		return err
	})
	party.RegisterCommand(func() *cobra.Command {
		return &cobra.Command{
			Use:   "greet <party>",
			Short: "Greets a party",
			Args:  cobra.ExactArgs(1),
			RunE: func(command *cobra.Command, args []string) error {
				address, err := command.Flags().GetString("address")
				fmt.Printf("hello %s at %s\n", args[0], address)
				return err
			},
		}
	})
}

func TestARegisteredEndpointServesAllBelowItsName(t *testing.T) {
	c := newAdminTest(t, "wsgi_party main {\nwsgi_party \"a/b\"\n}")
	for path, want := range map[string]string{
		"main/greet":         "GET /wsgi_party/main/greet by main",
		"a%2Fb/greet/you/2":  "GET /wsgi_party/a/b/greet/you/2 by a/b",
		"missing/greet":      "nobody to greet in missing",
		"main/greeting":      noEndpoint,
		"main/ask/greet/you": noEndpoint,
		"main/invite/greet":  noEndpoint,
	} {
		response := c.Call("GET", "/wsgi_party/"+path, "")
		found := strings.HasPrefix(want, "GET")
		check.ErrorIf(t, !strings.Contains(response.Body, want) || (response.Status == 200) != found || !found && response.Status != 404, "%s: %d %s", path, response.Status, response.Body)
	}
}

// TestARegisteredCommandIsOneOfCaddys runs itself once more, as Caddy.
func TestARegisteredCommandIsOneOfCaddys(t *testing.T) {
	const variable = "WSGI_PARTY_TEST_COMMAND"
	if arguments := os.Getenv(variable); arguments != "" {
		os.Args = append([]string{"caddy", "wsgi-party"}, strings.Fields(arguments)...)
		caddycmd.Main()
		os.Exit(0)
	}
	for arguments, want := range map[string]string{
		"greet main --address here": "hello main at here\n",
		"greet --help":              "Greets a party",
		"--help":                    "\n  greet ",
	} {
		command := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		command.Env = append(os.Environ(), variable+"="+arguments)
		said, err := command.Output()
		check.ErrorIf(t, err != nil || !strings.Contains(string(said), want), "%s: %v: %s", arguments, err, said)
	}
}
