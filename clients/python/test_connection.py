# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Connections to Caddy: kept, and closed by either side at any moment, and answers that
are too long, too slow, or none.
"""

import contextlib
import json
import logging
import os
import re
import socket
import threading
import time
import unittest
import warnings
from unittest import mock

from test_wsgi_party import KEY, FakeCaddy, answers, running
from wsgi_party import _connection, _http
from wsgi_party._address import Address
from wsgi_party._caddy import Ask, Breaker, Caddy
from wsgi_party._settings import Keys


class Script:
    """A server that reads a request, whatever it is, and does as it is told with the
    connection: one function for each request of a connection, in turn.
    """

    def __init__(self, *connections):
        self.connections = list(connections)
        self.opened = 0
        self.requests = 0
        self.server = socket.socket()
        self.server.bind(("127.0.0.1", 0))
        self.server.listen()
        self.address = Address("127.0.0.1", self.server.getsockname()[1], "")
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.run)]

    def __enter__(self):
        self.threads[0].start()
        return self

    def __exit__(self, *args):
        self.ended.set()
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        for thread in self.threads:
            thread.join()

    def run(self):
        while not self.ended.is_set():
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            steps = self.connections[min(self.opened, len(self.connections) - 1)]
            self.opened += 1
            thread = threading.Thread(target=self.serve, args=(connection, steps))
            self.threads.append(thread)
            thread.start()

    def serve(self, connection, steps):
        with connection, contextlib.suppress(OSError):
            connection.settimeout(0.02)
            for step in steps:
                request = b""
                while not self.ended.is_set() and not whole(request):
                    try:
                        part = connection.recv(1 << 16)
                    except socket.timeout:
                        continue
                    if not part:
                        return
                    request += part
                self.requests += 1
                connection.settimeout(20)
                step(connection)
                connection.settimeout(0.02)
            while not self.ended.is_set():
                try:
                    if not connection.recv(1 << 16):
                        return
                except socket.timeout:
                    continue


def whole(request):
    head, end, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"(?im)^content-length: *(\d+)", head)
    return end and len(body) >= int(length[1] if length else 0)


def then(*steps):
    """Returns one step of several, and an event that is set after the last one."""
    done = threading.Event()

    def step(connection):
        try:
            for step in steps:
                step(connection)
        finally:
            done.set()

    return step, done


def response(body=b'{"answers":[1]}', *headers, more=b"", length=None):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % (
        len(body) if length is None else length
    )
    head += b"".join(header + b"\r\n" for header in headers)
    return lambda connection: connection.sendall(head + b"\r\n" + body + more)


def close(connection):
    connection.shutdown(socket.SHUT_RDWR)


def reset(connection):
    linger = b"\1\0\0\0\0\0\0\0"
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connection.close()


def endless(first, again):
    def send(connection):
        connection.sendall(first)
        while True:
            connection.sendall(again)

    return send


class Case(unittest.TestCase):
    def setUp(self):
        self.contexts = contextlib.ExitStack()
        self.addCleanup(self.contexts.close)

    def script(self, *connections):
        return self.contexts.enter_context(Script(*connections))

    def ask(self, caddy, asks=1, timeout=5.0):
        results = caddy.ask([Ask("x", b"1")] * asks, Keys(KEY), {}, timeout)
        return [result.get("answers") for result in results]


class KeptTest(Case):
    def test_one_connection_for_one_ask_after_the_other(self):
        server = self.script([response()] * 5)
        caddy = Caddy(server.address)
        for _ in range(5):
            self.assertEqual(self.ask(caddy), [[1]])
        self.assertEqual((server.opened, server.requests), (1, 5))

    def test_one_that_was_closed_meanwhile(self):
        for end in (close, reset):
            server = self.script([response()], [response()])
            caddy = Caddy(server.address)
            step, ended = then(response(), end)
            server.connections[0] = [step]
            self.assertEqual(self.ask(caddy), [[1]])
            self.assertTrue(ended.wait(60))
            self.assertEqual(self.ask(caddy), [[1]])
            self.assertEqual((server.opened, server.requests), (2, 2))

    def test_one_that_is_closed_as_it_is_used(self):
        for end in (close, reset):
            server = self.script([response(), end], [response()])
            caddy = Caddy(server.address)
            self.assertEqual(self.ask(caddy), [[1]])
            self.assertEqual(self.ask(caddy), [[1]])
            self.assertEqual((server.opened, server.requests), (2, 3))
            self.assertFalse(caddy.breaker._unreached)

    def test_a_new_one_that_is_closed_is_not_tried_again(self):
        server = self.script([close])
        with self.assertLogs("wsgi_party", logging.WARNING):
            self.assertEqual(self.ask(Caddy(server.address)), [[]])
        self.assertEqual(server.opened, 1)

    def test_one_that_is_out_of_step_is_not_used_again(self):
        evil = b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n" + b'{"answers":[2]}'
        for first in (
            response(more=b"x"), response(more=evil), response(b'{"answers":[1]}', b"Connection: close"),
            lambda connection: (response()(connection), time.sleep(0.05), connection.sendall(evil)),
        ):
            step, sent = then(first)
            server = self.script([step], [response()])
            caddy = Caddy(server.address)
            self.assertEqual(self.ask(caddy), [[1]])
            self.assertTrue(sent.wait(60))
            self.assertEqual(self.ask(caddy), [[1]])
            self.assertEqual(server.opened, 2)

    def test_one_that_was_idle_for_long(self):
        server = self.script([response()] * 2)
        caddy = Caddy(server.address)
        self.ask(caddy)
        with mock.patch.object(_connection, "IDLE", 0.0):
            self.ask(caddy)
        self.assertEqual(server.opened, 2)

    def test_a_child_of_a_fork_has_its_own(self):
        server = self.script([response()] * 3)
        caddy = Caddy(server.address)
        self.assertEqual(self.ask(caddy), [[1]])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the threads that there are
            child = os.fork()
        if not child:
            try:
                os._exit(0 if self.ask(caddy) == [[1]] else 1)
            finally:
                os._exit(2)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertEqual(self.ask(caddy), [[1]])
        self.assertEqual((server.opened, server.requests), (2, 3))

    def test_not_more_than_some(self):
        caddy = self.contexts.enter_context(running(FakeCaddy()))
        start = threading.Barrier(40)
        caddy.respond = lambda request: (start.wait(60), answers(1))[1]
        client = Caddy(Address.parse(caddy.url))
        threads = [threading.Thread(target=self.ask, args=(client, 1, 60)) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(client._connections._idle), _connection.MAX_IDLE)

    def test_threads_do_not_share_one(self):
        caddy = self.contexts.enter_context(running(FakeCaddy()))
        caddy.respond = lambda request: answers(request["json"])
        client = Caddy(Address.parse(caddy.url))
        wrong = []

        def run(n):
            for i in range(50):
                ask = Ask("x", json.dumps([n, i]).encode())
                got, = client.ask([ask], Keys(KEY), {}, 5.0)
                if got["answers"] != [[n, i]]:
                    wrong.append(got)

        threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])


class AnswerTest(Case):
    """From what is not Caddy, or a Caddy that is not well."""

    def fails(self, told, *steps, timeout=5.0):
        server = self.script(list(steps))
        began = time.monotonic()
        with self.assertLogs("wsgi_party", logging.WARNING) as logs:
            self.assertEqual(self.ask(Caddy(server.address), timeout=timeout), [[]])
        self.assertLess(time.monotonic() - began, 60)
        self.assertIn(told, logs.output[-1] if told.startswith("asking") else "".join(logs.output))
        self.assertNotIn(KEY, "".join(logs.output))

    def test_too_long(self):
        most = 8 << 20
        head = b"HTTP/1.1 200 OK\r\n"
        self.fails("more than", response(length=most * 2))
        self.fails("more than", response(length=10**30))
        self.fails("more than", endless(head + b"\r\n", b"x" * 65536))
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        self.fails("more than", endless(head + b"Transfer-Encoding: chunked\r\n\r\n", chunk))
        self.fails("header lines", endless(head, b"A: b\r\n"))
        self.fails("header lines", endless(head + b"A: ", b"x" * 65536))

    def test_as_long_as_may_be(self):
        body = b'{"answers":["%s"]}' % (b"x" * (8 << 20))
        server = self.script([response(body)])
        (got,), = self.ask(Caddy(server.address))
        self.assertEqual(len(got), 8 << 20)

    def test_without_an_end(self):
        head = b"HTTP/1.1 200 OK\r\n"

        def trickle(first, again):
            def send(connection):
                connection.sendall(first)
                while True:
                    time.sleep(0.01)
                    connection.sendall(again)

            return send

        for first, again in (
            (head, b"A: b\r\n"[:1]), (head + b"\r\n", b" "), (b"", b"H"),
            (head + b"Content-Length: 1000000\r\n\r\n", b" "),
            (head + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
            (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ):
            with self.subTest(first + again):
                began = time.monotonic()
                self.fails("", trickle(first, again), timeout=0.3)
                self.assertLess(time.monotonic() - began, 15)

    def test_cut_off(self):
        self.fails("IncompleteRead", lambda c: (response(length=1000)(c), close(c)))
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"
        self.fails("IncompleteRead", lambda c: (c.sendall(head), close(c)))
        self.fails("", lambda c: (c.sendall(b"HTTP/1.1 200 OK\r\nContent-"), close(c)))

    def test_redirects_are_not_followed(self):
        with socket.socket() as elsewhere:
            elsewhere.bind(("127.0.0.1", 0))
            elsewhere.listen()
            elsewhere.settimeout(0.2)
            for status in (301, 302, 303, 307, 308):
                head = b"HTTP/1.1 %d X\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n"
                head %= (status, elsewhere.getsockname()[1])
                self.fails("status %d" % status, lambda c: c.sendall(head))
            with self.assertRaises(socket.timeout):
                elsewhere.accept()

    def test_other_numbers_of_results(self):
        for body in (b"[]", b"{}", b"null", b'[{"answers":[1]}]', b"[1,2,3]", b"[" * 100000):
            server = self.script([response(body)])
            with self.assertLogs("wsgi_party", logging.WARNING):
                self.assertEqual(self.ask(Caddy(server.address), 2), [[], []])


class BreakerTest(Case):
    """Caddy is left alone for 1 s, and then for twice as long each time, up to 30 s."""

    def setUp(self):
        super().setUp()
        self.now = 0.0
        clock = mock.Mock(monotonic=lambda: self.now)
        self.contexts.enter_context(mock.patch("wsgi_party._caddy.time", clock))
        quiet = mock.patch.object(logging.getLogger("wsgi_party"), "disabled", True)
        self.quiet = self.contexts.enter_context(contextlib.ExitStack())
        self.quiet.enter_context(quiet)

    def test_how_long(self):
        breaker = Breaker()
        self.assertFalse(breaker.is_open())
        for pause in (1, 2, 4, 8, 16, 30, 30):
            breaker.note(reached=False)
            self.now += pause - 0.01
            self.assertTrue(breaker.is_open())
            self.now += 0.02
            self.assertFalse(breaker.is_open())  # one tries
            self.assertTrue(breaker.is_open())
        breaker.note(reached=True)
        self.assertFalse(breaker.is_open())
        self.assertFalse(breaker.is_open())
        breaker.note(reached=False)
        self.now += 1.01
        self.assertFalse(breaker.is_open())

    def test_one_that_tries_and_never_comes_back(self):
        breaker = Breaker()
        breaker.note(reached=False)
        for pause in (1, 2, 4):
            self.now += pause + 0.01
            self.assertFalse(breaker.is_open())
            self.assertTrue(breaker.is_open())

    def test_asks_that_fail_together_count_once(self):
        breaker = Breaker()
        for _ in range(5):
            breaker.note(reached=False)
        self.now += 1.01
        self.assertFalse(breaker.is_open())

    def test_it_is_said_once(self):
        self.quiet.close()
        with self.assertLogs("wsgi_party", logging.DEBUG) as logs:
            caddy = Caddy(Address("127.0.0.1", 1, ""))
            with mock.patch.object(caddy._connections, "send", side_effect=ConnectionError):
                for _ in range(5):
                    self.ask(caddy)
                    self.now += 31
            post = mock.Mock(
                return_value=_http.Response(200, "application/json", b'{"answers":[]}', "")
            )
            with mock.patch.object(caddy._connections, "send", post):
                self.ask(caddy)
        self.assertEqual([record.levelname for record in logs.records], [
            "WARNING", "WARNING", "DEBUG", "DEBUG", "DEBUG", "DEBUG", "INFO",
        ])


if __name__ == "__main__":
    unittest.main()
