// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package wsgiparty

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"text/template"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"
)

// What other packages add to an App, to the command, the admin API and the functions of
// pages. A name maps to nil if it is one of theirs.
var (
	registering       sync.Mutex
	provisioners      []func(caddy.Context) error
	commands          []func() *cobra.Command
	adminHandlers     = map[string]AdminHandler{"ask": nil, "invite": nil}
	templateFunctions = map[string]TemplateFunction{"askAround": nil, "askFirst": nil, "askReplies": nil, "maybeURL": nil, "urlFor": nil}
)

// RegisterProvisioner registers a function that is called with the context of each module
// that looks for the App of its config, in Provision. It is to be called in an init function. It is
// experimental.
func RegisterProvisioner(provision func(caddy.Context) error) {
	registering.Lock()
	defer registering.Unlock()
	provisioners = append(provisioners, provision)
}

func registeredProvisioners() []func(caddy.Context) error {
	registering.Lock()
	defer registering.Unlock()
	return slices.Clone(provisioners)
}

// RegisterCommand adds a command to `caddy wsgi-party`, whose flags it inherits. It is to
// be called in an init function; make is called when Caddy is run as a command, which
// panics if the command's name is taken. It is experimental.
func RegisterCommand(make func() *cobra.Command) {
	registering.Lock()
	defer registering.Unlock()
	commands = append(commands, make)
}

// RegisteredCommands makes the commands that were registered. It is experimental.
func RegisteredCommands() []*cobra.Command {
	registering.Lock()
	registered := slices.Clone(commands)
	registering.Unlock()
	made := make([]*cobra.Command, len(registered))
	for i, make := range registered {
		made[i] = make()
	}
	return made
}

// AdminHandler serves a request to the admin API that concerns a party, which need not be
// one of the running config. A caddy.APIError says with which status it fails.
type AdminHandler func(w http.ResponseWriter, r *http.Request, party string) error

// RegisterAdmin registers the handler of `/wsgi_party/<party>/<name>` in the admin API, and
// of all below. It is to be called in an init function, and panics if the name is taken. It
// is experimental.
func RegisterAdmin(name string, handler AdminHandler) {
	register(adminHandlers, "endpoint", name, handler)
}

// RegisteredAdmin returns the handler that was registered under the name, nil if none
// was. It is experimental.
func RegisteredAdmin(name string) AdminHandler {
	registering.Lock()
	defer registering.Unlock()
	return adminHandlers[name]
}

// TemplateFunction makes a function for pages that ask a party. It is called when their
// handler is provisioned, with the context given there. As a page's functions do, it may
// return one or two values, the second an error.
type TemplateFunction func(ctx caddy.Context, party string) (function any, err error)

// RegisterTemplateFunction adds a function to those that `extensions { wsgi_party }` gives
// pages. One of Caddy's own that has its name comes first. It is to be called in an init
// function, and panics if the name is taken or could not be one. It is experimental.
func RegisterTemplateFunction(name string, make TemplateFunction) {
	template.New("").Funcs(template.FuncMap{name: fmt.Sprint}) // panics if it could not
	register(templateFunctions, "template function", name, make)
}

// RegisteredTemplateFunctions makes the functions that were registered. It is
// experimental.
func RegisteredTemplateFunctions(ctx caddy.Context, party string) (template.FuncMap, error) {
	registering.Lock()
	registered := maps.Clone(templateFunctions)
	registering.Unlock()
	functions := make(template.FuncMap)
	for name, make := range registered {
		if make == nil {
			continue
		}
		function, err := make(ctx, party)
		if err != nil {
			return nil, fmt.Errorf("template function %s: %w", name, err)
		}
		functions[name] = function
	}
	return functions, nil
}

func register[T any](registered map[string]T, what, name string, value T) {
	registering.Lock()
	defer registering.Unlock()
	if _, taken := registered[name]; taken || name == "" {
		panic(fmt.Sprintf("%s %q is registered already", what, name))
	}
	registered[name] = value
}
