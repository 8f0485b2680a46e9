// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package traffic_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/traffic"
)

// only returns what was counted of the only guest.
func only(t testing.TB, m *traffic.Meter) traffic.GuestTraffic {
	t.Helper()
	guests := m.Read().Guests
	check.FatalIf(t, len(guests) != 1, "%d guests", len(guests))
	return guests[0]
}

// requests returns how many requests of a kind are shown.
func requests(g traffic.GuestTraffic, name string) uint64 {
	for _, k := range g.Kinds {
		if k.Name == name {
			return k.Requests
		}
	}
	return 0
}

func TestRequestsAreCountedByTheClassOfTheirStatus(t *testing.T) {
	var m traffic.Meter
	g := m.Guest("g")
	for _, status := range []int{100, 101, 199, 200, 204, 299, 300, 399, 400, 499, 500, 599, 600, 999, 0, -1} {
		g.Count(status, "", "/")
	}
	check.Equal(t, only(t, &m).Recent, traffic.Responses{5, 3, 2, 2, 4})
	check.Equal(t, only(t, &m).All.Sum(), uint64(16))
}

func TestAKindIsAPatternOrTwoSegmentsOfThePath(t *testing.T) {
	for _, test := range []struct{ claim, path, want string }{
		{"", "/", "/"},
		{"", "", "/"},
		{"", "*", "*"},
		{"", "/a", "/a"},
		{"", "/a/", "/a"},
		{"", "/a/b", "/a/b"},
		{"", "/a/b/", "/a/b"},
		{"", "/a/b/c", "/a/b"},
		{"", "/a%2Fb/c%00/d", "/a%2Fb/c%00"},
		{"", "/a/" + strings.Repeat("b", 8<<10), "/a/*"},
		{"", "/" + strings.Repeat("a", 8<<10) + "/b", ""},
		{"", "/" + strings.Repeat("a", 8<<10), ""},
		{"GET /users/{id}", "", "GET /users/{id}"},
		{"/" + strings.Repeat("a", 8<<10), "", "/" + strings.Repeat("a", 127)},
		{"/\xff\xfe", "", "/\uFFFD"},
		{"/" + strings.Repeat("ü", 8<<10), "", "/" + strings.Repeat("ü", 63) + "\uFFFD"},
	} {
		var m traffic.Meter
		m.Guest("g").Count(200, test.claim, test.path)
		var got []traffic.Kind
		got = append(got, only(t, &m).Kinds...)
		want := []traffic.Kind{{test.want, test.claim != "", 1}}
		if test.want == "" {
			want = nil
		}
		check.Equal(t, fmt.Sprint(got), fmt.Sprint(want), "%.50q %.50q", test.claim, test.path)
	}
}

// TestWhatComesOnceIsCountedByItsFirstSegment has more pages than kinds.
func TestWhatComesOnceIsCountedByItsFirstSegment(t *testing.T) {
	var m traffic.Meter
	g := m.Guest("g")
	const pages = 20000
	for i := range pages {
		g.Count(200, "", fmt.Sprintf("/invoices/%d/lines", i))
		g.Count(200, "", "/reports/daily")
	}
	got := only(t, &m)
	check.Equal(t, len(got.Kinds), traffic.MaxKinds)
	check.Equal(t, got.Kinds[0], traffic.Kind{Name: "/reports/daily", Requests: pages})
	check.ErrorIf(t, got.Kinds[1].Name != "/invoices/*" || got.Kinds[1].Requests < pages*99/100, got.Kinds[1])
}

// TestAFloodPushesNobodyOut has 30 kinds that are requested all the time, each by so many of a thousand requests.
// All others are a flood.
func TestAFloodPushesNobodyOut(t *testing.T) {
	random := func(long int) func(int) string {
		return func(int) string {
			return fmt.Sprintf("/%x/%x%s", rand.Uint64(), rand.Uint64(), strings.Repeat("x", long))
		}
	}
	last := ""
	for name, test := range map[string]struct {
		permille int
		path     func(n int) string
	}{
		"of random paths":               {1, random(0)},
		"of long ones":                  {1, random(1 << 10)},
		"of long first segments":        {1, func(int) string { return fmt.Sprintf("/%s%x/", strings.Repeat("x", 120), rand.Uint64()) }},
		"of one segment":                {1, func(int) string { return fmt.Sprintf("/%x", rand.Uint64()) }},
		"below what is often requested": {1, func(int) string { return fmt.Sprintf("/real/%x", rand.Uint64()) }},
		"of paths that each come twice": {12, func(n int) string {
			if n%2 == 0 {
				last = random(0)(0)
			}
			return last
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var m traffic.Meter
			g := m.Guest("g")
			const all, kinds = 60_000, 30
			var real [kinds]uint64
			for n := range all {
				if k := rand.IntN(1000) / test.permille; k < kinds && n > 1000 { // the flood was first
					real[k]++
					if k%2 == 0 {
						g.Count(200, fmt.Sprintf("GET /real/%d/{id}", k), "")
					} else {
						g.Count(200, "", fmt.Sprintf("/real/%d/%d", k, n))
					}
					continue
				}
				g.Count(404, "", test.path(n))
			}
			got := only(t, &m)
			check.Equal(t, len(got.Kinds) <= traffic.MaxKinds, true, len(got.Kinds))
			var sum uint64
			for _, k := range got.Kinds {
				sum += k.Requests
				check.ErrorIf(t, len(k.Name) > 130, k.Name)
			}
			check.ErrorIf(t, sum > got.Recent.Sum(), "%d of %d", sum, got.Recent.Sum())
			for k, n := range real {
				name := fmt.Sprintf("GET /real/%d/{id}", k)
				if k%2 != 0 {
					name = fmt.Sprintf("/real/%d", k)
				}
				shown := requests(got, name)
				check.ErrorIf(t, shown > n || shown < n/2 || n-shown > all/traffic.MaxKinds, "of %s %d requests are shown, of %d", name, shown, n)
			}
		})
	}
}

