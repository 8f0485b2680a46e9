# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""What Caddy answered, and is so until somebody joins, leaves, or has other pages: until
the version of the line changes.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any, Dict, Optional

MAX_KEPT = 4096  # answers
MAX_OUTDATED = 256  # versions
GOOD_FOR = 1.0  # seconds after Caddy has said it, a version is believed to be the line's

MISSING: Any = object()


class _Version:
    """What is kept of one version of the line."""

    def __init__(self, version: str) -> None:
        self.version = version  # "" as long as none is known
        self.said = float("-inf")  # when Caddy answered that it is the line's
        self.by_prefix: Dict[str, Dict[Any, Any]] = {}
        self.count = 0


class Kept:
    """Of one Caddy's line. May be used from any thread, and has no lock, which a fork would
    copy as it is held: what gets lost when two threads meet is asked for again.
    """

    def __init__(self) -> None:
        self._now = _Version("")
        # Versions that are known to be the line's no more, unless Caddy itself says so.
        self._outdated: OrderedDict[str, None] = OrderedDict()
        self._checking = float("-inf")  # since when

    @property
    def version(self) -> str:
        return self._now.version

    def known(self, line: str, prefix: str) -> Optional[Dict[Any, Any]]:
        """Returns what is kept for a request, by what was asked; None if Caddy has to say first whether
        it is still so.

        :param line: the version that the request has said, "" if there is none. An
            outdated one may be of a request that was under way when the line changed, or a
            visitor's who sends again what Caddy sent once.
        """
        if line and line != self._now.version and line not in self._outdated:
            self._turn_to(line)
        now = self._now
        if line != now.version and time.monotonic() > now.said + GOOD_FOR:
            return None
        return now.by_prefix.get(prefix, _NOTHING)

    def now(self, prefix: str) -> Dict[Any, Any]:
        """Returns what was kept last, be it still so or not."""
        return self._now.by_prefix.get(prefix, _NOTHING)

    def is_to_be_checked(self) -> bool:
        """Whether Caddy is to be asked for its version, which one thread does in a second."""
        moment = time.monotonic()
        if moment < self._checking + GOOD_FOR:
            return False
        self._checking = moment
        return True

    def hear(self, version: str) -> None:
        """Takes note of the version that Caddy has answered with."""
        if not version:
            return
        now = self._now
        if version != now.version:
            if version in self._outdated and time.monotonic() < now.said + GOOD_FOR:
                return  # it was under way for longer than the answer that said so
            now = self._turn_to(version)
        now.said = time.monotonic()

    def keep(self, version: str, prefix: str, what: Any, answer: Any) -> None:
        """Keeps what came with an answer that has this version."""
        now = self._now
        if not version or version != now.version:
            return
        if now.count >= MAX_KEPT:
            now.by_prefix, now.count = {}, 0
        now.by_prefix.setdefault(prefix, {})[what] = answer
        now.count += 1

    def _turn_to(self, version: str) -> _Version:
        if self._now.version:
            self._outdated[self._now.version] = None
        self._outdated.pop(version, None)
        while len(self._outdated) > MAX_OUTDATED:
            self._outdated.popitem(last=False)
        self._now = now = _Version(version)
        return now


_NOTHING: Dict[Any, Any] = {}
