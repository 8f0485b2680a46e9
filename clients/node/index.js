// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import { attachToExpress } from './lib/express.js'
import { attachToFastify } from './lib/fastify.js'
import { Guest, LinkError } from './lib/guest.js'
import { attachToHono } from './lib/hono.js'
import { attachToServer } from './lib/http.js'
import { Party } from './lib/party.js'
import { InvalidTokenError, verifyToken } from './lib/token.js'

const parties = new WeakMap() // by application

/**
 * Has an application take part in a party of Caddy's module wsgi_party.
 *
 *     const line = party(app)                       // Express 4 and 5, Hono
 *     const line = party(createServer(handler))     // anything on Node's own server
 *     await fastify.register(party)                 // Fastify 4 and 5: fastify.party
 *
 * @param {object} [app] the application, before it has routes; none for a process that serves no requests. Called again
 *   with the same one, it returns the same party
 * @param {import('./index.js').PartyOptions} [options]
 * @param {(error?: Error) => void} [done] Fastify's
 * @returns {Party}
 */
export function party(app, options, done) {
  if (typeof done !== 'function') return partyOf(app, options)
  let problem
  try {
    partyOf(app, options)
  } catch (error) {
    problem = error
  }
  done(problem) // to a plugin of Fastify's that returns something thenable, or nothing
}

function partyOf(app, options = {}) {
  const known = parties.get(app)
  if (known && Object.keys(options).length > 0) throw new TypeError('the application has a party already: write its options where party(app, options) is called first')
  if (known) return known
  const guest = new Guest({ logger: isFastify(app) ? app.log : console, ...options })
  const line = new Party(guest)
  if (app) {
    attach(guest, line, app)
    parties.set(app, line)
  }
  return line
}

const isFastify = (app) => typeof app?.addHook === 'function' && typeof app.decorate === 'function'

function attach(guest, line, app) {
  if (isFastify(app)) attachToFastify(guest, line, app)
  else if (typeof app.fetch === 'function' && Array.isArray(app.routes)) attachToHono(guest, app)
  else if (typeof app === 'function' && typeof app.handle === 'function' && typeof app.use === 'function') attachToExpress(guest, app)
  else if (typeof app.emit === 'function' && typeof app.listen === 'function') attachToServer(guest, app)
  else throw new TypeError('party() takes an application of Express, Fastify or Hono, or a server of Node\'s: write party(createServer(handler)) for any other')
}

// What fastify-plugin says: the hooks are for the instance that registers the party, and all in it.
party[Symbol.for('skip-override')] = true
party[Symbol.for('fastify.display-name')] = 'wsgi-party'
party[Symbol.for('plugin-meta')] = { name: 'wsgi-party', fastify: '4.x || 5.x' }

export default party
export { InvalidTokenError, LinkError, Party, verifyToken }
