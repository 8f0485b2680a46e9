# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Several asks of one service in one request."""

import asyncio
import contextlib
import json
import logging
import unittest

from test_asgi import application, requested
from test_wsgi_party import (
    KEY,
    OTHER_KEY,
    Application,
    FakeCaddy,
    answers,
    ask_batch,
    batch_of,
    environment,
    invite,
    make_token,
    party,
    running,
    send,
    serving,
)
from wsgi_party import HighAndDry, WSGIParty
from wsgi_party.asgi import Party

FAILED = {"error": "the handler failed: see its log"}
UNCARRIED = {"error": "the answer cannot be JSON: see its log"}

NO_BATCH = (
    b"", b"[", b"null", b"7", b'{"payload":1}', b"[]", b"[1]", b"[null]", b"[{}]", b'[{"token":"x"}]',
    b'[{"payload":1,"token":1}]', b'[{"payload":1,"traceparent":null}]', b'[{"payload":NaN}]',
    b'[{"payload":1},[]]', batch_of(*[b"1"] * 65),
)


def some(payload):
    """A handler that does with each payload something else."""
    if payload == "none":
        raise HighAndDry
    if payload == "fail":
        raise RuntimeError("the password is swordfish")
    if payload == "uncarried":
        return float("nan")
    return None if payload == "null" else payload


class Case(unittest.TestCase):
    def setUp(self):
        self.contexts = contextlib.ExitStack()
        self.addCleanup(self.contexts.close)
        self.contexts.enter_context(environment())
        self.caddy = self.contexts.enter_context(running(FakeCaddy()))
        self.caddy.respond = lambda request: answers(
            [request["headers"][name] for name in ("Party-Token", "traceparent", "CDN-Loop")]
        )


class BatchTest(Case):
    def serve(self, cls=WSGIParty, **handlers):
        self.app = Application({"page": "/page"}, **handlers)
        guest = party(self.app, ["/__invite__/"], cls=cls, url=self.caddy.url)
        return self.contexts.enter_context(serving(guest))

    def test_each_has_an_outcome_of_its_own_in_their_order(self):
        port, href = self.serve(some=some), "/__invite__/partyline/some.0"
        body = batch_of(b'"a"', b'"none"', b'"fail"', b'{"b":[12345678901234567890]}', b'"uncarried"', b'"null"')
        with self.assertLogs("wsgi_party", logging.ERROR) as logs:
            response = ask_batch(port, href, body)
        self.assertEqual((response.status, response.headers["Content-Type"]), (200, "application/json"))
        self.assertEqual(response.json(), [
            {"answer": "a"}, {"declined": True}, FAILED, {"answer": {"b": [12345678901234567890]}},
            UNCARRIED, {"answer": None},
        ])
        self.assertEqual(len(logs.output), 2)
        self.assertIn("swordfish", logs.output[0])
        self.assertIn("not a finite number", logs.output[1])

    def test_as_many_as_there_may_be(self):
        port = self.serve(some=some)
        payloads = list(range(64))
        body = batch_of(*[b"%d" % n for n in payloads])
        got = ask_batch(port, "/__invite__/partyline/some.0", body).json()
        self.assertEqual(got, [{"answer": n} for n in payloads])

    def test_what_is_no_batch_is_400(self):
        calls = []
        port = self.serve(some=calls.append)
        for body in NO_BATCH:
            with self.subTest(body[:30]):
                self.assertEqual(ask_batch(port, "/__invite__/partyline/some.0", body).status, 400)
        self.assertEqual(calls, [])

    def test_a_token_is_demanded_and_that_of_an_element_proves_nothing(self):
        calls = []
        port, href = self.serve(some=calls.append), "/__invite__/partyline/some.0"
        body = batch_of(b"1", (b"2", {"token": make_token(htu=href, body=batch_of(b"1"))}))
        self.assertEqual(send(port, "POST", href, body).status, 404)  # the application's
        for claims in ({"key": OTHER_KEY}, {"bsh": "x"}, {"token": make_token(htu=href)}):
            with self.assertLogs("wsgi_party", logging.WARNING):
                self.assertEqual(ask_batch(port, href, body, **claims).status, 401)
        self.assertEqual(calls, [])

    def test_an_elements_token_and_trace_are_handed_back(self):
        port = self.serve(ask=lambda p: self.app.operator.ask_around("x", None)[0])
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        body = batch_of(
            (b"1", {"token": "a.b.c", "traceparent": trace}), b"2", (b"3", {"token": "d.e.f"}),
            (b"4", {"token": "g\r\nh: i", "traceparent": "é"}),
        )
        got = ask_batch(port, "/__invite__/partyline/ask.0", body, headers={"CDN-Loop": "caddy"})
        self.assertEqual([element["answer"] for element in got.json()], [
            ["a.b.c", trace, "caddy"], [None, None, "caddy"], ["d.e.f", None, "caddy"],
            [None, None, "caddy"],
        ])

    def test_urls(self):
        port = self.serve()
        body = batch_of(b'["page",{}]', b'{"name":"page","values":{}}', b'["none",{}]')
        got = ask_batch(port, "/__invite__/partyline/url.0", body).json()
        self.assertEqual(got, [{"answer": "/page"}, {"answer": "/page"}, {"declined": True}])

    def test_a_party_that_is_asked_one_by_one(self):
        class Alone(WSGIParty):
            batch = False

        port = self.serve(
            Alone, some=some, ask=lambda p: self.app.operator.ask_around("x", None)[0]
        )
        href = "/__invite__/partyline/some.0"
        self.assertEqual(invite(port).json()["services"]["some"], [{"href": href}])
        self.assertEqual(ask_batch(port, href, b'"a"').json(), "a")
        self.assertEqual(ask_batch(port, href, b'[{"payload":1}]').json(), [{"payload": 1}])
        self.assertEqual(ask_batch(port, href, b'"none"').status, 204)
        with self.assertLogs("wsgi_party", logging.ERROR):
            response = ask_batch(port, href, b'"fail"')
        self.assertEqual((response.status, response.body), (500, b"Internal Server Error\n"))
        self.assertEqual(ask_batch(port, href, b"").status, 400)
        href = "/__invite__/partyline/ask.0"
        token = make_token(htu=href, body=b"1")
        self.assertEqual(ask_batch(port, href, b"1", token=token).json()[0], token)


