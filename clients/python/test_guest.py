# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""What makes the applications of a process a guest: subclasses written for the
original, arguments, invites, and the request that is being handled.
"""

import contextlib
import contextvars
import json
import logging
import time
import unittest
import wsgiref.util
from unittest import mock

from test_wsgi_party import (
    KEY,
    MANIFEST,
    OTHER_KEY,
    Application,
    FakeCaddy,
    answers,
    ask,
    dispatcher,
    environment,
    invite,
    make_token,
    not_found,
    party,
    running,
    send,
    serving,
)
from testdata.ckan import AskAppDispatcherMiddleware, Frontend
from wsgi_party import HighAndDry, NoSuchServiceName, PartylineOperator, WSGIParty


class Case(unittest.TestCase):
    def setUp(self):
        self.contexts = contextlib.ExitStack()
        self.addCleanup(self.contexts.close)
        self.contexts.enter_context(environment())

    def serve(self, application):
        return self.contexts.enter_context(serving(application))

    def caddy(self, *answers, **kwargs):
        return self.contexts.enter_context(running(FakeCaddy(*answers, **kwargs)))


class SubclassTest(Case):
    """Subclasses that were written for the original."""

    def ckan(self):
        self.apps = {"old": Frontend("/dataset"), "new": Frontend("/about", "/dataset/new")}
        return AskAppDispatcherMiddleware(self.apps)

    def pages(self, port):
        return {
            path: send(port, "GET", path).body.decode()
            for path in ("/dataset", "/about", "/dataset/new", "/nowhere")
        }

    PAGES = {
        "/dataset": "old has /dataset", "/about": "new has /about",
        "/dataset/new": "new has /dataset/new", "/nowhere": "old lacks /nowhere",
    }

    def test_ckan_in_one_process(self):
        with self.assertNoWarnings():
            port = self.serve(self.ckan())
            self.assertEqual(self.pages(port), self.PAGES)
            for path in ("/__invite__/", "/__invite__/partyline/can_handle_request.0"):
                headers = {"Accept": MANIFEST, "Party-Token": make_token("GET", path)}
                self.assertEqual(send(port, "GET", path, headers=headers).body[:9], b"old lacks")

    def test_ckan_as_a_guest(self):
        caddy = self.caddy()
        variables = environment(WSGI_PARTY_KEY=KEY, WSGI_PARTY_URL=caddy.url)
        self.contexts.enter_context(variables)
        port = self.serve(self.ckan())
        with self.assertLogs("wsgi_party", logging.WARNING) as logs:
            self.assertEqual(self.pages(port), self.PAGES)
            self.assertEqual(self.pages(port), self.PAGES)
        self.assertEqual(caddy.requests, [])
        # An environ as payload: once for all requests, and it is told what of it.
        self.assertEqual(len(logs.output), 1)
        self.assertIn("can_handle_request is asked for in this process only", logs.output[0])
        for member in ("wsgi.input", "wsgi.errors", "wsgi.file_wrapper"):
            self.assertIn("payload['%s'] (" % member, logs.output[0])
        self.assertNotIn("PATH_INFO", logs.output[0])
        self.assertNotIn("wsgi.version", logs.output[0])

        self.assertEqual(invite(port).json()["services"]["can_handle_request"], [
            {"href": "/__invite__/partyline/can_handle_request.%d" % n, "batch": True} for n in range(2)
        ])
        payload = {"PATH_INFO": "/about"}
        href = "/__invite__/partyline/can_handle_request."
        self.assertEqual(ask(port, href + "0", payload).status, 204)
        self.assertEqual(ask(port, href + "1", payload).json(), [True, "new"])
        with self.assertLogs("wsgi_party", logging.WARNING):
            self.assertEqual(ask(port, href + "1", payload, key=OTHER_KEY).status, 401)

    def test_what_ckan_asks_with_json_reaches_everybody(self):
        caddy = self.caddy(answers([True, "theirs"]))
        variables = environment(WSGI_PARTY_KEY=KEY, WSGI_PARTY_URL=caddy.url)
        self.contexts.enter_context(variables)
        got = self.ckan().ask_around("can_handle_request", {"PATH_INFO": "/about"})
        self.assertEqual(got, [(True, "new"), [True, "theirs"]])

    def test_a_bad_setting_is_told_at_the_start(self):
        with environment(WSGI_PARTY_KEY="short"), self.assertRaises(ValueError):
            self.ckan()

    def test_a_call_may_come_from_anywhere(self):
        calls = []

        class Override(WSGIParty):
            def __call__(self, environ, start_response):
                """Counts."""
                calls.append("Override")
                return super().__call__(environ, start_response)

        class Again(Override):
            def __call__(self, environ, start_response):
                calls.append("Again")
                return super().__call__(environ, start_response)

        class Mixin:
            def __call__(self, environ, start_response):
                calls.append("Mixin")
                return super().__call__(environ, start_response)

        class Mixed(Mixin, WSGIParty):
            pass

        class Plain(Mixed):
            pass

        self.assertEqual(Override.__call__.__doc__, "Counts.")
        for cls, called in (
            (Override, ["Override"]), (Again, ["Again", "Override"]), (Mixed, ["Mixin"]),
            (Plain, ["Mixin"]),
        ):
            with self.subTest(cls):
                app = Application(ping=lambda p: "pong")
                with serving(party(app, ["/__invite__/"], cls=cls)) as port:
                    del calls[:]
                    href = invite(port).json()["services"]["ping"][0]["href"]
                    self.assertEqual(ask(port, href).json(), "pong")
                    self.assertEqual(calls, [])
                    self.assertEqual(send(port, "GET", "/").status, 404)
                    self.assertEqual(calls, called)

    def test_connect_returns_what_the_partys_returns(self):
        """A test of the original's."""
        partyline = mock.Mock()
        partyline.connect.return_value = "123"
        operator = PartylineOperator(partyline)
        self.assertEqual(operator.connect("name", "handler"), "123")
        partyline.connect.assert_called_once_with("name", "handler")
        self.assertEqual(operator.handlers, {"handler"})

    @contextlib.contextmanager
    def assertNoWarnings(self):
        with self.assertLogs("wsgi_party", logging.WARNING) as logs:
            logging.getLogger("wsgi_party").warning("the only one")
            yield
        self.assertEqual(len(logs.output), 1)


