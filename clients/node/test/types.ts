// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// What tsc --strict has to accept, and, where it says so, refuse.
import { createServer } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import express from 'express'
import fastify from 'fastify'
import { Hono } from 'hono'
import party, { InvalidTokenError, LinkError, party as named, verifyToken, type Party, type PartyOptions } from 'wsgi-party'
import partyPlugin from 'wsgi-party/fastify'

const options: PartyOptions = { key: ['one', 'two'], keyFile: 'keys', url: 'unix//run/party.sock', guest: 'blog', fallback: '', logger: console, timeout: 1 }

const app = express()
const line: Party = party(app, options)
app.get('/posts/:slug', line.page('post'), (request, response) => { response.send(request.params.slug) })
line.page('search', '/search{?q}').page('home', '/').service('user', async ({ id }: { id: number }) => ({ id }))

const hono = new Hono<{ Variables: { user: string } }>()
const inHono = named(hono)
hono.get('/', inHono.page('home'), (context) => context.text(context.get('user')))

party(createServer((request, response) => response.end()))
party(createSecureServer())
party()

const instance = fastify({ logger: true })
await instance.register(partyPlugin, { key: 'k' })
await instance.register(party, { url: 'http://localhost' })
instance.get('/', { config: { name: 'home' } }, async () => instance.party.urlFor('shop:cart', { id: 7, tags: ['a', 2], none: null }))

const url: string = await line.urlFor('shop:cart', {}, { fallback: '' })
const names: string[] = await line.ask<string>('name')
const name: string | undefined = await line.askFirst('name', { id: 1 })
const prices: number[] = await line.ask<number>('price', { id: 1 }, { guest: 'shop' })
const mount: string = line.mount
const { aud } = verifyToken('token', ['key', new Uint8Array(32)], { method: 'GET', url: '/' })
console.log(url, prices, names, name, mount, aud, new LinkError('x').code === 'ERR_PARTY_LINK', new InvalidTokenError('y').message)

// @ts-expect-error: no application
party({})
// @ts-expect-error: no such option
party(app, { keys: 'x' })
// @ts-expect-error: no value of a link
line.urlFor('x', { a: {} })
