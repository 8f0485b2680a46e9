// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

const MAX_EXPRESSIONS = 64
const VARIABLE = /^(?!http\.)[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*$/
const IDENTIFIER = /[\p{ID_Start}$_][\p{ID_Continue}$]*/uy
const REST = 'rest' // the variable of a wildcard that has no name

/** A route's path that no URI template can say. */
export class PathError extends Error {
  name = 'PathError'
}

/**
 * The path of a page, as a framework writes it: text and variables, perhaps a query.
 * @typedef {{text?: string, variable?: string, isRest?: boolean}[]} Parts
 */
export class Path {
  /** @type {Parts} */
  parts = []
  query = []

  /**
   * @param {string} path such as `/posts/:slug`, and perhaps a query, `/search{?q,page}`
   * @param {'hono' | undefined} dialect Hono's has a pattern in braces, Express' a part that may be missing
   * @throws {PathError}
   */
  constructor(path, dialect) {
    this.source = path
    new Parser(this, path, dialect).parse()
    this.template = this.#template()
    const problem = problemOf(this.#expand((part) => (part.isRest ? '/x' : 'x')))
    if (problem) throw new PathError(problem)
  }

  /** The variables that a link needs. */
  get variables() {
    return this.parts.flatMap(({ variable }) => variable ?? [])
  }

  /**
   * Whether an escaped path is like this page's. A segment with a variable is like any other, and what follows a
   * wildcard does not count: a regular expression that told more could be held up for minutes by a visitor's path.
   */
  matches(path) {
    this.pattern ??= this.#pattern()
    return this.pattern.test(path)
  }

  #pattern() {
    const [start, rest] = this.#expand(({ isRest }) => (isRest ? '\n' : '\t')).split('\n')
    const segments = start.replace(/\/$/, '').split('/').map((segment) => (segment.includes('\t') ? '[^/]+' : segment.replace(/\W/g, '\\$&')))
    return new RegExp(`^${segments.join('/')}${rest === undefined ? '/?$' : '/.'}`)
  }

  #template() {
    const text = this.#expand(({ variable, isRest }) => (isRest ? `{/${variable}*}` : `{${variable}}`))
    return this.query.length > 0 ? `${text}{?${this.query.join()}}` : text
  }

  #expand(replace) {
    return this.parts.map((part) => part.text ?? replace(part)).join('')
  }

  /**
   * Returns the path with these values, as Caddy makes it of the template.
   * @param {Record<string, unknown>} values
   * @throws {TypeError} if one is missing, or would lead elsewhere
   */
  expand(values) {
    const path = this.#expand(({ variable, isRest }) => {
      const list = listOf(variable, values)
      if (list.length === 0) throw new TypeError(`the value ${variable} is missing`)
      return isRest ? list.map((value) => `/${escape(value)}`).join('') : list.map(escape).join()
    })
    const problem = problemOf(path)
    if (problem) throw new TypeError(problem)
    const pairs = this.query.map((name) => [name, listOf(name, values)]).filter(([, list]) => list.length > 0)
    return path + (pairs.length > 0 ? `?${pairs.map(([name, list]) => `${name}=${list.map(escape).join()}`).join('&')}` : '')
  }
}

class Parser {
  constructor(target, path, dialect) {
    this.target = target
    this.path = path
    this.dialect = dialect
    this.at = 0
    this.text = ''
  }

  parse() {
    if (typeof this.path !== 'string' || !/^(?:\/(?!\/)|\*|$)/.test(this.path)) throw new PathError('it does not begin with one slash')
    if (this.path[0] !== '/') this.text = '/'
    while (this.at < this.path.length) this.#next()
    this.#endText()
    const { variables, query, parts } = this.target
    if (variables.length > MAX_EXPRESSIONS) throw new PathError(`it has more than ${MAX_EXPRESSIONS} variables`)
    const all = [...variables, ...query]
    const twice = all.find((name, i) => all.indexOf(name) < i)
    if (twice) throw new PathError(`it has two variables named ${twice}`)
    if (parts.length === 0) parts.push({ text: '/' })
  }

