# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""The original's classes: what one process's applications connect and ask through."""

from __future__ import annotations

import functools
import logging
from typing import Any, Callable, Dict, Hashable, Iterable, Iterator, List, Optional, Set, Tuple, Union

from ._common import HighAndDry, NoSuchServiceName, is_name, logger, within
from ._process import ProcessGuest
from ._request import Handled, current
from ._settings import PathLike
from ._wsgi import Application, Environ, StartResponse, invite_environ, run

Handler = Callable[[Any], Any]
Question = Tuple[Any, Any]  # service name and payload


class PartylineOperator:
    """What one application connects its handlers and asks through, so that it
    is not asked by itself. May be used from any thread.

    :param partyline: the :class:`WSGIParty`.
    """

    def __init__(self, partyline: WSGIParty) -> None:
        self.partyline = partyline
        #: The handlers that were connected through this operator.
        self.handlers: Set[Handler] = set()

    def connect(self, service_name: str, handler: Handler) -> Any:
        """Connects a handler: a callable, hashable, that takes the payload and
        returns the answer, or raises :exc:`HighAndDry`.
        """
        self.handlers.add(handler)
        return self.partyline.connect(service_name, handler)

    def ask_around(self, service_name: str, payload: Any) -> List[Any]:
        """As :meth:`WSGIParty.ask_around`, skipping the handlers that were
        connected through this operator.
        """
        return self.partyline.ask_around(service_name, payload, self)

    def ask_around_many(self, questions: Iterable[Question]) -> List[List[Any]]:
        """As :meth:`WSGIParty.ask_around_many`, skipping the handlers that
        were connected through this operator.
        """
        return self.partyline.ask_around_many(questions, operator=self)

    def ask_first(self, service_name: str, payload: Any) -> Any:
        """As :meth:`WSGIParty.ask_first`, skipping the handlers that were
        connected through this operator.
        """
        return self.partyline.ask_first(service_name, payload, operator=self)


