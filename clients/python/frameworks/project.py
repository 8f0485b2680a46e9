# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""The Django project of tests, which are in one process."""

import json

import django
from django.conf import settings
from test_wsgi_party import KEY

settings.configure(
    SECRET_KEY="secret",
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "wsgi_party.django"],
    MIDDLEWARE=[
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    ROOT_URLCONF="project",
    TEMPLATES=[{
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {"builtins": ["wsgi_party.django.templatetags.wsgi_party"]},
    }],
    DATABASES={"default": {
        "ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:",
    }},
    USE_I18N=True,
    WSGI_PARTY_KEY=KEY,
    WSGI_PARTY_GUEST="blog",
    LOGGING_CONFIG=None,
)
django.setup()

from django.db import connection, transaction  # noqa: E402
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse  # noqa: E402
from django.template import engines  # noqa: E402
from django.urls import include, path, reverse  # noqa: E402

from wsgi_party.django import (  # noqa: E402
    HighAndDry, afetch_links, aparty_url, ask, fetch_links, page, party_url, service,
)

seen = []


def where(request, **values):
    return JsonResponse([request.path, request.get_full_path(), reverse("item", kwargs={"pk": 1})],
                        safe=False)


def links(request):
    """Has the links of the query, and those of a template in the body."""
    names = request.GET.getlist("link")
    return JsonResponse([party_url(name, a=1, b="x") for name in names], safe=False)


def template(request):
    text = json.loads(request.GET["template"])
    return HttpResponse(engines["django"].from_string(text).render({"v": "<v>"}, request))


def fetched(request):
    fetch_links([("a:one", {"n": n}) for n in range(3)])
    return JsonResponse([party_url("a:one", n=n) for n in range(3)], safe=False)


async def afetched(request):
    await afetch_links([("a:one", {"n": n}) for n in range(3)])
    return JsonResponse([party_url("a:one", n=n) for n in range(3)] + [
        await aparty_url("a:two"), await aparty_url("item", pk=2),
    ], safe=False)


def positional(request):
    return JsonResponse(party_url("item", 5), safe=False)


def wrong(request):
    return JsonResponse(party_url("item", pk="x"), safe=False)


def asked(request):
    return JsonResponse(ask("name"), safe=False)


def stream(request):
    def parts():
        try:
            for n in range(2):
                yield party_url("a:one", n=n) + "\n"
        finally:
            seen.append("closed")

    return StreamingHttpResponse(parts())


@service("name")
def name(payload):
    return "django"


@service("coroutine")
async def coroutine(payload):
    return [payload]


@service("decline")
def decline(payload):
    raise HighAndDry


@service("fail")
def fail(payload):
    raise RuntimeError("on purpose")


@service("relay")
def relay(payload):
    if payload == "fail":
        raise RuntimeError("on purpose")
    if payload == "none":
        raise HighAndDry
    return [ask("x")[0], payload, reverse("item", kwargs={"pk": 1})]


@service("database")
def database(payload):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 3" if payload == 3 else "SELECT 1")
        answer, = cursor.fetchone()
        if payload == "fail":
            with transaction.atomic(savepoint=False):  # of which the error breaks the one around
                raise RuntimeError("on purpose")
        return answer


page("search", "/search/{?q}")
page("secret", None)

urlpatterns = [
    path("", where, name="home"),
    path("item/<int:pk>/", where, name="item"),
    path("secret/", where, name="secret"),
    path("links/", links),
    path("template/", template),
    path("fetched/", fetched),
    path("afetched/", afetched),
    path("positional/", positional),
    path("wrong/", wrong),
    path("asked/", asked),
    path("stream/", stream),
    path("party/__invite__/", include("wsgi_party.django.urls")),
]
