// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/wsgiparty/wsgiparty/party"
)

func init() { party.RegisterCommand(newCommand) }

// exitUnusable is the exit status where there was nothing to check.
const exitUnusable = 2

func newCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "check <url>",
		Short: "Checks whether a running application is a good guest, rule by rule as in docs/guests.md",
		Long: `
Sends a running application the asks that Caddy would send it, and others that
it should refuse. For each rule of docs/guests.md it prints a line: ok, FAIL,
warn or skip, the rule, what was seen and, if something is wrong, how to fix it.

The URL is that of the invite as the application sees it, without the mount:
http://localhost:8000/__invite__/, https://… or unix//run/blog.sock/__invite__/.
The default path is /__invite__/. There is no Caddy in between. An application
behind FastCGI does not speak HTTP: run it with ` + "`php -S`" + `, or put a Caddy with
php_fastcgi, but without wsgi_party, in front of it and check that.

Write keys as placeholders, {env.BLOG_PARTY_KEY} or {file./run/secrets/blog},
never as the key itself, which would stay in the shell's history.

The command asks each service many times, with its --payload or else null, and
with 1 for each variable that the path of an href needs. Asks must have no side
effects.

With --page, the path of a page that asks the party, the command also checks how
the application asks. As Caddy does, it sends a Party-Ask header, signed with
the application's key, that tells the application to ask this command. The
application goes on asking here until its next request through Caddy, so do not
use --page on an application in production.

The exit status is 0 if no line failed, 1 if one did, and 2 if the application
cannot be reached or the command line is wrong.`,
		Example: `  caddy wsgi-party check http://localhost:8000 --mount /blog --key {env.BLOG_PARTY_KEY}
  caddy wsgi-party check unix//run/blog.sock --payload user='{"id": 7}' --json`,
	}
	flags := command.Flags()
	flags.StringArray("key", nil, "A key of the application, as a `placeholder`; repeat it for more keys, of which the first signs")
	flags.String("mount", "", "The `path` that Caddy strips, such as /blog")
	flags.String("guest", "", "The guest's `name` (default: that of an invite to the mount and path)")
	flags.String("origin", "", "The scheme and host of the invite in the Caddyfile, such as `https://example.com` (default: those of the URL)")
	flags.StringArray("payload", nil, "The payload for a service, as `service=json`")
	flags.String("page", "", "The `path` of a page that asks the party, to check how the application asks")
	flags.Duration("timeout", askTimeout, "How long an ask may take, as in wsgi_party_guest")
	flags.Bool("insecure", false, "Accept any certificate")
	flags.Bool("json", false, "Print the report as JSON")
	command.RunE = func(command *cobra.Command, args []string) error {
		report, err := checkArgs(command, args)
		if err == nil {
			write := report.WriteText
			if asJSON, _ := command.Flags().GetBool("json"); asJSON {
				write = report.WriteJSON
			}
			err = write(command.OutOrStdout())
		}
		if err != nil {
			return unusable(command, err)
		}
		if !report.Passed {
			command.SilenceErrors = true
			return errors.New("a line failed") // the report says which
		}
		return nil
	}
	command.SetFlagErrorFunc(unusable)
	command.SilenceUsage = true
	return command
}

// unusable ends the command with that exit status.
func unusable(command *cobra.Command, err error) error {
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) {
		return exitUnusable, errors.New(printable(err.Error()))
	})(command, nil)
}

func checkArgs(command *cobra.Command, args []string) (*Report, error) {
	if len(args) != 1 {
		return nil, fmt.Errorf("there are %d URLs to check: %s", len(args), urlForms)
	}
	flags := command.Flags()
	text := func(name string) string { return flags.Lookup(name).Value.String() }
	placeholders, _ := flags.GetStringArray("key")
	payloads, _ := flags.GetStringArray("payload")
	timeout, _ := flags.GetDuration("timeout")
	insecure, _ := flags.GetBool("insecure")
	if timeout <= 0 || timeout > time.Minute {
		return nil, fmt.Errorf("--timeout is %v: write a duration up to 1m, such as 2s", timeout)
	}
	o := Options{URL: args[0], Origin: text("origin"), Mount: text("mount"), Guest: text("guest"), Timeout: timeout, Insecure: insecure, Page: text("page"), Payloads: make(map[string]string)}
	for _, placeholder := range placeholders {
		keys, err := resolve(placeholder)
		if err != nil {
			return nil, err
		}
		o.Keys = append(o.Keys, keys...)
	}
	for _, payload := range payloads {
		service, value, ok := strings.Cut(payload, "=")
		if !ok || service == "" {
			return nil, fmt.Errorf("--payload %q: write it like user='{\"id\": 7}'", payload)
		}
		o.Payloads[service] = value
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return Check(ctx, o)
}

// placeholder is what a key is given by.
var placeholder = regexp.MustCompile(`^\{(env|file)\.([^{}]+)\}$`)

// resolve returns the keys that a placeholder stands for, which white space separates, as in
// WSGI_PARTY_KEY.
func resolve(text string) ([]string, error) {
	match := placeholder.FindStringSubmatch(text)
	if match == nil {
		return nil, errors.New("--key is not a placeholder: write {env.BLOG_PARTY_KEY} or {file./run/secrets/blog}; the key itself would stay in the shell's history, and everybody who lists processes would see it")
	}
	keys := strings.Fields(caddy.NewReplacer().ReplaceAll(text, ""))
	if len(keys) > 0 {
		return keys, nil
	}
	why := "the file is empty"
	if match[1] == "env" {
		why = "the variable is empty, or not exported"
	} else if _, err := os.Stat(match[2]); err != nil {
		why = err.Error()
	}
	return nil, fmt.Errorf("--key %s is empty: %s", text, why)
}
