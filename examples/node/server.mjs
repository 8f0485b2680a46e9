// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Node's own http: urlFor makes links to pages of applications that this one knows nothing
// of, and these to its own.
import { createServer } from 'node:http'
import { party } from '../../clients/node/index.js' // or: npm install ./clients/node

const paths = { index: '/', about: '/about-node' }
const links = ['index', 'about', ...['flask', 'django', 'fastapi', 'express', 'php', 'gopher'].flatMap((name) => [`${name}:index`, `${name}:about`])]

const server = createServer(async (request, response) => {
  const page = Object.keys(paths).find((name) => paths[name] === request.url.split('?')[0])
  if (!page) return response.writeHead(404).end('No such page.')
  const paragraphs = await Promise.all(links.map(async (name) => {
    const url = (await line.urlFor(name)).replaceAll('&', '&amp;')
    return url ? `<p><a href="${url}">${name}</a> is at ${url}</p>` : `<p>Where ${name} is, nobody knows.</p>`
  }))
  const pongs = await line.ask('ping')
  response.setHeader('Content-Type', 'text/html; charset=utf-8')
  response.end(`<!doctype html>
    <title>node:${page}</title>
    <h1>node:${page}</h1>
    ${paragraphs.join('\n')}
    <p>Back to <a href="${await line.urlFor('legacy:index')}">legacy:index</a></p>
    <p>Others who answer: ${pongs.length}</p>`)
})

const line = party(server, { fallback: '' }) // not each of the others has to run
line.page('index', paths.index).page('about', paths.about).service('ping', () => 'pong')
server.listen(process.argv[2])
