# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""What the applications of one process are to Caddy together: one guest."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from contextvars import ContextVar
from typing import (
    TYPE_CHECKING, Any, Callable, Dict, Iterable, Iterator, List, Match, Optional, Set, Tuple,
    Union,
)
from urllib.parse import quote, unquote_to_bytes

from ._batch import Outcome, ask_in, asks_in, reply_to_batch, reply_to_one
from ._caddy import Ask, Breaker, answers_in, can_be_asked, line_of
from ._common import MANIFEST_TYPE, MAX_BODY, HighAndDry, InvalidToken, is_name, logger, within
from ._json import NoJSON, encode
from ._line import Line
from ._manifest import MAX_MANIFEST, MAX_SERVICES
from ._request import UNPROVEN, Handled, Received, Reply, current
from ._settings import PathLike, Settings
from ._token import Claims, below, check_body, check_request
from ._wsgi import (
    Application, BadBody, Environ, StartResponse, handle, read_body, received_from, send,
)

if TYPE_CHECKING:
    from ._party import PartylineOperator, WSGIParty

MAX_HREFS = 16  # of one service
MAX_PAYLOAD = 1 << 10  # bytes, of a question for links whose answers are kept
MAX_LINK = 1 << 10  # characters of these

_INVITE_ORIGIN = "http://localhost"

# The end of the path where the n-th handler of a service is asked.
_HREF = re.compile(rb"/partyline/([A-Za-z0-9._:-]{1,64})\.([0-9]{1,6})\Z")

# While handlers of the service url are called: the URLs that Caddy gave meanwhile.
_given: ContextVar[Optional[Set[str]]] = ContextVar("wsgi_party_given", default=None)


class URLPayload(Dict[Any, Any]):
    """The payload of the service ``url`` when it came from another process. A
    handler may read it as a pair, ``endpoint, values = payload``, and as a
    mapping with the keys ``name``, ``values``, ``kwargs`` and ``query``.
    """

    def __init__(self, name: str, kwargs: Dict[str, Any], query: Dict[str, Any]) -> None:
        super().__init__(
            name=name, values={**query, **kwargs}, kwargs=kwargs, query=query
        )

    @classmethod
    def wrap(cls, payload: Any) -> Any:
        """Returns the payload as a URLPayload if it is one, else as it is."""
        if isinstance(payload, list) and len(payload) == 2:
            members = {"name": payload[0], "values": payload[1]}
        elif isinstance(payload, dict):
            members = payload
        else:
            return payload
        name = members.get("name")
        query, kwargs, values = (
            members.get(key) or {} for key in ("query", "kwargs", "values")
        )
        if isinstance(name, str) and all(
            isinstance(each, dict) for each in (query, kwargs, values)
        ):
            return cls(name, {**kwargs, **values}, query)
        return payload

    def __iter__(self) -> Iterator[Any]:
        return iter((self["name"], self["values"]))

    def __len__(self) -> int:
        return 2

    def __missing__(self, key: Any) -> Any:
        if key in (0, 1):
            return tuple(self)[key]
        raise KeyError(key)



