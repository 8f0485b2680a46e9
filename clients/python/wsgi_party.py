# Copyright 2026 The wsgi_party Authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""Partyline middleware: lets the WSGI applications of one process, and all
applications behind one Caddy, answer each other's questions.

Wrap the WSGI application that dispatches to the others, and name a path of
each application that is to take part::

    application = WSGIParty(dispatcher, invites=("/__invite__/", "/blog/__invite__/"))

Each path is requested once, inside the process, with an *operator* in the
WSGI environ. The application connects handlers and keeps the operator, to ask
around later::

    operator = environ.get("partyline")
    operator.connect("ping", lambda payload: "pong")
    ...
    operator.ask_around("ping", None)

A handler is called with the payload and returns its answer; if it has none it
raises :exc:`HighAndDry`. An application that answers no plain request to
localhost, and so cannot be invited, is given a ``PartylineOperator(application)``.

That is all, unless the process runs behind Caddy's module ``wsgi_party`` and
the :class:`WSGIParty` is told so, by its arguments or by the environment when it
is made:

``key``, else ``WSGI_PARTY_KEY``
    The secret of this guest, as in Caddy's ``wsgi_party_guest { key … }``: 32
    bytes or more, without whitespace. Of several keys separated by whitespace
    the first one is used to ask, and all are accepted. With it the
    applications' handlers answer whoever asks through Caddy.
``url``, else ``WSGI_PARTY_URL``
    Where Caddy's ``wsgi_party_ask`` listens: ``http://host:port/path``, https
    likewise, or ``unix//run/party.sock``. With it, ask_around also asks
    everybody else behind that Caddy. It needs the key.
``guest``, else ``WSGI_PARTY_GUEST``
    The guest name that Party-Tokens have to be for. Without it any name will
    do: what counts is the key.

By the arguments one process can be several guests, each with a key of its own.
They are also what mod_wsgi needs, whose ``SetEnv`` does not set the environment
of the process: read the key from a file.

What leaves the process is JSON. A payload that JSON cannot carry, such as a WSGI
environ, is asked about in this process only, and the log says so once: ask with
the few texts and numbers that matter, ``{"path": environ["PATH_INFO"]}``.

The module is quiet about what goes well, and logs the rest under its own name.

An ask may come back to where it began while the request that led to it still
waits. So run two worker processes or threads at least.
"""

import base64
import contextlib
import contextvars
import functools
import hashlib
import hmac
import http.client
import io
import json
import logging
import os
import re
import socket
import sys
import threading
import time
from urllib.parse import quote, unquote_to_bytes, urlsplit

__all__ = [
    "HighAndDry",
    "InvalidToken",
    "NoSuchServiceName",
    "PartylineException",
    "PartylineOperator",
    "URLPayload",
    "WSGIParty",
    "verify_token",
]

logger = logging.getLogger(__name__)

MANIFEST_TYPE = "application/vnd.wsgi-party+json"
MAX_BODY = 1 << 20  # bytes
MAX_BATCH = 256  # questions that Caddy takes in one request
MAX_DEPTH = 64  # lists and dicts in each other
MAX_MANIFEST = 1 << 16  # bytes
MAX_SERVICES = 256
MAX_HREFS = 16  # of one service
MIN_KEY = 32  # bytes
MAX_TOKEN_AGE = 60  # seconds
LEEWAY = 30  # seconds that Caddy's clock may differ from this one's

_INVITE_ORIGIN = "http://localhost"

# What Caddy takes for the name of a service in a manifest.
_SERVICE = re.compile(r"[A-Za-z0-9._:-]{1,64}")
# The end of the path where the n-th handler of a service is asked.
_HREF = re.compile(r"/partyline/([A-Za-z0-9._:-]{1,64})\.([0-9]{1,6})\Z")
_MOUNT = re.compile(r"(?:/[^/\\?#\x00-\x20\x7f]+)*")


class PartylineException(Exception):
    """Base of this module's exceptions."""


class HighAndDry(PartylineException):
    """Raised by a handler that has no answer."""


class NoSuchServiceName(PartylineException):
    """Nobody ever connected a handler under the service that was asked for."""


class InvalidToken(PartylineException):
    """A Party-Token that does not prove that Caddy sent this request."""