def _after_caddy(call: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Returns a party's __call__ that gets what is the application's: invites and
    asks that come from Caddy are answered before it.
    """

    @functools.wraps(call)
    def __call__(
        self: WSGIParty, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        return self._guest.handle(functools.partial(call, self), environ, start_response)

    __call__.is_after_caddy = True  # type: ignore[attr-defined]
    return __call__


class WSGIParty:
    """WSGI middleware that invites applications to a partyline. May be used
    from any thread, by handlers too.

    A subclass may override any method, and need not call ``__init__`` if it
    sets ``handlers`` and ``ignore_missing_services`` itself. Its ``__call__``
    gets no invites and asks of Caddy.

    :param application: the WSGI application that dispatches to the others.
    :param invites: paths to request now, each with an operator.
    :param ignore_missing_services: whether to give no answers, rather than
        raise :exc:`NoSuchServiceName`, for a service nobody connected.
    :param key: what else ``WSGI_PARTY_KEY`` says.
    :param url: what else ``WSGI_PARTY_URL`` says.
    :param guest: what else ``WSGI_PARTY_GUEST`` says. An empty string is
        as good as a variable that is not set.
    :param key_file: what else ``WSGI_PARTY_KEY_FILE`` says; of a key and a file of
        keys the key counts.
    :raises ValueError: if these are unusable.
    """

    #: Key of the operator in the WSGI environ of an invite.
    partyline_key = "partyline"

    #: Class of the operators handed out; called with the party.
    operator_class = PartylineOperator

    #: Seconds that asking Caddy may take, from connecting to the last byte, before
    #: everybody else is given up. (Looking up a host's name is not bounded by it.)
    ask_timeout = 5.0

    #: Whether Caddy may ask for up to 64 answers of a handler with one request, in which
    #: they are made one after the other.
    batch = True

    _is_alone: bool  # as the guest; a plain attribute is found faster than a cached property

    def __init__(
        self,
        application: Application,
        invites: Iterable[str] = (),
        ignore_missing_services: bool = False,
        key: Union[str, bytes, None] = None,
        url: Optional[str] = None,
        guest: Optional[str] = None,
        key_file: Optional[PathLike] = None,
    ) -> None:
        self.application = application
        self.ignore_missing_services = ignore_missing_services
        #: Service name to list of handlers, as they were connected.
        self.handlers: Dict[Any, List[Handler]] = {}
        self._guest = ProcessGuest(self, key, url, guest, key_file)
        self._is_alone = self._guest.is_alone
        self.send_invitations(invites)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not getattr(cls.__call__, "is_after_caddy", False):
            setattr(cls, "__call__", _after_caddy(cls.__call__))  # which mypy lets nobody assign

    @functools.cached_property
    def _guest(self) -> ProcessGuest:
        # Of a subclass that does not call __init__.
        return ProcessGuest(self)

    @_after_caddy
    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return self.application(environ, start_response)

    def send_invitations(self, invites: Iterable[str]) -> None:
        """Requests each of these paths from the application, with a new
        operator in the environ. The response is ignored, exceptions are not.
        Of a whole URL only path and query count.

        Nothing leaves the process: what an application asks while it is
        invited is asked in this process only.
        """
        if isinstance(invites, (str, bytes)):
            raise TypeError(
                f"invites are the one string {invites!r}, not a list of paths:"
                f" write invites=[{invites!r}], or a comma after it, ({invites!r},)"
            )
        with within(current, Handled(inviting=True)):
            for path in invites:
                environ = invite_environ(path)
                environ[self.partyline_key] = self.operator_class(self)
                status = run(self.application, environ)
                refused = self._guest.keys and not status.startswith("2")
                level = logging.WARNING if refused else logging.DEBUG
                logger.log(level, "invite %s: %s", path, status)

    def connect(self, service_name: str, handler: Handler) -> Any:
        """Connects a handler that no operator skips.

        :param service_name: with a key, and to be known outside this process,
            a string of 1 to 64 letters, digits, and ``._:-``.
        :param handler: see :meth:`PartylineOperator.connect`.
        """
        if self._guest.keys and not is_name(service_name):
            logger.warning("service %r has a name that Caddy is not told", service_name)
        # Both calls are atomic, so that no lock is needed.
        self.handlers.setdefault(service_name, []).append(handler)

    def ask_around(
        self, service_name: str, payload: Any, operator: Optional[PartylineOperator] = None
    ) -> List[Any]:
        """Calls the handlers of a service, in the order they were connected,
        and returns the list of their answers. Where there is a ``url``
        the answers of everybody else behind that Caddy follow; what fails
        there is logged and left out.

        Handlers in this process get the payload as it is, the others get it
        as JSON. Paths that handlers in this process give for the service
        ``url`` get in front what Caddy has taken off the request being
        handled. That request is known in the thread that handles it.

        :param operator: skip the handlers that were connected through it.
        :raises NoSuchServiceName: if nobody ever connected this service.
        :raises Exception: what a handler in this process raised, other than
            :exc:`HighAndDry`. The answers are lost.
        """
        try:
            is_alone = self._is_alone
        except AttributeError:  # of a subclass that does not call __init__
            is_alone = self._is_alone = self._guest.is_alone
        if not is_alone:
            return self.ask_around_many([(service_name, payload)], operator)[0]
        # As the original, and as fast.
        try:
            handlers = [*self.handlers[service_name]]  # others may connect meanwhile
        except KeyError:
            return self._nobody(service_name)
        answers = []
        for handler in handlers:
            if operator is None or handler not in operator.handlers:
                try:
                    answers.append(handler(payload))
                except HighAndDry:
                    pass
        return answers

    def _nobody(self, service_name: str) -> List[Any]:
        if self.ignore_missing_services:
            return []
        raise NoSuchServiceName(f"nobody connected the service {service_name!r}")

    def ask_around_many(
        self, questions: Iterable[Question], operator: Optional[PartylineOperator] = None
    ) -> List[List[Any]]:
        """Asks several questions, with one request to Caddy.

        :param questions: iterable of pairs, service name and payload.
        :param operator: see :meth:`ask_around`, which raises the same.
        :returns: a list of answers for each question.
        """
        questions = list(questions)
        here = [self._guest.ask_here(name, payload, operator) for name, payload in questions]
        elsewhere = self._guest.ask_elsewhere(questions)
        answers = []
        for (service_name, _), ours, theirs in zip(questions, here, elsewhere):
            if ours is None and theirs is None:
                answers.append(self._nobody(service_name))
            else:
                answers.append((ours or []) + (theirs or []))
        return answers

    def ask_first(
        self, service_name: str, payload: Any, operator: Optional[PartylineOperator] = None
    ) -> Any:
        """Asks as :meth:`ask_around` does until somebody answers, and returns
        that one answer: those in this process first, then everybody else, whom
        Caddy asks until the first of them answers.

        :raises HighAndDry: if nobody has an answer. In a handler, that is to
            have none either.
        :raises NoSuchServiceName: as :meth:`ask_around`.
        :raises Exception: what a handler in this process raised.
        """
        ours = self._guest.ask_here(service_name, payload, operator, first=True)
        if ours:
            return ours[0]
        theirs, = self._guest.ask_elsewhere([(service_name, payload)], first=True)
        if theirs:
            return theirs[0]
        if ours is None and theirs is None:
            self._nobody(service_name)
        raise HighAndDry(f"nobody has an answer to {service_name!r}")


