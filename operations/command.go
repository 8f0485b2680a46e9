// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package operations

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

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
				added := &cobra.Command{Use: use, Short: short, Args: args, RunE: run(f)}
				command.AddCommand(added)
				return added
			}
			add("list", "Lists the parties", cobra.NoArgs, commandList)
			add("show <party>", "Shows the invites, guests and services of a party, what was asked, and which guests the requests go to", cobra.ExactArgs(1), commandShow)
			ask := add("ask <party> <service> [<payload>]", "Asks the guests of a party for a service, with a payload of JSON", cobra.RangeArgs(2, 3), commandAsk)
			ask.Flags().Bool("first", false, "Stop at the first answer")
			add("invite <party> [<guest>]", "Invites again the guests that are not on the line, or that one", cobra.RangeArgs(1, 2), commandInvite)
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

// run makes a command of the function. The errors may have in them what guests say.
func run(f func(caddycmd.Flags) error) func(*cobra.Command, []string) error {
	return caddycmd.WrapCommandFuncForCobra(func(fl caddycmd.Flags) (int, error) {
		if slices.Contains(fl.Args()[:min(2, fl.NArg())], "") { // else it would be another path
			return caddy.ExitCodeFailedStartup, errors.New("a name is empty: write it, or leave it out")
		}
		err := f(fl)
		if err == nil {
			return caddy.ExitCodeSuccess, nil
		}
		status := caddy.ExitCodeFailedStartup
		if _, ok := errors.AsType[unreachableError](err); ok {
			status = exitUnreachable
		}
		return status, errors.New(strings.Map(printable, err.Error()))
	})
}

// exitUnreachable is the exit status when no Caddy answers.
const exitUnreachable = 2

type unreachableError struct{ error }

// callAdminAPI makes a request to the running Caddy's admin API and returns the decoded
// response; with --json it is printed, too.
func callAdminAPI[T any](fl caddycmd.Flags, method, path string, body []byte) (response T, err error) {
	address, err := caddycmd.DetermineAdminAPIAddress(fl.String("address"), nil, fl.String("config"), fl.String("adapter"))
	if err != nil {
		return response, fmt.Errorf("couldn't determine admin API address: %w", err)
	}
	r, err := requestAdminAPI(address, method, path, body)
	if _, ok := errors.AsType[unreachableError](err); ok && method == http.MethodGet {
		r, err = requestAdminAPI(address, method, path, body) // a reload ends connections
	}
	if err != nil {
		return response, err
	}
	defer r.Body.Close()
	encoded, err := io.ReadAll(r.Body)
	if err != nil {
		return response, unreachableError{fmt.Errorf("the admin API at %s broke off: %w", address, err)}
	}
	if err := json.Unmarshal(encoded, &response); err != nil {
		return response, fmt.Errorf("the admin API at %s answers with something else: %w", address, err)
	}
	if fl.Bool("json") {
		_, err = os.Stdout.Write(encoded)
	}
	return response, err
}

func requestAdminAPI(address, method, path string, body []byte) (*http.Response, error) {
	r, err := caddycmd.AdminAPIRequest(address, method, adminPath+path, nil, bytes.NewReader(body))
	if err == nil {
		return r, nil
	}
	_, answer, answered := strings.Cut(err.Error(), "caddy responded with error: HTTP ")
	if !answered {
		return nil, unreachableError{fmt.Errorf("no Caddy answers at the admin address %s: is it running? --address says where: %w", address, err)}
	}
	_, answer, _ = strings.Cut(answer, ": ")
	var apiError struct{ Error string }
	if json.Unmarshal([]byte(answer), &apiError) == nil && apiError.Error != "" {
		err = errors.New(apiError.Error)
	}
	return nil, err
}

// escapeSegment escapes a name for a path, of which dots alone would be no part.
func escapeSegment(name string) string { return strings.ReplaceAll(url.PathEscape(name), ".", "%2E") }

func commandList(fl caddycmd.Flags) error {
	parties, err := callAdminAPI[[]partyJSON](fl, http.MethodGet, "", nil)
	if err != nil {
		return err
	}
	t := newTable("PARTY", "GUESTS", "SERVICES", "INVITES")
	for _, p := range parties {
		joined := 0
		for _, i := range p.Invites {
			if i.Result == party.InviteJoined {
				joined++
			}
		}
		t.row(p.Party, len(p.Guests), len(p.Services), fmt.Sprintf("%d of %d joined", joined, len(p.Invites)))
	}
	return print(fl, t)
}

