# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""What a request costs that uses nothing of the party: processor time, with the party
and without in turn. On a busy machine all takes a multiple of it.
"""

import asyncio
import gc
import io
import sys
import time
import unittest

import flask
import project  # noqa: F401: configures Django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.test import override_settings
from servers import party_ask
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from test_wsgi_party import KEY

import wsgi_party.flask
from wsgi_party.asgi import Party

MOST = 20e-6  # seconds
HEADERS = {
    "Host": "example.com", "User-Agent": "Mozilla/5.0 (X11; Linux x86_64)", "Accept": "text/html",
    "Accept-Language": "de", "Accept-Encoding": "gzip", "Cookie": "a=b",
    "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https",
    "Party-Ask": party_ask("http://127.0.0.1:9/"), "X-Forwarded-Prefix": "/blog",
}


def difference(bare, party, rounds=400):
    """Returns how much longer one function takes than the other, both on a good day."""
    times = ([], [])
    gc.disable()
    try:
        for _ in range(rounds):
            for function, taken in zip((bare, party), times):
                begun = time.thread_time()
                for _ in range(10):
                    function()
                taken.append((time.thread_time() - begun) / 10)
    finally:
        gc.enable()
    without, with_party = (sorted(taken)[rounds // 10] for taken in times)
    print("%.1f µs without, %.1f µs more" % (without * 1e6, (with_party - without) * 1e6),
          file=sys.stderr)
    return without, with_party - without


def call(handler):
    """Has a WSGI application answer a request."""
    environ = {
        "REQUEST_METHOD": "GET", "PATH_INFO": "/", "SCRIPT_NAME": "", "QUERY_STRING": "",
        "SERVER_NAME": "x", "SERVER_PORT": "80", "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr,
        **{"HTTP_" + k.upper().replace("-", "_"): v for k, v in HEADERS.items()},
    }
    response = handler(environ, lambda status, headers, exc_info=None: None)
    b"".join(response)
    response.close()


class FiguresTest(unittest.TestCase):
    def is_small(self, share, *functions):
        for function in functions:
            function()
        for _ in range(10):  # on a busy machine
            without, more = difference(*functions)
            if more < MOST:
                return
        self.assertLess(more, share * without)

    def test_django(self):
        middleware = settings.MIDDLEWARE
        self.assertEqual(middleware[0], "wsgi_party.django.middleware.party")
        with override_settings(MIDDLEWARE=middleware[1:]):
            bare = WSGIHandler()

        party = WSGIHandler()
        self.is_small(0.25, lambda: call(bare), lambda: call(party))

    def test_flask(self):
        bare, party = (flask.Flask(__name__) for _ in range(2))
        wsgi_party.flask.Party(party, key=KEY)
        for app in (bare, party):
            app.route("/")(lambda: "x")
        self.is_small(0.25, lambda: call(bare), lambda: call(party))

    def test_a_manifest_from_500_routes_of_flask(self):
        app = flask.Flask(__name__)
        wsgi_party.flask.Party(app, key=KEY)
        for n in range(500):
            app.add_url_rule("/section%d/<int:a>/<path:b>" % n, "page%d" % n, lambda a, b: "")
        guest = app.extensions["wsgi_party"]
        times = []
        for _ in range(20):
            begun = time.thread_time()
            manifest = guest._manifest("/__invite__")
            times.append(time.thread_time() - begun)
        self.assertEqual(manifest.pages, 501)
        print("a manifest from 500 routes: %.1f ms" % (min(times) * 1e3), file=sys.stderr)
        self.assertLess(min(times), 0.05)

    def test_starlette(self):
        async def page(request):
            return PlainTextResponse("x")

        bare, party = (Starlette(routes=[Route("/", page)]) for _ in range(2))
        Party(party, key=KEY)
        headers = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            pass

        def call(app):
            scope = {
                "type": "http", "method": "GET", "path": "/", "raw_path": b"/", "root_path": "",
                "query_string": b"", "headers": headers, "scheme": "http", "http_version": "1.1",
                "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1),
            }
            loop.run_until_complete(app(scope, receive, send))

        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        self.is_small(1.5, lambda: call(bare), lambda: call(party))


if __name__ == "__main__":
    unittest.main()
