// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Shells complete the names of parties, guests and services, which the running Caddy tells.

package operations

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/wsgiparty/wsgiparty/internal/admincommand"
)

var argument = regexp.MustCompile(`<([^>]+)>`)

// completeNames has the subcommands complete their arguments, by what these are called in the usage, unless
// one does so itself.
func completeNames(command *cobra.Command) {
	for _, c := range command.Commands() {
		if c.ValidArgsFunction != nil || len(c.ValidArgs) > 0 {
			continue
		}
		var kinds []string
		for _, found := range argument.FindAllStringSubmatch(c.Use, -1) {
			kinds = append(kinds, found[1])
		}
		c.ValidArgsFunction = completer(kinds...)
		if c.Flags().Lookup("interval") != nil {
			_ = c.RegisterFlagCompletionFunc("interval", cobra.NoFileCompletions)
		}
	}
	for _, flag := range []string{"address", "adapter"} {
		_ = command.RegisterFlagCompletionFunc(flag, cobra.NoFileCompletions) // fails only for a flag that is not there
	}
}

// completer returns the completion of arguments of these kinds, of which unknown ones have none. It is
// silent about whatever goes wrong.
func completer(kinds ...string) cobra.CompletionFunc {
	return func(command *cobra.Command, args []string, begun string) (found []cobra.Completion, _ cobra.ShellCompDirective) {
		if len(args) < len(kinds) {
			for _, c := range candidates(caddycmd.Flags{FlagSet: command.Flags()}, kinds, args) {
				if strings.HasPrefix(c.name, begun) && typeable.MatchString(c.name) {
					found = append(found, cobra.CompletionWithDesc(c.name, c.about))
				}
			}
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeAskedGuest completes the one guest that is asked: those of the service that the arguments name.
func completeAskedGuest(command *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return completer("party", "service", "asked guest")(command, args[:min(len(args), 2)], begun)
}

// typeable are the names that mean themselves in any shell: what a guest is called must not become a
// part of a command.
var typeable = regexp.MustCompile(`^[\pL\pN_.:@/][\pL\pN\pM_.:@/+,=%-]*$`)

// candidate is a name, and a few words that tell it from others. No guest has a say in these.
type candidate struct{ name, about string }

func candidates(fl caddycmd.Flags, kinds, args []string) []candidate {
	kind := kinds[len(args)]
	switch kind {
	case "party":
		parties, _ := soon(func() ([]partyJSON, error) { return admincommand.Get[[]partyJSON](fl, "") })
		return each(parties, func(p partyJSON) candidate { return candidate{p.Party, plural(len(p.Guests), "guest")} })
	case "method":
		return each([]string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions},
			func(method string) candidate { return candidate{name: method} })
	case "guest", "invited guest", "asked guest", "service":
		at := slices.Index(kinds, "party")
		if at < 0 || at >= len(args) || args[at] == "" {
			return nil
		}
		p, _ := soon(func() (partyJSON, error) {
			return admincommand.Get[partyJSON](fl, admincommand.EscapeSegment(args[at]))
		})
		if kind == "service" {
			return each(p.Services, func(s serviceJSON) candidate { return candidate{s.Service, plural(len(s.Guests), "guest")} })
		}
		if kind == "asked guest" {
			i := slices.IndexFunc(p.Services, func(s serviceJSON) bool { return s.Service == args[1] })
			if i < 0 {
				return nil
			}
			return each(p.Services[i].Guests, func(guest string) candidate { return candidate{guest, onLine} })
		}
		return p.guestsOf(kind)
	}
	return nil
}

// guestsOf returns the guests of either kind.
func (p partyJSON) guestsOf(kind string) (found []candidate) {
	add := func(name, about string) {
		if !slices.ContainsFunc(found, func(c candidate) bool { return c.name == name }) {
			found = append(found, candidate{name, about})
		}
	}
	for _, i := range p.Invites {
		add(i.Guest, forPeople(i.Result))
	}
	if kind == "guest" {
		for _, g := range p.Guests {
			add(g.Guest, onLine)
		}
	}
	return found
}

// patience is how long a shell waits for names at most.
const patience = 2 * time.Second

// soon returns what f does, unless that takes too long.
func soon[T any](f func() (T, error)) (value T, err error) {
	done := make(chan struct{})
	var got T
	var failed error
	go func() {
		defer close(done)
		defer func() {
			if r := recover(); r != nil {
				failed = fmt.Errorf("panic: %v", r)
			}
		}()
		got, failed = f()
	}()
	select {
	case <-done:
		return got, failed
	case <-time.After(patience):
		return value, fmt.Errorf("no answer in %v", patience)
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
