// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import { createHash, createHmac, randomUUID } from 'node:crypto'
import { createServer, request as send } from 'node:http'
import { createRequire } from 'node:module'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { party } from '../index.js'

for (const name of Object.keys(process.env)) if (name.startsWith('WSGI_PARTY_') && name !== 'WSGI_PARTY_TEST_MODULES') delete process.env[name]

const modules = process.env.WSGI_PARTY_TEST_MODULES ?? import.meta.dirname
/** Requires a framework from where it is installed: in this folder, by `npm install`, or where the variable says. */
export const framework = createRequire(join(modules, 'package.json'))

export const key = 'the-key-of-a-guest-in-these-tests'
export const MANIFEST = 'application/vnd.wsgi-party+json'

/** Returns a token as Caddy signs it for a request to the application, with other claims if they are given. */
export function token(method, url, body = '', { header = {}, signedWith = key, ...claims } = {}) {
  const now = Math.floor(Date.now() / 1000)
  const bsh = createHash('sha256').update(body).digest('base64url')
  const parts = [
    { alg: 'HS256', typ: 'JWT', ...header },
    { aud: 'guest', iat: now, exp: now + 60, jti: randomUUID(), htm: method, htu: `/mount${url}`, mnt: '/mount', bsh, path: [['', 'url']], ...claims },
  ]
  const signed = parts.map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
  return `${signed}.${createHmac('sha256', signedWith).update(signed).digest('base64url')}`
}

/** Returns a Party-Ask as Caddy sends it, with the version of the line if there is one. */
export function partyAsk(address, signedWith = key, line = '') {
  const mac = (text) => createHmac('sha256', signedWith).update(text).digest('base64url')
  const said = line ? `${address}; line=${line}` : address
  return `${said}; mac=${mac(`wsgi_party ask v1\0${said}`)}`
}

/** Sends a request, and returns what comes. */
export function fetchFrom(port, path, { method = 'GET', headers = {}, body, agent = false } = {}) {
  return new Promise((resolve, reject) => {
    const request = send({ port, path, method, headers, agent }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk) => (text += chunk)).on('error', reject)
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text }))
    })
    request.on('error', reject).end(body)
  })
}

/** Sends the invite as Caddy does. */
export function invite(port, { url = '/__invite__/', headers = {}, ...claims } = {}) {
  return fetchFrom(port, url, { headers: { Accept: MANIFEST, 'X-Forwarded-Prefix': '/mount', 'Party-Token': token('GET', url, '', claims), ...headers } })
}

/** Returns a batch of payloads, which are JSON, or lists of one and of what else its element has. */
export const batchOf = (...payloads) => `[${payloads.map((one) => { const [payload, more] = [one].flat(); return `{"payload":${payload}${Object.entries(more ?? {}).map(([name, value]) => `,"${name}":${JSON.stringify(value)}`).join('')}}` }).join(',')}]`

/** Asks a service for one thing, which is a batch of one, and returns what came as if it had come alone. */
export async function ask(port, service, payload, { element, sent, ...options } = {}) {
  const response = await askBatch(port, service, batchOf([payload, element]), { sent, ...options })
  if (response.status !== 200) return response
  const [[kind]] = JSON.parse(response.text).map(Object.keys)
  const status = { answer: 200, declined: 204, error: 500 }[kind]
  return { ...response, status, text: status === 200 ? response.text.slice('[{"answer":'.length, -'}]'.length) : response.text }
}

/** Asks a service as Caddy does. */
export function askBatch(port, service, body, { url = `/__invite__/partyline/${service}`, headers = {}, sent = body, agent, ...claims } = {}) {
  const all = { 'Content-Type': 'application/json', 'X-Forwarded-Prefix': '/mount', 'Party-Token': token('POST', url, body, claims), ...headers }
  return fetchFrom(port, url, { method: 'POST', headers: all, body: sent, agent })
}

/** Listens at a port that is free, as long as the test lasts. */
export async function listen(t, server, at = 0) {
  if (!server.listening) await new Promise((resolve) => (server.address() ? server.once('listening', resolve) : server.listen(at, resolve)))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return server.address().port ?? at
}

/** Returns a path for a socket. */
export function socketPath(t) {
  const dir = mkdtempSync(join(tmpdir(), 'party'))
  t.after(() => rmSync(dir, { recursive: true }))
  return join(dir, 'socket')
}

/**
 * Returns what stands where wsgi_party_ask does, and counts: each ask is answered by what the
 * function returns for it. `requests` are their paths, headers and bodies.
 */
