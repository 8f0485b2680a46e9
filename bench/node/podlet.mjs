// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// An application that has a fragment of other applications' pages, as a guest of a party and as a podlet of Podium.

import Podlet from '@podium/podlet'
import express from 'express'
import { party } from 'wsgi-party'

const [address, services] = process.argv.slice(2)
const [host, port] = address.split(':')

const fragment = (name) => `<section><h2>Hello, ${name}</h2>${'<p>Some text of a fragment.</p>'.repeat(30)}</section>`

const podlet = new Podlet({ name: `podlet${port}`, version: '1.0.0', pathname: '/', development: false })
const app = express()
const line = party(app)
for (const service of services.split(',')) line.service(service, ({ name }) => fragment(name))
app.get('/floor', (request, response) => response.send(fragment(request.query.name)))
app.use(podlet.middleware())
app.get(podlet.manifest(), (request, response) => response.status(200).send(podlet))
app.get(podlet.content(), (request, response) => response.status(200).podiumSend(fragment(request.query.name)))
app.listen(Number(port), host).keepAliveTimeout = 150_000