class ArgumentsTest(Case):
    """Arguments come before the environment's variables."""

    def test_each_alone(self):
        caddy = self.caddy(answers("a"), answers("b"))
        app = Application(ping=lambda p: "pong")
        with environment(
            WSGI_PARTY_KEY=OTHER_KEY, WSGI_PARTY_URL="http://127.0.0.1:1/", WSGI_PARTY_GUEST="shop"
        ):
            guest = WSGIParty(app, ["/__invite__/"], key=KEY, url=caddy.url, guest="blog")
        self.assertEqual(guest.ask_around("x", None), ["a"])
        self.assertEqual(caddy.requests[0]["headers"]["Authorization"], "Bearer " + KEY)
        port = self.serve(guest)
        self.assertEqual(invite(port, aud="blog").status, 200)
        for wrong in ({"aud": "shop"}, {"aud": "blog", "key": OTHER_KEY}):
            with self.assertLogs("wsgi_party", logging.WARNING):
                self.assertEqual(invite(port, **wrong).status, 401)
        with environment(WSGI_PARTY_KEY=OTHER_KEY, WSGI_PARTY_GUEST="shop"):
            guest = WSGIParty(app, url=caddy.url)
        self.assertEqual(guest.ask_around("x", None), ["b"])
        self.assertEqual(caddy.requests[1]["headers"]["Authorization"], "Bearer " + OTHER_KEY)

    def test_an_empty_argument_is_as_good_as_an_unset_variable(self):
        with environment(WSGI_PARTY_KEY=KEY, WSGI_PARTY_URL="http://127.0.0.1:1/"):
            alone = WSGIParty(not_found, key="", url="")
            with self.assertRaisesRegex(ValueError, "WSGI_PARTY_URL.*WSGI_PARTY_KEY"):
                WSGIParty(not_found, key="")
        with self.assertRaises(NoSuchServiceName):
            alone.ask_around("x", None)
        self.assertEqual(invite(self.serve(alone)).status, 404)

    def test_a_key_as_it_is_read_from_a_file(self):
        for key in (KEY + "\n", KEY.encode() + b"\n", "%s\r\n%s\n" % (OTHER_KEY, KEY)):
            with serving(WSGIParty(not_found, key=key)) as port:
                self.assertEqual(invite(port).status, 200)

    def test_several_guests_in_one_process(self):
        """Each is asked, and asks, as itself, also within a request of the other's."""
        caddy = self.caddy(*[answers(n) for n in range(4)])
        blog, shop = (Application(name=lambda p, name=name: name) for name in ("blog", "shop"))
        guests = {
            name: WSGIParty(app, ["/__invite__/"], key=key, url=caddy.url, guest=name)
            for name, app, key in (("blog", blog, KEY), ("shop", shop, OTHER_KEY))
        }
        port = self.serve(dispatcher(not_found, **guests))
        for name, key in (("blog", KEY), ("shop", OTHER_KEY)):
            mount = "/" + name
            claims = {"aud": name, "key": key, "mnt": mount}
            services = invite(port, mount + "/__invite__/", **claims).json()["services"]
            got = ask(port, mount + services["name"][0]["href"], **claims).json()
            self.assertEqual(got, name)
        with self.assertLogs("wsgi_party", logging.WARNING):
            self.assertEqual(invite(port, "/shop/__invite__/", aud="blog").status, 401)

        shop.operator.connect("url", lambda p: "/shelf")
        both = lambda environ: [  # noqa: E731
            blog.operator.ask_around("x", None), guests["shop"].ask_around("x", None),
            guests["shop"].ask_around("url", ["shelf", {}]),
        ]
        blog.pages["/"] = both
        token = make_token("GET", "/blog/", mnt="/blog")
        page = send(port, "GET", "/blog/", headers={
            "Party-Token": token, "X-Forwarded-Prefix": "/blog",
        })
        self.assertEqual(page.json(), [[0], [1], ["/shelf", 2]])
        self.assertEqual(
            [(r["headers"]["Authorization"], r["headers"]["Party-Token"]) for r in caddy.requests],
            [("Bearer " + KEY, token), ("Bearer " + OTHER_KEY, None), ("Bearer " + OTHER_KEY, None)],
        )


