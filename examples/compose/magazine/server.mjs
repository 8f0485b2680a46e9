// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0
// A magazine in Node, which writes of what the shop sells, and asks it for prices.

import { createServer } from 'node:http'
import { party } from 'wsgi-party'

const stories = { kettle: 'How to boil water', lamp: 'How to read at night' }

const escaped = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)

const server = createServer({ keepAliveTimeout: 150_000 }, async (request, response) => {
  const path = new URL(request.url, 'http://localhost').pathname
  const name = path.slice('/stories/'.length)
  response.setHeader('Content-Type', 'text/html; charset=utf-8')
  if (path === '/') {
    const links = await Promise.all(Object.entries(stories).map(async ([name, title]) =>
      `<p><a href="${await line.urlFor('story', { name })}">${escaped(title)}</a></p>`))
    response.end(`<!doctype html><title>Magazine</title><h1>Magazine</h1>\n${links.join('\n')}\n`)
  } else if (path.startsWith('/stories/') && Object.hasOwn(stories, name)) {
    const [item, price] = await Promise.all([
      line.urlFor('shop:item', { name }).catch(() => ''),
      line.askFirst('price', { name }).catch(() => null),
    ])
    const buy = item && `<p><a href="${escaped(item)}">Buy one</a>${price ? ` for ${escaped(price.euros)} euros` : ''}</p>`
    response.end(`<!doctype html><title>Story</title><h1>${escaped(stories[name])}</h1>\n${buy}\n`)
  } else {
    response.writeHead(404).end('There is no such page.\n')
  }
})

const line = party(server)
line.page('index', '/')
line.page('story', '/stories/:name')

server.listen(Number(process.env.PORT ?? 9000))
