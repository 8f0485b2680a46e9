// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import assert from 'node:assert/strict'
import { Agent, createServer } from 'node:http'
import { test } from 'node:test'

import { party } from '../index.js'
import { MANIFEST, applications, ask, endpoint, fetchFrom, framework, invite, key, listen, notes, partyAsk, shop, token } from './helper.js'

for (const [name, application] of Object.entries(applications)) {
  test(`${name} tells its routes`, async (t) => {
    const { logger, said } = notes()
    const { port } = await application(t, { key, logger })
    const response = await invite(port)
    assert.equal(response.status, 200)
    assert.equal(response.headers['content-type'], MANIFEST)
    assert.equal(response.headers['cache-control'], 'max-age=60')
    const { urls, services } = JSON.parse(response.text)
    assert.deepEqual(urls, { home: '/', post: '/posts/{slug}', item: '/shelves/{shelf}/items/{id}' })
    assert.deepEqual(services.echo, { href: '/__invite__/partyline/echo', batch: true })
    const again = await invite(port, { headers: { 'If-None-Match': response.headers.etag } })
    assert.deepEqual([again.status, again.text], [304, ''])
    assert.deepEqual(said.filter((line) => line.startsWith('info')).map((line) => line.replace(/, and.*/, '')), ['info wsgi-party: tells the party 3 pages and 4 services'])
    assert.deepEqual(JSON.parse((await invite(port, { url: '/below/__invite__/' })).text).services.echo, { href: '/below/__invite__/partyline/echo', batch: true })
  })

  test(`${name} answers asks`, async (t) => {
    const { logger, all } = notes()
    const { port } = await application(t, { key, logger })
    const payload = '{"größe":[1,null,"<&>"]}'
    const answer = await ask(port, 'echo', payload)
    assert.deepEqual([answer.status, answer.headers['content-type'], answer.text], [200, 'application/json', payload])
    assert.equal((await ask(port, 'echo', '')).status, 400)
    assert.deepEqual((await ask(port, 'decline', 'null')).status, 204)
    const failed = await ask(port, 'fail', 'null')
    assert.equal(failed.status, 500)
    assert.doesNotMatch(failed.text, /secret/)
    assert.match(all(), /error .*"fail" failed: Error: secret/)
    assert.equal((await ask(port, 'nothing', 'null')).status, 404)
    assert.equal((await ask(port, 'echo', '{')).status, 400)
    assert.equal((await ask(port, 'echo', 'NaN')).status, 400)
    const url = '/__invite__/partyline/echo'
    assert.equal((await fetchFrom(port, url, { headers: { 'Party-Token': token('GET', url) } })).status, 405)
    const large = JSON.stringify('x'.repeat((1 << 20) - 2))
    assert.equal((await ask(port, 'echo', large, { element: { token: 'x'.repeat(8192) } })).status, 200)
    assert.equal((await ask(port, 'echo', large, { element: { token: 'x'.repeat(1 << 14) } })).status, 413)
    assert.equal((await ask(port, 'echo', large.slice(4))).status, 400)
    // The next request on the connection does not wait for a body that nobody reads.
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    assert.equal((await ask(port, 'echo', JSON.stringify('x'.repeat(3 << 20)), { agent })).status, 413)
    assert.equal((await fetchFrom(port, '/', { agent })).status, 200)
    agent.destroy()
  })

  test(`${name} links, under its mount`, async (t) => {
    const { url } = await endpoint(t, shop)
    const links = async (line) => [await line.urlFor('post', { slug: 'a b' }), await line.urlFor('item', { shelf: 1, id: 'x/y' }), await line.urlFor('home'), await line.urlFor('shop:cart', { id: 7 }), line.mount]
    const { port, line } = await application(t, { key }, links)
    const show = async (headers) => JSON.parse((await fetchFrom(port, '/show', { headers })).text)
    const mounted = { 'X-Forwarded-Prefix': '/mount', 'Party-Ask': partyAsk(url) }
    assert.deepEqual(await show(mounted), ['/mount/posts/a%20b', '/mount/shelves/1/items/x%2Fy', '/mount/', '/shop/cart/7', '/mount'])
    assert.deepEqual(await show({}), ['/posts/a%20b', '/shelves/1/items/x%2Fy', '/', '/shop/cart/7', ''])
    assert.equal(await line.urlFor('home'), '/')
    for (const bad of ['//evil', '/a b', '/a"', '/<', '/a/', 'a', '/mount, /mount']) assert.equal((await show({ 'X-Forwarded-Prefix': bad }))[4], '', bad)
  })

  test(`${name} keeps its request when it has read a body`, async (t) => {
    const { url } = await endpoint(t, shop)
    const { port } = await application(t, { key, url }, async (line, body) => [line.mount, body, await line.urlFor('shop:x')])
    const headers = { 'X-Forwarded-Prefix': '/mount', 'Content-Type': 'application/json' }
    assert.deepEqual(JSON.parse((await fetchFrom(port, '/show', { method: 'POST', headers, body: '{"a":1}' })).text), ['/mount', { a: 1 }, '/shop/x/'])
  })

  test(`${name} hands back the token while it answers`, async (t) => {
    const { url, requests } = await endpoint(t, () => ['somebody'])
    const { port, line } = await application(t, { key, url }, (line) => line.ask('who'))
    assert.equal((await ask(port, 'token', 'null', { headers: { 'CDN-Loop': 'a, b\u00ff' }, element: { token: 'a.b.c' } })).text, '"somebody"')
    const [{ headers, url: asked }] = requests
    assert.equal(asked, '/who?first')
    assert.equal(headers.authorization, `Bearer ${key}`)
    assert.equal(headers['x-forwarded-prefix'], '/mount')
    assert.match(headers['cdn-loop'], /^a, b\?+$/)
    assert.equal(headers['party-token'], 'a.b.c')
    await line.ask('who')
    assert.equal(requests[1].headers['party-token'], undefined)
    // A public page that is asked as a service has a token, too; a visitor's is none.
    for (const [given, isHandedBack] of [[token('GET', '/show'), true], [token('GET', '/show', '', { signedWith: 'x'.repeat(32) }), false]]) {
      requests.length = 0
      await fetchFrom(port, '/show', { headers: { 'Party-Token': given } })
      assert.equal(requests[0].headers['party-token'], isHandedBack ? given : undefined)
    }
  })

  test(`${name} works as without a party if there is no key`, async (t) => {
    const { logger, said } = notes()
    const { port } = await application(t, { logger }, async (line) => [await line.urlFor('post', { slug: 'a' }), line.mount, await line.ask('x'), await line.urlFor('shop:x').catch((error) => error.code)])
    assert.equal((await invite(port)).status, 404)
    assert.equal((await ask(port, 'echo', '{}')).status, 404)
    const headers = { 'X-Forwarded-Prefix': '/mount', 'Party-Ask': partyAsk('http://127.0.0.1:1') }
    assert.deepEqual(JSON.parse((await fetchFrom(port, '/show', { headers })).text), ['/posts/a', '', [], 'ERR_PARTY_LINK'])
    assert.deepEqual(said, [])
  })
}

