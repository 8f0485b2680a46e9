# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Flask as a guest, on real sockets."""

import contextlib
import datetime
import json
import logging
import socket
import tempfile
import threading
import time
import unittest
from pathlib import Path
from urllib.parse import unquote

import flask
from flask import Flask, jsonify, render_template_string, url_for
from servers import Links, from_caddy, party_ask, send_too_much
from test_wsgi_party import (
    KEY, MANIFEST, OTHER_KEY, FakeCaddy, ask, ask_batch, batch_of, environment, invite, make_token, running, send,
    serving,
)
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import BuildError

from wsgi_party import HighAndDry
from wsgi_party.flask import Party

INVITE = "/__invite__/"


class Case(unittest.TestCase):
    def setUp(self):
        self.contexts = contextlib.ExitStack()
        self.addCleanup(self.contexts.close)
        self.contexts.enter_context(environment())
        for name in ("wsgi_party", "flask_app"):  # what is expected is not said
            self.quiet(logging.getLogger(name))

    def quiet(self, named):
        level = named.level
        named.setLevel(logging.CRITICAL)
        self.addCleanup(named.setLevel, level)

    def application(self, **options):
        self.app = Flask("flask_app")
        self.party = Party(self.app, **{"key": KEY, **options})
        guest, self.ended = self.app.extensions["wsgi_party"], threading.Semaphore(0)
        done = guest.done
        guest.done = lambda handled: (done(handled), self.ended.release())

    def serve(self, application=None):
        return self.contexts.enter_context(serving(application or self.app))

    def start_caddy(self):
        self.caddy = self.contexts.enter_context(running(FakeCaddy()))
        self.links = Links(self.caddy)

    def get(self, port, at, prefix="", **headers):
        response = send(port, "GET", at, headers=from_caddy(self.caddy, prefix, **headers))
        if self.app.extensions["wsgi_party"].keys:
            self.assertTrue(self.ended.acquire(timeout=20))  # what it had is remembered now
        return response.json() if response.status == 200 else response.status


class MountTest(Case):
    def setUp(self):
        super().setUp()
        self.start_caddy()
        self.application()

        @self.app.get("/item/<int:n>")
        def item(n):
            return jsonify(flask.request.path, url_for("item", n=1), flask.request.url)

        @self.app.get("/slash/")
        def slash():
            return ""

    def test_it_comes_before_all_paths_once(self):
        port = self.serve()
        origin = "http://127.0.0.1:%d" % port
        for prefix in ("/blog", "/b/c", "/%C3%BC"):
            self.assertEqual(self.get(port, "/item/2?q", prefix), [
                "/item/2", unquote(prefix) + "/item/1",
                origin + unquote(prefix) + "/item/2?q",
            ])
        for prefix in ("", "/", "//evil.example", "blog", "/a b"):
            self.assertEqual(self.get(port, "/item/2", prefix)[1], "/item/1")

    def test_what_the_server_knows_stays(self):
        for known, prefix, mount in (
            ("/blog", "/blog", "/blog"), ("/blog", "", "/blog"), ("/in", "/blog", "/blog/in"),
            ("/blog/in", "/blog", "/blog/in"), ("/blogger", "/blog", "/blog/blogger"),
        ):
            port = self.serve(lambda environ, start, known=known: self.app(
                {**environ, "SCRIPT_NAME": known}, start
            ))
            self.assertEqual(self.get(port, "/item/2", prefix)[1], mount + "/item/1")

    def test_with_a_proxy_fix_before_or_after(self):
        outside = ProxyFix(self.app, x_prefix=1)
        self.assertEqual(self.get(self.serve(outside), "/item/2", "/blog")[1], "/blog/item/1")
        self.app.wsgi_app.application = ProxyFix(self.app.wsgi_app.application, x_prefix=1)
        self.assertEqual(self.get(self.serve(), "/item/2", "/blog")[1], "/blog/item/1")
        self.assertEqual(self.get(self.serve(outside), "/item/2", "/blog")[1], "/blog/item/1")

    def test_redirects_have_it(self):
        response = send(self.serve(), "GET", "/slash", headers={"X-Forwarded-Prefix": "/blog"})
        self.assertEqual(response.status, 308)
        self.assertTrue(response.headers["Location"].endswith("/blog/slash/"))

    def test_an_application_in_another(self):
        """Its pages are where the dispatcher has it, below Caddy's mount."""
        def root(environ, start):
            start("404 Not Found", [])
            return [b""]

        port = self.serve(DispatcherMiddleware(root, {"/in": self.app}))
        self.assertEqual(self.get(port, "/in/item/2", "/blog")[1], "/blog/in/item/1")
        manifest = invite(
            port, "/in" + INVITE, htu="/blog/in" + INVITE, mnt="/blog",
            headers={"X-Forwarded-Prefix": "/blog"},
        ).json()
        self.assertEqual(manifest["urls"]["item"], "/in/item/{n}")
        for known in ("", "/blog"):  # by a server that knows the mount
            port = self.serve(lambda environ, start, known=known: self.app(
                {**environ, "SCRIPT_NAME": known}, start
            ))
            manifest = invite(port, INVITE, htu="/blog" + INVITE, mnt="/blog").json()
            self.assertEqual(manifest["urls"]["item"], "/item/{n}")

    def test_a_stream_has_it_as_far_as_flask_does(self):
        @self.app.get("/stream")
        def stream():
            parts = (json.dumps([url_for("item", n=n)]) for n in range(1))
            return flask.Response(flask.stream_with_context(parts), mimetype="application/json")

        self.assertEqual(self.get(self.serve(), "/stream", "/blog"), ["/blog/item/0"])


