// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import { EventEmitter } from 'node:events'

import { atEndOf, keepConnections } from './node.js'
import { PAGE } from './pages.js'
import { HEADERS, current } from './request.js'

const COMPOSED_HANDLER = '__COMPOSED_HANDLER' // where Hono keeps the handler that onError of an inner application wraps

/**
 * Attaches a guest to an application of Hono's, under @hono/node-server or another one.
 * @param {import('./guest.js').Guest} guest
 */
export function attachToHono(guest, app) {
  guest.setRoutes({ count: () => app.routes.length, all: () => routesOf(app.routes), dialect: 'hono' })
  if (!guest.isEnabled) return
  const { fetch } = app
  app.fetch = (request, env, ...rest) => {
    guest.say()
    // Node's own headers and path cost nothing.
    const { incoming, outgoing } = env ?? {}
    keepConnections(incoming)
    const headers = incoming?.headers ?? headersOf(request.headers)
    const url = incoming?.url ?? request.url.replace(/^[^/]*\/\/[^/]*/, '')
    const end = outgoing ?? new EventEmitter()
    const handled = guest.begin(request.method, url, headers, () => routeOf(app, request, env), atEndOf(end))
    const response = guest.isCaddys(handled) ? answer(guest, handled, request) : current.run(handled, () => fetch.call(app, request, env, ...rest))
    return outgoing ? response : Promise.resolve(response).finally(() => Object.assign(end, { closed: true }).emit('close'))
  }
}

async function answer(guest, handled, request) {
  const { status, headers, body } = await guest.answer(handled, bodyOf(request))
  return new Response(body || null, { status, headers })
}

/** The body, which is looked at only when it is read. */
async function* bodyOf(request) {
  if (request.body) yield* request.body
}

function headersOf(headers) {
  return Object.fromEntries(HEADERS.map((name) => [name, headers.get(name) ?? undefined]))
}

/** Returns what Hono has of the route that handles a request: the first one that is neither middleware nor for all that is left. */
function routeOf(app, request, env) {
  try {
    const [handlers] = app.router.match(request.method, app.getPath(request, { env }))
    const routes = handlers.map(([[, route]]) => route)
    return routes.find(({ method, path }) => method !== 'ALL' && !path.endsWith('*')) ?? routes.at(-1)
  } catch {}
}

/** @returns {import('./pages.js').Route[]} */
function routesOf(routes) {
  // Each handler of a route is one in app.routes.
  const byRoute = new Map()
  for (const { method, path, handler } of routes) {
    const key = `${method} ${path}`
    const inner = handler[COMPOSED_HANDLER] ?? handler
    const route = byRoute.get(key) ?? { path, method }
    byRoute.set(key, { ...route, name: route.name ?? inner[PAGE], handler: inner })
  }
  // ALL is what use() has, for middleware.
  return [...byRoute.values()].filter(({ method, name }) => method === 'GET' || name !== undefined)
}
