// Copyright 2026 The wsgi_party Authors. SPDX-License-Identifier: Apache-2.0
//
// A Node application that links to pages of applications it knows nothing of, with
// nothing but Node. It says in a manifest what it answers for, and verifies that it is
// the party that asks.
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { createServer } from 'node:http'

const { WSGI_PARTY_KEY: key, WSGI_PARTY_URL: partyURL } = process.env
const pages = { index: '/', about: '/about-node' }
const links = ['flask', 'django', 'php', 'legacy', 'gopher'].flatMap((name) => [`${name}:index`, `${name}:about`])

// Whether the party sent this very request: its token is a JWT, signed with the key.
// Nothing in it is believed before the signature is right.
function isFromParty(request, body) {
  const [header, payload, signature] = (request.headers['party-token'] ?? '').split('.')
  const expected = createHmac('sha256', key).update(`${header}.${payload}`).digest()
  const given = Buffer.from(signature ?? '', 'base64url')
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return false
  const claims = JSON.parse(Buffer.from(payload, 'base64url'))
  return claims.aud === 'node' &&
    claims.exp + 30 > Date.now() / 1000 && // clocks may differ by half a minute
    claims.htm === request.method &&
    claims.htu === claims.mnt + request.url && // Caddy has taken the mount off the path
    claims.bsh === createHash('sha256').update(body).digest('base64url')
}

// What only the party is told: the manifest, and the answers of the service in it.
async function answerParty(request) {
  const body = Buffer.concat(await request.toArray())
  if (!isFromParty(request, body)) return [401, 'text/plain', 'Not signed with the key.']
  if (request.url === '/__invite__/ping') return [200, 'application/json', '"pong"']
  const manifest = { urls: pages, services: { ping: { href: '/__invite__/ping' } } }
  return [200, 'application/vnd.wsgi-party+json', JSON.stringify(manifest)]
}

// Asks the party all at once; returns the list of answers to each question.
async function ask(questions) {
  try {
    const response = await fetch(partyURL, {
      method: 'POST',
      headers: { 'Authorization': `Bearer ${key}`, 'Content-Type': 'application/json' },
      body: JSON.stringify(questions),
      signal: AbortSignal.timeout(5000),
    })
    return (await response.json()).map((result) => result.answers ?? [])
  } catch (error) { // a page without links is better than none
    console.error(error)
    return questions.map(() => [])
  }
}

const escape = (text) => text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt()};`)

async function showPage(request) {
  const name = Object.keys(pages).find((name) => pages[name] === request.url)
  if (!name) return [404, 'text/plain', 'No such page.']
  const mount = request.headers['x-forwarded-prefix'] ?? '' // from wsgi_party_guest, never a visitor
  const questions = links.map((link) => ({ service: 'url', payload: { name: link }, first: true }))
  const answers = await ask([...questions, { service: 'ping' }])
  const pongs = answers.pop()
  const urls = Object.entries(pages).map(([page, path]) => [`node:${page}`, mount + path])
  links.forEach((link, i) => urls.push([link, answers[i][0]]))
  return [200, 'text/html; charset=utf-8', `<!doctype html>
<title>node:${name}</title>
<h1>node:${name}</h1>
${urls.map(([link, url]) => url
    ? `<p><a href="${escape(url)}">${link}</a> is at ${escape(url)}</p>`
    : `<p>Where ${link} is, nobody knows.</p>`).join('\n')}
<p>Others who answer: ${pongs.length}</p>
`]
}

// Idle connections are kept for longer than Caddy keeps them, which is two minutes, so
// that none is closed at the moment it is used.
createServer({ keepAliveTimeout: 150_000 }, async (request, response) => {
  try {
    const serve = request.url.startsWith('/__invite__/') ? answerParty : showPage
    const [status, type, body] = await serve(request)
    response.writeHead(status, { 'Content-Type': type }).end(body)
  } catch (error) { // unhandled, it would end the process
    console.error(error)
    response.writeHead(500).end()
  }
}).listen(process.argv[2])
