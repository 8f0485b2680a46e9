// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package party is what a config has of its parties, for whoever is a guest in them.
//
// An [App] holds the parties of one config; an [Entry] is what it has of one: a partyline,
// and all who brought that about. A module that needs no invite takes part by [Join], and
// code without a config by [Lookup]. Each handler that names a party is one of its hosts:
// a [Host] invites the guests in the handler's routes.
//
// # The life of an invite
//
// An [Invite] is what the config says: a URI, and whose it is. While the config loads, the
// host sends it as a request through its own routes, from their beginning. The request
// never leaves the process, and it carries an [Invitation]. Whoever calls [InvitationFrom],
// or [OperatorFrom], accepts it and is the guest; a handler that speaks for an application,
// and may not be the one that is meant, calls [PeekInvitation] first, and accepts the
// invitation, or says by [Invitation.Advise] why not.
//
// The guest connects what it answers for to the invitation's operator, and answers the
// invite with a 2xx status: it has joined, and is on the line. Anything else is a result of
// another kind. What came of the invite is an [InviteInfo]; it is logged, counted, and told
// as an event, with a hint on what to write where the guest has not joined.
//
// A guest that cannot know yet whether it joins answers with a 2xx status all the same, but
// calls [Invitation.Defer] before, and [Invitation.Report] as soon as it knows, and whenever
// that changes. It begins what takes long in [Invitation.OnStart]. To answer for something
// else, it calls [Invitation.Replace].
//
// [SendInvites] sends the invites again, with new operators, to guests that are not on the
// line, and waits for what comes of that. A guest that accepts a new invitation lets go of
// the one before.
//
// # Asks over HTTP
//
// [Invitation.Send] sends a request to the guest through the same routes. It is delivered
// when the guest's handler has called [DeliveredTo]: what another route answers does not
// count. From outside, the invite's path and all below it are hidden, by the host and, where
// a path may have been rewritten since, by the guest's handler with [Host.HidesBehind].
package party
