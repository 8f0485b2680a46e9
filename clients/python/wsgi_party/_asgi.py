# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Requests and responses of ASGI."""

from __future__ import annotations

import functools
import sys
from asyncio import Future
from typing import Any, Awaitable, Callable, List, Mapping, MutableMapping, Optional, Tuple
from urllib.parse import quote, unquote

from ._common import MAX_REQUEST
from ._request import Received, Reply

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

# What is read of a request, in the order of Received.
_HEADERS = {
    name: i for i, name in enumerate((
        b"accept", b"party-token", b"party-ask", b"x-forwarded-prefix", b"cdn-loop",
        b"if-none-match",
    ))
}


class Page:
    """A request while it is handled."""

    __slots__ = ("scope", "root", "wanted", "next", "under_way")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        #: As the application's own, and not one of those that are mounted in it.
        self.root: str = scope.get("root_path", "").rstrip("/")
        #: Links that are fetched next, and what does so; and those before.
        self.wanted: List[Tuple[str, Mapping[str, Any]]] = []
        self.next: Optional[Future[None]] = None
        self.under_way: Optional[Future[None]] = None

    @property
    def endpoint(self) -> str:
        """What has the links of a page remembered: that of its route, or, where there are
        none, its path.
        """
        endpoint = self.scope.get("endpoint")
        if endpoint is None:
            path: str = self.scope.get("path", "")
            return path
        name = getattr(endpoint, "__qualname__", type(endpoint).__qualname__)
        return f"{getattr(endpoint, '__module__', '')}.{name}"


def received_from(scope: Scope) -> Received:
    values = [""] * len(_HEADERS)
    for name, value in scope["headers"]:
        i = _HEADERS.get(name)
        if i is not None:
            text = value.decode("latin-1")
            values[i] = f"{values[i]},{text}" if values[i] else text
    root, path = scope.get("root_path", "").rstrip("/"), scope["path"]
    if root and not _has_root(path, root):
        path = root + path
    accept, token, party_ask, prefix, cdn_loop, if_none_match = values
    return Received(
        scope.get("method", "GET"), path.encode("utf-8", "surrogatepass"),
        scope.get("query_string", b"").decode("latin-1"), accept, token, party_ask, prefix,
        cdn_loop, if_none_match, root.encode("utf-8", "surrogatepass"),
    )


def mounted(scope: Scope, prefix: str) -> Scope:
    """Returns the scope with the mount, escaped, before its root_path, unless the server
    or the application has put it there.
    """
    mount = unquote(prefix)
    root: str = scope.get("root_path", "").rstrip("/")
    if (root + "/").startswith(mount + "/"):
        return scope
    mounted = {**scope, "root_path": mount + root}
    if _is_whole():
        path, added = scope["path"], prefix.encode("latin-1")
        if not _has_root(path, root):
            path = root + path
            added += quote(root).encode()
        mounted["path"] = mount + path
        if isinstance(scope.get("raw_path"), bytes):  # some servers have none, or a text
            mounted["raw_path"] = added + scope["raw_path"]
    return mounted


def _has_root(path: str, root: str) -> bool:
    """Whether a scope's path begins with its root_path, as ASGI has it."""
    return _is_whole() and (path + "/").startswith(root + "/")


def _is_whole() -> bool:
    """Whether paths are as ASGI has them. To Starlette, until version 0.34, a path is what
    follows the root_path.
    """
    return _is_since(getattr(sys.modules.get("starlette"), "__version__", "1.0"))


@functools.lru_cache(maxsize=None)
def _is_since(version: str) -> bool:
    major, minor = (int(number) for number in version.split(".")[:2])
    return (major, minor) >= (0, 35)


async def read(receive: Receive) -> bytes:
    """Returns the body, as far as it is no longer than can be."""
    body = b""
    while len(body) <= MAX_REQUEST:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return body


async def send_reply(reply: Reply, send: Send) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
