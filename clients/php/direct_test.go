// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package php

import (
	"os/exec"
	"testing"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/debian"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// TestAnApplicationAsksOneGuest of those that answer.
func TestAnApplicationAsksOneGuest(t *testing.T) {
	debian.Install(t, "php-cli")
	c := partytest.NewCaddy(t)
	one, _ := c.LoadThreeGuests()
	line := partytest.OperatorOf(wsgiparty.Lookup)(c, "main").Partyline()
	for _, guest := range []string{"größe & co", "shop"} {
		partytest.Connect(t, line.Operator(guest), "price", partytest.Answers(guest))
	}
	script := partytest.Scripts(t, map[string]string{"ask.php": `
		require '` + here(t, "src/Party.php") + `';
		$party = new WsgiParty\Party();
		$said = [];
		foreach (['shop', 'größe & co', 'two', null] as $guest) {
			array_push($said, $party->ask('price', 1, guest: $guest), $party->askFirst('price', 1, 'default', $guest));
		}
		foreach (['', "\xff"] as $guest) {
			try {
				$party->ask('price', 1, $guest);
			} catch (InvalidArgumentException $error) {
				$said[] = substr($error->getMessage(), 0, 25);
			}
		}
		echo json_encode($said, JSON_UNESCAPED_UNICODE);`})
	command := exec.Command("php", "-n", script+"/ask.php")
	command.Env = []string{"WSGI_PARTY_KEY=" + one, "WSGI_PARTY_URL=http://" + c.Endpoint + "/"}
	output, err := command.CombinedOutput()
	check.ErrorIf(t, err != nil, "%v", err)
	check.Equal(t, string(output), `[["shop"],"shop",["größe & co"],"größe & co",[],"default",["größe & co","shop"],"größe & co","the guest's name is empty","the guest's name cannot b"]`)
}
