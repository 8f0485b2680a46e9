// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import assert from 'node:assert/strict'
import { Agent, createServer } from 'node:http'
import { createServer as createNetServer } from 'node:net'
import { test } from 'node:test'

import { party } from '../index.js'
import { MANIFEST, applications, ask, clock, endpoint, fetchFrom, framework, invite, key, listen, notes, partyAsk, token } from './helper.js'

const now = () => Math.floor(Date.now() / 1000)

// The server of Hono closes such a connection.
for (const [name, application] of Object.entries(applications).filter(([name]) => name !== 'hono')) {
  test(`${name} has a connection's next request answered after a body that is too long`, { timeout: 30_000 }, async (t) => {
    const { port } = await application(t, { key })
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    t.after(() => agent.destroy())
    const url = '/__invite__/partyline/echo'
    const body = JSON.stringify('x'.repeat(4 << 20))
    for (let i = 0; i < 3; i++) {
      const headers = { 'Content-Type': 'application/json', 'Party-Token': token('POST', url, body) }
      const long = await fetchFrom(port, url, { method: 'POST', headers, body, agent })
      assert.equal(long.status, 413)
      const next = await fetchFrom(port, '/__invite__/', { headers: { Accept: MANIFEST, 'Party-Token': token('GET', '/__invite__/') }, agent })
      assert.equal(next.status, 200)
    }
  })
}

for (const [name, application] of Object.entries(applications)) {
  test(`${name} refuses tokens that are not Caddy's for this request`, async (t) => {
    const { logger, all } = notes()
    let calls = 0
    const { port, line } = await application(t, { key, logger, guest: 'guest' })
    line.service('count', () => ++calls)
    const none = (url) => token('GET', url, '', { header: { alg: 'none' } }).replace(/[^.]*$/, '')
    const forged = {
      'another key': { signedWith: 'another-key-of-thirty-two-bytes!' }, 'an empty key': { signedWith: '' }, 'alg none': { header: { alg: 'none' } }, 'alg HS512': { header: { alg: 'HS512' } }, crit: { header: { crit: ['x'] } },
      'another guest': { aud: 'other' }, 'no guest': { aud: '' }, 'a guest that is a list': { aud: ['guest'] }, expired: { iat: now() - 120, exp: now() - 60 }, early: { iat: now() + 60, exp: now() + 120 }, 'too long': { exp: now() + 3600 }, 'negative': { exp: now() - 1 },
      'another method': { htm: 'PUT' }, 'another path': { htu: '/mount/__invite__/partyline/other' }, 'another query': { htu: '/mount/__invite__/?x' }, 'another body': { bsh: 'x' }, 'a mount that is none': { mnt: '//evil' }, 'times that are texts': { iat: String(now()), exp: String(now() + 60) }, 'no times': { iat: undefined },
    }
    for (const [what, claims] of Object.entries(forged)) {
      assert.equal((await invite(port, claims)).status, 401, what)
      assert.equal((await ask(port, 'count', '{}', claims)).status, 401, what)
    }
    const url = '/__invite__/'
    const get = (value) => fetchFrom(port, url, { headers: { Accept: MANIFEST, 'Party-Token': value } })
    const right = token('GET', url)
    for (const value of [none(url), '', '.', '..', 'x', '....', right.slice(0, -1), `${right}A`, right.toUpperCase(), `${right}, ${right}`, 'x'.repeat(8000), '\u00ff.\u00ff.\u00ff']) assert.equal((await get(value)).status, 401, value.slice(0, 30))
    assert.equal((await get('x')).headers['www-authenticate'], 'Party-Token')
    assert.equal((await get(right)).status, 200)
    // Replayed, with another body and at another service.
    const batch = '[{"payload":{"a":1}}]'
    const replayed = token('POST', '/__invite__/partyline/count', batch)
    const post = (path, body) => fetchFrom(port, path, { method: 'POST', headers: { 'Content-Type': 'application/json', 'Party-Token': replayed }, body })
    assert.equal((await post('/__invite__/partyline/count', batch.replace('1', '2'))).status, 401)
    assert.equal((await post('/__invite__/partyline/echo', batch)).status, 401)
    assert.equal(calls, 0)
    assert.equal((await post('/__invite__/partyline/count', batch)).status, 200)
    assert.ok(!all().includes(key))
  })

  test(`${name} sends its key nowhere a visitor says`, async (t) => {
    const connections = []
    const thief = createNetServer((socket) => { connections.push(socket.remoteAddress); socket.destroy() })
    await new Promise((resolve) => thief.listen(0, resolve))
    t.after(() => thief.close())
    const evil = `http://127.0.0.1:${thief.address().port}`
    const { url, requests } = await endpoint(t, () => ['/link'])
    const { logger, said } = notes()
    const { port } = await application(t, { key, logger }, (line) => line.urlFor('x', {}, { fallback: 'none' }))
    const show = async (headers) => (await fetchFrom(port, '/show', { headers })).text.replaceAll('"', '')
    const [, mac] = partyAsk(url).split('; ')
    const forged = [evil, `${evil}; mac=`, `${evil}; mac=x`, `${evil}; ${mac}`, partyAsk(evil, ''), partyAsk(evil, 'k'.repeat(32)), `${evil}; ${mac}; ${mac}`, [partyAsk(url), `${evil}; ${mac}`], [`${evil}; x`, partyAsk(url)], `${partyAsk(url)}; x=${'y'.repeat(1200)}`]
    for (const header of forged) assert.equal(await show({ 'Party-Ask': header }), 'none', String(header))
    assert.equal(await show({ 'Party-Ask': partyAsk(url) }), '/link')
    for (const header of forged) assert.equal(await show({ 'Party-Ask': header }), '/link', String(header))
    assert.deepEqual([connections, said.filter((line) => line.includes('Party-Ask')).length, requests.every(({ headers }) => headers.authorization === `Bearer ${key}`)], [[], 1, true])
  })
}

