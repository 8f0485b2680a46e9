# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""In one process, with no variables set, asking takes at most 1.15 times as long as the original did."""

import time
import unittest

from test_wsgi_party import environment
from wsgi_party import HighAndDry, WSGIParty

MOST = 1.15


class Original:
    """How wsgi_party 0.1b1 asked, by what is known of it."""

    def __init__(self):
        self.handlers = {}
        self.ignore_missing_services = False

    def connect(self, service_name, handler):
        self.handlers.setdefault(service_name, []).append(handler)

    def ask_around(self, service_name, payload, operator=None):
        answers = []
        if service_name not in self.handlers and not self.ignore_missing_services:
            raise LookupError(service_name)
        for handler in self.handlers.get(service_name, []):
            if operator is not None and handler in operator.handlers:
                continue
            try:
                answers.append(handler(payload))
            except HighAndDry:
                continue
        return answers


class OriginalOperator:
    def __init__(self, partyline):
        self.partyline = partyline
        self.handlers = set()

    def connect(self, service_name, handler):
        self.handlers.add(handler)
        return self.partyline.connect(service_name, handler)

    def ask_around(self, service_name, payload):
        return self.partyline.ask_around(service_name, payload, operator=self)


def took(asking, rounds):
    begun = time.perf_counter()
    for _ in range(rounds):
        asking.ask_around("number", 1)
    return time.perf_counter() - begun


class SpeedTest(unittest.TestCase):
    def test_no_slower_than_the_original(self):
        with environment():
            party = WSGIParty(None)
        for count in (1, 64):
            with self.subTest(handlers=count):
                pairs = []
                for line, operator in ((party, party.operator_class), (Original(), OriginalOperator)):
                    line.handlers.clear()
                    for n in range(count):
                        operator(line).connect("number", lambda payload, n=n: n)
                    pairs.append(operator(line))
                ours, original = pairs
                self.assertEqual(ours.ask_around("number", 1), original.ask_around("number", 1))
                # In turns, and the least of each counts: whatever else the machine does makes them longer.
                least, least_original = took(ours, 640 // count), took(original, 640 // count)
                end = time.monotonic() + 20
                while least > MOST * least_original and time.monotonic() < end:
                    least = min(least, took(ours, 640 // count))
                    least_original = min(least_original, took(original, 640 // count))
                self.assertLess(least / least_original, MOST)


if __name__ == "__main__":
    unittest.main()
