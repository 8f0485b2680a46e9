# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Asking everybody else, through Caddy's ``wsgi_party_ask``."""

from __future__ import annotations

import functools
import json
import logging
import threading
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set
from urllib.parse import quote

from ._address import Address
from ._common import MAX_BODY, is_utf8, logger
from ._connection import Connections
from ._http import UNREACHED, Headers, Response
from ._json import decode
from ._kept import Kept
from ._settings import Keys

MAX_BATCH = 256  # questions that Caddy takes in one request


class Ask(NamedTuple):
    """A question as it is sent."""

    service: str
    payload: bytes  # JSON
    first: bool = False  # whether the first answer is enough
    guest: Optional[str] = None  # the only one to ask


class Breaker:
    """Leaves Caddy alone, while it cannot be reached, for longer and longer."""

    def __init__(self, tolerated: int = 0, pause: float = 1.0, longest: float = 30.0) -> None:
        #: So often in a row Caddy may not be reached before.
        self.tolerated = tolerated
        self.pause = pause  # seconds
        self.longest = longest  # seconds
        self._lock = threading.Lock()
        self._unreached = 0
        self._pause = 0.0
        self._again = 0.0

    def is_open(self) -> bool:
        """Returns True while Caddy is left alone. After that one ask tries."""
        if self._unreached <= self.tolerated:
            return False
        with self._lock:
            now = time.monotonic()
            if self._unreached <= self.tolerated:
                return False
            if now < self._again:
                return True
            self._pause = min(2 * self._pause, self.longest)
            self._again = now + self._pause
            return False

    @property
    def has_tripped(self) -> bool:
        """Whether Caddy was not reached last. Unlike is_open it lets nobody try."""
        return self._unreached > self.tolerated

    @property
    def is_known(self) -> bool:
        """Whether it has been said that Caddy is left alone."""
        return self._unreached > self.tolerated + 1

    def note(self, reached: bool) -> None:
        if reached and not self._unreached:
            return
        with self._lock:
            before = self._unreached
            self._unreached = 0 if reached else before + 1
            if before <= self.tolerated:
                self._pause = self.pause
            self._again = time.monotonic() + self._pause
        if not reached and before == self.tolerated:
            logger.warning(
                "Caddy could not be reached%s, and is tried every %g s, or less often, until it"
                " can be: until then, the other guests' answers are missing",
                f" {before + 1} times in a row" if before else "", self.pause,
            )
        elif reached and before > self.tolerated:
            logger.info("Caddy is reached again")


class _UnknownKey(ValueError):
    """Caddy's answer to a key that no guest has."""


class Caddy:
    """Caddy's ``wsgi_party_ask`` at one address. May be used from any thread."""

    def __init__(self, address: Address, breaker: Optional[Breaker] = None) -> None:
        self.breaker = breaker or Breaker()
        self._connections = Connections(address)
        self.kept = Kept()

    def known(
        self, line: str, prefix: str, keys: Keys, timeout: float
    ) -> Optional[Dict[Any, Any]]:
        """As :meth:`Kept.known`, but asks Caddy, with a request that is short, whether it is still
        so; None if Caddy does not say. While one thread does so, the others take it for granted.
        """
        kept = self.kept
        known = kept.known(line, prefix)
        if known is not None or not kept.version or self.breaker.has_tripped:
            return known
        if not kept.is_to_be_checked():
            return kept.now(prefix)
        self._check(keys, time.monotonic() + timeout)
        return kept.known("", prefix)

    def _check(self, keys: Keys, deadline: float) -> None:
        try:
            self._send("HEAD", "/", None, keys, {"If-None-Match": f'"{self.kept.version}"'}, deadline)
        except (*UNREACHED, ValueError) as error:
            logger.debug("asking Caddy who is there failed: %r", error)

    def _send(
        self, method: str, path: str, body: Optional[bytes], keys: Keys, headers: Headers,
        deadline: float,
    ) -> Response:
        headers = {"Authorization": b"Bearer " + keys.get()[0], **headers}
        try:
            response = self._connections.send(method, path, body, headers, deadline)
        except UNREACHED:
            self.breaker.note(reached=False)
            raise
        self.breaker.note(reached=True)
        self.kept.hear(response.line)
        return response

    def ask(self, asks: Sequence[Ask], keys: Keys, headers: Headers, timeout: float) -> List[Any]:
        """Returns a result of Caddy's for each ask; see answers_in. What fails is
        logged, and without answers. A result that lasts has the version of the line so long.

        :param keys: the first says who asks. Where Caddy does not know it, and there are others
            meanwhile, the first of those does.
        :param timeout: seconds that all of it may take.
        """
        headers = {"Content-Type": "application/json", **headers}
        deadline = time.monotonic() + timeout
        results: List[Any] = []
        for part in _parts(asks):
            if self.breaker.is_open():
                break
            try:
                try:
                    results += self._ask(part, keys, headers, deadline)
                except _UnknownKey:
                    if not keys.look_again():
                        raise
                    results += self._ask(part, keys, headers, deadline)
            except (*UNREACHED, ValueError, RecursionError) as error:
                level = logging.DEBUG if self.breaker.is_known else logging.WARNING
                logger.log(level, "asking the other guests for %s failed: %r", _names(asks), error)
                break
        return results + [{"answers": []}] * (len(asks) - len(results))

    def _ask(
        self, asks: Sequence[Ask], keys: Keys, headers: Headers, deadline: float
    ) -> List[Any]:
        if len(asks) == 1:
            ask, = asks
            path, body = _path(ask.service, ask.first, ask.guest), ask.payload
        else:
            path = "/"
            body = b"[%s]" % b",".join([_one_of_several(ask) for ask in asks])
        status, media_type, content, line = self._send("POST", path, body, keys, headers, deadline)
        if status == 404 and media_type == "application/problem+json" and len(asks) == 1:
            return [{"status": 404}]
        if status != 200:
            raise (_UnknownKey if status == 401 else ValueError)(f"status {status}: {content[:200]!r}")
        result = decode(content)
        results: List[Any] = [result] if len(asks) == 1 else result
        if not isinstance(results, list) or len(results) != len(asks):
            raise ValueError("not one result for each question")
        for result in results:
            if isinstance(result, dict):
                result["line"] = line if result.get("lasting") is True else ""
        return results


