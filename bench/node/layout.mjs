// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// A layout of Podium, of the first so many podlets.

import Layout from '@podium/layout'
import express from 'express'

const [address, ...podlets] = process.argv.slice(2)
const [host, port] = address.split(':')

const layout = new Layout({ name: 'layout', pathname: '/' })
const fragments = podlets.map((at, i) => layout.client.register({ name: `podlet${i}`, uri: `http://${at}/manifest.json` }))
const app = express()
app.use(layout.middleware())
app.get('/:n', async (request, response) => {
  const incoming = response.locals.podium
  const contents = await Promise.all(fragments.slice(0, request.params.n).map((each) => each.fetch(incoming, { query: { name: 'Ann' } })))
  response.podiumSend(contents.map(String).join(''))
})
app.listen(Number(port), host).keepAliveTimeout = 150_000
