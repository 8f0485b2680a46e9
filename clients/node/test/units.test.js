// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import assert from 'node:assert/strict'
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'

import { InvalidTokenError, party, verifyToken } from '../index.js'
import { believed, parseAddress } from '../lib/address.js'
import { decode, encode, quote } from '../lib/json.js'
import { Keys } from '../lib/keys.js'
import { Log } from '../lib/log.js'
import { Pages, summary } from '../lib/pages.js'
import { Path } from '../lib/paths.js'
import { clock, key, notes, partyAsk, socketPath } from './helper.js'

test('paths become templates', () => {
  const templates = {
    '/': '/', '': '/', '/posts/:slug': '/posts/{slug}', '/n/:a(\\d+)': '/n/{a}', '/:a-:b.:c': '/{a}-{b}.{c}', '*': '{/rest*}', '/f/*': '/f{/rest*}', '/f/*splat': '/f{/splat*}',
    '/a/:p(*)/edit': '/a{/p*}/edit', '/s{?q,page}': '/s{?q,page}', '/a b/ü/<">': '/a%20b/%C3%BC/%3C%22%3E', '/a%20b%': '/a%20b%25', '/at::x': '/at:x', '/\\:x\\+': '/:x+', '/:"a1"': '/{a1}', '/:$x:': undefined,
  }
  for (const [path, template] of Object.entries(templates)) if (template) assert.equal(new Path(path).template, template, path)
  assert.equal(new Path('/:x{[a-z]{2}}/:y{.+}', 'hono').template, '/{x}{/y*}')
  const refused = {
    'x': 'begin with one slash', '//x': 'begin with one slash', '/o{/:a}': 'an optional part', '/o/:a?': 'an optional part', '/ab?c': 'an optional part', '/ab*': 'not a whole segment', '/:a*': 'repeated', '/:a+': 'repeated',
    '/(a|b)': 'a pattern', '/c++': 'a pattern', '/:a(': 'without its end', '/:id/:id': 'two variables named id', '/:x/s{?x}': 'two variables', '/../x': '"." or ".."', '/%2e%2E/x': '"." or ".."', '/%252e%252e': '"." or ".."', '/a//b': 'two slashes',
    '/a\\\\b': 'backslash', '/a\nb': 'control', '/a%00': 'control', '/\ud800': 'surrogate', '/:größe': 'letters, digits and _', '/:$x': 'letters, digits and _', ['/:a'.repeat(1) + Array.from({ length: 64 }, (_, i) => `/:a${i}`).join('')]: 'more than 64',
  }
  for (const [path, why] of Object.entries(refused)) assert.throws(() => new Path(path), (error) => error.message.includes(why), path)
  assert.throws(() => new Path('/:user-id', 'hono'), /"user-id"/)
})

test('paths are expanded as Caddy does', () => {
  const expand = (path, values) => new Path(path).expand(values)
  assert.equal(expand('/p/:x', { x: "a/b?c#d'ü!" }), '/p/a%2Fb%3Fc%23d%27%C3%BC%21')
  assert.equal(expand('/p/*x', { x: ['a b', 'c/d', 7] }), '/p/a%20b/c%2Fd/7')
  assert.equal(expand('/p/:x{?q,r,s}', { x: 0, q: '', r: null, s: [1, 'b&c'] }), '/p/0?q=&s=1,b%26c')
  for (const bad of ['..', '.', '', 'a\\b', '%2e%2e', 'a/../b', '\n', '\ud800', null, undefined, {}, () => 1, [[]], [], '..;x']) assert.throws(() => expand('/p/:x/e', { x: bad }), TypeError, String(bad))
  assert.throws(() => expand('/:toString', {}), /toString is missing/)
  assert.throws(() => expand('/:__proto__', {}), /__proto__ is missing/)
  for (const [path, like, unlike] of [['/a.b/:x', '/a.b/c', '/aXb/c'], ['/f/*', '/f/a/b', '/f/'], ['*', '/a', '/'], ['/', '/', '/a'], ['/:a-:b/', '/c-d', '/c-d/e'], ['/\\*', '/*', '/a']]) {
    assert.deepEqual([new Path(path).matches(like), new Path(path).matches(unlike)], [true, false], path)
  }
})

test('a path or a value of a visitor takes no longer than its length', () => {
  const began = performance.now()
  assert.ok(!new Path('/:a-:b-:c-:d/e').matches(`/${'-'.repeat(16_000)}/f`))
  assert.ok(!new Path('/*a/b/*c/d/*e/f').matches(`x${'/b/d'.repeat(4_000)}`))
  assert.equal(new Path('/:x').expand({ x: `%${'25'.repeat(50_000)}` }).length, 100_004)
  assert.equal(new Path('/:x').expand({ x: `${'%3'.repeat(50_000)}5` }).length, 200_002)
  for (const value of [`%${'25'.repeat(1000)}2e`, '%2%65', '%25%32%65.', '%%32%65']) assert.throws(() => new Path('/:x').expand({ x: value }), /"\."/)
  assert.ok(performance.now() - began < 10_000, `it takes ${performance.now() - began} ms`)
})

