# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""What an application is to the party, whatever its framework.

An adapter for a framework makes one :class:`Guest` for each application, with a function
that tells the application's pages (see :class:`Pages`), and for every request does this::

    if not guest.keys:                      # no party: the framework alone
        return await_or_call_the_application()
    guest.start()                           # says what it tells, the first time
    received = Received(…)                  # for WSGI: received_from(environ)
    call = guest.call(received)             # hears Party-Ask; None: not Caddy's own
    if call is not None:
        body = …                            # at most MAX_REQUEST; if it has more: answer 413
        return guest.answer(call, body)     # Reply(status, headers, body) to send
    handled = guest.handled(received)       # what asks need of this request
    set_mount(environ, handled.prefix)      # the framework's own root path, once
    with within(current, handled):          # also while the response is produced
        …
    guest.done(handled)                     # when the response is closed, or has failed

Where services may be coroutines, instead of ``answer``::

    asked = guest.asked(call, body)         # a Reply or an Asked
    if isinstance(asked, Asked):
        outcomes = []
        for question in asked.questions:
            handled = guest.handled_for(question)
            try:
                with within(current, handled):
                    outcomes.append(question.answered(await question.handler(question.payload)))
            except Exception as error:
                outcomes.append(question.failed(error))
            finally:
                guest.done(handled)
        reply = asked.reply(outcomes)

While a request is ``current``: ``guest.url(name, values, endpoint)``, ``guest.ask(…)``,
``guest.ask_first(…)``, ``guest.ask_many(…)``, which wait for Caddy, at most ``timeout``
seconds, and may be called in any thread that has the context.
"""

from __future__ import annotations

import logging
import re
import threading
from typing import Any, Callable, Iterable, List, Mapping, NamedTuple, Optional, Set, Tuple, Union
from urllib.parse import quote, unquote_to_bytes

from ._batch import Outcome, ask_in, asks_in, reply_to_batch, reply_to_one
from ._caddy import Ask, answers_in, can_be_asked, line_of
from ._common import MAX_BODY, HighAndDry, InvalidToken, logger, within
from ._json import NoJSON, encode
from ._line import Line
from ._links import Links
from ._manifest import Manifest, Pages
from ._request import UNPROVEN, Handled, Received, Reply, current
from ._services import Handler, Services
from ._settings import Settings
from ._token import Claims, below, check_body, check_request

_HREF = re.compile(rb"/partyline/([A-Za-z0-9._:-]{1,64})\Z")

NO_DEFAULT: Any = object()


class Call(NamedTuple):
    """A request of Caddy's own, as its token proves but for the body, or says and does not
    prove.
    """

    received: Received
    claims: Optional[Claims]  # None: it is refused
    service: str  # "" if it is the invite


class Question(NamedTuple):
    """A question of Caddy's, to be answered by a handler."""

    call: Call
    handler: Handler
    payload: Any
    token: str
    traceparent: str

    def answered(self, answer: Any) -> Outcome:
        return Outcome.of(self.call.service, answer)

    def failed(self, error: BaseException) -> Outcome:
        return Outcome.failed(self.call.service, error)


class Asked(NamedTuple):
    """All the questions of one request."""

    questions: List[Question]
    #: Makes the reply of what became of each, in their order.
    reply: Callable[[List[Outcome]], Reply]


def _call(handler: Handler, payload: Any) -> Any:
    return handler(payload)


