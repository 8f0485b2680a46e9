// Copyright 2026 The wsgi_party Authors. SPDX-License-Identifier: Apache-2.0
//
// A Node application that links to pages of applications it knows nothing of.
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { createServer } from 'node:http'

const { WSGI_PARTY_KEY: key = '', WSGI_PARTY_URL: partyURL } = process.env
// With a key that is not set, everybody could sign.
if (Buffer.byteLength(key) < 32) throw new Error('WSGI_PARTY_KEY has to be a key of 32 bytes or more')
const manifest = { urls: { index: '/', about: '/about-node' }, services: { ping: { href: '/__invite__/ping' } } }
const links = ['flask', 'django', 'php', 'legacy', 'gopher'].flatMap((name) => [`${name}:index`, `${name}:about`])

// Whether the party sent this very request: its token is a JWT, signed with the key.
function isFromParty({ method, url, headers }, body) {
  const [header, payload, signature = ''] = (headers['party-token'] ?? '').split('.')
  const signed = createHmac('sha256', key).update(`${header}.${payload}`).digest()
  const given = Buffer.from(signature, 'base64url')
  if (given.length !== signed.length || !timingSafeEqual(given, signed)) return false
  const { alg, crit } = JSON.parse(Buffer.from(header, 'base64url'))
  const { aud, iat, exp, htm, htu, mnt, bsh } = JSON.parse(Buffer.from(payload, 'base64url'))
  const now = Date.now() / 1000 // by a clock that may differ from Caddy's by half a minute
  const isNow = exp - iat >= 0 && exp - iat <= 60 && iat - 30 <= now && now - 30 < exp
  return alg === 'HS256' && !crit && isNow && aud === 'node' && htm === method && htu === mnt + url && bsh === createHash('sha256').update(body).digest('base64url')
}

// Asks the party all at once. A page without links is better than none.
async function ask(questions) {
  const request = { method: 'POST', headers: { Authorization: `Bearer ${key}` }, body: JSON.stringify(questions), signal: AbortSignal.timeout(5000) }
  const results = await fetch(partyURL, request).then((response) => response.json()).catch(console.error)
  return questions.map((_, i) => results?.[i]?.answers ?? [])
}

async function serve(request) {
  const { url, headers } = request
  if (url.startsWith('/__invite__/')) {
    if (!isFromParty(request, Buffer.concat(await request.toArray()))) return [401, 'text/plain', 'Not signed with the key.']
    return url === '/__invite__/ping' ? [200, 'application/json', '"pong"'] : [200, 'application/vnd.wsgi-party+json', JSON.stringify(manifest)]
  }
  const name = Object.keys(manifest.urls).find((name) => manifest.urls[name] === url)
  if (!name) return [404, 'text/plain', 'No such page.']
  const [pongs, ...answers] = await ask([{ service: 'ping' }, ...links.map((link) => ({ service: 'url', payload: { name: link }, first: true }))])
  const found = [...Object.entries(manifest.urls).map(([page, path]) => [`node:${page}`, (headers['x-forwarded-prefix'] ?? '') + path]), ...links.map((link, i) => [link, answers[i][0]])]
  const escape = (text) => text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt()};`)
  const lines = found.map(([link, at]) => at ? `<p><a href="${escape(at)}">${link}</a> is at ${escape(at)}</p>` : `<p>Where ${link} is, nobody knows.</p>`)
  return [200, 'text/html', `<!doctype html><title>node:${name}</title><h1>node:${name}</h1>${lines.join('\n')}<p>Others who answer: ${pongs.length}</p>`]
}

// Idle connections are kept for longer than Caddy keeps them, which is two minutes, so
// that none is closed at the moment it is used.
createServer({ keepAliveTimeout: 150_000 }, async (request, response) => {
  const [status, type, body] = await serve(request).catch((error) => [500, 'text/plain', console.error(error)])
  response.writeHead(status, { 'Content-Type': type }).end(body)
}).listen(process.argv[2])
