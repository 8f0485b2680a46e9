# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Django, configured as in production: the tag party_url, in templates/page.html, makes
links to pages of applications that this one knows nothing of, and these to its own.

Nothing is switched off for the party: its requests come with the site's host and count as
https, since the invite in the Caddyfile is a whole URL.
"""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.shortcuts import render
from django.urls import include, path

from wsgi_party.django import ask, service

settings.configure(
    SECRET_KEY=os.environ["DJANGO_SECRET_KEY"],
    ALLOWED_HOSTS=["localhost"],
    SECURE_SSL_REDIRECT=True,
    # Set by Caddy, whatever the visitor sends.
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
    SESSION_COOKIE_SECURE=True,
    CSRF_COOKIE_SECURE=True,
    APPEND_SLASH=True,
    INSTALLED_APPS=["wsgi_party.django"],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    ROOT_URLCONF=__name__,
    TEMPLATES=[{
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": ["templates"],
    }],
    LOGGING={  # Django's default mails errors to the administrators
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"console": {"class": "logging.StreamHandler"}},
        "root": {"handlers": ["console"], "level": "INFO"},
    },
)


@service("ping")
def ping(payload):
    return "pong"


def page(request, number=None):
    applications = ["flask", "fastapi", "express", "node", "php", "gopher"]
    return render(request, "page.html", {
        "name": request.resolver_match.url_name,
        "number": number,
        "links": [f"{name}:{page}" for name in applications for page in ("index", "about")],
        "pongs": ask("ping"),
    })


urlpatterns = [
    path("", page, name="index"),
    path("about-django/", page, name="about"),
    path("articles/<int:number>/", page, name="article"),
    path("__invite__/", include("wsgi_party.django.urls")),
]

application = get_wsgi_application()