class PartylineOperator:
    """What one application connects its handlers and asks through, so that it
    is not asked by itself. May be used from any thread.

    :param partyline: the :class:`WSGIParty`.
    """

    def __init__(self, partyline):
        self.partyline = partyline
        #: The handlers that were connected through this operator.
        self.handlers = set()

    def connect(self, service_name, handler):
        """Connects a handler: a callable, hashable, that takes the payload and
        returns the answer, or raises :exc:`HighAndDry`.
        """
        self.handlers.add(handler)
        return self.partyline.connect(service_name, handler)

    def ask_around(self, service_name, payload):
        """As :meth:`WSGIParty.ask_around`, skipping the handlers that were
        connected through this operator.
        """
        return self.partyline.ask_around(service_name, payload, operator=self)

    def ask_around_many(self, questions):
        """As :meth:`WSGIParty.ask_around_many`, skipping the handlers that
        were connected through this operator.
        """
        return self.partyline.ask_around_many(questions, operator=self)

    def ask_first(self, service_name, payload):
        """As :meth:`WSGIParty.ask_first`, skipping the handlers that were
        connected through this operator.
        """
        return self.partyline.ask_first(service_name, payload, operator=self)


class URLPayload(dict):
    """The payload of the service ``url`` when it came from another process. A
    handler may read it as a pair, ``endpoint, values = payload``, and as a
    mapping with the keys ``name``, ``values``, ``kwargs`` and ``query``.
    """

    def __init__(self, name, kwargs, query):
        super().__init__(
            name=name, values={**query, **kwargs}, kwargs=kwargs, query=query
        )

    @classmethod
    def wrap(cls, payload):
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

    def __iter__(self):
        return iter((self["name"], self["values"]))

    def __len__(self):
        return 2

    def __missing__(self, key):
        if key in (0, 1):
            return tuple(self)[key]
        raise KeyError(key)


