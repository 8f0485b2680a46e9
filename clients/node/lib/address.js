// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import { isSigned } from './token.js'

const MAX_HEADER = 1024

/**
 * Returns what a Party-Ask that Caddy has sent says, `<address>; line=<version>; mac=<m>`, or
 * undefined: whoever believed another one would send its key there. The version is '' if it says none.
 * @param {string} header several of that name are joined with a comma by Node
 * @param {Buffer[]} keys
 * @returns {{address: string, line: string} | undefined}
 */
export function believed(header, keys) {
  if (header.length > MAX_HEADER || /[^\x20-\x7e]|,\s/.test(header)) return
  const [address, ...parameters] = header.split(';').map((part) => part.trim())
  const said = (name) => {
    const values = parameters.filter((parameter) => parameter.startsWith(`${name}=`))
    return values.length === 1 ? values[0].slice(name.length + 1) : ''
  }
  const line = said('line')
  if (!isSigned(`wsgi_party ask v1\0${line ? `${address}; line=${line}` : address}`, said('mac'), keys)) return
  return { address, line }
}

/**
 * Returns what http.request needs to reach an address.
 * @param {string} address `http://host:port/path`, https likewise, or `unix//run/party.sock`
 * @throws {TypeError} if it is none of these
 */
export function parseAddress(address) {
  if (/^unix\/[^\s;]+$/.test(address)) return { socketPath: address.slice('unix/'.length), host: 'localhost', path: '', tls: false }
  const url = URL.canParse(address) ? new URL(address) : undefined
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password || url.search || url.hash) {
    throw new TypeError(`the address to ask at (WSGI_PARTY_URL) is ${JSON.stringify(address)}: write http://host:port/path, https://…, or unix//run/party.sock`)
  }
  const tls = url.protocol === 'https:'
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port || (tls ? 443 : 80), path: url.pathname.replace(/\/+$/, ''), tls }
}
