// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package urltemplate

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// parser parses one template.
type parser struct {
	template    *Template
	seen        map[string]bool // variables: whether the path needs them
	shape       []byte          // the template with x for what expressions expand to
	literal     int             // where the literal under way begins
	expressions int
	in          region
}

type region byte

const (
	inPath region = iota
	inQuery
	afterQuery // of an expression
	inFragment
)

func (p *parser) parse() error {
	text := p.template.text
	if problem := checkRelative(text); problem != nil {
		return p.error(problem)
	}
	for i := 0; i < len(text); {
		if text[i] != '{' {
			if problem := p.character(i); problem != nil {
				return p.error(problem)
			}
			p.shape = append(p.shape, text[i])
			i++
			continue
		}
		end := strings.IndexByte(text[i:], '}')
		if end < 0 {
			return p.error(&problem{i, "an expression without an end", "write } after it, or %7B for a {"})
		}
		end += i
		if problem := p.expression(i, text[i+1:end]); problem != nil {
			return p.error(problem)
		}
		i = end + 1
	}
	if p.literal < len(text) {
		p.template.parts = append(p.template.parts, part{literal: escapeNonASCII(text[p.literal:])})
	}
	shape, inserted := string(p.shape), 0
	if shape[0] != '/' {
		shape, inserted = "/"+shape, 1
		p.template.parts[0].literal = "/" + p.template.parts[0].literal
	}
	if problem := check(shape); problem != nil {
		problem.at -= inserted
		return p.error(problem)
	}
	return nil
}

func (p *parser) error(problem *problem) error {
	return fmt.Errorf("template %s, byte %d: %s", quote(p.template.text), problem.at, problem)
}

// character takes note of what a literal character at i begins.
func (p *parser) character(i int) *problem {
	switch c := p.template.text[i]; {
	case c == '}':
		return &problem{i, "a } without a {", "write {name} for a variable, or %7D for a }"}
	case c == '<':
		return &problem{i, `the character "<"`, "write {name} for a variable, or %3C for a <"}
	case c == '#':
		p.in = inFragment
	case p.in == afterQuery:
		return &problem{i, "text after {?…}, which may expand to nothing", "write what is constant first and variables after it, as in ?lang=en{&q,page}"}
	case c == '?' && p.in == inPath:
		p.in = inQuery
	}
	return nil
}

// expression parses what is between the braces, the first of which is at i.
func (p *parser) expression(i int, inner string) *problem {
	if p.expressions++; p.expressions > maxExpressions {
		return &problem{i, fmt.Sprintf("more than %d expressions", maxExpressions), "put several variables into one, as in {?q,page}, or write a shorter template"}
	}
	e := part{literal: escapeNonASCII(p.template.text[p.literal:i])}
	p.literal = i + len(inner) + 2
	if inner == "" {
		return &problem{i, "an expression without a variable", "write its name, as in {slug}"}
	}
	specs := inner
	if strings.Contains("+#/.;?&=,!@|$", inner[:1]) {
		e.operator, specs = inner[:1], inner[1:]
	}
	if problem := p.operator(i, e.operator, specs); problem != nil {
		return problem
	}
	e.required = p.in == inPath && e.operator != "?"
	at := i + 1 + len(e.operator)
	library := []byte("{" + e.operator)
	inExpression := make(map[string]bool)
	for n, spec := range strings.Split(specs, ",") {
		v, what := parseVariable(spec)
		if what == nil && inExpression[v.name] {
			what = &problem{0, fmt.Sprintf("the variable %s for the second time in one expression", quote(v.name)), "write it once"}
		}
		if what != nil {
			what.at += at
			return what
		}
		at += len(spec) + 1
		inExpression[v.name] = true
		e.variables = append(e.variables, v)
		if n > 0 {
			library = append(library, ',')
		}
		library = append(library, v.name...)
		if v.explode {
			library = append(library, '*')
		}
		required, seen := p.seen[v.name]
		if !seen {
			p.template.variables = append(p.template.variables, v.name)
		}
		if e.required && !required {
			p.template.required = append(p.template.required, v.name)
		}
		p.seen[v.name] = required || e.required
	}
	e.library = string(append(library, '}'))
	if e.operator == "?" {
		p.in = afterQuery
	}
	p.shape = append(append(p.shape, e.operator...), strings.Repeat("x", len(inner)+2-len(e.operator))...)
	p.template.parts = append(p.template.parts, e)
	return nil
}

