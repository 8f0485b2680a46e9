// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import assert from 'node:assert/strict'
import { IncomingMessage, ServerResponse, createServer } from 'node:http'
import { test } from 'node:test'

import { party } from '../index.js'
import { attachToExpress } from '../lib/express.js'
import { Guest } from '../lib/guest.js'
import { endpoint, framework, key, notes, partyAsk } from './helper.js'

const ROUNDS = 25
const TURNS = 200

/** What dispatches a request to an application that uses nothing of the party, or has none. */
const dispatchers = {
  express4: (attach) => inExpress(framework('express4')(), attach),
  express5: (attach) => inExpress(framework('express')(), attach),
  fastify4: (attach) => inFastify(framework('fastify4')(), attach),
  fastify5: (attach) => inFastify(framework('fastify')(), attach),
  async hono(attach) {
    const app = new (framework('hono').Hono)()
    await attach(app)
    app.get('/posts/:slug', (context) => context.text('page'))
    return (incoming, outgoing) => app.fetch(new Request('http://localhost/posts/a'), { incoming, outgoing })
  },
  async http(attach) {
    const server = createServer((request, response) => response.end('page'))
    await attach(server)
    return (incoming, outgoing) => server.emit('request', incoming, outgoing)
  },
}

async function inExpress(app, attach) {
  await attach(app)
  app.get('/posts/:slug', (request, response) => response.end('page'))
  return app
}

async function inFastify(app, attach) {
  await attach(app)
  app.get('/posts/:slug', async () => 'page')
  await app.ready()
  return (incoming, outgoing) => app.server.emit('request', incoming, outgoing)
}

function request(headers) {
  const incoming = Object.assign(new IncomingMessage({ remoteAddress: '127.0.0.1', server: {} }), { method: 'GET', url: '/posts/a', httpVersion: '1.1', httpVersionMajor: 1, httpVersionMinor: 1 })
  for (const [name, value] of Object.entries(headers)) incoming.headers[name] = value
  return incoming
}

/** Returns the microseconds of a request, on average over a round. */
async function round(dispatch, headers) {
  const began = performance.now()
  for (let i = 0; i < TURNS; i++) {
    const incoming = request(headers)
    await dispatch(incoming, new ServerResponse(incoming))
    await null
  }
  return ((performance.now() - began) / TURNS) * 1000
}

for (const [name, dispatcher] of Object.entries(dispatchers)) {
  test(`${name}: a request that uses nothing of the party takes at most 5 µs more`, async (t) => {
    const { url } = await endpoint(t, () => [])
    const headers = { host: 'localhost', accept: 'text/html', 'user-agent': 'x', 'x-forwarded-prefix': '/blog', 'party-ask': partyAsk(url) }
    const without = await dispatcher(() => {})
    const withParty = await dispatcher((app) => party(app, { key, logger: notes().logger }))
    for (const dispatch of [without, withParty]) {
      const incoming = request(headers)
      const outgoing = new ServerResponse(incoming)
      const response = await dispatch(incoming, outgoing)
      await new Promise(setImmediate)
      assert.ok(response instanceof Response ? response.status === 200 : outgoing.writableEnded && outgoing.statusCode === 200)
    }
    let [least, most] = [Infinity, Infinity]
    // The least of each counts: whatever else the machine does makes them longer, and never shorter.
    for (let i = 0; i < ROUNDS || (i < 10 * ROUNDS && most - least > 5); i++) {
      least = Math.min(least, await round(without, headers))
      most = Math.min(most, await round(withParty, headers))
    }
    t.diagnostic(`${name}: ${least.toFixed(2)} µs without, ${(most - least).toFixed(2)} µs more with a party`)
    assert.ok(most - least <= 5)
  })
}

test('a manifest of 500 routes takes at most 50 ms', async (t) => {
  for (const version of ['express4', 'express']) {
    const [app, router] = [framework(version)(), framework(version).Router()]
    const guest = new Guest({ key, logger: notes().logger })
    attachToExpress(guest, app)
    app.use('/shop/:shop', router)
    for (let i = 0; i < 500; i++) (i % 2 ? app : router).get(`/section${i}/:slug/items/:id`, { [`page${i}`]: () => {} }[`page${i}`])
    let least = Infinity
    for (let i = 1; i <= 20 || (i <= 200 && least > 50); i++) {
      guest.declare(`again${i}`, '/') // has all routes read again
      const began = performance.now()
      const { told } = guest.pages.manifest([], '/__invite__')
      least = Math.min(least, performance.now() - began)
      assert.equal(told, 500 + i)
    }
    t.diagnostic(`${version}: a manifest of 500 routes takes ${least.toFixed(2)} ms`)
    assert.ok(least <= 50)
  }
})