for (const version of ['express4', 'express']) {
  test(`${version}: own links under the mount, never twice`, async (t) => {
    const express = framework(version)
    const app = express()
    party(app, { key })
    const outer = express()
    const router = express.Router()
    const show = (request, response) => response.send(`${request.baseUrl} ${request.originalUrl} ${request.url}`)
    router.get('/in', show)
    app.use('/router', router)
    app.get('/here', show)
    app.use('/files', express.static(import.meta.dirname + '/..'))
    outer.use('/outer', app)
    outer.use(show)
    const [port, outerPort] = [await listen(t, createServer(app)), await listen(t, createServer(outer))]
    const headers = { 'X-Forwarded-Prefix': '/mount' }
    const get = async (port, path) => (await fetchFrom(port, path, { headers })).text
    assert.equal(await get(port, '/here?x'), '/mount /mount/here?x /here?x')
    assert.equal(await get(port, '/router/in'), '/mount/router /mount/router/in /in')
    assert.equal((await fetchFrom(port, '/files/lib', { headers })).headers.location, '/mount/files/lib/')
    assert.equal(await get(outerPort, '/outer/here'), '/mount/outer /mount/outer/here /here')
    assert.equal(await get(outerPort, '/outer/nothing'), ' /outer/nothing /outer/nothing')
    const middleware = express()
    middleware.use((request, response, next) => {
      Object.assign(request, { baseUrl: '/mount', originalUrl: `/mount${request.originalUrl}` })
      app(request, response, next)
    })
    assert.equal(await get(await listen(t, createServer(middleware)), '/here'), '/mount /mount/here /here')
  })

  test(`${version}: routers in routers, applications in applications`, async (t) => {
    const express = framework(version)
    const { logger, all } = notes()
    const app = express()
    const line = party(app, { key, logger })
    const none = () => {}
    const [router, inner, sub, early] = [express.Router(), express.Router({ mergeParams: true }), express(), express.Router()]
    inner.get('/', function innerHome() {})
    inner.route('/both').post(none).get(function both() {})
    inner.post('/only-posted', function posted() {})
    router.use('/inner-a/:x', inner)
    sub.get('/page', line.page('sub.page'), none)
    sub.use('/again', express.Router().get('/x', function again() {}))
    app.use('/router', none, [router, none])
    app.use('/sub', sub)
    app.use(['/one', '/two'], express.Router().get('/z', function either() {}))
    app.get(['/p', '/q/:y'], function pq() {})
    app.all('/all', function all() {})
    app.get('/same', none)
    app.get(/^\/rx/, function rx() {})
    app.use(early)
    early.get('/early', function early() {})
    app.get('/dup', function dup() {})
    app.get('/dup2', function dup() {})
    const twice = function twice() {}
    app.get('/twice', twice)
    app.get('/twice2', twice)
    app.get(version === 'express4' ? '/optional/:a?' : '/optional{/:a}', function optional() {})
    app.get('/id/:id', version === 'express4' ? function anonymous() {} : () => {})
    app.get(version === 'express4' ? '/files/*' : '/files/*rest', function files() {})
    line.page('search', '/search{?q,page}')
    const { urls } = JSON.parse((await invite(await listen(t, createServer(app)))).text)
    assert.deepEqual(urls, {
      search: '/search{?q,page}', innerHome: '/router/inner-a/{x}', both: '/router/inner-a/{x}/both', 'sub.page': '/sub/page', again: '/sub/again/x', either: '/one/z',
      pq: '/p', all: '/all', none: '/same', early: '/early', twice: '/twice', files: '/files{/rest*}',
    })
    for (const said of ['12 pages', '"rx" at /^\\/rx/ (its path is a regular expression)', '"dup" at /dup2 (another route has that name)', '"twice" at /twice2 (its handler already has a path)', '"optional" at /optional', '(it has an optional part)', '/id/:id (no name)']) {
      assert.ok(all().includes(said), `${said} is not in ${all()}`)
    }
  })
}

