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

"""Run with ``python3 -m unittest test_*.py`` in this folder."""

import base64
import contextlib
import contextvars
import hashlib
import hmac
import http.client
import http.server
import io
import json
import logging
import os
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import wsgiref.simple_server
import wsgiref.util
from unittest import mock

import wsgi_party
from wsgi_party import (
    HighAndDry,
    InvalidToken,
    NoSuchServiceName,
    PartylineException,
    PartylineOperator,
    URLPayload,
    WSGIParty,
    verify_token,
)

KEY = "0123456789abcdef0123456789abcdef"
OTHER_KEY = "another-key-another-key-another-key"
MANIFEST = "application/vnd.wsgi-party+json"


@contextlib.contextmanager
def environment(**variables):
    """Sets these of the WSGI_PARTY_ variables, and no others."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WSGI_PARTY_")}
    with mock.patch.dict(os.environ, {**kept, **variables}, clear=True):
        yield


def party(*args, key=KEY, url="", guest="", cls=WSGIParty, **kwargs):
    variables = {"WSGI_PARTY_KEY": key, "WSGI_PARTY_URL": url, "WSGI_PARTY_GUEST": guest}
    with environment(**{k: v for k, v in variables.items() if v}):
        return cls(*args, **kwargs)


def not_found(environ, start_response):
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"nothing here"]


def dispatcher(root, **mounts):
    """An application with others mounted on /name, as werkzeug's has it."""

    def dispatch(environ, start_response):
        name = wsgiref.util.shift_path_info(dict(environ))
        if name in mounts:
            wsgiref.util.shift_path_info(environ)
            return mounts[name](environ, start_response)
        return root(environ, start_response)

    return dispatch


class Application:
    """Joins as the original's Flask demo does: once, at /__invite__/."""

    def __init__(self, urls=(), **handlers):
        self.urls = dict(urls)
        self.handlers = handlers
        self.operator = None
        self.seen = []
        self.pages = {}

    def __call__(self, environ, start_response):
        self.seen.append(environ)
        path = environ["PATH_INFO"]
        if path == "/__invite__/" and self.operator is None:
            self.operator = environ["partyline"]
            self.prefix = environ["SCRIPT_NAME"]
            for service, handler in self.handlers.items():
                self.operator.connect(service, handler)
            if self.urls:
                self.operator.connect("url", self.url)
            start_response("200 OK", [])
            return [b"connected"]
        if path in self.pages:
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(self.pages[path](environ)).encode()]
        return not_found(environ, start_response)

    def url(self, payload):
        endpoint, values = payload
        if endpoint not in self.urls:
            raise HighAndDry()
        return self.prefix + self.urls[endpoint].format(**values)

    def url_for(self, endpoint, **values):
        try:
            return self.url((endpoint, values))
        except HighAndDry:
            return self.operator.ask_around("url", (endpoint, values))[0]


class Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


class QuietHandler(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *args):
        pass


@contextlib.contextmanager
def running(server):
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def serving(application):
    """Serves on a real socket; gives the port."""
    server = wsgiref.simple_server.make_server(
        "127.0.0.1", 0, application, Server, QuietHandler
    )
    with running(server):
        yield server.server_port


class Response:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self):
        return json.loads(self.body)


def send(port, method, path, body=b"", headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body or None, headers or {})
        return Response(connection.getresponse())
    finally:
        connection.close()


def b64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def make_token(method="POST", htu="/", body=b"", key=KEY, header=None, **claims):
    now = int(time.time())
    claims = {
        "aud": "blog", "iat": now, "exp": now + 60, "jti": "1", "htm": method, "htu": htu,
        "bsh": b64(hashlib.sha256(body).digest()), "mnt": "", "path": [], **claims,
    }
    claims = {name: value for name, value in claims.items() if value is not None}
    header = {"alg": "HS256", "typ": "JWT"} if header is None else header
    signed = b64(json.dumps(header).encode()) + "." + b64(json.dumps(claims).encode())
    return signed + "." + b64(hmac.new(key.encode(), signed.encode(), "sha256").digest())


def invite(port, path="/__invite__/", headers=None, token=None, **claims):
    claims.setdefault("htu", path)
    token = make_token("GET", **claims) if token is None else token
    return send(port, "GET", path, headers={
        "Accept": MANIFEST, "Party-Token": token, **(headers or {}),
    })


def ask(port, href, payload=None, body=None, method="POST", token=None, headers=None, **claims):
    body = json.dumps(payload).encode() if body is None else body
    claims.setdefault("htu", href)
    token = make_token(method, body=body, **claims) if token is None else token
    return send(port, method, href, body, {"Party-Token": token, **(headers or {})})


class FakeCaddy(http.server.ThreadingHTTPServer):
    """A wsgi_party_ask that answers what it is told to."""

    daemon_threads = True
    request_queue_size = 128  # many may come at once
    keeps_alive = True

    def __init__(self, *answers, address=("127.0.0.1", 0)):
        if isinstance(address, str):
            self.address_family = socket.AF_UNIX
            # HTTPServer.server_bind looks up the name of a TCP address.
            self.server_bind = lambda: socketserver.TCPServer.server_bind(self)
        self.answers = list(answers)
        self.requests = []
        super().__init__(address, FakeCaddyHandler)
        if not isinstance(address, str):
            self.url = "http://127.0.0.1:%d" % self.server_port

    def respond(self, request):
        return self.answers.pop(0)


class FakeCaddyHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        self.disable_nagle_algorithm = self.request.family == socket.AF_INET
        super().setup()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = {"path": self.path, "headers": self.headers, "json": json.loads(body)}
        self.server.requests.append(request)
        answer = self.server.respond(request)
        status, media_type, content = answer if isinstance(answer, tuple) else (
            200, "application/json", answer,
        )
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        with contextlib.suppress(OSError):  # the client may have gone
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(content)))
            if not self.server.keeps_alive:
                self.send_header("Connection", "close")
            if 300 <= status < 400:
                self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(content)

    def address_string(self):
        return "client"

    def log_message(self, *args):
        pass


def answers(*values, replies=()):
    return {"answers": list(values), "replies": list(replies)}


NO_SUCH_SERVICE = (404, "application/problem+json", {"title": "no such service"})


