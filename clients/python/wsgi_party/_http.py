# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""One request of HTTP/1.1 and its response, with one deadline for all waiting.

http.client takes six times as long: it has a parser of e-mail read the headers.
"""

from __future__ import annotations

import re
import socket
import time
from http.client import BadStatusLine, HTTPException, IncompleteRead, RemoteDisconnected
from typing import Dict, Mapping, NamedTuple, Optional, Tuple, Union

MAX_ANSWER = (8 << 20) + (1 << 16)  # bytes: Caddy's max_response, and some slack
MAX_HEAD = 1 << 16  # bytes of all lines of a response that are not its content

#: Not reached or cut off; no HTTP.
UNREACHED = (OSError, HTTPException)

Headers = Dict[str, Union[str, bytes]]

_STATUS = re.compile(r"HTTP/(1\.[01]) ([1-5][0-9]{2})(?: .*)?")
_NAME = re.compile(r"[!#-'*+.0-9A-Z^-z|~-]+")
_LENGTH = re.compile(r"[0-9]{1,100}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?", re.DOTALL)


class Response(NamedTuple):
    status: int
    media_type: str
    content: bytes
    line: str  # the version of the line, as Party-Line says


def request(
    method: str, target: str, host: str, headers: Mapping[str, Union[str, bytes]],
    body: Optional[bytes],
) -> bytes:
    """:raises ValueError: if it would not be this one request."""
    head = [f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: identity".encode("ascii")]
    for name, value in headers.items():
        if isinstance(value, str):
            value = value.encode("latin-1")
        if b"\r" in value or b"\n" in value:
            raise ValueError(f"the header {name} has several lines")
        head.append(b"%b: %b" % (name.encode("ascii"), value))
    if body is not None:
        head.append(b"Content-Length: %d" % len(body))
    return b"%b\r\n\r\n%b" % (b"\r\n".join(head), body or b"")


class Exchange:
    """A request and its response, on a connection that somebody else opened and closes."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self.connected = connected
        self.deadline = deadline
        self.has_received = False
        #: Whether the connection can have another, after this.
        self.may_go_on = False
        self._received = bytearray()  # and not read yet
        self._room = MAX_HEAD

    def send(self, data: bytes) -> None:
        while data:
            self.connected.settimeout(until(self.deadline))
            data = data[self.connected.send(data):]

    def response(self, method: str) -> Response:
        """:raises OSError, HTTPException: see UNREACHED.
        :raises ValueError: if it is too long.
        """
        status, version, headers = self._head()
        while status < 200:
            status, version, headers = self._head()
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        has_end = coding is None or length is None  # of the two another may read the other
        if method == "HEAD" or status in (204, 304):
            content = b""
        elif coding is not None:
            if coding.lower() != "chunked":
                raise HTTPException(f"the answer has the transfer coding {coding[:100]!r}")
            content = self._chunks()
        elif length is not None:
            if not _LENGTH.fullmatch(length):
                raise HTTPException(f"the answer has the length {length[:100]!r}")
            _bound(int(length))
            content = self._exactly(int(length))
        else:
            has_end = False
            content = self._rest()
        options = headers.get("connection", "").lower()
        self.may_go_on = (
            has_end and version == "1.1" and "close" not in options and not self._received
        )
        media_type = headers.get("content-type", "").partition(";")[0].strip(" \t").lower()
        return Response(status, media_type, content, headers.get("party-line", ""))

    def _head(self) -> Tuple[int, str, Dict[str, str]]:
        """Returns status, version of HTTP, and headers with names in lower case."""
        first, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        said = _STATUS.fullmatch(first)
        if said is None:
            raise BadStatusLine(first[:100])
        headers: Dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not _NAME.fullmatch(name):
                raise HTTPException(f"the answer has the header line {line[:100]!r}")
            name, value = name.lower(), value.strip(" \t")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return int(said.group(2)), said.group(1), headers

    def _chunks(self) -> bytes:
        content = bytearray()
        while True:
            room = self._room
            line = _CHUNK.fullmatch(self._until(b"\r\n"))
            if line is None:
                raise HTTPException("the answer has a chunk without its size")
            size = int(line.group(1), 16)
            if not size:
                break
            _bound(len(content) + size)
            content += self._exactly(size)
            if self._exactly(2) != b"\r\n":
                raise HTTPException("the answer has a chunk of another size than it says")
            self._room = room  # for there can be as many as there are bytes of content
        while self._until(b"\r\n"):
            pass  # nothing here comes as a trailer
        return bytes(content)

    def _rest(self) -> bytes:
        while self._receive():
            _bound(len(self._received))
        return self._exactly(len(self._received))

    def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            if not self._receive():
                raise IncompleteRead(bytes(self._received), size - len(self._received))
        content = bytes(self._received[:size])
        del self._received[:size]
        return content

    def _until(self, end: bytes) -> bytes:
        """Returns lines, without the end that was looked for."""
        begin = 0
        while True:
            found = self._received.find(end, begin, self._room)
            if found >= 0:
                self._room -= found + len(end)
                return self._exactly(found + len(end))[:found]
            if len(self._received) >= self._room:
                raise HTTPException(f"the answer has header lines of more than {MAX_HEAD} bytes")
            begin = max(0, len(self._received) - len(end) + 1)
            if not self._receive():
                if not self.has_received:
                    raise RemoteDisconnected("the connection was closed without an answer")
                raise IncompleteRead(bytes(self._received))

    def _receive(self) -> int:
        """Returns how much more has come: nothing if that was all."""
        self.connected.settimeout(until(self.deadline))
        part = self.connected.recv(1 << 16)
        self.has_received = self.has_received or bool(part)
        self._received += part
        return len(part)


def _bound(size: int) -> None:
    if size > MAX_ANSWER:
        raise ValueError(f"the answer has more than {MAX_ANSWER} bytes")


def until(deadline: float) -> float:
    """Returns the seconds that are left."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise socket.timeout("Caddy did not answer in time")
    return seconds
