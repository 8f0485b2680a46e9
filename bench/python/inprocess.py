# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Asks in one process, with no variables set, by this client and by the original: reads lines
"<whose> <handlers> <times>", and writes for each the nanoseconds that this took.
"""

import sys
import time

import wsgi_party as ours

try:
    import wsgi_party_original as original  # as bench/run has downloaded it
except ImportError:
    import original


def operators(module, handlers):
    """Returns an operator that so many handlers of another answer."""
    taken = []

    def application(environ, start_response):
        taken.append(environ["partyline"])
        start_response("200 OK", [])
        return []

    module.WSGIParty(application, invites=("/__invite__/", "/other/__invite__/"))
    asking, answering = taken
    for i in range(handlers):
        answering.connect("ping", lambda payload, i=i: i)
    return asking


asking = {
    (whose, handlers): operators(module, handlers)
    for whose, module in (("ours", ours), ("original", original)) for handlers in (1, 64)
}
print("original" if original.__name__ == "wsgi_party_original" else "rebuilt", flush=True)
for line in sys.stdin:
    whose, handlers, times = line.split()
    ask_around = asking[whose, int(handlers)].ask_around
    began = time.perf_counter_ns()
    for _ in range(int(times)):
        answers = ask_around("ping", None)
    took = time.perf_counter_ns() - began
    assert answers == list(range(int(handlers))), answers
    print(took, flush=True)