  #next() {
    const { path, at } = this
    const c = path[at]
    if (c === '\\') {
      this.text += path.slice(at + 1, at + 2)
      this.at += 2
    } else if (c === ':' && path[at + 1] === ':') {
      this.text += ':' // Fastify's way to write one
      this.at += 2
    } else if (c === ':') {
      this.at++
      this.#variable()
    } else if (c === '*') {
      this.at++
      this.#rest(this.#name() ?? REST)
    } else if (c === '{' && /^\{\?[\w.]+(?:,[\w.]+)*\}$/.test(path.slice(at))) {
      this.target.query = path.slice(at + 2, -1).split(',')
      this.at = path.length
    } else if (c === '{' || c === '?') {
      throw new PathError('it has an optional part')
    } else if ('()[]+!}'.includes(c)) {
      throw new PathError(`it has a pattern, "${c}"`)
    } else {
      this.text += c
      this.at++
    }
  }

  #variable() {
    const name = this.dialect === 'hono' ? this.#match(/[^/{}?*]+/y) : this.#name()
    if (name === undefined) {
      this.text += ':'
      return
    }
    const pattern = this.path[this.at] === '(' ? this.#balanced('(', ')') : this.dialect === 'hono' && this.path[this.at] === '{' ? this.#balanced('{', '}') : ''
    if (/^\.?[*+]$/.test(pattern)) this.#rest(name)
    else if ('*+'.includes(this.path[this.at] ?? '-')) throw new PathError(`the variable ${name} may be repeated`)
    else this.#push(name, false)
  }

  #rest(name) {
    if (!this.text.endsWith('/')) throw new PathError('a wildcard is not a whole segment')
    this.text = this.text.slice(0, -1)
    this.#push(name, true)
  }

  #push(variable, isRest) {
    if (!VARIABLE.test(variable)) throw new PathError(`the variable ${JSON.stringify(variable)} has a name with more than letters, digits and _`)
    this.#endText()
    this.target.parts.push({ variable, isRest })
  }

  #endText() {
    if (this.text) this.target.parts.push({ text: encodeText(this.text) })
    this.text = ''
  }

  #name() {
    return this.path[this.at] === '"' ? this.#balanced('"', '"') : this.#match(IDENTIFIER)
  }

  #match(pattern) {
    pattern.lastIndex = this.at
    const found = pattern.exec(this.path)?.[0]
    this.at += found?.length ?? 0
    return found
  }

  /** Returns what is between two signs, which may be there in pairs inside it. */
  #balanced(open, close) {
    let depth = 0
    for (let i = this.at; i < this.path.length; i++) {
      const c = this.path[i]
      if (c === '\\') i++
      else if (c === close && (open === close ? i > this.at : --depth === 0)) {
        const inner = this.path.slice(this.at + 1, i)
        this.at = i + 1
        return inner
      } else if (c === open) depth++
    }
    throw new PathError(`it has a "${open}" without its end`)
  }
}

function encodeText(text) {
  if (!text.isWellFormed()) throw new PathError('it has half of a surrogate pair')
  return text.replace(/%(?![0-9a-fA-F]{2})|[^A-Za-z0-9\-._~!$&'()*+,;=:@/%]/gu, encodeURIComponent)
}

/** Returns a value, or the elements of a list, as texts; none where there is no value. */
function listOf(name, values) {
  const value = Object.hasOwn(values, name) ? values[name] : undefined
  const list = (Array.isArray(value) ? value : [value]).filter((element) => element !== undefined && element !== null)
  return list.map((element) => {
    if (typeof element === 'object' || typeof element === 'function' || typeof element === 'symbol') {
      throw new TypeError(`the value ${name} is not a text, a number or a list of these`)
    }
    return String(element)
  })
}

function escape(text) {
  if (!text.isWellFormed()) throw new TypeError('a value has half of a surrogate pair')
  return encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
}

/** Says how a path may lead out of the mount: Caddy would refuse it, and with it the whole manifest. */
function problemOf(path) {
  const segments = path.slice(1).split('/')
  for (const [i, segment] of segments.entries()) {
    const inner = unescape(segment).split('/')
    if (inner.some((name) => /^\.{1,2}(?:;|$)/.test(name))) return 'a segment of it is "." or ".."'
    if (inner.some((name, n) => /^(?:;|$)/.test(name) && (i + 1 < segments.length || n + 1 < inner.length))) return 'it has two slashes with nothing between'
    if (/[\\\x00-\x1f\x7f-\x9f\u2028\u2029]/.test(inner.join())) return 'it has a backslash or a control character'
  }
}

/** Unescapes until no escape is left, in one pass: what is unescaped may complete another escape, as in %2%35. */
function unescape(text) {
  if (!text.includes('%')) return text
  const bytes = Buffer.from(text)
  let end = 0
  for (const byte of bytes) {
    bytes[end++] = byte
    while (end >= 3 && bytes[end - 3] === 0x25 && /^[0-9a-fA-F]{2}$/.test(bytes.latin1Slice(end - 2, end))) {
      bytes[end - 3] = parseInt(bytes.latin1Slice(end - 2, end), 16)
      end -= 2
    }
  }
  return bytes.toString('utf8', 0, end)
}
