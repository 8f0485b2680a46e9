# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""What Caddy is told of Django's URL patterns."""

import time
import unittest
import uuid
from urllib.parse import unquote

import project  # noqa: F401: configures Django

from django.conf.urls.i18n import i18n_patterns
from django.contrib import admin
from django.contrib.auth.models import User
from django.urls import get_resolver, include, path, re_path, register_converter, reverse
from django.urls.converters import StringConverter
from django.utils.translation import gettext_lazy
from uritemplates import expand

from wsgi_party._manifest import Pages
from wsgi_party.django import _pages


def view(request, **values):
    raise AssertionError("nobody is to be here")


class Year:
    regex = "[0-9]{4}"

    def to_python(self, value):
        return int(value)

    def to_url(self, value):
        return "%04d" % value


class Letters(StringConverter):
    regex = "[a-z]+"


register_converter(Year, "year")
register_converter(Letters, "letters")


def told(*patterns):
    pages = Pages()
    _pages.add(pages, get_resolver(patterns))
    return pages.templates


def left_out(*patterns):
    pages = Pages()
    _pages.add(pages, get_resolver(patterns))
    return dict(pages.left_out)


class PagesTest(unittest.TestCase):
    def is_as_reversed(self, name, values, *patterns):
        url = expand(told(*patterns)[name], values)
        self.assertEqual(unquote(url), unquote(reverse(name, patterns, kwargs=values)))

    def test_converters(self):
        for route, values, template in (
            ("", {}, "/"),
            ("a/", {}, "/a/"),
            ("<int:x>/", {"x": 7}, "/{x}/"),
            ("<str:x>", {"x": "ü ?#%"}, "/{x}"),
            ("<x>", {"x": "a"}, "/{x}"),
            ("a-<slug:x>.html", {"x": "b-c"}, "/a-{x}.html"),
            ("<uuid:x>/<letters:y>/", {"x": uuid.UUID(int=5), "y": "b"}, "/{x}/{y}/"),
            ("files/<path:x>", {"x": "a/b c.txt"}, "/files{/x*}"),
            ("<path:x>", {"x": "a"}, "{/x*}"),
            ("<path:x>/history/", {"x": "a/b"}, "{/x*}/history/"),
            ("ü {x}'\"/", {}, "/%C3%BC%20%7Bx%7D%27%22/"),
        ):
            with self.subTest(route):
                patterns = [path(route, view, name="page")]
                self.assertEqual(
                    told(*patterns)["page"].replace("'", "%27"), template
                )
                self.is_as_reversed("page", values, *patterns)

    def test_regular_expressions(self):
        for regex, values, template in (
            (r"^$", {}, "/"),
            (r"^a/(?P<x>[0-9]{4})/$", {"x": "2020"}, "/a/{x}/"),
            (r"^a\.html$", {}, "/a.html"),
            (r"^(?:page-(?P<x>\d+)/)?$", {}, "/"),
            (r"^media/(?P<x>.*)$", {"x": "a/b"}, "/media{/x*}"),
            (r"^(?P<x>en|de)/(?!a)b?/$", {"x": "de"}, "/{x}//"),
            (r"^(?P<x>en|de)/(?!a)b+/$", {"x": "de"}, "/{x}/b/"),
        ):
            with self.subTest(regex):
                patterns = [re_path(regex, view, name="page")]
                if "//" in template:
                    self.assertIn("two slashes", left_out(*patterns)["page"])
                    continue
                self.assertEqual(told(*patterns)["page"], template)
                self.is_as_reversed("page", values, *patterns)

    def test_what_no_template_says_is_left_out(self):
        for pattern, why in (
            (path("<year:x>/", view, name="page"), "Year writes x in its own way"),
            (path("<str:größe>/", view, name="page"), "größe"),
            (path(gettext_lazy("a/"), view, name="page"), "translated"),
            (path("a//b", view, name="page"), "two slashes"),
            (path("/a", view, name="page"), "two slashes"),
            (path("a/../b", view, name="page"), "segment"),
            (path("a/%2e%2e/b", view, name="page"), "segment"),
            (path("a\\b", view, name="page"), "backslash"),
            (path("\0", view, name="page"), "control character"),
            (path("a/", view, name="a b"), "A-Z a-z 0-9"),
            (path("a/", view, name="<script>"), "A-Z a-z 0-9"),
            (path("a/", view, name="é"), "A-Z a-z 0-9"),
            (path("a/", view, name='"\\\n'), "A-Z a-z 0-9"),
            (path("a/", view, name="x" * 65), "A-Z a-z 0-9"),
            (path("/".join(f"<a{n}>" for n in range(65)), view, name="page"), "64"),
            (re_path(r"^(\d+)/$", view, name="page"), "groups without names"),
            (re_path(r"^(?:a|b)/$", view, name="page"), "|"),
            (re_path(r"^100%/$", view, name="page"), "a %"),
            (re_path(r"^(?i:a)/$", view, name="page"), "cannot reverse"),
            (i18n_patterns(path("a/", view, name="page"))[0], "i18n_patterns"),
            (path("<year:x>/", include([path("a/", view, name="page")])), "Year writes x"),
        ):
            with self.subTest(pattern):
                (name, reason), = left_out(pattern).items()
                self.assertIn(why, reason)
                self.assertEqual(told(pattern, path("good/", view, name="good")), {"good": "/good/"})

    def test_what_has_no_name_is_no_page(self):
        self.assertEqual(told(path("a/", view), path("b/", include([path("", view)]))), {})

    def test_namespaces(self):
        inner = ([path("", view, name="index"), path("<int:pk>/", view, name="detail")], "polls")
        patterns = [
            path("polls/", include(inner)),
            path("<slug:tenant>/", include(inner, namespace="other")),
            path("plain/", include([path("x/", include(inner, namespace="deep"))])),
            path("shop/", include(([path("polls/", include(inner))], "shop"))),
        ]
        self.assertEqual(told(*patterns), {
            "polls:index": "/polls/", "polls:detail": "/polls/{pk}/",
            "other:index": "/{tenant}/", "other:detail": "/{tenant}/{pk}/",
            "deep:index": "/plain/x/", "deep:detail": "/plain/x/{pk}/",
            "shop:polls:index": "/shop/polls/", "shop:polls:detail": "/shop/polls/{pk}/",
        })
        for name, values in (
            ("polls:detail", {"pk": 1}), ("other:index", {"tenant": "t"}),
            ("other:detail", {"tenant": "t", "pk": 1}), ("deep:detail", {"pk": 1}),
            ("shop:polls:index", {}),
        ):
            self.is_as_reversed(name, values, *patterns)

    def test_an_application_is_its_last_instance(self):
        inner = ([path("", view, name="index")], "polls")
        patterns = [
            path("one/", include(inner, namespace="one")),
            path("two/", include(inner, namespace="two")),
        ]
        self.assertEqual(told(*patterns)["polls:index"], "/two/")
        self.is_as_reversed("polls:index", {}, *patterns)

    def test_of_two_namespaces_with_one_name_the_first_counts(self):
        patterns = [
            path(f"{a}/", include(([path("", view, name=a), path("x/", view, name="same")], "app")))
            for a in "ab"
        ]
        self.assertEqual(told(*patterns), {"app:a": "/a/", "app:same": "/a/x/"})
        self.is_as_reversed("app:same", {}, *patterns)

    def test_of_several_patterns_the_first_that_a_template_can_say(self):
        self.assertEqual(told(
            path("<year:x>/", view, name="page"), path("a/<int:x>/", view, name="page"),
            path("a/", view, name="page"),
        ), {"page": "/a/{x}/"})

    def test_of_several_patterns_with_the_same_arguments_djangos(self):
        patterns = [
            path("", view, name="page"), path("index.html", view, name="page"),
            path("<int:x>/", view, name="page"),
        ]
        self.assertEqual(told(*patterns), {"page": "/index.html"})
        self.is_as_reversed("page", {}, *patterns)

    def test_the_administration_comes_last(self):
        site = admin.AdminSite()
        site.register(User)
        patterns = [path("admin/", site.urls), path("a/", view, name="page")]
        names = list(told(*patterns))
        self.assertEqual(names[0], "page")
        self.assertIn("admin:auth_user_change", names)
        self.is_as_reversed("admin:auth_user_change", {"object_id": "5"}, *patterns)
        self.assertEqual(left_out(*patterns), {})

    def test_many_are_read_in_time(self):
        patterns = [
            path(f"app{n}/", include(([
                path(f"<int:pk>/item{m}/<slug:slug>/", view, name=f"page{m}") for m in range(10)
            ], f"app{n}"))) for n in range(50)
        ]
        resolver = get_resolver(patterns := tuple(patterns))
        best = 1.0
        for _ in range(100):  # on a busy machine
            pages = Pages()
            begun = time.thread_time()
            _pages.add(pages, resolver)
            best = min(best, time.thread_time() - begun)
            if best < 0.05:
                break
        self.assertEqual(len(pages.templates), 500)
        self.assertLess(best, 0.05)


if __name__ == "__main__":
    unittest.main()
