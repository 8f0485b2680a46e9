# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""A guest for tests: a WSGI application as for the original, named by GUEST. Run by
itself it listens on the port of its argument until its stdin ends.
"""

import json
import os
import socketserver
import sys
import threading
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from wsgi_party import HighAndDry, NoSuchServiceName, PartylineException, WSGIParty

NAME = os.environ["GUEST"]


def handler(service, answer):
    def handle(payload):
        os.write(1, f"{service}\n".encode())  # at once: other threads write, too
        return answer(payload)

    return handle


class Application:
    operator = None

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/__invite__/" and "partyline" in environ:
            self.join(environ["partyline"])
            status, answer = "200 OK", "joined"
        elif path.startswith("/ask/"):
            status, answer = "200 OK", self.ask(path[len("/ask/"):], environ)
        elif path.startswith("/first/"):
            status, answer = "200 OK", self.ask_first(path[len("/first/"):], environ)
        elif path == "/links":
            questions = [("url", ("post", {"slug": str(n)})) for n in range(50)]
            status, answer = "200 OK", self.operator.ask_around_many(questions)
        elif path == "/":
            status, answer = "200 OK", [NAME, environ.get("HTTP_X_FORWARDED_PREFIX")]
        else:
            status, answer = "404 Not Found", None
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]

    def join(self, operator):
        self.operator = operator
        for service, answer in (
            ("name", lambda payload: NAME),
            ("pid", lambda payload: os.getpid()),
            ("echo", lambda payload: payload),
            ("nest", lambda payload: [NAME] + operator.ask_around("nest", payload)),
            ("loop", lambda payload: handled.environ.get("HTTP_CDN_LOOP")),
            ("decline", self.decline),
            ("fail", self.fail),
            ("url", self.url),
        ):
            operator.connect(service, handler(service, answer))

    def ask(self, service, environ):
        try:
            return self.operator.ask_around(service, self.payload(environ))
        except NoSuchServiceName as error:
            return "NoSuchServiceName: " + str(error)

    def ask_first(self, service, environ):
        try:
            return self.operator.ask_first(service, self.payload(environ))
        except PartylineException as error:
            return type(error).__name__

    def payload(self, environ):
        return json.loads(parse_qs(environ["QUERY_STRING"]).get("payload", ["null"])[0])

    def decline(self, payload):
        raise HighAndDry()

    def fail(self, payload):
        raise RuntimeError("on purpose")

    def url(self, payload):
        endpoint, values = payload
        if endpoint not in (NAME, "post"):
            raise HighAndDry()
        return "/posts/{slug}".format(**values)


party = WSGIParty(Application(), invites=("/__invite__/",))
handled = threading.local()


def application(environ, start_response):
    handled.environ = environ
    return party(environ, start_response)


class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128  # Caddy may send more than the default 5 at once


class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass


def run(application):
    server = make_server("127.0.0.1", int(sys.argv[1]), application, Server, Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    run(application)