test('a manifest has room for so much', () => {
  const declared = new Map(Array.from({ length: 5000 }, (_, i) => [`p${i}`, new Path('/')]))
  const { body, told, left } = new Pages(declared, []).manifest([['a', { isBatched: true }]], '')
  assert.deepEqual([told, left.length, Object.keys(JSON.parse(body).urls).length], [4096, 904, 4096])
  const long = new Pages(new Map(Array.from({ length: 300 }, (_, i) => [`p${i}`, new Path(`/${'x'.repeat(500)}`)])), []).manifest([], '')
  assert.ok(long.body.length <= 1 << 16 && long.body.length > 65000 && long.left.length > 0)
  const said = summary(long, 1)
  assert.match(said, /^tells the party 128 pages and 1 service, and leaves out "p128" \(a manifest has at most 4096 urls and 65536 bytes\), .*, and 152 more$/)
})

test('JSON that every parser accepts', () => {
  const deep = (n) => JSON.parse('['.repeat(n) + ']'.repeat(n))
  for (const good of [null, undefined, 'ä\u0000😀', '\\ud800', { a: [1, 2.5, true] }, deep(64), '['.repeat(100), Array.from({ length: 100 }, () => ({}))]) assert.deepEqual(JSON.parse(encode('x', good)), good ?? null)
  for (const bad of ['\ud800', { a: 'x\\\ud8ff' }, { '\udc00': 1 }, { 'a\0': 1 }, deep(65), 1n, () => 1, Symbol('x'), 'x'.repeat(1 << 20), (() => { const a = []; a.push(a); return a })()]) {
    assert.throws(() => encode('x', bad), /^TypeError: x cannot be JSON/)
  }
  const hostile = decode(Buffer.from('{"__proto__": {"a": 1}, "b": [{"\\u005f_proto__": {"a": 1}, "constructor": 2}]}'))
  assert.equal(Object.assign({}, hostile).a ?? Object.assign({}, hostile.b[0]).a, undefined)
  assert.equal(hostile.b[0].constructor, 2)
  for (const bad of ['', 'NaN', '{"a":1,}', "'a'", '\ufeff1', '1 2']) assert.throws(() => decode(Buffer.from(bad)), bad)
  assert.throws(() => decode(Buffer.from([0x22, 0xff, 0x22])), TypeError)
  assert.throws(() => { decode(Buffer.from('['.repeat(500_000))) })
  assert.equal(quote('a\n"\u2028\x7f'), '"a\\n\\"\\u2028\\u007f"')
})

test('the token of docs/guests.md', () => {
  const signature = 'Cda2rDo0Ob9uTJERznS7PkFUXKyvjQ047O5WWBHhujU'
  const token = `eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJhdWQiOiJibG9nIiwiaWF0IjoxNzk1MzUwMDAwLCJleHAiOjE3OTUzNTAwNjAsImp0aSI6IjVmMGMiLCJodG0iOiJQT1NUIiwiaHR1IjoiL2Jsb2cvX19pbnZpdGVfXy9yZW5kZXIvYSIsImJzaCI6Im84a09PM1JJMGoyZXJPdlE2X0ZjcmhBT0lmbXl4b2p6LWRJNDdjMG0xbjgiLCJtbnQiOiIvYmxvZyIsInBhdGgiOltbIiIsIm1lbnUiXSxbInNob3AiLCJyZW5kZXIiXV19.${signature}`
  const keys = ['0123456789abcdef0123456789abcdef']
  const request = { method: 'POST', url: '/__invite__/render/a', body: '{"id":7}', guest: 'blog', now: 1795350030 }
  assert.equal(verifyToken(token, keys, request).aud, 'blog')
  assert.equal(verifyToken(token, ['x'.repeat(32), ...keys], { ...request, url: '/blog/__invite__/render/%61' }).mnt, '/blog')
  for (const [change, why] of [[{ method: 'GET' }, 'method'], [{ url: '/x' }, 'path'], [{ url: '/__invite__/render/a?' }, undefined], [{ url: '/__invite__/render/a?b' }, 'query'], [{ body: '' }, 'body'], [{ guest: 'shop' }, 'guest'], [{ now: 1795349960 }, 'clocks'], [{ now: 1795350091 }, 'expired']]) {
    if (why) assert.throws(() => verifyToken(token, keys, { ...request, ...change }), (error) => error instanceof InvalidTokenError && error.message.includes(why) && !error.message.includes(keys[0]), why)
  }
  for (const bad of [undefined, '', '.', '..', 'a.b.c', token.slice(0, -1), `${token}=`, token.replace(signature, ''), `${token}.${signature}`]) assert.throws(() => verifyToken(bad, keys, request), InvalidTokenError)
  assert.throws(() => verifyToken(token, [], request), /no key/)
  assert.throws(() => verifyToken(token, ['', 'short'], request), /no key/)
})

