// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"testing"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// TestAnApplicationAsksOneGuest of those that answer, in one ask and in a list, as names that are no plain ones are asked for.
func TestAnApplicationAsksOneGuest(t *testing.T) {
	c := partytest.NewCaddy(t)
	one, _ := c.LoadThreeGuests()
	line := partytest.OperatorOf(wsgiparty.Lookup)(c, "main").Partyline()
	for _, guest := range []string{"größe & co", "shop"} {
		for _, service := range []string{"price", "größe"} {
			partytest.Connect(t, line.Operator(guest), service, partytest.Answers(guest))
		}
	}
	got := run(t, linked(t), "node", "--input-type=module", "--eval", `
		import { party } from 'wsgi-party'
		const line = party(undefined, { key: '`+one+`', url: 'http://`+c.Endpoint+`/' })
		const said = []
		for (const service of ['price', 'größe']) {
			for (const guest of ['shop', 'größe & co', 'two', undefined]) said.push(await line.ask(service, 1, { guest }), await line.askFirst(service, 1, { guest }) ?? null)
		}
		for (const guest of ['', 7, null, '\ud800']) await line.ask('price', 1, { guest }).catch((error) => said.push(error.message))
		console.log(JSON.stringify(said))
	`)
	const each = `["shop"],"shop",["größe & co"],"größe & co",[],null,["größe & co","shop"],"größe & co"`
	const wrong = `"a guest's name must be a text that is not empty"`
	check.Equal(t, got, "["+each+","+each+","+wrong+","+wrong+","+wrong+","+wrong+"]\n")
}
