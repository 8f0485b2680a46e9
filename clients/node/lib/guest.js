// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import { believed } from './address.js'
import { MAX_REQUEST, asksIn, elementOf } from './batch.js'
import { Client } from './client.js'
import { decode, encode, quote, read } from './json.js'
import { Keys } from './keys.js'
import { Links } from './links.js'
import { Log } from './log.js'
import { Pages, isName, summary } from './pages.js'
import { PathError, Path } from './paths.js'
import { Request, current } from './request.js'
import { below, checkBody, checkRequest, InvalidTokenError, verifySignature } from './token.js'

const MANIFEST = 'application/vnd.wsgi-party+json'
const MAX_SERVICES = 256
const MAX_HEARD = 16 // headers that are remembered
const MAX_CLIENTS = 8 // several Caddys in front of an application each have an address of their own
// The end of the path at which a service is asked, below the invite's.
const HREF = /\/partyline\/([A-Za-z0-9._:-]{1,64})$/

const NONE = new Map()

/** A link to a page that nobody has, or to which values are missing. */
export class LinkError extends Error {
  name = 'LinkError'
  code = 'ERR_PARTY_LINK'
}

/** What an application is to Caddy. Adapters give it requests, and the routes of a framework. */
export class Guest {
  #client
  #clients = new Map() // by the addresses that Caddys have named, the least recently used one first
  #isTold // whether the address to ask at is the operator's word
  #heard = new Map() // from headers Party-Ask that were believed to what they say
  #links = new Links(this)
  #services = new Map()
  #declared = new Map()
  #pages
  #routes = { count: () => 0, all: () => [], dialect: undefined }
  #isSaid = false
  #hasRefused = false