class InviteTest(Case):
    def setUp(self):
        super().setUp()
        self.start_caddy()
        self.application()

        @self.party.service("name")
        def name(payload):
            return [payload, url_for("page"), flask.request.method]

        @self.party.service("coroutine")
        async def coroutine(payload):
            return "awaited"

        @self.party.service("decline")
        def decline(payload):
            raise HighAndDry

        @self.party.service("fail")
        def fail(payload):
            raise ValueError("on purpose")

        @self.party.service("odd")
        def odd(payload):
            return object()

        self.app.add_url_rule("/page", "page", lambda: "page")
        self.torn = []
        self.app.teardown_request(self.torn.append)

    def test_the_manifest(self):
        port = self.serve()
        response = invite(port)
        self.assertEqual((response.status, response.headers["Content-Type"]), (200, MANIFEST))
        self.assertEqual(response.headers["Cache-Control"], "max-age=60")
        self.assertEqual(response.json()["urls"]["page"], "/page")
        self.assertEqual(
            response.json()["services"]["name"], {"href": "/__invite__/partyline/name", "batch": True}
        )
        again = invite(port, headers={"If-None-Match": response.headers["ETag"]})
        self.assertEqual((again.status, again.body), (304, b""))
        elsewhere = invite(port, "/a b/x/".replace(" ", "%20"))
        self.assertEqual(
            elsewhere.json()["services"]["name"], {"href": "/a%20b/x/partyline/name", "batch": True}
        )

    def test_services(self):
        port, href = self.serve(), "/__invite__/partyline/"
        self.assertEqual(ask(port, href + "name", {"a": "ü"}).json(), [{"a": "ü"}, "/page", "POST"])
        mounted = ask(
            port, href + "name", htu="/blog" + href + "name", mnt="/blog",
            headers={"X-Forwarded-Prefix": "/blog"},
        )
        self.assertEqual(mounted.json()[1], "/blog/page")
        self.assertEqual(self.torn, [None, None])
        self.assertEqual(ask(port, href + "decline").status, 204)
        for name in ("fail", "odd"):
            failed = ask(port, href + name)
            self.assertEqual(failed.status, 500)
            self.assertNotIn(b"purpose", failed.body)
        self.assertEqual(ask(port, href + "nothing").status, 404)
        for body in (b"", b"{", b"NaN", b"[Infinity]", b"\xff", b"[" * 100000):
            self.assertEqual(ask(port, href + "name", body=body).status, 400)
        with self.assertRaises(ValueError):
            self.party.service("name")(lambda payload: None)

    def test_several_asks_in_one_request(self):
        self.caddy.respond = lambda request: {"answers": [request["headers"]["Party-Token"]], "replies": []}

        @self.party.service("relay")
        def relay(payload):
            alone = flask.request.get_json(force=True) == payload
            if payload == 2:
                flask.g.failed = True
                raise RuntimeError("on purpose")
            return [self.party.ask("x")[0], payload, url_for("page"), "failed" in flask.g, alone]

        port, href = self.serve(), "/__invite__/partyline/relay"
        body = batch_of((b"1", {"token": "a.b.c"}), b"2", b"3", (b"4", {"token": "d.e.f"}))
        headers = from_caddy(self.caddy, "/blog")
        response = ask_batch(port, href, body, headers=headers)
        self.assertEqual(response.json(), [
            {"answer": ["a.b.c", 1, "/blog/page", False, True]}, {"error": "the handler failed: see its log"},
            {"answer": [None, 3, "/blog/page", False, True]}, {"answer": ["d.e.f", 4, "/blog/page", False, True]},
        ])
        self.assertEqual(ask_batch(port, href, b"1").status, 400)

        @self.party.service("alone", batch=False)
        def alone(payload):
            return payload

        href = "/__invite__/partyline/alone"
        self.assertEqual(invite(port).json()["services"]["alone"], {"href": href})
        self.assertEqual(ask_batch(port, href, b"[1]").json(), [1])

    def test_a_coroutine_as_views_may_be(self):
        got = ask(self.serve(), "/__invite__/partyline/coroutine").json()
        self.assertEqual(got, "awaited")

    def test_a_body_that_is_too_long(self):
        port, path = self.serve(), "/__invite__/partyline/name"
        self.assertEqual(send_too_much(port, path, make_token("POST", path)), 413)
        self.assertIn(send_too_much(port, path, "x.y.z"), (401, 413))

    def test_without_a_token_nothing_is_here(self):
        port = self.serve()
        for method, path in (("GET", INVITE), ("POST", "/__invite__/partyline/name")):
            self.assertEqual(send(port, method, path, headers={"Accept": MANIFEST}).status, 404)
        token = make_token("GET", "/__invite__/partyline/name")
        headers = {"Party-Token": token}  # of a request that is none of Caddy's
        self.assertEqual(send(port, "GET", "/__invite__/partyline/name", headers=headers).status, 404)

    def test_a_token_that_proves_nothing(self):
        port, href = self.serve(), "/__invite__/partyline/name"
        now = int(time.time())
        for wrong in (
            {"token": "x.y.z"}, {"token": make_token("GET", INVITE) + "x"},
            {"key": OTHER_KEY}, {"key": ""}, {"key": "x" * 31}, {"htm": "PUT"}, {"htu": "/other"},
            {"htu": INVITE + "?a"}, {"iat": now - 200, "exp": now - 140}, {"exp": now + 90},
            {"header": {"alg": "none"}}, {"header": {"alg": "HS512"}}, {"bsh": "x"}, {"aud": ""},
            {"mnt": "//evil"},
        ):
            with self.subTest(wrong):
                headers = {"Party-Ask": party_ask(self.caddy.url)}
                self.assertEqual(invite(port, headers=headers, **wrong).status, 401)
                if "htu" not in wrong:
                    self.assertEqual(ask(port, href, **wrong).status, 401)
        # Replayed with another body, or to another service.
        token = make_token("POST", href, batch_of(b"1"))
        self.assertEqual(ask(port, href, body=b"1", token=token).status, 200)
        for path, body in ((href, b"2"), (href + "s", b"1"), ("/__invite__/partyline/fail", b"1")):
            self.assertEqual(ask(port, path, body=body, token=token).status, 401)

    def test_a_token_that_names_another_guest(self):
        self.application(guest="blog")
        port = self.serve()
        self.assertEqual(invite(port, aud="blog").status, 200)
        self.assertEqual(invite(port, aud="shop").status, 401)


