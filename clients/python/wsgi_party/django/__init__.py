# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""A Django project as a guest of a party. In its settings::

    INSTALLED_APPS = [..., "wsgi_party.django"]

and in its URLconf::

    path("__invite__/", include("wsgi_party.django.urls")),

With that, and the key in the environment as ``WSGI_PARTY_KEY``, other applications
behind the same Caddy can link to every page that has a name, ``shop:cart``, and this
one to theirs: in templates, after ``{% load wsgi_party %}``, as with Django's own tag
``url``, and in Python as with ``reverse``::

    {% party_url 'blog:post' slug=post.slug %}
    party_url("blog:post", slug=post.slug)

It may answer for services, best in a module ``party`` of one of its applications, which
is found there as ``admin`` is::

    @service("user")
    def user(payload):
        try:
            return {"name": User.objects.get(pk=payload["id"]).get_full_name()}
        except User.DoesNotExist:
            raise HighAndDry

and ask for others', ``ask("user", {"id": 7})`` and ``ask_first("user", {"id": 7})``. In
an ``async`` view write ``await aparty_url(…)``, ``await aask(…)`` and so on, and render
templates with links by ``await sync_to_async(render)(…)``, or after ``await
afetch_links([("blog:post", {"slug": post.slug})])``.

``WSGI_PARTY_KEY``, ``WSGI_PARTY_KEY_FILE``, ``WSGI_PARTY_URL`` and ``WSGI_PARTY_GUEST``
(see :mod:`wsgi_party`) may be settings, too. ``WSGI_PARTY_MISSING_LINK = ""`` says what a
link is that nobody can make, instead of a ``NoReverseMatch``.

The mount, which Caddy says with each request, becomes Django's script prefix. That is
done by a middleware which the application puts before all the others, unless
``MIDDLEWARE`` names it: ``wsgi_party.django.middleware.party``.
"""

from .._common import HighAndDry
from ._party import (
    aask, aask_first, aask_many, afetch_links, aparty_url, ask, ask_first, ask_many,
    fetch_links, page, party_url, service,
)

__all__ = [
    "HighAndDry",
    "aask",
    "aask_first",
    "aask_many",
    "afetch_links",
    "aparty_url",
    "ask",
    "ask_first",
    "ask_many",
    "fetch_links",
    "page",
    "party_url",
    "service",
]