class ASGITest(Case):
    def setUp(self):
        super().setUp()
        self.party = Party(application, key=KEY, url=self.caddy.url)

    def asked(self, service, body):
        href = "/__invite__/partyline/" + service
        token = make_token(htu=href, body=body)
        start, sent = requested(self.party, href, "POST", body, [("Party-Token", token)])
        return start["status"], sent["body"]

    def test_they_are_answered_at_the_same_time(self):
        together = []

        @self.party.service("wait")
        async def wait(payload):
            if not together:
                together.append(asyncio.Event())
            if payload == 2:
                together[0].set()
            await asyncio.wait_for(together[0].wait(), 10)
            return some(payload)

        body = batch_of(b"1", b'"none"', b'"fail"', b'"uncarried"', b"2")
        with self.assertLogs("wsgi_party", logging.ERROR) as logs:
            status, text = self.asked("wait", body)
        self.assertEqual(len(logs.output), 2)
        self.assertEqual((status, json.loads(text)), (
            200, [{"answer": 1}, {"declined": True}, FAILED, UNCARRIED, {"answer": 2}],
        ))
        for no_batch in NO_BATCH:
            self.assertEqual(self.asked("wait", no_batch)[0], 400)

    def test_an_elements_token_is_handed_back(self):
        @self.party.service("ask")
        async def ask(payload):
            return (await self.party.ask("x"))[0][0]

        @self.party.service("sync")
        def sync(payload):
            return self.party.sync.ask("x")[0][0]

        body = batch_of(b"1", (b"2", {"token": "a.b.c"}), (b"3", {"token": "d.e.f"}))
        for service in ("ask", "sync"):
            got = json.loads(self.asked(service, body)[1])
            self.assertEqual([element["answer"] for element in got], [None, "a.b.c", "d.e.f"])

    def test_a_service_that_is_asked_one_by_one(self):
        @self.party.service("alone", batch=False)
        async def alone(payload):
            return some(payload)

        self.assertEqual(self.asked("alone", b"[1]"), (200, b"[1]"))
        self.assertEqual(self.asked("alone", b'"none"')[0], 204)
        with self.assertLogs("wsgi_party", logging.ERROR):
            self.assertEqual(self.asked("alone", b'"fail"')[0], 500)


if __name__ == "__main__":
    unittest.main()
