// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { resolve } from 'node:path'

import { MIN_KEY } from './token.js'

const MAX_FILE = 1 << 16
const PAUSE = 1000 // milliseconds between two looks at the file

/** The keys of a guest: those it was made with, and those of a file. */
export class Keys {
  #given
  #file
  #fromFile = []
  #readAt = -Infinity
  #log

  /**
   * @param {string} given keys, with whitespace between them
   * @param {string} file that holds more, or ''
   * @throws {RangeError} if a key is shorter than 32 bytes
   */
  constructor(given, file, log) {
    this.#given = parse(given)
    this.#file = file
    this.#log = log
    const short = this.#given.find(isShort)
    if (short) {
      throw new RangeError(`a key (WSGI_PARTY_KEY) has ${short.length} bytes, but needs at least ${MIN_KEY}: make one with "openssl rand -base64 32"`)
    }
  }

  /** Whether there is a key, or will be one. */
  get areSet() {
    return this.#given.length > 0 || this.#file !== ''
  }

  /** All keys, the one to sign and ask with first. Caddy may write the file after the application has started. */
  get all() {
    if (this.#file && this.#fromFile.length === 0) this.refresh()
    return this.#file ? [...this.#given, ...this.#fromFile] : this.#given
  }

  /** Reads the file again, at most once a second. Returns whether its keys are others. */
  refresh() {
    const now = performance.now()
    if (!this.#file || now - this.#readAt < PAUSE) return false
    this.#readAt = now
    const before = this.#fromFile
    try {
      const keys = parse(readFile(this.#file))
      if (keys.some(isShort)) throw new Error(`a key in it is shorter than ${MIN_KEY} bytes`)
      if (keys.length > 0) this.#fromFile = keys
    } catch (error) {
      if (error.code !== 'ENOENT') this.#log.once('warn', `cannot read the key file ${this.#file}: ${error.message}`)
      else if (before.length === 0) this.#log.once('warn', `there is no key file ${resolve(this.#file)} (WSGI_PARTY_KEY_FILE) yet: Caddy writes it where its wsgi_party_guest has "key auto" and that path`)
    }
    return before.length !== this.#fromFile.length || before.some((key, i) => !key.equals(this.#fromFile[i]))
  }
}

const isShort = (key) => key.length < MIN_KEY

function parse(text) {
  return text.split(/\s+/).filter(Boolean).map((key) => Buffer.from(key))
}

function readFile(path) {
  // A pipe or a device would have the process wait, or never end.
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    if (!fstatSync(file).isFile()) throw new Error('it is not a file')
    const buffer = Buffer.alloc(MAX_FILE + 1)
    const size = readSync(file, buffer)
    if (size > MAX_FILE) throw new Error(`it is longer than ${MAX_FILE} bytes`)
    return buffer.toString('utf8', 0, size)
  } finally {
    closeSync(file)
  }
}
