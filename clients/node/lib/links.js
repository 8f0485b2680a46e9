// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import { decode, encode, quote } from './json.js'

const MAX_LINKS = 256 // of a route, and of a batch
const MAX_ROUTES = 1024
const MAX_FOUND = 4096 // in a view
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
  #outside // of no request

  /** @param {import('./guest.js').Guest} guest */
  constructor(guest) {
    this.#guest = guest
  }

  /**
   * Returns the URL of a page, or undefined if nobody has it.
   * @param {import('./request.js').Request | undefined} request
   */
  find(request, name, values) {
    const payload = encode(`the link to ${quote(name)}`, { name, values }, digits)
    const view = this.#viewOf(request)
    if (view.used.size < MAX_LINKS && payload.length <= MAX_LENGTH) view.used.add(payload)
    if (!view.found.has(payload) && view.known?.has(payload)) return view.known.get(payload)
    return view.found.get(payload) ?? this.#enqueue(view, payload)
  }

  #viewOf(request) {
    if (request && !request.links && !request.hasEnded) request.atEnd(() => this.#end(request))
    if (!request || request.hasEnded) {
      if (!this.#outside?.queue.length) this.#outside = this.#newView()
      return this.#outside
    }
    const view = (request.links ??= this.#newView(request))
    // Middleware of Express makes its links, the same on every page, before there is a route.
    if (!view.hasRoute) {
      const route = request.route()
      view.hasRoute = route !== undefined
      this.#enter(view, route ?? request.method)
    }
    return view
  }

  #enter(view, route) {
    if (view.usedBy.has(route)) return
    view.usedBy.set(route, (view.used = new Set()))
    for (const payload of this.#known.get(route) ?? []) if (!view.found.has(payload) && !view.known?.has(payload)) this.#enqueue(view, payload)
  }

  #newView(request) {
    return { request, found: new Map(), queue: [], used: new Set(), usedBy: new Map(), hasRoute: false, known: this.#guest.known(request) }
  }

  /** Learns, and lets go of, what a request has used. What goes on after the response is of no request. */
  #end(request) {
    request.hasEnded = true
    for (const [route, used] of request.links?.usedBy ?? []) {
      this.#known.delete(route)
      this.#known.set(route, used)
      if (this.#known.size > MAX_ROUTES) this.#known.delete(this.#known.keys().next().value)
    }
    request.links = undefined
  }

  /** Has a link asked for with all others of this turn of the event loop. */
  #enqueue(view, payload) {
    if (view.queue.length === 0) setImmediate(() => this.#ask(view))
    const url = new Promise((resolve) => view.queue.push({ payload, resolve }))
    if (view.found.size === MAX_FOUND) view.found.clear() // by a response that goes on and on
    view.found.set(payload, url)
    return url
  }

  async #ask(view) {
    const { request } = view
    let { queue } = view
    view.queue = []
    if (view === this.#outside) this.#outside = undefined // it may be another link the next time
    if (view.known === undefined) {
      view.known = await this.#guest.checked(request)
      const { known } = view
      for (const { payload, resolve } of queue) if (known.has(payload)) resolve(known.get(payload))
      queue = queue.filter(({ payload }) => !known.has(payload))
      if (queue.length === 0) return
    }
    const results = await this.#guest.results(queue.map(({ payload }) => ({ service: 'url', payload, first: true })), request)
    for (const [i, { payload, resolve }] of queue.entries()) {
      const { answers, line } = results[i]
      const url = this.#checked(answers[0], payload)
      if ((url !== undefined ? url.length : payload.length) <= MAX_LENGTH && payload.length <= MAX_LENGTH && (url !== undefined || answers.length === 0)) {
        this.#guest.keep(request, line, payload, url)
      }
      resolve(url)
    }
  }

  #checked(url, payload) {
    if (url === undefined) return undefined
    if (isURL(url)) return url
    this.#guest.log.once('warn', `the answer to ${quote(decode(Buffer.from(payload)).name)} is not a link: ${quote(JSON.stringify(url))}`)
  }
}

/** JSON has no integers of any size, but links do. */
const digits = (_, value) => (typeof value === 'bigint' ? String(value) : value)

/** Whether an answer is a path or a URL that may stand in a page. */
function isURL(url) {
  if (typeof url !== 'string' || FORBIDDEN.test(url) || !url.isWellFormed()) return false
  return url.startsWith('/') ? url[1] !== '/' : /^https?:\/\/[^/?#]/i.test(url) && URL.canParse(url)
}
