# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Invites of Caddy's, and the tokens that prove them."""

import base64
import hmac
import json
import logging
import unittest
from unittest import mock

from test_wsgi_party import (
    KEY,
    MANIFEST,
    OTHER_KEY,
    Application,
    b64,
    dispatcher,
    invite,
    make_token,
    party,
    send,
    serving,
)
from wsgi_party import InvalidToken, PartylineException, verify_token


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
                {"href": "/__invite__/partyline/ping.0", "batch": True},
                {"href": "/__invite__/partyline/ping.1", "batch": True},
            ],
            "url": [
                {"href": "/__invite__/partyline/url.0", "batch": True},
                {"href": "/__invite__/partyline/url.1", "batch": True},
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
        self.refused(self.token(iat=1000, exp=float("nan")), "malformed", now=1000)
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
                self.refused(self.token(mnt=mount), "mnt is not a path")
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


if __name__ == "__main__":
    unittest.main()