class InvitesTest(Case):
    def test_whole_urls_are_reduced_to_their_path(self):
        environs = []

        def application(environ, start_response):
            environs.append(environ)
            return not_found(environ, start_response)

        WSGIParty(application, invites=[
            "https://example.com/blog/__invite__/?a=b", "HTTP://localhost:8000/x%20y#z",
            "https://example.com", "http://example.com?q=http://x/", "/http://x/", "//x/y",
        ])
        self.assertEqual([(e["PATH_INFO"], e["QUERY_STRING"]) for e in environs], [
            ("/blog/__invite__/", "a=b"), ("/x y", ""), ("/", ""), ("/", "q=http://x/"),
            ("/http://x/", ""), ("//x/y", ""),
        ])
        self.assertEqual({e["HTTP_HOST"] for e in environs}, {"localhost"})

    def test_a_forgotten_comma(self):
        calls = []
        for invites in (("/__invite__/"), "", b"/__invite__/"):
            with self.assertRaisesRegex(TypeError, r"invites=\[.*comma"):
                WSGIParty(lambda *args: calls.append(args), invites=invites)
            with self.assertRaises(TypeError):
                WSGIParty(not_found).send_invitations(invites)
        self.assertEqual(calls, [])

    def test_an_invite_without_a_token_is_told_once(self):
        port = self.serve(party(not_found, guest="my-blog"))
        with self.assertLogs("wsgi_party", logging.WARNING) as logs:
            for _ in range(3):
                response = send(port, "GET", "/__invite__/", headers={"Accept": MANIFEST})
                self.assertEqual(response.body, b"nothing here")
        self.assertEqual(len(logs.output), 1)
        self.assertIn("/__invite__/ has no Party-Token", logs.output[0])
        self.assertIn("key {env.MY_BLOG_PARTY_KEY}", logs.output[0])
        self.assertNotIn(KEY, logs.output[0])

    def test_a_visitor_is_no_invite(self):
        port = self.serve(party(not_found))
        with self.assertLogs("wsgi_party", logging.WARNING) as logs:
            logging.getLogger("wsgi_party").warning("the only one")
            send(port, "GET", "/__invite__/", headers={"Accept": "text/html"})
            send(port, "POST", "/__invite__/", headers={"Accept": MANIFEST})
            send(port, "GET", "/")
        self.assertEqual(len(logs.output), 1)


