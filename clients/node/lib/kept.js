// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

const MAX_KEPT = 4096 // links
const MAX_OUTDATED = 256 // versions
const GOOD_FOR = 1000 // milliseconds after Caddy has said it, a version is believed to be the line's
const NONE = new Map()

/** What one Caddy answered, and is so until the version of its line changes: somebody joins, leaves, or has other pages. */
export class Kept {
  /** The version, '' as long as none is known. */
  version = ''
  #said = -Infinity // when Caddy answered that it is the line's
  #byPrefix = new Map() // to links by what was asked
  #count = 0
  #outdated = new Set() // versions that are the line's no more, unless Caddy itself says so, the oldest first
  #checking = -Infinity // since when

  /**
   * Returns what is kept for a request, undefined if Caddy has to say first whether it is still so.
   * @param {string} line the version that the request has said, '' if there is none. An outdated one may be of a request that was under
   *   way when the line changed, or a visitor's who sends again what Caddy sent once.
   * @param {string} prefix
   * @returns {Map<string, string | undefined> | undefined}
   */
  known(line, prefix) {
    if (line && line !== this.version && !this.#outdated.has(line)) this.#turnTo(line)
    if (line !== this.version && performance.now() > this.#said + GOOD_FOR) return undefined
    return this.now(prefix)
  }

  /** Returns what was kept last, be it still so or not. */
  now(prefix) {
    return this.#byPrefix.get(prefix) ?? NONE
  }

  /** Whether Caddy is to be asked for its version, once in a second. */
  isToBeChecked() {
    const now = performance.now()
    if (now < this.#checking + GOOD_FOR) return false
    this.#checking = now
    return true
  }

  /** Takes note of the version that Caddy has answered with. */
  hear(version) {
    if (!version) return
    const now = performance.now()
    if (version !== this.version) {
      if (this.#outdated.has(version) && now < this.#said + GOOD_FOR) return // it was under way for longer than the answer that said so
      this.#turnTo(version)
    }
    this.#said = now
  }

  /** Keeps a link that came with an answer of this version. */
  keep(version, prefix, asked, url) {
    if (version !== this.version) return
    if (this.#count >= MAX_KEPT) {
      this.#byPrefix = new Map()
      this.#count = 0
    }
    let links = this.#byPrefix.get(prefix)
    if (!links) this.#byPrefix.set(prefix, (links = new Map()))
    links.set(asked, url)
    this.#count++
  }

  #turnTo(version) {
    if (this.version) this.#outdated.add(this.version)
    this.#outdated.delete(version)
    if (this.#outdated.size > MAX_OUTDATED) this.#outdated.delete(this.#outdated.keys().next().value)
    this.version = version
    this.#said = -Infinity
    this.#byPrefix = new Map()
    this.#count = 0
  }
}