def _after_caddy(call):
    """Returns a party's __call__ that gets what is the application's: invites and
    asks that come from Caddy are answered before it.
    """

    @functools.wraps(call)
    def __call__(self, environ, start_response):
        return self._guest.handle(functools.partial(call, self), environ, start_response)

    __call__.is_after_caddy = True
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
    :raises ValueError: if these are unusable.
    """

    #: Key of the operator in the WSGI environ of an invite.
    partyline_key = "partyline"

    #: Class of the operators handed out; called with the party.
    operator_class = PartylineOperator

    #: Seconds that asking Caddy may take, from connecting to the last byte, before
    #: everybody else is given up. (Looking up a host's name is not bounded by it.)
    ask_timeout = 5.0

    def __init__(
        self, application, invites=(), ignore_missing_services=False,
        key=None, url=None, guest=None,
    ):
        self.application = application
        self.ignore_missing_services = ignore_missing_services
        #: Service name to list of handlers, as they were connected.
        self.handlers = {}
        self._guest = _Guest(self, key, url, guest)
        self.send_invitations(invites)

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if not getattr(cls.__call__, "is_after_caddy", False):
            cls.__call__ = _after_caddy(cls.__call__)

    @functools.cached_property
    def _guest(self):
        # Of a subclass that does not call __init__.
        return _Guest(self)

    @_after_caddy
    def __call__(self, environ, start_response):
        return self.application(environ, start_response)

    def send_invitations(self, invites):
        """Requests each of these paths from the application, with a new
        operator in the environ. The response is ignored, exceptions are not.
        Of a whole URL only path and query count.

        Nothing leaves the process: what an application asks while it is
        invited is asked in this process only.
        """
        if isinstance(invites, (str, bytes)):
            raise TypeError(
                f"invites are the one string {invites!r}, and not a list of paths:"
                f" write invites=[{invites!r}], or a comma after it, ({invites!r},)"
            )
        with _within(_request, _Request(inviting=True)):
            for path in invites:
                environ = _environ(path)
                environ[self.partyline_key] = self.operator_class(self)
                status = _run(self.application, environ)
                refused = self._guest.keys and not status.startswith("2")
                level = logging.WARNING if refused else logging.DEBUG
                logger.log(level, "invite %s: %s", path, status)

    def connect(self, service_name, handler):
        """Connects a handler that no operator skips.

        :param service_name: with a key, and to be known outside this process,
            a string of 1 to 64 letters, digits, and ``._:-``.
        :param handler: see :meth:`PartylineOperator.connect`.
        """
        if self._guest.keys and not _is_service(service_name):
            logger.warning("service %r has a name that is not told to Caddy", service_name)
        # Both calls are atomic, so that no lock is needed.
        self.handlers.setdefault(service_name, []).append(handler)

    def ask_around(self, service_name, payload, operator=None):
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
        return self.ask_around_many([(service_name, payload)], operator)[0]

    def ask_around_many(self, questions, operator=None):
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
            if ours is None and theirs is None and not self.ignore_missing_services:
                raise NoSuchServiceName(f"nobody connected the service {service_name!r}")
            answers.append((ours or []) + (theirs or []))
        return answers

    def ask_first(self, service_name, payload, operator=None):
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
        if ours is None and theirs is None and not self.ignore_missing_services:
            raise NoSuchServiceName(f"nobody connected the service {service_name!r}")
        raise HighAndDry(f"nobody has an answer to {service_name!r}")


class _Guest:
    """What the applications of a party are to Caddy: one guest, if they have a key."""

    def __init__(self, party, key=None, url=None, name=None):
        def setting(value, variable):
            return os.environ.get(variable, "") if value is None else value

        self.party = party
        self.keys = _parse_keys(setting(key, "WSGI_PARTY_KEY"))
        self.name = setting(name, "WSGI_PARTY_GUEST")
        self.caddy = None
        self.warned = set()
        url = setting(url, "WSGI_PARTY_URL")
        if url:
            if not self.keys:
                raise ValueError(
                    "there is a url to ask at (WSGI_PARTY_URL), but no key (WSGI_PARTY_KEY)"
                )
            self.caddy = _Caddy(url, self.keys[0])

    def warn_once(self, subject, message, *arguments):
        """Logs a warning, if there was none about this subject."""
        if subject not in self.warned and len(self.warned) < 1000:
            self.warned.add(subject)
            logger.warning(message, *arguments)

    def handle(self, application, environ, start_response):
        """Answers a request of Caddy's own, or has the application answer it."""
        if not self.keys:
            return application(environ, start_response)
        token = environ.get("HTTP_PARTY_TOKEN", "")
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        href = _HREF.search(path)
        if token and (href or _is_invite(environ)):
            status, headers, body = self._serve(environ, token, path, href)
            start_response(f"{status} {http.client.responses[status]}", headers)
            return [body]
        if not token and _is_invite(environ):
            self.warn_once(
                "unsigned",
                "the invite of Caddy's to %s has no Party-Token and is left to the application:"
                " there is a key here (WSGI_PARTY_KEY), and none in the Caddyfile. Write it into"
                " wsgi_party_guest there, as in: key {env.%s_PARTY_KEY}",
                path, re.sub(r"\W", "_", self.name, flags=re.ASCII).upper() or "MY",
            )
        request = _Request(self, environ, self._claims(token))
        if not request:
            return application(environ, start_response)
        try:
            with _within(_request, request):
                response = application(environ, start_response)
        except BaseException:
            request.end()
            raise
        file_wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(response, (list, tuple)) or (
            isinstance(file_wrapper, type) and isinstance(response, file_wrapper)
        ):
            request.end()
            return response
        return _Response(response, request)

    def _claims(self, token):
        """Returns the claims of a token that came with a request which is the
        application's to verify, if it is to be handed back; else None.
        """
        try:
            return _signed_claims(token, self.keys, self.name, time.time()) if token else None
        except InvalidToken:
            return None

    def _serve(self, environ, token, path, href):
        """Returns status, headers and body for a request from Caddy: the
        invite, or an ask of the handler that href matched.
        """
        try:
            body = _read_body(environ)
            raw_path = path.encode("latin-1")
            claims = verify_token(
                token,
                self.keys,
                method=environ["REQUEST_METHOD"],
                path=raw_path,
                query=environ.get("QUERY_STRING", ""),
                body=body,
                guest=self.name,
            )
            if href:
                request = _Request(self, environ, claims)
                try:
                    with _within(_request, request):
                        return self._answer(environ, href, body)
                finally:
                    request.end()
            invite_path = _below(unquote_to_bytes(claims["mnt"]), raw_path).rstrip(b"/")
            logger.debug("guest %s invited at %r", claims["aud"], path)
            return self._manifest(quote(invite_path), environ.get("HTTP_IF_NONE_MATCH", ""))
        except InvalidToken as error:
            # Not 404: Caddy would take that for "no guest here", and say
            # nothing about keys that differ.
            logger.warning("Party-Token refused at %r: %s", path, error)
            return _error(401, ("WWW-Authenticate", "Party-Token"))
        except _BadBody as error:
            return _error(error.args[0])

    def _manifest(self, invite_path, known):
        services, size = {}, len('{"services": {}}')
        for service_name, handlers in self.party.handlers.copy().items():
            if not _is_service(service_name):
                continue
            hrefs = [
                {"href": f"{invite_path}/partyline/{service_name}.{n}"}
                for n in range(min(len(handlers), MAX_HREFS))
            ]
            size += len(json.dumps({service_name: hrefs}))
            # Caddy would refuse the whole.
            if len(services) == MAX_SERVICES or size > MAX_MANIFEST:
                self.warn_once(
                    "services",
                    "Caddy is not told of the service %s and those that were connected after it:"
                    " a manifest has at most %d services and %d bytes",
                    service_name, MAX_SERVICES, MAX_MANIFEST,
                )
                break
            if len(handlers) > MAX_HREFS:
                self.warn_once(
                    ("handlers", service_name),
                    "Caddy is told of the first %d handlers of the service %s, and not of more",
                    MAX_HREFS, service_name,
                )
            services[service_name] = hrefs
        body = json.dumps({"services": services}).encode()
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        if etag in known:
            return 304, [("ETag", etag)], b""
        return _content(200, MANIFEST_TYPE, body, ("ETag", etag))

    def _answer(self, environ, href, body):
        service_name, number = href.group(1), int(href.group(2))
        if environ["REQUEST_METHOD"] != "POST":
            return _error(405, ("Allow", "POST"))
        handlers = self.party.handlers.get(service_name, ())
        if number >= len(handlers):
            return _error(404)  # Caddy then asks for the manifest again.
        try:
            payload = json.loads(body)
        except (ValueError, RecursionError):
            return _error(400)
        try:
            if service_name == "url":
                with _within(_given, set()):  # Caddy adds the mount.
                    answer = _mounted(handlers[number](URLPayload.wrap(payload)), "")
            else:
                answer = handlers[number](payload)
            answer = _encode("answer", answer)
        except HighAndDry:
            return 204, [], b""
        except _NoJSON as error:
            logger.error("a handler of the service %s failed: %s", service_name, error)
            return _error(500)
        except Exception:
            logger.exception("a handler of the service %s failed", service_name)
            return _error(500)
        return _content(200, "application/json", answer)

    def ask_here(self, service_name, payload, operator, first=False):
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
        given = set() if outer is None else outer
        with _within(_given, given):
            urls = _call(handlers, payload, first)
        request = _request.get()
        mount = request.mount if outer is None and request.guest is self else ""
        return [
            url if isinstance(url, str) and url in given else _mounted(url, mount)
            for url in urls
        ]

    def ask_elsewhere(self, questions, first=False):
        """Returns everybody else's answers to each question, None where they
        have no such service.
        """
        answers = [None] * len(questions)
        request = _request.get()
        if self.caddy is None or request.inviting:
            return answers
        asks = []
        for i, (service_name, payload) in enumerate(questions):
            if not _can_be_asked(service_name):
                continue
            try:
                asks.append((i, service_name, _encode("payload", payload, MAX_BODY)))
            except _NoJSON as error:
                answers[i] = []
                self.warn_once(
                    ("payload", service_name),
                    "%s is asked for in this process only, and not through Caddy, since %s: ask"
                    " with the few texts and numbers that matter, in lists and dicts",
                    service_name, error,
                )
        results = self.caddy.ask(
            [ask[1:] for ask in asks], first, request.headers(self), self.party.ask_timeout
        )
        given = _given.get()
        for (i, service_name, _), result in zip(asks, results):
            answers[i] = _answers(service_name, result)
            if given is not None and service_name == "url":
                given.update(url for url in answers[i] or () if isinstance(url, str))
        return answers


