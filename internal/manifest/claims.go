// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What a guest says is its own: requests, and hosts.

package manifest

import (
	"encoding/json"
	"errors"

	"github.com/wsgiparty/wsgiparty/internal/claimpattern"
)

// Claims are the requests that a guest claims.
type Claims struct {
	Patterns *claimpattern.Patterns
	URLs     bool     // whether all that lead to its pages are, too
	Texts    []string // the patterns as they are written
}

// Hosts are the hosts that a guest claims.
type Hosts struct {
	*claimpattern.Hosts
	Texts []string // as they are written
}

// AllURLs stands for all requests to the guest's pages, in the place of a pattern or of all patterns.
const AllURLs = "urls"

func parseClaims(at path, raw json.RawMessage) (*Claims, error) {
	const example = `patterns, ["/reports/", "GET /users/{id}"], or "urls" for all pages`
	c := new(Claims)
	var texts []string
	if kind(raw) == "a string" {
		var text string
		if err := json.Unmarshal(raw, &text); err != nil || text != AllURLs {
			return nil, at.errorf("it is %s: write a list of %s, or leave it out", shorten(raw), example)
		}
		texts = []string{text}
	} else {
		var err error
		if texts, err = stringsIn(at, raw, example, claimpattern.MaxPatterns+1, "patterns"); err != nil {
			return nil, err
		}
	}
	var places []int // of the patterns
	for i, text := range texts {
		switch {
		case text != AllURLs:
			c.Texts = append(c.Texts, text)
			places = append(places, i)
		case c.URLs:
			return nil, append(at, i).errorf("%q occurs twice: write it once", AllURLs)
		default:
			c.URLs = true
		}
	}
	var err error
	if c.Patterns, err = claimpattern.Parse(c.Texts); err != nil {
		return nil, atPlace(at, places, err)
	}
	return c, nil
}

func parseHosts(at path, raw json.RawMessage) (*Hosts, error) {
	texts, err := stringsIn(at, raw, `hosts, ["shop.example.com", "*.example.org"]`, claimpattern.MaxHosts, "hosts")
	if err != nil {
		return nil, err
	}
	hosts, err := claimpattern.ParseHosts(texts)
	if err != nil {
		return nil, atPlace(at, nil, err)
	}
	return &Hosts{hosts, texts}, nil
}

// atPlace says where in a list an error is, of which these are the places.
func atPlace(at path, places []int, err error) error {
	problem, ok := errors.AsType[*claimpattern.Error](err)
	if !ok {
		return at.errorf("%w", err)
	}
	place := problem.Index
	if places != nil {
		place = places[place]
	}
	return append(at, place).errorf("%w", err)
}

// stringsIn returns the strings of a list that may be left out.
func stringsIn(at path, raw json.RawMessage, example string, most int, plural string) ([]string, error) {
	if k := kind(raw); k != "a list" {
		return nil, at.errorf("it is %s: write a list of %s, or leave it out", k, example)
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, at.errorf("%w", err)
	}
	if len(list) > most {
		return nil, at.errorf("the list has %d %s: write at most %d", len(list), plural, most)
	}
	texts := make([]string, len(list))
	for i, raw := range list {
		if k := kind(raw); k != "a string" {
			return nil, append(at, i).errorf("it is %s: write a list of %s", k, example)
		}
		if err := json.Unmarshal(raw, &texts[i]); err != nil {
			return nil, append(at, i).errorf("%w", err)
		}
	}
	return texts, nil
}

// Len returns how many patterns there are, and one more for all URLs. Nil has none.
func (c *Claims) Len() int {
	switch {
	case c == nil:
		return 0
	case c.URLs:
		return len(c.Texts) + 1
	}
	return len(c.Texts)
}

// list returns the member as it can be written, which is not nil.
func (c *Claims) list() []string {
	list := append([]string{}, c.Texts...)
	if c.URLs {
		list = append(list, AllURLs)
	}
	return list
}
