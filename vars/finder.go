// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Placeholders of URLs, found in a config.

package vars

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// finder finds placeholders of URLs.
type finder struct {
	named map[string]*caddyhttp.Route // that have not been looked into
	any   bool                        // whether there are some
}

// in looks into a config, and the named routes that it invokes. It returns an error for a placeholder that cannot be meant.
func (f *finder) in(config []byte) error {
	var decoded any
	if err := json.Unmarshal(config, &decoded); err != nil {
		return err
	}
	return f.inValue(decoded)
}

func (f *finder) inValue(value any) error {
	switch value := value.(type) {
	case string:
		f.any = f.any || strings.Contains(value, urlPrefix)
		return checkPlaceholders(value)
	case []any:
		for _, element := range value {
			if err := f.inValue(element); err != nil {
				return err
			}
		}
	case map[string]any:
		for name, member := range value {
			if err := f.inValue(name); err != nil {
				return err
			}
			if err := f.inValue(member); err != nil {
				return err
			}
		}
		if name, ok := value["name"].(string); ok && value["handler"] == "invoke" {
			return f.inNamed(name)
		}
	}
	return nil
}

// inNamed looks into a named route. Caddy forgets the config of one that it has set up, as it may have before that of a party
// which is in another named route: then there may be placeholders.
func (f *finder) inNamed(name string) error {
	route := f.named[name]
	if route == nil {
		return nil
	}
	delete(f.named, name)
	if len(route.HandlersRaw) == 0 {
		f.any = true
		return nil
	}
	config, err := json.Marshal(route)
	if err == nil {
		err = f.in(config)
	}
	if err != nil {
		return fmt.Errorf("in the named route %q: %w", name, err)
	}
	return nil
}

// checkPlaceholders returns an error for a placeholder in a text that cannot be meant.
func checkPlaceholders(text string) error {
	for {
		_, rest, found := strings.Cut(text, "{"+urlPrefix)
		if !found {
			return nil
		}
		page, after, ends := strings.Cut(rest, "}")
		if !ends {
			return nil
		}
		if _, err := parsePage(page); err != nil {
			return err
		}
		text = after
	}
}