class ProcessGuest(Line):
    """What the applications of a party are to Caddy, if they have a key."""

    def __init__(
        self,
        party: WSGIParty,
        key: Union[str, bytes, None] = None,
        url: Optional[str] = None,
        name: Optional[str] = None,
        key_file: Optional[PathLike] = None,
    ) -> None:
        settings = Settings.read(key=key, key_file=key_file, url=url, guest=name)
        super().__init__(settings, functools.partial(Breaker, 2, 5.0, 5.0))
        self.party = party
        #: Whether it is the original, since there are no keys, nor will be.
        self.is_alone = not settings.keys

    def handle(
        self, application: Application, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answers a request of Caddy's own, or has the application answer it."""
        if not self.keys.get():
            return application(environ, start_response)
        received = received_from(environ)
        if received.party_ask:
            self.whereabouts.hear(received.party_ask)
        href = _HREF.search(received.path)
        if received.token and (href or received.is_invite):
            return send(self._serve(environ, received, href), start_response)
        if not received.token and received.is_invite:
            self.say_unsigned(received)
        handled = self.handled(received)
        if not handled:
            return application(environ, start_response)
        return handle(application, environ, start_response, handled, handled.end)

    def _serve(
        self, environ: Environ, received: Received, href: Optional[Match[bytes]]
    ) -> Reply:
        """Returns the reply to a request from Caddy: the invite, or an ask of the
        handler that href matched.
        """
        try:
            body = read_body(environ)
            claims = self.claims(received.token)
            check_request(claims, received.method, received.path, received.query)
            check_body(claims, body)
            if href:
                return self._answer(received, claims, href, body)
            invite_path = below(unquote_to_bytes(claims["mnt"]), received.path).rstrip(b"/")
            logger.debug("guest %s invited at %r", claims["aud"], received.path)
            return self._manifest(quote(invite_path), received.if_none_match)
        except InvalidToken as error:
            logger.warning("Party-Token refused at %r: %s", received.path, error)
            return UNPROVEN
        except BadBody as error:
            return Reply.error(error.args[0])

    def _manifest(self, invite_path: str, known: str) -> Reply:
        services: Dict[str, List[Dict[str, Any]]] = {}
        batch: Dict[str, Any] = {"batch": True} if self.party.batch else {}
        size = len('{"services": {}}')
        for service_name, handlers in self.party.handlers.copy().items():
            if not is_name(service_name):
                continue
            hrefs = [
                {"href": f"{invite_path}/partyline/{service_name}.{n}", **batch}
                for n in range(min(len(handlers), MAX_HREFS))
            ]
            size += len(json.dumps({service_name: hrefs}))
            # Caddy would refuse the whole.
            if len(services) == MAX_SERVICES or size > MAX_MANIFEST:
                self.once.warn(
                    "services",
                    "Caddy is not told of the service %s and those that were connected after it:"
                    " a manifest has at most %d services and %d bytes",
                    service_name, MAX_SERVICES, MAX_MANIFEST,
                )
                break
            if len(handlers) > MAX_HREFS:
                self.once.warn(
                    ("handlers", service_name),
                    "Caddy is told of only the first %d handlers of the service %s",
                    MAX_HREFS, service_name,
                )
            services[service_name] = hrefs
        body = json.dumps({"services": services}).encode()
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        if etag in known:
            return Reply(304, [("ETag", etag)])
        return Reply.content(200, MANIFEST_TYPE, body, ("ETag", etag))

    def _answer(
        self, received: Received, claims: Claims, href: Match[bytes], body: bytes
    ) -> Reply:
        service_name, number = href.group(1).decode(), int(href.group(2))
        if received.method != "POST":
            return Reply.error(405, ("Allow", "POST"))
        handlers = self.party.handlers.get(service_name, [])
        if number >= len(handlers):
            return Reply.error(404)  # Caddy then asks for the manifest again.
        batch = self.party.batch
        try:
            asks = asks_in(body) if batch else [ask_in(body, received.token)]
        except ValueError:
            return Reply.error(400)
        outcomes = []
        for ask in asks:
            handled = self.handled(received, claims)
            handled.token, handled.traceparent = ask.token, ask.traceparent
            try:
                with within(current, handled):
                    answer = _called(service_name, handlers[number], ask.payload)
                    outcomes.append(Outcome.of(service_name, answer))
            except Exception as error:
                outcomes.append(Outcome.failed(service_name, error))
            finally:
                handled.end()
        return reply_to_batch(outcomes) if batch else reply_to_one(outcomes)

    def ask_here(
        self, service_name: Any, payload: Any, operator: Optional[PartylineOperator],
        first: bool = False,
    ) -> Optional[List[Any]]:
        """Returns this process's answers, or None if it has no such service."""
        if service_name not in self.party.handlers:
            return None
        skipped = operator.handlers if operator is not None else ()
        handlers = [h for h in self.party.handlers[service_name] if h not in skipped]
        if not self.keys or service_name != "url":
            return _call(handlers, payload, first)
        # A handler may answer what it got by asking for another URL itself. From this
        # process that has no mount yet, which the outermost ask adds; from Caddy it has.
        outer = _given.get()
        given: Optional[Set[str]] = set() if outer is None else outer
        with within(_given, given):
            urls = _call(handlers, payload, first)
        handled = current.get()
        mount = handled.mount if outer is None and handled.guest is self else ""
        return [
            url if given and isinstance(url, str) and url in given else _mounted(url, mount)
            for url in urls
        ]

    def ask_elsewhere(
        self, questions: List[Tuple[Any, Any]], first: bool = False
    ) -> List[Optional[List[Any]]]:
        """Returns everybody else's answers to each question, None where they
        have no such service.
        """
        answers: List[Optional[List[Any]]] = [None] * len(questions)
        handled, caddy, keys = current.get(), self.caddy, self.keys.get()
        if caddy is None or not keys or handled.inviting:
            return answers
        places, asks = [], []
        given = _given.get()
        for i, (service_name, payload) in enumerate(questions):
            if not can_be_asked(service_name):
                continue
            try:
                ask = Ask(service_name, encode("payload", payload, MAX_BODY), first)
                known = self._known(handled, ask) if service_name == "url" else None
                if known is None:
                    asks.append(ask)
                    places.append(i)
                    continue
                answers[i] = list(known)
                if given is not None:
                    given.update(url for url in known if isinstance(url, str))
            except NoJSON as error:
                answers[i] = []
                self.once.warn(
                    ("payload", service_name),
                    "%s is asked for in this process only, not through Caddy, because %s: ask"
                    " with the few texts and numbers that matter, in lists and dicts",
                    service_name, error,
                )
        if not asks:
            return answers
        results = caddy.ask(asks, self.keys, handled.headers(self), self.party.ask_timeout)
        for i, ask, result in zip(places, asks, results):
            found = answers[i] = answers_in(result, ask.service)
            if found is not None and len(ask.payload) <= MAX_PAYLOAD and len(repr(found)) <= MAX_LINK:
                self.keep(handled, line_of(result), ask, tuple(found))
            if given is not None and ask.service == "url":
                given.update(url for url in found or () if isinstance(url, str))
        return answers

    def _known(self, handled: Handled, ask: Ask) -> Optional[Tuple[Any, ...]]:
        known: Optional[Tuple[Any, ...]] = self.known(handled, self.party.ask_timeout).get(ask)
        return known


def _called(service_name: str, handler: Callable[[Any], Any], payload: Any) -> Any:
    """Returns the answer of a handler to Caddy."""
    if service_name != "url":
        return handler(payload)
    nothing: Optional[Set[str]] = set()
    with within(_given, nothing):  # Caddy adds the mount.
        return _mounted(handler(URLPayload.wrap(payload)), "")


def _call(handlers: Iterable[Callable[[Any], Any]], payload: Any, first: bool) -> List[Any]:
    """Returns the answers of the handlers that do not decline."""
    answers = []
    for handler in handlers:
        try:
            answers.append(handler(payload))
        except HighAndDry:
            continue
        if first:
            break
    return answers


def _mounted(url: Any, mount: str) -> Any:
    """Returns the URL that an application of this process gave, which knows
    nothing of the mount and, from its invite, only localhost. One that begins
    with the whole mount already does.
    """
    if isinstance(url, str):
        if url.startswith(_INVITE_ORIGIN + "/"):
            url = url[len(_INVITE_ORIGIN):]
        if url.startswith("/") and not url.startswith("//"):
            if not (url + "/").startswith((mount + "/", mount + "?", mount + "#")):
                return mount + url
    return url
