# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

import json

from asgiref.sync import sync_to_async
from django.conf.urls.i18n import i18n_patterns
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.template import engines
from django.urls import include, path, re_path, reverse
from django.utils.asyncio import SynchronousOnlyOperation

from wsgi_party import HighAndDry
from wsgi_party.django import aask, aparty_url, ask, ask_first, party_url


def page(request, **values):
    """Says where it is, and what it was given."""
    return JsonResponse([request.path, values], safe=False)


def contents(request):
    return HttpResponse(f'<a href="{reverse("shop:item", kwargs={"slug": "a"})}">a</a>')


LINKS = """{% load wsgi_party %}{% autoescape on %}
{% party_url 'shop:item' slug='b' %}
{% party_url 'blog:post' slug='<a&b>' %}
{% party_url 'blog:post' slug=slug|upper as there %}{{ there }}
{% party_url 'nobody:knows' as nothing %}[{{ nothing }}]{% endautoescape %}
"""


def links(request):
    template = engines["django"].from_string(LINKS)
    return HttpResponse(template.render({"slug": "x"}, request))


def fifty(request):
    return JsonResponse([party_url("blog:post", slug=str(n)) for n in range(50)], safe=False)


def own_fifty(request):
    return JsonResponse([reverse("shop:item", kwargs={"slug": str(n)}) for n in range(50)], safe=False)


def asked(request, service):
    payload = json.loads(request.GET.get("payload", "null"))
    return JsonResponse(ask(service, payload), safe=False)


def first(request, service):
    try:
        return JsonResponse(ask_first(service), safe=False)
    except HighAndDry:
        return JsonResponse("HighAndDry", safe=False)


def stream(request):
    return StreamingHttpResponse(json.dumps(party_url("blog:post", slug=s)) + "\n" for s in "ab")


async def awaited(request):
    try:
        party_url("blog:post", slug="c")
    except SynchronousOnlyOperation as error:
        refused = str(error)
    return JsonResponse([
        await aparty_url("shop:item", slug="b"), await aparty_url("blog:post", slug="a"),
        await aask("name"), refused,
        await sync_to_async(links)(request) and "rendered",
    ], safe=False)


def missing(request):
    return HttpResponse(party_url("nobody:knows"))


shop = [
    path("cart/", page, name="cart"),
    path("item/<slug:slug>/", page, name="item"),
    path("files/<path:file>", page, name="file"),
]

urlpatterns = [
    path("", page, name="home"),
    path("contents/", contents, name="contents"),
    path("links/", links),
    path("fifty/", fifty),
    path("own-fifty/", own_fifty),
    path("ask/<str:service>/", asked),
    path("first/<str:service>/", first),
    path("stream/", stream),
    path("awaited/", awaited),
    path("missing/", missing),
    path("", include((shop, "shop"))),
    re_path(r"^year/(?P<year>[0-9]{4})/$", page, name="year"),
    path("__invite__/", include("wsgi_party.django.urls")),
    *i18n_patterns(path("about/", page, name="about")),
]
