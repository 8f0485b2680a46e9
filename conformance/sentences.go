// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

// sentence is one of docs/guests.md that can be tested.
type sentence struct {
	id       string // stays as it is
	section  string // of docs/guests.md
	what     string
	write    string // what to do about it, in any language
	untested string // why, if nothing else is the reason
}

const (
	inManifest = "1-the-manifest"
	inWhose    = "what-is-whose"
	inCaddy    = "what-caddy-makes-of-the-answer"
	inAsks     = "2-asks"
	inJSON     = "json"
	inURL      = "the-service-url"
	inClaimed  = "what-is-claimed"
	inProof    = "proof"
	inAsking   = "3-asking"
	inKept     = "keeping-links"
	inAddress  = "where-to-ask"
	inMount    = "the-caddyfile"
	inCheck    = "check-it"
	inList     = "a-clients-checklist"
	inBatch    = "several-asks-in-one-request"
)

// sentences are in the order of the report.
var sentences = []sentence{
	{"manifest.status", inManifest, "the invite is answered with 200", "answer GET of the invite's path with the manifest", ""},
	{"manifest.type", inManifest, "the manifest is application/vnd.wsgi-party+json", "send it with `Content-Type: application/vnd.wsgi-party+json`", ""},
	{"manifest.size", inManifest, "the manifest has at most 64 KiB", "leave out what nobody links to, or answer for the service url", ""},
	{"manifest.json", inJSON, "the manifest is JSON that every parser accepts", "", ""},
	{"manifest.form", inManifest, "its names, templates and types are valid", "", ""},
	{"manifest.meant", inManifest, "nothing in it looks like a mistake", "", ""},
	{"manifest.base", inWhose, "its urls, hrefs and claims are the guest's own", "", ""},
	{"manifest.relative", inManifest, "its urls and hrefs are relative to the mount", "write all paths as the application sees them, without what X-Forwarded-Prefix says", ""},
	{"manifest.alike", inCaddy, "all processes answer alike", "make the manifest from what is the same in each process, and before its first request", ""},
	{"manifest.etag", inCaddy, "it has an ETag, and the answer to that is 304", "send a hash of the manifest as its ETag, and answer 304, without a body, if If-None-Match has it", ""},
	{"manifest.changed", inCaddy, "the answer to another ETag is 200", "answer 304 only if If-None-Match has the ETag of the current manifest", "it has no ETag"},
	{"manifest.max-age", inCaddy, "max-age is between 10 s and 24 h, or missing", "write `Cache-Control: max-age=60`: Caddy takes anything less as 10 s, and anything more as 24 h", ""},
	{"manifest.time", inCaddy, "the manifest comes in time", "make the manifest once, at start or when first asked for it, and keep it", ""},
	{"manifest.cookies", inAsks, "the invite is answered without a cookie", "start no session for the invite: nobody keeps its cookie", ""},
	{"manifest.methods", inList, "HEAD, OPTIONS and POST of the invite's path are harmless", "leave every other request for that path to the application, which answers 404 or 405", ""},

	{"connections.workers", inAsking, "one request under way does not block others", "run at least two workers or threads, under gunicorn `--threads 40`: an ask may come back to the application that waits for it", ""},
	{"connections.kept", inAsking, "connections stay open for over two minutes, or close", "keep idle connections open longer than Caddy does, say for 150 s, or answer with `Connection: close`", "it does not say how long it keeps them"},

	{"mount.links", inMount, "links to its own pages have the mount once", "put X-Forwarded-Prefix before the paths of the application's own links, once: frameworks call it root path, script name or base path", "no page links to another page of the application: write --mount if it has a mount"},

	{"ask.status", inAsks, "each href answers with 200, or declines with 204", "", ""},
	{"ask.redirect", inAsks, "no href is a redirect", "answer at the href itself, or write the href that it redirects to", ""},
	{"ask.type", inAsks, "answers are application/json, or of the href's type", "send the answer with `Content-Type: application/json`, or write its \"type\" beside the href", "no href gave an answer"},
	{"ask.json", inJSON, "answers are JSON that every parser accepts", "", "no href gave an answer"},
	{"ask.size", inAsks, "answers have no more than 1 MiB", "answer less, or write a larger `max_answer` in wsgi_party_guest", "no href gave an answer"},
	{"ask.time", inAsks, "answers come in time", "answer from what is at hand, or write a longer `timeout` in wsgi_party_guest, and here as --timeout", "no href gave an answer"},
	{"ask.cookies", inAsks, "asks are answered without a cookie", "start no session for an ask: nobody keeps its cookie", "no href gave an answer"},
	{"ask.url", inURL, "the service url answers with a path or a URL of its own", "answer with a string: a path that begins with one slash, relative to the mount or with the whole mount once", "it gave no answer: --payload url='{\"name\": …}' asks for a page"},
	{"ask.url-forms", inURL, "the service url accepts all three forms of a question", "accept [name, values] and {\"name\", \"kwargs\", \"query\"} as well as {\"name\", \"values\"}", "no href of the service url takes a POST"},
	{"ask.url-guest", inURL, "the service url accepts a name with the guest's own name before it", "if a page's name begins with the guest's own name and a colon, ignore these", "it gave no answer: --payload url='{\"name\": …}' asks for a page"},
	{"ask.claims", inClaimed, "the services claims and hosts answer true or false, or decline", "answer true for what belongs to the application, and decline the rest with 204", "no href of the services claims and hosts gave an answer"},
	{"ask.declines", inAsks, "it declines with 204 what it has no answer to", "answer 204, without a body, if there is no answer", "only the application knows what it has no answer to"},
	{"ask.payload", inJSON, "the answer to a payload that is not JSON is a 4xx", "answer 400 if the body does not parse, before doing anything else with it", "no href takes a POST"},
	{"ask.unknown", inList, "the answer to an unknown service is 404", "answer 404 below the invite's path if there is no such service", "no href lies below the invite's path"},
	{"ask.methods", inList, "HEAD and OPTIONS of an href are harmless", "answer 405 to any other method than the href's", ""},
	{"ask.large", inAsks, "it accepts a payload of 1 MiB", "let the server and the framework accept bodies of 1 MiB", "no href takes a POST"},
	{"ask.too-large", inAsks, "it refuses a body of more than 1 MiB", "read no more than 1 MiB, and answer 413", "no href takes a POST"},
	{"ask.long", inAsks, "a long value does no harm", "answer 204, 400 or 414 to a value that cannot be right", "no href has variables"},

	{"batch.form", inBatch, "the answer to a batch has as many objects, of the right form", "answer 200 with a list that has {\"answer\": …}, {\"declined\": true} or {\"error\": \"…\"} for each ask", ""},
	{"batch.order", inBatch, "they are in the order of the asks", "put the result of the n-th ask in the n-th place, whichever is done first", "no href with batch answers anything differently from its payload"},
	{"batch.alone", inBatch, "an ask that is declined or fails leaves the others alone", "put {\"declined\": true} or {\"error\": \"…\"} in the place of that ask, and answer the others", "no href with batch declines anything"},
	{"batch.refused", inBatch, "the answer to anything but a list of 1 to 64 asks is a 4xx", "answer 400, before answering any of them", ""},
	{"batch.time", inBatch, "64 asks are answered in time", "answer them at the same time, or leave out \"batch\" if each takes long", ""},

	{"token.right", inProof, "a right token is accepted", "", ""},
	{"token.path", inProof, "a token may have a path, and claims that only Caddy reads", "accept any path, and ignore unknown claims", "no href lies below the invite's path"},
	{"token.query", inProof, "htu is the path and query as sent, escaped", "compare htu with the request's path and query as received, without decoding and encoding them again", ""},
	{"token.leeway", inProof, "clocks may be 30 s apart", "accept a token from iat - 30 to exp + 30", ""},
	{"token.keys", inProof, "all keys are accepted", "verify with each key, not only with the first", "one --key is given"},
	{"token.missing", inProof, "a request without a token is refused", "verify the token of the invite, and of everything below its path, before anything else", ""},
	{"token.key", inProof, "a token signed with another key is refused", "compare the signature with the HMAC under the guest's keys, in constant time, before anything else", ""},
	{"token.empty-key", inProof, "a token signed with an empty key is refused", "accept no key of less than 32 bytes: if an unset variable gave an empty key, anybody could sign", ""},
	{"token.none", inProof, "a token without a signature is refused", "accept `alg: HS256` only, and always compare the signature", ""},
	{"token.header", inProof, "a token with another alg, or with crit, is refused", "refuse a token whose header has any alg but HS256, or a crit", ""},
	{"token.signature", inProof, "a token with an altered signature is refused", "compare the whole signature, in constant time", ""},
	{"token.claim", inProof, "a token with an altered claim is refused", "compute the HMAC over the two parts as received", ""},
	{"token.expired", inProof, "a token that has expired is refused", "refuse a token after exp + 30", ""},
	{"token.early", inProof, "a token from the future is refused", "refuse a token before iat - 30", ""},
	{"token.lifetime", inProof, "a token valid for more than 60 s is refused", "refuse a token unless exp - iat is from 0 to 60", ""},
	{"token.guest", inProof, "a token for another guest is refused", "tell the application its guest's name, in WSGI_PARTY_GUEST for the clients, and compare aud with that", ""},
	{"token.method", inProof, "a token for another method is refused", "compare htm with the request's method", ""},
	{"token.uri", inProof, "a token for another URI is refused", "compare htu with the request's path and query, with mnt in front or without", ""},
	{"token.body", inProof, "a token for another body is refused", "compare bsh with the SHA-256 of the body as received", ""},
	{"token.malformed", inProof, "anything that is not a token does no harm", "refuse what does not parse like any other wrong token, even if its signature is right", ""},
	{"token.status", inProof, "the answer to a wrong token is 401", "answer 401: Caddy then keeps the last good manifest and says in its log that the keys may differ", ""},

	{"party-ask.forged", inAddress, "a forged Party-Ask gets no key", "trust a Party-Ask only if its mac is right under one of the keys, and send the key nowhere else", ""},

	{"asking.key", inAsking, "an ask is a POST with the key", "send `Authorization: Bearer <key>` with a POST to the address in Party-Ask, with the service below it or a list of asks", ""},
	{"asking.json", inAsking, "what it asks is JSON that every parser accepts", "ask with JSON; a list has at most 256 objects {\"service\", \"payload\", \"first\"}", ""},
	{"asking.visitor", inAsking, "an ask carries nothing of the visitor's", "send no header of the visitor's request with an ask, except on purpose as Party-Forward-…", ""},
	{"asking.token", inAsking, "asks carry the token of the request that they come from", "keep the Party-Token of the request being handled, and send it with the asks made meanwhile", ""},
	{"asking.prefix", inAsking, "asks carry X-Forwarded-Prefix", "send X-Forwarded-Prefix with an ask as received with the request being handled", "no --mount is given"},
	{"asking.loop", inList, "asks carry CDN-Loop", "send CDN-Loop with an ask as received with the request being handled", ""},
	{"asking.batch", inAsking, "a page asks once", "remember what a page asked for, and ask for all of it in one list the next time", ""},
	{"asking.line", inKept, "links that it keeps go when the line changes", "when a request's Party-Ask has another `line`, drop the links that are kept, and ask for the page's links again", ""},
	{"asking.redirect", inList, "an ask follows no redirect", "do not follow the redirect of an ask: it would get the key", ""},
	{"asking.endless", inList, "an endless answer does not hold a page up", "read little more than 8 MiB of an answer", ""},
	{"asking.time", inList, "a missing answer does not hold a page up", "give up after a few seconds, from connecting to the last byte", ""},
	{"asking.breaker", inList, "a party that does not answer is left alone for a while", "after an ask without an answer, do not ask for at least a second", ""},

	{"complete", inCheck, "everything was tested", "ask for less at a time, or find out why the application is slow", ""},
}

var sentenceByID = func() map[string]sentence {
	byID := make(map[string]sentence, len(sentences))
	for _, s := range sentences {
		byID[s.id] = s
	}
	return byID
}()
