// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package httpguest registers the http.handlers.wsgi_party_guest module, which makes an application of any language
// behind Caddy a guest: the application is asked over HTTP.
//
// # The life of a guest
//
// While the config loads, the guest's invite comes to its [Guest] handler. It does not go on to the application, which
// need not be running yet. The handler accepts the invite. What the Caddyfile declares is connected at once, and so is
// the application's last manifest, from the previous config or from Caddy's storage.
//
// When the config has started, the application is asked for its manifest. It is asked again as often as the manifest
// says, or soon if it does not answer as it should. Each answer leads to a verdict, and the verdicts to the
// application's standing:
//
//	            a manifest,  no guest     no guest,   refused, broken
//	            or no change              third time  or unanswered
//	unknown     confirmed    denied       denied      unknown
//	confirmed   confirmed    doubted      denied      doubted
//	doubted     confirmed    doubted      denied      doubted
//	denied      confirmed    denied       denied      denied
//
// A guest that is confirmed or doubted is on the line with its last manifest. One that is unknown or denied is on the
// line with what is declared, if anything is. A manifest that differs from the last one replaces it without a gap. The
// outcome of the invite is reported to the party after each answer; the party announces what is new.
//
// When somebody has the invite sent again, a new life begins, and the previous one ends.
//
// # Being asked
//
// An ask for a service with an href is a request through the party's own routes, or over the guest's own connections
// with `direct`. It carries a token if the guest has a key. It waits for one of the guest's slots, of which each asker
// gets at most three quarters. After five failures in a row the service is left alone for a while. An application's
// answer may be wrong in any way. So it is checked and bounded in length, and its links can lead only to what is the
// application's own.
package httpguest