class ManifestTest(Case):
    """No more than Caddy takes, which would refuse the whole."""

    def manifest(self, *told):
        with self.assertLogs("wsgi_party", logging.WARNING) as logs:
            with serving(self.guest) as port:
                for _ in range(2):  # it is said once
                    response = invite(port)
        self.assertEqual(len(logs.output), len(told))
        for line, text in zip(logs.output, told):
            self.assertIn(text, line)
        self.assertLessEqual(len(response.body), 2**16)
        return response.json()["services"]

    def test_handlers(self):
        self.guest = party(not_found)
        for n in range(17):
            self.guest.connect("x", lambda p, n=n: n)
        for n in range(16):
            self.guest.connect("y", lambda p, n=n: n)
        services = self.manifest("first 16 handlers of the service x")
        self.assertEqual([len(hrefs) for hrefs in services.values()], [16, 16])
        self.assertEqual(services["x"][15]["href"], "/__invite__/partyline/x.15")

    def test_services(self):
        self.guest = party(not_found)
        for n in range(257):
            self.guest.connect("s%d" % n, str)
        services = self.manifest("not told of the service s256 and those")
        self.assertEqual(list(services), ["s%d" % n for n in range(256)])

    def test_bytes(self):
        self.guest = party(not_found)
        for n in range(100):
            for _ in range(16):
                self.guest.connect("s%03d%s" % (n, "x" * 60), str)
        services = self.manifest("not told of the service s")
        self.assertGreater(len(services), 20)


