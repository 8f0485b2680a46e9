# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Links to other applications' pages, and what an application tells of its own."""

import contextlib
import datetime
import decimal
import json
import logging
import pathlib
import threading
import unittest
import uuid
from urllib.parse import quote, unquote

from test_wsgi_party import KEY, FakeCaddy, answers, environment, running
from wsgi_party import HighAndDry
from wsgi_party._common import within
from wsgi_party._guest import Guest
from wsgi_party._links import MAX_ENDPOINTS, MAX_LINKS
from wsgi_party._manifest import Manifest, Pages
from wsgi_party._request import Received, current
from wsgi_party._services import Services
from wsgi_party._settings import Settings
from wsgi_party._template import Template, Unsayable


class LinkCaddy(FakeCaddy):
    """Knows pages by their names: a text, or a function of the values."""

    def __init__(self, pages):
        super().__init__()
        self.pages = pages

    def respond(self, request):
        if request["path"] == "/":
            self.asked = [ask["payload"]["name"] for ask in request["json"]]
            return [self.result(ask["service"], ask["payload"]) for ask in request["json"]]
        self.asked = [request["json"]["name"]]
        return self.result("url", request["json"])

    def result(self, service, payload):
        page = self.pages.get(payload["name"])
        if page is None:
            return answers()
        return answers(page(payload["values"]) if callable(page) else page)


class Case(unittest.TestCase):
    def setUp(self):
        self.contexts = contextlib.ExitStack()
        self.addCleanup(self.contexts.close)
        self.contexts.enter_context(environment())

    def caddy(self, pages):
        self.server = self.contexts.enter_context(running(LinkCaddy(pages)))
        self.guest = self.new_guest()

    def new_guest(self, url=None):
        settings = Settings.read(key=KEY, url=self.server.url if url is None else url)
        return Guest(settings, lambda pages: None, Services())

    @contextlib.contextmanager
    def view(self, guest=None, **received):
        """A request while it is handled; says how often Caddy is asked meanwhile."""
        guest = guest or self.guest
        handled = guest.handled(Received("GET", b"/", "", **received))
        before = len(self.server.requests)
        count = []
        with within(current, handled):
            yield count
        guest.done(handled)
        count.append(len(self.server.requests) - before)

    def no_warnings(self):
        @contextlib.contextmanager
        def check():
            with self.assertLogs("wsgi_party", logging.WARNING) as logs:
                logging.getLogger("wsgi_party").warning("the only one")
                yield
            self.assertEqual(len(logs.output), 1, logs.output)

        return check()


