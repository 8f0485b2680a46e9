# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""What Caddy requests: ``path("__invite__/", include("wsgi_party.django.urls"))``."""

from __future__ import annotations

import contextlib
from typing import Any

from asgiref.sync import async_to_sync
from django.db import connections, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path
from django.utils.cache import patch_vary_headers
from django.views.decorators.csrf import csrf_exempt

from .._common import MAX_REQUEST
from .._request import Reply
from ._party import guest, iscoroutinefunction
from .middleware import received_from


# Without a token there is nothing here, and with one no need for another.
@csrf_exempt  # type: ignore[misc]  # Django has no types
def invite(request: HttpRequest, service: str = "") -> HttpResponse:
    """Tells Caddy the manifest, or answers what it asks."""
    call = guest().call(received_from(request))
    if call is None or call.service != service:
        raise Http404
    reply = Reply.error(413)
    size = request.META.get("CONTENT_LENGTH") or "0"
    if size.isdigit() and int(size) <= MAX_REQUEST:
        reply = guest().answer(call, request.body, _run)
    response = HttpResponse(reply.body, status=reply.status)
    del response["Content-Type"]
    for name, value in reply.headers:
        response[name] = value
    # A cache of the project's must not tell a visitor.
    patch_vary_headers(response, ["Accept", "Party-Token"])
    return response


# Django 5.1 would send who is not logged in to its login page.
invite.login_required = False


def _run(handler: Any, payload: Any) -> Any:
    with contextlib.ExitStack() as stack:
        # Of several handlers in one request one that fails must not undo what others do.
        for database in connections.all():
            if database.settings_dict["ATOMIC_REQUESTS"]:
                stack.enter_context(transaction.atomic(using=database.alias))
        if iscoroutinefunction(handler):
            waiting: Any = async_to_sync  # which has types in some versions only
            return waiting(handler)(payload)
        return handler(payload)


urlpatterns = [
    path("", invite),
    path("partyline/<str:service>", invite),
]
