# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Serves an ASGI application by uvicorn until stdin ends:
``serve.py <port> <module>:<application> [<root path>]``.
"""

import sys
import threading

import uvicorn

server = uvicorn.Server(uvicorn.Config(
    sys.argv[2], host="127.0.0.1", port=int(sys.argv[1]), root_path="".join(sys.argv[3:]),
    log_level="warning",
))


def watch():
    sys.stdin.read()
    server.should_exit = True


threading.Thread(target=watch, daemon=True).start()
server.run()
