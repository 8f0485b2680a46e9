# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Connections to Caddy: kept, and opened when there is none."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from typing import Any, Deque, Optional, Tuple, Type

from ._address import Address
from ._http import Exchange, Headers, Response, request, until

MAX_IDLE = 32  # connections
IDLE = 60.0  # seconds that one is kept, fewer than Caddy keeps it


class Connections:
    """Sends requests to one address. May be used from any thread."""

    def __init__(self, address: Address) -> None:
        # Each with the process that opened it, since a fork copies this, and when it was
        # used. Without a lock, which a fork would copy as it is held.
        self._idle: Deque[Tuple[int, float, socket.socket]] = deque()
        self.address = address
        self._tls: Any = None
        self._nothing_yet: Tuple[Type[OSError], ...] = (BlockingIOError,)
        if address.tls:
            import ssl  # which not every Python has

            self._tls = ssl.create_default_context()
            self._nothing_yet = (BlockingIOError, ssl.SSLWantReadError)

    def __del__(self) -> None:
        while self._idle:
            self._idle.pop()[2].close()

    def send(
        self, method: str, path: str, body: Optional[bytes], headers: Headers, deadline: float
    ) -> Response:
        """:raises OSError, HTTPException: see UNREACHED.
        :raises ValueError: if the answer is too long, or what is sent no request.
        """
        sent = request(method, self.address.prefix + path, self.address.authority, headers, body)
        kept = self._take()
        if kept is not None:
            exchange = Exchange(kept, deadline)
            try:
                return self._exchange(exchange, method, sent)
            except ConnectionError:
                # It was closed as it was used; to ask twice changes nothing.
                if exchange.has_received:
                    raise
        return self._exchange(Exchange(self._connect(deadline), deadline), method, sent)

    def _exchange(self, exchange: Exchange, method: str, sent: bytes) -> Response:
        try:
            exchange.send(sent)
            return exchange.response(method)
        finally:
            if exchange.may_go_on:
                self._keep(exchange.connected)
            else:
                exchange.connected.close()

    def _take(self) -> Optional[socket.socket]:
        """Returns a connection that is open, as far as one can see."""
        while True:
            try:
                process, since, kept = self._idle.pop()
            except IndexError:
                return None
            if process == os.getpid() and time.monotonic() < since + IDLE:
                try:
                    kept.settimeout(0)
                    kept.recv(1)  # there is nothing to come: it has ended, or is out of step
                except self._nothing_yet:
                    return kept
                except OSError:
                    pass
            kept.close()

    def _keep(self, connected: socket.socket) -> None:
        self._idle.append((os.getpid(), time.monotonic(), connected))
        if len(self._idle) > MAX_IDLE:
            try:
                self._idle.popleft()[2].close()
            except IndexError:
                pass  # others have taken them

    def _connect(self, deadline: float) -> socket.socket:
        addresses: Any
        if self.address.socket_path is not None:
            addresses = [(socket.AF_UNIX, self.address.socket_path)]
        else:
            port = self.address.port or (443 if self._tls else 80)
            found = socket.getaddrinfo(self.address.host, port, type=socket.SOCK_STREAM)
            addresses = [(family, address) for family, _, _, _, address in found]
        for i, (family, address) in enumerate(addresses):
            connecting = socket.socket(family, socket.SOCK_STREAM)
            try:
                # Each address may take its share of the time that is left.
                connecting.settimeout(until(deadline) / (len(addresses) - i))
                connecting.connect(address)
                if self.address.socket_path is None:
                    connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._tls is not None:
                    connecting.settimeout(until(deadline))
                    connecting = self._tls.wrap_socket(
                        connecting, server_hostname=self.address.host
                    )
                return connecting
            except BaseException as error:
                connecting.close()
                if not isinstance(error, OSError) or i + 1 == len(addresses):
                    raise
        raise OSError("the host has no address")
