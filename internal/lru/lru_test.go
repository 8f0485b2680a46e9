// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package lru

import (
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

func kept(t *testing.T, c *Cache[string, int], want string) {
	t.Helper()
	got := ""
	for _, key := range []string{"a", "b", "c", "d"} {
		if value, ok := c.Get(key); ok {
			got += key + strconv.Itoa(value) + " "
		}
	}
	check.Equal(t, got, want)
}

func TestWhatWasUsedLeastLatelyMakesRoom(t *testing.T) {
	c := New[string, int](3)
	c.Put("a", 1, time.Hour)
	c.Put("b", 2, time.Hour)
	c.Put("c", 3, time.Hour)
	c.Get("a")
	c.Put("d", 4, time.Hour)
	kept(t, c, "a1 c3 d4 ")
	c.Put("a", 5, time.Hour)
	c.Put("b", 6, time.Hour)
	kept(t, c, "a5 b6 d4 ")
	check.Equal(t, c.Len(), 3)
}

func TestAValueIsKeptForItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New[string, int](3)
		c.Put("a", 1, time.Second)
		c.Put("b", 2, 3*time.Second)
		time.Sleep(time.Second - 1)
		kept(t, c, "a1 b2 ")
		time.Sleep(time.Nanosecond)
		kept(t, c, "b2 ")
		check.Equal(t, c.Len(), 1)
		c.Put("b", 3, 3*time.Second)
		time.Sleep(3*time.Second - 1)
		kept(t, c, "b3 ")
		time.Sleep(time.Nanosecond)
		kept(t, c, "")
	})
}

func TestManyUseIt(t *testing.T) {
	c := New[int, int](64)
	var wait sync.WaitGroup
	for worker := range 8 {
		wait.Go(func() {
			for i := range 5000 {
				key := (i*7 + worker) % 100
				if value, ok := c.Get(key); ok && value != key {
					t.Errorf("%d is kept by %d", value, key)
				}
				c.Put(key, key, time.Hour)
			}
		})
	}
	wait.Wait()
	check.Equal(t, c.Len(), 64)
}

func BenchmarkGet(b *testing.B) {
	c := New[string, bool](10000)
	c.Put("shop.example.com", true, time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		c.Get("shop.example.com")
	}
}