class HandledRequestTest(Case):
    """What of a request goes along with asks, and how long."""

    def setUp(self):
        super().setUp()
        self.fake = self.caddy()
        self.fake.respond = lambda request: answers()

    def guest(self, application):
        return party(application, url=self.fake.url)

    def tokens(self):
        return [request["headers"]["Party-Token"] for request in self.fake.requests]

    def call(self, guest, token, path="/", **environ):
        wsgiref.util.setup_testing_defaults(environ)
        environ.update(PATH_INFO=path, HTTP_PARTY_TOKEN=token)
        return guest(environ, lambda status, headers: None)

    def test_the_token_is_used_until_the_response_is_closed(self):
        events = []

        class Body:
            def __iter__(self):
                guest.ask_around("iterating", None)
                yield b"1"
                guest.ask_around("iterating", None)
                yield b"2"

            def close(self):
                events.append("closed")
                guest.ask_around("closing", None)

        def application(environ, start_response):
            guest.ask_around("calling", None)
            events.append(contextvars.copy_context())
            start_response("200 OK", [])
            return Body()

        guest = self.guest(application)
        token = make_token("GET", "/")
        response = self.call(guest, token)
        self.assertEqual(next(response), b"1")
        guest.ask_around("of another request, between its parts", None)
        self.assertEqual(list(response), [b"2"])
        response.close()
        guest.ask_around("afterwards", None)
        copied, closed = events
        self.assertEqual(closed, "closed")
        # A thread or a task that was started by the request, and is still there.
        copied.run(guest.ask_around, "later", None)
        self.assertEqual(self.tokens(), [token, token, None, token, token, None, None])

    def test_a_response_that_is_there_ends_the_request(self):
        class FileWrapper:
            pass

        for response, wrapper in (
            ([b"1"], None), ((b"1",), None), (FileWrapper(), FileWrapper),
        ):
            contexts = []

            def application(environ, start_response):
                contexts.append(contextvars.copy_context())
                return response

            guest = self.guest(application)
            got = self.call(guest, make_token("GET", "/"), **{"wsgi.file_wrapper": wrapper})
            self.assertIs(got, response)  # a server may know what to do with it
            contexts[0].run(guest.ask_around, "x", None)
        self.assertEqual(self.tokens(), [None] * 3)

    def test_an_exception_ends_the_request(self):
        contexts = []

        def application(environ, start_response):
            contexts.append(contextvars.copy_context())
            raise KeyError("broken")

        guest = self.guest(application)
        with self.assertRaises(KeyError):
            self.call(guest, make_token("GET", "/"))
        contexts[0].run(guest.ask_around, "x", None)
        guest.ask_around("x", None)
        self.assertEqual(self.tokens(), [None, None])

    def test_an_ask_that_was_answered_is_over(self):
        contexts = []
        guest = self.guest(not_found)
        guest.connect("x", lambda p: contexts.append(contextvars.copy_context()))
        href = "/__invite__/partyline/x.0"
        self.assertEqual(ask(self.serve(guest), href).status, 200)
        contexts[0].run(guest.ask_around, "y", None)
        self.assertEqual(self.tokens(), [None])

    def test_a_visitors_response_is_the_applications_own(self):
        response = iter([b"1"])
        guest = self.guest(lambda environ, start_response: response)
        self.assertIs(self.call(guest, ""), response)

    def test_an_expired_token_is_not_used(self):
        clock = [time.time()]

        def application(environ, start_response):
            for seconds in (0, 59, 2):
                clock[0] += seconds
                guest.ask_around("x", None)
            return [b""]

        guest = self.guest(application)
        now = int(clock[0])
        token = make_token("GET", "/", iat=now, exp=now + 60)
        with mock.patch("time.time", lambda: clock[0]):
            self.call(guest, token)
            self.call(guest, token)  # so old that it is not good at all
        self.assertEqual(self.tokens(), [token, token] + [None] * 4)

    def test_only_a_token_that_is_ours_is_used(self):
        guest = self.guest(lambda environ, start_response: [guest.ask_around("x", None)])
        for token in (make_token("GET", "/", key=OTHER_KEY), "x.y.z", "\ud800", "."):
            self.call(guest, token)
        self.assertEqual(self.tokens(), [None] * 4)

    def test_the_cdn_loop_of_a_request_goes_on(self):
        app = Application(relay=lambda p: app.operator.ask_around("x", None))
        guest = party(app, url=self.fake.url, invites=["/__invite__/"])
        app.pages["/"] = lambda environ: guest.ask_around_many([("x", 1), ("y", 2)])
        port = self.serve(guest)
        self.fake.respond = lambda request: (
            [answers()] * 2 if isinstance(request["json"], list) else answers()
        )
        send(port, "GET", "/", headers={"CDN-Loop": "caddy-1; v=1, other.example"})
        send(port, "GET", "/", headers={"CDN-Loop": "caddy-1, h\xe9\xffx"})
        send(port, "GET", "/")
        ask(port, "/__invite__/partyline/relay.0", headers={"CDN-Loop": "caddy-1"})
        self.assertEqual(
            [request["headers"]["CDN-Loop"] for request in self.fake.requests],
            ["caddy-1; v=1, other.example", "caddy-1, h??x", None, "caddy-1"],
        )

    def test_the_prefix_of_a_request_goes_on(self):
        """Links that Caddy makes for it may have to begin with it."""
        guest = self.guest(not_found)
        guest.connect("relay", lambda p: guest.ask_around("x", None))
        other = self.guest(lambda environ, start_response: [guest.ask_around("x", None)])
        app = lambda environ, start_response: [guest.ask_around("x", None)]  # noqa: E731
        guest.application = app
        for prefix in ("/ingress/42/blog", "", "//evil", "/a\r\nB: c"):
            self.call(guest, "", HTTP_X_FORWARDED_PREFIX=prefix)
        self.call(other, "", HTTP_X_FORWARDED_PREFIX="/other")
        ask(
            self.serve(guest), "/i/partyline/relay.0", mnt="/ingress/42/blog",
            headers={"X-Forwarded-Prefix": "/ingress/42/blog"},
        )
        self.assertEqual(
            [request["headers"]["X-Forwarded-Prefix"] for request in self.fake.requests],
            ["/ingress/42/blog", None, None, None, None, "/ingress/42/blog"],
        )

    def test_a_link_made_of_a_link_is_mounted_once(self):
        """As of an application that answers for a page's old name."""
        self.fake.respond = lambda request: answers("/wiki/" + request["json"][0])
        guest = party(Application(), url=self.fake.url)

        def old(handler):
            def answer(payload):
                if payload[0] != "old":
                    raise HighAndDry()
                return handler()

            return answer

        guest.connect("newest", lambda p: guest.ask_first("url", ["new", {}]))
        for handler in (
            lambda: guest.ask_first("url", ["new", {}]),
            lambda: guest.ask_first("newest", None),
            *[lambda url=url: url for url in (
                "/blog/own", "/blog", "/blog?a", "/blogs", "http://localhost/blog/b", "/own",
                ["no", "text"],
            )],
        ):
            guest.connect("url", old(handler))
        guest.application.pages["/"] = lambda environ: guest.ask_around("url", ["old", {}])
        page = send(self.serve(guest), "GET", "/", headers={"X-Forwarded-Prefix": "/blog"})
        self.assertEqual(page.json(), [
            "/wiki/new", "/wiki/new", "/blog/own", "/blog", "/blog?a", "/blog/blogs", "/blog/b",
            "/blog/own", ["no", "text"], "/wiki/old",
        ])


