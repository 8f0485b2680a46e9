# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""An application that asks as often as a request says, and answers with the nanoseconds
that this took.
"""

import http.client
import json
import os
import socket
import time

import uwsgi
from flask import Flask, request, url_for

from wsgi_party.flask import Party

app = Flask(__name__)
party = Party(app)
rpc = os.environ["RPC"].encode()


def timed(times, ask):
    began = time.perf_counter_ns()
    for _ in range(times):
        ask()
    return str(time.perf_counter_ns() - began)


def expect(answer):
    assert answer == {"id": 7, "name": "Ann"}, answer


@app.get("/party/<int:times>")
def by_party(times):
    return timed(times, lambda: expect(party.ask_first("user", {"id": 7})))


@app.get("/rpc/<int:times>")
def by_rpc(times):
    payload = json.dumps({"id": 7}).encode()
    return timed(times, lambda: expect(json.loads(uwsgi.rpc(rpc, b"user", payload))))


@app.get("/plain/<int:times>")
def by_http(times):
    """Asks by requests on a connection that is kept."""
    connection = http.client.HTTPConnection(*os.environ["PLAIN"].split(":"))

    def ask():
        payload = json.dumps({"id": 7}).encode()
        connection.request("POST", "/user", payload, {"Content-Type": "application/json"})
        expect(json.loads(connection.getresponse().read()))

    took = timed(times, ask)
    connection.close()
    return took


@app.get("/bytes/<int:times>/<address>/<path:path>")
def by_bytes(times, address, path):
    """Sends the same bytes each time, and looks for the answer in what comes back: no client
    can do less.
    """
    host, _, port = address.partition(":")
    body = b'{"id": 7}'
    query = "?" + request.query_string.decode() if request.query_string else ""
    sent = (
        f"POST /{path}{query} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {os.environ['WSGI_PARTY_KEY']}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    with socket.create_connection((host, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def ask():
            connection.sendall(sent)
            received = b""
            while b"Ann" not in received or received[-1] not in b"}\n":
                received += connection.recv(65536)

        return timed(times, ask)


@app.get("/items/<id>")
def item(id):
    return id


@app.get("/links/<where>")
def links(where):
    """Fifty links: others' and its own are asked for by the same calls."""
    name = {"own": "item", "others": "shop:item"}[where]
    return timed(1, lambda: [url_for(name, id=i) for i in range(50)])
