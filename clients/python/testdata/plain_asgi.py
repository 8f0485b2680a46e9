# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""An ASGI application of no framework, for tests."""

import json
import logging

from wsgi_party.asgi import Party

logging.basicConfig(level=logging.INFO)


async def application(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])  # as many do, lifespan included
    status, answer = 200, [scope["path"], scope["root_path"]]
    if "/__invite__/" in scope["path"]:
        status = 404
    elif scope["path"].endswith("/link"):
        answer = await party.url_for("blog:post", slug="a")
    elif scope["path"].endswith("/ask"):
        answer = await party.ask("name")
    elif scope["path"].endswith("/missing"):
        try:
            await party.url_for("nobody:knows", a=1, b=2)
        except LookupError as error:
            answer = str(error)
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


party = Party(application)
party.page("there", "/x/{y}")


@party.service("name")
def name(payload):
    return "plain"
