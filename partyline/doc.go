// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Package partyline is a switchboard on which the applications of one site ask each other what only the others know.
// It knows nothing of HTTP or Caddy, and uses only the standard library.
//
// # Guests and services
//
// An application is a guest, known by its name. Through its [Operator] it connects a [Handler] under the name of a
// service, such as url or menu, and asks around for a service. [Operator.AskAround] calls the handlers of all other
// guests and collects their answers; [First] stops at the first answer; [Operator.Replies] goes through all replies,
// failures included. A handler answers, declines by returning [ErrHighAndDry], or fails with any other error or a
// panic. A failure does not end the ask: everybody is asked, and failures are returned next to the answers, as
// [*HandlerError].
//
// # Order
//
// Handlers are called one after the other, and answers come in that order: first those of the guests that
// [Partyline.SetOrder] names, then those of all others in the order in which they connected. Handlers that wait for
// something outside this process, connected by [Operator.ConnectRemote], are all started when an ask reaches the first
// of them; their answers still come in order. An ask sees the connections as they were when it began, and takes no
// lock. A [Preference] puts one answer of a service before all others. [Operator.Ask] asks one guest;
// [Operator.Local] asks nobody outside this process.
//
// # Keys
//
// Often each of many guests can answer only some asks, such as those for links to its own pages. With
// [Operator.ConnectKeyed] a guest says which keys it has, and an ask with a key calls only the guests that have it,
// however many others there are. The others are not asked: they give no reply, and are not counted.
//
// # Replicas
//
// Several operators may have the same guest's name: the same application twice, or before and after a change. For each
// service only the first of them is asked. When it leaves, the next takes its place. So an application can change its
// handlers without a gap: the new operator connects, then the old one leaves.
//
// # Nesting
//
// A handler may ask around in turn, with the context it was called with. Nobody asks itself: an ask skips the asking
// guest, and the guests further up that are asking for the same service. So an ask that comes back to where it began
// ends there. An ask returns [ErrLoop] if more than eight guests ask each other for one service, each in turn, if it
// is nested in more than 32 others, or once n guests have made some n² calls for one service.
package partyline