test('express 5 with a router that does not tell its path', async (t) => {
  const express = framework('express')
  const { logger, all } = notes()
  const Router = framework('router22')
  const app = express()
  Object.defineProperty(app, 'router', { value: new Router() }) // as Express 5.0 to 5.2 have it
  party(app, { key, logger })
  const [outer, inner] = [new Router(), new Router()]
  outer.get('/told', function told() {})
  inner.get('/lost', function lost() {})
  outer.use('/inner', inner)
  app.use('/outer', outer)
  const { urls } = JSON.parse((await invite(await listen(t, createServer(app)))).text)
  assert.deepEqual(urls, { told: '/outer/told' })
  assert.match(all(), /"lost" at \/lost \(where its router is mounted cannot be read: .*router to 2\.3\)/)
})

for (const version of ['fastify4', 'fastify']) {
  test(`${version}: registered without await, routes of plugins are told`, async (t) => {
    const { logger, all } = notes()
    const app = framework(version)()
    t.after(() => app.close())
    app.register(party, { key, logger })
    app.get('/missed', async function missed() {})
    app.register(async (inner) => inner.get('/:id(^\\d+)/*', async function told() {}), { prefix: '/inner' })
    await app.listen({ port: 0 })
    const { urls } = JSON.parse((await invite(app.server.address().port)).text)
    assert.deepEqual(urls, { told: '/inner/{id}{/rest*}' })
    assert.match(all(), /warn .*await fastify.register\(party\)/)
  })

  test(`${version}: registered in a plugin, it is a guest below its prefix`, async (t) => {
    for (const prefix of ['', '/blog']) {
      const { logger, said } = notes()
      const app = framework(version)()
      t.after(() => app.close())
      app.register(async (inner) => {
        await inner.register(party, { key, logger })
        inner.party.service('echo', (payload) => payload)
        inner.get('/p', async function page() { return '' })
      }, { prefix })
      app.get('/*', async () => 'all that is left')
      await app.listen({ port: 0 })
      const { port } = app.server.address()
      const url = `${prefix}/__invite__/partyline/echo`
      assert.deepEqual(JSON.parse((await invite(port, { url: `${prefix}/__invite__/` })).text), { urls: { page: `${prefix}/p` }, services: { echo: { href: url, batch: true } } })
      assert.equal((await ask(port, 'echo', '7', { url })).text, '7')
      for (const type of ['application/json', 'text/odd']) assert.equal((await ask(port, 'echo', '7', { url, sent: '{', headers: { 'Content-Type': type } })).status, 401)
      assert.equal((await fetchFrom(port, `${prefix}/__invite__/`)).status, 404)
      assert.deepEqual(said.filter((line) => !line.includes('refused')), ['info wsgi-party: tells the party 1 page and 1 service'])
    }
  })

  test(`${version}: what is wrong with the options is an error of register`, async (t) => {
    const app = framework(version)()
    t.after(() => app.close().catch(() => {}))
    await assert.rejects(async () => app.register(party, { key: 'short' }), /5 bytes, but needs at least 32/)
  })

  test(`${version}: party(app) and hooks of replies`, async (t) => {
    const app = framework(version)({ rewriteUrl: (request) => request.url.replace('/old', '/new') })
    t.after(() => app.close())
    const line = party(app, { key })
    app.get('/new', async function page(request) { return request.originalUrl })
    app.route({ method: 'GET', url: '/option', handler: async () => '' })
    app.addHook('onSend', async (request, reply) => { reply.header('X-Hook', 'seen') })
    await app.listen({ port: 0 })
    const { port } = app.server.address()
    const response = await invite(port)
    assert.deepEqual([JSON.parse(response.text).urls, response.headers['x-hook'], app.party], [{ page: '/new' }, 'seen', line])
    assert.equal((await fetchFrom(port, '/old', { headers: { 'X-Forwarded-Prefix': '/mount' } })).text, '/mount/old')
    assert.equal((await app.inject({ url: '/new' })).body, '/new')
  })
}

