// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

const MAX_SUBJECTS = 1000
const PAUSE = 60_000 // milliseconds

/** Says things in a logger's way: console's, Fastify's, pino's, winston's. */
export class Log {
  #logger
  #said = new Map()

  /** @param {{info(text: string): void, warn(text: string): void, error(text: string): void}} logger */
  constructor(logger) {
    this.#logger = logger
  }

  info(text) {
    this.#logger.info(oneLine(text))
  }

  warn(text) {
    this.#logger.warn(oneLine(text))
  }

  /** Says what failed, and where, in as many lines as that takes. */
  error(text) {
    this.#logger.error(`wsgi-party: ${text}`)
  }

  /** Says a text unless it said the same less than a minute ago; what others send cannot fill the log. */
  once(level, text) {
    const now = performance.now()
    if (now - (this.#said.get(text) ?? -Infinity) < PAUSE) return
    if (this.#said.size >= MAX_SUBJECTS) {
      for (const [subject, at] of this.#said) if (now - at >= PAUSE) this.#said.delete(subject)
      if (this.#said.size >= MAX_SUBJECTS) return
    }
    this.#said.set(text, now)
    this[level](text)
  }
}

/** Returns a text as one line, whatever others, or a route's path, have put in. */
function oneLine(text) {
  return `wsgi-party: ${text.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]+/g, ' ').trim()}`
}
