# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Requests and responses of WSGI."""

from __future__ import annotations

import http.client
import io
import re
import sys
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional
from urllib.parse import unquote_to_bytes

from ._common import MAX_REQUEST, within
from ._request import Handled, Received, Reply, current

Environ = Dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class BadBody(Exception):
    """Its argument is the status to answer."""


def send(reply: Reply, start_response: StartResponse) -> List[bytes]:
    start_response(f"{reply.status} {http.client.responses[reply.status]}", reply.headers)
    return [reply.body]


def send_error(error: BadBody, start_response: StartResponse) -> List[bytes]:
    return send(Reply.error(error.args[0]), start_response)


def received_from(environ: Environ) -> Received:
    get = environ.get
    root: bytes = get("SCRIPT_NAME", "").encode("latin-1", "replace")
    path: bytes = root + get("PATH_INFO", "").encode("latin-1", "replace")
    return Received(
        environ["REQUEST_METHOD"], path, get("QUERY_STRING", ""),
        get("HTTP_ACCEPT", ""), get("HTTP_PARTY_TOKEN", ""), get("HTTP_PARTY_ASK", ""),
        get("HTTP_X_FORWARDED_PREFIX", ""), get("HTTP_CDN_LOOP", ""),
        get("HTTP_IF_NONE_MATCH", ""), root,
    )


def set_mount(environ: Environ, mount: str) -> None:
    """Puts the mount, which comes escaped, before SCRIPT_NAME, unless a server or a
    ProxyFix has.
    """
    if mount:
        script_name = environ.get("SCRIPT_NAME", "")
        unescaped = unquote_to_bytes(mount).decode("latin-1")
        if not (script_name + "/").startswith((unescaped + "/", mount + "/")):
            environ["SCRIPT_NAME"] = unescaped + script_name


def read_body(environ: Environ) -> bytes:
    """:raises BadBody: if it is too long, or its length no number."""
    if environ.get("wsgi.input_terminated") and not environ.get("CONTENT_LENGTH"):
        size = MAX_REQUEST + 1  # chunked
    else:
        try:
            size = int(environ.get("CONTENT_LENGTH") or 0)
        except ValueError:
            raise BadBody(400) from None
        if size < 0:
            raise BadBody(400)
        if size > MAX_REQUEST:
            raise BadBody(413)
    body: bytes = environ["wsgi.input"].read(size)
    if len(body) > MAX_REQUEST:
        raise BadBody(413)
    return body


def handle(
    application: Application, environ: Environ, start_response: StartResponse,
    handled: Handled, end: Callable[[], None],
) -> Iterable[bytes]:
    """Calls the application with the request as the current one until its response is
    closed, and then end.
    """
    try:
        with within(current, handled):
            response = application(environ, start_response)
    except BaseException:
        end()
        raise
    file_wrapper = environ.get("wsgi.file_wrapper")
    if isinstance(response, (list, tuple)) or (
        isinstance(file_wrapper, type) and isinstance(response, file_wrapper)
    ):
        end()
        return response
    return Response(response, handled, end)


class Response:
    """A response while whose parts are produced the request is still handled."""

    def __init__(self, response: Any, handled: Handled, end: Callable[[], None]) -> None:
        self.response = response
        self.handled = handled
        self.end = end
        self.parts: Optional[Iterator[bytes]] = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with within(current, self.handled):
            if self.parts is None:
                self.parts = iter(self.response)
            return next(self.parts)

    def close(self) -> None:
        try:
            with within(current, self.handled):
                if hasattr(self.response, "close"):
                    self.response.close()
        finally:
            self.end()


def invite_environ(path: str) -> Environ:
    """Returns the environ of GET path on localhost; the path may be a URL."""
    path = re.sub(r"\Ahttps?://[^/?#]*/?", "/", path.partition("#")[0], flags=re.IGNORECASE)
    path, _, query = path.partition("?")
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "localhost",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def run(application: Application, environ: Environ) -> str:
    """Runs the application to the end of its response; returns the status."""
    statuses = ["no status"]

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        statuses.append(status)
        return lambda chunk: None

    response: Any = application(environ, start_response)
    try:
        for _ in response:
            pass
    finally:
        if hasattr(response, "close"):
            response.close()
    return statuses[-1]