class LinksTest(Case):
    def test_a_page_asks_once(self):
        self.caddy({"p%d" % n: "/p%d" % n for n in range(60)})

        def page(*numbers):
            with self.view() as count:
                for n in numbers:
                    for _ in range(2):
                        self.assertEqual(self.guest.url("p%d" % n, {}, "index"), "/p%d" % n)
            return count[0]

        self.assertEqual(page(*range(50)), 50)
        self.assertEqual(page(*range(50)), 1)
        self.assertEqual(len(self.server.asked), 50)
        self.assertEqual(page(*range(49, -1, -1)), 1)
        self.assertEqual(page(*range(50), 51), 2)
        self.assertEqual(page(*range(50), 51), 1)
        # What the last view did not have is not asked for again.
        self.assertEqual(page(1, 2), 1)
        self.assertEqual(len(self.server.asked), 51)
        self.assertEqual(page(1, 2), 1)
        self.assertEqual(len(self.server.asked), 2)
        # A view without any, such as a redirect, says nothing.
        self.assertEqual(page(), 0)
        self.assertEqual(page(2), 1)
        self.assertEqual(len(self.server.asked), 2)

    def test_other_values_are_another_link(self):
        self.caddy({"item": lambda values: "/items/" + quote(json.dumps(values))})
        with self.view() as count:
            for values in (
                {"id": 1}, {"id": "1"}, {"id": True}, {"id": 1.0}, {"id": None}, {"id": [1]},
                {"id": ["1"]}, {"name": 1}, {"id": 1, "name": 1}, {},
            ):
                for _ in range(2):
                    got = self.guest.url("item", values, "index")
                    self.assertEqual(json.loads(unquote(got[len("/items/"):])), values)
        self.assertEqual(count, [10])

    def test_values_are_texts_as_in_the_frameworks_own_urls(self):
        asked = []
        self.caddy({"item": lambda values: asked.append(values) or "/"})
        number = uuid.UUID(int=7)
        with self.view():
            self.guest.url("item", {
                "id": number, "day": datetime.date(2026, 11, 28), "price": decimal.Decimal("1.50"),
                "path": pathlib.PurePosixPath("a/b"), "tags": {"x"}, "pair": (1, number),
                "none": None, "n": 12345678901234567890, "map": {"a": number},
            })
        self.assertEqual(asked, [{
            "id": str(number), "day": "2026-11-28", "price": "1.50", "path": "a/b", "tags": ["x"],
            "pair": [1, str(number)], "none": None, "n": 12345678901234567890,
            "map": {"a": str(number)},
        }])

    def test_each_endpoint_and_each_guest_by_itself(self):
        self.caddy({"a": "/a", "b": "/b", "c": "/c"})
        other = self.new_guest()

        def view(guest, endpoint, *names):
            with self.view(guest) as count:
                for name in names:
                    guest.url(name, {}, endpoint)
            return count[0]

        self.assertEqual(view(self.guest, "one", "a", "b"), 2)
        self.assertEqual(view(self.guest, "two", "a", "c"), 2)
        self.assertEqual(view(other, "one", "a", "b"), 2)
        for guest, endpoint, names in (
            (self.guest, "one", "ab"), (self.guest, "two", "ac"), (other, "one", "ab"),
        ):
            self.assertEqual(view(guest, endpoint, *names), 1)
            self.assertEqual(self.server.asked, list(names))
        self.assertEqual(view(self.guest, "", "a", "b"), 2)
        self.assertEqual(view(self.guest, "", "a", "b"), 2)

    def test_without_a_request_each_link_is_asked_for(self):
        self.caddy({"a": "/a"})
        for _ in range(2):
            self.assertEqual(self.guest.url("a", {}, "index"), "/a")
        self.assertEqual(len(self.server.requests), 2)
        with self.view(self.new_guest()):  # another's
            for _ in range(2):
                self.assertEqual(self.guest.url("a", {}, "index"), "/a")
        self.assertEqual(len(self.server.requests), 4)
        self.guest.fetch_links([("a", {})])
        self.assertEqual(len(self.server.requests), 4)

    def test_nothing_outlives_the_request(self):
        self.caddy({"a": "/a"})
        for url in ("/a", "/b", None):
            self.server.pages["a"] = url
            with self.view():
                self.assertEqual(self.guest.url("a", {}, "index"), url)

    def test_a_page_may_say_at_once_what_it_is_going_to_have(self):
        self.caddy({"item": lambda values: "/items/%d" % values["id"], "nav": "/nav"})
        for view in range(2):
            with self.view() as count:
                self.guest.fetch_links(
                    (("item", {"id": 10 * view + n}) for n in range(9)), "list"
                )
                for n in range(9):
                    got = self.guest.url("item", {"id": 10 * view + n}, "list")
                    self.assertEqual(got, "/items/%d" % (10 * view + n))
                self.assertEqual(self.guest.url("nav", {}, "list"), "/nav")
            self.assertEqual(count, [1 if view else 2])

    def test_what_is_remembered_is_bounded(self):
        self.caddy({})
        self.server.respond = lambda request: (
            [answers("/")] * len(request["json"]) if request["path"] == "/" else answers("/")
        )
        with self.view():
            self.guest.fetch_links([("p", {"n": n}) for n in range(MAX_LINKS + 50)], "index")
            for n in range(MAX_LINKS + 50):
                self.guest.url("p", {"n": n}, "index")
            self.guest.url("p", {"n": "x" * 2000}, "index")
        learned = self.guest._links._learned
        self.assertEqual(len(learned["index"]), MAX_LINKS)
        with self.view() as count:
            self.guest.url("p", {"n": 0}, "index")
        self.assertEqual(count, [1])
        for n in range(MAX_ENDPOINTS + 5):
            with self.view():
                self.guest.url("p", {}, "endpoint %d" % n)
        self.assertEqual(len(learned), MAX_ENDPOINTS)
        self.assertNotIn("index", learned)
        self.assertIn("endpoint %d" % (MAX_ENDPOINTS + 4), learned)

    def test_a_link_that_nobody_can_make(self):
        self.caddy({"a": "/a"})
        for _ in range(2):
            with self.view() as count:
                for _ in range(2):
                    self.assertIsNone(self.guest.url("nobody", {}, "index"))
                    self.assertEqual(self.guest.url("a", {}, "index"), "/a")
        self.assertEqual(count, [1])

    def test_what_is_no_link(self):
        urls = [
            "javascript:alert(1)", "//evil.example/", "/\\evil.example", "\\\\evil", "", "a", "a/b",
            "http:///x", "http:x", "https://", "ftp://x/", "https://a@evil/", "/a\r\nSet-Cookie: b",
            "/\x00", "/a b", "/a\tb", "/\x7f", "/\x85", "/\u2028", "/a\"b", "/<b>", "/a`", " /a",
            "HTTPS://x/", "https://x\\y/", "/" + "é", 7, None, ["/a"], {"a": "/a"}, True,
        ]
        self.caddy({"p%d" % n: lambda values, url=url: url for n, url in enumerate(urls)})
        with self.view(), self.assertLogs("wsgi_party", logging.WARNING):
            for n, url in enumerate(urls):
                with self.subTest(url):
                    self.assertIsNone(self.guest.url("p%d" % n, {}))
        good = [
            "/", "/a/b?c=d&e=%20#f", "http://x", "https://x.example:8443/a?b", "http://[::1]:80/",
            "https://x?a", "/a//b", "/a'b",
        ]
        self.caddy({"p%d" % n: url for n, url in enumerate(good)})
        with self.view(), self.no_warnings():
            for n, url in enumerate(good):
                self.assertEqual(self.guest.url("p%d" % n, {}), url)

    def test_values_that_json_cannot_carry(self):
        self.caddy({"a": "/a"})
        with self.view() as count, self.assertLogs("wsgi_party", logging.WARNING) as logs:
            for values in ({"x": "\ud800"}, {"x": float("nan")}, {"x": 10**70}, {"x": "y" * (1 << 20)}):
                for _ in range(2):
                    self.assertIsNone(self.guest.url("a", values))
        self.assertEqual(len(logs.output), 1)
        self.assertEqual(count, [0])

    def test_when_the_party_is_down(self):
        with contextlib.ExitStack() as stack:
            self.server = stack.enter_context(running(LinkCaddy({})))
        self.guest = self.new_guest()
        with self.assertLogs("wsgi_party", logging.WARNING) as logs:
            for _ in range(3):
                with self.view():
                    for n in range(50):
                        self.assertIsNone(self.guest.url("p%d" % n, {}, "index"))
                    self.assertEqual(self.guest.ask("x"), [])
                    self.assertEqual(self.guest.ask_first("x", default=7), 7)
        self.assertEqual(len(logs.output), 2)  # and Caddy was tried once

    def test_a_guest_that_fails_is_not_said_for_each_link(self):
        failed = {"guest": "shop", "status": "failed", "error": "down"}
        self.caddy({})
        self.server.result = lambda service, payload: answers(replies=[failed])
        with self.view(), self.assertLogs("wsgi_party", logging.WARNING) as logs:
            self.guest.fetch_links([("p", {"n": n}) for n in range(50)])
        self.assertEqual(len(logs.output), 1)

    def test_threads_of_one_request(self):
        self.caddy({"p%d" % n: "/p%d" % n for n in range(20)})
        handled = self.guest.handled(Received("GET", b"/", ""))
        wrong = []

        def run():
            with within(current, handled):
                for n in range(20):
                    if self.guest.url("p%d" % n, {}, "index") != "/p%d" % n:
                        wrong.append(n)

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])


