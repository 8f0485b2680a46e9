// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package operations

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/wsgiparty/wsgiparty/internal/admincommand"
	"github.com/wsgiparty/wsgiparty/internal/wire"
	"github.com/wsgiparty/wsgiparty/party"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "wsgi-party",
		Short: "Shows, asks and invites the guests of parties",
		Long: `
Shows the parties of a running Caddy: which applications have joined as guests,
what each is asked, and what to do about those that have not joined. The command
also asks guests, invites them again, and follows what happens.

It connects to Caddy's admin API at '` + caddy.DefaultAdminListen + `'. You may
explicitly specify the --address, or use the --config flag to load the
admin address from your config.

On a terminal, output is colored, unless NO_COLOR is set, and tables fit the
width. Unprintable characters in names and errors are escaped, as in '\x1b'.

'caddy completion' prints a script with which your shell completes the names of
parties, guests and services. The script asks the running Caddy for them.

The exit status is 0 if all went well, 2 if no Caddy answers at the admin
address, and 1 for anything else, such as an ask that nobody answered, or a
guest that failed or did not join.`,
		CobraFunc: func(command *cobra.Command) {
			flags := command.PersistentFlags()
			flags.String("address", "", "Address of the administration API listener (if --config is not used)")
			flags.StringP("config", "c", "", "Configuration file (if --address is not used)")
			flags.StringP("adapter", "a", "", "Name of config adapter to apply (if --config is used)")
			flags.Bool("json", false, "Print the JSON of the admin API, or with watch one JSON object per event")

			command.RunE = func(command *cobra.Command, args []string) error {
				if len(args) > 0 {
					var names []string
					for _, c := range command.Commands() {
						names = append(names, c.Name())
					}
					return fmt.Errorf("%q is not one of %s", args[0], strings.Join(names, ", "))
				}
				return command.Help()
			}
			add := func(use, short string, args cobra.PositionalArgs, f func(caddycmd.Flags) error) *cobra.Command {
				added := &cobra.Command{Use: use, Short: short, Args: admincommand.Args(args), RunE: admincommand.Run(f)}
				command.AddCommand(added)
				return added
			}
			add("list", "Lists the parties", cobra.NoArgs, commandList)
			add("show <party>", "Shows the invites, guests, services, asks and traffic of a party", cobra.ExactArgs(1), commandShow).Long = showHelp
			ask := add("ask <party> <service> [<payload>]", "Asks the guests of a party for a service, with a payload of JSON", cobra.RangeArgs(2, 3), commandAsk)
			ask.Flags().Bool("first", false, "Stop at the first answer")
			ask.Flags().String("guest", "", "Ask this guest only")
			_ = ask.RegisterFlagCompletionFunc("guest", completeAskedGuest)
			ask.Example = `  caddy wsgi-party ask main url '{"name": "blog:post", "values": {"slug": "hello"}}'`
			invite := add("invite <party> [<guest>]", "Invites the guests that are not on the line again, or asks one guest what it now answers for", cobra.RangeArgs(1, 2), commandInvite)
			invite.ValidArgsFunction = completer("party", "invited guest")
			watch := add("watch <party>", "Follows joins, failures and asks as they happen", cobra.ExactArgs(1), commandWatch)
			watch.Flags().Duration("interval", time.Second, fmt.Sprintf("How long to wait between two looks, from %v to %v", minInterval, maxInterval))
			watch.Long = watchHelp
			for _, make := range party.RegisteredCommands() {
				added := make()
				if slices.ContainsFunc(command.Commands(), func(c *cobra.Command) bool { return c.Name() == added.Name() }) {
					panic("command already registered: wsgi-party " + added.Name())
				}
				command.AddCommand(added)
			}
			completeNames(command)
		},
	})
}

func commandList(fl caddycmd.Flags) error {
	parties, err := admincommand.Call[[]partyJSON](fl, http.MethodGet, "", nil)
	if err != nil {
		return err
	}
	t := admincommand.NewTable("PARTY", "GUESTS", "SERVICES", "INVITES")
	for _, p := range parties {
		joined := 0
		for _, i := range p.Invites {
			if i.Result == party.InviteJoined {
				joined++
			}
		}
		color := admincommand.Green
		if joined < len(p.Invites) {
			color = admincommand.Yellow
		}
		t.Row(p.Party, len(p.Guests), len(p.Services), admincommand.Colored{Value: fmt.Sprintf("%d of %d joined", joined, len(p.Invites)), Color: color})
	}
	return admincommand.Print(fl, t)
}

func commandAsk(fl caddycmd.Flags) error {
	payload := []byte(fl.Arg(2))
	if _, err := wire.ParsePayload(payload); err != nil {
		return fmt.Errorf("%w: write a string as '\"text\"'", err)
	}
	path := admincommand.EscapeSegment(fl.Arg(0)) + "/ask/" + admincommand.EscapeSegment(fl.Arg(1))
	query := make(url.Values)
	if fl.Bool("first") {
		query.Set("first", "true")
	}
	unanswered := fmt.Errorf("nobody in party %s answered %s", fl.Arg(0), fl.Arg(1))
	if fl.Changed("guest") {
		query.Set("guest", fl.String("guest"))
		unanswered = fmt.Errorf("guest %s of party %s did not answer %s", fl.String("guest"), fl.Arg(0), fl.Arg(1))
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	asked, err := admincommand.Call[wire.Asked](fl, http.MethodPost, path, payload)
	if err != nil {
		return err
	}
	t := admincommand.NewTable("GUEST", "STATUS", "DURATION", "ANSWER")
	answers, failed := asked.Answers, 0
	for _, r := range asked.Replies {
		answer := ""
		switch {
		case r.Status == wire.StatusFailed:
			failed++
			answer = firstLine(r.Error)
		case r.Status == wire.StatusAnswered && len(answers) > 0:
			answer, answers = string(answers[0]), answers[1:]
		}
		if r.Note != "" {
			answer += " (" + r.Note + ")"
		}
		t.Row(r.Guest, colored(string(r.Status)), seconds(r.Duration), answer)
	}
	err = admincommand.Print(fl, t)
	switch {
	case err != nil:
		return err
	case failed > 0:
		return fmt.Errorf("%d of the handlers asked for %s failed", failed, fl.Arg(1))
	case len(asked.Answers) == 0:
		return unanswered
	}
	return nil
}

func commandInvite(fl caddycmd.Flags) error {
	path := admincommand.EscapeSegment(fl.Arg(0)) + "/invite"
	if guest := fl.Arg(1); guest != "" {
		path += "?guest=" + url.QueryEscape(guest)
	}
	sent, err := admincommand.Call[struct{ Invites []sentJSON }](fl, http.MethodPost, path, nil)
	if err != nil {
		return err
	}
	t := newInviteTable()
	var missing []string
	for _, i := range sent.Invites {
		result := colored(string(i.Result))
		if !i.Sent {
			result = colored(onLine)
		}
		if i.Result != party.InviteJoined {
			missing = append(missing, i.Guest)
		}
		inviteRow(t, i.inviteJSON, result)
	}
	err = admincommand.Print(fl, t)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("not joined: %s", strings.Join(missing, ", "))
	}
	return err
}
