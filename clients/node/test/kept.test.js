// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'

import { party } from '../index.js'
import { Kept } from '../lib/kept.js'
import { applications, clock, endpoint, fetchFrom, key, partyAsk, shop, token } from './helper.js'

const names = Array.from({ length: 50 }, (_, i) => `shop:page${i}`)

for (const [name, application] of Object.entries(applications)) {
  test(`${name}: known links cost nothing until the line changes`, async (t) => {
    let moved = ''
    const { url, requests, line } = await endpoint(t, (payload) => shop(payload).map((link) => moved + link))
    Object.assign(line, { version: 'a.1', lasting: ({ name }) => name !== 'shop:own' })
    let wanted = names
    const { port } = await application(t, { key }, async (line) => {
      const links = []
      for (const name of wanted) links.push(await line.urlFor(name, {}, { fallback: 'none' }))
      return links
    })
    const view = async (said = line.version, headers = {}) => {
      requests.length = 0
      const { text } = await fetchFrom(port, '/show', { headers: { 'Party-Ask': partyAsk(url, key, said), ...headers } })
      await sleep(5)
      return [JSON.parse(text), requests.length]
    }
    const links = () => wanted.map((name) => `${moved}/shop/${name.slice(5)}/`)
    assert.deepEqual(await view(), [links(), 50])
    assert.deepEqual(await view(), [links(), 0])
    assert.deepEqual(await view('a.1', { 'X-Forwarded-Prefix': '/other' }), [links(), 1], 'with another prefix')
    moved = '/moved'
    assert.deepEqual((await view('a.1'))[1], 0)
    line.version = 'a.2'
    assert.deepEqual(await view(), [links(), 1])
    assert.equal(requests[0].body.length, 50)
    assert.deepEqual(await view(), [links(), 0])
    wanted = ['shop:own', 'nobody:x']
    await view()
    for (let i = 0; i < 2; i++) assert.deepEqual(await view(), [['/moved/shop/own/', 'none'], 1])
    assert.equal(requests[0].url, '/url?first', 'only what does not last')
  })
}

test('a version again costs one request a second', async (t) => {
  const { url, requests, line } = await endpoint(t, shop)
  Object.assign(line, { version: 'a.1', lasting: () => true })
  const { port } = await applications.http(t, { key }, (line) => line.urlFor('shop:x'))
  const view = (said) => fetchFrom(port, '/show', { headers: { 'Party-Ask': partyAsk(url, key, said) } })
  await view('a.1')
  line.version = 'a.2'
  await view('a.2')
  requests.length = 0
  const pass = clock(t)
  for (let i = 0; i < 50; i++) {
    pass(50)
    for (const said of ['a.1', 'a.2']) assert.equal(JSON.parse((await view(said)).text), '/shop/x/')
  }
  assert.ok(requests.length <= 3, `${requests.length} requests in 2.5 s`)
})

test('without requests Caddy is asked once a second whether it is still so', async (t) => {
  const { url, requests, line } = await endpoint(t, shop)
  Object.assign(line, { version: 'a.1', lasting: () => true })
  const pass = clock(t)
  const alone = party(undefined, { key, url })
  const view = async () => (await Promise.all([1, 2].map((id) => alone.urlFor('shop:x', { id })))).join()
  for (let i = 0; i < 3; i++) assert.equal(await view(), '/shop/x/1,/shop/x/2')
  assert.equal(requests.length, 1)
  pass(1100)
  for (let i = 0; i < 3; i++) assert.equal(await view(), '/shop/x/1,/shop/x/2')
  assert.equal(requests.length, 2)
  assert.equal(requests[1].headers['if-none-match'], '"a.1"')
  pass(1100)
  line.version = 'a.2'
  assert.equal(await view(), '/shop/x/1,/shop/x/2')
  assert.equal(requests.length, 4)
})

test('links are asked for while an ask is answered', async (t) => {
  const { url, requests, line } = await endpoint(t, shop)
  Object.assign(line, { version: 'a.1', lasting: () => true })
  const { port } = await applications.http(t, { key }, (line) => line.urlFor('shop:x'))
  const headers = { 'Party-Ask': partyAsk(url, key, 'a.1') }
  await fetchFrom(port, '/show', { headers })
  await fetchFrom(port, '/show', { headers })
  assert.equal(requests.length, 1)
  await fetchFrom(port, '/show', { headers: { ...headers, 'Party-Token': token('GET', '/show') } })
  assert.equal(requests.length, 2)
})

test('what is kept has its bounds, and does not go back', () => {
  const kept = new Kept()
  kept.hear('1')
  kept.hear('2')
  kept.keep('2', '', 'x', '/x')
  kept.keep('1', '', 'y', '/y')
  assert.deepEqual([...kept.known('1', '')], [['x', '/x']])
  kept.hear('1') // an answer that was under way
  assert.equal(kept.version, '2')
  for (let i = 0; i < 10_000; i++) kept.keep('2', String(i % 7), i, '/x')
  assert.ok([...Array(7).keys()].reduce((sum, prefix) => sum + kept.now(String(prefix)).size, 0) <= 4096)
  assert.equal(kept.known('3', '').size, 0)
  assert.equal(kept.version, '3')
})
