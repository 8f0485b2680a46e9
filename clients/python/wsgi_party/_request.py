# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""A request that an application is handling: what of it goes along with asks."""

from __future__ import annotations

import http.client
import re
import time
from contextvars import ContextVar
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ._common import MANIFEST_TYPE
from ._http import Headers
from ._token import MOUNT, Claims


class Received(NamedTuple):
    """What the party reads of a request. A header that is missing is ""."""

    method: str
    path: bytes  # all of it, as the application's server has it, unescaped
    query: str  # escaped
    accept: str = ""
    token: str = ""  # Party-Token
    party_ask: str = ""  # Party-Ask
    prefix: str = ""  # X-Forwarded-Prefix
    cdn_loop: str = ""  # CDN-Loop
    if_none_match: str = ""
    #: How much of the path comes before what the framework's routes see, unescaped:
    #: SCRIPT_NAME, root_path.
    root: bytes = b""

    @property
    def mount(self) -> str:
        """The prefix, if links can begin with it; else ""."""
        return self.prefix if self.prefix and MOUNT.fullmatch(self.prefix) else ""

    @property
    def is_invite(self) -> bool:
        return self.method == "GET" and MANIFEST_TYPE in self.accept.lower() and any(
            media_type.partition(";")[0].strip() == MANIFEST_TYPE
            for media_type in self.accept.lower().split(",")
        )


class Reply(NamedTuple):
    """The whole response to a request of Caddy's own."""

    status: int
    headers: List[Tuple[str, str]]
    body: bytes = b""

    @classmethod
    def content(cls, status: int, media_type: str, body: bytes, *headers: Tuple[str, str]) -> Reply:
        return cls(status, [
            ("Content-Type", media_type), ("Content-Length", str(len(body))), *headers,
        ], body)

    @classmethod
    def error(cls, status: int, *headers: Tuple[str, str]) -> Reply:
        text = http.client.responses[status].encode() + b"\n"
        return cls.content(status, "text/plain; charset=utf-8", text, *headers)


# Not 404: Caddy would take that for "no guest here", and say nothing about keys that differ.
UNPROVEN = Reply.error(401, ("WWW-Authenticate", "Party-Token"))


class Handled:
    """A request while it is being handled, for what is asked meanwhile."""

    def __init__(
        self,
        guest: object = None,
        received: Optional[Received] = None,
        claims: Optional[Claims] = None,
        inviting: bool = False,
        line: str = "",
    ) -> None:
        self.guest = guest
        #: The mount, escaped, with what came before it; "" at the root.
        self.prefix: str = received.mount if received else ""
        self.mount: str = self.prefix if claims is None else claims["mnt"]
        self.inviting = inviting
        self.token = received.token if received and claims is not None else ""
        self.expires = claims["exp"] if claims is not None else 0
        #: Of an ask that came with others, each of which has another.
        self.traceparent = ""
        # What a visitor put in must neither fail an ask nor rid it of what Caddy put in.
        loop = received.cdn_loop if received else ""
        self.cdn_loop = loop and re.sub(r"[^ -~]", "?", loop)
        #: What Links keeps while this lasts.
        self.links: Dict[Any, Any] = {}
        self.endpoint = ""
        self.has_fetched = False
        #: The version of the line that came with it.
        self.line = line
        #: What was known then, and is not asked for; None as long as nobody has looked.
        self.kept: Optional[Dict[Any, Any]] = None
        #: The framework's own request, where its adapter keeps it.
        self.request: Any = None

    def __bool__(self) -> bool:
        """Whether anything of it counts when something is asked."""
        return bool(self.prefix or self.token or self.cdn_loop or self.line)

    def end(self) -> None:
        """Ends the use of the token, also in threads and tasks that were
        started with this request's context.
        """
        self.token = ""

    def headers(self, guest: object) -> Headers:
        """Returns the headers that an ask of the guest's takes from this."""
        headers: Headers = {}
        if self.cdn_loop:
            headers["CDN-Loop"] = self.cdn_loop
        if self.prefix and self.guest is guest:
            headers["X-Forwarded-Prefix"] = self.prefix
        if self.token and self.guest is guest and time.time() < self.expires:
            headers["Party-Token"] = self.token
        if self.traceparent and self.guest is guest:
            headers["traceparent"] = self.traceparent
        return headers


#: The request that is being handled in this context.
current: ContextVar[Handled] = ContextVar("wsgi_party_request", default=Handled())
