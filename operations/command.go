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
Shows who is on the partylines of a running Caddy, asks the guests, and
invites again those that did not join.

It connects to Caddy's admin API at '` + caddy.DefaultAdminListen + `'. You may
explicitly specify the --address, or use the --config flag to load the
admin address from your config.

The exit status is 0 if all went well, 2 if no Caddy answers at the admin
address, and 1 otherwise: if nobody answered an ask, say, or if a guest
failed or did not join.`,
		CobraFunc: func(command *cobra.Command) {
			flags := command.PersistentFlags()
			flags.String("address", "", "Address of the administration API listener (if --config is not used)")
			flags.StringP("config", "c", "", "Configuration file (if --address is not used)")
			flags.StringP("adapter", "a", "", "Name of config adapter to apply (if --config is used)")
			flags.Bool("json", false, "Print the JSON of the admin API")

			command.RunE = func(command *cobra.Command, args []string) error {
				if len(args) > 0 {
					var names []string
					for _, c := range command.Commands() {
						names = append(names, c.Name())
					}
					return fmt.Errorf("%q is none of %s", args[0], strings.Join(names, ", "))
				}
				return command.Help()
			}
			add := func(use, short string, args cobra.PositionalArgs, f func(caddycmd.Flags) error) *cobra.Command {
				added := &cobra.Command{Use: use, Short: short, Args: admincommand.Args(args), RunE: admincommand.Run(f)}
				command.AddCommand(added)
				return added
			}
			add("list", "Lists the parties", cobra.NoArgs, commandList)
			add("show <party>", "Shows the invites, guests and services of a party, what was asked, and which guests the requests go to", cobra.ExactArgs(1), commandShow)
			ask := add("ask <party> <service> [<payload>]", "Asks the guests of a party for a service, with a payload of JSON", cobra.RangeArgs(2, 3), commandAsk)
			ask.Flags().Bool("first", false, "Stop at the first answer")
			add("invite <party> [<guest>]", "Invites again the guests that are not on the line, or asks that one what it answers for now", cobra.RangeArgs(1, 2), commandInvite)
			for _, make := range party.RegisteredCommands() {
				added := make()
				if slices.ContainsFunc(command.Commands(), func(c *cobra.Command) bool { return c.Name() == added.Name() }) {
					panic("command already registered: wsgi-party " + added.Name())
				}
				command.AddCommand(added)
			}
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
		t.Row(p.Party, len(p.Guests), len(p.Services), fmt.Sprintf("%d of %d joined", joined, len(p.Invites)))
	}
	return admincommand.Print(fl, t)
}

func commandShow(fl caddycmd.Flags) error {
	p, err := admincommand.Call[partyJSON](fl, http.MethodGet, admincommand.EscapeSegment(fl.Arg(0)), nil)
	if err != nil {
		return err
	}
	invites := newInviteTable()
	for _, i := range p.Invites {
		inviteRow(invites, i, forPeople(i.Result))
	}
	guests := admincommand.NewTable("GUEST", "SERVICES", "REPLICAS", "JOINED")
	for _, g := range p.Guests {
		guests.Row(g.Guest, strings.Join(g.Services, ", "), g.Replicas, g.Joined.Local().Format(time.DateTime))
	}
	services := admincommand.NewTable("SERVICE", "GUESTS")
	for _, s := range p.Services {
		services.Row(s.Service, strings.Join(s.Guests, ", "))
	}
	counts := admincommand.NewTable("GUEST", "SERVICE", "ASKED", "ANSWERED", "DECLINED", "FAILED", "REFUSED", "LAST ERROR")
	for _, c := range p.Counts {
		counts.Row(c.Guest, c.Service, c.Asked, c.Answered, c.Declined, c.Failed, c.Refused, firstLine(c.LastError))
	}
	tables := append([]*admincommand.Table{invites, guests, services, counts}, p.Traffic.tables()...)
	if len(p.AskURLs) > 0 {
		tables = append(tables, admincommand.NewTable("GUESTS ASK AT", strings.Join(p.AskURLs, ", ")))
	}
	return admincommand.Print(fl, tables...)
}

func commandAsk(fl caddycmd.Flags) error {
	payload := []byte(fl.Arg(2))
	if _, err := wire.ParsePayload(payload); err != nil {
		return fmt.Errorf("%w: write a string as '\"text\"'", err)
	}
	path := admincommand.EscapeSegment(fl.Arg(0)) + "/ask/" + admincommand.EscapeSegment(fl.Arg(1))
	if fl.Bool("first") {
		path += "?first"
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
		t.Row(r.Guest, r.Status, seconds(r.Duration), answer)
	}
	err = admincommand.Print(fl, t)
	switch {
	case err != nil:
		return err
	case failed > 0:
		return fmt.Errorf("%d of the handlers asked for %s failed", failed, fl.Arg(1))
	case len(asked.Answers) == 0:
		return fmt.Errorf("nobody in party %s answered %s", fl.Arg(0), fl.Arg(1))
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
		result := forPeople(i.Result)
		if !i.Sent {
			result = "on the line"
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

func newInviteTable() *admincommand.Table {
	return admincommand.NewTable("INVITE", "GUEST", "RESULT", "STATUS", "DURATION", "OLD MANIFEST", "ERROR", "HINT")
}

func inviteRow(t *admincommand.Table, i inviteJSON, result string) {
	old := ""
	if !i.OldManifest.IsZero() {
		old = i.OldManifest.Local().Format(time.DateTime)
	}
	t.Row(i.URI, i.Guest, result, i.Status, seconds(i.Duration), old, firstLine(i.Error), i.Hint)
}

// forPeople returns the result as it is shown to people.
func forPeople(r party.InviteResult) string { return strings.ReplaceAll(string(r), "_", " ") }

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
