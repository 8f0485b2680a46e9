# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Responses of HTTP/1.1: as they may be written, in whatever parts they come, and what is none."""

import contextlib
import http.client
import socket
import threading
import time
import unittest

from wsgi_party._address import Address
from wsgi_party._http import MAX_HEAD, Exchange, request

OK = b"HTTP/1.1 200 OK\r\n"
HALF = b"5\r\nhello\r\n"


class Case(unittest.TestCase):
    def exchange(self, parts, method="POST"):
        """Returns the exchange and its response, which comes in these parts, and ends."""
        here, there = socket.socketpair()

        def send():
            with there, contextlib.suppress(BrokenPipeError):
                for part in parts:
                    there.sendall(part)

        thread = threading.Thread(target=send)
        self.addCleanup(thread.join)
        self.addCleanup(here.close)  # before that
        thread.start()
        exchange = Exchange(here, time.monotonic() + 60)
        return exchange, exchange.response(method)


class ResponseTest(Case):
    def test_where_it_ends(self):
        for sent, content, may_go_on in (
            (OK + b"Content-Length: 5\r\n\r\nhello", b"hello", True),
            (OK + b"Content-Length: 0\r\n\r\n", b"", True),
            (OK + b"content-LENGTH:\t5 \r\n\r\nhello", b"hello", True),
            (b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
            (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
            (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b"", True),
            (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"", True),
            (OK + b"Transfer-Encoding: Chunked\r\n\r\n" + HALF + b"0\r\n\r\n", b"hello", True),
            (
                OK + b"Transfer-Encoding: chunked\r\n\r\n0005;x=\"\r\r\"\r\nhello\r\n"
                b"A;y\r\n0123456789\r\n000\r\nA: b\r\nC: d\r\n\r\n",
                b"hello0123456789", True,
            ),
            # Whatever another would read of these: the connection is of no more use.
            (OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n" + HALF + b"0\r\n\r\n", b"hello", False),
            (OK + b"\r\nhello", b"hello", False),
            (OK + b"Connection: Close\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
            (OK + b"Connection: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
            (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
            # What is going to be said is not what was asked for.
            (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 5\r\n\r\nhello", b"hello", True),
            (
                b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
                + OK + b"Content-Length: 5\r\n\r\nhello",
                b"hello", True,
            ),
        ):
            for parts in ([sent], [b"%c" % byte for byte in sent]):
                with self.subTest(sent=sent, parts=len(parts)):
                    exchange, response = self.exchange(parts)
                    self.assertEqual((response.content, exchange.may_go_on), (content, may_go_on))

    def test_of_head_there_is_no_content(self):
        exchange, response = self.exchange([OK + b"Content-Length: 5\r\n\r\n"], "HEAD")
        self.assertEqual((response.content, exchange.may_go_on), (b"", True))

    def test_what_is_read_of_it(self):
        head = b"HTTP/1.1 404 Not Found\r\nContent-Type: Application/Problem+JSON; charset=utf-8\r\n"
        _, response = self.exchange([head + b"Party-Line: v1.2\r\nContent-Length: 2\r\n\r\n{}"])
        self.assertEqual(response, (404, "application/problem+json", b"{}", "v1.2"))

    def test_many_small_chunks(self):
        chunks = [b"1\r\n%d\r\n" % (n % 10) for n in range(MAX_HEAD // 2)]
        exchange, response = self.exchange(
            [OK + b"Transfer-Encoding: chunked\r\n\r\n", b"".join(chunks), b"0\r\n\r\n"]
        )
        self.assertEqual((len(response.content), exchange.may_go_on), (len(chunks), True))

    def test_what_is_no_response(self):
        chunked = OK + b"Transfer-Encoding: chunked\r\n\r\n"
        for sent in (
            b"hello\r\n\r\n", b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 20\r\n\r\n", b"HTTP/1.1 2000\r\n\r\n", b"\r\n\r\n",
            OK + b"A b\r\n\r\n", OK + b"A : b\r\n\r\n", OK + b": b\r\n\r\n", OK + b"A: b\r\n c\r\n\r\n",
            OK + b"Content-Length: -1\r\n\r\n", OK + b"Content-Length: 5x\r\n\r\nhello",
            OK + b"Content-Length: +5\r\n\r\nhello", OK + b"Content-Length:\r\n\r\n",
            OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", OK + b"Content-Length: %b\r\n\r\n" % (b"1" * 101),
            OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", OK + b"Transfer-Encoding: identity\r\n\r\n",
            chunked + b"\r\nhello", chunked + b"x\r\n", chunked + b"-1\r\n", chunked + b"0x5\r\nhello\r\n",
            chunked + b"5\r\nhello!\r\n0\r\n\r\n", chunked + b"%b\r\n" % (b"0" * 17),
            OK + b"A: b\r\n" * (MAX_HEAD // 6 + 1) + b"\r\n",
            (b"HTTP/1.1 100 Continue\r\n\r\n") * (MAX_HEAD // 25 + 1) + OK + b"\r\n",
            chunked + b"0\r\n" + b"A: b\r\n" * (MAX_HEAD // 6 + 1) + b"\r\n",
        ):
            with self.subTest(sent[:100]), self.assertRaises(http.client.HTTPException):
                self.exchange([sent])

    def test_one_that_is_cut_off(self):
        whole = OK + b"Transfer-Encoding: chunked\r\n\r\n" + HALF + b"0\r\n\r\n"
        with self.assertRaises(http.client.RemoteDisconnected):
            self.exchange([])
        for length in range(1, len(whole)):
            with self.subTest(whole[:length]), self.assertRaises(http.client.IncompleteRead):
                self.exchange([whole[:length]])


class RequestTest(unittest.TestCase):
    def test_all_of_it(self):
        headers = {"Authorization": b"Bearer x", "X-Forwarded-Prefix": "/caf\xe9"}
        self.assertEqual(
            request("POST", "/x?first", "h:80", headers, b"{}"),
            b"POST /x?first HTTP/1.1\r\nHost: h:80\r\nAccept-Encoding: identity\r\nAuthorization: Bearer x\r\n"
            b"X-Forwarded-Prefix: /caf\xe9\r\nContent-Length: 2\r\n\r\n{}",
        )
        self.assertEqual(
            request("HEAD", "/", "h", {}, None),
            b"HEAD / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: identity\r\n\r\n",
        )

    def test_one_that_would_be_two(self):
        for value in ("a\r\nB: c", "a\nB: c", b"a\rB: c", "\u20ac"):
            with self.subTest(value), self.assertRaises(ValueError):
                request("POST", "/", "h", {"A": value}, b"{}")

    def test_the_host(self):
        for url, host in (
            ("http://127.0.0.1:2080/", "127.0.0.1:2080"), ("https://party.example/x", "party.example"),
            ("http://[::1]:80/", "[::1]:80"), ("http://[fe80::1%25lo]/", "[fe80::1]"),
            ("http://b\xfccher.example:8080", "xn--bcher-kva.example:8080"), ("unix//run/party.sock", "localhost"),
        ):
            self.assertEqual(Address.parse(url).authority, host)
        for url in ("http://h/a b", "http://h/\xe9", "http://h/a\x7f"):
            with self.subTest(url), self.assertRaisesRegex(ValueError, "WSGI_PARTY_URL"):
                Address.parse(url)


if __name__ == "__main__":
    unittest.main()
