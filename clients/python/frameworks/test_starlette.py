# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Starlette, FastAPI and any ASGI application as guests, on real sockets."""

import asyncio
import contextlib
import contextvars
import http.client
import json
import logging
import threading
import time
import unittest
from unittest import mock

import starlette
import websockets
from fastapi import FastAPI
from servers import Links, from_caddy, party_ask, serving_asgi
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, NoMatchFound, Route, WebSocketRoute
from test_wsgi_party import (
    KEY, MANIFEST, OTHER_KEY, FakeCaddy, ask, environment, invite, make_token, running, send,
)

from wsgi_party import HighAndDry
from wsgi_party._asgi import mounted
from wsgi_party.asgi import Party


async def where(request):
    root = request.scope["root_path"]
    return JSONResponse([str(request.url.path), root, str(request.url_for("item", pk=1).path)])


async def body(request):
    return PlainTextResponse(await request.body())


async def fail(request):
    raise RuntimeError("of the application")


def application(*routes, **options):
    return Starlette(routes=[
        Route("/", where, name="home"), Route("/items/{pk:int}", where, name="item"),
        Route("/blog/x", where, name="deep"), Route("/slash/", where), Route("/fail", fail),
        Route("/__invite__/partyline/name", body, methods=["POST"], name="body"), *routes,
    ], **options)


class Case(unittest.TestCase):
    def setUp(self):
        self.contexts = contextlib.ExitStack()
        self.addCleanup(self.contexts.close)
        self.contexts.enter_context(environment())
        for name in ("wsgi_party", "uvicorn.error", "asyncio"):  # what is expected is not said
            named = logging.getLogger(name)
            self.addCleanup(named.setLevel, named.level)
            named.setLevel(logging.CRITICAL)
        self.caddy = self.contexts.enter_context(running(FakeCaddy()))
        self.links = Links(self.caddy)

    def party(self, app, **options):
        options.setdefault("key", KEY)
        return Party(app, **options)

    def serve(self, app, **options):
        return self.contexts.enter_context(serving_asgi(app, **options))

    def get(self, port, at, prefix="", **headers):
        response = send(port, "GET", at, headers=from_caddy(self.caddy, prefix, **headers))
        return response.json() if response.status == 200 else response.status

    def linked(self, endpoint, **options):
        """Serves a page of what a function of the party returns."""

        async def page(request):
            return JSONResponse(await endpoint(party))

        app = application(Route("/page", page))
        party = self.party(app, **options)
        return self.serve(app)


class RootPathTest(Case):
    def test_it_has_the_mount_once(self):
        app = application()
        self.party(app)
        for known, prefix, mount in (
            ("", "", ""), ("", "/blog", "/blog"), ("", "/b/c", "/b/c"), ("/blog", "/blog", "/blog"),
            ("/blog", "", "/blog"), ("/in", "/blog", "/blog/in"), ("/blogger", "/blog", "/blog/blogger"),
            ("", "//evil.example", ""), ("", "blog", ""), ("", "/", ""),
        ):
            with self.subTest((known, prefix)):
                port = self.serve(app, root_path=known)
                self.assertEqual(
                    self.get(port, "/items/5", prefix), [mount + "/items/5", mount, mount + "/items/1"]
                )
                self.assertEqual(self.get(port, "/blog/x", prefix)[0], mount + "/blog/x")

    def test_fastapis_own_root_path(self):
        app = FastAPI(root_path="/blog")
        app.router.routes.extend(application().routes)
        self.party(app)
        self.assertEqual(self.get(self.serve(app), "/items/5", "/blog")[:2], ["/blog/items/5", "/blog"])

    def test_a_redirect_has_it(self):
        app = application()
        self.party(app)
        response = send(self.serve(app), "GET", "/slash", headers={"X-Forwarded-Prefix": "/blog"})
        self.assertTrue(response.headers["Location"].endswith("/blog/slash/"), response.headers)

    def test_middlewares_that_are_added_later_see_it(self):
        seen = []

        async def look(request, call_next):
            seen.append(request.scope["root_path"])
            return await call_next(request)

        app = application()
        self.party(app)
        app.add_middleware(BaseHTTPMiddleware, dispatch=look)
        self.get(self.serve(app), "/", "/blog")
        self.assertEqual(seen, ["/blog"])

    def test_scopes(self):
        def scope(path, root="", raw=True):
            made = {"type": "http", "path": path, "root_path": root, "state": {}}
            return {**made, "raw_path": path.encode()} if raw else made

        # As ASGI has it, and Starlette since 0.35, and before.
        for version, given, path, raw_path, root in (
            ("0.35.0", scope("/x"), "/blog/x", b"/blog/x", "/blog"),
            ("0.47.3", scope("/blog/x"), "/blog/blog/x", b"/blog/blog/x", "/blog"),
            ("1.0.0", scope("/blog/x", "/blog"), "/blog/x", b"/blog/x", "/blog"),
            ("0.35.0", scope("/x", "/blog"), "/x", b"/x", "/blog"),
            ("0.35.0", scope("/in/x", "/in"), "/blog/in/x", b"/blog/in/x", "/blog/in"),
            ("0.35.0", scope("/x", "/in"), "/blog/in/x", b"/blog/in/x", "/blog/in"),
            ("0.35.0", scope("/x", raw=False), "/blog/x", None, "/blog"),
            ("0.34.0", scope("/x"), "/x", b"/x", "/blog"),
            ("0.26.1", scope("/blog/x"), "/blog/x", b"/blog/x", "/blog"),
            ("0.26.1", scope("/x", "/in"), "/x", b"/x", "/blog/in"),
            ("0.26.1", scope("/x", "/blog/"), "/x", b"/x", "/blog/"),
        ):
            with self.subTest((version, given)):
                before = dict(given)
                with mock.patch.object(starlette, "__version__", version):
                    got = mounted(given, "/blog")
                self.assertEqual(given, before)
                self.assertEqual(
                    (got["path"], got.get("raw_path"), got["root_path"]), (path, raw_path, root)
                )
                self.assertIs(got["state"], given["state"])
        with mock.patch.object(starlette, "__version__", "1.0"):
            got = mounted(scope("/x"), "/%C3%BC")
        self.assertEqual((got["path"], got["raw_path"]), ("/ü/x", b"/%C3%BC/x"))