class AskTest(Case):
    def test_asking(self):
        self.caddy({})
        self.server.respond = lambda request: (
            [answers(1, 2), answers()] if request["path"] == "/" else answers(*request["json"])
        )
        self.assertEqual(self.guest.ask("x", [1, None]), [1, None])
        self.assertEqual(self.guest.ask_first("x", [1, 2]), 1)
        self.assertEqual(self.guest.ask_first("x", [None], default=7), None)
        self.assertEqual(self.guest.ask_first("x", [], default=7), 7)
        with self.assertRaises(HighAndDry):
            self.guest.ask_first("x", [])
        self.assertEqual(self.guest.ask_many([("x", 1), ("y", 2)]), [[1, 2], []])
        self.guest.ask_many([("x", 1), ("y", 2)], first=True)
        self.assertEqual([r["path"] for r in self.server.requests], [
            "/x", "/x?first", "/x?first", "/x?first", "/x?first", "/", "/",
        ])
        self.assertEqual(self.server.requests[5]["json"][0], {"service": "x", "payload": 1})
        self.assertEqual(
            self.server.requests[6]["json"][1], {"service": "y", "payload": 2, "first": True}
        )
        for name in ("", None, 7, "\ud800"):
            with self.assertRaises(ValueError):
                self.guest.ask(name)

    def test_asking_one_guest(self):
        self.caddy({})
        self.server.respond = lambda request: (
            [answers(1), answers()] if request["path"] == "/" else answers(*request["json"])
        )
        self.assertEqual(self.guest.ask("x", [1, 2], guest="größe & co"), [1, 2])
        self.assertEqual(self.guest.ask_first("x", [1, 2], guest="shop"), 1)
        self.assertEqual(self.guest.ask_first("x", [], default=7, guest="shop"), 7)
        self.guest.ask_many([("x", 1), ("y", 2)], first=True, guest="größe & co")
        self.assertEqual([r["path"] for r in self.server.requests], [
            "/x?guest=gr%C3%B6%C3%9Fe%20%26%20co", "/x?first&guest=shop", "/x?first&guest=shop", "/",
        ])
        self.assertEqual(
            self.server.requests[3]["json"][1],
            {"service": "y", "payload": 2, "first": True, "guest": "größe & co"},
        )
        for name in ("", 7, "\ud800"):
            with self.assertRaisesRegex(ValueError, "is not a guest's name"):
                self.guest.ask("x", guest=name)

    def test_nowhere_to_ask(self):
        self.caddy({})
        guest = self.new_guest(url="")
        with self.assertLogs("wsgi_party", logging.WARNING) as logs:
            for _ in range(2):
                self.assertIsNone(guest.url("a", {}))
                self.assertEqual(guest.ask("x"), [])
        self.assertEqual(len(logs.output), 1)
        self.assertIn("ask_on", logs.output[0])
        alone = Guest(Settings.read(), lambda pages: None, Services())
        with self.no_warnings():
            self.assertIsNone(alone.url("a", {}))
            self.assertEqual(alone.ask("x"), [])

    def test_what_of_the_request_goes_along(self):
        self.caddy({"a": "/a"})
        with self.view(prefix="/ingress/blog", cdn_loop="x"):
            self.guest.url("a", {})
        with self.view(prefix="//evil", cdn_loop="a\r\nb"):
            self.guest.url("a", {})
        got = [
            (r["headers"]["X-Forwarded-Prefix"], r["headers"]["CDN-Loop"], r["headers"]["Party-Token"])
            for r in self.server.requests
        ]
        self.assertEqual(got, [("/ingress/blog", "x", None), (None, "a??b", None)])


