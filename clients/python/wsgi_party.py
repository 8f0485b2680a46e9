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
the environment says so when the :class:`WSGIParty` is made:

``WSGI_PARTY_KEY``
    The secret of this guest, as in Caddy's ``wsgi_party_guest { key … }``: 32
    bytes or more, without whitespace. Of several keys separated by whitespace
    the first one is used to ask, and all are accepted. With it the
    applications' handlers answer whoever asks through Caddy.
``WSGI_PARTY_URL``
    Where Caddy's ``wsgi_party_ask`` listens: ``http://host:port/path``, https
    likewise, or ``unix//run/party.sock``. With it, ask_around also asks
    everybody else behind that Caddy. It needs the key.
``WSGI_PARTY_GUEST``
    The guest name that Party-Tokens have to be for. Without it any name will
    do: what counts is the key.

The module is quiet about what goes well, and logs the rest under its own name.

An ask may come back to where it began while the request that led to it still
waits. So run two worker processes or threads at least.
"""

import base64
import collections
import contextlib
import contextvars
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
MIN_KEY = 32  # bytes
MAX_TOKEN_AGE = 60  # seconds
LEEWAY = 30  # seconds that Caddy's clock may differ from this one's

_INVITE_ORIGIN = "http://localhost"

# What Caddy takes for the name of a service in a manifest.
_SERVICE = re.compile(r"[A-Za-z0-9._:-]{1,64}")
# The end of the path where the n-th handler of a service is asked.
_HREF = re.compile(r"/partyline/([A-Za-z0-9._:-]{1,64})\.([0-9]{1,6})\Z")
_MOUNT = re.compile(r"(?:/[^/\\?#\x00-\x20\x7f]+)*")

_Request = collections.namedtuple(
    "_Request", "token mount inviting", defaults=("", "", False)
)
# The request being handled. Not reset when the wrapped application returns, for
# its response may be produced later; the next request sets it anew.
_request = contextvars.ContextVar("wsgi_party_request", default=_Request())


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
        self.partyline.connect(service_name, handler)

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


class WSGIParty:
    """WSGI middleware that invites applications to a partyline. May be used
    from any thread, by handlers too.

    :param application: the WSGI application that dispatches to the others.
    :param invites: paths to request now, each with an operator.
    :param ignore_missing_services: whether to give no answers, rather than
        raise :exc:`NoSuchServiceName`, for a service nobody connected.
    :raises ValueError: if the environment variables are unusable.
    """

    #: Key of the operator in the WSGI environ of an invite.
    partyline_key = "partyline"

    #: Class of the operators handed out; called with the party.
    operator_class = PartylineOperator

    #: Seconds Caddy may take to accept an ask, and seconds it may then send
    #: nothing, before everybody else is given up.
    ask_timeout = 5.0

    def __init__(self, application, invites=(), ignore_missing_services=False):
        self.application = application
        self.ignore_missing_services = ignore_missing_services
        #: Service name to list of handlers, as they were connected.
        self.handlers = {}
        self._keys = _parse_keys(os.environ.get("WSGI_PARTY_KEY", ""))
        self._guest = os.environ.get("WSGI_PARTY_GUEST", "")
        self._caddy = None
        url = os.environ.get("WSGI_PARTY_URL", "")
        if url:
            if not self._keys:
                raise ValueError("WSGI_PARTY_URL is set, but WSGI_PARTY_KEY is not")
            self._caddy = _Caddy(url, self._keys[0])
        self.send_invitations(invites)

    def __call__(self, environ, start_response):
        if not self._keys:
            return self.application(environ, start_response)
        token = environ.get("HTTP_PARTY_TOKEN", "")
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        href = _HREF.search(path)
        if token and (href or _is_invite(environ)):
            status, headers, body = self._serve(environ, token, path, href)
            start_response(f"{status} {http.client.responses[status]}", headers)
            return [body]
        mount = environ.get("HTTP_X_FORWARDED_PREFIX", "")
        _request.set(_Request(token, mount if _MOUNT.fullmatch(mount) else ""))
        return self.application(environ, start_response)

    def send_invitations(self, invites):
        """Requests each of these paths from the application, with a new
        operator in the environ. The response is ignored, exceptions are not.

        Nothing leaves the process: what an application asks while it is
        invited is asked in this process only.
        """
        with _handling(_Request(inviting=True)):
            for path in invites:
                environ = _environ(path)
                environ[self.partyline_key] = self.operator_class(self)
                status = _run(self.application, environ)
                refused = self._keys and not status.startswith("2")
                level = logging.WARNING if refused else logging.DEBUG
                logger.log(level, "invite %s: %s", path, status)

    def connect(self, service_name, handler):
        """Connects a handler that no operator skips.

        :param service_name: with a key, and to be known outside this process,
            a string of 1 to 64 letters, digits, and ``._:-``.
        :param handler: see :meth:`PartylineOperator.connect`.
        """
        if self._keys and not _is_service(service_name):
            logger.warning("service %r has a name that is not told to Caddy", service_name)
        # Both calls are atomic, so that no lock is needed.
        self.handlers.setdefault(service_name, []).append(handler)

    def ask_around(self, service_name, payload, operator=None):
        """Calls the handlers of a service, in the order they were connected,
        and returns the list of their answers. Where ``WSGI_PARTY_URL`` is set
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
        here = [self._ask_here(name, payload, operator) for name, payload in questions]
        elsewhere = self._ask_elsewhere(questions)
        answers = []
        for (service_name, _), ours, theirs in zip(questions, here, elsewhere):
            if ours is None and theirs is None and not self.ignore_missing_services:
                raise NoSuchServiceName(f"nobody connected the service {service_name!r}")
            answers.append((ours or []) + (theirs or []))
        return answers

    def _ask_here(self, service_name, payload, operator):
        """Returns this process's answers, or None if it has no such service."""
        if service_name not in self.handlers:
            return None
        skipped = operator.handlers if operator is not None else ()
        handlers = [h for h in self.handlers[service_name] if h not in skipped]
        if not self._keys or service_name != "url":
            return _call(handlers, payload)
        request = _request.get()
        # A handler may answer what it got by asking for another URL itself:
        # that has no mount yet, for it is added here.
        with _handling(request._replace(mount="")):
            urls = _call(handlers, payload)
        return [_mounted(url, request.mount) for url in urls]

    def _ask_elsewhere(self, questions):
        """Returns everybody else's answers to each question, None where they
        have no such service.
        """
        request = _request.get()
        if self._caddy is None or request.inviting or not questions:
            return [None] * len(questions)
        try:
            if len(questions) == 1:
                service_name, payload = questions[0]
                path = "/" + quote(service_name, safe="")
                results = [
                    self._caddy.post(path, payload, request.token, self.ask_timeout)
                ]
            else:
                batch = [{"service": name, "payload": payload} for name, payload in questions]
                results = []
                for i in range(0, len(batch), MAX_BATCH):
                    part = batch[i : i + MAX_BATCH]
                    more = self._caddy.post("/", part, request.token, self.ask_timeout)
                    if not isinstance(more, list) or len(more) != len(part):
                        raise ValueError("not one result for each question")
                    results += more
            return [_answers(name, result) for (name, _), result in zip(questions, results)]
        except _ASK_FAILURES as error:
            names = ", ".join(sorted({str(name) for name, _ in questions}))
            logger.warning("asking the other guests for %s failed: %r", names, error)
            return [[]] * len(questions)

    def _serve(self, environ, token, path, href):
        """Returns status, headers and body for a request from Caddy: the
        invite, or an ask of the handler that href matched.
        """
        try:
            body = _read_body(environ)
            raw_path = path.encode("latin-1")
            claims = verify_token(
                token,
                self._keys,
                method=environ["REQUEST_METHOD"],
                path=raw_path,
                query=environ.get("QUERY_STRING", ""),
                body=body,
                guest=self._guest,
            )
            mount = claims["mnt"]
            if href:
                if href.group(1) == "url":
                    mount = ""  # Caddy adds it.
                with _handling(_Request(token, mount)):
                    return self._answer(environ, href, body)
            invite_path = _below(unquote_to_bytes(mount), raw_path).rstrip(b"/")
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
        services = {}
        for service_name, handlers in self.handlers.copy().items():
            if _is_service(service_name):
                services[service_name] = [
                    {"href": f"{invite_path}/partyline/{service_name}.{n}"}
                    for n in range(len(handlers))
                ]
        body = json.dumps({"services": services}).encode()
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        if etag in known:
            return 304, [("ETag", etag)], b""
        return _content(200, MANIFEST_TYPE, body, ("ETag", etag))

    def _answer(self, environ, href, body):
        service_name, number = href.group(1), int(href.group(2))
        if environ["REQUEST_METHOD"] != "POST":
            return _error(405, ("Allow", "POST"))
        handlers = self.handlers.get(service_name, ())
        if number >= len(handlers):
            return _error(404)  # Caddy then asks for the manifest again.
        try:
            payload = json.loads(body)
        except (ValueError, RecursionError):
            return _error(400)
        try:
            if service_name == "url":
                answer = _mounted(handlers[number](URLPayload.wrap(payload)), "")
            else:
                answer = handlers[number](payload)
            answer = json.dumps(answer, allow_nan=False).encode()
        except HighAndDry:
            return 204, [], b""
        except Exception:
            logger.exception("a handler of the service %s failed", service_name)
            return _error(500)
        return _content(200, "application/json", answer)


