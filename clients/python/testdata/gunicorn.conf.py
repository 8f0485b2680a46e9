# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Ends gunicorn with its stdin, that is with the test."""

import os
import signal
import sys
import threading


def when_ready(server):
    def watch():
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
