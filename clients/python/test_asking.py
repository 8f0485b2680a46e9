# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Asking Caddy: for one answer, with what JSON carries, in time, and not at all."""

import contextlib
import logging
import os
import socket
import tempfile
import threading
import time
import unittest
from unittest import mock

from test_wsgi_party import (
    NO_SUCH_SERVICE,
    FakeCaddy,
    answers,
    environment,
    not_found,
    party,
    running,
)
from wsgi_party import _caddy, _connection, _http, _request, HighAndDry, NoSuchServiceName, PartylineOperator, WSGIParty
from wsgi_party._common import within


def decline(payload):
    raise HighAndDry()


class Case(unittest.TestCase):
    def setUp(self):
        self.contexts = contextlib.ExitStack()
        self.addCleanup(self.contexts.close)

    def caddy(self, *answers, **kwargs):
        return self.contexts.enter_context(running(FakeCaddy(*answers, **kwargs)))

    def guest(self, url, **kwargs):
        return party(not_found, url=url, **kwargs)


class FirstTest(Case):
    def test_in_one_process(self):
        with environment():
            alone = WSGIParty(not_found)
        called = []
        own = PartylineOperator(alone)
        own.connect("x", lambda p: called.append("own") or "own")
        alone.connect("x", decline)
        alone.connect("x", lambda p: called.append("first") or None)
        alone.connect("x", lambda p: called.append("second") or 2)
        self.assertIs(own.ask_first("x", 7), None)
        self.assertEqual(called, ["first"])
        self.assertEqual(alone.ask_first("x", 7), "own")
        self.assertEqual(alone.ask_first("x", 7, operator=own), None)
        self.assertEqual(alone.ask_first(service_name="x", payload=7), "own")

    def test_nobody_answers(self):
        with environment():
            alone = WSGIParty(not_found)
            lenient = WSGIParty(not_found, ignore_missing_services=True)
        alone.connect("x", decline)
        with self.assertRaisesRegex(HighAndDry, "'x'"):
            alone.ask_first("x", None)
        with self.assertRaisesRegex(NoSuchServiceName, "'unknown'"):
            alone.ask_first("unknown", None)
        with self.assertRaises(HighAndDry):
            lenient.ask_first("unknown", None)
        alone.connect("fail", lambda p: 1 / 0)
        with self.assertRaises(ZeroDivisionError):
            alone.ask_first("fail", None)

    def test_who_is_in_this_process_comes_first(self):
        caddy = self.caddy(answers("theirs", "never there"))
        guest = self.guest(caddy.url)
        guest.connect("here", lambda p: "ours")
        guest.connect("there", decline)
        self.assertEqual(guest.ask_first("here", 1), "ours")
        self.assertEqual(caddy.requests, [])
        self.assertEqual(guest.ask_first("there", 1), "theirs")
        self.assertEqual([(r["path"], r["json"]) for r in caddy.requests], [("/there?first", 1)])

    def test_nobody_there_answers(self):
        caddy = self.caddy(
            answers(), NO_SUCH_SERVICE, NO_SUCH_SERVICE, (500, "text/plain", b""),
        )
        guest = self.guest(caddy.url)
        guest.connect("here", decline)
        for service, error in (
            ("x", HighAndDry), ("unknown", NoSuchServiceName), ("here", HighAndDry),
        ):
            with self.subTest(service), self.assertRaises(error):
                guest.ask_first(service, 1)
        with self.assertLogs("wsgi_party", logging.WARNING):
            with self.assertRaises(HighAndDry):
                guest.ask_first("x", 1)

    def test_a_link_gets_the_mount(self):
        with environment():
            guest = party(not_found)
        guest.connect("url", lambda p: "/page")
        received = _request.Received("GET", b"/", "", prefix="/blog")
        with within(_request.current, guest._guest.handled(received)):
            self.assertEqual(guest.ask_first("url", ["page", {}]), "/blog/page")


