// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpask_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// partyAsk is the Party-Ask that a guest with that key is to be sent.
func partyAsk(key, address string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte("wsgi_party ask v1\x00" + address))
	return address + "; mac=" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// TestAGuestNeedsOnlyItsKeyToAsk has no site to ask at: the address comes with each request.
func TestAGuestNeedsOnlyItsKeyToAsk(t *testing.T) {
	c := partytest.NewCaddy(t)
	key := partytest.Key(t, "a")
	a := partytest.NewApplication(t, "", partytest.JSON(`"a"`))
	b := partytest.NewApplication(t, "", partytest.JSON(`"b"`))
	c.Site("wsgi_party main {\nask_on " + c.Endpoint + "\ninvite /a/__invite__/ /b/__invite__/\n" +
		partytest.Mounted("a", "answer who a\nkey {env.a_PARTY_KEY}", a) + partytest.Mounted("b", "answer who b", b) + "}")
	c.Get("/a/page")
	c.Get("/b/page")
	address := "http://" + c.Endpoint + "/"
	check.Slices(t, a.Requests()[0].Header["Party-Ask"], []string{partyAsk(key, address)})
	check.Equal(t, len(b.Requests()[0].Header["Party-Ask"]), 0, "what a guest without a key is told")
	told, _, _ := strings.Cut(a.Requests()[0].Header.Get("Party-Ask"), ";")
	check.Equal(t, told, address)
	c.ExpectAsk(partytest.Asking{Key: key, Path: "/who"}, answered(`"b"`, "b /b"))
	c.ExpectProblem(partytest.Asking{Path: "/who"}, 401)
}