class InviteTest(Case):
    def setUp(self):
        super().setUp()
        self.app = application(Mount("/sub", routes=[Route("/y", where, name="y")], name="sub"))
        self.made = self.party(self.app, guest="blog")
        self.made.page("search", "/search{?q}")
        self.made.page("deep", None)

        @self.made.service("name")
        async def name(payload):
            await asyncio.sleep(0)
            return "starlette"

        @self.made.service("echo")
        def echo(payload):
            return payload

        @self.made.service("decline")
        async def decline(payload):
            raise HighAndDry

        @self.made.service("fail")
        def failing(payload):
            raise RuntimeError("on purpose")

        @self.made.service("odd")
        def odd(payload):
            return {"a": float("nan")}

        self.port = self.serve(self.app)

    def test_the_manifest(self):
        response = invite(self.port)
        self.assertEqual(response.headers["Content-Type"], MANIFEST)
        self.assertEqual(response.headers["Cache-Control"], "max-age=60")
        manifest = response.json()
        self.assertEqual(manifest["urls"], {
            "search": "/search{?q}", "home": "/", "item": "/items/{pk}", "where": "/slash/",
            "fail": "/fail", "body": "/__invite__/partyline/name", "sub": "/sub{/path*}",
            "sub:y": "/sub/y",
        })
        self.assertEqual(manifest["services"]["echo"], {"href": "/__invite__/partyline/echo", "batch": True})
        again = invite(self.port, headers={"If-None-Match": response.headers["ETag"]})
        self.assertEqual((again.status, again.body), (304, b""))
        elsewhere = invite(self.port, "/a/__invite__/", htu="/blog/a/__invite__/", mnt="/blog")
        self.assertEqual(
            elsewhere.json()["services"]["echo"], {"href": "/a/__invite__/partyline/echo", "batch": True}
        )

    def test_services(self):
        href = "/__invite__/partyline/"
        self.assertEqual(ask(self.port, href + "name").json(), "starlette")
        self.assertEqual(ask(self.port, href + "echo", {"a": ["ü"]}).json(), {"a": ["ü"]})
        self.assertEqual(ask(self.port, href + "decline").status, 204)
        for service in ("fail", "odd"):
            failed = ask(self.port, href + service)
            self.assertEqual(failed.status, 500)
            self.assertNotIn(b"purpose", failed.body)
        self.assertEqual(ask(self.port, href + "nothing").status, 404)
        self.assertEqual(ask(self.port, href + "echo", body=b"{").status, 400)
        self.assertEqual(ask(self.port, href + "echo", body=b"1" * ((1 << 20) + (1 << 14))).status, 413)

    def test_without_a_token_it_is_the_applications(self):
        href = "/__invite__/partyline/name"
        for response in (
            send(self.port, "GET", "/__invite__/", headers={"Accept": MANIFEST}),
            invite(self.port, headers={"Accept": "text/html"}),
        ):
            self.assertEqual(response.status, 404)
        for content in (b"a=b", b"1" * 300000):
            response = send(self.port, "POST", href, content)
            self.assertEqual((response.status, response.body), (200, content))

    def test_a_token_that_proves_nothing_is_401(self):
        href = "/__invite__/partyline/name"
        for response in (
            invite(self.port, key=OTHER_KEY), invite(self.port, key=""), invite(self.port, aud="shop"),
            ask(self.port, "/__invite__/partyline/echo", key=OTHER_KEY),
            ask(self.port, "/__invite__/partyline/echo", htu=href),
            send(self.port, "POST", href, b"1", {"Party-Token": make_token(htu=href, body=b"2")}),
        ):
            self.assertEqual((response.status, response.headers["WWW-Authenticate"]), (401, "Party-Token"))

    def test_an_application_in_another(self):
        outer = Starlette(routes=[Mount("/in", self.app)])
        port = self.serve(outer)
        response = invite(port, "/in/__invite__/", htu="/blog/in/__invite__/", mnt="/blog")
        self.assertEqual(response.json()["urls"]["sub:y"], "/in/sub/y")
        self.assertEqual(
            response.json()["services"]["name"], {"href": "/in/__invite__/partyline/name", "batch": True}
        )
        href = "/in/__invite__/partyline/name"
        self.assertEqual(ask(port, href, htu="/blog" + href, mnt="/blog").json(), "starlette")


