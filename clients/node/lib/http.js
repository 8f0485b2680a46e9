// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import { answer, atEndOf, keepConnections } from './node.js'
import { current } from './request.js'

/**
 * Attaches a guest to a server of Node's: whatever handles its requests, now or later.
 * @param {import('./guest.js').Guest} guest
 * @param {import('node:http').Server} server
 */
export function attachToServer(guest, server) {
  if (!guest.isEnabled) return
  const { emit } = server
  server.emit = function (event, incoming, outgoing, ...rest) {
    if (event !== 'request') return emit.call(this, event, incoming, outgoing, ...rest)
    keepConnections(incoming)
    const route = () => routeOf(guest, incoming)
    const request = guest.begin(incoming.method, incoming.url, incoming.headers, route, atEndOf(outgoing))
    if (!guest.isCaddys(request)) return current.run(request, () => emit.call(this, event, incoming, outgoing))
    answer(guest, request, incoming, outgoing)
    return true
  }
  if (server.listening) setImmediate(() => guest.say())
  else server.once('listening', () => guest.say())
}

/** Returns the page that a request is for, or its path. */
function routeOf(guest, { url }) {
  const [path] = url.split('?', 1)
  for (const page of guest.pages.all.values()) if (page.matches(path)) return page
  return path
}
