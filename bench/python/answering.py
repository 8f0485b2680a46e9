# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""An application that answers a question as a guest of a party, and by uWSGI's RPC and
by plain HTTP.
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


@app.get("/items/<id>")
def item(id):
    return id
