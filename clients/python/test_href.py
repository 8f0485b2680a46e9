# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Asks of Caddy's, and links among the answers."""

import contextlib
import contextvars
import hashlib
import io
import json
import logging
import os
import subprocess
import sys
import threading
import unittest
from unittest import mock

from test_wsgi_party import (
    KEY,
    OTHER_KEY,
    Application,
    ask,
    batch_of,
    b64,
    dispatcher,
    environment,
    invite,
    make_token,
    not_found,
    party,
    send,
    serving,
)
from wsgi_party import HighAndDry, PartylineOperator, URLPayload


class HrefTest(unittest.TestCase):
    """What Caddy asks at the hrefs of the manifest."""

    def serve(self, guest):
        return self.enter(serving(guest))

    def enter(self, context):
        value = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        return value

    def serve_handlers(self, **handlers):
        self.app = Application(**handlers)
        port = self.serve(party(self.app, invites=["/__invite__/"]))
        self.app.seen.clear()
        return port

    def test_every_href_of_the_manifest_answers(self):
        one = Application(double=lambda p: p * 2, ping=lambda p: "one")
        two = Application(ping=lambda p: "two")
        port = self.serve(party(
            dispatcher(not_found, one=one, two=two), ["/one/__invite__/", "/two/__invite__/"],
        ))
        services = invite(port).json()["services"]
        got = {
            name: [ask(port, each["href"], "ab").json() for each in handlers]
            for name, handlers in services.items()
        }
        self.assertEqual(got, {"double": ["abab"], "ping": ["one", "two"]})

    def test_payload_and_answer_are_json(self):
        port = self.serve_handlers(echo=lambda p: p)
        for payload in (None, 1, 12345678901234567890, 1.5, "é☃", [1, [2]], {"a": {"b": []}}, True):
            with self.subTest(payload):
                response = ask(port, "/__invite__/partyline/echo.0", payload)
                self.assertEqual(response.status, 200)
                self.assertEqual(response.headers["Content-Type"], "application/json")
                self.assertEqual(response.json(), payload)

    def test_with_and_without_the_mount(self):
        port = self.serve_handlers(ping=lambda p: "pong")
        below = "/__invite__/partyline/ping.0"
        for path, claims, status in (
            (below, {"mnt": "/blog", "htu": "/blog" + below}, 200),
            (below, {"mnt": "/blog", "htu": below}, 200),
            ("/blog" + below, {"mnt": "/blog", "htu": below}, 200),
            ("/blog" + below, {"mnt": "/blog"}, 200),
            ("/blog" + below, {"htu": below}, 401),
            (below, {"htu": "/blog" + below}, 401),
        ):
            with self.subTest(path=path, **claims):
                with self.quiet():
                    self.assertEqual(ask(port, path, **claims).status, status)

    @contextlib.contextmanager
    def quiet(self):
        logger = logging.getLogger("wsgi_party")
        with mock.patch.object(logger, "disabled", True):
            yield

    def test_script_name_counts_as_part_of_the_path(self):
        app = Application(ping=lambda p: "pong")
        guest = party(app, invites=["/__invite__/"])
        port = self.serve(dispatcher(not_found, sub=guest))
        services = invite(port, "/sub/__invite__/").json()["services"]
        self.assertEqual(services["ping"][0]["href"], "/sub/__invite__/partyline/ping.0")
        self.assertEqual(ask(port, services["ping"][0]["href"]).json(), "pong")

    def test_declining_is_204(self):
        def decline(payload):
            raise HighAndDry()

        port = self.serve_handlers(ping=decline)
        response = ask(port, "/__invite__/partyline/ping.0")
        self.assertEqual((response.status, response.body), (204, b""))

    def test_an_exception_is_500_and_logged(self):
        def fail(payload):
            raise RuntimeError("the password is swordfish")

        port = self.serve_handlers(
            fail=fail, missing=lambda p: self.app.operator.ask_around("unknown", p),
        )
        for service in ("fail", "missing"):
            with self.subTest(service):
                with self.assertLogs("wsgi_party", logging.ERROR) as logs:
                    response = ask(port, "/__invite__/partyline/%s.0" % service)
                self.assertEqual(response.status, 500)
                self.assertEqual(response.body, b"the handler failed: see its log")
                self.assertIn("Traceback", logs.output[0])
                self.assertIn(service, logs.output[0])

    def test_a_bad_body_is_400(self):
        port = self.serve_handlers(ping=lambda p: "pong")
        for body in (b"", b"{", b"\xff\xfe\xfa", b"[" * 200000, b"pong", b"1 2"):
            with self.subTest(body[:9]):
                response = ask(port, "/__invite__/partyline/ping.0", body=body)
                self.assertEqual(response.status, 400)
        response = ask(
            port, "/__invite__/partyline/ping.0", body=b"1", headers={"Content-Length": "one"}
        )
        self.assertEqual(response.status, 400)

    def test_a_body_over_1_mib_is_413(self):
        port = self.serve_handlers(size=len)
        fits = b'"%s"' % (b"x" * (2**20 - 2))
        response = ask(port, "/__invite__/partyline/size.0", body=fits)
        self.assertEqual((response.status, response.json()), (200, 2**20 - 2))
        # The length alone is enough.
        response = ask(
            port, "/__invite__/partyline/size.0", body=b"1",
            headers={"Content-Length": str(2**20 + 2**14 + 1)},
        )
        self.assertEqual(response.status, 413)

    def call(self, guest, body, **environ):
        """Calls without a server, since wsgiref's knows no chunked bodies."""
        environ = {
            "REQUEST_METHOD": "POST", "PATH_INFO": "/i/partyline/x.0", "wsgi.input": body,
            "HTTP_PARTY_TOKEN": make_token(htu="/i/partyline/x.0", body=body.getvalue()), **environ,
        }
        statuses = []
        # In a context of its own, as in a server's thread.
        chunks = contextvars.copy_context().run(
            guest, environ, lambda status, headers: statuses.append(status)
        )
        return statuses[0][:3], b"".join(chunks)

    def test_chunked_bodies(self):
        guest = party(not_found)
        guest.connect("x", lambda p: p)
        terminated = {"wsgi.input_terminated": True}
        answered = ("200", b'[{"answer":[1]}]')
        self.assertEqual(self.call(guest, io.BytesIO(batch_of(b"[1]")), **terminated), answered)
        fits = batch_of(b"[1]" + b" " * (2**20 + 2**14 - len(batch_of(b"[1]"))))
        self.assertEqual(self.call(guest, io.BytesIO(fits), **terminated), answered)
        endless = mock.Mock()
        endless.read = lambda size: b" " * size
        endless.getvalue = lambda: b""
        self.assertEqual(self.call(guest, endless, **terminated)[0], "413")
        # A body whose end is unknown must not be read.
        self.assertEqual(self.call(guest, mock.Mock(
            read=lambda size: b"1"[:size], getvalue=lambda: b"",
        ))[0], "400")
        for length, status in (("-1", "400"), ("1.5", "400"), ("17", "200")):
            got = self.call(guest, io.BytesIO(batch_of(b"[1]")), CONTENT_LENGTH=length)
            self.assertEqual(got[0], status)

    def test_the_method_is_checked(self):
        port = self.serve_handlers(ping=lambda p: "pong")
        for method in ("GET", "PUT", "DELETE"):
            response = ask(port, "/__invite__/partyline/ping.0", body=b"1", method=method)
            self.assertEqual((response.status, response.headers["Allow"]), (405, "POST"))

    def test_an_href_that_is_gone_is_404(self):
        port = self.serve_handlers(ping=lambda p: "pong")
        for tail in ("ping.1", "ping.999999", "pong.0"):
            response = ask(port, "/__invite__/partyline/" + tail)
            self.assertEqual((response.status, response.body), (404, b"Not Found\n"))

    def test_a_token_is_demanded(self):
        calls = []
        port = self.serve_handlers(ping=calls.append)
        href = "/__invite__/partyline/ping.0"
        response = send(port, "POST", href, b"1")
        self.assertEqual((response.status, response.body), (404, b"nothing here"))
        for claims in (
            {"key": OTHER_KEY}, {"header": {"alg": "none"}}, {"htm": "GET"}, {"htu": "/"},
            {"bsh": b64(hashlib.sha256(b"2").digest())}, {"iat": 1, "exp": 61}, {"aud": None},
        ):
            with self.subTest(**claims), self.assertLogs("wsgi_party", logging.WARNING):
                self.assertEqual(ask(port, href, 1, **claims).status, 401)
        self.assertEqual(calls, [])

    def test_other_paths_belong_to_the_application(self):
        """Such as an href that the Caddyfile declares."""
        port = self.serve_handlers(ping=lambda p: "pong")
        for path in (
            "/api/user", "/__invite__/ping", "/__invite__/partyline/", "/__invite__/partyline/ping",
            "/__invite__/partyline/ping.0/", "/__invite__/partyline/ping.x",
            "/__invite__/partyline/ping.0%0A", "/__invite__/partyline/p%C3%AFng.0",
        ):
            with self.subTest(path):
                self.app.seen.clear()
                response = ask(port, path, 1)
                self.assertEqual(response.body, b"nothing here")
                self.assertEqual(len(self.app.seen), 1)

    def test_any_worker_answers_any_ask(self):
        """Two processes, neither of which has seen the other's requests."""
        code = """if True:
            from wsgi_party import WSGIParty
            from test_wsgi_party import Application, QuietHandler
            from wsgiref.simple_server import make_server
            app = WSGIParty(Application(ping=lambda p: "pong"), invites=["/__invite__/"])
            server = make_server("127.0.0.1", 0, app, handler_class=QuietHandler)
            print(server.server_port, flush=True)
            server.serve_forever()
        """
        with environment(WSGI_PARTY_KEY=KEY, WSGI_PARTY_URL="http://127.0.0.1:1/"):
            workers = [
                subprocess.Popen(
                    [sys.executable, "-c", code], stdout=subprocess.PIPE,
                    cwd=os.path.dirname(os.path.abspath(__file__)),
                )
                for _ in range(2)
            ]
        try:
            ports = [int(worker.stdout.readline()) for worker in workers]
            manifests = [invite(port).json() for port in ports]
            self.assertEqual(manifests[0], manifests[1])
            href = manifests[0]["services"]["ping"][0]["href"]
            self.assertEqual([ask(port, href).json() for port in ports], ["pong", "pong"])
        finally:
            for worker in workers:
                worker.terminate()
                worker.wait()
                worker.stdout.close()

    def test_many_threads(self):
        """Connecting and asking at once."""
        app = Application(echo=lambda p: p)
        guest = party(app, invites=["/__invite__/"])
        port = self.serve(guest)
        failures = []

        def work(n):
            try:
                operator = PartylineOperator(guest)
                for i in range(15):
                    operator.connect("s%d-%d" % (n, i), str)
                    operator.connect("shared", lambda p: n)
                    if ask(port, "/__invite__/partyline/echo.0", [n, i]).json() != [n, i]:
                        failures.append("mixed up")
                    if invite(port).status != 200 or n in operator.ask_around("shared", None):
                        failures.append("asked itself")
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(len(guest.handlers["shared"]), 8 * 15)


