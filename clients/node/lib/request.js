// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import { AsyncLocalStorage } from 'node:async_hooks'

import { verifySignature } from './token.js'

/** The request that is being handled. @type {AsyncLocalStorage<Request>} */
export const current = new AsyncLocalStorage()

// As Caddy escapes it. Nothing of a visitor's, who may reach the application past Caddy.
const PREFIX = /^(?:\/[A-Za-z0-9\-._~!$&'()*+,;=:@%[\]]+)+$/

/** A request that is being handled, and what is asked meanwhile. */
export class Request {
  /** What urlFor found in this request, see Links. */
  links = undefined
  /** Whether it has been handled, as far as anything asked for that. */
  hasEnded = false
  /** The version of the line that came with it, '' if none did. */
  line = ''
  #claims
  #batch // the request in which this ask came with others
  #ask
  #ends // what the asks of this batch do when the response has ended

  /**
   * @param {import('./guest.js').Guest} guest
   * @param {string} method
   * @param {string} url path and query as they arrived
   * @param {import('node:http').IncomingHttpHeaders} headers those of HEADERS suffice
   * @param {() => unknown} route returns what stands for the route, once one is known
   * @param {(callback: () => void) => void} atEnd calls back when the request has been handled
   */
  constructor(guest, method, url, headers, route, atEnd) {
    this.guest = guest
    this.method = method
    this.url = url
    this.headers = headers
    this.route = route
    this.atEnd = atEnd
  }

  /**
   * Returns one of the asks of a batch. Its token proves nothing: that of the batch does.
   * @param {{token?: string, traceparent?: string}} ask
   */
  forAsk(ask) {
    const one = new Request(this.guest, this.method, this.url, this.headers, this.route, (callback) => this.#atEndOfBatch(callback))
    one.#batch = this
    one.#ask = ask
    return one
  }

  /** Listens once for all asks of a batch: Node warns of more than ten listeners. */
  #atEndOfBatch(callback) {
    if (!this.#ends) {
      this.#ends = []
      this.atEnd(() => {
        this.hasEnded = true
        for (const end of this.#ends.splice(0)) end()
      })
    }
    if (this.hasEnded) callback()
    else this.#ends.push(callback)
  }

  /** The claims of a token that Caddy signed, whatever for; null if there is none. */
  get claims() {
    if (this.#batch) return this.#batch.claims
    if (this.#claims === undefined) this.#claims = this.#verified()
    return this.#claims
  }

  #verified() {
    const token = this.headers['party-token']
    if (token === undefined) return null
    // What goes on after the response has no use of it.
    this.atEnd(() => (this.hasEnded = true))
    try {
      return verifySignature(token, this.guest.keys.all, { guest: this.guest.name })
    } catch {
      return null
    }
  }

  /** The prefix as Caddy sent it. */
  get prefix() {
    const prefix = this.headers['x-forwarded-prefix']
    return prefix && PREFIX.test(prefix) ? prefix : ''
  }

  /** What Caddy took off the path. */
  get mount() {
    return this.prefix || this.claims?.mnt || ''
  }

  /** The headers that an ask takes from this request. */
  get askHeaders() {
    const headers = {}
    const { prefix } = this
    if (prefix) headers['X-Forwarded-Prefix'] = prefix
    const loop = this.headers['cdn-loop']
    // What a visitor put in must neither fail an ask nor rid it of what Caddy put in.
    if (loop) headers['CDN-Loop'] = loop.replace(/[^ -~]/g, '?')
    const { token, traceparent } = this.#ask ?? { token: this.headers['party-token'] }
    const hasEnded = (this.#batch ?? this).hasEnded
    if (token && Date.now() / 1000 < (this.claims?.exp ?? 0) && !hasEnded) headers['Party-Token'] = token
    if (traceparent) headers.traceparent = traceparent
    return headers
  }
}

/** The headers that count, for frameworks that have none as Node has them. */
export const HEADERS = ['accept', 'cdn-loop', 'content-length', 'if-none-match', 'party-ask', 'party-token', 'x-forwarded-prefix']