test('a Party-Ask is believed only under a key', () => {
  const keys = [Buffer.from('x'.repeat(32)), Buffer.from(key)]
  const address = 'unix//run/party,1.sock'
  const good = partyAsk(address)
  const mac = good.split('; ')[1]
  for (const header of [good, `${address};${mac}`, `${address}; x=5; ${mac}; x`, `${address}; ${mac} ;y=a`]) assert.deepEqual(believed(header, keys), { address, line: '' }, header)
  const bad = [
    '', ';', address, mac, `${address}; mac=`, `${address}; MAC=x`, `${address}; ${mac}=`, `${address}; ${mac.slice(0, -1)}`, `${address}x; ${mac}`, `x; ${mac}`, `${address}; ${mac}; ${mac}`, `${good}, ${good}`, `${address}; x=1, ${good}`,
    partyAsk(address, ''), partyAsk(address, 'y'.repeat(32)), `${good}; x=${'y'.repeat(1024)}`, `${address}; ${mac}; x=\u00e4`, `${address}; ${mac}; x\n`,
  ]
  const withLine = partyAsk(address, key, 'a.1')
  assert.deepEqual(believed(withLine, keys), { address, line: 'a.1' })
  bad.push(withLine.replace('a.1', 'a.2'), withLine.replace(/; mac=.*/, ''), withLine.replace(/; line=a.1/, ''), `${withLine}; line=a.2`, withLine.slice(0, -1), `${good}; line=a.1`)
  for (const header of bad) assert.equal(believed(header, keys), undefined, header)
  assert.equal(believed(good, []), undefined)
})

test('addresses', () => {
  assert.deepEqual(parseAddress('unix//run/a.sock'), { socketPath: '/run/a.sock', host: 'localhost', path: '', tls: false })
  assert.deepEqual(parseAddress('http://[::1]:20/a/b/'), { host: '::1', port: '20', path: '/a/b', tls: false })
  assert.deepEqual(parseAddress('https://party.example'), { host: 'party.example', port: 443, path: '', tls: true })
  for (const bad of ['', 'unix/', 'localhost:20', 'ftp://a', 'file:///etc', 'http://', 'http://a:b@c', 'http://a/?b', 'http://a#b', '//a', 'javascript:x']) assert.throws(() => parseAddress(bad), /WSGI_PARTY_URL/, bad)
})

test('keys of a file that comes later, and changes', (t) => {
  const pass = clock(t)
  const { logger, said } = notes()
  const file = socketPath(t)
  const keys = new Keys('', file, new Log(logger))
  const all = () => keys.all.map(String)
  assert.deepEqual([keys.areSet, all(), said.map((line) => line.includes(`no key file ${file} (WSGI_PARTY_KEY_FILE) yet`))], [true, [], [true]])
  writeFileSync(file, ` ${key}\n\t${'x'.repeat(40)}\n`)
  assert.deepEqual(all(), [], 'it is read once a second')
  pass(1010)
  assert.deepEqual(all(), [key, 'x'.repeat(40)])
  writeFileSync(`${file}.new`, 'y'.repeat(32))
  renameSync(`${file}.new`, file)
  assert.equal(keys.refresh(), false)
  pass(1010)
  assert.deepEqual([keys.refresh(), all()], [true, ['y'.repeat(32)]])
  for (const [bad, why] of [['short', 'shorter than 32'], ['x'.repeat(1 << 16) + 'y', 'longer than 65536']]) {
    writeFileSync(file, bad)
    pass(1010)
    assert.equal(keys.refresh(), false)
    assert.deepEqual(all(), ['y'.repeat(32)], 'the last good ones stay')
    assert.ok(said.at(-1).includes(why), said.at(-1))
  }
  rmSync(file)
  assert.match(String(new Keys('', import.meta.dirname, new Log(logger)).all.length + said.at(-1)), /0warn .*not a file|0warn .*EISDIR/)
  assert.deepEqual(new Keys(`${key} ${'z'.repeat(32)}`, '', new Log(logger)).all.length, 2)
})

test('the environment, and options that win over it', async () => {
  process.env.WSGI_PARTY_KEY = 'short'
  try {
    assert.throws(() => party(), /WSGI_PARTY_KEY/)
    party(undefined, { key })
    party(undefined, { keyFile: '/nowhere' })
    process.env.WSGI_PARTY_KEY = ''
    process.env.WSGI_PARTY_URL = 'nonsense'
    assert.throws(() => party(undefined, { key }), /WSGI_PARTY_URL/)
    party(undefined, { url: '' })
  } finally {
    delete process.env.WSGI_PARTY_KEY
    delete process.env.WSGI_PARTY_URL
  }
})

test('the log is not filled', () => {
  const { logger, said } = notes()
  const log = new Log(logger)
  for (let i = 0; i < 5000; i++) log.once('warn', `text ${i % 3000}`)
  assert.equal(said.length, 1000)
  log.info('a route at /a\nb')
  log.warn('c\u2028\x1b[2Jd')
  assert.deepEqual(said.slice(1000), ['info wsgi-party: a route at /a b', 'warn wsgi-party: c [2Jd'])
})