test('visitors do not fill the log, nor keep others from it', async (t) => {
  const { logger, said } = notes()
  const { port } = await applications.http(t, { key, logger })
  said.length = 0
  for (let i = 0; i < 20; i++) await fetchFrom(port, `/${i}`, { headers: { Accept: MANIFEST } })
  for (let i = 0; i < 20; i++) await fetchFrom(port, `/${i}`, { headers: { Accept: MANIFEST, 'Party-Token': `${i}` } })
  for (let i = 0; i < 20; i++) await fetchFrom(port, `/${i}`, { headers: { 'Party-Ask': `${i}; mac=${i}` } })
  assert.deepEqual(said.map((line) => line.replace(/ (is|has) .*/, '')), ["warn wsgi-party: an invite from Caddy", 'warn wsgi-party: a Party-Token', 'warn wsgi-party: a Party-Ask that'])
})

/** Starts what answers as the function says, which has a socket of its own for each request. */
async function hostile(t, respond) {
  const sockets = new Set()
  let requests = 0
  const server = createNetServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {}).once('data', () => { requests++; respond(socket) })
  })
  await new Promise((resolve) => server.listen(0, resolve))
  t.after(() => { sockets.forEach((socket) => socket.destroy()); server.close() })
  return { url: `http://127.0.0.1:${server.address().port}`, count: () => requests }
}

const head = (rest = '') => `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n${rest}\r\n`

/** Writes a text again and again, as fast as it is taken or with pauses. */
function pour(socket, text, pause = 0) {
  if (socket.destroyed) return
  if (pause) setTimeout(() => pour(socket, text, pause), pause)
  else setImmediate(() => (socket.writableNeedDrain ? socket.once('drain', () => pour(socket, text)) : pour(socket, text)))
  socket.write(text)
}

