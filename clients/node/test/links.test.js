// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'

import { LinkError, party } from '../index.js'
import { applications, clock, endpoint, fetchFrom, framework, key, listen, notes, partyAsk, shop, socketPath } from './helper.js'

const names = Array.from({ length: 50 }, (_, i) => `shop:page${i}`)
const asked = ({ body }) => (Array.isArray(body) ? body.map(({ payload }) => payload) : [body])

for (const [name, application] of Object.entries(applications)) {
  test(`${name}: a page asks once for all links that it had the last time`, async (t) => {
    const { url, requests } = await endpoint(t, shop)
    let wanted = names
    const oneByOne = async (line) => {
      const links = []
      for (const name of wanted) links.push(await line.urlFor(name), await line.urlFor(name))
      return links
    }
    const { port } = await application(t, { key, url }, oneByOne)
    const view = async () => {
      requests.length = 0
      const links = JSON.parse((await fetchFrom(port, '/show')).text)
      assert.deepEqual(links, wanted.flatMap((name) => [`/shop/${name.slice(5)}/`, `/shop/${name.slice(5)}/`]))
      await sleep(5) // the response has ended
      return requests.map((request) => asked(request).length)
    }
    assert.deepEqual(await view(), names.map(() => 1), 'the first view asks for each link')
    assert.deepEqual(await view(), [50])
    assert.deepEqual(await view(), [50], 'answers are not kept for longer than a request')
    wanted = ['shop:other', ...names.slice(0, 10)]
    assert.deepEqual(await view(), [51], 'a new link goes with the others')
    assert.deepEqual(await view(), [11], 'what was not used is dropped')
    wanted = names.slice(0, 1)
    await view()
    assert.deepEqual(await view(), [1])
    assert.equal(requests[0].url, '/url?first')
  })
}

test('links made at once are one request, also outside a request', async (t) => {
  const path = socketPath(t)
  const { url, requests } = await endpoint(t, shop, path)
  const line = party(undefined, { key, url })
  assert.deepEqual(await Promise.all(names.map((name) => line.urlFor(name, { id: 1 }))), names.map((name) => `/shop/${name.slice(5)}/1`))
  assert.equal(requests.length, 1)
  assert.deepEqual(requests[0].body[7], { service: 'url', payload: { name: 'shop:page7', values: { id: 1 } }, first: true })
  const many = Array.from({ length: 600 }, (_, id) => line.urlFor('shop:x', { id }))
  assert.equal((await Promise.all(many))[599], '/shop/x/599')
  assert.deepEqual(requests.slice(1).map(({ body }) => body.length).sort(), [256, 256, 88].sort())
})

test('what is remembered has its bounds', async (t) => {
  const { url, requests } = await endpoint(t, shop)
  let run
  const { port, line } = await applications.http(t, { key, url }, () => run())
  run = () => Promise.all(Array.from({ length: 300 }, (_, id) => line.urlFor('shop:x', { id })))
  await fetchFrom(port, '/show')
  await sleep(5)
  requests.length = 0
  run = () => line.urlFor('shop:x', { id: 0 })
  await fetchFrom(port, '/show')
  assert.deepEqual(requests.map((request) => asked(request).length), [256])
  await sleep(5)
  run = () => line.urlFor('shop:x', { id: 'x'.repeat(2000) })
  await fetchFrom(port, '/show')
  await sleep(5)
  requests.length = 0
  run = () => line.urlFor('shop:y')
  await fetchFrom(port, '/show')
  assert.deepEqual(asked(requests[0]), [{ name: 'shop:y', values: {} }], 'long ones are not')
})

test('middleware has its links, and each page its own', async (t) => {
  const pages = (register, line, send) => {
    for (const page of ['a', 'b']) {
      register(`/${page}`, async (...context) => {
        for (let i = 0; i < 20; i++) await line.urlFor(`shop:${page}${i}`)
        return send(...context)
      })
    }
  }
  const { url, requests } = await endpoint(t, shop)
  const { Hono } = framework('hono')
  const hono = new Hono()
  pages((path, handler) => hono.get(path, handler), party(hono, { key, url }), (context) => context.text('page'))
  hono.get('*', (context) => context.text('all that is left'))
  const servers = [framework('@hono/node-server').createAdaptorServer({ fetch: hono.fetch })]
  for (const version of ['express4', 'express']) {
    const app = framework(version)()
    const line = party(app, { key, url })
    app.use((request, response, next) => line.urlFor('shop:nav').then(() => next(), next))
    pages((path, handler) => app.get(path, handler), line, (request, response) => response.send('page'))
    servers.push(createServer(app))
  }
  for (const server of servers) {
    const port = await listen(t, server)
    const view = async (path) => {
      requests.length = 0
      await fetchFrom(port, path)
      await sleep(5) // the response has ended
      return requests.flatMap((request) => asked(request)).filter(({ name }) => name !== 'shop:nav').length / requests.length
    }
    await view('/a')
    await view('/b')
    for (const path of ['/a', '/b', '/a']) assert.ok((await view(path)) >= 10, `${requests.length} requests`)
  }
})

