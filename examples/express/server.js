// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Express: urlFor makes links to pages of applications that this one knows nothing of, and
// these to its own.
import express from 'express'
import { party } from 'wsgi-party'

const app = express()
const line = party(app, { fallback: '' }) // not each of the others has to run
line.service('ping', () => 'pong')

app.get('/', line.page('index'), page('index'))
app.get('/about-express', line.page('about'), page('about'))

const links = ['index', 'about', ...['flask', 'django', 'fastapi', 'node', 'php', 'gopher'].flatMap((name) => [`${name}:index`, `${name}:about`])]

function page(title) {
  return async (request, response) => {
    const urls = await Promise.all(links.map((name) => line.urlFor(name)))
    const pongs = await line.ask('ping')
    response.send(`<!doctype html>
      <title>express:${title}</title>
      <h1>express:${title}</h1>
      ${links.map((name, i) => paragraph(name, urls[i].replaceAll('&', '&amp;'))).join('\n')}
      <p>Back to <a href="${await line.urlFor('legacy:index')}">legacy:index</a></p>
      <p>Others who answer: ${pongs.length}</p>`)
  }
}

function paragraph(name, url) {
  return url ? `<p><a href="${url}">${name}</a> is at ${url}</p>` : `<p>Where ${name} is, nobody knows.</p>`
}

app.listen(process.argv[2])