class OriginalTest(unittest.TestCase):
    """The points of ORIGINAL.md, with none of the variables set."""

    def setUp(self):
        variables = environment()
        variables.__enter__()
        self.addCleanup(variables.__exit__, None, None, None)

    def join(self, service, *handlers, operator=None):
        operator = operator or self.party.operator_class(self.party)
        for handler in handlers:
            operator.connect(service, handler)
        return operator

    def test_signatures(self):
        application = object()
        party = WSGIParty(application)
        self.assertIs(party.application, application)
        self.assertEqual(party.handlers, {})
        self.assertIs(party.ignore_missing_services, False)
        self.assertEqual(WSGIParty.partyline_key, "partyline")
        self.assertIs(WSGIParty.operator_class, PartylineOperator)
        party = WSGIParty(application=application, invites=[], ignore_missing_services=True)
        self.assertIs(party.ignore_missing_services, True)
        party.send_invitations(invites=[])
        party.connect(service_name="ping", handler=str)
        self.assertEqual(party.handlers, {"ping": [str]})
        self.assertEqual(
            party.ask_around(service_name="ping", payload=1, operator=None), ["1"]
        )
        operator = PartylineOperator(partyline=party)
        self.assertIs(operator.partyline, party)
        self.assertEqual(operator.handlers, set())
        operator.connect(service_name="ping", handler=int)
        self.assertEqual(operator.handlers, {int})
        self.assertEqual(party.handlers, {"ping": [str, int]})
        self.assertEqual(operator.ask_around(service_name="ping", payload=1), ["1"])

    def test_exceptions(self):
        self.assertTrue(issubclass(PartylineException, Exception))
        self.assertTrue(issubclass(HighAndDry, PartylineException))
        self.assertTrue(issubclass(NoSuchServiceName, PartylineException))

    def test_a_request_just_calls_the_application(self):
        response = []

        def application(environ, start_response):
            calls.append((environ, start_response))
            return response

        calls = []
        party = WSGIParty(application)
        environ = {
            "REQUEST_METHOD": "GET", "PATH_INFO": "/__invite__/",
            "HTTP_ACCEPT": MANIFEST, "HTTP_PARTY_TOKEN": "x.y.z",
        }
        before = dict(environ)
        self.assertIs(party(environ, start_response := object()), response)
        self.assertEqual(len(calls), 1)
        self.assertIs(calls[0][0], environ)
        self.assertEqual(environ, before)
        self.assertIs(calls[0][1], start_response)

    def test_invites_are_sent_in_order_by_the_constructor(self):
        environs = []

        def application(environ, start_response):
            environs.append(environ)
            return not_found(environ, start_response)

        party = WSGIParty(application, invites=("/one/__invite__/", "/caf%C3%A9/?a=%20b"))
        first, second = environs
        self.assertEqual(first["REQUEST_METHOD"], "GET")
        self.assertEqual(first["HTTP_HOST"], "localhost")
        self.assertEqual(first["SERVER_NAME"], "localhost")
        self.assertEqual(first["wsgi.url_scheme"], "http")
        self.assertEqual(first["SCRIPT_NAME"], "")
        self.assertEqual(first["PATH_INFO"], "/one/__invite__/")
        self.assertEqual(first["QUERY_STRING"], "")
        self.assertEqual(first["wsgi.input"].read(), b"")
        self.assertEqual(second["PATH_INFO"].encode("latin-1").decode(), "/café/")
        self.assertEqual(second["QUERY_STRING"], "a=%20b")
        self.assertIsInstance(first["partyline"], PartylineOperator)
        self.assertIs(first["partyline"].partyline, party)
        self.assertIsNot(first["partyline"], second["partyline"])
        party.send_invitations(["/again"])
        self.assertEqual(environs[2]["PATH_INFO"], "/again")

    def test_the_environ_of_an_invite_is_valid_wsgi(self):
        from wsgiref.validate import validator

        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b""]

        def without_operator(environ, start_response):
            # The one thing against PEP 3333: an object under a key without a dot.
            del environ["partyline"]
            return validator(application)(environ, start_response)

        WSGIParty(without_operator, invites=["/__invite__/?a=b"])

    def test_the_response_of_an_invite_is_ignored(self):
        closed = []

        class Body:
            def __iter__(self):
                start_response("500 Oops", [], (ValueError, ValueError("x"), None))(b"written")
                yield b"late"

            def close(self):
                closed.append(True)

        def application(environ, start):
            nonlocal start_response
            start_response = start
            return Body()

        start_response = None
        WSGIParty(application, invites=["/", "/"])
        self.assertEqual(closed, [True, True])

    def test_an_exception_of_an_invited_application_is_not_hidden(self):
        def application(environ, start_response):
            raise KeyError("broken")

        with self.assertRaises(KeyError):
            WSGIParty(application, invites=["/"])

    def test_partyline_key_and_operator_class_can_be_replaced(self):
        class Operator(PartylineOperator):
            pass

        class Party(WSGIParty):
            partyline_key = "switchboard"
            operator_class = Operator

        environs = []

        def application(environ, start_response):
            environs.append(environ)
            return not_found(environ, start_response)

        Party(application, invites=["/"])
        self.assertIs(type(environs[0]["switchboard"]), Operator)
        self.assertNotIn("partyline", environs[0])

    def test_numbers(self):
        def divisible_by(n):
            def handler(payload):
                if payload % n:
                    raise HighAndDry()
                return payload

            return handler

        def odd(payload):
            if not payload % 2:
                raise HighAndDry()
            return payload

        self.party = WSGIParty(not_found)
        self.join("number", divisible_by(2), odd, divisible_by(4))
        self.assertEqual(self.party.ask_around("number", 1), [1])
        self.assertEqual(self.party.ask_around("number", 2), [2])
        self.assertEqual(self.party.ask_around("number", 4), [4, 4])

    def test_answers_come_in_connect_order(self):
        self.party = WSGIParty(not_found)
        one = self.join("x", lambda p: 1)
        self.join("x", lambda p: 2)
        self.join("x", lambda p: 3, operator=one)
        self.party.connect("x", lambda p: 4)
        self.assertEqual(self.party.ask_around("x", None), [1, 2, 3, 4])
        self.assertEqual(one.ask_around("x", None), [2, 4])
        self.assertEqual(self.party.ask_around("x", None, operator=one), [2, 4])
        self.assertEqual(self.party.ask_around("x", None, one), [2, 4])

    def test_the_payload_is_handed_on_as_it_is(self):
        self.party = WSGIParty(not_found)
        self.join("x", lambda p: p)
        self.join("url", lambda p: p)
        for payload in (None, object(), ("a", {}), {"name": "a"}, ["a", {}]):
            self.assertIs(self.party.ask_around("x", payload)[0], payload)
            self.assertIs(self.party.ask_around("url", payload)[0], payload)

    def test_the_answers_are_handed_on_as_they_are(self):
        self.party = WSGIParty(not_found)
        urls = ["/a", "http://localhost/b", object()]
        self.join("url", *[lambda p, url=url: url for url in urls])
        self.assertEqual(self.party.ask_around("url", None), urls)

    def test_none_is_an_answer(self):
        self.party = WSGIParty(not_found)
        self.join("x", lambda p: None)
        self.assertEqual(self.party.ask_around("x", 0), [None])

    def test_no_such_service_name(self):
        self.party = WSGIParty(not_found)
        operator = self.join("x", lambda p: p)
        for asker in (self.party, operator):
            with self.assertRaises(NoSuchServiceName) as caught:
                asker.ask_around("unknown", None)
            self.assertIn("unknown", str(caught.exception))
        self.party = WSGIParty(not_found, ignore_missing_services=True)
        operator = self.join("x", lambda p: p)
        self.assertEqual(self.party.ask_around("unknown", None), [])
        self.assertEqual(operator.ask_around("unknown", None), [])

    def test_a_service_of_the_askers_own_is_not_missing(self):
        self.party = WSGIParty(not_found)
        operator = self.join("x", lambda p: p)
        self.assertEqual(operator.ask_around("x", None), [])

    def test_everybody_declining_gives_no_answers(self):
        def decline(payload):
            raise HighAndDry()

        self.party = WSGIParty(not_found)
        self.join("x", decline)
        self.assertEqual(self.party.ask_around("x", None), [])

    def test_another_exception_aborts_the_ask(self):
        later = []
        self.party = WSGIParty(not_found)
        self.join("x", lambda p: 1, lambda p: 1 / 0, later.append)
        with self.assertRaises(ZeroDivisionError):
            self.party.ask_around("x", None)
        self.assertEqual(later, [])

    def test_connecting_while_being_asked(self):
        self.party = WSGIParty(not_found)
        self.join("x", lambda p: self.party.connect("x", lambda p: 2) or 1)
        self.assertEqual(self.party.ask_around("x", None), [1])

    def test_asking_many(self):
        self.party = WSGIParty(not_found)
        operator = self.join("own", str)
        self.join("x", lambda p: p + 1)
        questions = [("x", 1), ("own", 2), ("x", 3)]
        self.assertEqual(self.party.ask_around_many(iter(questions)), [[2], ["2"], [4]])
        self.assertEqual(operator.ask_around_many(questions), [[2], [], [4]])
        self.assertEqual(operator.ask_around_many([]), [])
        with self.assertRaises(NoSuchServiceName):
            operator.ask_around_many([("x", 1), ("unknown", 1)])

    def test_ping(self):
        apps = [Application(ping=lambda p, n=n: "pong %d" % n) for n in range(3)]
        root, one, two = apps
        WSGIParty(
            dispatcher(root, one=one, two=two),
            ["/__invite__/", "/one/__invite__/", "/two/__invite__/"],
        )
        self.assertEqual(root.operator.ask_around("ping", None), ["pong 1", "pong 2"])
        self.assertEqual(two.operator.ask_around("ping", None), ["pong 0", "pong 1"])

    def test_flask_demo(self):
        root = Application({"index": "/"}, ping=lambda p: "pong")
        one = Application({"one:index": "/", "one:page": "/pages/{n}"}, ping=lambda p: "pong")
        two = Application({"two:index": "/"}, ping=lambda p: "pong")
        three = Application({"three:index": "/"})
        with serving(WSGIParty(
            dispatcher(root, one=one, two=two, three=three),
            invites=("/__invite__/", "/one/__invite__/", "/two/__invite__/"),
        )) as port:
            root.pages["/"] = lambda environ: [root.url_for("one:index"), root.url_for("two:index")]
            one.pages["/"] = lambda environ: one.url_for("two:index")
            two.pages["/"] = lambda environ: two.url_for("one:page", n=7)
            self.assertEqual(send(port, "GET", "/").json(), ["/one/", "/two/"])
            self.assertEqual(send(port, "GET", "/one/").json(), "/two/")
            self.assertEqual(send(port, "GET", "/two/").json(), "/one/pages/7")
            self.assertEqual(root.operator.ask_around("url", ("three:index", {})), [])
            for path in ("/__invite__/", "/one/__invite__/", "/two/__invite__/"):
                self.assertEqual(send(port, "GET", path).status, 404)

    def test_pyramid_demo(self):
        """The same application at the root and mounted twice."""
        operators = []

        def application(environ, start_response):
            prefix = environ["SCRIPT_NAME"]
            operator = environ.get("partyline")
            if operator is None:
                return not_found(environ, start_response)
            operators.append(operator)
            operator.connect("url", lambda p: prefix + "/" if p["name"] == "home" else None)
            start_response("200 OK", [])
            return []

        WSGIParty(
            dispatcher(application, a=application, b=application),
            ["/__invite__/", "/a/__invite__/", "/b/__invite__/"],
        )
        payload = {"name": "home", "kwargs": {}, "query": {}}
        self.assertEqual(
            [operator.ask_around("url", payload) for operator in operators],
            [["/a/", "/b/"], ["/", "/b/"], ["/", "/a/"]],
        )


