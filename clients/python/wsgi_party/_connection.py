# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Requests to Caddy, each with an end to all its waiting together, over a connection
that is kept.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import socket
import time
from collections import deque
from typing import Any, Deque, Dict, List, NamedTuple, Optional, Tuple, Union

from ._address import Address

MAX_ANSWER = (8 << 20) + (1 << 16)  # bytes: Caddy's max_response, and some slack
MAX_IDLE = 32  # connections
IDLE = 60.0  # seconds that one is kept, fewer than Caddy keeps it

#: Not reached or cut off; no HTTP.
UNREACHED = (OSError, http.client.HTTPException)

Headers = Dict[str, Union[str, bytes]]


class Response(NamedTuple):
    status: int
    media_type: str
    content: bytes
    line: str  # the version of the line, as Party-Line says


class Connections:
    """Sends requests to one address. May be used from any thread."""

    def __init__(self, address: Address) -> None:
        # Each with the process that opened it, since a fork copies this, and when it was
        # used. Without a lock, which a fork would copy as it is held.
        self._idle: Deque[Tuple[int, float, socket.socket]] = deque()
        self.address = address
        self._tls: Any = None
        if address.tls:
            import ssl  # which not every Python has

            self._tls = ssl.create_default_context()

    def __del__(self) -> None:
        while self._idle:
            self._idle.pop()[2].close()

    def send(
        self, method: str, path: str, body: Optional[bytes], headers: Headers, deadline: float
    ) -> Response:
        """:raises OSError, http.client.HTTPException: see UNREACHED.
        :raises ValueError: if the answer is too long.
        """
        kept = self._take()
        if kept is not None:
            wire = _Wire(kept, deadline)
            try:
                return self._send(wire, method, path, body, headers)
            except ConnectionError:
                # It was closed as it was used; to ask twice changes nothing.
                if wire.has_received:
                    raise
        wire = _Wire(self._connect(deadline), deadline)
        return self._send(wire, method, path, body, headers)

    def _send(
        self, wire: _Wire, method: str, path: str, body: Optional[bytes], headers: Headers
    ) -> Response:
        keep = False
        try:
            connection = http.client.HTTPConnection(self.address.host, self.address.port)
            connection.sock = wire
            connection.request(method, self.address.prefix + path, body, headers)  # type: ignore[arg-type]
            response = connection.getresponse()
            content = _read(response)
            keep = not response.will_close and wire.is_in_step()
            return Response(
                response.status, response.headers.get_content_type(), content,
                response.headers.get("Party-Line", ""),
            )
        finally:
            if keep:
                self._keep(wire.connected)
            else:
                wire.connected.close()

    def _take(self) -> Optional[socket.socket]:
        """Returns a connection that is open, as far as one can see."""
        while True:
            try:
                process, since, kept = self._idle.pop()
            except IndexError:
                return None
            if process == os.getpid() and time.monotonic() < since + IDLE:
                with contextlib.suppress(OSError):
                    kept.settimeout(0)
                    try:
                        kept.recv(1)  # there is nothing to come: it has ended, or is out of step
                    except (BlockingIOError, *self._wants_more()):
                        return kept
            kept.close()

    def _wants_more(self) -> Tuple[Any, ...]:
        if self._tls is None:
            return ()
        import ssl

        return (ssl.SSLWantReadError,)

    def _keep(self, connected: socket.socket) -> None:
        self._idle.append((os.getpid(), time.monotonic(), connected))
        if len(self._idle) > MAX_IDLE:
            with contextlib.suppress(IndexError):
                self._idle.popleft()[2].close()

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


def _read(response: http.client.HTTPResponse) -> bytes:
    """Returns the body, which may have no end."""
    if response.length is not None:
        if response.length > MAX_ANSWER:
            raise ValueError(f"the answer has {response.length} bytes, more than {MAX_ANSWER}")
        return response.read()
    parts: List[bytes] = []
    size = 0
    while True:
        part = response.read(1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER:
            raise ValueError(f"the answer has more than {MAX_ANSWER} bytes")


class _Wire(io.RawIOBase):
    """A socket as http.client uses one, with an end to all its waiting together.
    Who connected it closes it.
    """

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        super().__init__()
        self.connected = connected
        self.deadline = deadline
        self.unsent: List[bytes] = []
        self.buffer: Optional[_Buffer] = None
        self.ended = False
        self.has_received = False

    def sendall(self, data: bytes) -> None:
        self.unsent.append(data)  # head and body, to go together

    def flush(self) -> None:
        rest = memoryview(b"".join(self.unsent))
        self.unsent.clear()
        while rest:
            self.connected.settimeout(until(self.deadline))
            rest = rest[self.connected.send(rest):]

    def readinto(self, buffer: Any) -> int:
        if self.ended:
            return 0
        self.connected.settimeout(until(self.deadline))
        count = self.connected.recv_into(buffer)
        self.has_received |= count > 0
        return count

    def readable(self) -> bool:
        return True

    def makefile(self, mode: str) -> io.BufferedReader:
        """Is called for the response, when the request is complete."""
        self.flush()
        self.buffer = _Buffer(self)
        return self.buffer

    def is_in_step(self) -> bool:
        """Whether nothing came that is no part of the response."""
        self.ended = True
        return self.buffer is not None and not self.buffer.peek(1)

    def close(self) -> None:
        pass


class _Buffer(io.BufferedReader):
    """Can be looked into after the response has closed it."""

    def close(self) -> None:
        pass


def until(deadline: float) -> float:
    """Returns the seconds that are left."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise socket.timeout("Caddy did not answer in time")
    return seconds
