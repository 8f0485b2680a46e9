# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Links to pages of other applications, which a page asks for together.

A page does not know which links it is going to have. So what each endpoint asked for
the last time is remembered, and asked for with its first link, all in one request.
"""

from __future__ import annotations

import enum
import re
import threading
from collections import OrderedDict
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Tuple

from ._caddy import Ask
from ._common import MAX_BODY, Once
from ._json import NoJSON, encode
from ._line import Line
from ._request import Handled, current

MAX_LINKS = 256  # of an endpoint that are remembered
MAX_ENDPOINTS = 1024
MAX_PAYLOAD = 1 << 10  # bytes of a link that is remembered

# A path, or a URL of http, that no browser takes for something else, and no page breaks on.
_LINK = re.compile(r"(?:/(?!/)|https?://[\w.:\[\]-]+(?=[/?#]|\Z))[!#-;=?-\[\]-_a-~]*", re.ASCII)


class Link:
    """A link that was asked for while a request is handled."""

    __slots__ = ("payload", "url", "used")

    def __init__(self, payload: bytes, url: Optional[str]) -> None:
        self.payload = payload
        self.url = url  # None if nobody can make it
        self.used = False  # not only asked for because the page had it the last time


class Links:
    """Asks for links. May be used from any thread.

    :param guest: whose; a request that another guest is handling is none here.
    :param ask: returns the answers to each ask, and the version of the line until which
        they are so.
    """

    def __init__(
        self, guest: Line, ask: Callable[[List[Ask]], List[Tuple[Optional[List[Any]], str]]]
    ) -> None:
        self._guest = guest
        self._ask = ask
        self._once = Once()
        self._lock = threading.Lock()
        self._learned: OrderedDict[str, Dict[Any, bytes]] = OrderedDict()

    def url(self, name: str, values: Mapping[str, Any], endpoint: str = "") -> Optional[str]:
        """Returns the URL of another application's page, None if nobody can make it.

        :param endpoint: what renders the page that the link is on, by a name that is the
            same the next time; "" if nothing is to be remembered.
        """
        handled = current.get()
        if handled.guest is not self._guest:
            handled = Handled()  # which nobody remembers
        key = _key(name, values)
        link: Optional[Link] = handled.links.get(key)
        if link is None:
            handled.endpoint = handled.endpoint or endpoint
            known = handled.kept
            if known is None:
                known = self._guest.known(handled, self._guest.timeout)
            if key in known:
                return self._use(handled, key, known[key])
            payload = self._payload(name, values)
            if payload is None:
                return None
            key = key or payload
            if key not in handled.links:
                if key in known:
                    return self._use(handled, key, known[key])
                self._fetch(handled, known, {key: payload}, endpoint)
            link = handled.links[key]
            assert link is not None
        link.used = True
        return link.url

    def url_at_hand(self, name: str, values: Mapping[str, Any]) -> Optional[str]:
        """Returns what url would, where that has been called in this request, and there is nothing
        to ask for; else None.
        """
        handled = current.get()
        if handled.guest is not self._guest:
            return None
        key = _key(name, values)
        link: Optional[Link] = handled.links.get(key)
        if link is None:
            if not handled.kept or key not in handled.kept:
                return None
            link = handled.links[key] = handled.kept[key]
        link.used = True
        return link.url

    def _use(self, handled: Handled, key: Any, link: Link) -> Optional[str]:
        handled.links[key] = link
        return link.url

    def knows(self, name: str, values: Mapping[str, Any]) -> bool:
        """Whether there is nothing to ask for, and so to wait for, before url returns."""
        handled = current.get()
        if handled.guest is not self._guest:
            return False
        key = _key(name, values)
        return key in handled.links or key in self._guest.known(handled, 0)

    def fetch(
        self, links: Iterable[Tuple[str, Mapping[str, Any]]], endpoint: str = ""
    ) -> None:
        """Asks in one request for links, pairs of name and values, that the page which is
        being rendered is going to have.
        """
        handled = current.get()
        if handled.guest is not self._guest:
            return
        known = self._guest.known(handled, self._guest.timeout)
        wanted: Dict[Any, bytes] = {}
        for name, values in links:
            key, payload = _key(name, values), self._payload(name, values)
            key = key or payload
            if payload is not None and key not in handled.links and key not in known:
                wanted[key] = payload
        if wanted:
            handled.endpoint = handled.endpoint or endpoint
            self._fetch(handled, known, wanted, endpoint)

    def remember(self, handled: Handled) -> None:
        """Remembers, when a page is done, which links it had."""
        endpoint = handled.endpoint
        if not endpoint:
            return
        used: Dict[Any, bytes] = {}
        for key, link in handled.links.copy().items():
            if link.used and len(link.payload) <= MAX_PAYLOAD and len(used) < MAX_LINKS:
                used[key] = link.payload
        # A request that had none, but a redirect or an error, says nothing of the page.
        if used:
            with self._lock:
                self._learned[endpoint] = used
                self._learned.move_to_end(endpoint)
                if len(self._learned) > MAX_ENDPOINTS:
                    self._learned.popitem(last=False)

    def _fetch(
        self, handled: Handled, known: Dict[Any, Any], wanted: Dict[Any, bytes], endpoint: str
    ) -> None:
        """Asks for the links that are wanted, and, if they are the first that are not known,
        for those that the page had the last time.
        """
        if not handled.has_fetched and endpoint:
            handled.has_fetched = True
            learned = self._learned.get(endpoint, {}).items()
            wanted = {
                **{key: payload for key, payload in learned if key not in known}, **wanted,
            }
        answers = self._ask([Ask("url", payload, True) for payload in wanted.values()])
        for (key, payload), (urls, line) in zip(wanted.items(), answers):
            handled.links[key] = Link(payload, self._checked(urls))
            if line and len(payload) <= MAX_PAYLOAD and urls is not None:
                self._keep(handled, line, key, payload, urls)

    def _keep(
        self, handled: Handled, line: str, key: Any, payload: bytes, urls: List[Any]
    ) -> None:
        url = self._checked(urls)
        if url is None and urls or url is not None and len(url) > MAX_PAYLOAD:
            return
        link = Link(payload, url)
        link.used = True  # wherever it is
        self._guest.keep(handled, line, key, link)

    def _payload(self, name: str, values: Mapping[str, Any]) -> Optional[bytes]:
        try:
            return encode("link", {"name": name, "values": plain(values)}, MAX_BODY)
        except NoJSON as error:
            self._once.warn(("link", name), "cannot ask for a link to %r: %s", name, error)
            return None

    def _checked(self, urls: Optional[List[Any]]) -> Optional[str]:
        if not urls:
            return None
        url = urls[0]
        if isinstance(url, str) and _LINK.fullmatch(url):
            return url
        self._once.warn(("url", repr(url)[:100]), "an answer is not a link: %.200r", url)
        return None


# What is the same if it is equal and of one type, and remembers nothing else.
_SIMPLE = frozenset([str, int, float, bool, type(None)])


def _key(name: str, values: Mapping[str, Any]) -> Any:
    """Returns what is the same for the same link, None if only its payload is."""
    types = tuple(map(type, values.values()))
    return (name, tuple(values.items()), types) if _SIMPLE.issuperset(types) else None


def plain(value: Any) -> Any:
    """Returns a value as JSON has it: what has no form there is its text, as it is in
    URLs of frameworks.
    """
    if type(value) in _SIMPLE:
        return value
    if isinstance(value, Mapping):
        return {name: plain(member) for name, member in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(member) for member in value]
    if isinstance(value, (int, float)) and not isinstance(value, enum.Enum):
        return value
    return str(value)
