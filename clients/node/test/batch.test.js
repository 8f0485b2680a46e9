// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { applications, askBatch, batchOf, endpoint, invite, key, notes, shop, token } from './helper.js'

const FAILED = { error: 'the handler failed, or its answer cannot be JSON: see its log' }

/** A handler that does with each payload something else. */
function some(payload) {
  if (payload === 'none') return undefined
  if (payload === 'fail') throw new Error('the password is swordfish')
  if (payload === 'reject') return Promise.reject(new Error('swordfish, too'))
  return payload === 'uncarried' ? { a: '\ud800' } : payload
}

for (const [name, application] of Object.entries(applications)) {
  test(`${name} answers several asks in one request`, async (t) => {
    const { logger, said } = notes()
    const { port, line } = await application(t, { key, logger })
    line.service('some', some)
    const batch = batchOf('"a"', '"none"', '"fail"', '{"b":[1]}', '"uncarried"', 'null', '"reject"')
    said.length = 0
    const response = await askBatch(port, 'some', batch)
    assert.deepEqual([response.status, response.headers['content-type']], [200, 'application/json'])
    assert.deepEqual(JSON.parse(response.text), [{ answer: 'a' }, { declined: true }, FAILED, { answer: { b: [1] } }, FAILED, { answer: null }, FAILED])
    assert.deepEqual(said.filter((line) => line.startsWith('error')).map((line) => line.match(/swordfish|surrogate/)[0]).sort(), ['surrogate', 'swordfish', 'swordfish'])
    const all = Array.from({ length: 64 }, (_, n) => n)
    assert.deepEqual(JSON.parse((await askBatch(port, 'some', batchOf(...all))).text), all.map((answer) => ({ answer })))
  })

  test(`${name} hands back the token of each ask of a batch`, async (t) => {
    const { url, requests } = await endpoint(t, (payload) => [payload])
    const { port, line } = await application(t, { key, url })
    line.service('relay', async (payload) => [await line.askFirst('x', payload), line.mount])
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    const batch = batchOf(['1', { token: 'a.b.c', traceparent }], '2', ['3', { token: 'd.e.f' }], ['4', { token: 'g\r\nh: i', traceparent: 'é' }])
    const { text } = await askBatch(port, 'relay', batch, { headers: { 'CDN-Loop': 'caddy' } })
    assert.deepEqual(JSON.parse(text), [1, 2, 3, 4].map((n) => ({ answer: [n, '/mount'] })))
    const asked = Object.fromEntries(requests.map(({ headers, body }) => [body, [headers['party-token'], headers.traceparent, headers['cdn-loop'], headers['x-forwarded-prefix']]]))
    assert.deepEqual(asked, { 1: ['a.b.c', traceparent, 'caddy', '/mount'], 2: [undefined, undefined, 'caddy', '/mount'], 3: ['d.e.f', undefined, 'caddy', '/mount'], 4: [undefined, undefined, 'caddy', '/mount'] })
  })
}

test('what is not a batch is 400, and its token is verified', async (t) => {
  const { logger } = notes()
  let calls = 0
  const { port, line } = await applications.http(t, { key, logger })
  line.service('count', () => ++calls)
  for (const body of ['', '[', 'null', '7', '{"payload":1}', '[]', '[1]', '[null]', '[{}]', '[[]]', '[{"token":"x"}]', '[{"payload":1,"token":1}]', '[{"payload":1,"traceparent":null}]', '[{"payload":NaN}]', '[{"payload":1},[]]', batchOf(...Array(65).fill(1))]) {
    assert.equal((await askBatch(port, 'count', body)).status, 400, body.slice(0, 30))
  }
  const url = '/__invite__/partyline/count'
  const batch = batchOf('1', ['2', { token: token('POST', url, batchOf('1')) }])
  for (const claims of [{ signedWith: 'another-key-of-thirty-two-bytes!' }, { sent: batch.replace('1', '3') }, { bsh: 'x' }]) {
    assert.equal((await askBatch(port, 'count', batch, claims)).status, 401)
  }
  assert.equal(calls, 0)
})

test('links of a full batch are asked for, without a warning of Node', async (t) => {
  const { url } = await endpoint(t, shop)
  const warnings = []
  const note = (warning) => warnings.push(warning)
  process.on('warning', note)
  t.after(() => process.off('warning', note))
  const { port, line } = await applications.http(t, { key, url })
  line.service('link', (id) => line.urlFor('shop:item', { id }))
  const { text } = await askBatch(port, 'link', batchOf(...Array(64).keys()))
  assert.deepEqual(JSON.parse(text), [...Array(64).keys()].map((n) => ({ answer: `/shop/item/${n}` })))
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(warnings, [])
})

test('a service that is asked one by one', async (t) => {
  const { logger } = notes()
  const { url, requests } = await endpoint(t, (payload) => [payload])
  const { port, line } = await applications.http(t, { key, logger, url })
  line.service('some', some, { batch: false }).service('relay', (payload) => line.askFirst('x', payload), { batch: false })
  assert.deepEqual(JSON.parse((await invite(port)).text).services.some, { href: '/__invite__/partyline/some' })
  for (const [payload, status, text] of [['"a"', 200, '"a"'], ['[{"payload":1}]', 200, '[{"payload":1}]'], ['', 200, 'null'], ['"none"', 204, ''], ['"fail"', 500, '500\n'], ['{', 400, '400\n']]) {
    const response = await askBatch(port, 'some', payload)
    assert.deepEqual([response.status, response.text], [status, text], payload)
  }
  await askBatch(port, 'relay', '7')
  assert.equal(requests[0].headers['party-token'].split('.').length, 3)
})
