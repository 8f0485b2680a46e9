// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package operations

import (
	"strings"

	"github.com/wsgiparty/wsgiparty/internal/admincommand"
)

// What the tests decode.
type (
	PartyJSON = partyJSON
	CountJSON = countJSON
	SentJSON  = sentJSON
)

var SplitAdminPath = splitAdminPath

// Changes are the events between two looks, as lines without their time.
func Changes(before, now PartyJSON) (lines []string) {
	for _, e := range before.changes(now) {
		_, line, _ := strings.Cut(e.line(admincommand.Terminal{}), "  ")
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return lines
}

// ChangesAfterAbsence are the events of the last of three looks.
func ChangesAfterAbsence(before, absent, now PartyJSON) []string {
	absent.keepCounts(&before)
	return Changes(absent, now)
}