class SettingsTest(unittest.TestCase):
    def test_an_invite_that_is_refused_is_logged(self):
        with self.assertLogs("wsgi_party", logging.WARNING) as logs:
            party(not_found, invites=["/__invite__/"])
        self.assertIn("invite /__invite__/: 404 Not Found", logs.output[0])
        with self.assertLogs("wsgi_party", logging.WARNING) as logs:
            party(lambda environ, start_response: [], invites=["/__invite__/"])
        self.assertIn("invite /__invite__/: no status", logs.output[0])
        with self.assertLogs("wsgi_party", logging.DEBUG) as logs:
            party(Application(), invites=["/__invite__/"])
            party(not_found, key="", invites=["/__invite__/"])
        self.assertEqual([record.levelno for record in logs.records], [logging.DEBUG] * 2)

    def test_a_short_key_is_refused_and_not_told(self):
        for key in ("secret", KEY + " secret"):
            with self.assertRaises(ValueError) as caught:
                party(not_found, key=key)
            self.assertNotIn("secret", str(caught.exception))
        party(not_found, key=KEY[:32])

    def test_empty_variables_are_as_good_as_unset(self):
        with environment(WSGI_PARTY_KEY="", WSGI_PARTY_URL="", WSGI_PARTY_GUEST=""):
            guest = WSGIParty(not_found)
        with serving(guest) as port:
            self.assertEqual(invite(port).status, 404)

    def test_a_url_without_a_key_is_an_error(self):
        with self.assertRaises(ValueError):
            party(not_found, key="", url="http://127.0.0.1:2080")

    def test_a_bad_url_is_an_error(self):
        for url in ("127.0.0.1:2080", "ftp://host/", "http://", "http://host:port/", "unix:/x"):
            with self.subTest(url), self.assertRaises(ValueError):
                party(not_found, url=url)


class InviteTest(unittest.TestCase):
    """The invite over HTTP, and the manifest."""

    def setUp(self):
        self.root = Application({"index": "/"}, ping=lambda p: "pong")
        self.one = Application({"one": "/"}, ping=lambda p: "pong", **{"a service": str})
        with self.assertLogs("wsgi_party", logging.WARNING) as logs:
            self.party = party(
                dispatcher(self.root, one=self.one),
                invites=("/__invite__/", "/one/__invite__/"),
            )
        self.assertIn("'a service'", logs.output[0])
        self.root.seen.clear()
        self.one.seen.clear()

    def test_manifest(self):
        with serving(self.party) as port:
            response = invite(port)
        self.assertEqual(response.status, 200)
        self.assertEqual(response.headers["Content-Type"], MANIFEST)
        self.assertEqual(response.json(), {"services": {
            "ping": [
                {"href": "/__invite__/partyline/ping.0"},
                {"href": "/__invite__/partyline/ping.1"},
            ],
            "url": [
                {"href": "/__invite__/partyline/url.0"},
                {"href": "/__invite__/partyline/url.1"},
            ],
        }})
        self.assertEqual(self.root.seen, [])

    def test_hrefs_are_below_the_invite_and_relative_to_the_mount(self):
        with serving(self.party) as port:
            for path, claims, below in (
                ("/one/__invite__/", {}, "/one/__invite__/partyline/ping.0"),
                ("/join", {}, "/join/partyline/ping.0"),
                ("/blog/__invite__/", {"mnt": "/blog"}, "/__invite__/partyline/ping.0"),
                ("/__invite__/", {"mnt": "/blog", "htu": "/blog/__invite__/"},
                 "/__invite__/partyline/ping.0"),
                ("/blog/__invite__/", {"mnt": "/blog", "htu": "/__invite__/"},
                 "/__invite__/partyline/ping.0"),
                ("/blog/__invite__/", {"mnt": "/blo"}, "/blog/__invite__/partyline/ping.0"),
                ("/a%20%7Bb%7D/caf%C3%A9/", {"mnt": "/a%20%7Bb%7D"}, "/caf%C3%A9/partyline/ping.0"),
                ("/%7Bb%7D/", {}, "/%7Bb%7D/partyline/ping.0"),
            ):
                with self.subTest(path=path, **claims):
                    response = invite(port, path, **claims)
                    self.assertEqual(response.status, 200)
                    self.assertEqual(response.json()["services"]["ping"][0]["href"], below)

    def test_etag(self):
        with serving(self.party) as port:
            etag = invite(port).headers["ETag"]
            response = invite(port, headers={"If-None-Match": etag})
            self.assertEqual((response.status, response.body), (304, b""))
            self.assertEqual(response.headers["ETag"], etag)
            self.root.operator.connect("new", str)
            response = invite(port, headers={"If-None-Match": etag})
            self.assertEqual(response.status, 200)
            self.assertIn("new", response.json()["services"])

    def test_without_accept_token_or_get_the_path_belongs_to_the_application(self):
        token = make_token("GET", "/__invite__/")
        with serving(self.party) as port:
            for method, headers in (
                ("GET", {}),
                ("GET", {"Accept": MANIFEST}),
                ("GET", {"Accept": MANIFEST, "Party-Token": ""}),
                ("GET", {"Party-Token": token}),
                ("GET", {"Party-Token": token, "Accept": "*/*"}),
                ("GET", {"Party-Token": token, "Accept": "text/html, " + MANIFEST + "x"}),
                ("POST", {"Party-Token": token, "Accept": MANIFEST}),
            ):
                with self.subTest(method=method, headers=headers):
                    response = send(port, method, "/__invite__/", headers=headers)
                    self.assertEqual(response.status, 404)
                    self.assertEqual(response.body, b"nothing here")

    def test_an_invite_with_a_query(self):
        with serving(self.party) as port:
            response = invite(port, "/__invite__/?a=b%20c")
            self.assertEqual(
                response.json()["services"]["ping"][0]["href"], "/__invite__/partyline/ping.0"
            )
            with self.assertLogs("wsgi_party", logging.WARNING):
                self.assertEqual(invite(port, "/__invite__/?a=b", htu="/__invite__/").status, 401)

    def test_accept_with_parameters_and_others(self):
        with serving(self.party) as port:
            response = invite(port, headers={"Accept": "text/html, Application/vnd.WSGI-party+json;q=1"})
        self.assertEqual(response.status, 200)

    def test_a_bad_token_is_401_and_logged_without_secrets(self):
        bad = make_token("GET", "/__invite__/", key=OTHER_KEY)
        with serving(self.party) as port:
            with self.assertLogs("wsgi_party", logging.WARNING) as logs:
                response = invite(port, token=bad)
        self.assertEqual(response.status, 401)
        self.assertEqual(response.headers["WWW-Authenticate"], "Party-Token")
        self.assertEqual(response.body, b"Unauthorized\n")
        self.assertIn("not signed with the key", logs.output[0])
        for secret in (KEY, OTHER_KEY, bad, bad.split(".")[2]):
            self.assertNotIn(secret, "".join(logs.output))
        self.assertEqual(self.root.seen, [])

    def test_any_of_several_keys(self):
        guest = party(self.root, key=OTHER_KEY + "\n " + KEY)
        with serving(guest) as port:
            self.assertEqual(invite(port).status, 200)
            self.assertEqual(invite(port, key=OTHER_KEY).status, 200)
            with self.assertLogs("wsgi_party", logging.WARNING):
                self.assertEqual(invite(port, key=OTHER_KEY + KEY).status, 401)

    def test_the_guest_name_can_be_pinned(self):
        with serving(party(self.root, guest="blog")) as port:
            self.assertEqual(invite(port, aud="blog").status, 200)
            with self.assertLogs("wsgi_party", logging.WARNING):
                self.assertEqual(invite(port, aud="shop").status, 401)
        with serving(self.party) as port:
            self.assertEqual(invite(port, aud="shop").status, 200)