class TemplateTest(unittest.TestCase):
    def template(self, *parts, root=""):
        template = Template(root)
        for part in parts:
            if isinstance(part, str):
                template.literal(part)
            else:
                template.variable(*part)
        return template.finish()

    def test_what_can_be_said(self):
        for parts, want in (
            (["/"], "/"), (["/posts/", ("slug",)], "/posts/{slug}"),
            (["/files/", ("path", True)], "/files{/path*}"), (["/", ("path", True)], "{/path*}"),
            (["/files/", ("path", True), "/edit"], "/files{/path*}/edit"),
            (["/a b/ü/", ("x",), ".{}<>?#%\"^`|"], "/a%20b/%C3%BC/{x}.%7B%7D%3C%3E%3F%23%25%22%5E%60%7C"),
            (["/a/", ("x",), "-", ("y",)], "/a/{x}-{y}"), (["/a;b=c,d/"], "/a;b=c,d/"),
        ):
            self.assertEqual(self.template(*parts), want)
        self.assertEqual(self.template("/", ("path", True), root="/sub"), "/sub{/path*}")

    def test_what_cannot(self):
        for parts, why in (
            (["posts"], "begin with a slash"), ([("x",)], "begin with a slash"),
            (["/a//b"], "two slashes"), (["//a"], "two slashes"), (["/a/;x/b"], "two slashes"),
            (["/a/../b"], "segment"), (["/./"], "segment"), (["/..;a"], "segment"),
            (["/a\\b"], "backslash"), (["/a\nb"], "control"), (["/\x85"], "control"),
            (["/\u2028"], "control"), (["/\ud800"], "control"),
            (["/", ("ü",)], "'ü'"), (["/", ("a-b",)], "'a-b'"), (["/", ("",)], "''"),
            (["/a-", ("x", True)], "follows none"), ([("x", True)], "follows none"),
            (["/"] + [("x",)] * 65, "more than 64"), (["/" + "x" * 5000], "more than 4096"),
        ):
            with self.subTest(parts), self.assertRaisesRegex(Unsayable, why):
                self.template(*parts)