const answersOf = {
  'never': () => {},
  'one byte at a time': (socket) => { socket.write(head()); pour(socket, ' ', 50) },
  'headers without an end': (socket) => { socket.write('HTTP/1.1 200 OK\r\n'); pour(socket, 'X-Y: z\r\n') },
  'headers one by one': (socket) => { socket.write('HTTP/1.1 200 OK\r\n'); pour(socket, 'X', 50) },
  'interim responses without an end': (socket) => pour(socket, 'HTTP/1.1 103 Early Hints\r\n\r\n'),
  'a body without an end': (socket) => { socket.write(head()); pour(socket, ' '.repeat(65536)) },
  'chunks without an end': (socket) => { socket.write(head('Transfer-Encoding: chunked\r\n')); pour(socket, `4000\r\n${' '.repeat(0x4000)}\r\n`) },
  'half of a body': (socket) => socket.end(head('Content-Length: 100\r\n') + '{"answers":'),
  'nothing': (socket) => socket.destroy(),
  'no HTTP': (socket) => socket.end('SSH-2.0-OpenSSH\r\n\r\n'),
  'no JSON': (socket) => socket.end(head() + 'NaN'),
  'JSON that is too deep': (socket) => socket.end(head() + '['.repeat(1e6)),
  'no UTF-8': (socket) => socket.end(Buffer.concat([Buffer.from(head()), Buffer.from([0x22, 0xff, 0x22])])),
  'another protocol': (socket) => socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'),
  'a problem': (socket) => socket.end('HTTP/1.1 500 X\r\nContent-Type: application/problem+json\r\n\r\n{"detail": 7}'),
  'null': (socket) => socket.end(head() + 'null'),
  'a number': (socket) => socket.end(head() + '7'),
  'answers that are none': (socket) => socket.end(head() + '{"answers": {"length": 9}, "replies": 7}'),
  'replies that are none': (socket) => socket.end(head() + '{"replies": [null, 7, {"status": "failed", "guest": {"toString": 1}, "error": ["\\n"]}]}'),
}

test('whatever answers', { concurrency: true }, (t) => Promise.all(Object.entries(answersOf).map(([what, respond]) => t.test(what, async (t) => {
  const { url } = await hostile(t, respond)
  const { logger, said } = notes()
  const line = party(undefined, { key, url, fallback: 'none', timeout: 700, logger })
  const before = performance.now()
  assert.deepEqual(await line.ask('x'), [])
  assert.ok(performance.now() - before < 20_000, 'it takes too long')
  assert.equal(await line.askFirst('x'), undefined)
  assert.equal(await line.urlFor('x'), 'none')
  assert.ok(said.length >= 1 && said.every((line) => line.length < 500 && !/[\x00-\x1f]/.test(line) && !line.includes(key)), said.join('\n'))
}))))

test('a redirect is not followed', async (t) => {
  const { url, requests } = await endpoint(t, () => ['stolen'])
  for (const status of [301, 302, 307, 308]) {
    const at = await hostile(t, (socket) => socket.end(`HTTP/1.1 ${status} X\r\nLocation: ${url}\r\nContent-Length: 0\r\n\r\n`))
    assert.deepEqual(await party(undefined, { key, url: at.url, logger: notes().logger }).ask('x'), [])
  }
  assert.equal(requests.length, 0)
})

