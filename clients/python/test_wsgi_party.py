# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""What the original promised, and what all tests share. Run them with
``python3 -m unittest test_*.py`` in this folder.
"""

import base64
import contextlib
import hashlib
import hmac
import http.client
import http.server
import json
import os
import socket
import socketserver
import threading
import time
import unittest
import wsgiref.simple_server
import wsgiref.util
from unittest import mock

from wsgi_party import (
    HighAndDry,
    NoSuchServiceName,
    PartylineException,
    PartylineOperator,
    WSGIParty,
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


def batch_of(*elements):
    """The body of a batch, of payloads in JSON, or pairs with what else is in an element."""
    pairs = [e if isinstance(e, tuple) else (e, {}) for e in elements]
    return b"[%b]" % b",".join(
        b"{%b}" % b",".join(
            [b'"payload":' + payload]
            + [b'"%b":%b' % (name.encode(), json.dumps(value).encode()) for name, value in more.items()]
        )
        for payload, more in pairs
    )


class Alone:
    """What came of the only ask of a batch, as if it had come alone."""

    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.body
        if response.status == 200:
            element, = response.json()
            (kind, value), = element.items()
            self.status = {"answer": 200, "declined": 204, "error": 500}[kind]
            self.body = b"" if kind == "declined" else response.body[len('[{"answer":'):-2]
            if kind == "error":
                self.body = value.encode()

    def json(self):
        return json.loads(self.body)


def ask(
    port, href, payload=None, body=None, method="POST", token=None, headers=None, element=None,
    **claims,
):
    """Asks one thing, which is a batch of one."""
    payload = json.dumps(payload).encode() if body is None else body
    batch = batch_of((payload, element or {}))
    return Alone(ask_batch(port, href, batch, method, token, headers, **claims))


def ask_batch(port, href, body, method="POST", token=None, headers=None, **claims):
    claims.setdefault("htu", href)
    token = make_token(method, body=body, **claims) if token is None else token
    return send(port, method, href, body, {"Party-Token": token, **(headers or {})})


class FakeCaddy(http.server.ThreadingHTTPServer):
    """A wsgi_party_ask that answers what it is told to."""

    daemon_threads = True
    request_queue_size = 128  # many may come at once
    keeps_alive = True
    line = ""  # its version

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

    def do_HEAD(self):
        known = self.headers["If-None-Match"] == '"%s"' % self.server.line
        self.server.requests.append({"path": self.path, "headers": self.headers, "json": None})
        with contextlib.suppress(OSError):
            self.send_response(304 if known else 200)
            self.send_header("Party-Line", self.server.line)
            self.end_headers()

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
            if self.server.line:
                self.send_header("Party-Line", self.server.line)
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


if __name__ == "__main__":
    unittest.main()
