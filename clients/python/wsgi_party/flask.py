# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""A Flask application as a guest of Caddy's party, in one line::

    app = Flask(__name__)
    party = Party(app)

With ``WSGI_PARTY_KEY`` or ``WSGI_PARTY_KEY_FILE`` in the environment, the others are told
of every page that has an endpoint, ``url_for('shop:cart')`` makes links to theirs, in
Python and in templates, and ``url_for`` puts the mount before its own. Without, all is as
if this was not there.

Answering, and asking::

    @party.service("user")
    def user(payload):
        return {"name": "Ann"}

    party.ask("user", {"id": 7})            # everybody's answers
    party.ask_first("user", {"id": 7})      # the first one, or HighAndDry
"""

from __future__ import annotations

import functools
import io
import json
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Tuple, Union, cast
from urllib.parse import quote

from flask import Flask, current_app, has_app_context, has_request_context, request
from werkzeug.routing import BuildError, PathConverter, Rule
from werkzeug.routing.converters import DEFAULT_CONVERTERS

from ._common import HighAndDry
from ._guest import NO_DEFAULT, Guest
from ._manifest import Pages
from ._services import H, Handler, Services
from ._settings import PathLike, Settings
from ._template import Template, Unsayable
from ._wsgi import (
    Application, BadBody, Environ, StartResponse, handle, read_body, received_from, send,
    send_error, set_mount,
)

__all__ = ["HighAndDry", "Party"]

_EXTENSION = "wsgi_party"


class Party:
    """What a Flask application says to the party, and asks it.

    :param app: the application; else ``party.init_app(app)`` later, for one or several.
    :param missing_link: what ``url_for`` gives where nobody can make a link, such as
        ``""``; by default it raises Flask's own BuildError.
    :param key: what else ``WSGI_PARTY_KEY`` says: the secret of this guest, as in Caddy's
        ``wsgi_party_guest { key … }``.
    :param key_file: what else ``WSGI_PARTY_KEY_FILE`` says: a file with the same.
    :param url: what else ``WSGI_PARTY_URL`` says: where Caddy is asked. Without it Caddy
        says so, with ``ask_on`` in the Caddyfile.
    :param guest: what else ``WSGI_PARTY_GUEST`` says: the guest name that tokens have to
        be for.
    :raises ValueError: if these are unusable.
    """

    def __init__(
        self,
        app: Optional[Flask] = None,
        *,
        missing_link: Optional[str] = None,
        key: Union[str, bytes, None] = None,
        key_file: Optional[PathLike] = None,
        url: Optional[str] = None,
        guest: Optional[str] = None,
    ) -> None:
        self._missing_link = missing_link
        self._settings = {"key": key, "key_file": key_file, "url": url, "guest": guest}
        self._services = Services()
        self._pages: Dict[str, Optional[str]] = {}
        self._guest: Optional[Guest] = None  # of the last application
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Has an application take part."""
        if _EXTENSION in app.extensions:
            raise RuntimeError(f"{app.name} already has a Party")
        settings = Settings.read(**self._settings)  # type: ignore[arg-type]
        guest = Guest(settings, lambda pages: self._tell(app, pages), self._services, app.name)
        app.extensions[_EXTENSION] = self._guest = guest
        # Flask takes None for no link, though it does not say so.
        app.url_build_error_handlers.append(cast(Any, functools.partial(self._link, guest)))
        if guest.keys and hasattr(app, "url_for"):  # which Flask has since 2.2
            setattr(app, "url_for", _with_links_at_hand(app, guest, app.url_for))
        setattr(app, "wsgi_app", _Middleware(app, guest))

    # What Caddy is told

    def service(self, name: str, batch: bool = True) -> Callable[[H], H]:
        """Decorates a function that answers for a service: it takes the payload and returns
        the answer, both values of JSON, or raises :exc:`HighAndDry` if it has none. It is
        called in the context of the request that asks, and may be a coroutine function
        where views may be.

        :param batch: whether Caddy may ask for up to 64 answers with one request, in which
            they are made one after the other: where each takes long, say False.
        """
        return self._services.service(name, batch)

    def page(self, name: str, template: Optional[str]) -> None:
        """Tells a page by its URL template (RFC 6570), relative to the application's root,
        ``party.page("search", "/search{?q,page}")``, or, with None, keeps it back. That
        counts before what the routes say under this name.
        """
        if template is not None and not template.startswith(("/", "{/")):
            raise ValueError(f"the template {template!r} does not begin with a slash")
        self._pages[name] = template

    def _tell(self, app: Flask, pages: Pages) -> None:
        for name, template in self._pages.items():
            if template is not None:
                pages.add(name, pages.root + template)
        routes: Dict[str, List[Rule]] = {}
        for rule in app.url_map.iter_rules():
            if not rule.alias and rule.endpoint not in self._pages:
                routes.setdefault(rule.endpoint, []).append(rule)
        for endpoint, rules in routes.items():
            # Of several the one with all that any of them has: another would lead
            # elsewhere than to what it is given.
            told = max(rules, key=lambda rule: (_why_not(rule) == "", len(_variables(rule))))
            if pages.route(endpoint, functools.partial(_build, told)):
                for rule in rules:
                    if _variables(rule) != _variables(told) and not _why_not(rule):
                        pages.leave_out(
                            f"{endpoint} as {rule.rule}",
                            f"Caddy is told {told.rule}, and one name has one template: give"
                            " this route an endpoint of its own",
                        )

    # What it asks

    def ask(
        self, service: str, payload: Any = None, *, guest: Optional[str] = None
    ) -> List[Any]:
        """Returns everybody else's answers, none if nobody has one, or if Caddy cannot be
        asked, which is logged.

        :param guest: the only one to ask.
        """
        return self._asking().ask(service, payload, guest=guest)

    def ask_first(
        self, service: str, payload: Any = None, default: Any = NO_DEFAULT, *,
        guest: Optional[str] = None,
    ) -> Any:
        """Returns the first answer of everybody else's.

        :param default: what to return if nobody has one.
        :param guest: the only one to ask.
        :raises HighAndDry: if nobody has one and there is no default. In a handler, that
            is to have none either.
        """
        return self._asking().ask_first(service, payload, default, guest=guest)

    def ask_many(
        self, questions: Iterable[Tuple[str, Any]], first: bool = False
    ) -> List[List[Any]]:
        """Asks several questions, pairs of service and payload, with one request.

        :param first: whether the first answer to each is enough.
        :returns: a list of answers for each question.
        """
        return self._asking().ask_many(questions, first)

    def fetch_links(self, links: Iterable[Tuple[str, Mapping[str, Any]]]) -> None:
        """Asks with one request for links, pairs of endpoint and values, which ``url_for``
        is going to be called for while this request is handled. Needed by nobody: without
        it each that this page did not have the last time is a request.
        """
        self._asking().fetch_links(links, _endpoint())

    def _asking(self) -> Guest:
        guest: Optional[Guest] = self._guest
        if has_app_context():
            guest = current_app.extensions.get(_EXTENSION, guest)
        if guest is None:
            raise RuntimeError("this Party has no application yet: call init_app")
        return guest

    def _link(
        self, guest: Guest, error: Exception, endpoint: str, values: Dict[str, Any]
    ) -> Optional[str]:
        """Is called by Flask's url_for where it can build no URL. None has it raise the
        error.
        """
        assert isinstance(error, BuildError)
        if _is_own(error, endpoint):
            return None  # with other values
        asked = {
            name: value for name, value in values.items()
            if value is not None and name not in _OPTIONS
        }
        url = guest.url(endpoint, asked, _endpoint())
        if url is None:
            return self._missing_link if guest.keys else None
        return _finished(url, error, values)