class _Request:
    """A request that is being handled, for what is asked meanwhile."""

    def __init__(self, guest=None, environ=None, claims=None, inviting=False):
        environ = environ or {}
        prefix = environ.get("HTTP_X_FORWARDED_PREFIX", "")
        self.guest = guest
        self.prefix = prefix if _MOUNT.fullmatch(prefix) else ""
        self.mount = self.prefix if claims is None else claims["mnt"]
        self.inviting = inviting
        self.token = environ.get("HTTP_PARTY_TOKEN", "") if claims is not None else ""
        self.expires = claims["exp"] if claims is not None else 0
        # What a visitor put in must neither fail an ask nor rid it of what Caddy put in.
        self.cdn_loop = re.sub(r"[^ -~]", "?", environ.get("HTTP_CDN_LOOP", ""))

    def __bool__(self):
        return bool(self.prefix or self.token or self.cdn_loop)

    def end(self):
        """Ends the use of the token, also in threads and tasks that were
        started with this request's context.
        """
        self.token = ""

    def headers(self, guest):
        """Returns the headers that an ask of the guest's takes from this."""
        headers = {}
        if self.cdn_loop:
            headers["CDN-Loop"] = self.cdn_loop
        if self.prefix and self.guest is guest:
            headers["X-Forwarded-Prefix"] = self.prefix
        if self.token and self.guest is guest and time.time() < self.expires:
            headers["Party-Token"] = self.token
        return headers


