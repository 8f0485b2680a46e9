// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package examples

import (
	"encoding/json"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/chromium"
)

// visitor follows links in a browser.
type visitor struct {
	*testing.T
	*chromium.Page
}

// click clicks the link that has the first of the texts that a link has.
func (v visitor) click(texts ...string) {
	v.Helper()
	names := check.Value(json.Marshal(texts))(v)
	if _, err := v.Evaluate("document.from = 'here'; " + string(names) + ".map((text) => [...document.links].find((a) => a.textContent === text)).find(Boolean).click(); ''"); err != nil {
		page, _ := v.Evaluate("location.href + document.documentElement.outerHTML")
		v.Fatalf("no link %q is clicked: %v\n%s", texts, err, page)
	}
}

// sees waits until the page is there that has this title.
func (v visitor) sees(title string) {
	v.Helper()
	v.Until("!document.from && document.readyState === 'complete' && document.title === '" + title + "'")
}
