# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""The one guest that a Django project is, and what its code calls."""

from __future__ import annotations

import functools
from typing import (
    Any, Callable, Dict, FrozenSet, Iterable, List, Mapping, Optional, Sequence, Tuple, TypeVar,
)

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, get_resolver, get_urlconf, reverse
from django.utils.asyncio import async_unsafe

from .._guest import NO_DEFAULT, Guest
from .._manifest import Pages
from .._request import current
from .._services import Services
from .._settings import Settings
from . import _pages

try:
    from asgiref.sync import iscoroutinefunction as iscoroutinefunction
except ImportError:  # of an old Python
    from asyncio import iscoroutinefunction as iscoroutinefunction

F = TypeVar("F", bound=Callable[..., Any])

_services = Services()
service = _services.service

_told: Dict[str, Optional[str]] = {}


@functools.lru_cache(maxsize=None)
def guest() -> Guest:
    def setting(name: str) -> Any:
        return getattr(settings, "WSGI_PARTY_" + name, None)

    try:
        told = Settings.read(setting("KEY"), setting("KEY_FILE"), setting("URL"), setting("GUEST"))
    except ValueError as error:
        raise ImproperlyConfigured(str(error)) from None
    return Guest(told, _tell, _services, f"the Django project of {settings.ROOT_URLCONF}")


_guest = guest  # where an argument is called so


def _tell(pages: Pages) -> None:
    for name, template in _told.items():
        if template is not None:
            pages.add(name, pages.root + template)
    _pages.add(pages, get_resolver())
    for name, template in _told.items():
        if template is None:
            pages.templates.pop(name, None)


@functools.lru_cache(maxsize=64)
def _own(urlconf: Any) -> FrozenSet[str]:
    """Returns the names that Django itself knows."""
    pages = Pages()
    _pages.add(pages, get_resolver(urlconf))
    return frozenset(pages.templates).union(name for name, _ in pages.left_out)


def page(name: str, template: Optional[str]) -> None:
    """Tells a page by its URL template (RFC 6570), relative to the project's root,
    ``page("search", "/search/{?q,page}")``, or, with None, keeps it back. That counts
    before what the patterns say under this name.
    """
    if template is not None and not template.startswith(("/", "{/")):
        raise ValueError(f"the template {template!r} does not begin with a slash")
    _told[name] = template


def _waits(function: F, name: str = "") -> F:
    """Refuses to be called in a coroutine, as what waits for a database is."""
    name = name or function.__name__
    checked: F = async_unsafe(
        f"{name} waits for other applications: in an async view write 'await a{name}(…)',"
        " or, for what is rendered with such links, 'await sync_to_async(render)(…)'."
    )(function)
    return checked


def party_url(name: str, /, *args: Any, **kwargs: Any) -> str:
    """Returns the URL of a page: what ``reverse`` does, if it is this project's, else
    what another application says.

    :raises NoReverseMatch: if nobody can make one, unless the setting
        ``WSGI_PARTY_NO_LINK`` says what to return then.
    """
    return url(name, args, kwargs)


def url(
    name: Any, args: Sequence[Any], kwargs: Dict[str, Any], current_app: Optional[str] = None
) -> str:
    try:
        return str(reverse(name, args=args, kwargs=kwargs, current_app=current_app))
    except NoReverseMatch:
        if args or not isinstance(name, str) or name in _own(get_urlconf()):
            raise
        link = (_link if guest().knows_url(name, kwargs) else _link_asked_for)(name, kwargs)
        if link is None:
            link = getattr(settings, "WSGI_PARTY_MISSING_LINK", None)
        if link is None:
            raise
        return str(link)


def _link(name: str, values: Dict[str, Any]) -> Optional[str]:
    return guest().url(name, values, _endpoint())


def _endpoint() -> str:
    """Returns what has the links of a page remembered: those of errors' pages together."""
    match = getattr(current.get().request, "resolver_match", None)
    return f"{match.view_name} {match.route}" if match else "*"


@_waits
def fetch_links(links: Iterable[Tuple[str, Mapping[str, Any]]]) -> None:
    """Asks with one request for links, pairs of name and values, which this page is going
    to have. Without it each that the page did not have the last time is a request.
    """
    guest().fetch_links(links, _endpoint())


@_waits
def ask(service: str, payload: Any = None, *, guest: Optional[str] = None) -> List[Any]:
    """Returns the answers of all other applications.

    :param guest: the only one to ask.
    """
    return _guest().ask(service, payload, guest=guest)


@_waits
def ask_first(
    service: str, payload: Any = None, default: Any = NO_DEFAULT, *, guest: Optional[str] = None
) -> Any:
    """Returns the first answer of another application.

    :param default: what to return if nobody has one.
    :param guest: the only one to ask.
    :raises HighAndDry: if nobody has one and there is no default.
    """
    return _guest().ask_first(service, payload, default, guest=guest)


@_waits
def ask_many(
    questions: Iterable[Tuple[str, Any]], first: bool = False
) -> List[List[Any]]:
    """Asks several questions, pairs of service and payload, with one request.

    :param first: whether the first answer to each is enough.
    :returns: a list of answers for each question.
    """
    return guest().ask_many(questions, first)


aparty_url = sync_to_async(party_url, thread_sensitive=False)
aask = sync_to_async(ask, thread_sensitive=False)
aask_first = sync_to_async(ask_first, thread_sensitive=False)
aask_many = sync_to_async(ask_many, thread_sensitive=False)
afetch_links = sync_to_async(fetch_links, thread_sensitive=False)

_link_asked_for = _waits(_link, "party_url")
