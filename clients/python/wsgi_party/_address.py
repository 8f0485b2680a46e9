# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Where Caddy is asked: the operator's word, else Caddy's, in the header Party-Ask."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Dict, NamedTuple, Optional, Tuple
from urllib.parse import urlsplit

from ._common import Once
from ._settings import Keys
from ._token import base64url

MAX_HEADER = 1 << 10  # bytes of a Party-Ask

MAX_HEADERS = 16  # that are remembered

_PURPOSE = b"wsgi_party ask v1\0"  # of the MAC, for which the key is used, too
_PATH = re.compile(r"[!-~]*")
_ADDRESS = re.compile(r"[!-:<-~]+")  # ASCII without whitespace and ;


class Address(NamedTuple):
    """Where Caddy's ``wsgi_party_ask`` listens."""

    host: str
    port: Optional[int]
    prefix: str  # of paths
    tls: bool = False
    socket_path: Optional[str] = None

    @property
    def authority(self) -> str:
        """The header Host."""
        host = self.host if self.host.isascii() else self.host.encode("idna").decode()
        host = f"[{host.partition('%')[0]}]" if ":" in host else host
        return host if self.port is None else f"{host}:{self.port}"

    @classmethod
    def parse(cls, url: str) -> Address:
        """:raises ValueError: if it is none."""
        if url.startswith("unix/"):
            return cls("localhost", None, "", socket_path=url[len("unix/"):])
        parts = urlsplit(url)
        if (
            parts.scheme not in ("http", "https") or not parts.hostname
            or parts.username is not None or parts.query or parts.fragment
            or not _PATH.fullmatch(parts.path)
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
        # What headers have said that were believed: several Caddys may be in front of this.
        self._heard: Dict[str, Tuple[Optional[Address], str]] = {}
        self._once = Once(1)

    @property
    def address(self) -> Optional[Address]:
        return self._given or self._told

    def hear(self, header: str) -> str:
        """Takes the header of a request, "" if it has none, and returns the version of the line
        that it says, "" if it says none.
        """
        if not header:
            return ""
        heard = self._heard.get(header)
        if heard is not None:
            self._told = heard[0]
            return heard[1]
        try:
            self._told, line = self._believed(header)
        except ValueError as error:
            if self._given is not None:
                return ""
            # What is at fault may be a visitor, so that it is not said again and again.
            self._once.warn(
                "header", "a Party-Ask header is not trusted: %s. If no visitor can send"
                " requests past Caddy, the keys here and there differ", error,
            )
            return ""  # for the file of keys may change
        if len(self._heard) >= MAX_HEADERS:
            self._heard = {}
        self._heard[header] = (self._told, line)
        return line

    def _believed(self, header: str) -> Tuple[Address, str]:
        if len(header) > MAX_HEADER:
            raise ValueError(f"it has more than {MAX_HEADER} bytes")
        text, *parameters = [part.strip(" \t") for part in header.split(";")]
        said: Dict[str, str] = {}
        for part in parameters:
            name, _, value = part.partition("=")
            name = name.strip(" \t").lower()
            said[name] = "" if name in said else value.strip(" \t")  # one of two is nobody's word
        address, mac = text.encode("utf-8", "replace"), said.get("mac", "")
        if not mac or not _ADDRESS.fullmatch(text):
            raise ValueError("it is not an address and its mac")
        line = said.get("line", "")
        signed = _PURPOSE + address
        if line:
            signed += b"; line=" + line.encode("utf-8", "replace")
        if not self._is_mac(mac, signed):
            if not (self._keys.look_again() and self._is_mac(mac, signed)):
                raise ValueError("its mac was not made with the key")
        return Address.parse(text), line

    def _is_mac(self, mac: str, signed: bytes) -> bool:
        return any([
            hmac.compare_digest(
                base64url(hmac.new(key, signed, hashlib.sha256).digest()),
                mac.encode("utf-8", "replace"),
            )
            for key in self._keys.get()
        ])
