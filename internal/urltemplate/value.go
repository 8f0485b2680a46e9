// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package urltemplate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// maxElements of a list or an object: more than any URL has.
const maxElements = 4096

var errTooMany = fmt.Errorf("it has more than %d elements", maxElements)

var errNested = errors.New("a list or an object contains another, which a URL cannot express")

// textOf returns the text of a value that is a string, a number or a boolean in JSON.
func textOf(value any) (text string, ok bool) {
	switch value := value.(type) {
	case string:
		return value, true
	case json.Number:
		return value.String(), true
	case int:
		return strconv.Itoa(value), true
	case bool:
		return strconv.FormatBool(value), true
	}
	return "", false
}

// simplify returns a value as a string, a []string or a map[string]string, or nil
// where RFC 6570 has it undefined. It goes by what the value is in JSON.
func simplify(value any) (any, error) {
	if text, ok := textOf(value); ok {
		return text, nil
	}
	switch value := value.(type) {
	case nil:
		return nil, nil
	case []any:
		if len(value) > maxElements {
			return nil, errTooMany
		}
		var list []string
		for _, element := range value {
			text, ok, err := simplifyElement(element)
			if err != nil {
				return nil, err
			}
			if ok {
				list = append(list, text)
			}
		}
		if list == nil {
			return nil, nil
		}
		return list, nil
	case map[string]any:
		if len(value) > maxElements {
			return nil, errTooMany
		}
		object := make(map[string]string, len(value))
		for name, element := range value {
			text, ok, err := simplifyElement(element)
			if err != nil {
				return nil, err
			}
			if ok {
				object[name] = text
			}
		}
		if len(object) == 0 {
			return nil, nil
		}
		return object, nil
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	var decoded any
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.UseNumber()
	if err := decoder.Decode(&decoded); err != nil {
		return nil, err
	}
	return simplify(decoded)
}

// simplifyElement returns false for null, which is not an element.
func simplifyElement(element any) (text string, ok bool, err error) {
	switch element.(type) {
	case []any, map[string]any:
		return "", false, errNested
	}
	value, err := simplify(element)
	if value == nil || err != nil {
		return "", false, err
	}
	if text, ok = value.(string); !ok {
		return "", false, errNested
	}
	return text, true, nil
}
