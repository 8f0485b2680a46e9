// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import crypto, { createHash, createHmac, timingSafeEqual } from 'node:crypto'

export const MIN_KEY = 32 // bytes
const MAX_AGE = 60 // seconds
const LEEWAY = 30 // seconds that Caddy's clock may differ from this one's
const HEADER = Buffer.from('{"alg":"HS256","typ":"JWT"}').toString('base64url') // Caddy's
const MOUNT = /^(?:\/[^/\\?#\x00-\x20\x7f]+)*$/

/** A Party-Token that does not prove that Caddy sent this request. */
export class InvalidTokenError extends Error {
  name = 'InvalidTokenError'
  code = 'ERR_INVALID_PARTY_TOKEN'
}

/**
 * Returns the claims of a Party-Token if it proves that a holder of one of the keys sent this very
 * request, not longer ago than a token lives.
 *
 * @param {string} token value of the header Party-Token
 * @param {(string | Uint8Array)[]} keys what is shorter than 32 bytes is no key
 * @param {object} request
 * @param {string} request.method
 * @param {string} request.url path and query, escaped, with or without the mount
 * @param {Uint8Array | string} [request.body]
 * @param {string} [request.guest] the name that the token has to be for; with '', any
 * @param {number} [request.now] seconds since 1970
 * @throws {InvalidTokenError} saying why, but nothing secret
 */
export function verifyToken(token, keys, { method, url, body = '', guest = '', now }) {
  const claims = verifySignature(token, keys, { guest, now })
  checkRequest(claims, method, url)
  checkBody(claims, body)
  return claims
}

/** Verifies a token, whatever request it is for. */
export function verifySignature(token, keys, { guest = '', now = Date.now() / 1000 } = {}) {
  if (!token) throw new InvalidTokenError('there is none')
  const buffers = keys.map((key) => Buffer.from(key)).filter((key) => key.length >= MIN_KEY)
  if (buffers.length === 0) throw new InvalidTokenError(`there is no key of ${MIN_KEY} bytes or more to verify it with`)
  const end = token.lastIndexOf('.')
  const signed = token.slice(0, end)
  // Nothing of the token is parsed, or believed, before this.
  if (end < 0 || !isSigned(signed, token.slice(end + 1), buffers)) throw new InvalidTokenError('not signed with the key')
  const claims = claimsOf(signed)
  const { aud, iat, exp, mnt } = claims
  if (typeof aud !== 'string' || typeof mnt !== 'string' || typeof iat !== 'number' || typeof exp !== 'number') {
    throw new InvalidTokenError('malformed')
  }
  if (!MOUNT.test(mnt)) throw new InvalidTokenError('mnt is not a path')
  if (aud === '' || (guest && aud !== guest)) throw new InvalidTokenError('for another guest')
  if (!(exp - iat >= 0 && exp - iat <= MAX_AGE)) throw new InvalidTokenError('valid for too long')
  if (!(iat - LEEWAY <= now && now < exp + LEEWAY)) throw new InvalidTokenError('expired, or the clocks differ')
  return claims
}

export function checkRequest({ htm, htu, mnt }, method, url) {
  if (htm !== method) throw new InvalidTokenError('for another method')
  if (typeof htu !== 'string') throw new InvalidTokenError('malformed')
  const [sentPath, sentQuery] = cut(htu)
  const [path, query] = cut(url)
  const mount = unescape(mnt)
  if (below(mount, unescape(sentPath)) !== below(mount, unescape(path))) throw new InvalidTokenError('for another path')
  if (sentQuery !== query) throw new InvalidTokenError('for another query')
}

export function checkBody({ bsh }, body) {
  if (bsh !== sha256(body)) throw new InvalidTokenError('for another body')
}

// In one call, which Node has since 20.12.
const sha256 = crypto.hash
  ? (body) => crypto.hash('sha256', body, 'base64url')
  : (body) => createHash('sha256').update(body).digest('base64url')

/** Whether the text is the HMAC-SHA-256 of what is signed, in base64url, under one of the keys. */
export function isSigned(signed, text, keys) {
  const given = Buffer.from(text)
  let found = false
  for (const key of keys) {
    const digest = Buffer.from(createHmac('sha256', key).update(signed).digest('base64url'))
    if (digest.length === given.length && timingSafeEqual(digest, given)) found = true
  }
  return found
}

/** Returns the path without the mount, if it begins with it. */
export function below(mount, path) {
  return `${path}/`.startsWith(`${mount}/`) ? path.slice(mount.length) || '/' : path
}

function claimsOf(signed) {
  const [first, second, ...more] = signed.split('.')
  if (more.length > 0) throw new InvalidTokenError('malformed')
  if (first !== HEADER) {
    const { alg, crit } = parse(first)
    if (alg !== 'HS256' || crit !== undefined) throw new InvalidTokenError('not HS256')
  }
  return parse(second)
}

function parse(part) {
  try {
    const value = JSON.parse(Buffer.from(part, 'base64url').toString())
    if (value !== null && typeof value === 'object') return value
  } catch {}
  throw new InvalidTokenError('malformed')
}

function cut(url) {
  const at = url.indexOf('?')
  return at < 0 ? [url, ''] : [url.slice(0, at), url.slice(at + 1)]
}

/** Returns the bytes of an escaped path, each as a character. */
function unescape(path) {
  const bytes = /[^\x00-\x7f]/.test(path) ? Buffer.from(path).toString('latin1') : path
  return bytes.replace(/%([0-9a-fA-F]{2})/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)))
}
