// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// By what the guests are found that may answer an ask, as their manifests say.

package party

import "github.com/wsgiparty/wsgiparty/partyline"

// askKey says by which key a service is asked for: a page's name, or a host. A payload that is
// neither has none.
func askKey(service string) func(payload any) (key string, ok bool) {
	switch service {
	case URLService:
		return pageIn
	case HostsService:
		return hostIn
	}
	return nil
}

func hostIn(payload any) (host string, ok bool) {
	host, err := partyline.PayloadAs[string](payload)
	return host, err == nil
}

// pageIn returns the name of the page that a payload asks for, without decoding the values of one
// that came as JSON.
func pageIn(payload any) (name string, ok bool) {
	switch payload := payload.(type) {
	case []any:
		if len(payload) == 2 && isObject(payload[1]) {
			if name, ok = payload[0].(string); ok {
				return name, true
			}
		}
	case map[string]any:
		if name, ok = payload["name"].(string); ok && isPlain(payload) {
			return name, true
		}
	}
	request, err := URLRequestOf(payload)
	return request.Name, err == nil
}

// isPlain reports whether an object is a URLRequest's as it is mostly written.
func isPlain(object map[string]any) bool {
	for member, value := range object {
		switch member {
		case "name":
		case "values", "kwargs", "query":
			if !isObject(value) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

func isObject(value any) bool {
	_, ok := value.(map[string]any)
	return ok || value == nil
}