class TokenTest(unittest.TestCase):
    """Each claim; the server's use of them is in the other tests."""

    def verify(self, token, keys=(KEY.encode(),), method="POST", path=b"/x", body=b"1", **kwargs):
        return verify_token(token, keys, method, path, body=body, **kwargs)

    def token(self, **kwargs):
        return make_token(**{"htu": "/x", "body": b"1", **kwargs})

    def refused(self, token, reason, **kwargs):
        with self.assertRaisesRegex(InvalidToken, reason):
            self.verify(token, **kwargs)

    def test_good(self):
        self.assertTrue(issubclass(InvalidToken, PartylineException))
        claims = self.verify(self.token(mnt="/blog", path=[["shop", "ping"]]))
        self.assertEqual(claims["mnt"], "/blog")
        self.assertEqual(claims["path"], [["shop", "ping"]])

    def test_a_token_made_elsewhere(self):
        """HS256 of RFC 7515, A.1: nothing of it from this file or the module's."""
        key = base64.urlsafe_b64decode(
            "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow=="
        )
        token = (
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
            ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
            ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
        )
        self.refused(token, "malformed", keys=[key])  # signed, but no Party-Token
        self.refused(token, "not signed")

    def test_signature(self):
        token = self.token()
        signed, _, signature = token.rpartition(".")
        for bad in (
            ".", "..", "a.b.c", signed, signed + ".", token + "A", token[:-1], token + "=",
            signed + "." + signature.swapcase(), "A" + token, token.replace(".", "..", 1),
            token + "." + signature, "\xe9.\xe9.\xe9", "\ud800", "a.b.\ud800", "\udfff" + token,
        ):
            with self.subTest(bad):
                self.refused(bad, "not signed")
        self.refused(token, "not signed", keys=[OTHER_KEY.encode()])
        for missing in ("", None):
            self.refused(missing, "there is none")
        claims = b64(json.dumps({"aud": "blog"}).encode())
        self.refused(token.split(".")[0] + "." + claims + "." + signature, "not signed")

    def test_what_is_no_key_verifies_nothing(self):
        """Such as that of a variable which is not set: everybody can sign with it."""
        for key in ("", " ", KEY[:31]):
            token = self.token(key=key)
            for keys in ([], [key.encode()], [b"", key.encode()]):
                self.refused(token, "no key of 32 bytes", keys=keys)
            self.refused(token, "not signed", keys=[KEY.encode(), key.encode()])
        self.verify(self.token(), keys=[b"", KEY.encode()])

    def test_claims_that_only_caddy_reads_are_ignored(self):
        self.verify(self.token(root="5f0c", mac="x", path=None, other=[{}]))

    def test_only_hs256(self):
        for algorithm in ("none", "None", "HS512", "hs256", "RS256", None):
            self.refused(self.token(header={"alg": algorithm}), "not HS256")
        self.refused(self.token(header={"alg": "HS256", "crit": ["b64"]}), "not HS256")
        self.refused(self.token(header={}), "malformed")
        unsigned = b64(b'{"alg":"none"}') + "." + self.token().split(".")[1] + "."
        self.refused(unsigned, "not signed")

    def test_audience(self):
        for audience in ("shop", "", [], 7):
            self.refused(self.token(aud=audience), "another guest", guest="blog")
        for audience in ("", []):
            self.refused(self.token(aud=audience), "another guest")
        self.refused(self.token(aud=None), "malformed")
        self.verify(self.token(aud="blog"), guest="blog")
        self.verify(self.token(aud="shop"))

    def test_time(self):
        token = self.token(iat=1000, exp=1060)
        for now, good in ((969.9, False), (970, True), (1060, True), (1089.9, True), (1090, False)):
            with self.subTest(now):
                if good:
                    self.verify(token, now=now)
                else:
                    self.refused(token, "expired", now=now)
        self.refused(self.token(iat=1000, exp=1061), "too long", now=1000)
        self.refused(self.token(iat=1000, exp=999), "too long", now=1000)
        self.refused(self.token(iat=1000, exp=float("nan")), "too long", now=1000)
        for claim in ("iat", "exp"):
            for value in (None, "1000", [], {}):
                self.refused(self.token(**{"iat": 1000, "exp": 1001, claim: value}), "malformed")
        self.refused(self.token(iat=1000, exp=1060), "expired")

    def test_method(self):
        self.refused(self.token(method="GET"), "another method")
        self.refused(self.token(htm=None), "malformed")

    def test_path(self):
        for htu in ("/", "/x/", "/y", "", "//x", "/x/../y", "/X", "https://example.com/x"):
            with self.subTest(htu):
                self.refused(self.token(htu=htu), "another path")
        for htu in (None, 7, []):
            self.refused(self.token(htu=htu), "malformed")
        for htu in ("/x", "/x?", "/%78"):
            self.verify(self.token(htu=htu))
        for query in ("", "a=c", "a=b&a=c", "a=b?", "a=%62"):
            self.refused(self.token(htu="/x?a=b"), "another query", query=query)
        self.refused(self.token(htu="/x"), "another query", query="a=b")
        self.verify(self.token(htu="/x?a=b?c"), query="a=b?c")
        for htu, mount, path, good in (
            ("/blog/x", "/blog", b"/x", True),
            ("/x", "/blog", b"/blog/x", True),
            ("/blog/x", "/blog", b"/blog/x", True),
            ("/blog", "/blog", b"/", True),
            ("/blog/", "/blog", b"/", True),
            ("/blog/", "/blog", b"/blog", True),
            ("/blog/x", "/blog", b"/", False),
            ("/blog/x", "/blo", b"/x", False),
            ("/blog/x", "", b"/x", False),
            ("/caf%C3%A9/x", "/caf%C3%A9", b"/x", True),
            ("/x", "/caf%C3%A9", b"/caf\xc3\xa9/x", True),
        ):
            with self.subTest(htu=htu, mount=mount, path=path):
                token = self.token(htu=htu, mnt=mount)
                if good:
                    self.verify(token, path=path)
                else:
                    self.refused(token, "another path", path=path)

    def test_mount(self):
        for mount in ("//evil", "evil", "/", "/a/", "/a\\b", "/a\r\n", "/a b", "/a?b", "https://x"):
            with self.subTest(mount):
                self.refused(self.token(mnt=mount), "mnt is no path")
        for mount in (7, None):
            self.refused(self.token(mnt=mount), "malformed")

    def test_body(self):
        self.refused(self.token(body=b"2"), "another body")
        self.refused(self.token(bsh=None), "malformed")
        self.refused(self.token(bsh=7), "malformed")
        self.verify(self.token(body=b""), body=b"")

    def test_malformed_but_signed(self):
        for payload in (
            b"[]", b"null", b"1", b"", b"\xff", b"{" * 100000, b"[" * 100000,
            b'{"iat":1%s,"exp":1.5,"aud":"blog","mnt":""}' % (b"0" * 400),
            b'{"iat":1%s,"exp":1,"aud":"blog","mnt":""}' % (b"0" * 5000),
        ):
            signed = b64(b'{"alg":"HS256"}') + "." + b64(payload)
            digest = hmac.new(KEY.encode(), signed.encode(), "sha256").digest()
            with self.subTest(payload[:9]):
                self.refused(signed + "." + b64(digest), "malformed")
        for header in ([], "HS256", 1):
            self.refused(self.token(header=header), "malformed")

    def test_signatures_are_compared_in_constant_time_for_every_key(self):
        keys = [KEY.encode(), OTHER_KEY.encode()]
        with mock.patch.object(
            hmac, "compare_digest", wraps=hmac.compare_digest
        ) as compare:
            self.verify(self.token(), keys=keys)
            self.assertEqual(compare.call_count, 2)
            self.refused("a.b.c", "not signed", keys=keys)
            self.assertEqual(compare.call_count, 4)


