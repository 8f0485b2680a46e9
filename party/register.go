// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package party

import (
	"fmt"
	"net/http"
	"text/template"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"
)

// What other packages add, in their init functions only, to an App, the command, the admin API and
// the functions of pages. A name that maps to nil is taken.
var (
	provisioners      []func(caddy.Context) error
	commands          []func() *cobra.Command
	adminHandlers     = map[string]AdminHandler{"ask": nil, "invite": nil}
	templateFunctions = map[string]TemplateFunction{"askAround": nil, "askFirst": nil, "askReplies": nil, "maybeURL": nil, "urlFor": nil}
)

// RegisterProvisioner, in an init function, registers what is called in Provision with the context
// of each module that looks for the App of its config.
func RegisterProvisioner(provision func(caddy.Context) error) {
	provisioners = append(provisioners, provision)
}

// RegisterCommand, in an init function, adds a command to `caddy wsgi-party`, whose flags it
// inherits. When Caddy runs as a command, make is called; a name that is taken panics then.
func RegisterCommand(make func() *cobra.Command) { commands = append(commands, make) }

// RegisteredCommands returns what makes the commands.
func RegisteredCommands() []func() *cobra.Command { return commands }

// AdminHandler serves a request to the admin API that concerns a party, which may be none of the
// running config. A caddy.APIError says with which status it fails.
type AdminHandler func(w http.ResponseWriter, r *http.Request, party string) error

// RegisterAdmin, in an init function, registers the handler of `/wsgi_party/<party>/<name>` in the
// admin API, and of all below. It panics if the name is taken.
func RegisterAdmin(name string, handler AdminHandler) {
	register(adminHandlers, "endpoint", name, handler)
}

// RegisteredAdmin returns the handler of that name, nil if there is none.
func RegisteredAdmin(name string) AdminHandler { return adminHandlers[name] }

// TemplateFunction makes a function for pages that ask a party. It is called when their handler is
// provisioned, with the context given there. As a page's functions do, the function may return one
// or two values, the second an error.
type TemplateFunction func(ctx caddy.Context, party string) (function any, err error)

// RegisterTemplateFunction, in an init function, adds a function to those that
// `extensions { wsgi_party }` gives pages. One of Caddy's own that has its name comes first. It
// panics if the name is taken or could not be one.
func RegisterTemplateFunction(name string, make TemplateFunction) {
	template.New("").Funcs(template.FuncMap{name: fmt.Sprint}) // panics if it could not
	register(templateFunctions, "template function", name, make)
}

// RegisteredTemplateFunctions makes the functions for pages.
func RegisteredTemplateFunctions(ctx caddy.Context, party string) (template.FuncMap, error) {
	functions := make(template.FuncMap)
	for name, make := range templateFunctions {
		if make != nil {
			function, err := make(ctx, party)
			if err != nil {
				return nil, fmt.Errorf("template function %s: %w", name, err)
			}
			functions[name] = function
		}
	}
	return functions, nil
}

func register[T any](registered map[string]T, what, name string, value T) {
	if _, taken := registered[name]; taken || name == "" {
		panic(fmt.Sprintf("%s %q is registered already", what, name))
	}
	registered[name] = value
}