class PayloadTest(Case):
    def test_one_that_json_cannot_carry_fails_alone(self):
        caddy = self.caddy([answers("a"), answers("c")], [answers("a"), answers("c")])
        guest = self.guest(caddy.url)
        guest.connect("b", lambda p: "ours")
        for n, payload in enumerate(({"a": "\ud800", "b": 1}, [10**64])):
            with self.assertLogs("wsgi_party", logging.WARNING) as logs:
                logging.getLogger("wsgi_party").warning("so that there is one")
                got = guest.ask_around_many([("a", 1), ("b", payload), ("c", 3)])
            self.assertEqual(got, [["a"], ["ours"], ["c"]])
            self.assertEqual(len(logs.output), 1 if n else 2)  # it is said once
        self.assertIs(n, 1)
        self.assertEqual(caddy.requests[0]["json"], [
            {"service": "a", "payload": 1}, {"service": "c", "payload": 3},
        ])

    def test_what_is_said_names_the_members_and_no_values(self):
        guest = self.guest("http://127.0.0.1:1/")
        for service, payload, told in (
            ("a", {"secret": object(), "b": {"c": [1, {2}]}}, "payload['secret'] (object), payload['b']['c'][1] (set)"),
            ("b", b"secret", "payload (bytes)"),
        ):
            with self.assertLogs("wsgi_party", logging.WARNING) as logs:
                self.assertEqual(guest.ask_around(service, payload), [])
            line, = logs.output
            self.assertIn("%s is asked for in this process only" % service, line)
            self.assertIn(told, line)
            self.assertEqual(line.count("secret"), told.count("secret"))

    def test_a_name_that_nobody_can_have_is_not_asked_for(self):
        caddy = self.caddy(answers("x"))
        guest = self.guest(caddy.url)
        for name in ("", "\ud800", None, 7, ("a",)):
            for ask in (guest.ask_around, guest.ask_first):
                with self.subTest(name), self.assertRaises(NoSuchServiceName):
                    ask(name, [{"service": "x"}])
            lenient = self.guest(caddy.url, ignore_missing_services=True)
            self.assertEqual(lenient.ask_around_many([(name, 1)]), [[]])
        self.assertEqual(caddy.requests, [])
        lenient = self.guest(caddy.url, ignore_missing_services=True)
        self.assertEqual(lenient.ask_around_many([("", 1), ("x", 2)]), [[], ["x"]])


class Trickle:
    """A server that takes a request, and answers it byte by byte without end."""

    def __init__(self, address, *parts):
        self.parts = parts
        self.server = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self.server.bind(address)
        self.server.listen()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *args):
        self.ended.set()
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.server.close()

    def run(self):
        while not self.ended.is_set():
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                first, again = self.parts
                connection.sendall(first)
                while not self.ended.wait(0.01):
                    connection.sendall(again)


