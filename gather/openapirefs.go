// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What in an OpenAPI document refers to what.

package gather

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// checkReferences checks that an object refers to something in the document, and has references to paths lead to these. One
// that leads nowhere would have programs refuse what all others say.
func checkReferences(object, doc, paths map[string]any, base string) error {
	for _, member := range []string{"$ref", "operationRef"} {
		value, there := object[member]
		if !there {
			continue
		}
		reference, ok := value.(string)
		if !ok {
			return fmt.Errorf("%s is %s: write a string", member, kindOf(value))
		}
		pointer, local := strings.CutPrefix(reference, "#/")
		if !local {
			return fmt.Errorf("%s %.100q leads out of the document: put what it refers to into components, and write #/components/…", member, reference)
		}
		section, rest, _ := strings.Cut(pointer, "/")
		in := doc[section]
		if section == "paths" {
			in = paths
		}
		_, _, _, named := componentIn(reference)
		if section != "paths" && !named || !leads(in, rest) {
			return fmt.Errorf("%s %.100q refers to nothing", member, reference)
		}
		if section == "paths" {
			object[member] = "#/paths/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(base) + rest
		}
	}
	return nil
}

// leads reports whether a JSON pointer, in a fragment, leads to something in the value.
func leads(value any, pointer string) bool {
	for token := range strings.SplitSeq(pointer, "/") {
		token, err := url.PathUnescape(token)
		if err != nil {
			return false
		}
		switch in := value.(type) {
		case map[string]any:
			var ok bool
			if value, ok = in[strings.NewReplacer("~1", "/", "~0", "~").Replace(token)]; !ok {
				return false
			}
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(in) {
				return false
			}
			value = in[i]
		default:
			return false
		}
	}
	return true
}

// componentIn returns to which component a reference leads, and what it says beyond that.
func componentIn(reference string) (section, name, rest string, ok bool) {
	pointer, ok := strings.CutPrefix(reference, "#/components/")
	if !ok {
		return "", "", "", false
	}
	section, name, _ = strings.Cut(pointer, "/")
	if i := strings.IndexByte(name, '/'); i >= 0 {
		name, rest = name[:i], name[i:]
	}
	return section, name, rest, componentName.MatchString(name) // and so not escaped
}

// namedBy are the members whose objects have names of the author's as members, and holdsData those that are data.
var (
	namedBy = map[string]bool{"properties": true, "patternProperties": true, "definitions": true, "$defs": true, "dependentSchemas": true, "schemas": true, "responses": true, "parameters": true,
		"examples": true, "requestBodies": true, "headers": true, "securitySchemes": true, "links": true, "callbacks": true, "pathItems": true, "content": true, "encoding": true}
	holdsData = map[string]bool{"example": true, "default": true, "const": true, "enum": true, "value": true, "security": true, "mapping": true}
)

// eachObject calls do with the objects of OpenAPI, and JSON schema, in a value: neither what holds names, nor what is data.
func eachObject(value any, names bool, do func(map[string]any) error) error {
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			if err := eachObject(element, false, do); err != nil {
				return err
			}
		}
	case map[string]any:
		if !names {
			if err := do(value); err != nil {
				return err
			}
		}
		for name, member := range value {
			_, isList := member.([]any)
			if !names && (holdsData[name] || name == "examples" && isList) {
				continue
			}
			if err := eachObject(member, !names && namedBy[name], do); err != nil {
				return err
			}
		}
	}
	return nil
}

// objectIn returns the member, nil if it is not an object.
func objectIn(object map[string]any, member string) map[string]any {
	value, _ := object[member].(map[string]any)
	return value
}
