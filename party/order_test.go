// Copyright 2026 The wsgi_party Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

package party_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// TestApplicationsAreAskedInTheOrderOfTheirInvites has five applications whose manifests
// come in an order of their own, in two servers.
func TestApplicationsAreAskedInTheOrderOfTheirInvites(t *testing.T) {
	c := partytest.NewCaddy(t)
	guests := []string{"a", "b", "c", "d", "e"}
	var turn atomic.Int64 // whose manifest is to come
	var blocks [5]string
	for i, guest := range guests {
		a := partytest.NewApplication(t, "", nil)
		serve := a.Config.Handler
		a.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept") != partytest.ManifestType {
				serve.ServeHTTP(w, r)
				return
			}
			if turn.Load() != int64(i) {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			w.Header().Set("Content-Type", partytest.ManifestType)
			fmt.Fprintf(w, `{"services": {"nav": {"answer": %q}}}`, guest)
		})
		blocks[i] = "invite /" + guest + "/__invite__/\n" + partytest.Mounted(guest, "", a)
	}
	turn.Store(-1)
	other := testport.Address(t)
	c.Load(fmt.Sprintf("ADDRESS {\nwsgi_party main {\n%s\n}\n}\nhttp://%s {\nwsgi_party main {\n%s\n}\n}", blocks[0]+blocks[1]+blocks[2], other, blocks[3]+blocks[4]))
	first, second := guests[:3], guests[3:]
	if serverOf(c, "a") > serverOf(c, "d") {
		first, second = second, first
	}
	want := slices.Concat(first, second)
	for _, i := range []int64{4, 1, 3, 0, 2} { // as they come up
		turn.Store(i)
		partytest.Eventually(t, guests[i]+" joins", func() bool {
			wsgiparty.SendInvites("main", guests[i])
			return slices.Contains(operatorOf(c, "main").Partyline().Services()["nav"], guests[i])
		})
		there := slices.DeleteFunc(slices.Clone(want), func(guest string) bool {
			return !slices.Contains(operatorOf(c, "main").Partyline().Services()["nav"], guest)
		})
		var answers []string
		for _, answer := range c.Answered("main", "nav", nil) {
			answers = append(answers, strings.Trim(string(answer.(json.RawMessage)), `"`))
		}
		check.ErrorIf(t, !slices.Equal(answers, there) || !slices.Equal(operatorOf(c, "main").Partyline().Services()["nav"], there), "answers %q, want %q", answers, there)
	}
}

// serverOf returns the server whose party invites the guest.
func serverOf(c *partytest.Caddy, guest string) string {
	for _, p := range wsgiparty.Parties() {
		for _, i := range p.Invites {
			if i.Guest == guest {
				return i.Server
			}
		}
	}
	c.Fatalf("nobody invites %s", guest)
	return ""
}
