// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import http from 'node:http'
import https from 'node:https'

import { parseAddress } from './address.js'
import { MAX_BODY, decode, quote } from './json.js'
import { Kept } from './kept.js'

const MAX_BATCH = 256 // asks that Caddy takes in one request
const MAX_RESPONSE = 9 << 20 // bytes: Caddy's max_response, and some more
const TIMEOUT = 5000 // milliseconds, from connecting to the last byte
const MIN_PAUSE = 1000 // milliseconds that Caddy is left alone when it was not reached
const MAX_PAUSE = 30_000
const MAX_TRIES = 3

/** Caddy was not reached, or did not answer in time. */
class UnreachedError extends Error {}

/** What asks a Caddy at one address. */
export class Client {
  /** Links that are so until the line changes. */
  kept = new Kept()
  #target
  #agent
  #timeout
  #log
  #failures = 0
  #pause = 0
  #askedAgain = -Infinity

  /** @throws {TypeError} if the address is none */
  constructor(address, log, timeout = TIMEOUT) {
    this.address = address
    this.#target = parseAddress(address)
    // Of our own: the global agent's proxies are not for the key.
    this.#agent = new (this.#target.tls ? https : http).Agent({ keepAlive: true, maxSockets: 256 })
    this.#timeout = timeout
    this.#log = log
  }

  /** Whether Caddy is not left alone for now. */
  get isUp() {
    return performance.now() >= this.#askedAgain
  }

  /** Asks whether the version of the line is still that of what is kept, with a request that is short. */
  async check(key) {
    if (!this.isUp) return
    try {
      await this.#send('HEAD', '/', undefined, key, { 'If-None-Match': `"${this.kept.version}"` }, performance.now() + this.#timeout)
    } catch {
      // Then it is not known, and links are asked for, which says what is wrong.
    }
  }