class AnswerTest(Case):
    """Answers that some parsers reject."""

    def test_they_are_that_handlers_failure(self):
        cyclic = {}
        cyclic["a"] = [cyclic]
        deep = []
        for _ in range(64):
            deep = [deep]
        for answer, told in (
            (object(), "answer (object)"),
            (float("nan"), "answer (not a finite number)"),
            ([1, {"a": float("-inf")}], "answer[1]['a'] (not a finite number)"),
            ("\ud800", "answer (a lone surrogate)"),
            ({"\udfff": 1}, r"answer['\udfff'] (its name has"),
            ({"a\0b": 1}, r"answer['a\x00b'] (its name has"),
            ({1: "a", "1": "b"}, "answer['1'] (a name that occurs twice)"),
            ({None: 1, "null": 2}, "answer['null'] (a name that occurs twice)"),
            ({(1, 2): 3}, "answer[(1, 2)] (its name is of type tuple)"),
            (10**64, "answer (a number of more than 64 digits)"),
            (-(10**63), "answer (a number of more than 64 digits)"),
            (10**5000, "answer (a number of more than 64 digits)"),
            (cyclic, "answer['a'][0] (in itself)"),
            (deep, "answer%s (nested more than 64 deep)" % ("[0]" * 64)),
            ({"x" * 1000: b""}, "answer['%s] (bytes)" % ("x" * 79)),
            ([b""] * 1000, "answer[9] (bytes) and 990 more"),
        ):
            with self.subTest(told):
                guest = party(not_found)
                guest.connect("x", lambda p: answer)
                with serving(guest) as port:
                    with self.assertLogs("wsgi_party", logging.ERROR) as logs:
                        self.assertEqual(ask(port, "/i/partyline/x.0").status, 500)
                self.assertEqual(len(logs.output), 1)
                self.assertIn("a handler of the service x failed: JSON cannot carry", logs.output[0])
                self.assertIn(told, logs.output[0])
                self.assertNotIn("Traceback", logs.output[0])

    def test_others_are_carried(self):
        deep = []
        for _ in range(63):
            deep = [deep]
        for answer, text in (
            (10**64 - 1, None), (1 - 10**63, None), (1e308, None), (deep, None),
            ({1: (2,), True: None, 1.5: "\0"}, '{"1": null, "1.5": "\\u0000"}'),
            ("é\U0001f600", None),
        ):
            with self.subTest(answer):
                guest = party(not_found)
                guest.connect("x", lambda p: answer)
                with serving(guest) as port:
                    body = ask(port, "/i/partyline/x.0").body
                self.assertEqual(json.loads(body), json.loads(text or json.dumps(answer)))


if __name__ == "__main__":
    unittest.main()
