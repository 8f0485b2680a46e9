# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""What every module here needs: exceptions, the logger, and small tools."""

from __future__ import annotations

import logging
import re
import threading
from contextvars import ContextVar
from typing import Any, Hashable, Set, TypeVar

T = TypeVar("T")

#: All of the package logs under its name, what a module is called inside is its own.
logger = logging.getLogger("wsgi_party")

MANIFEST_TYPE = "application/vnd.wsgi-party+json"
MAX_BODY = 1 << 20  # bytes of a payload or an answer
MAX_REQUEST = MAX_BODY + (1 << 14)  # bytes of a request: a payload, and the token beside it

# What Caddy takes for the name of a service or a page in a manifest.
_NAME = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class PartylineException(Exception):
    """Base of this package's exceptions."""


class HighAndDry(PartylineException):
    """Raised by a handler that has no answer."""


class NoSuchServiceName(PartylineException):
    """Nobody ever connected a handler under the service that was asked for."""


class InvalidToken(PartylineException):
    """A Party-Token that does not prove that Caddy sent this request."""


class Once:
    """Says each thing once, however often it happens."""

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._said: Set[Hashable] = set()

    def warn(self, subject: Hashable, message: str, *arguments: Any) -> None:
        """Logs a warning, if there was none about this subject."""
        if self.first(subject):
            logger.warning(message, *arguments)

    def first(self, subject: Hashable) -> bool:
        with self._lock:
            if subject in self._said or len(self._said) >= self._most:
                return False
            self._said.add(subject)
            return True


class within:
    """Has a variable a value in a block. (contextlib would take four times as long, with
    every request.)
    """

    __slots__ = ("_variable", "_value", "_reset")

    def __init__(self, variable: ContextVar[T], value: T) -> None:
        self._variable: ContextVar[Any] = variable
        self._value = value

    def __enter__(self) -> None:
        self._reset = self._variable.set(self._value)

    def __exit__(self, *exception: object) -> None:
        self._variable.reset(self._reset)


def is_name(name: object) -> bool:
    """Whether Caddy takes this for the name of a service or a page."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def is_utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
