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
	{"manifest.json", inJSON, "the manifest is JSON that every parser takes", "", ""},
	{"manifest.form", inManifest, "its names, templates and types are as they are to be", "", ""},
	{"manifest.meant", inManifest, "what is valid in it seems to be meant", "", ""},
	{"manifest.base", inWhose, "its urls, hrefs and claims are the guest's own", "", ""},
	{"manifest.relative", inManifest, "its urls and hrefs are relative to the mount", "write all paths as the application sees them, without what X-Forwarded-Prefix says", ""},
	{"manifest.alike", inCaddy, "all processes answer alike", "make the manifest of what is the same in each process, in each before its first request", ""},
	{"manifest.etag", inCaddy, "it has an ETag, to which the answer is 304", "send a hash of the manifest as its ETag, and answer 304, without a body, where If-None-Match has it", ""},
	{"manifest.changed", inCaddy, "another ETag is answered with 200", "answer 304 only where If-None-Match has the ETag of the manifest as it is now", "it has no ETag"},
	{"manifest.max-age", inCaddy, "max-age is between 10 s and 24 h, or missing", "write `Cache-Control: max-age=60`: Caddy takes less for 10 s, and more for 24 h", ""},
	{"manifest.time", inCaddy, "the manifest comes in time", "make the manifest once, at start or when it is first asked for, and keep it", ""},
	{"manifest.cookies", inAsks, "the invite is answered without a cookie", "start no session for the invite: nobody keeps its cookie", ""},
	{"manifest.methods", inList, "HEAD, OPTIONS and POST of the invite's path are harmless", "leave every other request to that path to the application, which answers 404 or 405", ""},

	{"connections.workers", inAsking, "a request under way lets others be answered", "run two workers or threads at least: an ask may come back to the application that waits for it", ""},
	{"connections.kept", inAsking, "connections are kept for more than two minutes, or closed", "keep idle connections longer than Caddy, for 150 s, say, or answer with `Connection: close`", "it does not say for how long it keeps them"},

	{"mount.links", inMount, "links to its own pages have the mount once", "put X-Forwarded-Prefix before the paths of the application's own links, once: it is what frameworks call root path, script name or base path", "no page was found that links to another one of its own: --mount says where it is mounted"},

	{"ask.status", inAsks, "each href answers with 200, or declines with 204", "", ""},
	{"ask.redirect", inAsks, "no href is a redirect", "answer where the href leads, or write the href that it is redirected to", ""},
	{"ask.type", inAsks, "answers are application/json, or of the href's type", "send the answer with `Content-Type: application/json`, or write its \"type\" beside the href", "no href gave an answer"},
	{"ask.json", inJSON, "answers are JSON that every parser takes", "", "no href gave an answer"},
	{"ask.size", inAsks, "answers have at most 1 MiB", "answer less, or write a larger `max_answer` in wsgi_party_guest", "no href gave an answer"},
	{"ask.time", inAsks, "answers come in time", "answer from what is at hand, or write a longer `timeout` in wsgi_party_guest, and with --timeout here", "no href gave an answer"},
	{"ask.cookies", inAsks, "asks are answered without a cookie", "start no session for an ask: nobody keeps its cookie", "no href gave an answer"},
	{"ask.url", inURL, "the service url answers with a path or a URL of its own", "answer a string, a path with one slash first, relative to the mount or with the whole mount once", "it gave no answer: --payload url='{\"name\": …}' asks for a page"},
	{"ask.url-forms", inURL, "the service url takes a question in all three forms", "take [name, values] and {\"name\", \"kwargs\", \"query\"} as {\"name\", \"values\"}", "no href of the service url takes a POST"},
	{"ask.url-guest", inURL, "the service url takes a name with the guest's before it", "leave out the guest's own name and the colon, if a page's name begins with that", "it gave no answer: --payload url='{\"name\": …}' asks for a page"},
	{"ask.claims", inClaimed, "the services claims and hosts answer true, or false, or decline", "answer true for what is the application's, and decline with 204 what is not", "no href of the services claims and hosts gave an answer"},
	{"ask.declines", inAsks, "what it has no answer to is declined with 204", "answer 204, without a body, where there is no answer", "only the application knows what it has no answer to"},
	{"ask.payload", inJSON, "a payload that is no JSON is a 4xx", "answer 400 where the body does not parse, before anything else is done with it", "no href takes a POST"},
	{"ask.unknown", inList, "a service that is not there is a 404", "answer 404 below the invite's path where there is no such service", "no href lies below the invite's path"},
	{"ask.methods", inList, "HEAD and OPTIONS of an href are harmless", "answer 405 to a method that the href is not for", ""},
	{"ask.large", inAsks, "a payload of 1 MiB is taken", "let the server and the framework take bodies of 1 MiB", "no href takes a POST"},
	{"ask.too-large", inAsks, "a body of more than 1 MiB is not", "read no more than 1 MiB, and answer 413", "no href takes a POST"},
	{"ask.long", inAsks, "a long value does no harm", "answer 204, 400 or 414 to a value that cannot be one", "no href has variables"},

	{"batch.form", inBatch, "a batch is answered with as many objects of the right form", "answer 200 with a list that has, for each ask, {\"answer\": …}, {\"declined\": true} or {\"error\": \"…\"}", ""},
	{"batch.order", inBatch, "they are in the order of the asks", "put what becomes of the n-th ask at the n-th place, whatever is done first", "nothing was found to which an href with batch says something else than to its payload"},
	{"batch.alone", inBatch, "an ask that is declined or fails leaves the others alone", "say {\"declined\": true} or {\"error\": \"…\"} in the place of that ask, and answer the others", "nothing was found that an href with batch declines"},
	{"batch.refused", inBatch, "what is no list of 1 to 64 asks is a 4xx", "answer 400, before any of them is answered", ""},
	{"batch.time", inBatch, "64 asks are answered in time", "answer them at the same time, or leave out \"batch\" where each takes long", ""},

	{"token.right", inProof, "what comes with a right token is answered", "", ""},
	{"token.path", inProof, "a token may have a path, and what only Caddy reads", "take any path, and ignore claims that are not known", "no href lies below the invite's path"},
	{"token.query", inProof, "htu is path and query as they are sent, escaped", "compare htu with the request's path and query as they came, not decoded and encoded again", ""},
	{"token.leeway", inProof, "clocks may be 30 s apart", "take a token from iat - 30 to exp + 30", ""},
	{"token.keys", inProof, "all keys are accepted", "verify with each key, not only with the first", "one --key is given"},
	{"token.missing", inProof, "nothing is answered without a token", "verify the token of the invite, and of all below its path, before anything else", ""},
	{"token.key", inProof, "a token of another key is refused", "compare the signature with the HMAC under the guest's keys, in constant time, before anything else", ""},
	{"token.empty-key", inProof, "a token of an empty key is refused", "take no key of less than 32 bytes: with that of a variable which is not set, everybody could sign", ""},
	{"token.none", inProof, "a token without a signature is refused", "take `alg: HS256` only, and always compare the signature", ""},
	{"token.header", inProof, "a token of another alg, or with crit, is refused", "refuse a token whose header has another alg than HS256, or a crit", ""},
	{"token.signature", inProof, "a token with an altered signature is refused", "compare all of the signature, in constant time", ""},
	{"token.claim", inProof, "a token with an altered claim is refused", "sign what is verified: the HMAC is that of the two parts as they came", ""},
	{"token.expired", inProof, "a token that has expired is refused", "refuse a token after exp + 30", ""},
	{"token.early", inProof, "a token of the future is refused", "refuse a token before iat - 30", ""},
	{"token.lifetime", inProof, "a token is good for 60 s at most", "refuse a token unless exp - iat is from 0 to 60", ""},
	{"token.guest", inProof, "a token for another guest is refused", "tell the application its guest's name, in WSGI_PARTY_GUEST for the clients, and compare aud with that", ""},
	{"token.method", inProof, "a token for another method is refused", "compare htm with the request's method", ""},
	{"token.uri", inProof, "a token for another URI is refused", "compare htu with the request's path and query, with mnt at its beginning or without", ""},
	{"token.body", inProof, "a token for another body is refused", "compare bsh with the SHA-256 of the body as it was read", ""},
	{"token.malformed", inProof, "what is no token at all does no harm", "refuse what does not parse, also where its signature is right, as any other wrong token", ""},
	{"token.status", inProof, "a wrong token is answered with 401", "answer 401, for which Caddy keeps the last good manifest and says in its log that the keys may differ", ""},

	{"party-ask.forged", inAddress, "a forged Party-Ask gets no key", "believe a Party-Ask only if its mac is right under one of the keys, and send the key nowhere else", ""},

	{"asking.key", inAsking, "an ask is a POST with the key", "send `Authorization: Bearer <key>` with a POST to the address in Party-Ask, with the service below it or a list of asks", ""},
	{"asking.json", inAsking, "what is asked is JSON that every parser takes", "ask with JSON, and in a list with at most 256 of {\"service\", \"payload\", \"first\"}", ""},
	{"asking.visitor", inAsking, "nothing of the visitor's goes along", "send no header of the visitor's request with an ask, but as Party-Forward-… where that is meant", ""},
	{"asking.token", inAsking, "the token of a request goes back with its asks", "keep the Party-Token with the request being handled, and send it with what is asked meanwhile", ""},
	{"asking.prefix", inAsking, "X-Forwarded-Prefix goes back with asks", "send X-Forwarded-Prefix with an ask as it came with the request being handled", "no --mount is given"},
	{"asking.loop", inList, "CDN-Loop goes back with asks", "send CDN-Loop with an ask as it came with the request being handled", ""},
	{"asking.batch", inAsking, "a page asks once", "remember what a page asked for, and ask for all of that in one list the next time", ""},
	{"asking.redirect", inList, "an ask follows no redirect", "follow no redirect of an ask: the key would go along", ""},
	{"asking.endless", inList, "an answer without an end does not hold a page up", "read no more of an answer than 8 MiB and some", ""},
	{"asking.time", inList, "no answer does not hold a page up", "give up after a few seconds, from connecting to the last byte", ""},
	{"asking.breaker", inList, "a party that does not answer is left alone for a while", "do not ask for a second and more after no answer came", ""},

	{"complete", inCheck, "all was tested", "ask for less at a time, or find out why the application is slow", ""},
}

var sentenceByID = func() map[string]sentence {
	byID := make(map[string]sentence, len(sentences))
	for _, s := range sentences {
		byID[s.id] = s
	}
	return byID
}()
