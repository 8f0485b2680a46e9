// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import { answer, atEndOf, keepConnections } from './node.js'
import { PAGE } from './pages.js'
import { current } from './request.js'

const MAX_DEPTH = 32 // routers in each other
const NO_PATH = 'where its router is mounted cannot be read: mount it at a text, by app.use after party(app), or update the package router to 2.3'

/**
 * Attaches a guest to an application of Express 4 or 5.
 * @param {import('./guest.js').Guest} guest
 */
export function attachToExpress(guest, app) {
  const mounted = new WeakMap() // from a layer to what the application was told to use
  const { handle, listen, use } = app
  app.use = function (...args) {
    const result = use.apply(this, args)
    const functions = args.flat(Infinity).filter((arg) => typeof arg === 'function')
    const [path] = typeof [args[0]].flat(Infinity)[0] === 'function' ? ['/'] : [args[0]].flat(Infinity)
    for (const [i, layer] of stackOf(app).slice(-functions.length).entries()) mounted.set(layer, { path, handler: functions[i] })
    return result
  }
  guest.setRoutes({
    count: () => stackOf(app).length,
    all: () => [...routesOf(stackOf(app), '', mounted, 0)],
  })
  if (!guest.isEnabled) return
  app.handle = function (req, res, next) {
    guest.say()
    keepConnections(req)
    const request = guest.begin(req.method, req.originalUrl ?? req.url, req.headers, () => req.route, atEndOf(res))
    if (guest.isCaddys(request)) answer(guest, request, req, res)
    else current.run(request, () => handleMounted(handle, this, request, req, res, next))
  }
  app.listen = function (...args) {
    return listen.apply(this, args).once('listening', () => guest.say())
  }
}

/** Handles a request so that Express takes what Caddy took off its path for an outer mount. */
function handleMounted(handle, app, { mount }, req, res, next) {
  const { baseUrl = '', originalUrl } = req
  if (!mount || `${baseUrl}/`.startsWith(`${mount}/`)) return handle.call(app, req, res, next)
  req.baseUrl = mount + baseUrl
  req.originalUrl = mount + (originalUrl ?? req.url)
  return handle.call(app, req, res, next && ((error) => {
    Object.assign(req, { baseUrl, originalUrl: originalUrl ?? req.url })
    next(error)
  }))
}

/** Returns the layers of an application. (The getter `router` of Express 4 throws, and is called _router there.) */
function stackOf(app) {
  const router = typeof app.lazyrouter === 'function' ? app._router : app.router
  return router?.stack ?? []
}

/** @returns {Generator<import('./pages.js').Route>} */
function* routesOf(stack, mount, mounted, depth) {
  for (const layer of stack) {
    if (layer.route) {
      const route = routeOf(layer.route, mount)
      if (route) yield route
      continue
    }
    const { path, handler } = mounted.get(layer) ?? { path: pathOf(layer), handler: layer.handle }
    const inner = typeof handler.handle === 'function' && typeof handler.set === 'function' ? stackOf(handler) : handler.stack
    if (Array.isArray(inner) && depth < MAX_DEPTH) yield* routesOf(inner, join(mount, path), mounted, depth + 1)
  }
}

/** Returns a route that GET requests have, or that has a name. */
function routeOf({ path, methods, stack }, mount) {
  const name = stack.find(({ handle }) => handle[PAGE])?.handle[PAGE]
  if (name === undefined && !methods.get && !methods._all) return
  const handler = stack.findLast(({ method }) => !method || method === 'get')?.handle
  const first = join(mount, path)
  return first === undefined ? { name, handler, path: String(path), why: mount === undefined ? NO_PATH : 'its path is a regular expression' } : { name, handler, path: first }
}

/** Returns the two paths as one, of a list the first one; undefined if one of them is not text. */
function join(mount, path) {
  const [first] = [path].flat(Infinity)
  if (typeof mount !== 'string' || typeof first !== 'string') return
  const base = mount.replace(/\/+$/, '')
  if (base !== '' && (first === '/' || first === '')) return base
  return `${base}${first.startsWith('/') ? '' : '/'}${first}`
}

/** Returns where a layer is mounted, if that can be known. */
function pathOf({ rawPath, regexp, keys, slash }) {
  if (rawPath !== undefined) return rawPath // of router 2.3
  if (slash || regexp?.fast_slash) return '/'
  if (!regexp) return undefined
  // Express 4 has only the regular expression that path-to-regexp 0.1 has made of the path.
  const names = keys.map(({ name }) => name)
  const text = regexp.source
    .split('|^')[0]
    .replace(/^\^/, '')
    .replace(/\\\/\?\(\?=\\\/\|\$\)$/, '')
    .replace(/\(\?:\\\/\((?:[^()]|\([^()]*\))*\)\)|\\\/\(\?:\((?:[^()]|\([^()]*\))*\)\)/g, () => `/:${names.shift()}`)
  const hasPattern = /[()[\]?+*^$|]/.test(text.replace(/\\./g, ''))
  return hasPattern ? undefined : text.replace(/\\(.)/g, '$1')
}
