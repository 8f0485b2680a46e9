# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""The routes of Starlette and FastAPI as pages."""

from __future__ import annotations

import re
from typing import Any, Sequence, Tuple

from starlette import convertors, routing

from ._manifest import Pages
from ._template import Template, Unsayable

_PARAMETER = re.compile(r"{([a-zA-Z_][a-zA-Z0-9_]*)(?::[a-zA-Z_][a-zA-Z0-9_]*)?}")

# What these write is the value as JSON has it. How another one writes, a template
# does not know.
_KNOWN = {
    kind.to_string
    for kind in (
        convertors.StringConvertor, convertors.PathConvertor, convertors.IntegerConvertor,
        convertors.FloatConvertor, convertors.UUIDConvertor,
    )
}


def add(
    pages: Pages, routes: Sequence[Any], names: str = "", outer: Tuple[Any, ...] = (),
    why: str = "",
) -> None:
    """Adds a page for each name of a route. Of several of one name it is the first, as
    it is for Starlette.

    :param names: of the mounts they are in, each with a colon.
    :param outer: the mounts themselves.
    :param why: why none of them can be told, or "".
    """
    for route in routes:
        name = getattr(route, "name", None)
        inner = names if name is None else f"{names}{name}:"
        if isinstance(route, routing.Mount):
            if name:
                # A link to what is at a path in it, of static files above all.
                _page(pages, names + name, (*outer, route), why, "path")
            add(pages, route.routes or (), inner, (*outer, route), why)
        elif isinstance(route, routing.Host):
            at = f"it is at the host {route.host}"
            add(pages, route.routes or (), inner, outer, why or at)
        elif isinstance(route, routing.Route):
            _page(pages, names + route.name, (*outer, route), why)
        elif isinstance(route, routing.WebSocketRoute):
            pages.leave_out(names + route.name, "it is a websocket")
        elif name:
            pages.leave_out(f"{names}{name}", f"it is a {type(route).__name__}")


def _page(pages: Pages, name: str, routes: Tuple[Any, ...], why: str, path: str = "") -> None:
    """Adds the page at the end of these routes, each in the one before.

    :param path: a variable for what follows.
    """

    def build(template: Template) -> None:
        if why:
            raise Unsayable(why)
        for route in routes:
            _append(template, route)
        if path:
            template.literal("/")
            template.variable(path, slashes=True)

    pages.route(name, build)


def _append(template: Template, route: Any) -> None:
    at = 0
    for match in _PARAMETER.finditer(route.path):
        name = match.group(1)
        convertor = route.param_convertors[name]
        if type(convertor).to_string not in _KNOWN:
            kind = type(convertor).__name__
            raise Unsayable(f"{kind} writes {name} in its own way (to_string)")
        if at < match.start():
            template.literal(route.path[at:match.start()])
        template.variable(name, slashes=re.fullmatch(convertor.regex, "a/b") is not None)
        at = match.end()
    if at < len(route.path):
        template.literal(route.path[at:])
