// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import { decode, encode, quote } from './json.js'

const MAX_LINKS = 256 // of a route, and of a batch
const MAX_ROUTES = 1024
const MAX_LENGTH = 1024 // of a link that is remembered, in characters
// What no URL has, and what browsers leave out of one or take for a slash.
const FORBIDDEN = /[\x00-\x20"<>\\^`{|}\x7f-\x9f\u2028\u2029]/

/**
 * Finds links to others' pages. The first one of a page asks for all that the same route linked to
 * the last time, too: so a page asks once, whatever the order in which it makes its links.
 */
export class Links {
  #guest
  #known = new Map() // from a route to the links of its last view, the least recently used one first
  #outside = undefined // of no request

  /** @param {import('./guest.js').Guest} guest */
  constructor(guest) {
    this.#guest = guest
  }

  /**
   * Returns the URL of a page, or undefined if nobody has it.
   * @param {import('./request.js').Request | undefined} request
   */
  find(request, name, values) {
    const payload = encode(`the link to ${quote(name)}`, { name, values })
    const view = request ? (request.links ??= this.#begin(request)) : (this.#outside ??= { found: new Map(), queue: [], used: new Set() })
    view.used.add(payload)
    return view.found.get(payload) ?? this.#enqueue(view, request, payload)
  }

  #begin(request) {
    const view = { found: new Map(), queue: [], used: new Set() }
    const route = request.route() ?? request.method
    for (const payload of this.#known.get(route) ?? []) this.#enqueue(view, request, payload)
    request.atEnd(() => this.#learn(route, view.used))
    return view
  }

  #learn(route, used) {
    this.#known.delete(route)
    this.#known.set(route, [...used].filter((payload) => payload.length <= MAX_LENGTH).slice(0, MAX_LINKS))
    if (this.#known.size > MAX_ROUTES) this.#known.delete(this.#known.keys().next().value)
  }

  /** Has a link asked for with all others of this turn of the event loop. */
  #enqueue(view, request, payload) {
    if (view.queue.length === 0) setImmediate(() => this.#ask(view, request))
    const url = new Promise((resolve) => view.queue.push({ payload, resolve }))
    view.found.set(payload, url)
    return url
  }

  async #ask(view, request) {
    const { queue } = view
    view.queue = []
    if (view === this.#outside) this.#outside = undefined // it may be another link the next time
    const answers = await this.#guest.ask(queue.map(({ payload }) => ({ service: 'url', payload, first: true })), request)
    for (const [i, { payload, resolve }] of queue.entries()) resolve(this.#checked(answers[i]?.[0], payload))
  }

  #checked(url, payload) {
    if (url === undefined) return undefined
    if (isURL(url)) return url
    this.#guest.log.once('warn', `the answer to ${quote(decode(Buffer.from(payload)).name)} is no link: ${quote(JSON.stringify(url))}`)
  }
}

/** Whether an answer is a path or a URL that may stand in a page. */
function isURL(url) {
  if (typeof url !== 'string' || FORBIDDEN.test(url) || !url.isWellFormed()) return false
  return url.startsWith('/') ? url[1] !== '/' : /^https?:\/\/[^/?#]/i.test(url) && URL.canParse(url)
}