test('a proxy of the environment gets nothing', async (t) => {
  const { url } = await endpoint(t, () => ['answer'])
  const thief = await hostile(t, (socket) => socket.end(head() + '{"answers": ["stolen"]}'))
  for (const name of ['HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'NODE_USE_ENV_PROXY']) {
    process.env[name] = name === 'NODE_USE_ENV_PROXY' ? '1' : thief.url
    t.after(() => delete process.env[name])
  }
  assert.deepEqual(await party(undefined, { key, url }).ask('x'), ['answer'])
  assert.equal(thief.count(), 0)
})

test('names of elsewhere change no prototype', async (t) => {
  const server = createServer((request, response) => {
    response.setHeader('Content-Type', 'application/json').end('{"__proto__": {"answers": ["p"]}, "answers": [{"__proto__": {"polluted": 1}, "constructor": {"prototype": {"polluted": 1}}}]}')
  })
  const port = await listen(t, server)
  const line = party(undefined, { key, url: `http://127.0.0.1:${port}` })
  const [answer] = await line.ask('x')
  assert.equal(Object.assign({}, answer).polluted ?? {}.polluted, undefined)
  const { port: own, line: guest } = await applications.express5(t, { key })
  guest.service('merge', (payload) => [Object.assign({}, payload).polluted ?? null, {}.polluted ?? null, Object.keys(payload)])
  guest.service('__proto__', () => 'own').service('constructor', () => 'own')
  assert.equal((await ask(own, 'merge', '{"__proto__": {"polluted": 1}, "a": 1}')).text, '[null,null,["a"]]')
  const { services } = JSON.parse((await invite(own)).text)
  assert.deepEqual([Object.hasOwn(services, '__proto__'), Object.hasOwn(services, 'constructor'), Object.hasOwn(services, 'toString')], [true, true, false])
  assert.equal((await ask(own, '__proto__', 'null')).text, '"own"')
  assert.equal((await ask(own, 'toString', 'null')).status, 404)
  guest.page('__proto__', '/p').page('toString', '/t')
  assert.deepEqual([await guest.urlFor('__proto__'), await guest.urlFor('toString'), await guest.urlFor('hasOwnProperty', {}, { fallback: '' })], ['/p', '/t', ''])
  assert.ok(Object.hasOwn(JSON.parse((await invite(own)).text).urls, '__proto__'))
})

test('names of routes that JSON or HTML would break on', async (t) => {
  const { logger, all } = notes()
  assert.throws(() => party(undefined, { key }).page('</script>', '/'), TypeError)
  const fastify = framework('fastify')()
  t.after(() => fastify.close())
  await fastify.register(party, { key, logger })
  const names = ['</script><script>', '"', '\\', '\u2028', 'a b', 'ü', '\ud800', 'x'.repeat(65), '', '\n', 'ok-1.2:3_4', 7, {}, null]
  for (const [i, name] of names.entries()) fastify.get(`/p${i}`, { config: { name } }, async () => '')
  fastify.get('/<script>"\'', { config: { name: 'odd' } }, async () => '')
  await fastify.listen({ port: 0 })
  const { text } = await invite(fastify.server.address().port)
  assert.deepEqual(JSON.parse(text).urls, { 'ok-1.2:3_4': '/p10', odd: "/%3Cscript%3E%22'" })
  assert.doesNotMatch(text, /[<>\u2028\n]/)
  assert.doesNotMatch(all().replaceAll('\ninfo ', '').replaceAll('\nwarn ', ''), /[\n\u2028\ud800]/)
})

test('a party that is down fails fast, and is asked again', async (t) => {
  const pass = clock(t)
  const probe = await endpoint(t, () => ['x'])
  const port = new URL(probe.url).port
  const { logger, said } = notes()
  const line = party(undefined, { key, url: probe.url, fallback: 'none', logger })
  assert.deepEqual(await line.ask('a'), ['x'])
  probe.server.closeAllConnections()
  await new Promise((resolve) => probe.server.close(resolve))
  assert.deepEqual(await Promise.all(Array.from({ length: 20 }, () => line.ask('a'))), Array.from({ length: 20 }, () => []))
  assert.equal(said.length, 1, said.join('\n'))
  const again = await endpoint(t, () => ['x'], Number(port))
  for (let i = 0; i < 1000; i++) assert.equal(await line.urlFor('a'), 'none')
  assert.equal(again.requests.length, 0)
  pass(1000)
  assert.deepEqual(await line.ask('a'), ['x'])
  assert.match(said.at(-1), /reached again/)
})

test('a connection that was kept open and is closed as it is used is not a failure', async (t) => {
  let closes = false
  const server = createServer((request, response) => {
    if (closes && request.socket.used) return request.socket.destroy()
    request.socket.used = true
    response.setHeader('Content-Type', 'application/json').end('{"answers": ["x"]}')
  })
  const url = `http://127.0.0.1:${await listen(t, server)}`
  const { logger, said } = notes()
  const line = party(undefined, { key, url, logger })
  assert.deepEqual(await line.ask('a'), ['x'])
  closes = true
  assert.deepEqual([await line.ask('a'), said], [['x'], []])
})

test('asks as large as they may be', async (t) => {
  const { url, requests } = await endpoint(t, (payload) => [payload.length])
  const line = party(undefined, { key, url })
  assert.deepEqual(await line.ask('a', 'x'.repeat((1 << 20) - 2)), [(1 << 20) - 2])
  await assert.rejects(line.ask('a', 'x'.repeat(1 << 20)), /the payload cannot be JSON/)
  for (const bad of ['', '\ud800', 7, undefined]) await assert.rejects(line.ask(bad), TypeError)
  assert.deepEqual(await line.ask('a/../?b', 'x'), [1], 'a service of any name')
  assert.deepEqual(requests.map(({ url }) => url), ['/a', '/'])
})