class HrefTest(unittest.TestCase):
    """What Caddy asks at the hrefs of the manifest."""

    def serve(self, guest):
        return self.enter(serving(guest))

    def enter(self, context):
        value = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        return value

    def serve_handlers(self, **handlers):
        self.app = Application(**handlers)
        port = self.serve(party(self.app, invites=["/__invite__/"]))
        self.app.seen.clear()
        return port

    def test_every_href_of_the_manifest_answers(self):
        one = Application(double=lambda p: p * 2, ping=lambda p: "one")
        two = Application(ping=lambda p: "two")
        port = self.serve(party(
            dispatcher(not_found, one=one, two=two), ["/one/__invite__/", "/two/__invite__/"],
        ))
        services = invite(port).json()["services"]
        got = {
            name: [ask(port, each["href"], "ab").json() for each in handlers]
            for name, handlers in services.items()
        }
        self.assertEqual(got, {"double": ["abab"], "ping": ["one", "two"]})

    def test_payload_and_answer_are_json(self):
        port = self.serve_handlers(echo=lambda p: p)
        for payload in (None, 1, 12345678901234567890, 1.5, "é☃", [1, [2]], {"a": {"b": []}}, True):
            with self.subTest(payload):
                response = ask(port, "/__invite__/partyline/echo.0", payload)
                self.assertEqual(response.status, 200)
                self.assertEqual(response.headers["Content-Type"], "application/json")
                self.assertEqual(response.json(), payload)

    def test_with_and_without_the_mount(self):
        port = self.serve_handlers(ping=lambda p: "pong")
        below = "/__invite__/partyline/ping.0"
        for path, claims, status in (
            (below, {"mnt": "/blog", "htu": "/blog" + below}, 200),
            (below, {"mnt": "/blog", "htu": below}, 200),
            ("/blog" + below, {"mnt": "/blog", "htu": below}, 200),
            ("/blog" + below, {"mnt": "/blog"}, 200),
            ("/blog" + below, {"htu": below}, 401),
            (below, {"htu": "/blog" + below}, 401),
        ):
            with self.subTest(path=path, **claims):
                with self.quiet():
                    self.assertEqual(ask(port, path, **claims).status, status)

    @contextlib.contextmanager
    def quiet(self):
        logger = logging.getLogger("wsgi_party")
        with mock.patch.object(logger, "disabled", True):
            yield

    def test_script_name_counts_as_part_of_the_path(self):
        app = Application(ping=lambda p: "pong")
        guest = party(app, invites=["/__invite__/"])
        port = self.serve(dispatcher(not_found, sub=guest))
        services = invite(port, "/sub/__invite__/").json()["services"]
        self.assertEqual(services["ping"][0]["href"], "/sub/__invite__/partyline/ping.0")
        self.assertEqual(ask(port, services["ping"][0]["href"]).json(), "pong")

    def test_declining_is_204(self):
        def decline(payload):
            raise HighAndDry()

        port = self.serve_handlers(ping=decline)
        response = ask(port, "/__invite__/partyline/ping.0")
        self.assertEqual((response.status, response.body), (204, b""))

    def test_an_exception_is_500_and_logged(self):
        def fail(payload):
            raise RuntimeError("the password is swordfish")

        port = self.serve_handlers(
            fail=fail, missing=lambda p: self.app.operator.ask_around("unknown", p),
        )
        for service in ("fail", "missing"):
            with self.subTest(service):
                with self.assertLogs("wsgi_party", logging.ERROR) as logs:
                    response = ask(port, "/__invite__/partyline/%s.0" % service)
                self.assertEqual(response.status, 500)
                self.assertEqual(response.body, b"Internal Server Error\n")
                self.assertIn("Traceback", logs.output[0])
                self.assertIn(service, logs.output[0])

    def test_a_bad_body_is_400(self):
        port = self.serve_handlers(ping=lambda p: "pong")
        for body in (b"", b"{", b"\xff\xfe\xfa", b"[" * 200000, b"pong", b"1 2"):
            with self.subTest(body[:9]):
                response = ask(port, "/__invite__/partyline/ping.0", body=body)
                self.assertEqual(response.status, 400)
        response = ask(
            port, "/__invite__/partyline/ping.0", body=b"1", headers={"Content-Length": "one"}
        )
        self.assertEqual(response.status, 400)

    def test_a_body_over_1_mib_is_413(self):
        port = self.serve_handlers(size=len)
        fits = b'"%s"' % (b"x" * (2**20 - 2))
        response = ask(port, "/__invite__/partyline/size.0", body=fits)
        self.assertEqual((response.status, response.json()), (200, 2**20 - 2))
        # The length alone is enough.
        response = ask(
            port, "/__invite__/partyline/size.0", body=b"1",
            headers={"Content-Length": str(2**20 + 1)},
        )
        self.assertEqual(response.status, 413)

    def call(self, guest, body, **environ):
        """Calls without a server, since wsgiref's knows no chunked bodies."""
        environ = {
            "REQUEST_METHOD": "POST", "PATH_INFO": "/i/partyline/x.0", "wsgi.input": body,
            "HTTP_PARTY_TOKEN": make_token(htu="/i/partyline/x.0", body=body.getvalue()), **environ,
        }
        statuses = []
        # In a context of its own, as in a server's thread.
        chunks = contextvars.copy_context().run(
            guest, environ, lambda status, headers: statuses.append(status)
        )
        return statuses[0][:3], b"".join(chunks)

    def test_chunked_bodies(self):
        guest = party(not_found)
        guest.connect("x", lambda p: p)
        terminated = {"wsgi.input_terminated": True}
        self.assertEqual(self.call(guest, io.BytesIO(b"[1]"), **terminated), ("200", b"[1]"))
        fits = b"1" + b" " * (2**20 - 1)
        self.assertEqual(self.call(guest, io.BytesIO(fits), **terminated), ("200", b"1"))
        endless = mock.Mock()
        endless.read = lambda size: b" " * size
        endless.getvalue = lambda: b""
        self.assertEqual(self.call(guest, endless, **terminated)[0], "413")
        # A body whose end is unknown must not be read.
        self.assertEqual(self.call(guest, mock.Mock(
            read=lambda size: b"1"[:size], getvalue=lambda: b"",
        ))[0], "400")
        for length, status in (("-1", "400"), ("1.5", "400"), ("3", "200")):
            got = self.call(guest, io.BytesIO(b"[1]"), CONTENT_LENGTH=length)
            self.assertEqual(got[0], status)

    def test_the_method_is_checked(self):
        port = self.serve_handlers(ping=lambda p: "pong")
        for method in ("GET", "PUT", "DELETE"):
            response = ask(port, "/__invite__/partyline/ping.0", body=b"1", method=method)
            self.assertEqual((response.status, response.headers["Allow"]), (405, "POST"))

    def test_an_href_that_is_gone_is_404(self):
        port = self.serve_handlers(ping=lambda p: "pong")
        for tail in ("ping.1", "ping.999999", "pong.0"):
            response = ask(port, "/__invite__/partyline/" + tail)
            self.assertEqual((response.status, response.body), (404, b"Not Found\n"))

    def test_a_token_is_demanded(self):
        calls = []
        port = self.serve_handlers(ping=calls.append)
        href = "/__invite__/partyline/ping.0"
        response = send(port, "POST", href, b"1")
        self.assertEqual((response.status, response.body), (404, b"nothing here"))
        for claims in (
            {"key": OTHER_KEY}, {"header": {"alg": "none"}}, {"htm": "GET"}, {"htu": "/"},
            {"bsh": b64(hashlib.sha256(b"2").digest())}, {"iat": 1, "exp": 61}, {"aud": None},
        ):
            with self.subTest(**claims), self.assertLogs("wsgi_party", logging.WARNING):
                self.assertEqual(ask(port, href, 1, **claims).status, 401)
        self.assertEqual(calls, [])

    def test_other_paths_belong_to_the_application(self):
        """Such as an href that the Caddyfile declares."""
        port = self.serve_handlers(ping=lambda p: "pong")
        for path in (
            "/api/user", "/__invite__/ping", "/__invite__/partyline/", "/__invite__/partyline/ping",
            "/__invite__/partyline/ping.0/", "/__invite__/partyline/ping.x",
            "/__invite__/partyline/ping.0%0A", "/__invite__/partyline/p%C3%AFng.0",
        ):
            with self.subTest(path):
                self.app.seen.clear()
                response = ask(port, path, 1)
                self.assertEqual(response.body, b"nothing here")
                self.assertEqual(len(self.app.seen), 1)

    def test_any_worker_answers_any_ask(self):
        """Two processes, neither of which has seen the other's requests."""
        code = """if True:
            from wsgi_party import WSGIParty
            from test_wsgi_party import Application, QuietHandler
            from wsgiref.simple_server import make_server
            app = WSGIParty(Application(ping=lambda p: "pong"), invites=["/__invite__/"])
            server = make_server("127.0.0.1", 0, app, handler_class=QuietHandler)
            print(server.server_port, flush=True)
            server.serve_forever()
        """
        with environment(WSGI_PARTY_KEY=KEY, WSGI_PARTY_URL="http://127.0.0.1:1/"):
            workers = [
                subprocess.Popen(
                    [sys.executable, "-c", code], stdout=subprocess.PIPE,
                    cwd=os.path.dirname(os.path.abspath(__file__)),
                )
                for _ in range(2)
            ]
        try:
            ports = [int(worker.stdout.readline()) for worker in workers]
            manifests = [invite(port).json() for port in ports]
            self.assertEqual(manifests[0], manifests[1])
            href = manifests[0]["services"]["ping"][0]["href"]
            self.assertEqual([ask(port, href).json() for port in ports], ["pong", "pong"])
        finally:
            for worker in workers:
                worker.terminate()
                worker.wait()
                worker.stdout.close()

    def test_many_threads(self):
        """Connecting and asking at once."""
        app = Application(echo=lambda p: p)
        guest = party(app, invites=["/__invite__/"])
        port = self.serve(guest)
        failures = []

        def work(n):
            try:
                operator = PartylineOperator(guest)
                for i in range(15):
                    operator.connect("s%d-%d" % (n, i), str)
                    operator.connect("shared", lambda p: n)
                    if ask(port, "/__invite__/partyline/echo.0", [n, i]).json() != [n, i]:
                        failures.append("mixed up")
                    if invite(port).status != 200 or n in operator.ask_around("shared", None):
                        failures.append("asked itself")
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(len(guest.handlers["shared"]), 8 * 15)


