# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Where Caddy is asked: the operator's word, else Caddy's, in the header Party-Ask."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import NamedTuple, Optional
from urllib.parse import urlsplit

from ._common import Once
from ._settings import Keys
from ._token import base64url

MAX_HEADER = 1 << 10  # bytes of a Party-Ask

_PURPOSE = b"wsgi_party ask v1\0"  # of the MAC, for which the key is used, too
_ADDRESS = re.compile(r"[!-:<-~]+")  # ASCII without whitespace and ;


class Address(NamedTuple):
    """Where Caddy's ``wsgi_party_ask`` listens."""

    host: str
    port: Optional[int]
    prefix: str  # of paths
    tls: bool = False
    socket_path: Optional[str] = None

    @classmethod
    def parse(cls, url: str) -> Address:
        """:raises ValueError: if it is none."""
        if url.startswith("unix/"):
            return cls("localhost", None, "", socket_path=url[len("unix/"):])
        parts = urlsplit(url)
        if (
            parts.scheme not in ("http", "https") or not parts.hostname
            or parts.username is not None or parts.query or parts.fragment
        ):
            raise ValueError(
                f"the url to ask at (WSGI_PARTY_URL) is {url!r}, and neither"
                " http://host:port/ nor unix//path"
            )
        tls = parts.scheme == "https"
        return cls(parts.hostname, parts.port, parts.path.rstrip("/"), tls)


class Whereabouts:
    """The address to ask at: one that is given, else the last one that Caddy said in
    a header Party-Ask and proved to be its own. Whoever could have another believed
    would be sent the key.
    """

    def __init__(self, keys: Keys, url: str = "") -> None:
        self._keys = keys
        self._given = Address.parse(url) if url else None
        self._told: Optional[Address] = None
        self._header = ""  # that was looked at last, whatever came of it
        self._once = Once(1)

    @property
    def address(self) -> Optional[Address]:
        return self._given or self._told

    def hear(self, header: str) -> None:
        """Takes the header of a request, "" if it has none."""
        if not header or header == self._header or self._given is not None:
            return
        try:
            self._told = self._believed(header)
        except ValueError as error:
            # What is at fault may be a visitor, so that it is not said again and again.
            self._once.warn(
                "header", "a header Party-Ask is not believed: %s. If no visitor can send"
                " requests past Caddy, the keys here and there differ", error,
            )
            return  # for the file of keys may change
        self._header = header

    def _believed(self, header: str) -> Address:
        if len(header) > MAX_HEADER:
            raise ValueError(f"it has more than {MAX_HEADER} bytes")
        text, *parameters = [part.strip(" \t") for part in header.split(";")]
        macs = [
            value for name, _, value in (part.partition("=") for part in parameters)
            if name.strip(" \t").lower() == "mac"
        ]
        if len(macs) != 1 or not _ADDRESS.fullmatch(text):
            raise ValueError("it is not an address and its mac")
        mac = macs[0].strip(" \t").encode("utf-8", "replace")
        if not self._is_mac(mac, text.encode()):
            if not (self._keys.look_again() and self._is_mac(mac, text.encode())):
                raise ValueError("its mac is not made with the key")
        return Address.parse(text)

    def _is_mac(self, mac: bytes, address: bytes) -> bool:
        return any([
            hmac.compare_digest(
                base64url(hmac.new(key, _PURPOSE + address, hashlib.sha256).digest()), mac
            )
            for key in self._keys.get()
        ])
