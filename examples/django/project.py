# Copyright 2026 The wsgi_party Authors. SPDX-License-Identifier: Apache-2.0

"""A Django project, configured as in production, that joins by a manifest of its own.

Nothing is switched off for the party: its requests come with the site's host and
count as https, since the invite in the Caddyfile is a whole URL. See the file run
for how it starts.
"""

import json
import logging
import os
import re
import urllib.request
from urllib.parse import unquote

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse
from django.template import Context, Engine
from django.urls import path, reverse
from django.views.decorators.csrf import csrf_exempt

from wsgi_party import InvalidToken, verify_token

settings.configure(
    SECRET_KEY=os.environ["DJANGO_SECRET_KEY"],
    ALLOWED_HOSTS=["localhost"],
    SECURE_SSL_REDIRECT=True,
    # Set by Caddy, whatever the visitor sends.
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
    SESSION_COOKIE_SECURE=True,
    CSRF_COOKIE_SECURE=True,
    APPEND_SLASH=True,
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    ROOT_URLCONF=__name__,
    LOGGING={  # Django's default mails errors to the administrators
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"console": {"class": "logging.StreamHandler"}},
        "root": {"handlers": ["console"], "level": "WARNING"},
    },
)

logger = logging.getLogger(__name__)

KEY = os.environ["WSGI_PARTY_KEY"]
LINKS = [
    f"{application}:{page}"
    for application in ("flask", "php", "node", "legacy", "gopher")
    for page in ("index", "about")
]


def for_party(view):
    """Keeps all but the party from a view. The Party-Token proves who sent the
    request and that nobody changed it, so that a CSRF token is not needed.
    """

    @csrf_exempt
    def verified(request):
        token = request.headers.get("Party-Token", "")
        try:
            verify_token(
                token, [KEY.encode()], request.method, request.path_info.encode(),
                request.META["QUERY_STRING"], request.body, guest="django",
            )
        except InvalidToken as error:
            return HttpResponse(f"{error}\n", status=401)
        return view(request)

    return verified


@for_party
def manifest(request):
    """Says what this application answers for: where each page is that has a name
    in urlpatterns, and the service ping. Paths are without the mount.
    """
    urls = {
        page.name: "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(page.pattern))
        for page in urlpatterns
        if page.name
    }
    services = {"ping": {"href": "/__invite__/ping/"}}
    return JsonResponse(
        {"urls": urls, "services": services},
        content_type="application/vnd.wsgi-party+json",
    )


@for_party
def ping(request):
    return JsonResponse("pong", safe=False)


def ask(questions):
    """Asks the party all at once; returns the list of answers to each question."""
    request = urllib.request.Request(
        os.environ["WSGI_PARTY_URL"],
        json.dumps(questions).encode(),
        {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
    )
    # Not by way of the proxy that may be in the environment.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as response:
            return [result.get("answers", []) for result in json.load(response)]
    except OSError as error:  # a page without links is better than none
        logger.warning("asking the party failed: %s", error)
        return [[]] * len(questions)


def page(request, number=None):
    *urls, pongs = ask(
        [{"service": "url", "payload": {"name": name}, "first": True} for name in LINKS]
        + [{"service": "ping"}]
    )
    context = Context({
        "name": f"django:{request.resolver_match.url_name}",
        "number": number,
        "own": {f"django:{name}": reverse(name) for name in ("index", "about")},
        "links": [(name, url[0] if url else None) for name, url in zip(LINKS, urls)],
        "pongs": pongs,
    })
    return HttpResponse(PAGE.render(context))


PAGE = Engine().from_string("""<!doctype html>
<title>{{ name }}</title>
<h1>{{ name }}{% if number %} {{ number }}{% endif %}</h1>
{% for link, url in own.items %}
<p><a href="{{ url }}">{{ link }}</a> is at {{ url }}</p>
{% endfor %}{% for link, url in links %}
<p>{% if url %}<a href="{{ url }}">{{ link }}</a> is at {{ url }}
{% else %}Where {{ link }} is, nobody knows.{% endif %}</p>
{% endfor %}
<p>Others who answer: {{ pongs | length }}</p>
""")

urlpatterns = [
    path("", page, name="index"),
    path("about-django/", page, name="about"),
    path("articles/<int:number>/", page, name="article"),
    path("__invite__/", manifest),
    path("__invite__/ping/", ping),
]

django = get_wsgi_application()


def application(environ, start_response):
    """Has Django build its URLs with the mount, which Caddy takes off the path and
    says in X-Forwarded-Prefix. FORCE_SCRIPT_NAME would do as well, but there the
    mount would be written down a second time.
    """
    mount = environ.get("HTTP_X_FORWARDED_PREFIX", "")
    environ["SCRIPT_NAME"] = unquote(mount, "latin-1")
    return django(environ, start_response)
