# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Keys, files of keys, and where Caddy is asked: what it says itself counts only if it
proves it, for whoever is asked is sent the key.
"""

import base64
import contextlib
import hashlib
import hmac
import logging
import os
import socket
import tempfile
import threading
import time
import unittest
from unittest import mock

from test_wsgi_party import (
    KEY,
    OTHER_KEY,
    Application,
    FakeCaddy,
    answers,
    ask,
    environment,
    invite,
    not_found,
    party,
    running,
    send,
    serving,
)
from wsgi_party import WSGIParty, _settings
from wsgi_party._address import Address, Whereabouts
from wsgi_party._settings import Keys, Settings


def party_ask(address, key=KEY, mac=None):
    """Returns a header as Caddy sends it."""
    if mac is None:
        digest = hmac.new(key.encode(), b"wsgi_party ask v1\0" + address.encode(), hashlib.sha256)
        mac = base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=")
    return "%s; mac=%s" % (address, mac)


class Case(unittest.TestCase):
    def setUp(self):
        self.contexts = contextlib.ExitStack()
        self.addCleanup(self.contexts.close)
        self.contexts.enter_context(environment())
        self.folder = self.contexts.enter_context(tempfile.TemporaryDirectory())
        self.path = os.path.join(self.folder, "key")

    def write(self, content):
        with open(self.path, "wb") as file:
            file.write(content)

    @contextlib.contextmanager
    def says(self, *told):
        """Fails unless so many lines are logged, each with its text."""
        with self.assertLogs("wsgi_party", logging.INFO) as logs:
            logging.getLogger("wsgi_party").info("so that there is one")
            yield
        self.assertEqual(len(logs.output) - 1, len(told), logs.output)
        for line, text in zip(logs.output[1:], told):
            self.assertIn(text, line)
            self.assertNotIn(KEY, line)

    def pass_time(self, seconds=_settings.PAUSE + 0.1):
        self.passed = getattr(self, "passed", 0) + seconds
        passed = self.passed
        clock = mock.Mock(monotonic=lambda: time.monotonic() + passed)
        self.contexts.enter_context(mock.patch.object(_settings, "time", clock))


class ArgumentsAndVariablesTest(Case):
    def test_arguments_come_before_variables(self):
        self.write(OTHER_KEY.encode())
        for variables, arguments, keys in (
            ({}, {}, []),
            ({"WSGI_PARTY_KEY": KEY}, {}, [KEY]),
            ({"WSGI_PARTY_KEY_FILE": self.path}, {}, [OTHER_KEY]),
            ({"WSGI_PARTY_KEY": KEY, "WSGI_PARTY_KEY_FILE": self.path}, {}, [KEY]),
            ({"WSGI_PARTY_KEY": "", "WSGI_PARTY_KEY_FILE": self.path}, {}, [OTHER_KEY]),
            ({"WSGI_PARTY_KEY": KEY}, {"key_file": self.path}, [OTHER_KEY]),
            ({"WSGI_PARTY_KEY_FILE": self.path}, {"key": KEY}, [KEY]),
            ({"WSGI_PARTY_KEY": KEY}, {"key": ""}, []),
            ({"WSGI_PARTY_KEY_FILE": self.path}, {"key_file": ""}, []),
            ({}, {"key": KEY, "key_file": self.path}, [KEY]),
            ({}, {"key": "  %s\n%s " % (KEY, OTHER_KEY)}, [KEY, OTHER_KEY]),
        ):
            with self.subTest(variables, **arguments), environment(**variables):
                settings = Settings.read(**arguments)
                self.assertEqual(settings.keys.get(), [key.encode() for key in keys])
                self.assertIs(bool(settings.keys), bool(keys))

    def test_what_is_unusable_is_told_where_it_is_made(self):
        for arguments, told in (
            ({"key": "short"}, "WSGI_PARTY_KEY"),
            ({"url": "http://127.0.0.1:1/"}, "no key"),
        ):
            with self.assertRaisesRegex(ValueError, told) as raised:
                Settings.read(**arguments)
            self.assertNotIn("short-", str(raised.exception))
        for url in (
            "127.0.0.1:2080", "ftp://x/", "http://", "http:///path", "http://me:secret@x/",
            "http://x/?a", "http://x/#a", "http://x:port/", "unix:/run/party.sock",
        ):
            with self.subTest(url), self.assertRaises(ValueError):
                WSGIParty(not_found, key=KEY, url=url)._guest.caddy


class SettingsTest(unittest.TestCase):
    def test_an_invite_that_is_refused_is_logged(self):
        with self.assertLogs("wsgi_party", logging.WARNING) as logs:
            party(not_found, invites=["/__invite__/"])
        self.assertIn("invite /__invite__/: 404 Not Found", logs.output[0])
        with self.assertLogs("wsgi_party", logging.WARNING) as logs:
            party(lambda environ, start_response: [], invites=["/__invite__/"])
        self.assertIn("invite /__invite__/: no status", logs.output[0])
        with self.assertLogs("wsgi_party", logging.DEBUG) as logs:
            party(Application(), invites=["/__invite__/"])
            party(not_found, key="", invites=["/__invite__/"])
        self.assertEqual([record.levelno for record in logs.records], [logging.DEBUG] * 2)

    def test_a_short_key_is_refused_and_not_told(self):
        for key in ("secret", KEY + " secret"):
            with self.assertRaises(ValueError) as caught:
                party(not_found, key=key)
            self.assertNotIn("secret", str(caught.exception))
        party(not_found, key=KEY[:32])

    def test_empty_variables_are_as_good_as_unset(self):
        with environment(WSGI_PARTY_KEY="", WSGI_PARTY_URL="", WSGI_PARTY_GUEST=""):
            guest = WSGIParty(not_found)
        with serving(guest) as port:
            self.assertEqual(invite(port).status, 404)

    def test_a_url_without_a_key_is_an_error(self):
        with self.assertRaises(ValueError):
            party(not_found, key="", url="http://127.0.0.1:2080")

    def test_a_bad_url_is_an_error(self):
        for url in ("127.0.0.1:2080", "ftp://host/", "http://", "http://host:port/", "unix:/x"):
            with self.subTest(url), self.assertRaises(ValueError):
                party(not_found, url=url)


class KeyFileTest(Case):
    def test_one_that_comes_later(self):
        with self.says():
            guest = WSGIParty(Application(ping=lambda p: "pong"), ["/__invite__/"], key_file=self.path)
        with serving(guest) as port:
            with self.says("No such file or directory"):
                for _ in range(3):
                    self.assertEqual(invite(port).body, b"nothing here")
            self.write(KEY.encode() + b"\n")
            self.pass_time()
            with self.says("exists now"):
                self.assertEqual(invite(port).status, 200)
                self.assertEqual(ask(port, "/__invite__/partyline/ping.0").json(), "pong")

    def test_one_that_changes(self):
        self.write(KEY.encode())
        guest = WSGIParty(Application(), key_file=self.path)
        with serving(guest) as port, self.says("not signed with the key"):
            self.assertEqual(invite(port).status, 200)
            self.write(OTHER_KEY.encode())
            self.assertEqual(invite(port, key=OTHER_KEY).status, 401)  # read just now
            self.pass_time()
            self.assertEqual(invite(port, key=OTHER_KEY).status, 200)
            self.write(("%s\n%s\n" % (KEY, OTHER_KEY)).encode())
            self.pass_time()
            self.assertEqual(invite(port, key=KEY).status, 200)
            self.assertEqual(invite(port, key=OTHER_KEY).status, 200)

    def test_one_that_changes_is_asked_by(self):
        def respond(request):
            known = request["headers"]["Authorization"] == "Bearer " + OTHER_KEY
            return answers(1) if known else (401, "application/problem+json", {})

        caddy = FakeCaddy()
        caddy.respond = respond
        self.write(KEY.encode())
        with running(caddy):
            guest = WSGIParty(Application(), key_file=self.path, url=caddy.url)
            with self.says("status 401"):
                self.assertEqual(guest.ask_around("x", None), [])
            self.write(OTHER_KEY.encode())
            self.pass_time()
            self.assertEqual(guest.ask_around("x", None), [1])
        self.assertEqual(len(caddy.requests), 3)

    def test_it_is_not_read_again_for_what_is_signed(self):
        self.write(KEY.encode())
        keys = Keys(path=self.path)
        with mock.patch.object(_settings, "_read", wraps=_settings._read) as read:
            for _ in range(5):
                self.assertEqual(keys.get(), [KEY.encode()])
                self.pass_time()
            self.assertEqual(read.call_count, 1)

    def test_what_was_in_one_that_is_unreadable_counts_on(self):
        self.write(KEY.encode())
        keys = Keys(path=self.path)
        keys.get()
        for content, told in (
            (b"", "is empty"), (b"short", "shorter than 32 bytes"),
            (b"k" * 65537, "has more than 65536 bytes"),
        ):
            self.write(content)
            self.pass_time()
            with self.says(told):
                self.assertFalse(keys.look_again())
                self.pass_time()
                self.assertFalse(keys.look_again())  # said once
            self.assertEqual(keys.get(), [KEY.encode()])

    def test_a_folder_is_no_file(self):
        with self.says("Is a directory"):
            self.assertEqual(Keys(path=self.folder).get(), [])


class PartyAskTest(Case):
    def hear(self, *headers, key=KEY, **kwargs):
        whereabouts = Whereabouts(Keys(key), **kwargs)
        for header in headers:
            whereabouts.hear(header)
        return whereabouts.address

    def test_what_caddy_says(self):
        # Made by Go's crypto/hmac, as the guest handler does.
        header = "http://127.0.0.1:2080/; mac=%s" % MAC
        self.assertEqual(self.hear(header), Address("127.0.0.1", 2080, ""))
        for address, want in (
            ("http://127.0.0.1:2080/line", Address("127.0.0.1", 2080, "/line")),
            ("http://[::1]:2080/", Address("::1", 2080, "")),
            ("https://party.example/", Address("party.example", None, "", True)),
            ("unix//run/party.sock", Address("localhost", None, "", socket_path="/run/party.sock")),
        ):
            self.assertEqual(self.hear(party_ask(address)), want)

    def test_parameters_in_any_order(self):
        address = "unix//run/party.sock"
        mac = party_ask(address).split("; ")[1]
        want = Address.parse(address)
        for header in (
            address + ";" + mac, address + " ;  " + mac + " ", address + "; other=main; " + mac,
            address + "; " + mac + "; other=main; x", address + "; " + mac.replace("mac", "MAC"),
        ):
            self.assertEqual(self.hear(header), want, header)

    def test_what_is_not_believed(self):
        good = party_ask("http://127.0.0.1:1/")
        mac = good.split("=")[1]
        for header in (
            "http://127.0.0.1:1/", "http://127.0.0.1:1/; mac=", "; mac=" + mac, mac,
            good[:-1], good + "A", good.replace(":1/", ":2/"),
            party_ask("http://127.0.0.1:1/", OTHER_KEY), party_ask("http://127.0.0.1:1/", ""),
            good + "; mac=" + mac, good + ", " + good, good + "," + party_ask("http://x/"),
            party_ask("http://127.0.0.1:1/") + "; " + "x" * 1024, party_ask("http://ü/", KEY),
            party_ask("http://a b/"), party_ask("http://a\t/"), "\ud800; mac=" + mac,
            good + "\ud800", party_ask("ftp://x/"), party_ask("http://"), party_ask("evil"),
        ):
            with self.subTest(header), self.says("Party-Ask header is not trusted"):
                self.assertIsNone(self.hear(header, header))

    def test_no_key_believes_nobody(self):
        with self.says("Party-Ask header is not trusted"):
            whereabouts = Whereabouts(Keys(path=self.path + "x"))
            with mock.patch.object(_settings.logger, "warning"):
                whereabouts._keys.get()
            whereabouts.hear(party_ask("http://127.0.0.1:1/", ""))
        self.assertIsNone(whereabouts.address)

    def test_the_operators_word_counts(self):
        url = "http://127.0.0.1:3/"
        with self.says():
            address = self.hear(party_ask("http://127.0.0.1:1/"), "evil; mac=x", url=url)
        self.assertEqual(address, Address("127.0.0.1", 3, ""))

    def test_the_last_that_was_believed_is_remembered(self):
        first, second = party_ask("http://127.0.0.1:1/"), party_ask("http://127.0.0.1:2/")
        with self.says("not trusted"):
            address = self.hear(first, second, "", "http://127.0.0.1:3/; mac=x", "")
        self.assertEqual(address.port, 2)
        self.assertEqual(self.hear(first, second, first).port, 1)

    def test_any_of_several_keys(self):
        address = self.hear(party_ask("http://127.0.0.1:1/", OTHER_KEY), key=KEY + " " + OTHER_KEY)
        self.assertEqual(address.port, 1)

    def test_a_file_of_keys_is_looked_at_again(self):
        self.write(KEY.encode())
        whereabouts = Whereabouts(Keys(path=self.path))
        header = party_ask("http://127.0.0.1:1/", OTHER_KEY)
        with self.says("not trusted"):
            whereabouts.hear(header)
        self.write(OTHER_KEY.encode())
        self.pass_time()
        whereabouts.hear(header)
        self.assertEqual(whereabouts.address.port, 1)

    def test_macs_are_compared_in_constant_time(self):
        with mock.patch.object(hmac, "compare_digest", wraps=hmac.compare_digest) as compare:
            self.hear(party_ask("http://127.0.0.1:1/"), key=KEY + " " + OTHER_KEY)
        self.assertEqual(compare.call_count, 2)


#: Of KEY and http://127.0.0.1:2080/.
MAC = "mS5hrSBywq7sCp4zYraiW4Ws05x__quqOBOD5P1APB4"


class WSGIPartyTest(Case):
    """Needs only its key to ask, too."""

    def test_it_asks_where_caddy_says(self):
        with running(FakeCaddy(answers("theirs"))) as caddy:
            app = Application(ping=lambda p: "pong")
            guest = WSGIParty(app, ["/__invite__/"], key=KEY)
            app.pages["/"] = lambda environ: guest.ask_around("ping", None)
            with serving(guest) as port:
                self.assertEqual(send(port, "GET", "/").json(), ["pong"])
                headers = {"Party-Ask": party_ask(caddy.url)}
                self.assertEqual(send(port, "GET", "/", headers=headers).json(), ["pong", "theirs"])
            request, = caddy.requests
            self.assertEqual(request["headers"]["Authorization"], "Bearer " + KEY)

    def test_an_invite_says_so_too(self):
        with running(FakeCaddy(answers("theirs"))) as caddy:
            guest = WSGIParty(not_found, key=KEY)
            with serving(guest) as port:
                invite(port, headers={"Party-Ask": party_ask(caddy.url)})
            self.assertEqual(guest.ask_around("x", None), ["theirs"])

    def test_a_visitor_past_caddy_is_not_sent_the_key(self):
        with contextlib.ExitStack() as stack:
            evil = stack.enter_context(socket.socket())
            evil.bind(("127.0.0.1", 0))
            evil.listen()
            evil.settimeout(0.3)
            address = "http://127.0.0.1:%d/" % evil.getsockname()[1]
            app = Application(ping=lambda p: "pong")
            guest = WSGIParty(app, ["/__invite__/"], key=KEY)
            app.pages["/"] = lambda environ: guest.ask_around("ping", None)
            port = stack.enter_context(serving(guest))
            with self.says("Party-Ask header is not trusted"):
                for header in (
                    address, address + "; mac=", party_ask(address, OTHER_KEY),
                    party_ask(address, "x" * 32), address + "; mac=" + MAC,
                    party_ask("http://127.0.0.1:2080/") + ", " + address,
                ):
                    page = send(port, "GET", "/", headers={"Party-Ask": header})
                    self.assertEqual(page.json(), ["pong"])
            with self.assertRaises(socket.timeout):
                evil.accept()

    def test_each_thread_may_hear_another(self):
        whereabouts = Whereabouts(Keys(KEY))
        headers = [party_ask("http://127.0.0.1:%d/" % (n + 1)) for n in range(4)]

        def hear(n):
            for _ in range(200):
                whereabouts.hear(headers[n])
                seen.append(whereabouts.address.port)

        seen = []
        threads = [threading.Thread(target=hear, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertLessEqual(set(seen), {1, 2, 3, 4})


if __name__ == "__main__":
    unittest.main()