  /**
   * Asks, with as few requests as Caddy lets, and returns a result for each ask: undefined for what failed. One that
   * lasts has the version of the line until which it is so.
   * @param {{service: string, payload: string, first: boolean, guest?: string}[]} asks with payloads as JSON
   * @param {string} key
   * @param {Record<string, string>} headers
   */
  async ask(asks, key, headers) {
    const deadline = performance.now() + this.#timeout
    const results = await Promise.all(batches(asks).map((batch) => this.#askBatch(batch, key, headers, deadline)))
    return results.flat()
  }

  async #askBatch(batch, key, headers, deadline) {
    const none = batch.map(() => undefined)
    if (!this.isUp) return none
    // One ask tries, and all others go without, when the pause has ended.
    if (this.#pause > 0) this.#askedAgain = performance.now() + this.#pause
    const failures = this.#failures
    try {
      const { status, type, body, line } = await this.#send('POST', ...requestFor(batch), key, headers, deadline)
      this.#reached()
      const problem = type.startsWith('application/problem+json') ? decode(body) : undefined
      if (problem) return batch.map(() => ({ status, detail: problem.detail }))
      if (status !== 200) throw new Error(`status ${status}: ${quote(body.toString('utf8', 0, 200))}`)
      const decoded = decode(body)
      const results = isList(batch) ? decoded : [decoded]
      if (!Array.isArray(results) || results.length !== batch.length) throw new Error('not one result for each ask')
      for (const result of results) if (result?.lasting === true) result.line = line
      return results
    } catch (error) {
      if (error instanceof UnreachedError) this.#unreached(error, failures)
      else this.#log.once('warn', `asking the party for ${names(batch)} failed: ${error.message}`)
      return none
    }
  }

  /** Sends again on another connection if one that was kept open turns out to be closed: asking changes nothing. */
  async #send(method, path, body, key, headers, deadline) {
    for (let tries = 1; ; tries++) {
      const sent = {}
      try {
        const response = await this.#sendOnce(method, path, body, key, headers, deadline, sent)
        this.kept.hear(response.line)
        return response
      } catch (error) {
        if (!sent.isReused || tries === MAX_TRIES || performance.now() >= deadline) throw error
      }
    }
  }

  #sendOnce(method, path, body, key, headers, deadline, sent) {
    const { promise, resolve, reject } = withResolvers()
    const { tls, path: prefix, ...target } = this.#target
    const request = (tls ? https : http).request({
      ...target,
      agent: this.#agent,
      method,
      path: prefix + path,
      headers: { ...headers, Authorization: `Bearer ${key}`, ...(body !== undefined && { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) }) },
    })
    const fail = (error) => {
      sent.isReused = request.reusedSocket && !sent.isAnswered && !(error instanceof UnreachedError)
      reject(error)
      request.destroy()
    }
    const unreached = (error) => fail(sent.isAnswered || request.reusedSocket ? error : new UnreachedError(error.message))
    const timer = setTimeout(() => fail(new UnreachedError(`no complete answer in ${this.#timeout} ms`)), deadline - performance.now())
    request.on('error', unreached)
    request.on('response', (response) => {
      sent.isAnswered = true
      const chunks = []
      let size = 0
      response.on('data', (chunk) => {
        size += chunk.length
        if (size > MAX_RESPONSE) fail(new Error(`the answer is longer than ${MAX_RESPONSE} bytes`))
        else chunks.push(chunk)
      })
      response.on('error', fail)
      response.on('end', () => resolve({ status: response.statusCode, type: response.headers['content-type'] ?? '', body: Buffer.concat(chunks), line: response.headers['party-line'] ?? '' }))
    })
    request.end(body)
    return promise.finally(() => clearTimeout(timer))
  }

  #reached() {
    if (this.#pause > 0) this.#log.info(`the party is reached again at ${this.address}`)
    this.#pause = 0
    this.#askedAgain = -Infinity
  }

  #unreached({ message }, failures) {
    // Those that were under way when the first one failed say nothing new.
    if (failures !== this.#failures) return
    this.#failures++
    const isNew = this.#pause === 0
    this.#pause = Math.min(Math.max(this.#pause * 2, MIN_PAUSE), MAX_PAUSE)
    this.#askedAgain = performance.now() + this.#pause
    if (isNew) this.#log.warn(`the party cannot be reached at ${this.address}, and is left alone for up to ${MAX_PAUSE / 1000} s between tries: ${message}`)
  }
}

function isList(batch) {
  return batch.length > 1 || !/^(?!\.+$)[\w.:-]+$/.test(batch[0].service)
}

function requestFor(batch) {
  if (isList(batch)) return ['/', `[${batch.map(encodeAsk).join()}]`]
  const [{ service, payload, first, guest }] = batch
  const query = [...(first ? ['first'] : []), ...(guest === undefined ? [] : [`guest=${encodeURIComponent(guest)}`])].join('&')
  return [`/${service}${query && '?'}${query}`, payload]
}

function encodeAsk({ service, payload, first, guest }) {
  return `{"service":${JSON.stringify(service)},"payload":${payload}${first ? ',"first":true' : ''}${guest === undefined ? '' : `,"guest":${JSON.stringify(guest)}`}}`
}

/** Returns the asks in such parts as Caddy takes. */
function batches(asks) {
  const all = []
  let size = Infinity
  for (const ask of asks) {
    const length = Buffer.byteLength(ask.payload) + 6 * ask.service.length + 64
    if (size + length > MAX_BODY || all.at(-1).length === MAX_BATCH) {
      all.push([])
      size = 0
    }
    all.at(-1).push(ask)
    size += length
  }
  return all
}

function names(asks) {
  return [...new Set(asks.map(({ service }) => quote(service)))].slice(0, 5).join(', ')
}

/** Promise.withResolvers, which Node 20 lacks. */
function withResolvers() {
  let resolve, reject
  const promise = new Promise((...functions) => ([resolve, reject] = functions))
  return { promise, resolve, reject }
}
