# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Links that are kept until the version of the line changes."""

import base64
import contextlib
import hashlib
import hmac
import unittest
from unittest import mock

from test_links import Case, LinkCaddy
from test_wsgi_party import KEY, answers, environment, running
from wsgi_party import WSGIParty, _kept
from wsgi_party._address import Whereabouts
from wsgi_party._guest import Guest
from wsgi_party._kept import MISSING, Kept
from wsgi_party._request import current
from wsgi_party._services import Services
from wsgi_party._settings import Keys, Settings


def mac(text, key=KEY):
    digest = hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def party_ask(address, line, key=KEY):
    said = f"{address}; line={line}" if line else address
    return f"{said}; mac={mac('wsgi_party ask v1' + chr(0) + said, key)}"


class LastingCaddy(LinkCaddy):
    """Says that links last, but for those whose names begin with "own."."""

    line = "a.1"

    def result(self, service, payload):
        result = super().result(service, payload)
        name = payload["name"] if isinstance(payload, dict) else payload[0]
        if not name.startswith("own."):
            result["lasting"] = True
        return result


class Clock:
    """time.monotonic for what is kept."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


class HeardTest(unittest.TestCase):
    def test_the_version(self):
        whereabouts = Whereabouts(Keys(KEY))
        there = "http://127.0.0.1:2080/"
        header = party_ask(there, "a.1")
        for _ in range(2):
            self.assertEqual(whereabouts.hear(header), "a.1")
        self.assertEqual(whereabouts.address.port, 2080)
        self.assertEqual(whereabouts.hear(""), "")
        for header in (
            header.replace("a.1", "a.2"),
            header.replace("; line=a.1", ""),
            header.partition("; mac")[0],
            header + "x",
            header + "; line=a.2",
            party_ask("http://127.0.0.1:1/", "a.1").replace(":1/", ":2/"),
            party_ask(there, ""),
        ):
            self.assertEqual(whereabouts.hear(header), "", header)
            self.assertEqual(whereabouts.address.port, 2080, header)

    def test_also_where_the_operator_says_the_address(self):
        whereabouts = Whereabouts(Keys(KEY), "http://127.0.0.1:1/")
        self.assertEqual(whereabouts.hear(party_ask("unix//x", "a.1")), "a.1")
        self.assertEqual(whereabouts.hear(party_ask("unix//x", "a.2", key="x" * 32)), "")
        self.assertEqual(whereabouts.address.port, 1)


class KeptTest(unittest.TestCase):
    def setUp(self):
        self.clock = Clock()
        patch = mock.patch.object(_kept, "time", self.clock)
        patch.start()
        self.addCleanup(patch.stop)
        self.kept = Kept()

    def got(self, line, what="x", prefix=""):
        known = self.kept.known(line, prefix)
        return None if known is None else known.get(what, MISSING)

    def test_until_the_version_changes(self):
        self.assertIs(self.got("1"), MISSING)
        self.kept.hear("1")
        self.kept.keep("1", "", "x", "/x")
        self.kept.keep("0", "", "y", "/y")
        self.assertEqual(self.got("1"), "/x")
        self.assertIs(self.got("1", "y"), MISSING)
        self.assertIs(self.got("1", prefix="/p"), MISSING)
        self.clock.now += 1000
        self.assertEqual(self.got("1"), "/x")
        self.assertIs(self.got("2"), MISSING)
        self.assertEqual(self.kept.version, "2")

    def test_a_second_where_no_request_says_the_version(self):
        self.kept.hear("1")
        self.kept.keep("1", "", "x", "/x")
        self.assertEqual(self.got(""), "/x")
        self.clock.now += 1.1
        self.assertIsNone(self.got(""))
        self.kept.hear("1")
        self.assertEqual(self.got(""), "/x")

    def test_an_old_version_again(self):
        self.kept.hear("1")
        self.kept.hear("2")
        self.kept.keep("2", "", "x", "/x")
        self.assertEqual(self.got("1"), "/x")
        self.kept.hear("1")  # an answer that was under way
        self.assertEqual(self.kept.version, "2")
        self.clock.now += 1.1
        self.assertIsNone(self.got("1"))
        self.assertEqual((self.kept.version, self.got("2")), ("2", "/x"))
        self.kept.hear("1")  # as Caddy says now
        self.assertEqual((self.kept.version, self.got("1")), ("1", MISSING))

    def test_one_that_was_never_heard(self):
        self.kept.hear("2")
        self.assertIs(self.got("1"), MISSING)
        self.kept.hear("2")
        self.assertEqual(self.kept.version, "2")
        self.kept.keep("2", "", "x", "/x")
        for _ in range(10):
            self.assertEqual(self.got("1"), "/x")

    def test_it_is_bounded(self):
        for n in range(1000):
            self.kept.hear(str(n))
        self.assertEqual(len(self.kept._outdated), _kept.MAX_OUTDATED)
        for n in range(3 * _kept.MAX_KEPT):
            self.kept.keep("999", str(n % 7), n, n)
            held = sum(len(known) for known in self.kept._now.by_prefix.values())
            self.assertLessEqual(held, _kept.MAX_KEPT)


class LinksTest(Case):
    def caddy(self, pages):
        self.clock = Clock()
        self.contexts.enter_context(mock.patch.object(_kept, "time", self.clock))
        self.server = self.contexts.enter_context(running(LastingCaddy(pages)))
        self.told = lambda line, url=self.server.url: party_ask(url + "/", line)
        self.guest = Guest(Settings.read(key=KEY), lambda pages: None, Services())

    def page(self, line, *names, endpoint="page", **received):
        with self.view(party_ask=self.told(line), **received) as count:
            urls = [self.guest.url(name, {"n": 1}, endpoint) for name in names]
        return urls, count[0]

    def test_known_links_cost_nothing(self):
        self.caddy({f"p{n}": f"/p{n}" for n in range(50)})
        names = [f"p{n}" for n in range(50)]
        urls = [f"/p{n}" for n in range(50)]
        self.assertEqual(self.page("a.1", *names), (urls, 50))
        for _ in range(3):
            self.clock.now += 1000
            self.assertEqual(self.page("a.1", *names), (urls, 0))
        self.assertEqual(self.page("a.1", *names, endpoint="other"), (urls, 0))
        self.server.pages["p7"] = "/moved"
        self.server.line = "a.2"
        urls[7] = "/moved"
        self.assertEqual(self.page("a.2", *names), (urls, 1))
        self.assertEqual(len(self.server.asked), 50)
        self.assertEqual(self.page("a.2", *names, endpoint="other"), (urls, 0))

    def test_a_page_that_had_only_known_links_is_remembered(self):
        self.caddy({"a": "/a", "b": "/b"})
        self.page("a.1", "a", "b", endpoint="one")
        self.assertEqual(self.page("a.1", "a", "b", endpoint="two"), (["/a", "/b"], 0))
        self.server.line = "a.2"
        self.assertEqual(self.page("a.2", "a", "b", endpoint="two"), (["/a", "/b"], 1))

    def test_what_depends_on_more_is_asked_for_each_time(self):
        self.caddy({"a": "/a", "own.b": "/b"})
        self.page("a.1", "a", "own.b")
        for n in range(3):
            self.server.pages["own.b"] = f"/{n}"
            self.assertEqual(self.page("a.1", "a", "own.b"), (["/a", f"/{n}"], 1))
            self.assertEqual(self.server.asked, ["own.b"])

    def test_that_nobody_knows_a_link_is_kept_too(self):
        self.caddy({})
        self.assertEqual(self.page("a.1", "a"), ([None], 1))
        self.assertEqual(self.page("a.1", "a"), ([None], 0))
        self.server.pages["a"] = "/a"
        self.server.line = "a.2"
        self.assertEqual(self.page("a.2", "a"), (["/a"], 1))

    def test_each_prefix_has_its_own(self):
        self.caddy({"a": lambda values: self.server.requests[-1]["headers"]["X-Forwarded-Prefix"] + "/a"})
        for _ in range(2):
            for prefix in "/p", "/q":
                self.assertEqual(self.page("a.1", "a", prefix=prefix)[0], [prefix + "/a"])
        self.assertEqual(len(self.server.requests), 2)

    def test_a_caddy_that_says_no_version(self):
        self.caddy({"a": "/a"})
        self.server.line = ""
        for _ in range(2):
            with self.view(party_ask=self.told("")) as count:
                self.assertEqual(self.guest.url("a", {}), "/a")
            self.assertEqual(count[0], 1)

    def test_a_version_again_costs_one_request_a_second(self):
        self.caddy({"a": "/a"})
        self.page("a.1", "a")
        self.server.line = "a.2"
        self.page("a.2", "a")
        before = len(self.server.requests)
        for _ in range(100):
            self.clock.now += 0.05
            for line in "a.1", "a.2":
                self.assertEqual(self.page(line, "a")[0], ["/a"])
        self.assertLessEqual(len(self.server.requests) - before, 6)

    def test_without_requests_caddy_is_asked_once_a_second_whether_it_is_so(self):
        self.caddy({"a": "/a"})
        self.page("a.1", "a")
        self.clock.now += 2
        for _ in range(10):
            self.assertEqual(self.guest.url("a", {"n": 1}), "/a")
        self.assertEqual([r["json"] is None for r in self.server.requests], [False, True])
        self.server.pages["a"], self.server.line = "/moved", "a.2"
        self.clock.now += 2
        self.assertEqual(self.guest.url("a", {"n": 1}), "/moved")

    def test_without_caddy_nothing_is_known(self):
        self.caddy({"a": "/a"})
        self.page("a.1", "a")
        self.clock.now += 2
        with mock.patch.object(self.guest.caddy._connections, "send", side_effect=ConnectionError):
            with self.assertLogs("wsgi_party", "WARNING"):
                for _ in range(3):
                    self.assertIsNone(self.guest.url("a", {"n": 1}))
                    self.clock.now += 2
        self.assertEqual(self.page("a.1", "a"), (["/a"], 0))

    def test_not_while_an_ask_is_answered(self):
        self.caddy({"a": "/a"})
        self.page("a.1", "a")
        with self.view(party_ask=self.told("a.1")) as count:
            handled = current.get()
            handled.token, handled.expires = "x", 1 << 40
            self.assertEqual(self.guest.url("a", {"n": 1}), "/a")
        self.assertEqual(count[0], 1)

    def test_two_caddys(self):
        self.caddy({"a": "/a"})
        other = self.contexts.enter_context(running(LastingCaddy({"a": "/b"})))
        other.line = "b.1"
        for _ in range(3):
            self.assertEqual(self.page("a.1", "a")[0], ["/a"])
            with self.view(party_ask=self.told("b.1", other.url)):
                self.assertEqual(self.guest.url("a", {"n": 1}), "/b")
        self.assertEqual((len(self.server.requests), len(other.requests)), (1, 1))


class OriginalTest(unittest.TestCase):
    """Applications that were written for the original."""

    def test_links_are_kept(self):
        with environment(), contextlib.ExitStack() as contexts:
            server = contexts.enter_context(running(LastingCaddy({"a": "/a", "own.b": "/b"})))

            def application(environ, start_response):
                start_response("200 OK", [])
                return [repr(party.ask_around("url", (environ["PATH_INFO"][1:], {}))).encode()]

            server.result = lambda service, payload: {
                **answers("/x"), "lasting": payload[0] == "a",
            }
            server.respond = lambda request: server.result("url", request["json"])
            party = WSGIParty(application, key=KEY)
            def get(path, line):
                before = len(server.requests)
                environ = {
                    "REQUEST_METHOD": "GET", "PATH_INFO": path,
                    "HTTP_PARTY_ASK": party_ask(server.url + "/", line),
                }
                body = b"".join(party(environ, lambda *args: None))
                return body, len(server.requests) - before

            self.assertEqual(get("/a", "a.1"), (b"['/x']", 1))
            self.assertEqual(get("/a", "a.1"), (b"['/x']", 0))
            self.assertEqual(get("/b", "a.1"), (b"['/x']", 1))
            self.assertEqual(get("/b", "a.1"), (b"['/x']", 1))
            server.line = "a.2"
            self.assertEqual(get("/a", "a.2"), (b"['/x']", 1))


if __name__ == "__main__":
    unittest.main()