// operator says what is wrong with an operator where it stands.
func (p *parser) operator(i int, operator, specs string) *problem {
	for _, spec := range strings.Split(specs, ",") {
		if _, wrong := parseVariable(spec); wrong != nil || len(specs) > 40 {
			specs = "name" // for the advice
			break
		}
	}
	switch {
	case operator == "+" || operator == "#":
		return &problem{i, "a " + map[string]string{"+": "reserved", "#": "fragment"}[operator] + " expansion, whose values would bring their own slashes, dots and query and so could leave the mount",
			map[string]string{"+": fmt.Sprintf("write {%s}, or {/name*} for a list of segments", specs), "#": fmt.Sprintf("write #{%s}", specs)}[operator]}
	case operator != "" && !strings.Contains("/.;?&", operator):
		return &problem{i + 1, fmt.Sprintf("the character %q, which is not an operator", operator), fmt.Sprintf("write {%s}", specs)}
	case p.in == afterQuery:
		return &problem{i, "an expression after {?…}, which may expand to nothing", "put all variables of the query into one expression, as in {?q,page}"}
	case operator == "?" && p.in == inQuery:
		return &problem{i, "a second ?", fmt.Sprintf("write {&%s}", specs)}
	case operator == "&" && p.in == inPath:
		return &problem{i, "an & before the query has begun", fmt.Sprintf("write {?%s}", specs)}
	case (operator == "?" || operator == "&") && p.in == inFragment:
		return &problem{i, "a query after the fragment", fmt.Sprintf("write {%s%s} before the #", operator, specs)}
	}
	return nil
}

// parseVariable parses a variable and its modifier. The problem's place is relative
// to spec.
func parseVariable(spec string) (variable, *problem) {
	var v variable
	var length string
	var hasLength bool
	v.name, length, hasLength = strings.Cut(spec, ":")
	if hasLength {
		n, err := strconv.Atoi(length)
		if err != nil || n < 1 || n > 9999 || length[0] < '1' {
			return v, &problem{len(v.name), fmt.Sprintf("%s, which is not a length", quote(":"+length)), "write {name}, or {name:3} for the first three characters of the value"}
		}
		v.prefix = n
	} else {
		v.name, v.explode = strings.CutSuffix(spec, "*")
	}
	if v.name == "" {
		return v, &problem{0, "an expression without a variable", "write its name, as in {slug}"}
	}
	if strings.HasPrefix(v.name, "http.") {
		return v, &problem{0, fmt.Sprintf("the variable %s, which is a Caddy placeholder: in a Caddyfile, {path}, {file}, {host} and others become one", quote(v.name)),
			"write another name, such as {page_path} for {path}"}
	}
	if at := badNameAt(v.name); at >= 0 {
		r, _ := utf8.DecodeRuneInString(v.name[at:])
		return v, &problem{at, fmt.Sprintf("the variable %s with a %q", quote(v.name), r), "write a name of letters, digits, _ and single dots inside it, as in {post_id}"}
	}
	return v, nil
}

// badNameAt returns where a name breaks the rules of RFC 6570, or -1.
func badNameAt(name string) int {
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_':
		case c == '%' && isEscape(name[i:]):
			i += 2
		case c == '.' && i > 0 && i < len(name)-1 && name[i-1] != '.':
		default:
			return i
		}
	}
	return -1
}

// isControl has line and paragraph separators, too.
func isControl(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }
