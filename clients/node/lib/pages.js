// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'

import { quote } from './json.js'
import { Path, PathError } from './paths.js'

const NAME = /^[A-Za-z0-9._:-]{1,64}$/
const MAX_URLS = 4096
const MAX_MANIFEST = 1 << 16 // bytes
const MAX_SAID = 20

/** What says the name of a route that has this function among its handlers. */
export const PAGE = Symbol.for('wsgi-party.page')

export const isName = (name) => typeof name === 'string' && NAME.test(name)

/**
 * A route as a framework has it.
 * @typedef {object} Route
 * @property {string} [path]
 * @property {string} [why] why there is none
 * @property {string} [name] that the route says itself
 * @property {Function} [handler] whose name it is called by if it says none
 */

/**
 * The pages of a guest: what was declared, and the routes of the framework.
 */
export class Pages {
  /** @type {Map<string, Path>} */
  all = new Map()
  /** What is left out: what it is, and why. @type {[string, string][]} */
  left = []

  /**
   * @param {Map<string, Path>} declared
   * @param {Route[]} routes
   * @param {'hono' | undefined} dialect of the routes' paths
   */
  constructor(declared, routes, dialect) {
    const handlers = new Map()
    const other = new Set()
    for (const [name, path] of declared) this.all.set(name, path)
    for (const route of routes) {
      const name = route.name ?? nameOf(route.handler)
      const what = [name !== undefined && quote(name), route.path].filter(Boolean).join(' at ')
      if (name !== undefined && declared.has(name)) continue
      try {
        const path = this.#path(route, name, dialect)
        if (!this.all.has(name)) {
          this.all.set(name, path)
          handlers.set(name, route.handler)
        } else if (this.all.get(name).template !== path.template) {
          // One handler at two paths is one page, at the first of them.
          const isSame = route.handler === handlers.get(name)
          if (!isSame) other.add(name)
          this.left.push([what, isSame ? 'its handler already has a path' : 'another route has that name'])
        }
      } catch (error) {
        if (!(error instanceof PathError)) throw error
        this.left.push([what, error.message])
      }
    }
    // Which one of the two would be meant, nobody knows.
    for (const name of other) this.all.delete(name)
  }

  #path({ path, why }, name, dialect) {
    if (why) throw new PathError(why)
    if (name === undefined) throw new PathError('no name')
    if (!isName(name)) throw new PathError('a name may have 1 to 64 letters, digits and ._:-')
    return new Path(path, dialect)
  }

  /**
   * Returns the manifest, and its ETag, and takes note of what there is no room for.
   * @param {Iterable<[string, {isBatched: boolean}]>} services
   * @param {string} invite the path at which the guest was invited
   */
  manifest(services, invite) {
    // Without a prototype, for any name is one of theirs.
    const manifest = { urls: Object.create(null), services: Object.create(null) }
    for (const [service, { isBatched }] of services) manifest.services[service] = { href: `${invite}/partyline/${service}`, ...(isBatched && { batch: true }) }
    let size = Buffer.byteLength(JSON.stringify(manifest))
    let count = 0
    const noRoom = []
    for (const [name, { template }] of this.all) {
      size += name.length + template.length + '"":"",'.length // both are ASCII without quotes
      if (size > MAX_MANIFEST || ++count > MAX_URLS) noRoom.push([quote(name), `a manifest has at most ${MAX_URLS} urls and ${MAX_MANIFEST} bytes`])
      else manifest.urls[name] = template
    }
    const body = Buffer.from(JSON.stringify(manifest))
    return { body, etag: `"${createHash('sha256').update(body).digest('hex').slice(0, 32)}"`, told: this.all.size - noRoom.length, left: [...this.left, ...noRoom] }
  }
}

/** Says what a manifest tells, in one line. */
export function summary({ told, left }, services) {
  const line = `tells the party ${count(told, 'page')} and ${count(services, 'service')}`
  if (left.length === 0) return line
  const listed = left.slice(0, MAX_SAID).map(([what, why]) => `${what || 'a route'} (${why})`)
  if (left.length > MAX_SAID) listed.push(`and ${left.length - MAX_SAID} more`)
  return `${line}, and leaves out ${listed.join(', ')}`
}

const count = (n, what) => `${n} ${what}${n === 1 ? '' : 's'}`

/** Returns the name of a function that somebody gave it: not that of an option, { handler: () => {} }, or of no function. */
function nameOf(handler) {
  const name = handler?.name?.replace(/^bound /, '')
  return name && /^(?!(?:anonymous|handler)$)[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(name) ? name : undefined
}
