// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

/** How an application takes part. What is left out is read from the environment when the party is made. */
export interface PartyOptions {
  /** The keys of this guest, as in Caddy's `wsgi_party_guest { key … }`: the first one asks, all are accepted. Else `WSGI_PARTY_KEY`. */
  key?: string | readonly string[]
  /** A file that holds them, which Caddy may write later. Else `WSGI_PARTY_KEY_FILE`. */
  keyFile?: string
  /** Where to ask: `http://host:port/path`, https likewise, or `unix//run/party.sock`. Else `WSGI_PARTY_URL`, else what Caddy itself says. */
  url?: string
  /** The guest name that tokens have to be for. Else `WSGI_PARTY_GUEST`, else any. */
  guest?: string
  /** What `urlFor` returns for a link that nobody can make, such as `''`. Without it `urlFor` throws a LinkError. */
  fallback?: string
  /** What to log with: `console` if it is left out, in Fastify its own logger. */
  logger?: Logger
  /** Milliseconds that asking may take, from connecting to the last byte; 5000 if it is left out. */
  timeout?: number
}

/** What console, pino, winston and Fastify's logger all are. */
export interface Logger {
  info(message: string): void
  warn(message: string): void
  error(message: string): void
}

/** Values of a link: texts, numbers, or a list of these for a wildcard. What is null or undefined is left out. */
export type Values = Readonly<Record<string, Value | readonly Value[] | null | undefined>>
export type Value = string | number | bigint | boolean

/** What JSON can carry. */
export type JSONValue = string | number | boolean | null | readonly JSONValue[] | { readonly [name: string]: JSONValue | undefined }

/** A party, as one application sees it. */
export interface Party {
  /**
   * Names a route of Express or Hono: a handler to write among the others of that route.
   * @example app.get('/posts/:slug', party.page('post'), show)
   */
  page(name: string): (first: any, second: any, third?: any) => any
  /**
   * Declares a page that no route of the framework tells, or that has a query.
   * @param path as routes have it, `/posts/:slug`, and perhaps a query, `/search{?q,page}`
   * @throws TypeError if no URI template can say the path
   */
  page(name: string, path: string): this
  /**
   * Answers for a service.
   * @param handler gets the payload; it returns the answer, or undefined to decline, or a promise of these
   * @param options with `batch: false` Caddy asks for each answer by a request of its own, and not for up to 64 by one
   */
  service<Payload = any>(name: string, handler: (payload: Payload) => unknown, options?: { batch?: boolean | undefined }): this
  /**
   * Returns the URL of a page of this or any other application: `await party.urlFor('shop:cart', { id: 7 })`.
   * @throws LinkError if nobody can make it, unless there is a fallback
   */
  urlFor(name: string, values?: Values, options?: { fallback?: string | undefined }): Promise<string>
  /**
   * Returns the answers of all others, none if nobody has one or the party is not reached.
   * @param options with `guest` that one only is asked
   */
  ask<Answer = any>(service: string, payload?: unknown, options?: { guest?: string | undefined }): Promise<Answer[]>
  /**
   * Returns the first answer, or undefined if nobody has one.
   * @param options with `guest` that one only is asked
   */
  askFirst<Answer = any>(service: string, payload?: unknown, options?: { guest?: string | undefined }): Promise<Answer | undefined>
  /** What Caddy took off the path of the request that is being handled, such as `/blog`. */
  readonly mount: string
}

export declare const Party: { readonly prototype: Party }

/** What party() takes. Only the shape matters, so that no framework has to be installed for these types. */
export type Application =
  | ExpressApplication
  | HonoApplication
  | FastifyApplication
  | NodeServer

export interface ExpressApplication {
  (request: any, response: any, ...rest: any[]): unknown
  use: (...handlers: any[]) => unknown
  handle?: unknown
}

export interface HonoApplication {
  fetch: (request: any, ...rest: any[]) => unknown
  routes: readonly { path: string; method: string; handler: unknown }[]
}

export interface FastifyApplication {
  addHook: (...hook: any[]) => unknown
  decorate: unknown
}

export interface NodeServer {
  emit(event: string, ...values: any[]): boolean
  listen(...values: any[]): unknown
}

/**
 * Has an application take part in a party of Caddy's module wsgi_party.
 * @param app the application, before it has routes; none for a process that serves no requests. Called again with the same
 *   one, it returns the same party
 * @example const line = party(express())
 * @example await fastify.register(party)
 */
export declare function party(app?: Application, options?: PartyOptions): Party
export declare function party(app: FastifyApplication, options: PartyOptions, done: (error?: Error) => void): void
export default party

/** The claims of a Party-Token. */
export interface Claims {
  aud: string
  iat: number
  exp: number
  jti: string
  htm: string
  htu: string
  bsh: string
  mnt: string
  path?: [guest: string, service: string][]
}

/**
 * Returns the claims of a Party-Token if it proves that Caddy sent this very request.
 * @throws InvalidTokenError saying why, but nothing secret
 */
export declare function verifyToken(
  token: string | undefined,
  keys: readonly (string | Uint8Array)[],
  request: { method: string; url: string; body?: string | Uint8Array; guest?: string; now?: number },
): Claims

/** A Party-Token that does not prove that Caddy sent this request. */
export declare class InvalidTokenError extends Error {
  readonly code: 'ERR_INVALID_PARTY_TOKEN'
}

/** A link to a page that nobody has, or to which values are missing. */
export declare class LinkError extends Error {
  readonly code: 'ERR_PARTY_LINK'
}
