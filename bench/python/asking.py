# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""An application that asks as often as a request says, and answers with the nanoseconds
that this took.
"""

import http.client
import json
import os
import time

import uwsgi
from flask import Flask, url_for

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


@app.get("/items/<id>")
def item(id):
    return id


@app.get("/links/<where>")
def links(where):
    """Fifty links: others' and its own are asked for by the same calls."""
    name = {"own": "item", "others": "shop:item"}[where]
    return timed(1, lambda: [url_for(name, id=i) for i in range(50)])