_request = contextvars.ContextVar("wsgi_party_request", default=_Request())

# While handlers of the service url are called: the URLs that Caddy gave meanwhile.
_given = contextvars.ContextVar("wsgi_party_given", default=None)


class _Response:
    """A response while whose parts are produced the request is still handled."""

    def __init__(self, response, request):
        self.response = response
        self.request = request
        self.parts = None

    def __iter__(self):
        return self

    def __next__(self):
        with _within(_request, self.request):
            if self.parts is None:
                self.parts = iter(self.response)
            return next(self.parts)

    def close(self):
        try:
            with _within(_request, self.request):
                if hasattr(self.response, "close"):
                    self.response.close()
        finally:
            self.request.end()


def verify_token(token, keys, method, path, query="", body=b"", guest="", now=None):
    """Returns the claims of a Party-Token if it proves that a holder of one
    of the keys sent this very request, not longer ago than a token lives.

    It is a JWT signed with HS256. Its claims are ``aud``, ``iat`` and ``exp``
    as in RFC 7519, ``htm``, the method, ``htu``, path and query as sent with
    the mount, ``mnt``, the mount alone, ``bsh``, the SHA-256 of the body in
    base64url without padding, and more that Caddy itself reads.

    :param token: value of the header Party-Token.
    :param keys: sequence of bytes. What is shorter than 32 bytes is no key.
    :param method: the request's.
    :param path: the request's, unescaped, as bytes, with or without the mount.
    :param query: the request's, escaped.
    :param body: the request's, as bytes.
    :param guest: the name the token has to be for; with ``""``, any.
    :param now: seconds since the epoch; by default the clock's.
    :raises InvalidToken: saying why, but nothing secret.
    """
    claims = _signed_claims(token, keys, guest, time.time() if now is None else now)
    with _malformed():
        if claims["htm"] != method:
            raise InvalidToken("for another method")
        mount = unquote_to_bytes(claims["mnt"])
        sent_path, _, sent_query = claims["htu"].partition("?")
        if _below(mount, unquote_to_bytes(sent_path)) != _below(mount, path):
            raise InvalidToken("for another path")
        if sent_query != query:
            raise InvalidToken("for another query")
        if claims["bsh"].encode() != _base64url(hashlib.sha256(body).digest()):
            raise InvalidToken("for another body")
    return claims


def _signed_claims(token, keys, guest, now):
    """Returns the claims of a token that a holder of one of the keys signed
    and that is good now, whatever it is for.
    """
    keys = [key for key in keys if len(key) >= MIN_KEY]
    if not keys:
        raise InvalidToken(f"there is no key of {MIN_KEY} bytes or more to verify it with")
    if not token:
        raise InvalidToken("there is none")
    signed, _, signature = token.encode("utf-8", "surrogatepass").rpartition(b".")
    digests = [hmac.new(key, signed, hashlib.sha256).digest() for key in keys]
    # Nothing of the token is parsed, or believed, before this.
    if not any([hmac.compare_digest(_base64url(digest), signature) for digest in digests]):
        raise InvalidToken("not signed with the key")
    with _malformed():
        header, claims = (
            json.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
            for part in signed.split(b".")
        )
        issued, expires = claims["iat"], claims["exp"]
        if header["alg"] != "HS256" or "crit" in header:
            raise InvalidToken("not HS256")
        if not _MOUNT.fullmatch(claims["mnt"]):
            raise InvalidToken("mnt is no path")
        if not claims["aud"] or (guest and claims["aud"] != guest):
            raise InvalidToken("for another guest")
        if not 0 <= expires - issued <= MAX_TOKEN_AGE:
            raise InvalidToken("valid for too long")
        if not issued - LEEWAY <= now < expires + LEEWAY:
            raise InvalidToken("expired, or the clocks differ")
    return claims


