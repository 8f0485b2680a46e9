# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""The URL patterns of Django as pages."""

from __future__ import annotations

import re
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Set, Tuple

from django.urls import converters
from django.urls.resolvers import LocalePrefixPattern, RoutePattern, URLResolver
from django.utils.regex_helper import normalize

from .._manifest import Pages
from .._template import Template, Unsayable

_PARAMETER = re.compile(r"<(?:[^>:]+:)?([^>]+)>")
_GROUP = re.compile(r"%\(([^)]*)\)s")

# What these write is the value as JSON has it. How another one writes, a template
# does not know.
_KNOWN = {
    kind.to_url
    for kind in (converters.StringConverter, converters.IntConverter, converters.UUIDConverter)
}


class _Part(NamedTuple):
    text: str
    is_variable: bool = False
    slashes: bool = False  # whether the variable's value may have some


class _Way(NamedTuple):
    """One of the ways to reverse a pattern, or why no template says it."""

    parts: Tuple[_Part, ...] = ()
    why: str = ""

    def template(self, root: str) -> str:
        """:raises Unsayable: if there is none."""
        if self.why:
            raise Unsayable(self.why)
        template = Template(root)
        for part in self.parts:
            if part.is_variable:
                template.variable(part.text, part.slashes)
            elif part.text:
                template.literal(part.text)
        return template.finish()


class _Level:
    """What has names in one namespace, in the order of urlpatterns."""

    def __init__(self, is_admin: bool = False) -> None:
        self.is_admin = is_admin
        self.pages: Dict[str, List[_Way]] = {}
        self.levels: Dict[str, _Level] = {}

    def add(self, patterns: Iterable[Any], before: List[_Way]) -> None:
        instances: Dict[str, str] = {}  # of an application: its last namespace
        self._add(patterns, before, instances)
        for application, namespace in instances.items():
            # Django has a name of the application for one of its last instance, too.
            self.levels.setdefault(application, self.levels[namespace])

    def _add(
        self, patterns: Iterable[Any], before: List[_Way], instances: Dict[str, str]
    ) -> None:
        for each in patterns:
            ways = [
                _Way(first.parts + then.parts, first.why or then.why)
                for first in before for then in _ways(each.pattern)
            ]
            if not isinstance(each, URLResolver):
                if each.name is not None:
                    self.pages.setdefault(each.name, []).extend(ways)
            elif not each.app_name:
                self._add(each.url_patterns, ways, instances)
            else:
                instances[each.app_name] = each.namespace
                if each.namespace not in self.levels:  # as Django, of two the first
                    level = _Level(self.is_admin or each.app_name == "admin")
                    self.levels[each.namespace] = level
                    level.add(each.url_patterns, ways)

    def walk(self, namespaces: str = "") -> Iterator[Tuple[_Level, str, List[_Way]]]:
        for name, ways in self.pages.items():
            yield self, namespaces + name, ways
        for namespace, level in self.levels.items():
            yield from level.walk(f"{namespaces}{namespace}:")


def add(pages: Pages, resolver: Any) -> None:
    """Adds a page for each name of a pattern, with its namespaces. Those of Django's
    administration come last, for it may have more than a manifest can.
    """
    root = _Level()
    root.add(resolver.url_patterns, [_Way((_Part("/"),))])
    for _, name, ways in sorted(root.walk(), key=lambda each: each[0].is_admin):
        try:
            pages.add(name, _first(ways, pages.root))
        except Unsayable as error:
            pages.leave_out(name, str(error))


def _first(ways: List[_Way], root: str) -> str:
    """Returns the template of the first of these that one can say. Of several with
    the same arguments it is the last, as it is for Django.

    :raises Unsayable: if there is none.
    """
    said: List[Tuple[Set[str], str]] = []
    whys: List[Unsayable] = []
    for way in ways:
        try:
            variables = {part.text for part in way.parts if part.is_variable}
            said.append((variables, way.template(root)))
        except Unsayable as error:
            whys.append(error)
    for variables, template in reversed(said):
        if variables == said[0][0]:
            return template
    raise whys[0]


def _ways(pattern: Any) -> List[_Way]:
    if isinstance(pattern, LocalePrefixPattern):
        return [_Way(why="the language is in its path (i18n_patterns)")]
    text = getattr(pattern, "_route", None) or getattr(pattern, "_regex", "")
    if not isinstance(text, str):
        return [_Way(why="its path is translated")]
    if isinstance(pattern, RoutePattern):
        return [_of_route(text, pattern.converters)]
    return _of_regex(pattern.regex)


def _of_route(route: str, known: Dict[str, Any]) -> _Way:
    """Returns the way to reverse a ``path()``."""
    parts = []
    for i, text in enumerate(_PARAMETER.split(route)):
        if i % 2 == 0:
            parts.append(_Part(text))
            continue
        converter = known[text]
        if type(converter).to_url not in _KNOWN:
            kind = type(converter).__name__
            return _Way(why=f"{kind} writes {text} in its own way (to_url)")
        parts.append(_Part(text, True, re.fullmatch(converter.regex, "a/b") is not None))
    return _Way(tuple(parts))


def _of_regex(regex: "re.Pattern[str]") -> List[_Way]:
    """Returns the ways to reverse a ``re_path()``: for an optional group, the one
    without it comes first.
    """
    try:
        found = normalize(regex.pattern)
    except ValueError as error:
        return [_Way(why=f"Django cannot reverse its regular expression: {error}")]
    ways = []
    for text, arguments in found:
        *texts, last = _GROUP.split(text)
        names = texts[1::2]
        if any(name.startswith("_") and name[1:].isdigit() for name in names):
            ways.append(_Way(why="it has groups without names"))
        elif "%" in "".join(texts[::2]) + last:
            ways.append(_Way(why="there is a % in its regular expression"))
        elif not names and not regex.search(text):
            ways.append(_Way(why="Django cannot reverse its regular expression, as one with |"))
        else:
            ways.append(_Way(tuple(
                _Part(part, i % 2 == 1, re.search(rf"\(\?P<{part}>\.[*+]\)", regex.pattern) is not None)
                for i, part in enumerate([*texts, last])
            )))
    return ways
