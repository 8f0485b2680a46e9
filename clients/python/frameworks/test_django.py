# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Django as a guest, on real sockets, under WSGI and ASGI."""

import contextlib
import json
import logging
import subprocess
import sys
import time
import unittest
from unittest import mock
from urllib.parse import quote

import project
from django.conf import settings
from django.core.checks import run_checks
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.db import connections
from django.test import override_settings
from django.urls import path
from servers import Links, from_caddy, party_ask, send_too_much, serving_asgi
from test_wsgi_party import (
    MANIFEST, OTHER_KEY, FakeCaddy, ask, ask_batch, batch_of, invite, make_token, running, send, serving,
)

from wsgi_party._address import Whereabouts
from wsgi_party._common import Once
from wsgi_party.django import _party, service


WSGI, ASGI = WSGIHandler(), ASGIHandler()


class Case(unittest.TestCase):
    def setUp(self):
        self.contexts = contextlib.ExitStack()
        self.addCleanup(self.contexts.close)
        for name in ("django", "wsgi_party", "uvicorn.error"):  # what is expected is not said
            self.quiet(logging.getLogger(name))
        self.caddy = self.contexts.enter_context(running(FakeCaddy()))
        self.links = Links(self.caddy)
        guest = _party.guest()  # which the servers share; it is to know nothing yet
        guest.whereabouts, guest._caddy = Whereabouts(guest.keys), None
        guest.once = Once()
        guest._links._learned.clear()

    def quiet(self, named):
        level = named.level
        named.setLevel(logging.CRITICAL)
        self.addCleanup(named.setLevel, level)

    def wsgi(self, **environ):
        return self.contexts.enter_context(
            serving(lambda given, start: WSGI({**given, **environ}, start))
        )

    def asgi(self, **options):
        return self.contexts.enter_context(serving_asgi(ASGI, lifespan="off", **options))

    def both(self):
        return self.wsgi(), self.asgi()

    def get(self, port, at, prefix="", **headers):
        response = send(port, "GET", at, headers=from_caddy(self.caddy, prefix, **headers))
        return response.json() if response.status == 200 else response.status


class MountTest(Case):
    def test_it_comes_before_all_paths_once(self):
        own = ["/item/2/", "/item/2/?q", "/item/1/"]
        for port in self.both():
            for prefix in ("/blog", "/b/c", "/%C3%BC"):
                at = [prefix.replace("%C3%BC", "ü") + own[0], prefix + own[1], prefix + own[2]]
                self.assertEqual(self.get(port, "/item/2/?q", prefix), at)
            for prefix in ("", "/", "//evil.example", "blog", "/a b"):
                self.assertEqual(self.get(port, "/item/2/?q", prefix), own)

    def test_what_the_server_knows_stays(self):
        for known, prefix, mount in (
            ("/blog", "/blog", "/blog"), ("/blog", "", "/blog"), ("/in", "/blog", "/blog/in"),
            ("/blog/in", "/blog", "/blog/in"), ("/blogger", "/blog", "/blog/blogger"),
        ):
            want = [mount + "/item/2/", mount + "/item/2/", mount + "/item/1/"]
            for port in (self.wsgi(SCRIPT_NAME=known), self.asgi(root_path=known)):
                self.assertEqual(self.get(port, "/item/2/", prefix), want)

    def test_force_script_name_stays(self):
        with override_settings(FORCE_SCRIPT_NAME="/forced"):
            self.assertEqual(self.get(self.wsgi(), "/", "/blog")[2], "/forced/item/1/")

    def test_redirects_have_it(self):
        for port in self.both():
            response = send(port, "GET", "/item/2", headers={"X-Forwarded-Prefix": "/blog"})
            self.assertEqual((response.status, response.headers["Location"]), (301, "/blog/item/2/"))

    def test_one_request_does_not_change_the_next(self):
        for port in self.both():
            self.assertEqual(self.get(port, "/", "/blog")[2], "/blog/item/1/")
            self.assertEqual(self.get(port, "/")[2], "/item/1/")


