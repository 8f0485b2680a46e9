# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""What tests of all frameworks share: servers, and headers that Caddy sends."""

import base64
import contextlib
import hashlib
import hmac
import http.client
import socket
import threading
import time

import uvicorn
from test_wsgi_party import KEY


def send_too_much(port, path, token):
    """Returns the status of a request that says it has more of a body than there may be."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest("POST", path)
    connection.putheader("Party-Token", token)
    connection.putheader("Content-Length", str((1 << 20) + (1 << 14) + 1))
    connection.endheaders(b"1" * 1000)
    with contextlib.closing(connection):
        return connection.getresponse().status


@contextlib.contextmanager
def serving_asgi(application, **options):
    """Serves on a real socket; gives the port. It ends some time after the block does,
    which takes uvicorn 0.2 s, or with it if there is a lifespan.
    """
    config = uvicorn.Config(application, log_config=None, access_log=False, **options)
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.005)
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        if options.get("lifespan") == "on":
            thread.join()


def party_ask(address, key=KEY):
    """Returns the header by which Caddy says where it is asked."""
    message = b"wsgi_party ask v1\0" + address.encode()
    mac = hmac.new(key.encode(), message, hashlib.sha256).digest()
    return "%s; mac=%s" % (address, base64.urlsafe_b64encode(mac).decode().rstrip("="))


def from_caddy(caddy, prefix="", **headers):
    """Returns the headers of a visitor's request that Caddy passed on."""
    given = {"Party-Ask": party_ask(caddy.url)}
    if prefix:
        given["X-Forwarded-Prefix"] = prefix
    return {**given, **headers}


class Links:
    """What a FakeCaddy answers for links: their names and values, as a path below /there,
    and nothing for those of nobody.
    """

    def __init__(self, server):
        self.server = server
        server.respond = self.respond

    def respond(self, request):
        asks = request["json"]
        if isinstance(asks, dict):
            return self.answer(asks)
        return [self.answer(ask["payload"]) for ask in asks]

    def answer(self, link):
        name = link["name"]
        if name.startswith("nobody:"):
            return {"answers": [], "replies": []}
        if name.startswith("evil:"):
            return {"answers": [name[len("evil:"):]], "replies": []}
        values = "&".join("%s=%s" % item for item in link["values"].items())
        return {"answers": ["/there/%s?%s" % (name, values)], "replies": []}

    @property
    def counts(self):
        """How many links each request asked for."""
        return [len(r["json"]) if isinstance(r["json"], list) else 1 for r in self.server.requests]