@contextlib.contextmanager
def _malformed():
    try:
        yield
    except (
        AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError,
    ):
        raise InvalidToken("malformed") from None


# Not reached or cut off; no HTTP.
_UNREACHED = (OSError, http.client.HTTPException)


class _Caddy:
    """Caddy's ``wsgi_party_ask``, as the guest with this key sees it."""

    #: So often in a row it may not be reached before it is left alone, and for how long.
    max_unreached = 3
    pause = 5.0  # seconds

    def __init__(self, url, key):
        self.authorization = b"Bearer " + key
        self.prefix = ""
        self.host, self.port, self.socket_path, self.tls = "localhost", None, None, None
        self._lock = threading.Lock()
        self._unreached = 0
        self._asked_again = 0.0
        if url.startswith("unix/"):
            self.socket_path = url[len("unix/"):]
            return
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"the url to ask at (WSGI_PARTY_URL) is {url!r}, and neither"
                " http://host:port/ nor unix//path"
            )
        if parts.scheme == "https":
            import ssl  # which not every Python has

            self.tls = ssl.create_default_context()
        self.host, self.port = parts.hostname, parts.port
        self.prefix = parts.path.rstrip("/")

    def ask(self, asks, first, headers, timeout):
        """Returns a result of Caddy's for each pair of service name and
        payload as JSON. What fails is logged, and without answers.
        """
        deadline = time.monotonic() + timeout
        results = []
        for part in _parts(asks):
            try:
                if not self._may_be_asked():
                    break
                results += self._ask(part, first, headers, deadline)
            except (*_UNREACHED, ValueError, RecursionError) as error:
                known = self._unreached > self.max_unreached
                level = logging.DEBUG if known else logging.WARNING
                logger.log(level, "asking the other guests for %s failed: %r", _names(asks), error)
                break
        return results + [{"answers": []}] * (len(asks) - len(results))

    def _ask(self, asks, first, headers, deadline):
        if len(asks) == 1:
            (service_name, body), = asks
            path = "/" + quote(service_name, safe="") + ("?first" if first else "")
        else:
            path = "/"
            body = b"[%s]" % b",".join(
                b'{"service":%s,"payload":%s}' % (json.dumps(service_name).encode(), payload)
                for service_name, payload in asks
            )
        status, media_type, content = self._post(path, body, headers, deadline)
        if status == 404 and media_type == "application/problem+json" and len(asks) == 1:
            return [{"status": 404}]
        if status != 200:
            raise ValueError(f"status {status}: {content[:200]!r}")
        results = json.loads(content)
        if len(asks) == 1:
            return [results]
        if not isinstance(results, list) or len(results) != len(asks):
            raise ValueError("not one result for each question")
        return results

    def _post(self, path, body, headers, deadline):
        """Returns status, media type and body of Caddy's response."""
        headers = {
            "Authorization": self.authorization, "Content-Type": "application/json", **headers,
        }
        try:
            with contextlib.closing(self._connect(deadline)) as connected:
                connection = http.client.HTTPConnection(self.host, self.port)
                connection.sock = _Wire(connected, deadline)
                connection.request("POST", self.prefix + path, body, headers)
                response = connection.getresponse()
                content = response.read()
        except _UNREACHED:
            self._note(reached=False)
            raise
        self._note(reached=True)
        return response.status, response.headers.get_content_type(), content

    def _connect(self, deadline):
        if self.socket_path is not None:
            addresses = [(socket.AF_UNIX, self.socket_path)]
        else:
            port = self.port or (443 if self.tls else 80)
            found = socket.getaddrinfo(self.host, port, type=socket.SOCK_STREAM)
            addresses = [(family, address) for family, _, _, _, address in found]
        for i, (family, address) in enumerate(addresses):
            connecting = socket.socket(family, socket.SOCK_STREAM)
            try:
                # Each address may take its share of the time that is left.
                connecting.settimeout(_until(deadline) / (len(addresses) - i))
                connecting.connect(address)
                if family != socket.AF_UNIX:
                    connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self.tls is not None:
                    connecting.settimeout(_until(deadline))
                    connecting = self.tls.wrap_socket(connecting, server_hostname=self.host)
                return connecting
            except BaseException as error:
                connecting.close()
                if not isinstance(error, OSError) or i + 1 == len(addresses):
                    raise

    def _may_be_asked(self):
        """Returns False while Caddy is left alone. After that one ask tries."""
        with self._lock:
            if self._unreached < self.max_unreached:
                return True
            now = time.monotonic()
            if now < self._asked_again:
                return False
            self._asked_again = now + self.pause
            return True

    def _note(self, reached):
        with self._lock:
            before = self._unreached
            self._unreached = 0 if reached else before + 1
            self._asked_again = time.monotonic() + self.pause
        if not reached and before + 1 == self.max_unreached:
            logger.warning(
                "Caddy was not reached %d times in a row, and is asked once in %g s until it is:"
                " the other guests' answers are missing so long", self.max_unreached, self.pause,
            )
        elif reached and before >= self.max_unreached:
            logger.info("Caddy is reached again")