class InviteTest(Case):
    def test_the_manifest(self):
        for port in self.both():
            response = invite(port, "/party/__invite__/")
            self.assertEqual(response.status, 200)
            self.assertEqual(response.headers["Content-Type"], MANIFEST)
            self.assertEqual(response.headers["Cache-Control"], "max-age=60")
            self.assertIn("Party-Token", response.headers["Vary"])
            self.assertNotIn("Set-Cookie", response.headers)
            manifest = response.json()
            self.assertEqual(manifest["urls"], {
                "home": "/", "item": "/item/{pk}/", "search": "/search/{?q}",
            })
            self.assertEqual(
                manifest["services"]["name"], {"href": "/party/__invite__/partyline/name", "batch": True}
            )
            etag = response.headers["ETag"]
            again = invite(port, "/party/__invite__/", headers={"If-None-Match": etag})
            self.assertEqual((again.status, again.body), (304, b""))

    def test_below_a_mount(self):
        for port in self.both():
            response = invite(
                port, "/party/__invite__/", htu="/blog/party/__invite__/", mnt="/blog",
                headers={"X-Forwarded-Prefix": "/blog"},
            )
            self.assertEqual(response.json()["urls"]["item"], "/item/{pk}/")

    def test_services(self):
        href = "/party/__invite__/partyline/"
        for port in self.both():
            self.assertEqual(ask(port, href + "name").json(), "django")
            self.assertEqual(ask(port, href + "coroutine", {"a": "ü"}).json(), [{"a": "ü"}])
            self.assertEqual(ask(port, href + "decline").status, 204)
            failed = ask(port, href + "fail")
            self.assertEqual(failed.status, 500)
            self.assertNotIn(b"purpose", failed.body)
            self.assertEqual(ask(port, href + "nothing").status, 404)
            self.assertEqual(ask(port, href + "name", body=b"{").status, 400)

    def test_several_asks_in_one_request(self):
        self.caddy.respond = lambda request: {"answers": [request["headers"]["Party-Token"]], "replies": []}
        href = "/party/__invite__/partyline/relay"
        body = batch_of((b"1", {"token": "a.b.c"}), b'"fail"', b"3", b'"none"', (b"4", {"token": "d.e.f"}))
        for port in self.both():
            headers = from_caddy(self.caddy, "/blog")
            response = ask_batch(port, href, body, headers=headers, htu="/blog" + href, mnt="/blog")
            self.assertEqual(response.json(), [
                {"answer": ["a.b.c", 1, "/blog/item/1/"]}, {"error": "the handler failed: see its log"},
                {"answer": [None, 3, "/blog/item/1/"]}, {"declined": True},
                {"answer": ["d.e.f", 4, "/blog/item/1/"]},
            ])
            self.assertEqual(ask_batch(port, href, b"1").status, 400)

    def test_one_ask_that_fails_leaves_the_others_their_transactions(self):
        href = "/party/__invite__/partyline/database"
        patched = mock.patch.dict(connections.settings["default"], ATOMIC_REQUESTS=True)
        self.contexts.enter_context(patched)
        for port in self.both():
            response = ask_batch(port, href, batch_of(b"1", b'"fail"', b"3"))
            self.assertEqual(response.json(), [
                {"answer": 1}, {"error": "the handler failed: see its log"}, {"answer": 3},
            ])

    def test_a_body_that_is_too_long(self):
        href = "/party/__invite__/partyline/name"
        wsgi, asgi = self.both()
        self.assertEqual(send_too_much(wsgi, href, make_token(htu=href)), 413)
        # Under ASGI Django takes all of it first.
        self.assertEqual(ask(asgi, href, body=b"1" * ((1 << 20) + (1 << 14))).status, 413)

    def test_without_a_valid_token_nothing_is_here(self):
        href = "/party/__invite__/partyline/name"
        for port in self.both():
            for response in (
                send(port, "GET", "/party/__invite__/", headers={"Accept": MANIFEST}),
                send(port, "POST", href, b"null"),
                send(port, "POST", "/party/__invite__/", b"a=b"),
                invite(port, "/party/__invite__/", headers={"Accept": "text/html"}),
                ask(port, href, method="PUT"),
            ):
                self.assertEqual(response.status, 404)
            for response in (  # Caddy would take 404 for no guest, and say nothing about keys that differ
                invite(port, "/party/__invite__/", key=OTHER_KEY),
                invite(port, "/party/__invite__/", key=""),
                invite(port, "/party/__invite__/", aud="shop"),
                ask(port, href, key=OTHER_KEY),
                ask(port, href, htu="/party/__invite__/partyline/fail"),
                ask(port, href, body=b"1", token=make_token(htu=href, body=batch_of(b"2"))),
            ):
                self.assertEqual((response.status, response.headers["WWW-Authenticate"]), (401, "Party-Token"))
            self.assertEqual(send(port, "POST", "/", b"a=b").status, 403)  # CSRF