test('what goes on after the response keeps no links, and one that goes on and on not all', async (t) => {
  const { url, requests } = await endpoint(t, ({ values }) => [`/${requests.length}/${values.id}`])
  let after
  const server = createServer(async (request, response) => {
    await line.urlFor('shop:x')
    if (request.url === '/on') return response.end(await goOn())
    response.end()
    after = new Promise((resolve) => response.once('close', resolve)).then(() => sleep(1)).then(async () => [await line.urlFor('shop:x'), await line.urlFor('shop:x')])
  })
  const line = party(server, { key, url })
  const port = await listen(t, server)
  await fetchFrom(port, '/')
  assert.deepEqual(await after, ['/2/undefined', '/3/undefined'])
  const goOn = async () => {
    const before = await line.urlFor('shop:x')
    await Promise.all(Array.from({ length: 5000 }, (_, id) => line.urlFor('shop:x', { id })))
    return String(before === (await line.urlFor('shop:x')))
  }
  assert.equal((await fetchFrom(port, '/on')).text, 'false', 'the link of before is known no more')
})

test('integers of any size', async (t) => {
  const { url, requests } = await endpoint(t, shop)
  const line = party(undefined, { key, url })
  assert.equal(await line.urlFor('shop:x', { id: 2n ** 64n, list: [1n] }), '/shop/x/18446744073709551616')
  assert.deepEqual(requests[0].body.values, { id: '18446744073709551616', list: ['1'] })
})

test('two views at once learn from each other\'s end only', async (t) => {
  const { url, requests } = await endpoint(t, shop)
  const { port } = await applications.express5(t, { key, url }, async (line) => {
    for (const name of names.slice(0, 5)) await line.urlFor(name)
    return []
  })
  await Promise.all([fetchFrom(port, '/show'), fetchFrom(port, '/show')])
  await sleep(5)
  requests.length = 0
  await Promise.all([fetchFrom(port, '/show'), fetchFrom(port, '/show'), fetchFrom(port, '/show')])
  assert.deepEqual(requests.map((request) => asked(request).length), [5, 5, 5])
})

test('own pages come first, and cost nothing', async (t) => {
  const { url, requests } = await endpoint(t, () => ['/wrong'])
  const { port } = await applications.express5(t, { key, url, guest: 'blog' }, async (line) => [await line.urlFor('post', { slug: 'a' }), await line.urlFor('blog:post', { slug: 'b' })])
  assert.deepEqual(JSON.parse((await fetchFrom(port, '/show')).text), ['/posts/a', '/posts/b'])
  assert.equal(requests.length, 0)
})

test('a link that nobody can make', async (t) => {
  const { url } = await endpoint(t, () => [])
  const { logger } = notes()
  const [line, empty, alone] = [party(undefined, { key, url }), party(undefined, { key, url, fallback: '' }), party(undefined, { key, logger })]
  await assert.rejects(line.urlFor('shop:cart'), (error) => error instanceof LinkError && error.code === 'ERR_PARTY_LINK' && error.message === 'there is no link to "shop:cart": nobody has such a page, or a value is missing')
  assert.equal(await empty.urlFor('shop:cart'), '')
  assert.equal(await line.urlFor('shop:cart', {}, { fallback: '#' }), '#')
  await assert.rejects(empty.urlFor('shop:cart', {}, { fallback: undefined }).then((link) => { throw new Error(`it is "${link}"`) }), /it is ""/)
  await assert.rejects(alone.urlFor('x'), /the party cannot be asked/)
  line.page('own', '/own/:id')
  await assert.rejects(line.urlFor('own'), /there is no link to "own": the value id is missing/)
  assert.equal(await line.urlFor('own', {}, { fallback: '' }), '')
  await assert.rejects(line.urlFor('x', { a: '\ud800' }), LinkError)
})

