# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""What the party needs of each request, and gives it."""

from __future__ import annotations

import asyncio
from typing import Any, AsyncIterator, Callable
from urllib.parse import unquote

from django.conf import settings
from django.http import FileResponse, HttpRequest
from django.urls import set_script_prefix
from django.utils.decorators import sync_and_async_middleware

from .._common import within
from .._request import Handled, Received, current
from .._wsgi import Response
from ._party import guest


@sync_and_async_middleware  # type: ignore[misc]  # Django has no types
def party(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Takes note of where Caddy is asked, sets the mount, and keeps the request for what
    is asked while it is handled.
    """
    us = guest()

    def begun(request: HttpRequest) -> Handled:
        us.start()
        received = received_from(request)
        if received.party_ask:
            us.whereabouts.hear(received.party_ask)
        handled = us.handled(received)
        handled.request = request
        if handled.prefix:
            _set_mount(request, unquote(handled.prefix))
        return handled

    def ended(response: Any, handled: Handled) -> Any:
        if not response.streaming or isinstance(response, FileResponse):
            us.done(handled)
        elif hasattr(response.streaming_content, "__anext__"):
            response.streaming_content = _stream(response.streaming_content, handled)
        else:
            content = response.streaming_content
            response.streaming_content = Response(content, handled, lambda: us.done(handled))
        return response

    async def _stream(content: Any, handled: Handled) -> AsyncIterator[Any]:
        try:
            while True:
                with within(current, handled):
                    try:
                        part = await content.__anext__()
                    except StopAsyncIteration:
                        return
                yield part
        finally:
            us.done(handled)

    def handle(request: HttpRequest) -> Any:
        handled = begun(request)
        with within(current, handled):
            return ended(get_response(request), handled)

    async def ahandle(request: HttpRequest) -> Any:
        handled = begun(request)
        with within(current, handled):
            return ended(await get_response(request), handled)

    return ahandle if asyncio.iscoroutinefunction(get_response) else handle


def received_from(request: HttpRequest) -> Received:
    get = request.META.get
    return Received(
        request.method or "", request.path.encode("utf-8", "surrogateescape"),
        get("QUERY_STRING", ""), get("HTTP_ACCEPT", ""), get("HTTP_PARTY_TOKEN", ""),
        get("HTTP_PARTY_ASK", ""), get("HTTP_X_FORWARDED_PREFIX", ""),
        get("HTTP_CDN_LOOP", ""), get("HTTP_IF_NONE_MATCH", ""),
        get("SCRIPT_NAME", "").encode("utf-8", "surrogateescape"),
    )


def _set_mount(request: HttpRequest, mount: str) -> None:
    """Puts the mount before what the server says, unless that has it already."""
    script_name = request.META.get("SCRIPT_NAME", "").rstrip("/")
    if (script_name + "/").startswith(mount + "/") or settings.FORCE_SCRIPT_NAME is not None:
        return
    script_name = mount + script_name
    set_script_prefix(script_name)
    request.META["SCRIPT_NAME"] = script_name
    if hasattr(request, "script_name"):
        request.script_name = script_name  # under ASGI
    request.path = script_name + "/" + request.path_info.replace("/", "", 1)
