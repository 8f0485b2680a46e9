// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// A guest of the tests in Go: node guest.mjs FRAMEWORK NAME NEXT PORT. What it knows of the
// party is in its environment. It ends with its standard input.
import { createServer } from 'node:http'
import { createRequire } from 'node:module'

import { party } from 'wsgi-party'

const [, , frameworkName, name, next, port] = process.argv
const framework = createRequire(`${process.env.WSGI_PARTY_TEST_MODULES}/package.json`)

const views = {
  async links(line) {
    const links = []
    for (let i = 0; i < 50; i++) links.push(await line.urlFor(`${next}:post`, { slug: `p${i}` }))
    return links
  },
  own: async (line) => [await line.urlFor('post', { slug: 'a' }), await line.urlFor('home'), line.mount],
  names: (line) => line.ask('name'),
  nest: (line) => line.ask('nest', 0),
  first: (line) => line.askFirst('echo', { größe: [1, null, '<&>'] }),
  none: async (line) => [(await line.askFirst('decline')) ?? 'undefined', await line.ask('nothing'), await line.urlFor('nobody:x', {}, { fallback: 'none' })],
}

function serve(line) {
  line.service('name', () => name)
  line.service('echo', (payload) => payload)
  line.service('decline', () => undefined)
  line.service('nest', async (depth) => [name, ...(await line.ask('nest', depth + 1))])
  line.page('search', '/search{?q}')
}

const start = {
  async express4() {
    const app = framework('express4')()
    const line = party(app)
    app.get('/', function home(request, response) { response.send(`<a href="${request.baseUrl}/posts/a">`) })
    app.get('/posts/:slug', line.page('post'), (request, response) => response.send(request.params.slug))
    app.get('/view/:view', async (request, response, next) => views[request.params.view](line).then((value) => response.json(value), next))
    serve(line)
    app.listen(port)
  },
  async express5() {
    const express = framework('express')
    const app = express()
    const line = party(app)
    const posts = express.Router()
    posts.get('/:slug', line.page('post'), (request, response) => { response.send(request.params.slug) })
    app.use('/posts', posts)
    app.get('/', async function home(request, response) { response.send(`<a href="${await line.urlFor('post', { slug: 'a' })}">`) })
    app.get('/view/:view', async (request, response) => { response.json(await views[request.params.view](line)) })
    serve(line)
    app.listen(port)
  },
  fastify4: () => inFastify(framework('fastify4')),
  fastify5: () => inFastify(framework('fastify')),
  async hono() {
    const app = new (framework('hono').Hono)()
    const line = party(app)
    app.get('/', async function home(context) { return context.html(`<a href="${await line.urlFor('post', { slug: 'a' })}">`) })
    app.get('/posts/:slug{[a-z0-9]+}', line.page('post'), (context) => context.text(context.req.param('slug')))
    app.get('/view/:view', async (context) => context.json(await views[context.req.param('view')](line)))
    serve(line)
    framework('@hono/node-server').serve({ fetch: app.fetch, port })
  },
  async http() {
    const server = createServer(async (request, response) => {
      const [, first, second] = request.url.split('/')
      if (first === 'view') response.end(JSON.stringify(await views[second](line)))
      else if (first === 'posts') response.end(second)
      else response.writeHead(first ? 404 : 200, { 'Content-Type': 'text/html' }).end(`<a href="${await line.urlFor('post', { slug: 'a' })}">`)
    })
    const line = party(server)
    line.page('home', '/').page('post', '/posts/:slug')
    serve(line)
    server.listen(port)
  },
}

async function inFastify(fastify) {
  const app = fastify({ logger: { level: 'info' } })
  await app.register(party)
  app.get('/', async function home(request, reply) { return reply.type('text/html').send(`<a href="${await app.party.urlFor('post', { slug: 'a' })}">`) })
  app.get('/posts/:slug', { config: { name: 'post' } }, async (request) => request.params.slug)
  app.get('/view/:view', async (request) => views[request.params.view](app.party))
  serve(app.party)
  await app.listen({ port })
}

await start[frameworkName]()
process.stdin.resume().on('end', () => process.exit())