test('an answer that is not a link is none', async (t) => {
  const bad = ['', '//evil', '/\\evil', '\\\\evil', 'javascript:alert(1)', 'data:,x', 'http:/x', 'https://', 'http://a b', '/a\nb', '/a\u0000', '/"><script>', "/a b", 'x', '/\ud800', '/\u2028', 7, null, {}, ['/a'], true, 'http://[']
  const good = ['/', '/a?b=c&d#e', 'https://example.com/x', 'HTTP://a:1/', "/it's", '/größe']
  const { url } = await endpoint(t, ({ name }) => [[...bad, ...good][name.slice(1)]])
  const { logger, said } = notes()
  const line = party(undefined, { key, url, fallback: 'none', logger })
  const links = await Promise.all([...bad, ...good].map((_, i) => line.urlFor(`n${i}`)))
  assert.deepEqual(links, [...bad.map(() => 'none'), ...good])
  assert.equal(said.length, bad.length)
})

test('the address of a Party-Ask is remembered for the process, and may change', async (t) => {
  const [one, two] = [await endpoint(t, () => ['/one']), await endpoint(t, () => ['/two'])]
  const { logger, all } = notes()
  const { port, line } = await applications.fastify5(t, { key, logger }, (line) => line.urlFor('x').catch((error) => error.code))
  const show = async (header) => JSON.parse((await fetchFrom(port, '/show', { headers: header ? { 'Party-Ask': header } : {} })).text.replace(/^(?!")(.*)$/, '"$1"'))
  assert.equal(await show(), 'ERR_PARTY_LINK')
  assert.equal(await show(partyAsk(one.url)), '/one')
  assert.equal(await show(), '/one')
  assert.equal(await line.urlFor('y'), '/one')
  assert.equal(await show(partyAsk(two.url)), '/two')
  assert.equal(await show(partyAsk('ftp://x')), '/two')
  assert.match(all(), /a Party-Ask is ignored: the address/)
  const told = await applications.http(t, { key, url: one.url }, (line) => line.urlFor('x'))
  assert.equal(JSON.parse((await fetchFrom(told.port, '/show', { headers: { 'Party-Ask': partyAsk(two.url) } })).text), '/one', 'the operator\'s word wins')
})

test('several Caddys, each with an address of its own', async (t) => {
  const caddys = await Promise.all(['/one', '/two'].map((url) => endpoint(t, async () => (await sleep(20), [url]))))
  let connections = 0
  for (const { server } of caddys) server.on('connection', () => connections++)
  const { port } = await applications.http(t, { key, fallback: 'lost' }, (line) => line.urlFor('x'))
  const show = async (i) => (await fetchFrom(port, '/show', { headers: { 'Party-Ask': partyAsk(caddys[i % 2].url) } })).text
  for (let i = 0; i < 10; i++) assert.equal(await show(i), JSON.stringify(['/one', '/two'][i % 2]))
  assert.equal(connections, 2, 'connections are kept')
  const links = await Promise.all(Array.from({ length: 20 }, (_, i) => show(i)))
  assert.deepEqual(links.filter((link) => link === '"lost"'), [], 'another address ends no ask that is under way')
})

test('keys that Caddy has changed since, as it says', async (t) => {
  const pass = clock(t)
  const file = socketPath(t)
  const changed = 'x'.repeat(40)
  const first = notes()
  const { port } = await applications.http(t, { keyFile: file, logger: first.logger, fallback: '' }, (line) => line.urlFor('x'))
  await fetchFrom(port, '/show', { headers: { 'Party-Ask': partyAsk('http://127.0.0.1:1') } })
  assert.deepEqual(first.said.slice(1).map((line) => line.replace(/ there is no key file .*/, '')), ['warn wsgi-party:'], 'a key that is not there yet is no other one')
  writeFileSync(file, key)
  const asked = []
  const server = createServer((request, response) => {
    asked.push(request.headers.authorization)
    if (asked.at(-1) !== `Bearer ${changed}`) return response.writeHead(401, { 'Content-Type': 'application/problem+json' }).end('{"detail": "unknown key"}')
    response.setHeader('Content-Type', 'application/json').end('[{"answers": ["/a"]}, {"answers": ["/b"]}]')
  })
  const { logger, all } = notes()
  const line = party(undefined, { keyFile: file, url: `http://127.0.0.1:${await listen(t, server)}`, fallback: 'none', logger })
  const links = () => Promise.all([line.urlFor('a'), line.urlFor('b')])
  assert.deepEqual(await links(), ['none', 'none'])
  assert.match(all(), /asking the party for "url" failed: .*unknown key/)
  writeFileSync(file, changed)
  pass(1010) // it is read once a second
  assert.deepEqual(await links(), ['/a', '/b'])
  assert.equal(asked.length, 3)
})