class TimeTest(Case):
    def asked(self, guest, *args):
        """Asks in a thread, which would otherwise wait without end."""
        got = []
        thread = threading.Thread(target=lambda: got.append(guest.ask_around(*args)), daemon=True)
        with self.assertLogs("wsgi_party", logging.WARNING) as logs:
            thread.start()
            thread.join(30)
        self.assertEqual(got, [[]])
        self.assertIn("timeout", logs.output[0].lower().replace("timed out", "timeout"))

    def test_all_waiting_together_has_an_end(self):
        folder = self.contexts.enter_context(tempfile.TemporaryDirectory())
        for n, parts in enumerate((
            (b"", b"H"),
            (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
            (b"HTTP/1.1 200 OK\r\n", b"a"),
            (b"HTTP/1.1 200 OK\r\n\r\n", b"["),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"["),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n[\r\n"),
            (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        )):
            path = os.path.join(folder, str(n))
            for address in (path, ("127.0.0.1", 0)):
                with self.subTest(parts=parts, address=address), Trickle(address, *parts) as server:
                    guest = self.guest(
                        "unix/" + path if address is path
                        else "http://localhost:%d" % server.server.getsockname()[1]
                    )
                    guest.ask_timeout = 0.2
                    self.asked(guest, "x", None)

    def test_sending_counts(self):
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            server.bind(("127.0.0.1", 0))
            server.listen()
            ended = threading.Event()

            def take():
                connection, _ = server.accept()
                with connection, contextlib.suppress(OSError):
                    while not ended.wait(0.01):
                        connection.recv(64)

            thread = threading.Thread(target=take)
            thread.start()
            guest = self.guest("http://127.0.0.1:%d" % server.getsockname()[1])
            guest.ask_timeout = 0.2
            try:
                self.asked(guest, "x", "x" * (2**20 - 2))
            finally:
                ended.set()
                thread.join()

    def test_a_second_request_has_what_is_left(self):
        caddy = self.caddy([answers()] * 256, answers())
        guest = self.guest(caddy.url)
        deadlines = []
        until = _http.until
        with mock.patch.object(
            _http, "until", lambda deadline: deadlines.append(deadline) or until(deadline)
        ):
            guest.ask_around_many([("x", n) for n in range(257)])
        self.assertEqual(len(caddy.requests), 2)
        self.assertEqual(len(set(deadlines)), 1)


class Unreachable:
    """A server that hangs up on whoever comes, and counts them, until it is told
    to answer as Caddy does.
    """

    def __init__(self):
        self.caddy = FakeCaddy()
        self.caddy.keeps_alive = False
        self.caddy.respond = lambda request: answers("theirs")
        self.caddy.verify_request = self.verify_request
        self.answering = False
        self.lock = threading.Lock()
        self.tries = 0

    def verify_request(self, request, address):
        with self.lock:
            self.tries += 1
        return self.answering


class UnreachedTest(Case):
    """Caddy is left alone for 5 s when it was not reached three times in a row."""

    def setUp(self):
        super().setUp()
        self.passed = 0.0  # seconds by which this test is ahead
        clock = mock.Mock(time=time.time, monotonic=lambda: time.monotonic() + self.passed)
        for module in (_caddy, _connection, _http):
            self.contexts.enter_context(mock.patch.object(module, "time", clock))
        self.server = Unreachable()
        self.contexts.enter_context(running(self.server.caddy))
        self.party = self.guest(self.server.caddy.url)
        self.party.connect("x", lambda p: "ours")
        self.breaker = self.party._guest.caddy.breaker
        self.assertEqual((self.breaker.pause, self.breaker.longest), (5.0, 5.0))
        self.breaker.pause = self.breaker.longest = 1000.0

    def ask(self, times, *levels):
        """Asks so often; what is logged meanwhile has these levels."""
        got = []
        with self.assertLogs("wsgi_party", logging.INFO) as logs:
            logging.getLogger("wsgi_party").info("so that there is one")
            for _ in range(times):
                got.append(self.party.ask_around("x", None))
        self.assertEqual([record.levelname for record in logs.records[1:]], list(levels))
        self.logs = logs.output[1:]
        return got

    def test_it_is_left_alone_and_tried_again(self):
        self.assertEqual(self.ask(2, "WARNING", "WARNING"), [["ours"]] * 2)
        self.assertEqual(self.server.tries, 2)
        self.ask(1, "WARNING", "WARNING")
        self.assertIn("Caddy could not be reached 3 times in a row", self.logs[0])
        self.assertEqual(self.ask(20), [["ours"]] * 20)
        self.assertEqual(self.party.ask_first("x", None), "ours")
        with self.assertRaises(HighAndDry):
            self.party.ask_first("somewhere", None)
        self.assertEqual(self.party.ask_around_many([("x", 1), ("y", 2)]), [["ours"], []])
        self.assertEqual(self.server.tries, 3)
        self.passed += 1001
        self.ask(20)  # of which one tries, and nothing is said of it
        self.assertEqual(self.server.tries, 4)
        self.passed += 1001
        self.server.answering = True
        self.assertEqual(self.ask(3, "INFO"), [["ours", "theirs"]] * 3)
        self.assertIn("Caddy is reached again", self.logs[0])
        self.assertEqual(self.server.tries, 7)
        # And it takes three in a row again.
        self.server.answering = False
        self.ask(2, "WARNING", "WARNING")
        self.server.answering = True
        self.ask(1)
        self.server.answering = False
        self.ask(2, "WARNING", "WARNING")
        self.server.answering = True
        self.assertEqual(self.ask(1), [["ours", "theirs"]])

    def test_a_refusal_is_an_answer(self):
        self.server.answering = True
        self.server.caddy.respond = lambda request: (500, "text/plain", b"")
        self.ask(9, *["WARNING"] * 9)
        self.assertEqual(self.server.tries, 9)

    def test_nobody_listening_and_no_answer_in_time_count(self):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            for port in (1, silent.getsockname()[1]):
                self.party = self.guest("http://127.0.0.1:%d" % port)
                self.party._guest.caddy.breaker.pause = 1000.0
                self.party.ask_timeout = 0.05
                self.ask(9, *["WARNING"] * 4)

    def test_one_of_many_threads_tries(self):
        self.ask(3, *["WARNING"] * 4)
        for _ in range(5):
            self.passed += 1001
            before = self.server.tries
            threads = [
                threading.Thread(target=self.party.ask_around_many, args=([("x", 1), ("y", 2)],))
                for _ in range(16)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(self.server.tries, before + 1)


if __name__ == "__main__":
    unittest.main()
