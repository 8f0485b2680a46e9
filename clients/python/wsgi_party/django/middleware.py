# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""What the party needs of each request, and gives it."""

from __future__ import annotations

from typing import Any, AsyncIterator, Callable
from urllib.parse import unquote

from django.conf import settings
from django.http import FileResponse, HttpRequest
from django.urls import set_script_prefix
from django.utils.decorators import sync_and_async_middleware

from .._common import within
from .._request import Handled, Received, current
from .._wsgi import Response
from ._party import guest, iscoroutinefunction


@sync_and_async_middleware  # type: ignore[misc]  # Django has no types
def party(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Takes note of where Caddy is asked, sets the mount, and keeps the request for what
    is asked while it is handled.
    """
    us = guest()

    def begun(request: HttpRequest) -> Handled:
        us.start()
        get = request.META.get
        us.whereabouts.hear(get("HTTP_PARTY_ASK", ""))
        handled = us.handled(Received(  # of which it needs but these
            "", b"", "", "", get("HTTP_PARTY_TOKEN", ""), "",
            get("HTTP_X_FORWARDED_PREFIX", ""), get("HTTP_CDN_LOOP", ""),
        ))
        handled.request = request
        if handled.prefix:
            _set_mount(request, unquote(handled.prefix))
        return handled

    def ended(response: Any, handled: Handled) -> Any:
        if not response.streaming or isinstance(response, FileResponse):
            us.done(handled)
            return response
        content = response.streaming_content
        if hasattr(content, "__anext__"):  # since Django 4.2
            response.streaming_content = stream(content, handled)
        else:
            response.streaming_content = Response(content, handled, lambda: us.done(handled))
        return response

    async def stream(content: Any, handled: Handled) -> AsyncIterator[Any]:
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
        reset = current.set(handled)
        try:
            return ended(get_response(request), handled)
        finally:
            current.reset(reset)

    async def ahandle(request: HttpRequest) -> Any:
        handled = begun(request)
        reset = current.set(handled)
        try:
            return ended(await get_response(request), handled)
        finally:
            current.reset(reset)

    return ahandle if iscoroutinefunction(get_response) else handle


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