export async function endpoint(t, answersTo, at) {
  const requests = []
  const line = { version: '', lasting: () => false }
  const server = createServer(async (request, response) => {
    if (line.version) response.setHeader('Party-Line', line.version)
    if (request.method === 'HEAD') {
      requests.push({ url: request.url, headers: request.headers })
      response.writeHead(request.headers['if-none-match'] === `"${line.version}"` ? 304 : 200).end()
      return
    }
    const body = JSON.parse(Buffer.concat(await request.toArray()))
    requests.push({ url: request.url, headers: request.headers, body })
    const resultOf = async (service, payload) => ({ answers: await answersTo(payload, service), replies: [], lasting: line.lasting(payload) })
    const [path] = request.url.split('?')
    const result = await (path === '/' ? Promise.all(body.map(({ service, payload }) => resultOf(service, payload))) : resultOf(path.slice(1), body))
    response.setHeader('Content-Type', 'application/json').end(JSON.stringify(result))
  })
  const port = await listen(t, server, at)
  return { url: typeof port === 'string' ? `unix/${port}` : `http://127.0.0.1:${port}`, requests, server, line }
}

/** Answers for pages of a guest "shop" that has a page for each name. */
export const shop = ({ name, values }) => (name.startsWith('shop:') ? [`/shop/${name.slice(5)}/${values.id ?? ''}`] : [])

/** Stops the clock that time is measured by, and returns a function that has so many milliseconds pass. */
export function clock(t) {
  let now = performance.now()
  t.mock.method(performance, 'now', () => now)
  return (milliseconds) => (now += milliseconds)
}

/** Returns a logger that keeps what was said. */
export function notes() {
  const said = []
  const logger = Object.fromEntries(['info', 'warn', 'error'].map((level) => [level, (text) => said.push(`${level} ${text}`)]))
  return { said, logger, all: () => said.join('\n') }
}

/**
 * The same application in each framework: pages home, post and item, a service echo and one that
 * declines, and a page that shows whatever the function returns.
 */
export const applications = {
  express4: (t, options, show) => inExpress(t, framework('express4'), options, show),
  express5: (t, options, show) => inExpress(t, framework('express'), options, show),
  fastify4: (t, options, show) => inFastify(t, framework('fastify4'), options, show),
  fastify5: (t, options, show) => inFastify(t, framework('fastify'), options, show),
  hono: inHono,
  http: inHTTP,
}

function withServices(line) {
  return line
    .service('echo', (payload) => payload)
    .service('decline', () => undefined)
    .service('fail', () => { throw new Error('secret') })
    .service('token', async () => line.askFirst('who'))
}

async function inExpress(t, express, options, show) {
  const app = express()
  const line = withServices(party(app, options))
  app.use(express.json())
  app.get('/', function home(request, response) { response.send('home') })
  app.get('/posts/:slug', line.page('post'), (request, response) => response.send(request.params.slug))
  const router = express.Router({ mergeParams: true })
  router.get('/items/:id', line.page('item'), (request, response) => response.send(`${request.baseUrl} ${request.originalUrl}`))
  app.use('/shelves/:shelf', router)
  app.get('/show', async (request, response) => response.json(await show(line)))
  app.post('/show', async (request, response) => response.json(await show(line, request.body)))
  const server = createServer(app)
  return { port: await listen(t, server), line, server }
}

async function inFastify(t, fastify, options, show) {
  const app = fastify()
  t.after(() => app.close())
  await app.register(party, options)
  withServices(app.party)
  app.get('/', async function home() { return 'home' })
  app.get('/posts/:slug', { config: { name: 'post' } }, async (request) => request.params.slug)
  app.register(async (inner) => {
    inner.get('/items/:id', { config: { name: 'item' } }, async (request) => `${app.party.mount} ${request.originalUrl}`)
  }, { prefix: '/shelves/:shelf' })
  app.get('/show', async () => show(app.party))
  app.post('/show', async (request) => show(app.party, request.body))
  await app.listen({ port: 0 })
  return { port: app.server.address().port, line: app.party, server: app.server }
}

async function inHono(t, options, show) {
  const { Hono } = framework('hono')
  const { createAdaptorServer } = framework('@hono/node-server')
  const app = new Hono()
  const line = withServices(party(app, options))
  app.get('/', function home(context) { return context.text('home') })
  app.get('/posts/:slug{[a-z]+}', line.page('post'), (context) => context.text(context.req.param('slug')))
  const shelf = new Hono()
  shelf.onError((error, context) => context.text(error.message))
  shelf.get('/items/:id', line.page('item'), (context) => context.text(`${line.mount} ${context.req.path}`))
  app.route('/shelves/:shelf', shelf)
  app.get('/show', async (context) => context.json(await show(line)))
  app.post('/show', async (context) => context.json(await show(line, await context.req.json())))
  const server = createAdaptorServer({ fetch: app.fetch })
  return { port: await listen(t, server), line, server }
}

async function inHTTP(t, options, show) {
  const server = createServer(async (request, response) => {
    if (request.url === '/show') {
      const body = Buffer.concat(await request.toArray())
      response.end(JSON.stringify(await show(line, body.length > 0 ? JSON.parse(body) : undefined)))
    } else response.writeHead(request.url === '/' ? 200 : 404).end('home')
  })
  const line = withServices(party(server, options))
  line.page('home', '/').page('post', '/posts/:slug').page('item', '/shelves/:shelf/items/:id')
  return { port: await listen(t, server), line, server }
}