class _Wire(io.RawIOBase):
    """A socket as http.client uses one, with an end to all its waiting together.
    Who connected it closes it.
    """

    def __init__(self, connected, deadline):
        super().__init__()
        self.connected = connected
        self.deadline = deadline

    def sendall(self, data):
        rest = memoryview(data)
        while rest:
            self.connected.settimeout(_until(self.deadline))
            rest = rest[self.connected.send(rest):]

    def readinto(self, buffer):
        self.connected.settimeout(_until(self.deadline))
        return self.connected.recv_into(buffer)

    def readable(self):
        return True

    def makefile(self, mode):
        return io.BufferedReader(self)

    def close(self):
        pass


def _until(deadline):
    """Returns the seconds that are left."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise socket.timeout("Caddy has not answered in time")
    return seconds


def _parts(asks):
    """Yields the asks in such parts as Caddy takes in one request."""
    part, size = [], len("[")
    for ask in asks:
        length = len(json.dumps(ask[0])) + len(ask[1]) + len('{"service":,"payload":},')
        if part and (len(part) == MAX_BATCH or size + length > MAX_BODY):
            yield part
            part, size = [], len("[")
        part.append(ask)
        size += length
    if part:
        yield part


def _names(asks):
    """Returns the names of the services, but not many, for the log."""
    names = sorted({service_name for service_name, _ in asks})
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


class _BadBody(Exception):
    """Its argument is the status to answer."""


class _NoJSON(Exception):
    """A value that JSON cannot carry, and what of it."""


def _encode(what, value, limit=None):
    """Returns the value as JSON that every parser takes, in bytes.

    :param what: the name of the value, for the error.
    :param limit: how many bytes it may have.
    """
    found = []
    _find_uncarried(value, found)
    if found:
        members = [
            what + "".join(f"[{name!r:.80}]" for _, name in place) + f" ({why})"
            for place, why in found[:10]
        ]
        more = f" and {len(found) - 10} more" if len(found) > 10 else ""
        raise _NoJSON(f"JSON cannot carry {', '.join(members)}{more}")
    text = json.dumps(value, allow_nan=False).encode()
    if limit is not None and len(text) > limit:
        raise _NoJSON(f"{what} is longer than {limit} bytes as JSON")
    return text


def _find_uncarried(value, found, place=()):
    """Appends to found what of a value some parsers of JSON refuse, each as a
    pair of its place and the reason.

    :param place: pairs, each a list or dict that the value is in and the name in it.
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
    seen = set()
    for key, member in value.items() if isinstance(value, dict) else enumerate(value):
        why = ""
        if isinstance(value, dict):
            name = key
            if key is None or isinstance(key, (bool, int, float)):
                name = json.dumps(key)
            if not isinstance(name, str):
                why = f"its name is of type {type(key).__name__}"
            elif not _is_utf8(name) or "\0" in name:
                why = "its name has a NUL or a lone surrogate"
            elif name in seen:
                why = "a name that is there twice"
            seen.add(name)
        if not why:
            why = _why_uncarried(member)
        if why is None:
            _find_uncarried(member, found, (*place, (value, key)))
        elif why:
            found.append(((*place, (value, key)), why))


