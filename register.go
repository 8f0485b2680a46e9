// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// One --with of this package brings all that belongs to it.

package wsgiparty

import (
	_ "github.com/wsgiparty/wsgiparty/claims"         // the matcher wsgi_party
	_ "github.com/wsgiparty/wsgiparty/conformance"    // caddy wsgi-party check
	_ "github.com/wsgiparty/wsgiparty/gather"         // wsgi_party_gather
	_ "github.com/wsgiparty/wsgiparty/hosts"          // on_demand_tls
	_ "github.com/wsgiparty/wsgiparty/httpask"        // wsgi_party_ask
	_ "github.com/wsgiparty/wsgiparty/httpguest"      // wsgi_party_guest
	_ "github.com/wsgiparty/wsgiparty/operations"     // admin API, command, metrics
	_ "github.com/wsgiparty/wsgiparty/page"           // wsgi_party_page, caddy wsgi-party page
	_ "github.com/wsgiparty/wsgiparty/partytemplates" // functions for pages
	_ "github.com/wsgiparty/wsgiparty/upstreams"      // dynamic upstreams of reverse_proxy
	_ "github.com/wsgiparty/wsgiparty/vars"           // wsgi_party_vars
)