class LinksTest(Case):
    def test_ones_own_come_first_and_are_not_asked_for(self):
        async def links(party):
            return [await party.url_for("item", pk=5), party.sync.url_for("sub:y")]

        async def page(request):
            return JSONResponse(await links(party))

        app = application(Mount("/sub", routes=[
            Route("/y", where, name="y"), Route("/page", page),
        ], name="sub"))
        party = self.party(app)
        port = self.serve(app)
        self.assertEqual(self.get(port, "/sub/page", "/b%C3%BC"), ["/b%C3%BC/items/5", "/b%C3%BC/sub/y"])
        self.assertEqual(asyncio.run(links(party)), ["/items/5", "/sub/y"])
        for values in ({}, {"pk": 1, "q": 2}):
            with self.assertRaises(NoMatchFound):
                asyncio.run(party.url_for("item", **values))
        self.assertEqual(self.caddy.requests, [])

    def test_others_are_asked_for_together(self):
        async def links(party):
            return [await party.url_for(name, a=1, name="x") for name in ("a:b", "a:c", "d", "a:b")]

        port = self.linked(links)
        want = [f"/there/{name}?a=1&name=x" for name in ("a:b", "a:c", "d", "a:b")]
        for counts in ([1, 1, 1], [3], [3]):
            del self.caddy.requests[:]
            self.assertEqual(self.get(port, "/page", "/blog"), want)
            self.assertEqual(self.links.counts, counts)
        self.assertEqual(self.caddy.requests[0]["headers"]["X-Forwarded-Prefix"], "/blog")

    def test_those_of_tasks_are_asked_for_together(self):
        async def links(party):
            first = await asyncio.gather(*(party.url_for("a:b", n=n) for n in range(40)))
            rest = await asyncio.gather(*(party.url_for("a:b", n=n % 50) for n in range(100)))
            return [*first, *rest]

        port = self.linked(links)
        want = [f"/there/a:b?n={n}" for n in [*range(40), *range(50), *range(50)]]
        for counts in ([40, 10], [50]):
            del self.caddy.requests[:]
            self.assertEqual(self.get(port, "/page"), want)
            self.assertEqual(self.links.counts, counts)

    def test_a_task_that_is_cancelled_takes_none_with_it(self):
        async def links(party):
            tasks = [asyncio.ensure_future(party.url_for("a:b", n=n)) for n in range(3)]
            await asyncio.sleep(0)
            tasks[0].cancel()
            cancelled, *others = await asyncio.gather(*tasks, return_exceptions=True)
            return [type(cancelled).__name__, *others]

        want = ["CancelledError", "/there/a:b?n=1", "/there/a:b?n=2"]
        self.assertEqual(self.get(self.linked(links), "/page"), want)

    def test_values_may_have_any_name(self):
        async def link(party):
            return await party.url_for("a:b", self=1, name=2, function=3, values=4, party=5)

        want = "/there/a:b?self=1&name=2&function=3&values=4&party=5"
        self.assertEqual(self.get(self.linked(link), "/page"), want)

    def test_fetching_and_asking(self):
        async def links(party):
            await party.fetch_links([("a:b", {"n": n}) for n in range(5)])
            return [await party.url_for("a:b", n=n) for n in range(5)]

        port = self.linked(links)
        self.assertEqual(self.get(port, "/page"), [f"/there/a:b?n={n}" for n in range(5)])
        self.assertEqual(self.links.counts, [5])

        async def asks(party):
            return [
                await party.ask("x"), await party.ask_many([("x", None), ("y", 1)], first=True),
                await party.ask_first("x", default="d"), party.sync.ask_first("x", None, "e"),
                await party.ask("x", guest="g"), await party.ask_first("x", default=1, guest="g"),
                party.sync.ask("x", guest="g"), party.sync.ask_first("x", None, 2, guest="g"),
            ]

        port = self.linked(asks)
        self.caddy.respond = lambda request: (
            [{"answers": [n]} for n in range(2)] if request["path"] == "/" else {"answers": []}
        )
        self.assertEqual(self.get(port, "/page"), [[], [[0], [1]], "d", "e", [], 1, [], 2])
        self.assertEqual([r["path"] for r in self.caddy.requests][-4:], [
            "/x?guest=g", "/x?first&guest=g", "/x?guest=g", "/x?first&guest=g",
        ])

    def test_nobody_can_make_it(self):
        async def link(party):
            try:
                return await party.url_for("nobody:x", a=1)
            except (NoMatchFound, LookupError) as error:
                return type(error).__name__

        self.assertEqual(self.get(self.linked(link), "/page"), "NoMatchFound")
        self.assertEqual(self.get(self.linked(link, missing_link=""), "/page"), "")
        for url in ("javascript:alert(1)", "//evil.example/", '/x"onclick=y', "/a\nb"):
            async def evil(party):
                return await party.url_for("evil:" + url)

            self.assertEqual(self.get(self.linked(evil, missing_link="no"), "/page"), "no")

    def test_the_party_is_down(self):
        async def links(party):
            return [await party.url_for("a:b", n=n) for n in range(5)]

        port = self.linked(links, missing_link="")
        begun = time.monotonic()
        for _ in range(5):
            response = send(port, "GET", "/page", headers={"Party-Ask": party_ask("http://127.0.0.1:9/")})
            self.assertEqual(response.json(), [""] * 5)
        self.assertLess(time.monotonic() - begun, 20)

    def test_others_are_served_while_caddy_takes_its_time(self):
        released = threading.Event()
        self.addCleanup(released.set)

        def respond(request):
            released.wait(20)
            return {"answers": ["/late"]}

        self.caddy.respond = respond

        async def link(party):
            return await party.url_for("a:b")

        port = self.linked(link)
        got = []
        waiting = threading.Thread(target=lambda: got.append(self.get(port, "/page")))
        waiting.start()
        while not self.caddy.requests:
            time.sleep(0.005)
        self.assertEqual(self.get(port, "/")[0], "/")
        self.assertEqual(got, [])
        released.set()
        waiting.join()
        self.assertEqual(got, ["/late"])

    def test_a_visitors_party_ask_is_not_believed(self):
        async def asks(party):
            return await party.ask("name")

        port = self.linked(asks)
        for header in (
            self.caddy.url, f"{self.caddy.url}; mac=", party_ask(self.caddy.url, OTHER_KEY), "x" * 5000,
        ):
            self.assertEqual(send(port, "GET", "/page", headers={"Party-Ask": header}).json(), [])
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.putrequest("GET", "/page")
        for _ in range(2):
            connection.putheader("Party-Ask", party_ask(self.caddy.url))
        connection.endheaders()
        self.assertEqual(json.load(connection.getresponse()), [])
        connection.close()
        self.assertEqual(self.caddy.requests, [])

    def test_a_token_is_handed_back_only_if_it_is_one(self):
        async def asks(party):
            return await party.ask("name")

        port = self.linked(asks)
        self.caddy.respond = lambda request: {"answers": []}
        for token, handed in ((make_token(), True), (make_token(key=OTHER_KEY), False)):
            self.get(port, "/page", **{"Party-Token": token})
            got = self.caddy.requests[-1]["headers"].get("Party-Token")
            self.assertEqual(got, token if handed else None)