class LinksTest(Case):
    def setUp(self):
        super().setUp()
        self.start_caddy()

    def page(self, *names, **options):
        self.application(**options)

        @self.app.get("/")
        def index():
            return jsonify([url_for(name, n=1) for name in names])

        @self.app.get("/own/<n>")
        def own(n):
            return n

        return self.serve()

    def test_ones_own_come_first_and_are_not_asked_for(self):
        port = self.page("own", ".own")
        self.assertEqual(self.get(port, "/", "/blog"), ["/blog/own/1", "/blog/own/1"])
        self.assertEqual(self.links.counts, [])

    def test_others_are_asked_for_together(self):
        port = self.page("shop:a", "shop:b", "own", "c", "shop:a")
        want = ["/there/shop:a?n=1", "/there/shop:b?n=1", "/own/1", "/there/c?n=1", "/there/shop:a?n=1"]
        for _ in range(3):
            self.assertEqual(self.get(port, "/"), want)
        self.assertEqual(self.links.counts, [1, 1, 1, 3, 3])
        asked = self.caddy.requests[-1]
        self.assertEqual(asked["headers"]["Authorization"], "Bearer " + KEY)
        self.assertEqual(asked["json"][0], {
            "service": "url", "payload": {"name": "shop:a", "values": {"n": 1}}, "first": True,
        })

    def test_pages_of_errors_too(self):
        self.application()

        @self.app.errorhandler(404)
        def missing(error):
            return jsonify([url_for("shop:a"), url_for("shop:b")]), 200

        port = self.serve()
        for path in ("/x", "/y", "/z"):
            self.get(port, path)
        self.assertEqual(self.links.counts, [1, 1, 2, 2])

    def test_fetching(self):
        self.application()

        @self.app.get("/")
        def index():
            self.party.fetch_links(("shop:item", {"n": n}) for n in range(5))
            return jsonify([url_for("shop:item", n=n) for n in range(5)])

        self.assertEqual(self.get(self.serve(), "/")[4], "/there/shop:item?n=4")
        self.assertEqual(self.links.counts, [5])

    def test_flasks_options(self):
        self.application()
        links = [
            ({"_anchor": 'a b"</script>'}, "/there/x?#a%20b%22%3C/script%3E"),
            ({"_external": True}, "http://blog.example/there/x?"),
            ({"_external": True, "_scheme": "https"}, "https://blog.example/there/x?"),
            ({"_scheme": "https"}, "https://blog.example/there/x?"),
            ({"_method": "POST", "a": None}, "/there/x?"),
            ({"_external": False}, "/there/x?"),
            ({"day": datetime.date(2026, 11, 28)}, "/there/x?day=2026-11-28"),
        ]

        @self.app.get("/")
        def index():
            return jsonify([url_for("x", **options) for options, _ in links])

        got = self.get(self.serve(), "/", Host="blog.example")
        self.assertEqual(got, [want for _, want in links])

    def test_a_link_with_a_host(self):
        self.application()

        @self.app.get("/")
        def index():
            return jsonify([
                url_for("evil:https://shop.example/a?b", _external=external, _anchor="c")
                for external in (False, True)
            ])

        self.assertEqual(self.get(self.serve(), "/"), ["https://shop.example/a?b#c"] * 2)

    def test_templates_escape_them(self):
        self.application()

        @self.app.get("/")
        def index():
            return jsonify(render_template_string(
                "<a href=\"{{ url_for('evil:/a?b=1&c=\\'') }}\">{{ url_for('evil:/x') }}</a>"
            ))

        self.assertEqual(
            self.get(self.serve(), "/"), '<a href="/a?b=1&amp;c=&#39;">/x</a>'
        )

    def test_outside_a_request(self):
        self.application(url=self.caddy.url)
        self.app.config["SERVER_NAME"] = "blog.example"
        with self.app.app_context():
            self.assertEqual(url_for("shop:a"), "http://blog.example/there/shop:a?")
            self.assertEqual(url_for("shop:a", _external=False), "/there/shop:a?")
            with self.assertRaises(BuildError):
                url_for("nobody:a")

    def test_nobody_can_make_it(self):
        names = ("nobody:a", "evil:javascript:alert(1)", "evil://evil.example/", "own2")
        for options, status in (({}, 500), ({"missing_link": ""}, ["", "", "", ""])):
            names = names[:3] + ("nobody:b",)
            self.assertEqual(self.get(self.page(*names, **options), "/"), status)

    def test_ones_own_with_wrong_values_is_flasks_error(self):
        self.application(missing_link="")

        @self.app.get("/<int:n>")
        def own(n):
            try:
                return url_for("own")
            except BuildError as error:
                return jsonify(str(error))

        self.assertIn("Did you forget to specify values ['n']", self.get(self.serve(), "/1"))
        self.assertEqual(self.links.counts, [])

    def test_other_handlers_of_the_application_have_their_turn(self):
        port = self.page("nobody:a")
        self.app.url_build_error_handlers.append(lambda error, endpoint, values: "/their own")
        self.assertEqual(self.get(port, "/"), ["/their own"])

    def test_the_party_is_down(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            down = "http://127.0.0.1:%d/" % unused.getsockname()[1]
        self.application(missing_link="#")

        @self.app.get("/")
        def index():
            return jsonify([url_for("shop:%d" % n) for n in range(50)])

        port = self.serve()
        begun = time.monotonic()
        for _ in range(3):
            got = send(port, "GET", "/", headers={"Party-Ask": party_ask(down)}).json()
            self.assertEqual(got, ["#"] * 50)
        self.assertLess(time.monotonic() - begun, 20)


class PartyTest(Case):
    def setUp(self):
        super().setUp()
        self.start_caddy()

    def test_a_visitors_party_ask_is_not_believed(self):
        self.application()

        @self.app.get("/x")
        def x():
            return jsonify(self.party.ask("y"))

        evil = self.contexts.enter_context(socket.create_server(("127.0.0.1", 0)))
        evil.settimeout(0.3)
        address = "http://127.0.0.1:%d/" % evil.getsockname()[1]
        port = self.serve()
        for header in (
            address, address + "; mac=", party_ask(address, OTHER_KEY), party_ask(address, ""),
            party_ask(self.caddy.url) + ", " + address,
            party_ask(self.caddy.url).replace(self.caddy.url, address),
        ):
            page = send(port, "GET", "/x", headers={"Party-Ask": header})
            self.assertEqual(page.json(), [])
        with self.assertRaises(socket.timeout):
            evil.accept()
        self.assertEqual(self.caddy.requests, [])

    def test_one_guest_is_asked(self):
        self.application()

        @self.app.get("/")
        def index():
            return jsonify([
                self.party.ask("x", 1, guest="g"), self.party.ask_first("x", 2, 7, guest="g"),
            ])

        self.caddy.respond = lambda request: {"answers": [], "replies": []}
        page = send(self.serve(), "GET", "/", headers=from_caddy(self.caddy, "/blog"))
        self.assertEqual(page.json(), [[], 7])
        self.assertEqual(
            [r["path"] for r in self.caddy.requests], ["/x?guest=g", "/x?first&guest=g"]
        )

    def test_a_token_is_handed_back_only_if_it_is_one(self):
        self.application()

        @self.party.service("relay")
        def relay(payload):
            return self.party.ask("x")

        @self.app.get("/")
        def index():
            return jsonify(self.party.ask("x"))

        self.caddy.respond = lambda request: {"answers": [], "replies": []}
        port, href = self.serve(), "/__invite__/partyline/relay"
        headers = from_caddy(self.caddy, "/blog", **{"CDN-Loop": "caddy"})
        ask(port, href, headers=headers, element={"token": "a.b.c"})
        for token in ("", "x.y.z", make_token("GET", "/", key=OTHER_KEY)):
            send(port, "GET", "/", headers={**headers, "Party-Token": token})
        tokens = [r["headers"]["Party-Token"] for r in self.caddy.requests]
        self.assertEqual(tokens[0].count("."), 2)
        self.assertEqual(tokens[1:], [None] * 3)
        for request in self.caddy.requests:
            self.assertEqual(request["headers"]["X-Forwarded-Prefix"], "/blog")
            self.assertEqual(request["headers"]["CDN-Loop"], "caddy")

    def test_without_a_key_nothing_changes(self):
        for options in ({"key": ""}, {"key": "", "url": ""}):
            self.application(**options)

            @self.app.get("/")
            def index():
                try:
                    return jsonify(url_for("shop:a"))
                except BuildError:
                    return jsonify([flask.request.script_root, self.party.ask("x")])

            port = self.serve()
            self.assertEqual(self.get(port, "/", "/blog"), ["", []])
            self.assertEqual(invite(port).status, 404)
        self.application(key="", missing_link="")
        with self.app.test_request_context(), self.assertRaises(BuildError):
            url_for("shop:a")

    def test_several_applications_of_one_party(self):
        party = Party()
        with self.assertRaisesRegex(RuntimeError, "init_app"):
            party.ask("x")

        @party.service("who")
        def who(payload):
            return flask.current_app.name

        folder = Path(self.contexts.enter_context(tempfile.TemporaryDirectory()))
        ports = {}
        for name, key in (("one", KEY), ("two", OTHER_KEY)):
            app = Flask(name)
            (folder / name).write_text(key)
            with environment(WSGI_PARTY_KEY_FILE=str(folder / name)):
                party.init_app(app)
            ports[name] = self.serve(app)

            @app.get("/")
            def index():
                return jsonify(party.ask("x"))

        self.caddy.respond = lambda request: {
            "answers": [request["headers"]["Authorization"]], "replies": [],
        }
        for name, key in (("one", KEY), ("two", OTHER_KEY)):
            got = ask(ports[name], "/__invite__/partyline/who", key=key)
            self.assertEqual(got.json(), name)
            header = {"Party-Ask": party_ask(self.caddy.url, key)}
            got = send(ports[name], "GET", "/", headers=header).json()
            self.assertEqual(got, ["Bearer " + key])
        with self.assertRaisesRegex(RuntimeError, "already has a Party"):
            party.init_app(app)

    def test_a_short_key_is_refused_and_not_told(self):
        with self.assertRaises(ValueError) as raised:
            Party(Flask("flask_app"), key="short")
        self.assertNotIn("short:", str(raised.exception))

    def test_routes_that_cannot_be_read_fail_no_visitor(self):
        self.application()
        self.app.add_url_rule("/", "index", lambda: "x")
        self.party._tell = lambda app, pages: 1 / 0
        port = self.serve()
        for _ in range(2):
            self.assertEqual(send(port, "GET", "/").body, b"x")

    def test_what_is_told_is_said_once(self):
        logging.getLogger("wsgi_party").setLevel(logging.INFO)
        self.application()
        self.app.add_url_rule("/<int(fixed_digits=2):n>", "</script>\n", lambda n: "")
        port = self.serve()
        with self.assertLogs("wsgi_party", logging.INFO) as logs:
            threads = [threading.Thread(target=send, args=(port, "GET", "/12")) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            invite(port)
        self.assertEqual(logs.output, [
            "INFO:wsgi_party:flask_app tells the party of pages: 1, and services: 0",
            "INFO:wsgi_party:flask_app leaves out '</script>\\n'"
            " (its variable 'n' is filled up with zeros)",
        ])


if __name__ == "__main__":
    unittest.main()