  /** @param {import('../index.js').PartyOptions} options */
  constructor({ key, keyFile, url, guest, fallback, logger = console, timeout } = {}, env = process.env) {
    const hasKey = key !== undefined || keyFile !== undefined
    this.log = new Log(logger)
    this.keys = new Keys([key ?? (hasKey ? '' : env.WSGI_PARTY_KEY) ?? ''].flat().join(' '), keyFile ?? (hasKey ? '' : env.WSGI_PARTY_KEY_FILE) ?? '', this.log)
    this.name = guest ?? env.WSGI_PARTY_GUEST ?? ''
    this.fallback = fallback
    this.timeout = timeout
    const address = url ?? env.WSGI_PARTY_URL ?? ''
    this.#isTold = address !== ''
    if (!this.#isTold) return
    if (!this.isEnabled) throw new TypeError('there is an address to ask at (WSGI_PARTY_URL), but no key (WSGI_PARTY_KEY or WSGI_PARTY_KEY_FILE)')
    this.#client = new Client(address, this.log, timeout)
  }

  /** Whether there is a party at all. Without a key an application works as without this package. */
  get isEnabled() {
    return this.keys.areSet
  }

  /** The request of this guest that is being handled, if there is one. */
  get request() {
    const request = current.getStore()
    return request?.guest === this ? request : undefined
  }

  /** @param {{count(): number, all(): import('./pages.js').Route[], dialect?: 'hono'}} routes of the framework */
  setRoutes(routes) {
    this.#routes = routes
  }

  /** Returns the request that begins, for whatever handles it to run in. */
  begin(method, url, headers, route, atEnd) {
    const request = new Request(this, method, url, headers, route, atEnd)
    const ask = headers['party-ask']
    if (ask !== undefined) request.line = this.#hear(ask)
    return request
  }

  /** Returns the version of the line that a Party-Ask says, '' for none. */
  #hear(header) {
    let heard = this.#heard.get(header)
    if (heard === undefined) {
      heard = this.#believe(header)
      if (heard === undefined) return ''
      if (this.#heard.size === MAX_HEARD) this.#heard.clear()
      this.#heard.set(header, heard)
    }
    if (!this.#isTold) this.#client = heard.client
    return heard.line
  }

  #believe(header) {
    const said = believed(header, this.keys.all) ?? (this.keys.refresh() ? believed(header, this.keys.all) : undefined)
    if (said === undefined) {
      if (this.keys.all.length === 0 || this.#isTold) return // which the keys have said, or does not matter
      if (!this.#hasRefused) this.log.warn('a Party-Ask that is not signed with the key (WSGI_PARTY_KEY) is ignored: the key differs from that of wsgi_party_guest in the Caddyfile, or a visitor sent the header')
      this.#hasRefused = true
      return
    }
    if (this.#isTold) return said
    const { address, line } = said
    let client
    try {
      client = this.#clients.get(address) ?? new Client(address, this.log, this.timeout)
    } catch (error) {
      this.log.once('warn', `a Party-Ask is ignored: ${error.message}`)
      return
    }
    this.#clients.delete(address)
    this.#clients.set(address, client)
    if (this.#clients.size > MAX_CLIENTS) this.#clients.delete(this.#clients.keys().next().value)
    return { client, line }
  }

  /** Whether a request may be one of Caddy's own, which answer has to see first. */
  isCaddys({ method, url, headers }) {
    const isInvite = method === 'GET' && acceptsManifest(headers.accept)
    if (headers['party-token'] !== undefined) return isInvite || HREF.test(pathOf(url))
    if (isInvite) {
      // Any visitor can send one like it: without the path, which would be another one each time.
      this.log.once('warn', `an invite from Caddy has no Party-Token and is left to the application: there is a key here, but none in the Caddyfile. Write it in wsgi_party_guest there, as in: key {env.${this.name.replace(/\W/g, '_').toUpperCase() || 'MY'}_PARTY_KEY}`)
    }
    return false
  }

  /**
   * Answers a request of Caddy's own, as its token proves or only says.
   * @param {Request} request
   * @param {AsyncIterable<Uint8Array> | import('node:stream').Readable} body
   * @returns {Promise<{status: number, headers: Record<string, string>, body: Uint8Array | string}>}
   */
  async answer(request, body) {
    const { method, url, headers } = request
    try {
      const claims = this.#verify(request)
      const service = HREF.exec(pathOf(url))?.[1]
      if (service === undefined) {
        checkBody(claims, '')
        return this.#manifest(below(claims.mnt, pathOf(url)).replace(/\/+$/, ''), headers['if-none-match'] ?? '')
      }
      const bytes = await read(body, MAX_REQUEST)
      if (bytes === undefined) return plain(413, { Connection: 'close' }) // for the rest of it is not read
      checkBody(claims, bytes)
      if (method !== 'POST') return plain(405, { Allow: 'POST' })
      return await this.#serve(service, request, bytes)
    } catch (error) {
      if (!(error instanceof InvalidTokenError)) throw error
      this.log.once('warn', `a Party-Token is refused: ${error.message}`)
      return plain(401, { 'WWW-Authenticate': 'Party-Token' }) // of which Caddy's log says that the keys may differ
    }
  }

  #verify({ method, url, headers }) {
    const verify = () => verifySignature(headers['party-token'], this.keys.all, { guest: this.name })
    let claims
    try {
      claims = verify()
    } catch (error) {
      if (!this.keys.refresh()) throw error
      claims = verify()
    }
    checkRequest(claims, method, url)
    return claims
  }

  #manifest(invite, known) {
    this.#pages = undefined // there may be new routes
    const { body, etag } = this.#tell(invite)
    const headers = { ETag: etag, 'Cache-Control': 'max-age=60' }
    if (known.includes(etag)) return { status: 304, headers, body: '' }
    return { status: 200, headers: { ...headers, 'Content-Type': MANIFEST, 'Content-Length': String(body.length) }, body }
  }

  #tell(invite) {
    const told = this.pages.manifest(this.#services, invite)
    if (!this.#isSaid) this.log.info(summary(told, this.#services.size))
    this.#isSaid = true
    return told
  }

  /** Says what the party is told, once, when the application has started. */
  say() {
    if (!this.#isSaid && this.isEnabled) this.#tell('/__invite__')
  }

  async #serve(service, request, bytes) {
    const { handler, isBatched } = this.#services.get(service) ?? {}
    if (!handler) return plain(404) // Caddy then asks for the manifest again.
    let asks
    try {
      asks = isBatched ? asksIn(bytes) : [{ payload: bytes.length > 0 ? decode(bytes) : null }]
    } catch {
      return plain(400)
    }
    const outcomes = await Promise.all(asks.map((ask) => current.run(isBatched ? request.forAsk(ask) : request, () => this.#outcome(service, handler, ask.payload))))
    if (isBatched) return json(`[${outcomes.map(elementOf).join(',')}]`)
    const [{ status, body }] = outcomes
    if (status === 200) return json(body)
    return status === 204 ? { status, headers: {}, body } : plain(status)
  }

  async #outcome(service, handler, payload) {
    try {
      const answer = await handler(payload)
      return answer === undefined ? { status: 204, body: '' } : { status: 200, body: encode('the answer', answer) }
    } catch (error) {
      this.log.error(`the handler of the service ${quote(service)} failed: ${error?.stack ?? error}`)
      return { status: 500, body: 'the handler failed, or its answer cannot be JSON: see its log' }
    }
  }

  /** Adds a service. */
  serve(name, handler, { batch = true } = {}) {
    if (!isName(name)) throw new TypeError(`the service ${quote(name)} needs a name of 1 to 64 letters, digits and ._:-`)
    if (typeof handler !== 'function') throw new TypeError(`the service ${name} needs a handler: write party.service('${name}', (payload) => …)`)
    if (this.#services.has(name)) throw new TypeError(`the service ${name} already has a handler`)
    if (this.#services.size === MAX_SERVICES) throw new RangeError(`a guest has at most ${MAX_SERVICES} services`)
    this.#services.set(name, { handler, isBatched: batch })
  }

  /** Adds a page. */
  declare(name, path) {
    if (!isName(name)) throw new TypeError(`the page ${quote(name)} needs a name of 1 to 64 letters, digits and ._:-`)
    if (path === undefined) return
    if (this.#declared.has(name)) throw new TypeError(`the page ${name} already has a path`)
    try {
      this.#declared.set(name, new Path(path, this.#routes.dialect))
    } catch (error) {
      if (!(error instanceof PathError)) throw error
      throw new TypeError(`the page ${name} cannot be at ${quote(path)}: ${error.message}, which no URI template can express. Write a path such as /posts/:slug, one for each page`)
    }
    this.#pages = undefined
  }

  /** The pages as they are known by now. */
  get pages() {
    const count = this.#routes.count()
    if (this.#pages?.count !== count) {
      this.#pages = Object.assign(new Pages(this.#declared, this.#routes.all(), this.#routes.dialect), { count })
    }
    return this.#pages
  }

  /** Returns the URL of a page, of this or any other guest. */
  async urlFor(name, values, fallback) {
    const { request } = this
    const own = this.pages.all.get(name) ?? (this.name && name.startsWith(`${this.name}:`) ? this.pages.all.get(name.slice(this.name.length + 1)) : undefined)
    try {
      if (own) return (this.isEnabled && request ? request.mount : '') + own.expand(values)
      const url = this.isEnabled ? await this.#links.find(request, name, values) : undefined
      if (url !== undefined) return url
      throw new TypeError(this.#client?.isUp ? 'nobody has such a page, or a value is missing' : 'this application has no such page, and the party cannot be asked')
    } catch (error) {
      if (!(error instanceof TypeError)) throw error
      if (fallback !== undefined) return fallback
      throw new LinkError(`there is no link to ${quote(name)}: ${error.message}`)
    }
  }

  /**
   * Returns the answers to each ask, none to what failed.
   * @param {{service: string, payload: string, first: boolean, guest?: string}[]} asks
   */
  async ask(asks, request = this.request) {
    return (await this.results(asks, request)).map(({ answers }) => answers)
  }

  /** Returns the answers to each ask, and the version of the line until which they are so, '' if not even so long. */
  async results(asks, request) {
    let results = await this.#ask(asks, request)
    // The keys may have been changed in their file.
    if (results.some((result) => result?.status === 401) && this.keys.refresh()) results = await this.#ask(asks, request)
    return asks.map(({ service }, i) => ({ answers: this.#answers(service, results[i]), line: results[i]?.line ?? '' }))
  }

  /**
   * Returns links that need not be asked for, by what would be asked; undefined if Caddy has to say first whether they
   * are still so. In an ask it counts who was asked before, so that there are none.
   */
  known(request) {
    if (!this.#client || request?.claims) return NONE
    return this.#client.kept.known(request?.line ?? '', request?.prefix ?? '')
  }

  /** Is known when Caddy has said so. One request asks it; to all others it is so meanwhile. */
  async checked(request) {
    const { kept } = this.#client
    const [key] = this.keys.all
    if (!kept.version || !key || !this.#client.isUp) return NONE
    if (!kept.isToBeChecked()) return kept.now(request?.prefix ?? '')
    await this.#client.check(key.toString('latin1'))
    return kept.known('', request?.prefix ?? '') ?? NONE
  }

  /** Keeps a link. */
  keep(request, line, payload, url) {
    if (line && !request?.claims) this.#client?.kept.keep(line, request?.prefix ?? '', payload, url)
  }

  async #ask(asks, request) {
    const [key] = this.keys.all
    if (!this.#client || !key) return []
    return this.#client.ask(asks, key.toString('latin1'), request?.askHeaders ?? {})
  }

  #answers(service, result) {
    if (result === undefined || result?.status === 404) return [] // nobody is asked for that
    for (const reply of Array.isArray(result?.replies) ? result.replies : []) {
      if (reply?.status === 'failed') this.log.once('warn', `guest ${quote(reply.guest)} failed to answer ${quote(service)}: ${quote(reply.error)}`)
    }
    if (Array.isArray(result?.answers)) return result.answers
    this.log.once('warn', `asking the party for ${quote(service)} failed: ${quote(JSON.stringify(result))}`)
    return []
  }
}

function plain(status, headers = {}) {
  return { status, headers: { ...headers, 'Content-Type': 'text/plain; charset=utf-8' }, body: `${status}\n` }
}

function json(body) {
  // As text Node sends it in one piece with the headers.
  return { status: 200, headers: { 'Content-Type': 'application/json', 'Content-Length': String(Buffer.byteLength(body)) }, body }
}

function acceptsManifest(accept) {
  return accept !== undefined && accept.includes(MANIFEST) && accept.split(',').some((type) => type.split(';')[0].trim() === MANIFEST)
}

function pathOf(url) {
  const at = url.indexOf('?')
  return at < 0 ? url : url.slice(0, at)
}
