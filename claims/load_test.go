// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Changes while visitors come.

package claims_test

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty"
	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
)

// load is visitors who each make one request after the other.
type load struct {
	requests, failed atomic.Int64
	first            atomic.Value // what failed
	visits, changed  [visitors]atomic.Int64
	end              func() time.Duration
}

const visitors = 48 // of whom 8 are there at once

// visiting has visitors come to the site from now on. Each is to get the page from new or from legacy.
func visiting(c *partytest.Caddy, path string) *load {
	l := new(load)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}, Timeout: 10 * time.Second}
	stop, began := make(chan struct{}), time.Now()
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			var last [visitors]string
			for n := worker; ; n += 8 {
				select {
				case <-stop:
					return
				default:
				}
				visitor := n % visitors
				response, err := client.Get(fmt.Sprintf("http://%s%s?visitor=%d", c.Address, path, visitor))
				body := []byte(nil)
				if err == nil {
					body, err = io.ReadAll(response.Body)
					response.Body.Close()
				}
				l.requests.Add(1)
				name := string(body[:min(len(body), 3)])
				if err != nil || response.StatusCode != http.StatusOK || name != "new" && name != "leg" {
					l.failed.Add(1)
					l.first.CompareAndSwap(nil, fmt.Sprint(err, response, string(body)))
					continue
				}
				if last[visitor] != "" && last[visitor] != name {
					l.changed[visitor].Add(1)
				}
				last[visitor] = name
				l.visits[visitor].Add(1)
			}
		})
	}
	l.end = sync.OnceValue(func() time.Duration {
		close(stop)
		all.Wait()
		client.CloseIdleConnections()
		return time.Since(began)
	})
	c.Cleanup(func() { l.end() })
	return l
}

// after returns how many visitors have changed sides so often, when each has come again, and wants none to have
// changed more often than that.
func (l *load) after(t testing.TB, changes int64) (changed int) {
	t.Helper()
	var until [visitors]int64
	for visitor := range l.visits {
		until[visitor] = l.visits[visitor].Load() + 2 // one may be under way
	}
	for visitor := range l.visits {
		for ; l.visits[visitor].Load() < until[visitor]; time.Sleep(time.Millisecond) {
			check.FatalIf(t, l.failed.Load() > 0, "failed: %v", l.first.Load())
		}
	}
	for visitor := range l.changed {
		n := l.changed[visitor].Load()
		check.ErrorIf(t, n > changes, "visitor %d changed sides %d times by %d changes", visitor, n, changes)
		if n == changes {
			changed++
		}
	}
	return changed
}

func TestNoRequestIsLostWhenClaimsChange(t *testing.T) {
	c := partytest.NewCaddy(t)
	fresh, legacy := partytest.NewApplication(t, `{"urls": {"home": "/"}}`, says("new")), partytest.NewApplication(t, "", says("legacy"))
	c.Site(example(fresh, legacy))
	partytest.Eventually(t, "new has joined", func() bool { return len(partytest.LogEntries(t, "guest joined")) == 2 })
	l := visiting(c, "/invoices/7")
	l.after(t, 0)
	for change, manifest := range []string{`{"claims": ["GET /invoices/{id}"]}`, `{"claims": ["/reports/"]}`, `{"claims": ["/"]}`, `{}`} {
		fresh.OnInvite(partytest.Manifest(manifest))
		sent := wsgiparty.SendInvites("main", "new")
		check.FatalIf(t, len(sent) != 1 || sent[0].Result != wsgiparty.InviteJoined, "%+v", sent)
		check.Equal(t, l.after(t, int64(change+1)), visitors, "visitors who have changed sides after change", change+1)
	}
	took := l.end()
	t.Logf("%d requests, %.0f a second, %d failed", l.requests.Load(), float64(l.requests.Load())/took.Seconds(), l.failed.Load())
}

func TestNoRequestIsLostWhenAShareChanges(t *testing.T) {
	c := partytest.NewCaddyWithAdmin(t)
	newGuest(t, "new", "GET /invoices/7")
	newGuest(t, "legacy")
	c.Site(shared("share 0% by {query.visitor}"))
	l := visiting(c, "/invoices/7")
	l.after(t, 0)
	moved := 0
	for _, percent := range []int{10, 25, 50, 75, 100} {
		response := c.Call("POST", fmt.Sprintf("/wsgi_party/main/share?guest=new&share=%d%%25", percent), "")
		check.FatalIf(t, response.Status != 200, "%d %s", response.Status, response.Body)
		now := l.after(t, 1) // nobody has gone back
		check.ErrorIf(t, now < moved || percent == 100 && now != visitors || percent == 50 && (now < visitors/4 || now > visitors*3/4), "%d%%: %d of %d visitors, after %d", percent, now, visitors, moved)
		moved = now
	}
	c.Call("POST", "/wsgi_party/main/share?guest=new&share=0%25", "")
	check.Equal(t, l.after(t, 2), visitors, "visitors who are back")
	took := l.end()
	t.Logf("%d requests, %.0f a second, %d failed", l.requests.Load(), float64(l.requests.Load())/took.Seconds(), l.failed.Load())
}
