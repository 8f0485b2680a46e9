# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""JSON that every parser accepts, and no other. (Caddy refuses what some parsers refuse.)"""

from __future__ import annotations

import json
from typing import Any, List, Optional, Set, Tuple

from ._common import is_utf8

MAX_DEPTH = 64  # lists and dicts in each other

# Where a value is: pairs, each a list or dict that it is in and its name in there.
_Place = Tuple[Tuple[Any, Any], ...]


class NoJSON(Exception):
    """A value that JSON cannot carry, and what of it."""


def encode(what: str, value: Any, limit: Optional[int] = None) -> bytes:
    """Returns the value as JSON.

    :param what: the name of the value, for the error.
    :param limit: how many bytes it may have.
    :raises NoJSON: naming the members, and no values.
    """
    found: List[Tuple[_Place, str]] = []
    _find_uncarried(value, found)
    if found:
        members = [
            what + "".join(f"[{name!r:.80}]" for _, name in place) + f" ({why})"
            for place, why in found[:10]
        ]
        more = f" and {len(found) - 10} more" if len(found) > 10 else ""
        raise NoJSON(f"JSON cannot carry {', '.join(members)}{more}")
    text = _ENCODER.encode(value).encode()
    if limit is not None and len(text) > limit:
        raise NoJSON(f"{what} is longer than {limit} bytes as JSON")
    return text


def decode(text: bytes) -> Any:
    """Returns the value of what Caddy sent, which is strict already.

    :raises ValueError: if it is not JSON, or has NaN or Infinity, which are none.
    """
    try:
        return _DECODER.decode(text.decode())
    except RecursionError:
        raise ValueError("nested too deep") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


# Those that json would make for each value anew.
_ENCODER = json.JSONEncoder(allow_nan=False)
_DECODER = json.JSONDecoder(parse_constant=_refuse)


def _find_uncarried(
    value: Any, found: List[Tuple[_Place, str]], place: _Place = ()
) -> None:
    """Appends to found what of a value some parsers of JSON refuse, each as a
    pair of its place and the reason.
    """
    why = _why_uncarried(value)
    if why is None:
        if any(value is outer for outer, _ in place):
            why = "in itself"
        elif len(place) >= MAX_DEPTH:
            why = f"nested more than {MAX_DEPTH} deep"
    if why is not None:
        if why:
            found.append((place, why))
        return
    seen: Set[str] = set()
    for key, member in value.items() if isinstance(value, dict) else enumerate(value):
        why = ""
        if isinstance(value, dict):
            name = key
            if key is None or isinstance(key, (bool, int, float)):
                name = json.dumps(key)
            if not isinstance(name, str):
                why = f"its name is of type {type(key).__name__}"
            elif not is_utf8(name) or "\0" in name:
                why = "its name has a NUL or a lone surrogate"
            elif name in seen:
                why = "a name that occurs twice"
            seen.add(name)
        if not why:
            why = _why_uncarried(member)
        if why is None:
            _find_uncarried(member, found, (*place, (value, key)))
        elif why:
            found.append(((*place, (value, key)), why))


def _why_uncarried(value: Any) -> Optional[str]:
    """Returns why JSON does not carry the value, "" if it does, and None for a
    list or dict.
    """
    if isinstance(value, str):
        return "" if is_utf8(value) else "a lone surrogate"
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, int):
        return "" if -(10**63) < value < 10**64 else "a number of more than 64 digits"
    if isinstance(value, float):
        return "" if value - value == 0 else "not a finite number"
    if isinstance(value, (list, tuple, dict)):
        return None
    return type(value).__name__
