// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The matcher as a function in expressions.

package claims

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/parser"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const celFunction = "wsgi_party_request_map"

// CELLibrary produces options that expose this matcher for use in CEL expression matchers.
//
// Example:
//
//	expression wsgi_party({'claimed_by': 'new', 'share': '10%'})
func (*Matcher) CELLibrary(ctx caddy.Context) (cel.Library, error) {
	factory := func(data ref.Val) (caddyhttp.RequestMatcherWithError, error) {
		values, err := caddyhttp.CELValueToMapStrList(data)
		if err != nil {
			return nil, err
		}
		option := func(name string) string { return strings.Join(values[name], "") } // there is one, or none
		m := &Matcher{ClaimedBy: option("claimed_by"), Party: option("party"), Share: option("share"), By: option("by")}
		return inExpression{m}, m.Provision(ctx)
	}
	return caddyhttp.NewMatcherCELLibrary([]cel.EnvOption{
		cel.Macros(parser.NewGlobalMacro("wsgi_party", 1, expandMacro)),
		cel.Function(celFunction,
			cel.Overload(celFunction, []*cel.Type{cel.ObjectType("http.Request"), caddyhttp.CELTypeJSON}, cel.BoolType),
			cel.SingletonBinaryBinding(caddyhttp.CELMatcherRuntimeFunction(celFunction, factory))),
	}, []cel.ProgramOption{
		cel.CustomDecorator(caddyhttp.CELMatcherDecorator(celFunction, factory)),
	}), nil
}

// inExpression sets the placeholders of an error, such as {err.status_code}. Caddy's servers, which do that for
// error routes, look for the status in the error itself only, and expressions wrap it.
type inExpression struct{ *Matcher }

func (m inExpression) MatchWithError(r *http.Request) (bool, error) {
	matches, err := m.Matcher.MatchWithError(r)
	if err != nil {
		new(caddyhttp.HTTPErrorConfig).WithError(r, err)
	}
	return matches, err
}

// expandMacro makes `wsgi_party({…})` a call with the request, and with constants: a matcher that
// depended on each request would have to be set up with each. What Caddy has made of a placeholder
// is a constant again, since `by` is one.
func expandMacro(factory cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
	if args[0].Kind() != ast.MapKind {
		return nil, factory.NewError(args[0].ID(), "wsgi_party takes a map literal, as in wsgi_party({'claimed_by': 'new'})")
	}
	var entries []ast.EntryExpr
	seen := make(map[string]bool)
	for _, e := range args[0].AsMap().Entries() {
		entry := e.AsMapEntry()
		name, _ := textOf(entry.Key())
		if !slices.Contains(options, name) || seen[name] {
			return nil, factory.NewError(e.ID(), "the options of wsgi_party are 'claimed_by', 'party', 'share' and 'by', each once")
		}
		seen[name] = true
		value, ok := textOf(entry.Value())
		if !ok || value == "" {
			return nil, factory.NewError(entry.Value().ID(), name+" of wsgi_party must be a string literal, the same for all requests")
		}
		entries = append(entries, factory.NewMapEntry(entry.Key(), factory.NewLiteral(types.String(value)), false))
	}
	return factory.NewCall(celFunction, factory.NewIdent(caddyhttp.CELRequestVarName), factory.NewMap(entries...)), nil
}

// textOf returns the text of a string literal, in which a placeholder may have become a call, or of that call.
func textOf(e ast.Expr) (string, bool) {
	switch e.Kind() {
	case ast.LiteralKind:
		text, ok := e.AsLiteral().Value().(string)
		return celPlaceholder.ReplaceAllString(text, "{$1}"), ok
	case ast.CallKind:
		if call := e.AsCall(); call.FunctionName() == caddyhttp.CELPlaceholderFuncName && len(call.Args()) == 2 {
			name, ok := textOf(call.Args()[1])
			return "{" + name + "}", ok
		}
	}
	return "", false
}

// celPlaceholder is what Caddy makes of a placeholder in an expression, also within a literal.
var celPlaceholder = regexp.MustCompile(`ph\(req, "([\w.-]+)"\)`)
