# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""What Caddy is told of the routes of Flask."""

import json
import unittest
import uuid
from urllib.parse import unquote

from flask import Blueprint, Flask
from test_wsgi_party import KEY, environment
from uritemplates import expand
from werkzeug.routing import BaseConverter, UnicodeConverter

from wsgi_party._manifest import Pages
from wsgi_party.flask import Party


class Spelled(BaseConverter):
    def to_url(self, value):
        return "+".join(value)


class Slashes(BaseConverter):
    regex = ".+"
    part_isolating = False


class Isolated(UnicodeConverter):
    pass


class PagesTest(unittest.TestCase):
    def setUp(self):
        variables = environment()
        variables.__enter__()
        self.addCleanup(variables.__exit__, None, None, None)

    def application(self):
        self.app = Flask("flask_app")
        self.party = Party(self.app, key=KEY)

    def pages(self):
        pages = Pages()
        self.party._tell(self.app, pages)
        self.left_out = dict(pages.left_out)
        return pages.templates

    def rule(self, rule, endpoint, **options):
        self.app.add_url_rule(rule, endpoint, self.rule, **options)

    def test_what_each_rule_says(self):
        self.application()
        self.app.url_map.converters.update(spelled=Spelled, slashes=Slashes, isolated=Isolated)
        for rule, want in (
            ("/", "/"), ("/plain", "/plain"), ("/a b/ü/{x}", "/a%20b/%C3%BC/%7Bx%7D"),
            ("/s/<x>", "/s/{x}"), ("/i/<int:x>", "/i/{x}"), ("/i2/<int(min=5, max=7):x>", "/i2/{x}"),
            ("/f/<float(signed=True):x>/", "/f/{x}/"), ("/u/<uuid:x>", "/u/{x}"),
            ("/any/<any(a, 'b,c'):x>", "/any/{x}"), ("/len/<string(length=2):x>", "/len/{x}"),
            ("/p/<path:x>", "/p{/x*}"), ("/p2/<path:x>/edit/<int:y>", "/p2{/x*}/edit/{y}"),
            ("/d/<x>.<y>", "/d/{x}.{y}"), ("/c/<spelled:x>", None),
            ("/c2/<slashes:x>", "/c2{/x*}"), ("/c3/<isolated:x>", "/c3/{x}"),
            ("/fixed/<int(fixed_digits=4):x>", None), ("/q/a-<path:x>", None), ("/b\\s", None),
        ):
            with self.subTest(rule):
                name = rule.encode().hex()[:64]
                self.rule(rule, name)
                self.assertEqual(self.pages().get(name), want)

    def test_links_lead_where_flasks_do(self):
        """Made from templates as Caddy does, for values as they come in a request."""
        self.application()
        for n, (rule, values) in enumerate((
            ("/x/<a>", {"a": "a b?c#d&é%"}), ("/x/<int:a>/<b>", {"a": 7, "b": "c.d"}),
            ("/x/<path:a>", {"a": "b/c d/e.txt"}), ("/x/<uuid:a>", {"a": uuid.UUID(int=9)}),
            ("/x/<float:a>/", {"a": 1.5}), ("/x/<a>;<b>", {"a": "1", "b": "2"}),
        )):
            self.rule("/%d%s" % (n, rule), "p%d" % n)
            url = expand(self.pages()["p%d" % n], json.loads(json.dumps(values, default=str)))
            adapter = self.app.url_map.bind("x")
            for link in (url, adapter.build("p%d" % n, values)):
                self.assertEqual(adapter.match(unquote(link)), ("p%d" % n, values))

    def test_what_is_left_out(self):
        self.application()
        self.rule("/ws", "socket", websocket=True)
        self.rule("/sub", "sub", subdomain="x")
        self.rule("/built", "built", build_only=True)
        self.rule("/add", "add", methods=["POST"])
        self.rule("/a", "a b")
        self.rule("/two/<n>", "two")
        self.rule("/two", "two", defaults={"n": "1"})
        self.rule("/same/<n>", "same")
        self.rule("/also/<n>", "same")
        self.rule("/ws2", "both", websocket=True)
        self.rule("/both", "both")
        self.rule("/new", "new")
        self.rule("/old", "new", alias=True)
        self.assertEqual(self.pages(), {
            "static": "/static{/filename*}", "built": "/built", "add": "/add", "two": "/two/{n}",
            "same": "/same/{n}", "both": "/both", "new": "/new",
        })
        self.assertEqual(set(self.left_out), {"socket", "sub", "a b", "two as /two"})

    def test_hosts(self):
        self.app = Flask("flask_app", host_matching=True, static_folder=None)
        self.party = Party(self.app, key=KEY)
        self.rule("/here", "here")
        self.rule("/there", "there", host="there.example")
        self.assertEqual(self.pages(), {"here": "/here"})
        self.assertEqual(self.left_out, {"there": "it has a host of its own"})

    def test_blueprints_and_pages_by_hand(self):
        self.application()
        outer, inner = Blueprint("outer", __name__), Blueprint("inner", __name__)
        inner.add_url_rule("/<n>", "page", lambda n: n)
        outer.register_blueprint(inner, url_prefix="/in")
        self.app.register_blueprint(outer, url_prefix="/out")
        self.rule("/search", "search")
        self.rule("/secret", "secret")
        self.party.page("search", "/search{?q}")
        self.party.page("secret", None)
        with self.assertRaises(ValueError):
            self.party.page("x", "search")
        pages = self.pages()
        self.assertEqual(pages["outer.inner.page"], "/out/in/{n}")
        self.assertEqual(pages["search"], "/search{?q}")
        self.assertNotIn("secret", pages)


if __name__ == "__main__":
    unittest.main()
