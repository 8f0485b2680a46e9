// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

const MAX_DEPTH = 64
export const MAX_BODY = 1 << 20 // bytes of a payload, an answer, or a batch of asks

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Returns the value that JSON is. Members named __proto__ are left out: who copies what came
 * from elsewhere into an object would change its prototype.
 * @param {Uint8Array} bytes
 * @throws {SyntaxError | TypeError | RangeError} if they are not JSON in UTF-8
 */
export function decode(bytes) {
  const text = utf8.decode(bytes)
  const isSuspect = text.includes('__proto__') || text.includes('\\u')
  return JSON.parse(text, isSuspect ? (name, value) => (name === '__proto__' ? undefined : value) : undefined)
}

/**
 * Returns a value as JSON that every parser accepts.
 * @param {string} what is encoded, for the error
 * @param {unknown} value
 * @param {(name: string, value: unknown) => unknown} [replacer] of JSON.stringify
 * @throws {TypeError} saying what JSON cannot carry
 */
export function encode(what, value, replacer) {
  let text
  try {
    text = JSON.stringify(value ?? null, replacer)
  } catch (error) {
    throw new TypeError(`${what} cannot be JSON: ${error.message}`)
  }
  const problem = text === undefined ? `a ${typeof value}` : problemOf(text)
  if (problem) throw new TypeError(`${what} cannot be JSON that every parser accepts: it is or has ${problem}`)
  return text
}

function problemOf(text) {
  if (text.length > MAX_BODY || Buffer.byteLength(text) > MAX_BODY) return `more than ${MAX_BODY} bytes`
  // JSON.stringify escapes only the halves of surrogate pairs that stand alone.
  if (/(?<!\\)(?:\\\\)*\\ud[89a-f]/.test(text)) return 'half of a surrogate pair'
  // Most texts have neither so many brackets nor a NUL, and are not looked at again.
  if (!text.includes('\\u0000') && !hasMany(text)) return
  return problemIn(JSON.parse(text), 0)
}

function hasMany(text) {
  let brackets = 0
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if ((c === 0x5b || c === 0x7b) && ++brackets > MAX_DEPTH) return true
  }
  return false
}

function problemIn(value, depth) {
  if (value === null || typeof value !== 'object') return
  if (depth === MAX_DEPTH) return `lists and objects more than ${MAX_DEPTH} deep in each other`
  for (const name of Object.keys(value)) {
    if (name.includes('\0')) return 'a name with a NUL'
    const problem = problemIn(value[name], depth + 1)
    if (problem) return problem
  }
}

/**
 * Returns the bytes of a body, or undefined if there are more than that.
 * @param {AsyncIterable<Uint8Array> | import('node:stream').Readable} body
 * @returns {Promise<Uint8Array | undefined>}
 */
export async function read(body, most = MAX_BODY) {
  if (typeof body.on === 'function') return readStream(body, most)
  const chunks = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.length
    if (size > most) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** Reads a stream of Node's, whose iterator would cost more than the rest of an answer. */
function readStream(stream, most) {
  return new Promise((resolve, reject) => {
    const chunks = []
    let size = 0
    const end = () => resolve(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks))
    const close = () => stream.readableEnded || reject(new Error('its body was cut off'))
    if (stream.readableEnded) return end()
    if (stream.destroyed) return close()
    stream.on('data', (chunk) => {
      size += chunk.length
      if (size <= most) chunks.push(chunk)
      else resolve() // what is still to come is let pass
    })
    stream.on('end', end).on('error', reject).on('close', close)
  })
}

/** Returns a text from elsewhere as it may stand in a log. */
export function quote(text) {
  const quoted = JSON.stringify((typeof text === 'string' ? text : (JSON.stringify(text) ?? typeof text)).slice(0, 200))
  return quoted.replace(/[\x7f-\x9f\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