func TestAFloodKeepsMemoryBounded(t *testing.T) {
	heap := func() uint64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	var m traffic.Meter
	g := m.Guest("g")
	before := heap()
	for n := range 10_000 {
		g.Count(200, "", fmt.Sprintf("/%x/%x/%s", n/2, n/2, strings.Repeat("x", 8<<10)))
	}
	after := heap()
	check.ErrorIf(t, after > before+100<<10, "%d bytes", after-before)
	runtime.KeepAlive(&m)
}

func TestSharesAreThoseOfTheLastHourOrTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m traffic.Meter
		one, two := m.Guest("one"), m.Guest("two")
		check.Equal(t, m.Read().Since.IsZero(), true)
		check.Equal(t, m.Read().Share(m.Read().Guests[0]), 0.0)
		began := time.Now()
		expect := func(after time.Duration, since time.Duration, share, all int) {
			t.Helper()
			time.Sleep(time.Until(began.Add(after)))
			synctest.Wait()
			read := m.Read()
			if since < 0 {
				check.Equal(t, read.Since.IsZero(), true, read.Since)
			} else {
				check.Equal(t, read.Since.Sub(began), since)
			}
			check.Equal(t, int(100*read.Share(read.Guests[0])), share)
			check.Equal(t, int(read.Guests[0].All.Sum()), all)
			check.Equal(t, len(read.Guests[0].Kinds) > 0, share > 0)
		}
		for range 3 {
			one.Count(200, "", "/a")
		}
		two.Count(200, "", "/b")
		expect(59*time.Minute, 0, 75, 3)
		expect(61*time.Minute, 0, 75, 3)
		two.Count(200, "", "/b")
		two.Count(200, "", "/b")
		expect(119*time.Minute, 0, 50, 3)
		expect(121*time.Minute, time.Hour, 0, 3)
		one.Count(200, "", "/a")
		expect(122*time.Minute, time.Hour, 33, 4)
		expect(300*time.Minute, -1, 0, 4)
		one.Count(200, "", "/a") // it begins anew
		expect(301*time.Minute, 300*time.Minute, 100, 5)
		m.Forget("one")
		one.Count(200, "", "/a") // of a config that has ended
		check.Equal(t, len(m.Read().Guests), 1)
		check.Equal(t, m.Guest("one") != one, true)
		time.Sleep(10 * time.Hour) // else the timer would be left
	})
}

// TestNothingIsLostOfWhatIsCountedAtOnce counts while a period ends, and somebody reads.
func TestNothingIsLostOfWhatIsCountedAtOnce(t *testing.T) {
	var m traffic.Meter
	g := m.Guest("g")
	const each, many = 20_000, 8
	var counting sync.WaitGroup
	for i := range many {
		counting.Go(func() {
			for n := range each {
				g.Count(200+100*(n%4), []string{"", "GET /claimed"}[n%2], fmt.Sprintf("/%d/%d", i, n/2%150))
				if i == 0 && n == each/2 {
					traffic.Turn(&m)
				}
			}
		})
	}
	counted := make(chan struct{})
	go func() {
		counting.Wait()
		close(counted)
	}()
	for last := uint64(0); last < each*many; {
		sum := only(t, &m).All.Sum()
		check.FatalIf(t, sum < last, "%d after %d", sum, last)
		last = sum
		select {
		case <-counted:
			check.FatalIf(t, only(t, &m).All.Sum() != each*many, "%d are lost", each*many-only(t, &m).All.Sum())
		default:
		}
	}
	check.Equal(t, only(t, &m).All, traffic.Responses{0, each * many / 4, each * many / 4, each * many / 4, each * many / 4})
	claimed := requests(only(t, &m), "GET /claimed") // but for those that came while another kind was being listed
	check.ErrorIf(t, claimed > each*many/2 || claimed < each*many/2-1000, "%d are claimed", claimed)
}