def _with_links_at_hand(app: Flask, guest: Guest, url_for: Callable[..., str]) -> Callable[..., str]:
    """Returns the application's url_for, which looks for others' links that are known before
    Flask finds out at length that it has no such page.
    """
    pages, at_hand = app.view_functions, guest.url_at_hand

    @functools.wraps(url_for)
    def with_links(
        endpoint: str, /, *, _anchor: Any = None, _method: Any = None, _scheme: Any = None,
        _external: Any = None, **values: Any,
    ) -> str:
        if (
            endpoint not in pages and _anchor is _external is _scheme is None
            and not app.url_default_functions and has_request_context()
        ):
            url = at_hand(endpoint, values)
            if url is not None:
                return url
        return url_for(
            endpoint, _anchor=_anchor, _method=_method, _scheme=_scheme, _external=_external,
            **values,
        )

    return with_links


class _Middleware:
    """Stands before the application, and all that stands before it already."""

    def __init__(self, app: Flask, guest: Guest) -> None:
        self.app = app
        self.guest = guest
        self.application: Application = app.wsgi_app

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        guest = self.guest
        if not guest.keys:
            return self.application(environ, start_response)
        guest.start()
        received = received_from(environ)
        call = guest.call(received)
        set_mount(environ, received.mount)
        if call is not None:
            try:
                body = read_body(environ)
            except BadBody as error:
                return send_error(error, start_response)

            def run(handler: Handler, payload: Any) -> Any:
                alone = json.dumps(payload).encode()  # what Flask's request has for a body
                asked = {"wsgi.input": io.BytesIO(alone), "CONTENT_LENGTH": str(len(alone))}
                context = self.app.request_context({**environ, **asked})
                # No route has this path. Flask would keep its NotFound in a cycle of references.
                setattr(context, "match_request", _match_nothing)
                with context:
                    return self.app.ensure_sync(handler)(payload)

            return send(guest.answer(call, body, run), start_response)
        handled = guest.handled(received)
        return handle(
            self.application, environ, start_response, handled, lambda: guest.done(handled)
        )