def verify_token(token, keys, method, path, query="", body=b"", guest="", now=None):
    """Returns the claims of a Party-Token if it proves that a holder of one
    of the keys sent this very request, not longer ago than a token lives.

    It is a JWT signed with HS256. Its claims are ``aud``, ``iat`` and ``exp``
    as in RFC 7519, ``htm``, the method, ``htu``, path and query as sent with
    the mount, ``mnt``, the mount alone, ``bsh``, the SHA-256 of the body in
    base64url without padding, and more that Caddy itself reads.

    :param token: value of the header Party-Token.
    :param keys: sequence of bytes.
    :param method: the request's.
    :param path: the request's, unescaped, as bytes, with or without the mount.
    :param query: the request's, escaped.
    :param body: the request's, as bytes.
    :param guest: the name the token has to be for; with ``""``, any.
    :param now: seconds since the epoch; by default the clock's.
    :raises InvalidToken: saying why, but nothing secret.
    """
    signed, _, signature = token.rpartition(".")
    digests = [hmac.new(key, signed.encode(), hashlib.sha256).digest() for key in keys]
    # Nothing of the token is parsed, or believed, before this.
    if not any([hmac.compare_digest(_base64url(d), signature.encode()) for d in digests]):
        raise InvalidToken("not signed with the key")
    now = time.time() if now is None else now
    try:
        header, claims = (
            json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
            for part in signed.split(".")
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
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        raise InvalidToken("malformed") from None
    return claims


# Not reached or cut off, no HTTP, no JSON in or out.
_ASK_FAILURES = (
    OSError,
    http.client.HTTPException,
    TypeError,
    ValueError,
    RecursionError,
)


class _Caddy:
    """Caddy's ``wsgi_party_ask``, as the guest with this key sees it."""

    def __init__(self, url, key):
        self.authorization = b"Bearer " + key
        self.prefix = ""
        if url.startswith("unix/"):
            self.connection_class = _UnixConnection
            self.address = (url[len("unix/"):],)
            return
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("WSGI_PARTY_URL is neither http://host:port/ nor unix//path")
        secure = parts.scheme == "https"
        self.connection_class = (
            http.client.HTTPSConnection if secure else http.client.HTTPConnection
        )
        self.address = (parts.hostname, parts.port)
        self.prefix = parts.path.rstrip("/")

    def post(self, path, payload, token, timeout):
        """Returns the JSON that Caddy answers, or ``{"status": 404}`` if it
        knows no such service. Raises one of _ASK_FAILURES.
        """
        body = json.dumps(payload, allow_nan=False).encode()
        headers = {"Authorization": self.authorization, "Content-Type": "application/json"}
        if token:
            headers["Party-Token"] = token
        connection = self.connection_class(*self.address, timeout=timeout)
        try:
            connection.request("POST", self.prefix + path, body, headers)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if response.status == 200:
            return json.loads(content)
        if (
            response.status == 404
            and response.headers.get_content_type() == "application/problem+json"
        ):
            return {"status": 404}
        raise ValueError(f"status {response.status}: {content[:200]!r}")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class _BadBody(Exception):
    """Its argument is the status to answer."""


def _parse_keys(value):
    keys = [key.encode() for key in value.split()]
    if any(len(key) < MIN_KEY for key in keys):
        raise ValueError(f"a key in WSGI_PARTY_KEY is shorter than {MIN_KEY} bytes")
    return keys


def _is_service(name):
    return isinstance(name, str) and _SERVICE.fullmatch(name) is not None


def _is_invite(environ):
    accepted = environ.get("HTTP_ACCEPT", "").lower().split(",")
    return environ["REQUEST_METHOD"] == "GET" and any(
        media_type.partition(";")[0].strip() == MANIFEST_TYPE for media_type in accepted
    )


def _environ(path):
    """Returns the WSGI environ of GET path on localhost."""
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
def _handling(request):
    reset = _request.set(request)
    try:
        yield
    finally:
        _request.reset(reset)


def _call(handlers, payload):
    """Returns the answers of the handlers that do not decline."""
    answers = []
    for handler in handlers:
        try:
            answers.append(handler(payload))
        except HighAndDry:
            pass
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
    nothing of the mount and, from its invite, only localhost.
    """
    if isinstance(url, str):
        if url.startswith(_INVITE_ORIGIN + "/"):
            url = url[len(_INVITE_ORIGIN):]
        if url.startswith("/") and not url.startswith("//"):
            return mount + url
    return url


def _below(mount, path):
    """Returns the path without the mount, if it begins with it."""
    if (path + b"/").startswith(mount + b"/"):
        path = path[len(mount):]
    return path or b"/"


def _base64url(digest):
    return base64.urlsafe_b64encode(digest).rstrip(b"=")
