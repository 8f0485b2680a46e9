# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""URL templates (RFC 6570) as Caddy takes them, made of the routes of a framework."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote, unquote

MAX_EXPRESSIONS = 64
MAX_LENGTH = 1 << 12  # of a template; far longer than a route, far shorter than a manifest

_VARIABLE = re.compile(r"[A-Za-z0-9_]+")


class Unsayable(Exception):
    """A route that no template can say, and why."""


class Template:
    """A template that grows from its beginning, which is the mount, to its end.

    Each method raises :exc:`Unsayable` for what Caddy would refuse, with all the
    application's other pages.

    :param root: its beginning, escaped.
    """

    def __init__(self, root: str = "") -> None:
        self._parts = [root]
        self._shape = root  # with an x for each variable
        self._expressions = 0

    def literal(self, text: str) -> None:
        """Appends a part of the path as it is, unescaped, slashes included."""
        if not text:
            return
        _check_characters(text)
        self._shape += text
        self._parts.append(quote(text, safe="/:@!$&'()*+,;=~"))

    def variable(self, name: str, slashes: bool = False) -> None:
        """Appends a variable.

        :param slashes: whether its value may have some.
        """
        if not _VARIABLE.fullmatch(name):
            raise Unsayable(f"its variable {name!r} has characters other than A-Z a-z 0-9 _")
        self._expressions += 1
        if self._expressions > MAX_EXPRESSIONS:
            raise Unsayable(f"it has more than {MAX_EXPRESSIONS} variables")
        if not slashes:
            self._parts.append("{%s}" % name)
        elif self._shape.endswith("/"):
            self._parts[-1] = self._parts[-1][:-1]  # the expression brings that slash
            self._parts.append("{/%s*}" % name)
        else:
            raise Unsayable(f"its variable {name!r}, which may have slashes, follows none")
        self._shape += "x"

    def finish(self) -> str:
        """Returns the template."""
        text = "".join(self._parts)
        if not self._shape.startswith("/"):
            raise Unsayable("it does not begin with a slash")
        # What has an escape in it, as its own text, could become one of these later.
        shape, before = self._shape, ""
        while shape != before:
            before, shape = shape, unquote(shape)
        _check_characters(shape)
        segments = [segment.partition(";")[0] for segment in shape.split("/")[1:]]
        if "" in segments[:-1]:
            raise Unsayable("it has two slashes with nothing between them")
        if "." in segments or ".." in segments:
            raise Unsayable('it has a segment "." or ".."')
        if len(text) > MAX_LENGTH:
            raise Unsayable(f"it has more than {MAX_LENGTH} characters")
        return text


def _check_characters(text: str) -> None:
    if "\\" in text or any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text):
        raise Unsayable("it has a backslash or a control character")
