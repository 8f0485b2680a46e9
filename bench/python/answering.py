# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""An application that answers a question as a guest of a party, by uWSGI's RPC, by plain
HTTP, and, for the floor of it all, by a constant.
"""

import json

import uwsgi
from flask import Flask, request

from wsgi_party.flask import Party

app = Flask(__name__)
party = Party(app)


@party.service("user")
def user(payload):
    return {"id": payload["id"], "name": "Ann"}


def user_by_rpc(payload):
    return json.dumps(user(json.loads(payload))).encode()


uwsgi.register_rpc("user", user_by_rpc)


@app.post("/user")
def user_by_http():
    return user(request.get_json())


def with_floor(application):
    """Answers before Flask, and the party, see the request."""

    def floor(environ, start_response):
        if environ["PATH_INFO"] != "/floor/user":
            return application(environ, start_response)
        environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "23")])
        return [b'{"id": 7, "name":"Ann"}']

    return floor


app.wsgi_app = with_floor(app.wsgi_app)


@app.get("/items/<id>")
def item(id):
    return id
