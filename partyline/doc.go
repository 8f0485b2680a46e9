// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package partyline is a switchboard on which the applications of one site ask each other what only
// the others know. It knows nothing of HTTP or Caddy, and uses the standard library only.
//
// # Guests and services
//
// An application is a guest, known by its name. Through its [Operator] it connects a [Handler] under
// the name of a service, such as url or menu, and asks around for a service. [Operator.AskAround]
// calls the handlers of all other guests and collects their answers; [First] stops at the first
// answer; [Operator.Replies] goes through all replies, failures included. A handler answers,
// declines by returning [ErrHighAndDry], or fails with any other error or a panic. A failure stops
// nobody: all are asked, and failures come with the answers as [*HandlerError].
//
// # Order
//
// Handlers are called one after the other, and answers come in that order: first those of the guests
// that [Partyline.SetOrder] names, then those of all others in the order in which they connected.
// Handlers that wait for something outside this process, connected by [Operator.ConnectRemote], are
// all started when an ask reaches the first of them; their answers still come in order. An ask sees
// the connections as they were when it began, and takes no lock. By a [Preference] one answer of a
// service comes before all others; [Operator.Only] asks one guest, [Operator.Local] nobody outside this
// process.
//
// # Keys
//
// Many guests may each have an answer to some asks only, such as for the links to their own pages. By
// [Operator.ConnectKeyed] they say which, and an ask calls only those who have its key, however many
// others there are. Those are not asked: they are among no replies, and not counted.
//
// # Replicas
//
// Several operators may carry one guest's name: the same application twice, or before and after it
// changed. For each service only the first of them is asked. When it leaves, the next takes its
// place, so an application changes its handlers without a gap: the new operator connects, then the
// old one leaves.
//
// # Nesting
//
// A handler may ask around in turn, with the context it was called with. Nobody asks itself: an ask
// skips the asking guest, and the guests further up that are asking for the same service. So an ask
// that comes back to where it began ends. Up to eight guests may ask each other for one service,
// each in turn; beyond that, beyond 32 nested asks, and where n guests have made some n² calls for
// one service, an ask returns [ErrLoop].
package partyline