class LinksTest(Case):
    def query(self, *names):
        return "/links/?" + "&".join("link=" + quote(name) for name in names)

    def template(self, text):
        return "/template/?template=" + quote(json.dumps(text))

    def test_ones_own_come_first_and_are_not_asked_for(self):
        for port in self.both():
            self.assertEqual(self.get(port, "/positional/", "/blog"), "/blog/item/5/")
            self.assertEqual(self.get(port, "/wrong/"), 500)
        self.assertEqual(self.caddy.requests, [])

    def test_others_are_asked_for_together(self):
        port = self.wsgi()
        names = ["a:one", "a:two", "three"]
        want = [f"/there/{name}?a=1&b=x" for name in names]
        for counts in ([1, 1, 1], [3], [3]):
            del self.caddy.requests[:]
            self.assertEqual(self.get(port, self.query(*names), "/blog"), want)
            self.assertEqual(self.links.counts, counts)
        self.assertEqual(self.caddy.requests[0]["headers"]["X-Forwarded-Prefix"], "/blog")

    def test_fetching(self):
        want = [f"/there/a:one?n={n}" for n in range(3)]
        for port in self.both():
            del self.caddy.requests[:]
            self.assertEqual(self.get(port, "/fetched/"), want)
            self.assertEqual(self.links.counts, [3])
        self.assertEqual(
            self.get(port, "/afetched/", "/blog"), [*want, "/there/a:two?", "/blog/item/2/"]
        )

    def test_templates(self):
        for port in self.both():
            for text, want in (
                ("{% party_url 'a:one' x='1' y=v|slugify %}", "/there/a:one?x=1&amp;y=v"),
                ("{% party_url 'a:one' x='1' y=2 as u %}{{ u }}", "/there/a:one?x=1&amp;y=2"),
                ("{% autoescape off %}{% party_url 'a:one' x='1' y=2 %}{% endautoescape %}",
                 "/there/a:one?x=1&y=2"),
                ("{% party_url 'nobody:x' as u %}[{{ u }}]", "[]"),
                ("{% party_url 'item' 7 %}{% party_url 'item' pk=8 %}", "/b/item/7//b/item/8/"),
                ("{% party_url 'evil:javascript:alert(1)' as u %}[{{ u }}]", "[]"),
                ("{% party_url 'evil:/x\"onclick=y' as u %}[{{ u }}]", "[]"),
                ("{% party_url 'evil://evil.example/' as u %}[{{ u }}]", "[]"),
            ):
                with self.subTest(text):
                    headers = from_caddy(self.caddy, "/b")
                    response = send(port, "GET", self.template(text), headers=headers)
                    self.assertEqual(response.body.decode(), want)
            for text in ("{% party_url %}", "{% party_url 'nobody:x' %}", "{% party_url 'a:b' 1 %}"):
                self.assertEqual(send(port, "GET", self.template(text)).status, 500)

    def test_nobody_can_make_it(self):
        for port in self.both():
            self.assertEqual(self.get(port, self.query("nobody:x")), 500)
            with override_settings(WSGI_PARTY_MISSING_LINK=""):
                self.assertEqual(self.get(port, self.query("nobody:x")), [""])

    def test_the_party_is_down(self):
        for port in self.both():
            headers = {"Party-Ask": party_ask("http://127.0.0.1:9/")}
            begun = time.monotonic()
            for _ in range(5):
                response = send(port, "GET", self.query(*"abcde"), headers=headers)
                self.assertEqual(response.status, 500)
            self.assertLess(time.monotonic() - begun, 20)

    def test_a_stream(self):
        # Under ASGI Django 3.2 makes its parts in a coroutine, which must not wait.
        headers = from_caddy(self.caddy, "/blog")
        response = send(self.wsgi(), "GET", "/stream/", headers=headers)
        self.assertEqual(response.body, b"/there/a:one?n=0\n/there/a:one?n=1\n")
        self.assertEqual(project.seen, ["closed"])
        prefixes = [r["headers"].get("X-Forwarded-Prefix") for r in self.caddy.requests]
        self.assertEqual(prefixes, ["/blog", "/blog"])