def _why_uncarried(value):
    """Returns why JSON does not carry the value, "" if it does, and None for a
    list or dict.
    """
    if isinstance(value, str):
        return "" if _is_utf8(value) else "a lone surrogate"
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, int):
        return "" if -(10**63) < value < 10**64 else "a number of more than 64 digits"
    if isinstance(value, float):
        return "" if value - value == 0 else "not a finite number"
    if isinstance(value, (list, tuple, dict)):
        return None
    return type(value).__name__


def _is_utf8(text):
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _can_be_asked(service_name):
    """Whether a guest elsewhere can have connected a service of this name."""
    return isinstance(service_name, str) and service_name != "" and _is_utf8(service_name)


def _parse_keys(value):
    if isinstance(value, str):
        # Bytes of the environment that are no UTF-8 are surrogates in the text.
        value = " ".join(value.split()).encode("utf-8", "surrogateescape")
    keys = value.split()
    if any(len(key) < MIN_KEY for key in keys):
        raise ValueError(f"a key (of WSGI_PARTY_KEY) is shorter than {MIN_KEY} bytes")
    return keys


def _is_service(name):
    return isinstance(name, str) and _SERVICE.fullmatch(name) is not None


def _is_invite(environ):
    accepted = environ.get("HTTP_ACCEPT", "").lower().split(",")
    return environ["REQUEST_METHOD"] == "GET" and any(
        media_type.partition(";")[0].strip() == MANIFEST_TYPE for media_type in accepted
    )


def _environ(path):
    """Returns the WSGI environ of GET path on localhost; the path may be a URL."""
    path = re.sub(r"\Ahttps?://[^/?#]*/?", "/", path.partition("#")[0], flags=re.IGNORECASE)
    path, _, query = path.partition("?")
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "localhost",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


@contextlib.contextmanager
def _within(variable, value):
    reset = variable.set(value)
    try:
        yield
    finally:
        variable.reset(reset)


def _call(handlers, payload, first=False):
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


def _run(application, environ):
    """Runs the application to the end of its response; returns the status."""
    statuses = ["no status"]

    def start_response(status, headers, exc_info=None):
        statuses.append(status)
        return lambda chunk: None

    response = application(environ, start_response)
    try:
        for _ in response:
            pass
    finally:
        if hasattr(response, "close"):
            response.close()
    return statuses[-1]


def _read_body(environ):
    if environ.get("wsgi.input_terminated") and not environ.get("CONTENT_LENGTH"):
        size = MAX_BODY + 1  # chunked
    else:
        try:
            size = int(environ.get("CONTENT_LENGTH") or 0)
        except ValueError:
            raise _BadBody(400) from None
        if size < 0:
            raise _BadBody(400)
        if size > MAX_BODY:
            raise _BadBody(413)
    body = environ["wsgi.input"].read(size)
    if len(body) > MAX_BODY:
        raise _BadBody(413)
    return body


def _content(status, media_type, body, *headers):
    return status, [
        ("Content-Type", media_type),
        ("Content-Length", str(len(body))),
        *headers,
    ], body


def _error(status, *headers):
    body = http.client.responses[status].encode() + b"\n"
    return _content(status, "text/plain; charset=utf-8", body, *headers)


def _answers(service_name, result):
    """Returns the answers in a result of Caddy's, None if it has no such
    service there, and logs what failed.
    """
    if isinstance(result, dict):
        if result.get("status") == 404:
            return None
        for reply in result.get("replies") or ():
            if isinstance(reply, dict) and reply.get("status") == "failed":
                logger.warning(
                    "guest %r failed to answer %s: %r",
                    reply.get("guest"), service_name, reply.get("error"),
                )
        if isinstance(result.get("answers"), list):
            return result["answers"]
    logger.warning("asking the other guests for %s failed: %r", service_name, result)
    return []


def _mounted(url, mount):
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


def _below(mount, path):
    """Returns the path without the mount, if it begins with it."""
    if (path + b"/").startswith(mount + b"/"):
        path = path[len(mount):]
    return path or b"/"


def _base64url(digest):
    return base64.urlsafe_b64encode(digest).rstrip(b"=")