class ManifestTest(unittest.TestCase):
    def test_no_more_than_caddy_takes(self):
        pages = Pages()
        for n in range(5000):
            pages.add("p%d" % n, "/")
        services = ["s%d" % n for n in range(300)]
        manifest = Manifest.build("/__invite__", pages, services)
        self.assertLessEqual(len(manifest.body), 1 << 16)
        got = json.loads(manifest.body)
        self.assertEqual(len(got["services"]), 256)
        self.assertEqual(len(got["urls"]) + len(manifest.left_out), 5044)
        pages = Pages()
        for n in range(4100):
            pages.add("%d" % n, "/")
        manifest = Manifest.build("/__invite__", pages, [])
        self.assertEqual(manifest.pages, 4096)
        with self.assertLogs("wsgi_party", logging.INFO) as logs:
            manifest.say("blog")
        self.assertEqual(logs.output[0], "INFO:wsgi_party:blog tells the party of pages: 4096, and services: 0")
        self.assertIn("leaves out 4096 (a manifest has at most", logs.output[1])
        pages = Pages()
        for n in range(100):
            pages.add("a%d" % n, "/" + "x" * 2000)
        manifest = Manifest.build("/__invite__", pages, [])
        self.assertLessEqual(len(manifest.body), 1 << 16)
        self.assertEqual(manifest.pages, 32)

    def test_names_that_json_or_html_would_break_on(self):
        pages = Pages()
        bad = [
            "a b", "", "x" * 65, "</script>", 'a"b', "a\\b", "a\nb", "ü", "a\0", "\ud800", "a/b",
            "{x}", "a&b", "__proto__ ",
        ]
        for name in bad + ["__proto__", "a.b:c-d_e", "x" * 64]:
            pages.add(name, "/")
        manifest = Manifest.build("/__invite__", pages, [])
        self.assertEqual(list(json.loads(manifest.body)["urls"]), ["__proto__", "a.b:c-d_e", "x" * 64])
        self.assertEqual([name for name, _ in manifest.left_out], bad)
        with self.assertLogs("wsgi_party", logging.INFO) as logs:
            manifest.say("blog")
        self.assertNotIn("\n", logs.output[1])

    def test_the_names_that_are_left_out_are_said_and_not_too_many(self):
        pages = Pages()
        for n in range(25):
            pages.leave_out("p%d" % n, "why")
        with self.assertLogs("wsgi_party", logging.INFO) as logs:
            Manifest.build("", pages, []).say("blog")
        self.assertIn("p19 (why) and 5 more", logs.output[1])

    def test_conditional_requests(self):
        manifest = Manifest.build("/__invite__", Pages(), ["x"])
        self.assertEqual(manifest.reply("").status, 200)
        self.assertEqual(manifest.reply('W/"a", ' + manifest.etag).status, 304)
        self.assertIn(("Cache-Control", "max-age=60"), manifest.reply("").headers)
        self.assertNotEqual(Manifest.build("/__invite__", Pages(), ["y"]).etag, manifest.etag)


class ServicesTest(unittest.TestCase):
    def test_names(self):
        services = Services()
        for name in ("", "a b", "x" * 65, None, 7, "ü", "a/b"):
            with self.assertRaisesRegex(ValueError, "is not a service name"):
                services.service(name)
        handler = services.service("a.b:c")(lambda payload: 1)
        self.assertIs(services.get("a.b:c"), handler)
        services.service("a.b:c")(handler)
        with self.assertRaisesRegex(ValueError, "already"):
            services.service("a.b:c")(lambda payload: 2)
        self.assertEqual(services.names(), ["a.b:c"])


if __name__ == "__main__":
    unittest.main()
