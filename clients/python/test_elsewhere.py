# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Asking everybody else, through Caddy."""

import contextlib
import json
import logging
import os
import socket
import tempfile
import threading
import unittest
from unittest import mock

from test_wsgi_party import (
    KEY,
    NO_SUCH_SERVICE,
    OTHER_KEY,
    Application,
    FakeCaddy,
    answers,
    ask,
    invite,
    make_token,
    not_found,
    party,
    running,
    send,
    serving,
)
from wsgi_party import NoSuchServiceName, PartylineOperator, WSGIParty


class AskElsewhereTest(unittest.TestCase):
    """Asking with WSGI_PARTY_URL set."""

    def setUp(self):
        self.contexts = contextlib.ExitStack()
        self.addCleanup(self.contexts.close)

    def caddy(self, *answers, cls=FakeCaddy, **kwargs):
        return self.contexts.enter_context(running(cls(*answers, **kwargs)))

    def guest(self, url, application=not_found, **kwargs):
        return party(application, url=url, **kwargs)

    def test_this_process_first_then_everyone_else(self):
        caddy = self.caddy(answers("theirs", None))
        app = Application(ping=lambda p: "own")
        guest = self.guest(caddy.url, app, invites=["/__invite__/"])
        guest.connect("ping", lambda p: "ours")
        got = app.operator.ask_around("ping", ("a", {"é": [1, None]}))
        self.assertEqual(got, ["ours", "theirs", None])
        request, = caddy.requests
        self.assertEqual(request["path"], "/ping")
        self.assertEqual(request["json"], ["a", {"é": [1, None]}])
        self.assertEqual(request["headers"]["Authorization"], "Bearer " + KEY)
        self.assertEqual(request["headers"]["Content-Type"], "application/json")
        self.assertNotIn("Party-Token", request["headers"])

    def test_the_first_key_asks(self):
        caddy = self.caddy(answers())
        self.guest(caddy.url, key=OTHER_KEY + "  " + KEY).ask_around("x", None)
        self.assertEqual(caddy.requests[0]["headers"]["Authorization"], "Bearer " + OTHER_KEY)

    def test_a_key_of_other_letters(self):
        caddy = self.caddy(answers())
        key = "schlüssel☃" * 4
        self.guest(caddy.url, key=key).ask_around("x", None)
        got = caddy.requests[0]["headers"]["Authorization"].encode("latin-1").decode()
        self.assertEqual(got, "Bearer " + key)

    def test_paths(self):
        caddy = self.caddy(answers(), [answers(), answers()])
        self.guest(caddy.url + "/line/").ask_around("a/b ?ü", None)
        self.guest(caddy.url + "/line").ask_around_many([("a", 1), ("b", 2)])
        self.assertEqual(caddy.requests[0]["path"], "/line/a%2Fb%20%3F%C3%BC")
        self.assertEqual(caddy.requests[1]["path"], "/line/")

    def test_unix_socket(self):
        folder = self.contexts.enter_context(tempfile.TemporaryDirectory())
        path = os.path.join(folder, "party.sock")
        caddy = self.caddy(answers("theirs"), address=path)
        guest = self.guest("unix/" + path)
        self.assertTrue(path.startswith("/"))
        self.assertEqual(guest.ask_around("ping", 1), ["theirs"])
        self.assertEqual(caddy.requests[0]["path"], "/ping")
        self.assertEqual(caddy.requests[0]["headers"]["Host"], "localhost")
        with self.assertLogs("wsgi_party", logging.WARNING):
            self.assertEqual(self.guest("unix/" + path + "x").ask_around("ping", 1), [])

    def test_proxies_of_the_environment_are_not_used(self):
        caddy = self.caddy(answers(1))
        with mock.patch.dict(os.environ, {"http_proxy": "http://127.0.0.1:1/"}):
            self.assertEqual(self.guest(caddy.url).ask_around("x", None), [1])

    def test_nothing_is_asked_at_start(self):
        caddy = self.caddy()
        asked = []

        def application(environ, start_response):
            operator = environ["partyline"]
            operator.connect("x", str)
            asked.append(operator.ask_around("x", None))
            with self.assertRaises(NoSuchServiceName):
                operator.ask_around("elsewhere", None)
            start_response("200 OK", [])
            return []

        self.guest(caddy.url, application, invites=["/__invite__/"])
        self.assertEqual(asked, [[]])
        self.assertEqual(caddy.requests, [])
        self.guest("http://127.0.0.1:1/", application, invites=["/__invite__/"])

    def test_an_operator_without_an_invite(self):
        """For an application that cannot be invited over http://localhost."""
        caddy = self.caddy(answers("theirs"))
        guest = self.guest(caddy.url)
        operator = PartylineOperator(guest)
        operator.connect("x", str)
        guest.connect("x", lambda p: "ours")
        self.assertEqual(operator.ask_around("x", None), ["ours", "theirs"])

    def test_no_such_service_name_only_if_neither_side_knows_it(self):
        caddy = self.caddy(NO_SUCH_SERVICE, NO_SUCH_SERVICE, answers(), NO_SUCH_SERVICE)
        guest = self.guest(caddy.url)
        guest.connect("ours", lambda p: 1)
        with self.assertRaises(NoSuchServiceName):
            guest.ask_around("unknown", None)
        self.assertEqual(guest.ask_around("ours", None), [1])
        self.assertEqual(guest.ask_around("theirs", None), [])
        lenient = self.guest(caddy.url, ignore_missing_services=True)
        self.assertEqual(lenient.ask_around("unknown", None), [])

    def test_a_remote_failure_is_logged_and_skipped(self):
        for failure in (
            (404, "text/html", b"<h1>not found</h1>"),
            (401, "application/problem+json", {"title": "unknown key"}),
            (500, "text/plain", b"oops"),
            (302, "text/plain", b""),
            (204, "text/plain", b""),
            (200, "text/html", b"<html>"),
            (200, "application/json", b"[" * 200000),
            {}, [], None, {"answers": None}, {"answers": "no"}, {"answers": {}},
        ):
            with self.subTest(failure):
                caddy = self.caddy(failure)
                guest = self.guest(caddy.url)
                guest.connect("ping", lambda p: "ours")
                with self.assertLogs("wsgi_party", logging.WARNING) as logs:
                    self.assertEqual(guest.ask_around("ping", None), ["ours"])
                self.assertEqual(len(logs.output), 1)
                self.assertIn("ping", logs.output[0])
                self.assertNotIn(KEY, logs.output[0])
                self.assertEqual(len(caddy.requests), 1)  # no redirect is followed

    def test_nobody_there(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            guest = self.guest("http://127.0.0.1:%d" % unused.getsockname()[1])
            with self.assertLogs("wsgi_party", logging.WARNING) as logs:
                self.assertEqual(guest.ask_around("ping", None), [])
        self.assertNotIn(KEY, logs.output[0])

    def test_garbage(self):
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()

            def answer():
                connection, _ = server.accept()
                connection.recv(1 << 16)
                connection.sendall(b"SSH-2.0-hello\r\n\r\n")
                connection.close()

            thread = threading.Thread(target=answer)
            thread.start()
            guest = self.guest("http://127.0.0.1:%d" % server.getsockname()[1])
            with self.assertLogs("wsgi_party", logging.WARNING):
                self.assertEqual(guest.ask_around("ping", None), [])
            thread.join()

    def test_time_out(self):
        self.assertGreater(WSGIParty.ask_timeout, 2)  # a guest's
        folder = self.contexts.enter_context(tempfile.TemporaryDirectory())
        for family, address in (
            (socket.AF_INET, ("127.0.0.1", 0)),
            (socket.AF_UNIX, os.path.join(folder, "party.sock")),
        ):
            with self.subTest(family), socket.socket(family) as server:
                server.bind(address)
                server.listen()  # and accept nothing
                guest = self.guest(
                    "http://127.0.0.1:%d" % server.getsockname()[1]
                    if family == socket.AF_INET else "unix/" + address
                )
                guest.ask_timeout = 0.1
                guest.connect("ping", lambda p: "ours")
                got = []
                thread = threading.Thread(
                    target=lambda: got.append(guest.ask_around("ping", None)), daemon=True
                )
                with self.assertLogs("wsgi_party", logging.WARNING):
                    thread.start()
                    thread.join(60)
                self.assertEqual(got, [["ours"]])

    def test_connections_are_closed_where_they_are_not_kept(self):
        closed = threading.Semaphore(0)

        class Caddy(FakeCaddy):
            keeps_alive = False

            def shutdown_request(self, request):  # when nothing more comes
                super().shutdown_request(request)
                closed.release()

        caddy = self.caddy(answers(), (500, "text/plain", b""), cls=Caddy)
        guest = self.guest(caddy.url)
        guest.ask_around("x", None)
        self.assertTrue(closed.acquire(timeout=20))
        with self.assertLogs("wsgi_party", logging.WARNING):
            guest.ask_around("x", None)
        self.assertTrue(closed.acquire(timeout=20))

    def test_a_payload_that_is_no_json_is_asked_here_only(self):
        caddy = self.caddy()
        guest = self.guest(caddy.url)
        cyclic = []
        cyclic.append(cyclic)
        for n, payload in enumerate((object(), {1, 2}, b"bytes", float("nan"), cyclic)):
            guest.connect("x%d" % n, lambda p: "ours")
            with self.assertLogs("wsgi_party", logging.WARNING):
                self.assertEqual(guest.ask_around("x%d" % n, payload), ["ours"])
        self.assertEqual(caddy.requests, [])

    def test_guests_that_failed_are_logged(self):
        caddy = self.caddy(answers(1, replies=[
            {"guest": "shop", "status": "answered", "answer": 1},
            {"guest": "blog", "status": "failed", "error": "it took too long"},
            {"guest": "wiki", "status": "declined"},
        ]))
        with self.assertLogs("wsgi_party", logging.WARNING) as logs:
            self.assertEqual(self.guest(caddy.url).ask_around("x", None), [1])
        self.assertEqual(len(logs.output), 1)
        self.assertIn("'blog' failed to answer x: 'it took too long'", logs.output[0])

    def test_an_exception_in_this_process_still_aborts(self):
        caddy = self.caddy()
        guest = self.guest(caddy.url)
        guest.connect("x", lambda p: 1 / 0)
        with self.assertRaises(ZeroDivisionError):
            guest.ask_around("x", None)
        self.assertEqual(caddy.requests, [])

    def test_more_questions_than_caddy_takes_are_several_requests(self):
        caddy = self.caddy(
            [answers("a")] * 256, [answers("b")] * 2, [answers("a")] * 256, answers("b"),
            [answers("a")] * 256, [],
        )
        guest = self.guest(caddy.url)
        questions = [("x", n) for n in range(258)]
        self.assertEqual(guest.ask_around_many(questions), [["a"]] * 256 + [["b"]] * 2)
        self.assertEqual([len(r["json"]) for r in caddy.requests], [256, 2])
        self.assertEqual(guest.ask_around_many(questions[:257]), [["a"]] * 256 + [["b"]])
        self.assertEqual([r["path"] for r in caddy.requests[2:]], ["/", "/x"])
        # What was answered before is not lost with what fails then.
        with self.assertLogs("wsgi_party", logging.WARNING):
            self.assertEqual(guest.ask_around_many(questions), [["a"]] * 256 + [[]] * 2)

    def test_as_many_bytes_as_caddy_takes_are_one_request(self):
        caddy = self.caddy(*[answers(n) for n in range(4)], [answers("a"), answers("b")])
        guest = self.guest(caddy.url)
        most = "x" * (2**20 - 2)
        self.assertEqual(guest.ask_around_many([("x", most)] * 3), [[0], [1], [2]])
        with self.assertLogs("wsgi_party", logging.WARNING) as logs:
            got = guest.ask_around_many([("long", most + "x"), ("x", most)])
        self.assertEqual(got, [[], [3]])
        self.assertIn("payload is longer than 1048576 bytes", logs.output[0])
        half = "x" * (2**19 - len('[{"service":"x","payload":""}') - 1)
        self.assertEqual(guest.ask_around_many([("x", half), ("x", half + "x")]), [["a"], ["b"]])
        self.assertEqual(len(caddy.requests[4]["json"]), 2)

    def test_many_questions_are_one_request(self):
        caddy = self.caddy(
            [answers("a"), {"status": 404}, answers()],
            [answers("a"), {"status": 508, "title": "nested too deep"}],
            [answers("a"), {"status": 404}],
            [answers("a")],
            NO_SUCH_SERVICE,
        )
        guest = self.guest(caddy.url)
        guest.connect("y", lambda p: p)
        questions = [("x", 1), ("y", 2), ("z", 3)]
        self.assertEqual(guest.ask_around_many(questions), [["a"], [2], []])
        request, = caddy.requests
        self.assertEqual(request["path"], "/")
        self.assertEqual(request["headers"]["Authorization"], "Bearer " + KEY)
        self.assertEqual(request["json"], [
            {"service": "x", "payload": 1}, {"service": "y", "payload": 2},
            {"service": "z", "payload": 3},
        ])
        with self.assertLogs("wsgi_party", logging.WARNING):
            self.assertEqual(guest.ask_around_many(questions[:2]), [["a"], [2]])
        with self.assertRaises(NoSuchServiceName):
            guest.ask_around_many([("x", 1), ("unknown", 2)])
        for _ in range(2):
            with self.assertLogs("wsgi_party", logging.WARNING):
                self.assertEqual(guest.ask_around_many([("x", 1), ("unknown", 2)]), [[], []])
        self.assertEqual(guest.ask_around_many([]), [])
        self.assertEqual(len(caddy.requests), 5)

    def test_the_token_of_the_request_is_handed_back(self):
        caddy = self.caddy(*[answers(i) for i in range(5)])
        app = Application(relay=lambda p: app.operator.ask_around("x", p))
        app.pages["/"] = app.pages["/api"] = lambda environ: app.operator.ask_around("x", None)
        with serving(self.guest(caddy.url, app, invites=["/__invite__/"])) as port:
            href = "/__invite__/partyline/relay.0"
            token = make_token(htu=href, path=[["shop", "relay"]])
            self.assertEqual(ask(port, href, 7, element={"token": token}).json(), [0])
            self.assertEqual(send(port, "GET", "/").json(), [1])
            # An href that the Caddyfile declares: the application's to verify.
            self.assertEqual(send(port, "GET", "/api", headers={"Party-Token": token}).json(), [2])
            self.assertEqual(send(port, "GET", "/").json(), [3])
        app.operator.ask_around("x", None)
        got = [request["headers"]["Party-Token"] for request in caddy.requests]
        self.assertEqual(got, [token, None, token, None, None])
        self.assertEqual(caddy.requests[0]["json"], 7)

    def test_a_refused_token_is_not_handed_back(self):
        caddy = self.caddy()
        app = Application(relay=lambda p: app.operator.ask_around("x", p))
        with serving(self.guest(caddy.url, app, invites=["/__invite__/"])) as port:
            with self.assertLogs("wsgi_party", logging.WARNING):
                ask(port, "/__invite__/partyline/relay.0", key=OTHER_KEY)
        self.assertEqual(caddy.requests, [])

    def test_the_token_is_known_while_the_body_is_produced(self):
        caddy = self.caddy(answers("a"))

        def application(environ, start_response):
            start_response("200 OK", [])
            yield json.dumps(guest.ask_around("x", None)).encode()

        guest = self.guest(caddy.url, application)
        token = make_token("GET", "/")
        with serving(guest) as port:
            self.assertEqual(send(port, "GET", "/", headers={"Party-Token": token}).json(), ["a"])
        self.assertEqual(caddy.requests[0]["headers"]["Party-Token"], token)

    def test_tokens_of_requests_handled_together_are_kept_apart(self):
        class Echo(FakeCaddy):
            def respond(self, request):
                return answers(request["headers"]["Party-Token"])

        caddy = self.caddy(cls=Echo)
        app = Application()
        barrier = threading.Barrier(4)

        def relay(payload):
            barrier.wait(10)
            return app.operator.ask_around("x", payload)

        app.handlers["relay"] = relay
        got = {}
        with serving(self.guest(caddy.url, app, invites=["/__invite__/"])) as port:

            def work(n):
                href = "/__invite__/partyline/relay.0"
                token = make_token(htu=href, jti=str(n))
                got[token] = ask(port, href, 1, element={"token": token}).json()

            threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual(len(got), 4)
        self.assertEqual(got, {token: [token] for token in got})

    def test_two_processes_through_caddy(self):
        """A page of one guest shows what the other one's handler answers,
        which asks back: every hop over HTTP.
        """
        keys = {"blog": KEY, "shop": OTHER_KEY}
        ports = {}

        class Caddy(FakeCaddy):
            def respond(self, request):
                key = request["headers"]["Authorization"][len("Bearer "):]
                asker = next(name for name in keys if keys[name] == key)
                other = "shop" if asker == "blog" else "blog"
                service = request["path"].strip("/")
                manifest = invite(ports[other], key=keys[other], aud=other).json()
                if service not in manifest["services"]:
                    return NO_SUCH_SERVICE
                href = manifest["services"][service][0]["href"]
                reply = ask(
                    ports[other], href, request["json"], key=keys[other], aud=other, mnt="/" + other
                )
                got = reply.json()
                if service == "url":
                    got = "/" + other + got
                return answers(got)

        caddy = self.caddy(cls=Caddy)
        blog = Application({"post": "/posts/{slug}"})
        shop = Application(price=lambda p: [p, shop.operator.ask_around("url", ("post", {"slug": p}))])
        blog.pages["/"] = lambda environ: blog.operator.ask_around("price", "tea")
        for name, app in (("blog", blog), ("shop", shop)):
            guest = self.guest(caddy.url, app, key=keys[name], guest=name, invites=["/__invite__/"])
            ports[name] = self.contexts.enter_context(serving(guest))
        self.assertEqual(send(ports["blog"], "GET", "/").json(), [["tea", ["/blog/posts/tea"]]])


if __name__ == "__main__":
    unittest.main()
