# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""wsgi_party.asgi without any framework, by scopes made by hand. With Starlette, FastAPI
and a server it is tested in the folder frameworks.
"""

import asyncio
import gc
import hashlib
import hmac
import json
import os
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

from test_wsgi_party import KEY, MANIFEST, OTHER_KEY, FakeCaddy, b64, batch_of, environment, make_token, running

from wsgi_party.asgi import HighAndDry, Party


def tearDownModule():
    # Python 3.8 aborts where garbage with finalizers is collected in a recursion that is too
    # deep, as a test of JSON has one.
    gc.collect()


async def application(scope, receive, send):
    """Says what it was given, the body included."""
    message = {}
    if scope["type"] == "http":
        message = await receive()
    await send({"scope": scope, "body": message.get("body")})


def requested(app, path, method="GET", body=b"", headers=(), **scope):
    """Returns what an application sends, for a body in two parts."""
    sent = []
    messages = [
        {"type": "http.request", "body": body[:3], "more_body": True},
        {"type": "http.request", "body": body[3:], "more_body": False},
    ]

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    made = {
        "type": "http", "method": method, "path": path, "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
    }
    asyncio.run(app({**made, **scope}, receive, send))
    return sent


def asked(party, service, payload, key=KEY):
    href, body = "/__invite__/partyline/" + service, batch_of(json.dumps(payload).encode())
    token = make_token(htu=href, body=body, key=key)
    return requested(party, href, "POST", body, [("Party-Token", token)])


class Case(unittest.TestCase):
    def setUp(self):
        with environment():
            self.party = Party(application, key=KEY)

    def test_an_invite(self):
        self.party.page("there", "/a/{b}")
        headers = [("Accept", MANIFEST), ("Party-Token", make_token("GET", "/__invite__/"))]
        start, body = requested(self.party, "/__invite__/", headers=headers)
        self.assertEqual(start["status"], 200)
        self.assertIn((b"content-type", MANIFEST.encode()), start["headers"])
        self.assertEqual(json.loads(body["body"]), {"urls": {"there": "/a/{b}"}, "services": {}})
        with self.assertRaises(ValueError):
            self.party.page("x", "https://example.com/")

    def test_services(self):
        @self.party.service("wait")
        async def wait(payload):
            await asyncio.sleep(0)
            return [payload]

        @self.party.service("decline")
        def decline(payload):
            raise HighAndDry

        @self.party.service("fail")
        def fail(payload):
            raise RuntimeError("on purpose")

        start, body = asked(self.party, "wait", {"a": 1})
        self.assertEqual((start["status"], json.loads(body["body"])), (200, [{"answer": [{"a": 1}]}]))
        self.assertEqual(json.loads(asked(self.party, "decline", None)[1]["body"]), [{"declined": True}])
        with self.assertLogs("wsgi_party", "ERROR"):
            start, body = asked(self.party, "fail", None)
        self.assertEqual(start["status"], 200)
        self.assertIn(b'[{"error":"the handler failed', body["body"])
        self.assertNotIn(b"purpose", body["body"])
        self.assertEqual(asked(self.party, "nothing", None)[0]["status"], 404)

    def test_a_token_that_proves_nothing(self):
        href = "/__invite__/partyline/wait"
        with self.assertLogs("wsgi_party", "WARNING"):
            for key, content in ((OTHER_KEY, b"{}"), (KEY, b"[]")):
                token = make_token(htu=href, body=b"{}", key=key)
                start, _ = requested(self.party, href, "POST", content, [("Party-Token", token)])
                self.assertEqual(start["status"], 401)

    def test_what_is_not_caddys_is_the_applications(self):
        href = "/__invite__/partyline/wait"
        for method, headers in (("POST", []), ("PUT", [("Party-Token", make_token(htu=href))])):
            said, = requested(self.party, href, method, b"body", headers)
            self.assertEqual(said["body"], b"bod")

    def test_root_path_as_asgi_has_it(self):
        with mock.patch.dict(sys.modules):
            sys.modules.pop("starlette", None)
            said, = requested(self.party, "/x", headers=[("X-Forwarded-Prefix", "/b")], root_path="")
        self.assertEqual((said["scope"]["path"], said["scope"]["root_path"]), ("/b/x", "/b"))

    def test_other_scopes_are_left_as_they_are(self):
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}}
        said = []

        async def send(message):
            said.append(message["scope"])

        asyncio.run(self.party(scope, None, send))
        self.assertIs(said[0], scope)

    def test_a_file_of_keys_that_comes_later(self):
        with tempfile.TemporaryDirectory() as folder, environment(
            WSGI_PARTY_KEY_FILE=os.path.join(folder, "key")
        ):
            party = Party(application)
            headers = [("Accept", MANIFEST), ("Party-Token", make_token("GET", "/__invite__/"))]
            with self.assertLogs("wsgi_party", "WARNING"):
                start, _ = requested(party, "/__invite__/", headers=headers)
            self.assertEqual(start["status"], 401)
            with open(os.path.join(folder, "key"), "w") as file:
                file.write(KEY + "\n")
            with mock.patch("wsgi_party._settings.PAUSE", 0):
                start, _ = requested(party, "/__invite__/", headers=headers)
            self.assertEqual(start["status"], 200)

    def test_asking(self):
        async def app(scope, receive, send):
            await send([
                await self.party.ask("x", 1), await self.party.ask_first("x"),
                await self.party.url_for("a:b", c="d"),
            ])

        with environment():
            self.party = Party(app, key=KEY, missing_link="none")
        with running(FakeCaddy({"answers": [1]}, {"answers": [2]}, {"answers": ["/there"]})) as caddy:
            message = b"wsgi_party ask v1\0" + caddy.url.encode()
            mac = b64(hmac.new(KEY.encode(), message, hashlib.sha256).digest())
            headers = [("Party-Ask", f"{caddy.url}; later=1; mac={mac}")]
            self.assertEqual(requested(self.party, "/", headers=headers), [[[1], 2, "/there"]])
            self.assertEqual(caddy.requests[0]["headers"]["Authorization"], "Bearer " + KEY)

    def test_nobody_can_make_a_link(self):
        with self.assertLogs("wsgi_party", "WARNING"):
            with self.assertRaisesRegex(LookupError, "nobody has a page 'a:b' with c"):
                asyncio.run(self.party.url_for("a:b", c=1))

    def test_no_framework_is_imported(self):
        done = subprocess.run([
            sys.executable, "-c",
            "import sys, wsgi_party; a = set(sys.modules); import wsgi_party.asgi;"
            "print(sorted({'flask', 'django', 'starlette', 'fastapi', 'asgiref', 'anyio'}"
            " & set(sys.modules)), 'asyncio' in a)",
        ], stdout=subprocess.PIPE, check=True)
        self.assertEqual(done.stdout.split(), [b"[]", b"False"])


if __name__ == "__main__":
    unittest.main()
