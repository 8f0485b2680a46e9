// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package party holds the parties of a config, for whoever is a guest in them. What package wsgiparty re-exports is
// for everybody. The rest is experimental, and for handlers that speak for guests.
//
// An [App] holds the parties of one config. An [Entry] is one of these parties: its partyline, and everybody who named
// it. A module that needs no invite takes part by [Join], and code without a config by [Lookup]. Each handler that
// names a party is one of its hosts: a [Host] invites the guests in the handler's routes.
//
// # The life of an invite
//
// The config says in an [Invite] which URI to send it to, and for which guest. When the host's handler is provisioned,
// it calls [Open], which parses the invites, and sets up its routes. In these routes, handlers that speak for guests
// find the host by [Around] and call [Host.AddSpeaker]. Then, while the config is still loading, [Host.Invite] sends
// each invite as a request through these routes, from their beginning. The request never leaves the process. It
// carries an [Invitation], whose operator is not on the line yet.
//
// Whoever calls [InvitationFrom] or [OperatorFrom] accepts the invitation and is the guest. A handler that speaks for
// an application, and may not be the one that is meant, calls [PeekInvitation] first. It then accepts the invitation,
// or says by [Invitation.Advise] why not. The guest connects its handlers to the operator, and answers the invite with
// a 2xx status: it has joined, and the host puts it on the line. Any other answer is a different result. An
// [InviteInfo] says what came of the invite. That is logged, counted, and emitted as an event, with a hint on what to
// write if the guest has not joined.
//
// A guest that cannot know yet whether it joins answers with a 2xx status all the same, but calls [Invitation.Defer]
// first. It calls [Invitation.Report] as soon as it knows, and again whenever that changes; news is logged, counted
// and emitted. It starts anything slow in [Invitation.OnStart]. To answer for something else, it calls
// [Invitation.Replace].
//
// [SendInvites] sends the invites again, as new invitations, to guests that are not on the line, and waits for the
// results. A guest that it names, and that is on the line, is asked by [Invitation.OnRefresh] instead. A guest that
// accepts a new invitation lets go of the previous one.
//
// [Invitation.Context] ends with the config, or with a host that failed to load. Operators leave with such a host, but
// not with the config: requests in flight may still ask. [Host.Close] lets another host invite the guests.
//
// Call Accept, Advise, SetKeys, Mount and Defer only in the goroutine that handles the invite. Everything else may be
// called from any goroutine, as long as requests to the config are in flight.
//
// # Asks over HTTP
//
// [Invitation.Send] sends a request to the guest through the same routes. The request is delivered when the guest's
// handler has called [DeliveredTo]; an answer from another route does not count. From outside, the invite's path and
// everything below it are hidden. The host does that and, where a path may have been rewritten since, the guest's
// handler with [Host.PassOn].
//
// Guests ask from outside the process, with a key that [Entry.Identify] knows. Their asks go to a handler, or to an
// address that a host names ([AskOn]). Each request that is passed on tells the guest this address. The app listens
// there from its Start to its Stop, and serves what [RegisterAskEndpoint] was given. A guest gets its keys by
// [Invitation.SetKeys], or by [Invitation.MakeKey] one that is made in Start, once for all Caddys that share a
// storage. The files of such keys are put in place when the whole config has started, so a config that fails to start
// leaves them as they were.
package party