class URLTest(unittest.TestCase):
    """The service url: payload and mount."""

    def test_payloads_read_both_ways(self):
        for payload, kwargs, query, values in (
            (["n", {"a": 1}], {"a": 1}, {}, {"a": 1}),
            (["n", None], {}, {}, {}),
            ({"name": "n"}, {}, {}, {}),
            ({"name": "n", "values": None}, {}, {}, {}),
            ({"name": "n", "values": {"a": 1}}, {"a": 1}, {}, {"a": 1}),
            ({"name": "n", "kwargs": {"a": 1}, "query": {"b": 2}}, {"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
            ({"name": "n", "kwargs": {"a": 1}, "query": None, "values": {"c": 3}},
             {"a": 1, "c": 3}, {}, {"a": 1, "c": 3}),
        ):
            with self.subTest(payload):
                wrapped = URLPayload.wrap(json.loads(json.dumps(payload)))
                name, got = wrapped
                self.assertEqual((name, got), ("n", values))
                self.assertEqual((wrapped[0], wrapped[1], len(wrapped)), ("n", values, 2))
                self.assertEqual(wrapped["name"], "n")
                self.assertEqual(wrapped["values"], values)
                self.assertEqual(wrapped["kwargs"], kwargs)
                self.assertEqual(wrapped["query"], query)
                self.assertEqual(wrapped.get("name"), "n")
                self.assertIsNone(wrapped.get("else"))
                self.assertIn("name", wrapped)
                with self.assertRaises(KeyError):
                    wrapped["else"]
                members = {"name": "n", "values": values, "kwargs": kwargs, "query": query}
                self.assertEqual(dict(wrapped), members)
                self.assertEqual({**wrapped}, members)
                self.assertEqual(json.loads(json.dumps(wrapped)), members)

    def test_other_payloads_stay_as_they_are(self):
        for payload in (
            None, "n", 7, [], ["n"], ["n", {}, 1], [1, {}], ["n", "m"], {}, {"name": 1},
            {"name": "n", "values": [1]}, {"name": "n", "query": "x"},
        ):
            with self.subTest(payload):
                self.assertIs(URLPayload.wrap(payload), payload)

    def test_both_demos_are_asked_over_http(self):
        flask = Application({"post": "/posts/{slug}"})
        flask_like = party(flask, invites=["/__invite__/"])
        # Pyramid's route_url gives the host, too, and here that is the invite's.
        flask_like.connect(
            "url", lambda p: "http://localhost/{}/{}".format(p["name"], p["kwargs"]["slug"])
        )
        with serving(flask_like) as port:
            for payload in (["post", {"slug": "a"}], {"name": "post", "values": {"slug": "a"}}):
                got = [
                    # Relative to the mount: adding it is Caddy's.
                    ask(port, "/__invite__/partyline/url.%d" % n, payload, mnt="/blog").json()
                    for n in range(2)
                ]
                self.assertEqual(got, ["/posts/a", "/post/a"])

    def test_a_handler_may_ask_for_another_url(self):
        """As one that keeps an old name of a page working."""
        new = Application({"new": "/new"})
        old = Application()

        def alias(payload):
            name, _ = payload
            if name != "old":
                raise HighAndDry()
            return old.operator.ask_around("url", ("new", {}))[0]

        old.handlers["url"] = alias
        old.handlers["link"] = lambda p: old.operator.ask_around("url", ("new", {}))[0]
        new.pages["/"] = lambda environ: [
            new.operator.ask_around("url", ("old", {})), new.operator.ask_around("link", None),
        ]
        guest = party(
            dispatcher(new, old=old), invites=["/__invite__/", "/old/__invite__/"],
        )
        with serving(guest) as port:
            page = send(port, "GET", "/", headers={"X-Forwarded-Prefix": "/blog"})
            self.assertEqual(page.json(), [["/blog/new"], ["/blog/new"]])
            href = "/i/partyline/url.1"
            self.assertEqual(ask(port, href, ["old", {}], mnt="/blog").json(), "/new")

    def test_other_services_get_what_came(self):
        guest = party(not_found)
        guest.connect("x", lambda p: p)
        with serving(guest) as port:
            self.assertEqual(ask(port, "/i/partyline/x.0", ["n", {}]).json(), ["n", {}])

    def test_answers_from_this_process_get_the_mount(self):
        app = Application()
        guest = party(app, invites=["/__invite__/"])
        urls = ["/a", "http://localhost/b?c", "http://localhost.evil/", "//evil", "https://x/", 7]
        for url in urls:
            guest.connect("url", lambda p, url=url: url)
            guest.connect("x", lambda p, url=url: url)
        app.pages["/"] = lambda environ: app.operator.ask_around("url", ["n", {}])
        app.pages["/x"] = lambda environ: app.operator.ask_around("x", None)
        asked = []
        guest.connect("ask", lambda p: asked.append(app.operator.ask_around("url", ["n", {}])))
        with serving(guest) as port:

            def page(prefix, path="/"):
                return send(port, "GET", path, headers={"X-Forwarded-Prefix": prefix}).json()

            unmounted = ["/a", "/b?c"] + urls[2:]
            self.assertEqual(page("/blog"), ["/blog/a", "/blog/b?c"] + urls[2:])
            self.assertEqual(page("/blog", "/x"), urls)
            for prefix in ("", "//evil", "/a, /b", "javascript:", "/a\\b"):
                self.assertEqual(page(prefix), unmounted)
            self.assertEqual(send(port, "GET", "/").json(), unmounted)
            ask(port, "/i/partyline/ask.0", mnt="/shop", headers={"X-Forwarded-Prefix": "/blog"})
            self.assertEqual(asked[0][:2], ["/shop/a", "/shop/b?c"])
        # Outside of a request nothing is known of a mount.
        self.assertEqual(app.operator.ask_around("url", ["n", {}]), unmounted)


if __name__ == "__main__":
    unittest.main()
