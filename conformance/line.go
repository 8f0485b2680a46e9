// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Whether an application that keeps links drops them when the line changes.

package conformance

import (
	"crypto/rand"
	"fmt"
	"net/http"
)

// told returns the request with a Party-Ask that says where the endpoint is, and the version of the line.
func (c *checker) told(q request, e *endpoint, version string) request {
	line := "; line=" + version
	return q.with("Party-Ask", e.url+line+"; mac="+askMAC(c.keys[0], askPrefix, e.url+line))
}

// maxLineViews is how often a page is viewed until it asks no more for what lasts. Each process of the
// application has to learn that.
const maxLineViews = 8

// checkLine views a page with links that last, until it keeps them, and then with another version of the line. It
// returns the request with the last version, of which nothing is kept, since no link lasts then.
func (c *checker) checkLine(e *endpoint, page request) request {
	asks := func(q request) (n int) {
		e.take()
		c.do(q)
		for _, ask := range e.take() {
			if ask.method == http.MethodPost {
				n++
			}
		}
		return n
	}
	before, after := rand.Text(), rand.Text()
	next := c.told(page, e, after)
	if asks(page) == 0 {
		c.see("asking.line", Skip, "the page asks nothing, although no link lasts: is the whole page cached?")
		return next
	}
	keeps := false
	e.on(answersLinks(before, true))
	for range maxLineViews {
		if keeps = asks(c.told(page, e, before)) == 0; keeps {
			break
		}
	}
	e.on(answersLinks(after, false))
	switch n := asks(next); {
	case !keeps:
		c.see("asking.line", OK, "it keeps no links")
	case n == 0:
		c.see("asking.line", Fail, "it asks for nothing with the version of the links that it keeps, nor with the next version")
	default:
		c.see("asking.line", OK, fmt.Sprintf("no request with the version of the links that it keeps, and %d with the next version", n))
	}
	return next
}
