// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import { MAX_BODY, decode } from './json.js'

const MAX_ASKS = 64 // in one request
export const MAX_REQUEST = MAX_BODY + (1 << 14) // bytes: a payload, and the token beside it

// What can be sent on as a header.
const SENDABLE = /^[!-~]{1,8192}$/

/**
 * Returns what a request of Caddy's asks.
 * @param {Uint8Array} bytes
 * @returns {{payload: unknown, token?: string, traceparent?: string}[]}
 * @throws {SyntaxError | TypeError | RangeError} if it is not a list of 1 to 64 asks
 */
export function asksIn(bytes) {
  const batch = decode(bytes)
  if (!Array.isArray(batch) || batch.length === 0 || batch.length > MAX_ASKS) throw new TypeError(`not a list of 1 to ${MAX_ASKS} asks`)
  return batch.map((ask) => {
    if (ask === null || typeof ask !== 'object' || !Object.hasOwn(ask, 'payload')) throw new TypeError('an ask without a payload')
    const { payload, token, traceparent } = ask
    return { payload, token: sendable(token), traceparent: sendable(traceparent) }
  })
}

function sendable(text) {
  if (text !== undefined && typeof text !== 'string') throw new TypeError('a token or traceparent that is not text')
  return text !== undefined && SENDABLE.test(text) ? text : undefined
}

/**
 * Returns the element of an answer that says what became of an ask.
 * @param {{status: number, body: string}} outcome as if it had come alone; its body is JSON, or what went wrong
 */
export function elementOf({ status, body }) {
  if (status === 200) return `{"answer":${body}}`
  return status === 204 ? '{"declined":true}' : JSON.stringify({ error: body })
}
