// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import { encode } from './json.js'
import { PAGE } from './pages.js'

/** A party, as one application sees it. What `party(app)` returns. */
export class Party {
  #guest

  /** @param {import('./guest.js').Guest} guest */
  constructor(guest) {
    this.#guest = guest
  }

  /**
   * Says what a page is called, for others and for urlFor. With a path it declares the page; without
   * one it returns a handler for the route itself, in Express and Hono:
   * `app.get('/posts/:slug', party.page('post'), show)`.
   * @param {string} name 1 to 64 letters, digits and ._:-
   * @param {string} [path] as routes have it, `/posts/:slug`, and perhaps a query, `/search{?q,page}`
   * @throws {TypeError} if no URI template can say the path
   */
  page(name, path) {
    this.#guest.declare(name, path)
    if (path !== undefined) return this
    const mark = (a, b, c) => (c ?? b)() // (request, response, next) or (context, next)
    mark[PAGE] = name
    return mark
  }

  /**
   * Answers for a service. The handler gets the payload, and returns the answer, or undefined to decline.
   * @param {string} name 1 to 64 letters, digits and ._:-
   * @param {(payload: any) => unknown} handler may be async
   * @param {{batch?: boolean}} [options] with `batch: false` Caddy asks for each answer by a request of its own
   */
  service(name, handler, options) {
    this.#guest.serve(name, handler, options)
    return this
  }

  /**
   * Returns the URL of a page: `await party.urlFor('shop:cart', { id: 7 })`.
   * @param {string} name
   * @param {Record<string, unknown>} [values]
   * @param {{fallback?: string}} [options] what to return where nobody can make the link
   * @throws {LinkError} if nobody can
   */
  async urlFor(name, values = {}, { fallback = this.#guest.fallback } = {}) {
    return this.#guest.urlFor(String(name), values ?? {}, fallback)
  }

  /**
   * Returns the answers of all others to a question, none if nobody has one or the party is not reached.
   * @param {string} service
   * @param {unknown} [payload]
   * @param {{guest?: string}} [options] the only guest to ask
   * @returns {Promise<any[]>}
   */
  async ask(service, payload, { guest } = {}) {
    return this.#ask({ service, payload, first: false, guest })
  }

  /**
   * Returns the first answer to a question, or undefined if nobody has one.
   * @param {string} service
   * @param {unknown} [payload]
   * @param {{guest?: string}} [options] the only guest to ask
   */
  async askFirst(service, payload, { guest } = {}) {
    const [answer] = await this.#ask({ service, payload, first: true, guest })
    return answer
  }

  async #ask({ service, payload, first, guest }) {
    if (!isName(service)) throw new TypeError('a service must be a text that is not empty')
    if (guest !== undefined && !isName(guest)) throw new TypeError("a guest's name must be a text that is not empty")
    const [answers] = await this.#guest.ask([{ service, payload: encode('the payload', payload), first, guest }])
    return answers
  }

  /** What Caddy took off the path of the request that is being handled, such as `/blog`. */
  get mount() {
    return (this.#guest.isEnabled && this.#guest.request?.mount) || ''
  }
}

function isName(text) {
  return typeof text === 'string' && text !== '' && text.isWellFormed()
}
