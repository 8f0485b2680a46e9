// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partytemplates_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

func TestPagesAskOneGuest(t *testing.T) {
	asked := 0
	echo := func(_ context.Context, payload any) (any, error) { return fmt.Sprintf("%T %[1]v", payload), nil }
	partytest.GuestWith(t, "blog", map[string]wsgiparty.Handler{"number": func(context.Context, any) (any, error) { asked++; return "the blog's", nil }})
	partytest.GuestWith(t, "shop", map[string]wsgiparty.Handler{"number": always(7), "echo": echo, "declined": always(wsgiparty.ErrHighAndDry), "failed": always(errors.New("out of order"))})
	c := templateSite(t, "", "blog", "shop")
	connectMain(c, "shop", "number", always("a replica's")) // which is not asked as well
	for _, dot := range []string{"", ". "} {
		c.ExpectPage(`{{range askGuest `+dot+`"shop" "number"}}[{{.}}]{{end}}`, "[7]")
		c.ExpectPage(`{{index (askGuest `+dot+`"shop" "echo" (dict "id" 7)) 0}}`, "map[string]interface {} map[id:7]")
		c.ExpectPage(`{{with askGuest `+dot+`"shop" "declined"}}{{.}}{{else}}nothing{{end}}`, "nothing")
		expectNoPage(c, `{{askGuest `+dot+`"nobody" "number"}}`, `guest "nobody" on partyline "main" is not connected under service "number"`)
		expectNoPage(c, `{{askGuest `+dot+`"blog" "echo"}}`, `guest "blog" on partyline "main" is not connected under service "echo"`)
		expectNoPage(c, `{{askGuest `+dot+`"shop" "missing"}}`, `guest "shop" on partyline "main" is not connected under service "missing"`)
		expectNoPage(c, `{{askGuest `+dot+`"" "number"}}`, "has no guest", "write the guest's name")
		expectNoPage(c, `{{askGuest `+dot+`"shop"}}`, "a service is missing")
		expectNoPage(c, `{{askGuest `+dot+`}}`, "a guest's name is missing")
		expectNoPage(c, `{{askGuest `+dot+`7 "number"}}`, "a guest's name must be a string, but is int")
		expectNoPage(c, `{{askGuest `+dot+`"shop" "number" 1 2}}`, "there are 2 payloads")
	}
	c.ExpectPage(`{{"piped" | askGuest . "shop" "echo"}}`, "[string piped]")
	check.Equal(t, asked, 0, "asks of the other guest")
	check.Equal(t, len(partytest.LogEntries(t, "guest failed")), 0)
	c.ExpectPage(`{{askGuest . "shop" "failed"}}`, "[]")
	entries := partytest.LogEntries(t, "guest failed")
	check.FatalIf(t, len(entries) != 1 || entries[0]["guest"] != "shop" || entries[0]["service"] != "failed", "%v", entries)
}

func TestIgnoringAMissingGuestOnPages(t *testing.T) {
	partytest.Guest(t, "shop", "1", "number")
	c := templateSite(t, "ignore_missing_services", "shop")
	c.ExpectPage(`{{askGuest . "shop" "number"}}{{askGuest . "nobody" "number"}}{{askGuest . "shop" "missing"}}`, "[1][][]")
	expectNoPage(c, `{{askGuest . "" "number"}}`, "has no guest")
}
