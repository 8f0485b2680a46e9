// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

/** Returns what calls back when a response of Node's has ended. */
export const atEndOf = (response) => (callback) => (response.closed ? callback() : response.once('close', callback))

// Caddy keeps idle connections for two minutes, and one that is closed as it is used is an error to
// a visitor: Node would close it after 5 s.
const KEEP_ALIVE = 150_000

/**
 * Has a guest answer a request of Caddy's own.
 * @param {import('./guest.js').Guest} guest
 * @param {import('./request.js').Request} request
 * @param {import('node:http').IncomingMessage} incoming
 * @param {import('node:http').ServerResponse} outgoing
 */
export function answer(guest, request, incoming, outgoing) {
  guest.answer(request, incoming).then(
    ({ status, headers, body }) => {
      outgoing.writeHead(status, headers).end(body)
      incoming.resume() // the rest of a body that is too long: unread, it would hold up the connection's next request
    },
    (error) => {
      guest.log.error(`a request from Caddy is not answered: ${error.message}`)
      outgoing.destroy()
    },
  )
}

/**
 * Has the server of a request keep idle connections for longer than Caddy, unless it was told not to keep any.
 * Caddy's invite may be a minute away, or come to another worker.
 */
export function keepConnections(incoming) {
  const server = incoming?.socket?.server
  if (server?.keepAliveTimeout > 0 && server.keepAliveTimeout < KEEP_ALIVE) server.keepAliveTimeout = KEEP_ALIVE
}
