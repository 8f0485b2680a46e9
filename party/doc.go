// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package party is what a config has of its parties, for whoever is a guest in them. What package wsgiparty
// names of it is for all; the rest is for handlers that speak for guests, and experimental.
//
// An [App] holds the parties of one config; an [Entry] is what it has of one: a partyline, and all
// who brought that about. A module that needs no invite takes part by [Join], and code without a
// config by [Lookup]. Each handler that names a party is one of its hosts: a [Host] invites the
// guests in the handler's routes.
//
// # The life of an invite
//
// An [Invite] is what the config says: a URI, and whose it is. The host's handler, when it is provisioned,
// has [Open] parse the invites, and sets its routes up, in which handlers that speak for guests find the host
// by [Around] and call [Host.AddSpeaker]. Then, while the config still loads, [Host.Invite] sends each invite
// as a request through these routes, from their beginning. The request never leaves the process, and it
// carries an [Invitation], whose operator is not on the line yet.
//
// Whoever calls [InvitationFrom], or [OperatorFrom], accepts it and is the guest; a handler that speaks for
// an application, and may not be the one that is meant, calls [PeekInvitation] first, and accepts the
// invitation, or says by [Invitation.Advise] why not. The guest connects what it answers for to the operator,
// and answers the invite with a 2xx status: it has joined, and the host puts it on the line. Anything else is
// a result of another kind. What came of the invite is an [InviteInfo]; it is logged, counted, and told as an
// event, with a hint on what to write where the guest has not joined.
//
// A guest that cannot know yet whether it joins answers with a 2xx status all the same, but calls
// [Invitation.Defer] before, and [Invitation.Report] as soon as it knows, and whenever that changes:
// what is news is logged, counted and told. It begins what takes long in [Invitation.OnStart]. To
// answer for something else, it calls [Invitation.Replace].
//
// [SendInvites] sends the invites again, as new invitations, to guests that are not on the line, and
// waits for what comes of that; one that it names and that is on the line is asked by
// [Invitation.OnRefresh]. A guest that accepts a new invitation lets go of the one before.
//
// [Invitation.Context] ends with the config, or with a host that failed to load. Operators leave
// with such a host, but not with the config: requests in flight may still ask. [Host.Close] lets
// another host invite the guests.
//
// Accept, Advise, SetKeys, Mount and Defer are for the goroutine that handles the invite. All else
// may be called from any, as long as requests to the config are in flight.
//
// # Asks over HTTP
//
// [Invitation.Send] sends a request to the guest through the same routes. It is delivered when the
// guest's handler has called [DeliveredTo]: what another route answers does not count. From outside,
// the invite's path and all below it are hidden, by the host and, where a path may have been
// rewritten since, by the guest's handler with [Host.PassOn].
//
// What guests ask comes from outside the process, with a key that [Entry.Identify] knows: to a handler, or
// to an address that a host says ([AskOn]), of which each request that is passed on tells the guest. The app
// listens there from its Start to its Stop, by what [RegisterAskEndpoint] was given. A guest's keys are given by [Invitation.SetKeys], or
// made in Start, once for all Caddys that share a storage, by [Invitation.MakeKey]; their files are put in place when all of
// the config has started, so that one that fails leaves them as they were.
package party
