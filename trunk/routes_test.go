// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The routes between embedded servers, when they are lost.

package trunk_test

import (
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// TestARouteThatIsLostWithoutAWord has the network between two nodes come back, where it knows nothing of connections
// from before, as firewalls do.
func TestARouteThatIsLostWithoutAWord(t *testing.T) {
	where := testport.Address(t)
	between := newProxy(t, where)
	between.forgets = true
	a := newNode(t, "a", "embedded {\ncluster "+where+"\n}\nsecret {env.TRUNK_SECRET}")
	b := newNode(t, "b", "embedded {\ncluster "+testport.Address(t)+"\nroutes nats://"+between.Addr().String()+"\n}\nsecret {env.TRUNK_SECRET}")
	a.run()
	b.run()
	both := func() bool { return len(a.guestsShown()) == 2 && len(b.guestsShown()) == 2 }
	eventually(t, "both are there", both)
	between.parted.Store(true)
	eventually(t, "each is gone for the other", func() bool { return len(a.guestsShown()) == 1 && len(b.guestsShown()) == 1 })
	between.parted.Store(false)
	eventually(t, "both are back", both)
}
