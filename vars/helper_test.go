// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package vars_test

import (
	"net/http"
	"testing"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

func TestMain(m *testing.M) {
	partytest.Main(m, wsgiparty.Lookup, wsgiparty.Join, wsgiparty.OperatorFrom, wsgiparty.ErrHighAndDry)
}

var connectMain = partytest.ConnectMain(wsgiparty.Lookup)

// shop is a guest whose pages have values.
const shop = `
	invite /shop/__invite__/
	handle_path /shop/* {
		wsgi_party_guest {
			url home /
			url item /items/{slug}{?tag*,page}
		}
		respond shop
	}
`

// get sends a request that follows no redirects.
func get(c *partytest.Caddy, path string, header http.Header) partytest.Response {
	c.Helper()
	r, err := http.NewRequest("GET", "http://"+c.Address+path, nil)
	if err != nil {
		c.Fatal(err)
	}
	r.Header = header
	response, err := partytest.Send(r)
	if err != nil {
		c.Fatal(err)
	}
	return response
}
