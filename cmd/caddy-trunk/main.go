// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Command caddy-trunk is Caddy with its standard modules, the wsgi_party module and
// its trunk, to try them without xcaddy.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/wsgiparty/wsgiparty"
	_ "github.com/wsgiparty/wsgiparty/trunk"
)

func main() { caddycmd.Main() }
