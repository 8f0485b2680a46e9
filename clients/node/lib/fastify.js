// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import { answer, atEndOf, keepConnections } from './node.js'
import { current } from './request.js'

const REQUEST = Symbol('wsgi-party request')
const notReached = () => {} // the handler of our own route

/**
 * Attaches a guest to an instance of Fastify 4 or 5, which gets the party as `fastify.party`.
 * @param {import('./guest.js').Guest} guest
 * @param {import('./party.js').Party} party
 */
export function attachToFastify(guest, party, fastify) {
  const routes = []
  fastify.decorate('party', party)
  fastify.addHook('onRoute', ({ method, url, config, handler }) => {
    if ([method].flat().includes('GET') && handler !== notReached) routes.push({ name: config?.name, path: url, handler })
  })
  guest.setRoutes({ count: () => routes.length, all: () => routes })
  if (!guest.isEnabled) return
  if (Object.getPrototypeOf(fastify) !== Object.prototype) {
    // Hooks of a plugin's own do not see requests without a route, as Caddy's are.
    fastify.route({ method: ['GET', 'POST'], url: '/__invite__/*', onRequest: (request, reply) => reply.callNotFound(), handler: notReached })
  } else if (!/^\(empty tree\)\s*$/.test(fastify.printRoutes())) {
    guest.log.warn('routes that were declared before the party was registered are not pages: write "await fastify.register(party)" before them')
  }
  fastify.addHook('onReady', async () => guest.say())
  fastify.addHook('onRequest', (request, reply, done) => {
    const { raw } = request
    keepConnections(raw)
    const url = raw.originalUrl ?? raw.url
    const handled = guest.begin(raw.method, url, raw.headers, () => request.routeOptions?.config, atEndOf(reply.raw))
    raw[REQUEST] = handled
    const { mount } = handled
    if (mount) raw.originalUrl = mount + url
    if (guest.isCaddys(handled)) answer(guest, handled, raw, replyOf(reply))
    else current.run(handled, done)
  })
  // What parses a body calls back in the context of the connection.
  fastify.addHook('preValidation', (request, reply, done) => {
    const handled = request.raw[REQUEST]
    if (handled === undefined || current.getStore() === handled) done()
    else current.run(handled, done)
  })
}

/** Returns a reply as a response of Node's, for an answer to have the hooks and the log lines of others. */
function replyOf(reply) {
  return {
    // To the type of a text Fastify would add a charset.
    writeHead: (status, headers) => ({ end: (body) => reply.code(status).headers(headers).send(body ? Buffer.from(body) : undefined) }),
    destroy: () => reply.raw.destroy(),
  }
}