class Guest(Line):
    """One application. May be used from any thread.

    :param settings: from :meth:`Settings.read`.
    :param pages: tells the application's pages; is called for every invite.
    :param services: what it answers for.
    :param application: its name, for the log.
    """

    #: Seconds that asking Caddy may take, from connecting to the last byte, before
    #: everybody else is given up. (Looking up a host's name is not bounded by it.)
    timeout = 5.0

    def __init__(
        self,
        settings: Settings,
        pages: Callable[[Pages], None],
        services: Services,
        application: str = "the application",
    ) -> None:
        super().__init__(settings)
        self.services = services
        self._pages = pages
        self._application = application
        self._links = Links(self, self._results)
        self._started = False
        self._lock = threading.Lock()

    # What Caddy asks

    def start(self) -> None:
        """Says what Caddy is told, the first time, which is to be when all is registered."""
        if not self._started:
            with self._lock:
                started, self._started = self._started, True
            if not started and self.keys:
                try:
                    self._manifest("/__invite__").say(self._application)
                except Exception:  # a route as no other: a visitor is to be served all the same
                    logger.exception("what %s tells the party cannot be found", self._application)

    def call(self, received: Received) -> Optional[Call]:
        """Returns what a request is, if it is Caddy's own. What it says of where to ask is
        taken note of.
        """
        if received.party_ask:
            self.whereabouts.hear(received.party_ask)
        is_invite = received.is_invite
        if not received.token:
            if is_invite:
                self.say_unsigned(received)
            return None
        href = _HREF.search(received.path) if received.method == "POST" else None
        if not is_invite and href is None:
            return None
        try:
            claims = self.claims(received.token)
            check_request(claims, received.method, received.path, received.query)
        except InvalidToken as error:
            self._say_refused(received, error)
            claims = None
        return Call(received, claims, href.group(1).decode() if href else "")

    def asked(self, call: Call, body: bytes) -> Union[Reply, Asked]:
        """Returns the reply to Caddy, or questions to be answered before there is one."""
        if call.claims is None:
            return UNPROVEN
        try:
            check_body(call.claims, body)
        except InvalidToken as error:
            self._say_refused(call.received, error)
            return UNPROVEN
        if not call.service:
            mount = unquote_to_bytes(call.claims["mnt"])
            invite_path = below(mount, call.received.path).rstrip(b"/")
            logger.debug("guest %s invited at %r", call.claims["aud"], call.received.path)
            root = quote(below(mount, call.received.root)) if call.received.root else ""
            manifest = self._manifest(quote(invite_path), root.rstrip("/"))
            return manifest.reply(call.received.if_none_match)
        handler = self.services.get(call.service)
        if handler is None:
            return Reply.error(404)  # Caddy then asks for the manifest again.
        alone = call.service in self.services.asked_alone
        try:
            asks = [ask_in(body, call.received.token)] if alone else asks_in(body)
        except ValueError:
            return Reply.error(400)
        questions = [Question(call, handler, *ask) for ask in asks]
        return Asked(questions, reply_to_one if alone else reply_to_batch)

    def answer(
        self, call: Call, body: bytes, run: Callable[[Handler, Any], Any] = _call
    ) -> Reply:
        """Returns the reply to Caddy.

        :param run: calls a handler with a payload, as the framework would have it.
        """
        asked = self.asked(call, body)
        if not isinstance(asked, Asked):
            return asked
        return asked.reply([self._outcome(question, run) for question in asked.questions])

    def _outcome(self, question: Question, run: Callable[[Handler, Any], Any]) -> Outcome:
        handled = self.handled_for(question)
        try:
            with within(current, handled):
                return question.answered(run(question.handler, question.payload))
        except Exception as error:
            return question.failed(error)
        finally:
            self.done(handled)

    def handled_for(self, question: Question) -> Handled:
        """Returns what is to be current while a question is answered."""
        handled = self.handled(question.call.received, question.call.claims)
        handled.token, handled.traceparent = question.token, question.traceparent
        outer = current.get()
        if outer.guest is self:
            handled.request = outer.request
        return handled

    def done(self, handled: Handled) -> None:
        """Ends what :meth:`Line.handled` began."""
        handled.end()
        self._links.remember(handled)

    # What it asks

    def url(self, name: str, values: Mapping[str, Any], endpoint: str = "") -> Optional[str]:
        """See :meth:`Links.url`."""
        return self._links.url(name, values, endpoint)

    def url_at_hand(self, name: str, values: Mapping[str, Any]) -> Optional[str]:
        """See :meth:`Links.url_at_hand`."""
        return self._links.url_at_hand(name, values)

    def knows_url(self, name: str, values: Mapping[str, Any]) -> bool:
        """See :meth:`Links.knows`."""
        return self._links.knows(name, values)

    def fetch_links(
        self, links: Iterable[Tuple[str, Mapping[str, Any]]], endpoint: str = ""
    ) -> None:
        """See :meth:`Links.fetch`."""
        self._links.fetch(links, endpoint)

    def ask(
        self, service: str, payload: Any = None, *, guest: Optional[str] = None
    ) -> List[Any]:
        """Returns everybody else's answers, none if nobody has one, or the party cannot
        be asked, which is logged.

        :param guest: the only one to ask.
        """
        return self.ask_many([(service, payload)], guest=guest)[0]

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
        answers, = self.ask_many([(service, payload)], first=True, guest=guest)
        if answers:
            return answers[0]
        if default is NO_DEFAULT:
            raise HighAndDry(f"nobody has an answer to {service!r}")
        return default

    def ask_many(
        self, questions: Iterable[Tuple[str, Any]], first: bool = False, *,
        guest: Optional[str] = None,
    ) -> List[List[Any]]:
        """Asks several questions, pairs of service and payload, with one request.

        :param first: whether the first answer to each is enough.
        :param guest: the only one to ask.
        :returns: a list of answers for each question.
        """
        if guest is not None and not can_be_asked(guest):
            raise ValueError(f"{guest!r} is not a guest's name")
        questions = list(questions)
        answers: List[List[Any]] = [[] for _ in questions]
        places, asks = [], []
        for i, (service, payload) in enumerate(questions):
            if not can_be_asked(service):
                raise ValueError(f"{service!r} is not a service name")
            try:
                asks.append(Ask(service, encode("payload", payload, MAX_BODY), first, guest))
                places.append(i)
            except NoJSON as error:
                self.once.warn(
                    ("payload", service),
                    "%s is not asked for, because %s: ask with the few texts and numbers that"
                    " matter, in lists and dicts", service, error,
                )
        for i, (found, _) in zip(places, self._results(asks)):
            answers[i] = found or []
        return answers

    def _results(self, asks: List[Ask]) -> List[Tuple[Optional[List[Any]], str]]:
        """Returns the answers to each ask, and the version of the line until which they are so."""
        caddy, keys = self.caddy, self.keys.get()
        if caddy is None and keys:
            self.once.warn(
                "address", "Caddy has not said where to ask, so nothing of other"
                " applications is known here: write ask_on in wsgi_party in the Caddyfile,"
                " or set WSGI_PARTY_URL",
            )
        if caddy is None or not keys or not asks:
            return [(None, "")] * len(asks)
        results = caddy.ask(asks, self.keys, current.get().headers(self), self.timeout)
        said: Set[str] = set()
        return [
            (answers_in(result, ask.service, said), line_of(result))
            for ask, result in zip(asks, results)
        ]

    def _manifest(self, invite_path: str, root: str = "") -> Manifest:
        pages = Pages(root)
        self._pages(pages)
        return Manifest.build(
            invite_path, pages, self.services.names(), self.services.asked_alone
        )

    def _say_refused(self, received: Received, error: InvalidToken) -> None:
        # A visitor past Caddy can send any number of them.
        level = logging.WARNING if self.once.first(("refused", str(error))) else logging.DEBUG
        path = received.path.decode("latin-1")
        logger.log(level, "Party-Token refused at %s: %s", ascii(path), error)
