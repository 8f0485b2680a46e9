// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package httpguest is the handler http.handlers.wsgi_party_guest, by which an application
// of any language behind Caddy is a guest: it is asked over HTTP.
//
// # The life of a guest
//
// While the config loads, the guest's invite comes to its [Guest] handler, and not to the
// application, which need not be there yet. The handler accepts the invite. What the
// Caddyfile declares is connected at once, and so is the application's last manifest, from
// the config before or from Caddy's storage.
//
// When the config has started, the application is asked for its manifest, and again as
// often as that says, or soon when it does not answer as it should. Each answer comes to a
// verdict, and the verdicts to where the application stands:
//
//	            a manifest,  no guest     no guest,   refused, broken
//	            or no change              third time  or unanswered
//	unknown     confirmed    denied       denied      unknown
//	confirmed   confirmed    doubted      denied      doubted
//	doubted     confirmed    doubted      denied      doubted
//	denied      confirmed    denied       denied      denied
//
// A guest that is confirmed or doubted is on the line by its last manifest; one that is
// unknown or denied, by what is declared, if something is. A manifest that says something
// else than the last one replaces it without a gap. What comes of the invite is reported to
// the party after each answer; the party tells others what is news.
//
// When somebody has the invite sent again, a new life begins, and the one before ends.
//
// # Being asked
//
// An ask for a service with an href is a request through the party's own routes, with a
// token if the guest has a key. It waits for one of the guest's slots, of which each asker
// has at most three quarters. After five failures in a row the service is left alone for a
// while. What an application answers may be wrong in any way: it is checked, bounded in
// length, and its links lead nowhere but below what is its own.
package httpguest
