// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

import type {} from 'fastify'
import type { Party } from './index.js'

declare module 'fastify' {
  interface FastifyInstance {
    /** The party, once `fastify.register(party)` has been called. */
    party: Party
  }
  interface FastifyContextConfig {
    /** What the page of this route is called, for others and for `party.urlFor`. */
    name?: string
  }
}

export * from './index.js'
export { default } from './index.js'