func commandShow(fl caddycmd.Flags) error {
	p, err := callAdminAPI[partyJSON](fl, http.MethodGet, escapeSegment(fl.Arg(0)), nil)
	if err != nil {
		return err
	}
	invites := newInviteTable()
	for _, i := range p.Invites {
		invites.invite(i, forPeople(i.Result))
	}
	guests := newTable("GUEST", "SERVICES", "REPLICAS", "JOINED")
	for _, g := range p.Guests {
		guests.row(g.Guest, strings.Join(g.Services, ", "), g.Replicas, g.Joined.Local().Format(time.DateTime))
	}
	services := newTable("SERVICE", "GUESTS")
	for _, s := range p.Services {
		services.row(s.Service, strings.Join(s.Guests, ", "))
	}
	counts := newTable("GUEST", "SERVICE", "ASKED", "ANSWERED", "DECLINED", "FAILED", "REFUSED", "LAST ERROR")
	for _, c := range p.Counts {
		counts.row(c.Guest, c.Service, c.Asked, c.Answered, c.Declined, c.Failed, c.Refused, firstLine(c.LastError))
	}
	tables := append([]*table{invites, guests, services, counts}, p.Traffic.tables()...)
	if len(p.AskURLs) > 0 {
		tables = append(tables, newTable("GUESTS ASK AT", strings.Join(p.AskURLs, ", ")))
	}
	return print(fl, tables...)
}

func commandAsk(fl caddycmd.Flags) error {
	payload := []byte(fl.Arg(2))
	if _, err := wire.ParsePayload(payload); err != nil {
		return fmt.Errorf("%w: write a string as '\"text\"'", err)
	}
	path := escapeSegment(fl.Arg(0)) + "/ask/" + escapeSegment(fl.Arg(1))
	if fl.Bool("first") {
		path += "?first"
	}
	asked, err := callAdminAPI[wire.Asked](fl, http.MethodPost, path, payload)
	if err != nil {
		return err
	}
	t := newTable("GUEST", "STATUS", "DURATION", "ANSWER")
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
		t.row(r.Guest, r.Status, seconds(r.Duration), answer)
	}
	err = print(fl, t)
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
	path := escapeSegment(fl.Arg(0)) + "/invite"
	if guest := fl.Arg(1); guest != "" {
		path += "?guest=" + url.QueryEscape(guest)
	}
	sent, err := callAdminAPI[struct{ Invites []sentJSON }](fl, http.MethodPost, path, nil)
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
		t.invite(i.inviteJSON, result)
	}
	err = print(fl, t)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("not joined: %s", strings.Join(missing, ", "))
	}
	return err
}

// table is rows of cells with tabs between them.
type table struct{ strings.Builder }

func newTable(titles ...any) *table {
	t := new(table)
	t.row(titles...)
	return t
}

func (t *table) row(cells ...any) {
	for i, cell := range cells {
		if i > 0 {
			t.WriteByte('\t')
		}
		t.WriteString(cmp.Or(strings.Map(printable, fmt.Sprint(cell)), "-"))
	}
	t.WriteByte('\n')
}

// printable keeps what guests say from moving the terminal's cursor.
func printable(r rune) rune {
	if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
		return ' '
	}
	return r
}

// print prints the tables in aligned columns, unless --json has printed what is in them.
func print(fl caddycmd.Flags, tables ...*table) error {
	if fl.Bool("json") {
		return nil
	}
	var text bytes.Buffer
	aligned := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprint(aligned, strings.Join(each(tables, (*table).String), "\n"))
	aligned.Flush()
	_, err := text.WriteTo(os.Stdout)
	return err
}

func newInviteTable() *table {
	return newTable("INVITE", "GUEST", "RESULT", "STATUS", "DURATION", "OLD MANIFEST", "ERROR", "HINT")
}

func (t *table) invite(i inviteJSON, result string) {
	old := ""
	if !i.OldManifest.IsZero() {
		old = i.OldManifest.Local().Format(time.DateTime)
	}
	t.row(i.URI, i.Guest, result, i.Status, seconds(i.Duration), old, firstLine(i.Error), i.Hint)
}

// forPeople returns the result as it is shown to people.
func forPeople(r party.InviteResult) string { return strings.ReplaceAll(string(r), "_", " ") }

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