def line_of(result: Any) -> str:
    """Returns how long a result is so: until the line has another version, "" if not even
    so long.
    """
    line: str = result.get("line", "") if isinstance(result, dict) else ""
    return line


def answers_in(
    result: Any, service: str, said: Optional[Set[str]] = None
) -> Optional[List[Any]]:
    """Returns the answers in a result of Caddy's, None if it has no such
    service there, and logs what failed.

    :param said: what was logged already of the same request.
    """
    if isinstance(result, dict):
        if result.get("status") == 404:
            return None
        for reply in result.get("replies") or ():
            if isinstance(reply, dict) and reply.get("status") == "failed":
                failure = f"{reply.get('guest')!r} failed to answer {service}: {reply.get('error')!r}"
                if said is None or failure not in said:
                    logger.warning("guest %s", failure)
                if said is not None:
                    said.add(failure)
        answers = result.get("answers")
        if isinstance(answers, list):
            return answers
    logger.warning("asking the other guests for %s failed: %r", service, result)
    return []


def can_be_asked(name: object) -> bool:
    """Whether a service, or a guest, elsewhere can have this name."""
    return isinstance(name, str) and name != "" and is_utf8(name)


def _parts(asks: Sequence[Ask]) -> Iterator[List[Ask]]:
    """Yields the asks in such parts as Caddy takes in one request."""
    if len(asks) == 1:
        yield list(asks)
        return
    part: List[Ask] = []
    size = len("[")
    for ask in asks:
        length = len(_one_of_several(ask)) + len(",")
        if part and (len(part) == MAX_BATCH or size + length > MAX_BODY):
            yield part
            part, size = [], len("[")
        part.append(ask)
        size += length
    if part:
        yield part


@functools.lru_cache(maxsize=256)
def _path(service: str, first: bool, guest: Optional[str]) -> str:
    query = ["first"] * first
    if guest is not None:
        query.append("guest=" + quote(guest, safe=""))
    return "/" + quote(service, safe="") + ("?" + "&".join(query) if query else "")


def _one_of_several(ask: Ask) -> bytes:
    guest = b"" if ask.guest is None else b',"guest":%s' % json.dumps(ask.guest).encode()
    first = b',"first":true' if ask.first else b""
    return b"%s%s%s%s}" % (_start(ask.service), ask.payload, first, guest)


@functools.lru_cache(maxsize=256)
def _start(service: str) -> bytes:
    return b'{"service":%s,"payload":' % json.dumps(service).encode()


def _names(asks: Sequence[Ask]) -> str:
    """Returns the names of the services, but not many, for the log."""
    names = sorted({ask.service for ask in asks})
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