class UntouchedTest(Case):
    def test_without_a_key_nothing_changes(self):
        app = application()
        build = app.build_middleware_stack
        party = Party(app)
        self.assertEqual(app.build_middleware_stack, build)
        self.assertEqual(asyncio.run(party.url_for("item", pk=1)), "/items/1")
        self.assertEqual(asyncio.run(party.ask("x")), [])
        with self.assertRaises(NoMatchFound):
            asyncio.run(party.url_for("a:b"))
        self.assertEqual(self.get(self.serve(app), "/", "/blog")[1], "")

    def test_lifespan(self):
        events = []

        @contextlib.asynccontextmanager
        async def lifespan(app):
            events.append("begun")
            yield
            events.append("ended")

        app = application(lifespan=lifespan)
        self.party(app)
        with serving_asgi(app, lifespan="on") as port:
            self.assertEqual(self.get(port, "/")[0], "/")
            self.assertEqual(events, ["begun"])
        self.assertEqual(events, ["begun", "ended"])

    def test_one_application_has_one_party(self):
        app = application()
        self.party(app)
        with self.assertRaisesRegex(RuntimeError, "already has a Party"):
            self.party(app)

    def test_a_party_comes_before_the_start(self):
        app = application()
        with serving_asgi(app), self.assertRaisesRegex(RuntimeError, "make its Party before"):
            self.party(app)

    def test_exceptions(self):
        app = application()
        self.party(app)
        response = send(self.serve(app), "GET", "/fail")
        self.assertEqual((response.status, response.body), (500, b"Internal Server Error"))
        with self.assertRaisesRegex(RuntimeError, "of the application"):
            asyncio.run(self.call(app, "/fail"))

    async def call(self, app, path):
        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def sent(message):
            pass

        scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
        await app(scope, receive, sent)

    def test_a_stream_comes_part_by_part(self):
        released = threading.Event()

        async def stream(request):
            async def parts():
                yield b"first"
                while not released.is_set():
                    await asyncio.sleep(0.005)
                yield (await party.url_for("a:b")).encode()

            return StreamingResponse(parts())

        app = application(Route("/stream", stream))
        party = self.party(app)
        connection = http.client.HTTPConnection("127.0.0.1", self.serve(app), timeout=20)
        connection.request("GET", "/stream", headers=from_caddy(self.caddy))
        response = connection.getresponse()
        self.assertEqual(response.read1(), b"first")
        released.set()
        self.assertEqual(response.read(), b"/there/a:b?")
        connection.close()

    def test_websockets(self):
        async def echo(socket):
            await socket.accept()
            text = await socket.receive_text()
            await socket.send_text(f"{text} {socket.url.path} {await party.url_for('a:b')}")
            await socket.close()

        app = application(WebSocketRoute("/ws", echo))
        party = self.party(app)
        port = self.serve(app)

        async def talk():
            headers = from_caddy(self.caddy, "/blog")
            url = f"ws://127.0.0.1:{port}/ws"
            async with websockets.connect(url, extra_headers=headers) as socket:
                await socket.send("hello")
                return await socket.recv()

        self.assertEqual(asyncio.run(talk()), "hello /blog/ws /there/a:b?")

    def test_context_variables(self):
        variable = contextvars.ContextVar("variable", default="unset")
        seen = []

        async def page(request):
            variable.set("set")
            await party.ask("x")
            seen.append(variable.get())
            return JSONResponse(await party.ask("y"))

        app = application(Route("/page", page))
        party = self.party(app)
        self.caddy.respond = lambda request: {"answers": []}
        port = self.serve(app)
        self.get(port, "/page")
        self.assertEqual(seen, ["set"])

    def test_any_asgi_application(self):
        async def plain(scope, receive, send):
            if scope["type"] != "http":
                raise NotImplementedError
            text = json.dumps([scope["path"], await party.url_for("a:b")]).encode()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": text})

        party = self.party(plain)
        port = self.serve(party)
        self.assertEqual(self.get(port, "/x"), ["/x", "/there/a:b?"])
        self.assertEqual(invite(port).json(), {"urls": {}, "services": {}})
        with self.assertRaisesRegex(LookupError, "nobody has a page 'nobody:x'"):
            asyncio.run(party.url_for("nobody:x"))

    def test_two_parties_in_one_process(self):
        async def link(party):
            return await party.url_for("a:b")

        one, two = self.linked(link), self.linked(link, key=OTHER_KEY, missing_link="unknown")
        self.assertEqual(self.get(one, "/page"), "/there/a:b?")
        self.assertEqual(self.get(two, "/page"), "unknown")  # whose address was not said


if __name__ == "__main__":
    unittest.main()
