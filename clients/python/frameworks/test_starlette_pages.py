# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""What Caddy is told of the routes of Starlette and FastAPI."""

import time
import unittest
import uuid
from urllib.parse import unquote

from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.convertors import Convertor, StringConvertor, register_url_convertor
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles
from uritemplates import expand

from wsgi_party import _starlette
from wsgi_party._manifest import Pages


async def view(request):
    raise AssertionError("nobody is to be here")


class Lower(Convertor):
    regex = "[a-z]+"

    def convert(self, value):
        return value

    def to_string(self, value):
        return value.lower()


class Letters(StringConvertor):
    regex = "[a-z]+"


register_url_convertor("lower", Lower())
register_url_convertor("letters", Letters())


def told(*routes):
    pages = Pages()
    _starlette.add(pages, routes)
    return pages.templates


def left_out(*routes):
    pages = Pages()
    _starlette.add(pages, routes)
    return dict(pages.left_out)


class PagesTest(unittest.TestCase):
    def is_as_starlettes(self, name, values, *routes):
        url = expand(told(*routes)[name], values)
        own = Starlette(routes=list(routes)).url_path_for(name, **values)
        self.assertEqual(unquote(url), unquote(own))

    def test_convertors(self):
        for at, values, template in (
            ("/", {}, "/"),
            ("/a/", {}, "/a/"),
            ("/{x}", {"x": "ü ?#"}, "/{x}"),
            ("/{x:str}/b", {"x": "a"}, "/{x}/b"),
            ("/{x:int}", {"x": 7}, "/{x}"),
            ("/{x:float}.{y:letters}", {"x": 1.5, "y": "a"}, "/{x}.{y}"),
            ("/{x:uuid}", {"x": uuid.UUID(int=5)}, "/{x}"),
            ("/files/{x:path}", {"x": "a/b c"}, "/files{/x*}"),
            ("/files/{x:path}/raw", {"x": "a/b"}, "/files{/x*}/raw"),
            ("/ü {/}'", {}, "/%C3%BC%20%7B/%7D%27"),
        ):
            with self.subTest(at):
                route = Route(at, view, name="page")
                self.assertEqual(told(route)["page"].replace("'", "%27"), template)
                self.is_as_starlettes("page", values, route)

    def test_what_no_template_says_is_left_out(self):
        for route, why in (
            (Route("/{x:lower}", view, name="page"), "Lower writes x in its own way"),
            (Route("/a//b", view, name="page"), "two slashes"),
            (Route("//a", view, name="page"), "two slashes"),
            (Route("/a/../b", view, name="page"), "segment"),
            (Route("/a/%2e%2e/b", view, name="page"), "segment"),
            (Route("/a\\b", view, name="page"), "backslash"),
            (Route("/a\nb", view, name="page"), "control character"),
            (Route("/a", view, name="a b"), "A-Z a-z 0-9"),
            (Route("/a", view, name="<script>"), "A-Z a-z 0-9"),
            (Route("/a", view, name='"\\\n'), "A-Z a-z 0-9"),
            (Route("/a", view, name="x" * 65), "A-Z a-z 0-9"),
            (Route("/x{x:path}", view, name="page"), "slashes"),
            (Route("/" + "/".join(f"{{a{n}}}" for n in range(65)), view, name="page"), "64"),
            (WebSocketRoute("/ws", view, name="page"), "websocket"),
            (Host("{x}.example.com", Router([Route("/", view, name="page")])), "at the host {x}"),
            (Mount("/{x:lower}", routes=[Route("/", view, name="page")]), "Lower writes x"),
        ):
            with self.subTest(route):
                (name, reason), = left_out(route).items()
                self.assertIn(why, reason)
                self.assertEqual(told(route, Route("/good", view, name="good")), {"good": "/good"})

    def test_mounts(self):
        inner = [Route("/", view, name="index"), Route("/{pk:int}", view, name="detail")]
        routes = [
            Mount("/polls", routes=inner, name="polls"),
            Mount("/plain", routes=inner),
            Mount("/{tenant}", routes=[Mount("/x", routes=inner, name="b")], name="a"),
            Mount("/static", StaticFiles(directory="."), name="static"),
            Mount("/other", view),
        ]
        self.assertEqual(told(*routes), {
            "polls": "/polls{/path*}", "polls:index": "/polls/", "polls:detail": "/polls/{pk}",
            "index": "/plain/", "detail": "/plain/{pk}",
            "a": "/{tenant}{/path*}", "a:b": "/{tenant}/x{/path*}",
            "a:b:index": "/{tenant}/x/", "a:b:detail": "/{tenant}/x/{pk}",
            "static": "/static{/path*}",
        })
        for name, values in (
            ("polls:detail", {"pk": 1}), ("polls", {"path": "a/b"}), ("detail", {"pk": 2}),
            ("a:b:detail", {"tenant": "t", "pk": 1}), ("static", {"path": "a/b.css"}),
            ("a:b", {"tenant": "t", "path": "a"}),
        ):
            with self.subTest(name):
                self.is_as_starlettes(name, values, *routes)

    def test_of_several_routes_with_one_name_the_first(self):
        routes = [
            Route("/a/{x:lower}", view, name="page"), Route("/b", view, name="page"),
            Route("/c", view, name="page"),
        ]
        self.assertEqual(told(*routes), {"page": "/b"})
        self.is_as_starlettes("page", {}, *routes)

    def test_the_names_that_starlette_gives(self):
        self.assertEqual(told(Route("/a", view)), {"view": "/a"})

    def test_fastapi(self):
        app, router, sub = FastAPI(), APIRouter(prefix="/items"), FastAPI(openapi_url=None)

        @router.get("/{item_id}")
        async def read_item(item_id: int):
            pass

        @sub.post("/users/{name:path}", name="user")
        async def create(name: str):
            pass

        app.include_router(router)
        app.mount("/sub", sub)
        pages = told(*app.routes)
        self.assertEqual(pages["read_item"], "/items/{item_id}")
        self.assertEqual(pages["user"], "/sub/users{/name*}")
        self.assertEqual(pages["openapi"], "/openapi.json")

    def test_many_are_read_in_time(self):
        routes = [
            Mount(f"/app{n}", routes=[
                Route(f"/{{pk:int}}/item{m}/{{slug}}", view, name=f"page{m}") for m in range(9)
            ], name=f"app{n}") for n in range(50)
        ]
        best = 1.0
        for _ in range(100):  # on a busy machine
            pages = Pages()
            begun = time.thread_time()
            _starlette.add(pages, routes)
            best = min(best, time.thread_time() - begun)
            if best < 0.05:
                break
        self.assertEqual(len(pages.templates), 500)
        self.assertLess(best, 0.05)


if __name__ == "__main__":
    unittest.main()