class URLTest(unittest.TestCase):
    """The service url: payload and mount."""

    def test_payloads_read_both_ways(self):
        for payload, kwargs, query, values in (
            (["n", {"a": 1}], {"a": 1}, {}, {"a": 1}),
            (["n", None], {}, {}, {}),
            ({"name": "n"}, {}, {}, {}),
            ({"name": "n", "values": None}, {}, {}, {}),
            ({"name": "n", "values": {"a": 1}}, {"a": 1}, {}, {"a": 1}),
            ({"name": "n", "kwargs": {"a": 1}, "query": {"b": 2}}, {"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
            ({"name": "n", "kwargs": {"a": 1}, "query": None, "values": {"c": 3}},
             {"a": 1, "c": 3}, {}, {"a": 1, "c": 3}),
        ):
            with self.subTest(payload):
                wrapped = URLPayload.wrap(json.loads(json.dumps(payload)))
                name, got = wrapped
                self.assertEqual((name, got), ("n", values))
                self.assertEqual((wrapped[0], wrapped[1], len(wrapped)), ("n", values, 2))
                self.assertEqual(wrapped["name"], "n")
                self.assertEqual(wrapped["values"], values)
                self.assertEqual(wrapped["kwargs"], kwargs)
                self.assertEqual(wrapped["query"], query)
                self.assertEqual(wrapped.get("name"), "n")
                self.assertIsNone(wrapped.get("else"))
                self.assertIn("name", wrapped)
                with self.assertRaises(KeyError):
                    wrapped["else"]
                members = {"name": "n", "values": values, "kwargs": kwargs, "query": query}
                self.assertEqual(dict(wrapped), members)
                self.assertEqual({**wrapped}, members)
                self.assertEqual(json.loads(json.dumps(wrapped)), members)

    def test_other_payloads_stay_as_they_are(self):
        for payload in (
            None, "n", 7, [], ["n"], ["n", {}, 1], [1, {}], ["n", "m"], {}, {"name": 1},
            {"name": "n", "values": [1]}, {"name": "n", "query": "x"},
        ):
            with self.subTest(payload):
                self.assertIs(URLPayload.wrap(payload), payload)

    def test_both_demos_are_asked_over_http(self):
        flask = Application({"post": "/posts/{slug}"})
        flask_like = party(flask, invites=["/__invite__/"])
        # Pyramid's route_url gives the host, too, and here that is the invite's.
        flask_like.connect(
            "url", lambda p: "http://localhost/{}/{}".format(p["name"], p["kwargs"]["slug"])
        )
        with serving(flask_like) as port:
            for payload in (["post", {"slug": "a"}], {"name": "post", "values": {"slug": "a"}}):
                got = [
                    # Relative to the mount: adding it is Caddy's.
                    ask(port, "/__invite__/partyline/url.%d" % n, payload, mnt="/blog").json()
                    for n in range(2)
                ]
                self.assertEqual(got, ["/posts/a", "/post/a"])

    def test_a_handler_may_ask_for_another_url(self):
        """As one that keeps an old name of a page working."""
        new = Application({"new": "/new"})
        old = Application()

        def alias(payload):
            name, _ = payload
            if name != "old":
                raise HighAndDry()
            return old.operator.ask_around("url", ("new", {}))[0]

        old.handlers["url"] = alias
        old.handlers["link"] = lambda p: old.operator.ask_around("url", ("new", {}))[0]
        new.pages["/"] = lambda environ: [
            new.operator.ask_around("url", ("old", {})), new.operator.ask_around("link", None),
        ]
        guest = party(
            dispatcher(new, old=old), invites=["/__invite__/", "/old/__invite__/"],
        )
        with serving(guest) as port:
            page = send(port, "GET", "/", headers={"X-Forwarded-Prefix": "/blog"})
            self.assertEqual(page.json(), [["/blog/new"], ["/blog/new"]])
            href = "/i/partyline/url.1"
            self.assertEqual(ask(port, href, ["old", {}], mnt="/blog").json(), "/new")

    def test_other_services_get_what_came(self):
        guest = party(not_found)
        guest.connect("x", lambda p: p)
        with serving(guest) as port:
            self.assertEqual(ask(port, "/i/partyline/x.0", ["n", {}]).json(), ["n", {}])

    def test_answers_from_this_process_get_the_mount(self):
        app = Application()
        guest = party(app, invites=["/__invite__/"])
        urls = ["/a", "http://localhost/b?c", "http://localhost.evil/", "//evil", "https://x/", 7]
        for url in urls:
            guest.connect("url", lambda p, url=url: url)
            guest.connect("x", lambda p, url=url: url)
        app.pages["/"] = lambda environ: app.operator.ask_around("url", ["n", {}])
        app.pages["/x"] = lambda environ: app.operator.ask_around("x", None)
        asked = []
        guest.connect("ask", lambda p: asked.append(app.operator.ask_around("url", ["n", {}])))
        with serving(guest) as port:

            def page(prefix, path="/"):
                return send(port, "GET", path, headers={"X-Forwarded-Prefix": prefix}).json()

            unmounted = ["/a", "/b?c"] + urls[2:]
            self.assertEqual(page("/blog"), ["/blog/a", "/blog/b?c"] + urls[2:])
            self.assertEqual(page("/blog", "/x"), urls)
            for prefix in ("", "//evil", "/a, /b", "javascript:", "/a\\b"):
                self.assertEqual(page(prefix), unmounted)
            self.assertEqual(send(port, "GET", "/").json(), unmounted)
            ask(port, "/i/partyline/ask.0", mnt="/shop", headers={"X-Forwarded-Prefix": "/blog"})
            self.assertEqual(asked[0][:2], ["/shop/a", "/shop/b?c"])
        # Outside of a request nothing is known of a mount.
        self.assertEqual(app.operator.ask_around("url", ["n", {}]), unmounted)


class AskElsewhereTest(unittest.TestCase):
    """Asking with WSGI_PARTY_URL set."""

    def setUp(self):
        self.contexts = contextlib.ExitStack()
        self.addCleanup(self.contexts.close)

    def caddy(self, *answers, cls=FakeCaddy, **kwargs):
        return self.contexts.enter_context(running(cls(*answers, **kwargs)))

    def guest(self, url, application=not_found, **kwargs):
        return party(application, url=url, **kwargs)

    def test_this_process_first_then_everyone_else(self):
        caddy = self.caddy(answers("theirs", None))
        app = Application(ping=lambda p: "own")
        guest = self.guest(caddy.url, app, invites=["/__invite__/"])
        guest.connect("ping", lambda p: "ours")
        got = app.operator.ask_around("ping", ("a", {"é": [1, None]}))
        self.assertEqual(got, ["ours", "theirs", None])
        request, = caddy.requests
        self.assertEqual(request["path"], "/ping")
        self.assertEqual(request["json"], ["a", {"é": [1, None]}])
        self.assertEqual(request["headers"]["Authorization"], "Bearer " + KEY)
        self.assertEqual(request["headers"]["Content-Type"], "application/json")
        self.assertNotIn("Party-Token", request["headers"])

    def test_the_first_key_asks(self):
        caddy = self.caddy(answers())
        self.guest(caddy.url, key=OTHER_KEY + "  " + KEY).ask_around("x", None)
        self.assertEqual(caddy.requests[0]["headers"]["Authorization"], "Bearer " + OTHER_KEY)

    def test_a_key_of_other_letters(self):
        caddy = self.caddy(answers())
        key = "schlüssel☃" * 4
        self.guest(caddy.url, key=key).ask_around("x", None)
        got = caddy.requests[0]["headers"]["Authorization"].encode("latin-1").decode()
        self.assertEqual(got, "Bearer " + key)

    def test_paths(self):
        caddy = self.caddy(answers(), [answers(), answers()])
        self.guest(caddy.url + "/line/").ask_around("a/b ?ü", None)
        self.guest(caddy.url + "/line").ask_around_many([("a", 1), ("b", 2)])
        self.assertEqual(caddy.requests[0]["path"], "/line/a%2Fb%20%3F%C3%BC")
        self.assertEqual(caddy.requests[1]["path"], "/line/")

    def test_unix_socket(self):
        folder = self.contexts.enter_context(tempfile.TemporaryDirectory())
        path = os.path.join(folder, "party.sock")
        caddy = self.caddy(answers("theirs"), address=path)
        guest = self.guest("unix/" + path)
        self.assertTrue(path.startswith("/"))
        self.assertEqual(guest.ask_around("ping", 1), ["theirs"])
        self.assertEqual(caddy.requests[0]["path"], "/ping")
        self.assertEqual(caddy.requests[0]["headers"]["Host"], "localhost")
        with self.assertLogs("wsgi_party", logging.WARNING):
            self.assertEqual(self.guest("unix/" + path + "x").ask_around("ping", 1), [])

    def test_proxies_of_the_environment_are_not_used(self):
        caddy = self.caddy(answers(1))
        with mock.patch.dict(os.environ, {"http_proxy": "http://127.0.0.1:1/"}):
            self.assertEqual(self.guest(caddy.url).ask_around("x", None), [1])

    def test_nothing_is_asked_at_start(self):
        caddy = self.caddy()
        asked = []

        def application(environ, start_response):
            operator = environ["partyline"]
            operator.connect("x", str)
            asked.append(operator.ask_around("x", None))
            with self.assertRaises(NoSuchServiceName):
                operator.ask_around("elsewhere", None)
            start_response("200 OK", [])
            return []

        self.guest(caddy.url, application, invites=["/__invite__/"])
        self.assertEqual(asked, [[]])
        self.assertEqual(caddy.requests, [])
        self.guest("http://127.0.0.1:1/", application, invites=["/__invite__/"])

    def test_an_operator_without_an_invite(self):
        """For an application that cannot be invited over http://localhost."""
        caddy = self.caddy(answers("theirs"))
        guest = self.guest(caddy.url)
        operator = PartylineOperator(guest)
        operator.connect("x", str)
        guest.connect("x", lambda p: "ours")
        self.assertEqual(operator.ask_around("x", None), ["ours", "theirs"])

    def test_no_such_service_name_only_if_neither_side_knows_it(self):
        caddy = self.caddy(NO_SUCH_SERVICE, NO_SUCH_SERVICE, answers(), NO_SUCH_SERVICE)
        guest = self.guest(caddy.url)
        guest.connect("ours", lambda p: 1)
        with self.assertRaises(NoSuchServiceName):
            guest.ask_around("unknown", None)
        self.assertEqual(guest.ask_around("ours", None), [1])
        self.assertEqual(guest.ask_around("theirs", None), [])
        lenient = self.guest(caddy.url, ignore_missing_services=True)
        self.assertEqual(lenient.ask_around("unknown", None), [])

    def test_a_remote_failure_is_logged_and_skipped(self):
        for failure in (
            (404, "text/html", b"<h1>not found</h1>"),
            (401, "application/problem+json", {"title": "unknown key"}),
            (500, "text/plain", b"oops"),
            (302, "text/plain", b""),
            (204, "text/plain", b""),
            (200, "text/html", b"<html>"),
            (200, "application/json", b"[" * 200000),
            {}, [], None, {"answers": None}, {"answers": "no"}, {"answers": {}},
        ):
            with self.subTest(failure):
                caddy = self.caddy(failure)
                guest = self.guest(caddy.url)
                guest.connect("ping", lambda p: "ours")
                with self.assertLogs("wsgi_party", logging.WARNING) as logs:
                    self.assertEqual(guest.ask_around("ping", None), ["ours"])
                self.assertEqual(len(logs.output), 1)
                self.assertIn("ping", logs.output[0])
                self.assertNotIn(KEY, logs.output[0])
                self.assertEqual(len(caddy.requests), 1)  # no redirect is followed

    def test_nobody_there(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            guest = self.guest("http://127.0.0.1:%d" % unused.getsockname()[1])
            with self.assertLogs("wsgi_party", logging.WARNING) as logs:
                self.assertEqual(guest.ask_around("ping", None), [])
        self.assertNotIn(KEY, logs.output[0])

    def test_garbage(self):
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()

            def answer():
                connection, _ = server.accept()
                connection.recv(1 << 16)
                connection.sendall(b"SSH-2.0-hello\r\n\r\n")
                connection.close()

            thread = threading.Thread(target=answer)
            thread.start()
            guest = self.guest("http://127.0.0.1:%d" % server.getsockname()[1])
            with self.assertLogs("wsgi_party", logging.WARNING):
                self.assertEqual(guest.ask_around("ping", None), [])
            thread.join()

    def test_time_out(self):
        self.assertGreater(WSGIParty.ask_timeout, 2)  # a guest's
        folder = self.contexts.enter_context(tempfile.TemporaryDirectory())
        for family, address in (
            (socket.AF_INET, ("127.0.0.1", 0)),
            (socket.AF_UNIX, os.path.join(folder, "party.sock")),
        ):
            with self.subTest(family), socket.socket(family) as server:
                server.bind(address)
                server.listen()  # and accept nothing
                guest = self.guest(
                    "http://127.0.0.1:%d" % server.getsockname()[1]
                    if family == socket.AF_INET else "unix/" + address
                )
                guest.ask_timeout = 0.1
                guest.connect("ping", lambda p: "ours")
                got = []
                thread = threading.Thread(
                    target=lambda: got.append(guest.ask_around("ping", None)), daemon=True
                )
                with self.assertLogs("wsgi_party", logging.WARNING):
                    thread.start()
                    thread.join(5)
                self.assertEqual(got, [["ours"]])

    def test_connections_are_closed_where_they_are_not_kept(self):
        closed = threading.Semaphore(0)

        class Caddy(FakeCaddy):
            keeps_alive = False

            def shutdown_request(self, request):  # when nothing more comes
                super().shutdown_request(request)
                closed.release()

        caddy = self.caddy(answers(), (500, "text/plain", b""), cls=Caddy)
        guest = self.guest(caddy.url)
        guest.ask_around("x", None)
        self.assertTrue(closed.acquire(timeout=20))
        with self.assertLogs("wsgi_party", logging.WARNING):
            guest.ask_around("x", None)
        self.assertTrue(closed.acquire(timeout=20))

    def test_a_payload_that_is_no_json_is_asked_here_only(self):
        caddy = self.caddy()
        guest = self.guest(caddy.url)
        cyclic = []
        cyclic.append(cyclic)
        for n, payload in enumerate((object(), {1, 2}, b"bytes", float("nan"), cyclic)):
            guest.connect("x%d" % n, lambda p: "ours")
            with self.assertLogs("wsgi_party", logging.WARNING):
                self.assertEqual(guest.ask_around("x%d" % n, payload), ["ours"])
        self.assertEqual(caddy.requests, [])

    def test_guests_that_failed_are_logged(self):
        caddy = self.caddy(answers(1, replies=[
            {"guest": "shop", "status": "answered", "answer": 1},
            {"guest": "blog", "status": "failed", "error": "it took too long"},
            {"guest": "wiki", "status": "declined"},
        ]))
        with self.assertLogs("wsgi_party", logging.WARNING) as logs:
            self.assertEqual(self.guest(caddy.url).ask_around("x", None), [1])
        self.assertEqual(len(logs.output), 1)
        self.assertIn("'blog' failed to answer x: 'it took too long'", logs.output[0])

    def test_an_exception_in_this_process_still_aborts(self):
        caddy = self.caddy()
        guest = self.guest(caddy.url)
        guest.connect("x", lambda p: 1 / 0)
        with self.assertRaises(ZeroDivisionError):
            guest.ask_around("x", None)
        self.assertEqual(caddy.requests, [])

    def test_more_questions_than_caddy_takes_are_several_requests(self):
        caddy = self.caddy(
            [answers("a")] * 256, [answers("b")] * 2, [answers("a")] * 256, answers("b"),
            [answers("a")] * 256, [],
        )
        guest = self.guest(caddy.url)
        questions = [("x", n) for n in range(258)]
        self.assertEqual(guest.ask_around_many(questions), [["a"]] * 256 + [["b"]] * 2)
        self.assertEqual([len(r["json"]) for r in caddy.requests], [256, 2])
        self.assertEqual(guest.ask_around_many(questions[:257]), [["a"]] * 256 + [["b"]])
        self.assertEqual([r["path"] for r in caddy.requests[2:]], ["/", "/x"])
        # What was answered before is not lost with what fails then.
        with self.assertLogs("wsgi_party", logging.WARNING):
            self.assertEqual(guest.ask_around_many(questions), [["a"]] * 256 + [[]] * 2)

    def test_as_many_bytes_as_caddy_takes_are_one_request(self):
        caddy = self.caddy(*[answers(n) for n in range(4)], [answers("a"), answers("b")])
        guest = self.guest(caddy.url)
        most = "x" * (2**20 - 2)
        self.assertEqual(guest.ask_around_many([("x", most)] * 3), [[0], [1], [2]])
        with self.assertLogs("wsgi_party", logging.WARNING) as logs:
            got = guest.ask_around_many([("long", most + "x"), ("x", most)])
        self.assertEqual(got, [[], [3]])
        self.assertIn("payload is longer than 1048576 bytes", logs.output[0])
        half = "x" * (2**19 - len('[{"service":"x","payload":""}') - 1)
        self.assertEqual(guest.ask_around_many([("x", half), ("x", half + "x")]), [["a"], ["b"]])
        self.assertEqual(len(caddy.requests[4]["json"]), 2)

    def test_many_questions_are_one_request(self):
        caddy = self.caddy(
            [answers("a"), {"status": 404}, answers()],
            [answers("a"), {"status": 508, "title": "nested too deep"}],
            [answers("a"), {"status": 404}],
            [answers("a")],
            NO_SUCH_SERVICE,
        )
        guest = self.guest(caddy.url)
        guest.connect("y", lambda p: p)
        questions = [("x", 1), ("y", 2), ("z", 3)]
        self.assertEqual(guest.ask_around_many(questions), [["a"], [2], []])
        request, = caddy.requests
        self.assertEqual(request["path"], "/")
        self.assertEqual(request["headers"]["Authorization"], "Bearer " + KEY)
        self.assertEqual(request["json"], [
            {"service": "x", "payload": 1}, {"service": "y", "payload": 2},
            {"service": "z", "payload": 3},
        ])
        with self.assertLogs("wsgi_party", logging.WARNING):
            self.assertEqual(guest.ask_around_many(questions[:2]), [["a"], [2]])
        with self.assertRaises(NoSuchServiceName):
            guest.ask_around_many([("x", 1), ("unknown", 2)])
        for _ in range(2):
            with self.assertLogs("wsgi_party", logging.WARNING):
                self.assertEqual(guest.ask_around_many([("x", 1), ("unknown", 2)]), [[], []])
        self.assertEqual(guest.ask_around_many([]), [])
        self.assertEqual(len(caddy.requests), 5)

    def test_the_token_of_the_request_is_handed_back(self):
        caddy = self.caddy(*[answers(i) for i in range(5)])
        app = Application(relay=lambda p: app.operator.ask_around("x", p))
        app.pages["/"] = app.pages["/api"] = lambda environ: app.operator.ask_around("x", None)
        with serving(self.guest(caddy.url, app, invites=["/__invite__/"])) as port:
            href = "/__invite__/partyline/relay.0"
            body = json.dumps(7).encode()
            token = make_token(htu=href, body=body, path=[["shop", "relay"]])
            self.assertEqual(ask(port, href, body=body, token=token).json(), [0])
            self.assertEqual(send(port, "GET", "/").json(), [1])
            # An href that the Caddyfile declares: the application's to verify.
            self.assertEqual(ask(port, "/api", method="GET", token=token).json(), [2])
            self.assertEqual(send(port, "GET", "/").json(), [3])
        app.operator.ask_around("x", None)
        got = [request["headers"]["Party-Token"] for request in caddy.requests]
        self.assertEqual(got, [token, None, token, None, None])
        self.assertEqual(caddy.requests[0]["json"], 7)

    def test_a_refused_token_is_not_handed_back(self):
        caddy = self.caddy()
        app = Application(relay=lambda p: app.operator.ask_around("x", p))
        with serving(self.guest(caddy.url, app, invites=["/__invite__/"])) as port:
            with self.assertLogs("wsgi_party", logging.WARNING):
                ask(port, "/__invite__/partyline/relay.0", key=OTHER_KEY)
        self.assertEqual(caddy.requests, [])

    def test_the_token_is_known_while_the_body_is_produced(self):
        caddy = self.caddy(answers("a"))

        def application(environ, start_response):
            start_response("200 OK", [])
            yield json.dumps(guest.ask_around("x", None)).encode()

        guest = self.guest(caddy.url, application)
        token = make_token("GET", "/")
        with serving(guest) as port:
            self.assertEqual(send(port, "GET", "/", headers={"Party-Token": token}).json(), ["a"])
        self.assertEqual(caddy.requests[0]["headers"]["Party-Token"], token)

    def test_tokens_of_requests_handled_together_are_kept_apart(self):
        class Echo(FakeCaddy):
            def respond(self, request):
                return answers(request["headers"]["Party-Token"])

        caddy = self.caddy(cls=Echo)
        app = Application()
        barrier = threading.Barrier(4)

        def relay(payload):
            barrier.wait(10)
            return app.operator.ask_around("x", payload)

        app.handlers["relay"] = relay
        got = {}
        with serving(self.guest(caddy.url, app, invites=["/__invite__/"])) as port:

            def work(n):
                href = "/__invite__/partyline/relay.0"
                token = make_token(htu=href, body=b"1", jti=str(n))
                got[token] = ask(port, href, body=b"1", token=token).json()

            threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual(len(got), 4)
        self.assertEqual(got, {token: [token] for token in got})

    def test_two_processes_through_caddy(self):
        """A page of one guest shows what the other one's handler answers,
        which asks back: every hop over HTTP.
        """
        keys = {"blog": KEY, "shop": OTHER_KEY}
        ports = {}

        class Caddy(FakeCaddy):
            def respond(self, request):
                key = request["headers"]["Authorization"][len("Bearer "):]
                asker = next(name for name in keys if keys[name] == key)
                other = "shop" if asker == "blog" else "blog"
                service = request["path"].strip("/")
                manifest = invite(ports[other], key=keys[other], aud=other).json()
                if service not in manifest["services"]:
                    return NO_SUCH_SERVICE
                href = manifest["services"][service][0]["href"]
                reply = ask(
                    ports[other], href, request["json"], key=keys[other], aud=other, mnt="/" + other
                )
                got = reply.json()
                if service == "url":
                    got = "/" + other + got
                return answers(got)

        caddy = self.caddy(cls=Caddy)
        blog = Application({"post": "/posts/{slug}"})
        shop = Application(price=lambda p: [p, shop.operator.ask_around("url", ("post", {"slug": p}))])
        blog.pages["/"] = lambda environ: blog.operator.ask_around("price", "tea")
        for name, app in (("blog", blog), ("shop", shop)):
            guest = self.guest(caddy.url, app, key=keys[name], guest=name, invites=["/__invite__/"])
            ports[name] = self.contexts.enter_context(serving(guest))
        self.assertEqual(send(ports["blog"], "GET", "/").json(), [["tea", ["/blog/posts/tea"]]])


if __name__ == "__main__":
    unittest.main()