test('hono without Node\'s server, and its app.request', async (t) => {
  const { url, requests } = await endpoint(t, shop)
  const { Hono } = framework('hono')
  const app = new Hono().basePath('/base')
  const line = party(app, { key, url })
  app.use('*', async (context, next) => next())
  app.get('/a/:x?', function optional(context) { return context.text('') })
  app.get('/b', async function b(context) { return context.text(await line.urlFor('shop:x')) })
  for (let i = 0; i < 2; i++) {
    const response = await app.request('http://localhost/base/b', { headers: { 'Party-Token': token('GET', '/base/b') } })
    assert.equal(await response.text(), '/shop/x/')
  }
  assert.ok(requests.every(({ headers }) => headers['party-token']))
  const invited = await app.request('/__invite__/', { headers: { Accept: MANIFEST, 'Party-Token': token('GET', '/__invite__/') } })
  assert.deepEqual((await invited.json()).urls, { b: '/base/b' })
})

test('a second party(app) is the first one', async () => {
  for (const app of [framework('express')(), framework('express4')(), new (framework('hono').Hono)(), createServer(), framework('fastify')()]) {
    const line = party(app, { key })
    assert.equal(party(app), line)
    assert.throws(() => party(app, { key }), /write its options where party\(app, options\) is called first/)
  }
  assert.notEqual(party(), party())
})

for (const [name, application] of Object.entries(applications)) {
  test(`${name} keeps idle connections for longer than Caddy from the first request on`, async (t) => {
    for (const [options, given, kept] of [[{ key }, 5000, 150_000], [{ key }, 0, 0], [{ key }, 200_000, 200_000], [{}, 5000, 5000]]) {
      const { port, server } = await application(t, options)
      server.keepAliveTimeout = given
      await fetchFrom(port, '/')
      assert.equal(server.keepAliveTimeout, kept)
    }
  })
}

test('what is not an application is refused', () => {
  for (const bad of [{}, 7, () => {}]) assert.throws(() => party(bad, { key }), /party\(createServer\(handler\)\)/)
  assert.throws(() => party(undefined, { key: 'short' }), /5 bytes, but needs at least 32/)
  assert.throws(() => party(undefined, { url: 'http://localhost' }), /no key/)
  assert.throws(() => party(undefined, { key, url: 'ftp://localhost' }), /http:\/\/host:port\/path/)
  const line = party(undefined, { key })
  assert.throws(() => line.page('a b', '/'), /letters, digits/)
  assert.throws(() => line.page('a', '/x{/:y}'), /the page a cannot be at "\/x\{\/:y\}": it has an optional part/)
  line.page('a', '/')
  assert.throws(() => line.page('a', '/b'), /already has a path/)
  assert.throws(() => line.service('a/b', () => 1), /letters, digits/)
  assert.throws(() => line.service('a', 1), /needs a handler/)
  line.service('a', () => 1)
  assert.throws(() => line.service('a', () => 1), /already has a handler/)
})