def _match_nothing() -> None:
    pass


# Converters of these write a value as a template does.
_KNOWN = {kind.to_url for kind in DEFAULT_CONVERTERS.values()}

_OPTIONS = frozenset(["_anchor", "_external", "_method", "_scheme"])


def _endpoint() -> str:
    """Returns what has the links of a page remembered: those of errors' pages together."""
    return request.endpoint or "*" if has_request_context() else ""


def _is_own(error: BuildError, endpoint: str) -> bool:
    if error.adapter is None:
        return False
    try:
        error.adapter.map.is_endpoint_expecting(endpoint)
    except KeyError:
        return False
    return True


def _finished(url: str, error: BuildError, values: Mapping[str, Any]) -> str:
    """Returns the URL with what Flask's own options ask for."""
    if values.get("_external") and url.startswith("/") and error.adapter is not None:
        scheme = values.get("_scheme") or error.adapter.url_scheme
        url = f"{scheme}://{error.adapter.get_host(None)}{url}"
    anchor = values.get("_anchor")
    if anchor is not None:
        url = f"{url.partition('#')[0]}#{quote(str(anchor), safe='%!#$&()*+,/:;=?@')}"
    return url


def _variables(rule: Rule) -> List[str]:
    return sorted(name for is_variable, name in _path(rule) if is_variable)


def _path(rule: Rule) -> List[Tuple[bool, str]]:
    """Returns the rule's path: texts and, with True, variables."""
    return rule._trace[rule._trace.index((False, "|")) + 1:]


def _why_not(rule: Rule) -> str:
    """Returns why a rule is nothing for others, whatever its path; else ""."""
    if rule.websocket:
        return "it is a WebSocket"
    if rule.host or (rule.subdomain or "") != rule.map.default_subdomain:
        return "it has a host of its own"
    return ""


def _build(rule: Rule, template: Template) -> None:
    why_not = _why_not(rule)
    if why_not:
        raise Unsayable(why_not)
    for is_variable, text in _path(rule):
        if not is_variable:
            template.literal(text)
            continue
        converter = rule._converters[text]
        if type(converter).to_url not in _KNOWN:
            kind = type(converter).__name__
            raise Unsayable(f"{kind} writes {text} in its own way (to_url)")
        if getattr(converter, "fixed_digits", 0):
            raise Unsayable(f"its variable {text!r} is filled up with zeros")
        isolating = getattr(converter, "part_isolating", not isinstance(converter, PathConverter))
        template.variable(text, slashes=not isolating)
