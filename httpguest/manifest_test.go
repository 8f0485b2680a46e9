// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/partytest"
	"github.com/wsgiparty/wsgiparty/internal/testbackend"
)

func TestA404ToAnAskHasTheManifestAskedForAgain(t *testing.T) {
	c, b := newBlogTest(t)
	b.On("/__invite__/", manifestOf(`{"services": {"user": {"href": "/old"}}}`, "Cache-Control", "max-age=86400"),
		manifestOf(`{"services": {"user": {"href": "/new"}}}`))
	b.On("/new", jsonOf("1"))
	b.On("/old", testbackend.Response{Status: 400}, testbackend.Response{Status: 500}, testbackend.Response{Status: 404})
	c.load(blogAt(b))
	c.await("user")
	for _, want := range []string{"status 400", "status 500"} {
		if _, err := c.ask("user", nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Error(err)
		}
	}
	time.Sleep(1100 * time.Millisecond) // for what must not happen, in the background
	check.Equal(t, len(b.Requests("/__invite__/")), 1, "asked for times")
	if _, err := c.ask("user", nil); err == nil || !strings.Contains(err.Error(), "status 404") {
		t.Error(err)
	}
	partytest.Eventually(t, "its new manifest counts", func() bool { answers, err := c.ask("user", nil); return answers == "1" && err == nil })
}