class AttackTest(Case):
    def test_a_visitors_party_ask_is_not_believed(self):
        for port in self.both():
            for header in (
                self.caddy.url, f"{self.caddy.url}; mac=", f"{self.caddy.url}; mac=AAAA",
                party_ask(self.caddy.url, OTHER_KEY), party_ask("http://other/", OTHER_KEY),
                party_ask(self.caddy.url) + ", " + party_ask(self.caddy.url), "x" * 5000,
            ):
                response = send(port, "GET", "/asked/", headers={"Party-Ask": header})
                self.assertEqual(response.json(), [])
        self.assertEqual(self.caddy.requests, [])

    def test_a_token_is_handed_back_only_if_it_is_one(self):
        self.caddy.respond = lambda request: {"answers": [], "replies": []}
        for port in self.both():
            for token, handed in ((make_token(), True), (make_token(key=OTHER_KEY), False)):
                self.get(port, "/asked/", **{"Party-Token": token})
                got = self.caddy.requests[-1]["headers"].get("Party-Token")
                self.assertEqual(got, token if handed else None)


class SettingsTest(Case):
    def test_a_service_has_one_handler(self):
        with self.assertRaises(ValueError):
            service("name")(lambda payload: None)

    def test_check(self):
        self.assertEqual(run_checks(tags=["urls"]), [])
        with override_settings(ROOT_URLCONF=(path("", project.where),)):
            warning, = run_checks(tags=["urls"])
            self.assertEqual(warning.id, "wsgi_party.W001")
            self.assertIn('include("wsgi_party.django.urls")', warning.hint)

    def run_project(self, *lines, **variables):
        program = "\n".join((
            "import django, logging", "from django.conf import settings",
            "settings.configure(INSTALLED_APPS=['wsgi_party.django'], MIDDLEWARE=['a'],"
            " ROOT_URLCONF=(), **%r)" % variables,
            "django.setup()", *lines,
        ))
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=60,
        )
        return done.stdout.strip()

    def test_without_a_key_nothing_changes(self):
        printed = self.run_project(
            "print(settings.MIDDLEWARE)", "from wsgi_party.django import *",
            "print(ask('x'), ask('x', guest='g'), ask_first('x', None, 7, guest='g'))",
            "try: ask('x', guest='')", "except ValueError as e: print(e)",
            "try: party_url('a:b')",
            "except Exception as e: print(type(e).__name__)",
        )
        self.assertEqual(printed, "['a']\n[] [] 7\n'' is not a guest's name\nNoReverseMatch")

    def test_the_middleware_is_there_once(self):
        name = "wsgi_party.django.middleware.party"
        printed = self.run_project("print(settings.MIDDLEWARE)", WSGI_PARTY_KEY="k" * 32)
        self.assertEqual(printed, f"['{name}', 'a']")
        printed = self.run_project(
            "settings.MIDDLEWARE = ['a', 'b']", "from django.apps import apps",
            "settings.MIDDLEWARE = ['a', %r]" % name,
            "apps.get_app_config('wsgi_party').ready()", "print(settings.MIDDLEWARE)",
            WSGI_PARTY_KEY="k" * 32,
        )
        self.assertEqual(printed, f"['a', '{name}']")

    def test_a_short_key_is_refused_and_not_told(self):
        printed = self.run_project(WSGI_PARTY_KEY="short-secret")
        self.assertIn("ImproperlyConfigured: a key", printed)
        self.assertNotIn("short-secret", printed.split("ImproperlyConfigured")[1])


if __name__ == "__main__":
    unittest.main()
