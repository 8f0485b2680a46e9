# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""The Party-Token: the proof that a request is Caddy's own."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
import time
from typing import Any, Dict, Optional, Sequence, Set, Type
from urllib.parse import unquote_to_bytes

from ._common import InvalidToken
from ._json import decode

MIN_KEY = 32  # bytes
MAX_TOKEN_AGE = 60  # seconds
LEEWAY = 30  # seconds that Caddy's clock may differ from this one's

#: A prefix of paths, escaped. It ends up before links, so nothing in it may lead away.
MOUNT = re.compile(r"(?:/[^/\\?#\x00-\x20\x7f]+)*")

MAX_HEADERS = 16  # that are remembered
_HEADERS: Set[bytes] = set()  # of tokens that were signed with a key, and are for HS256

_TO_URL, _OF_URL = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_", b"+/")

Claims = Dict[str, Any]


def verify_token(
    token: str,
    keys: Sequence[bytes],
    method: str,
    path: bytes,
    query: str = "",
    body: bytes = b"",
    guest: str = "",
    now: Optional[float] = None,
) -> Claims:
    """Returns the claims of a Party-Token if it proves that a holder of one
    of the keys sent this very request, not longer ago than a token lives.

    It is a JWT signed with HS256. Its claims are ``aud``, ``iat`` and ``exp``
    as in RFC 7519, ``htm``, the method, ``htu``, path and query as sent with
    the mount, ``mnt``, the mount alone, ``bsh``, the SHA-256 of the body in
    base64url without padding, and more that Caddy itself reads.

    :param token: value of the header Party-Token.
    :param keys: sequence of bytes. What is shorter than 32 bytes is no key.
    :param method: the request's.
    :param path: the request's, unescaped, as bytes, with or without the mount.
    :param query: the request's, escaped.
    :param body: the request's, as bytes.
    :param guest: the name the token has to be for; with ``""``, any.
    :param now: seconds since the epoch; by default the clock's.
    :raises InvalidToken: saying why, but nothing secret.
    """
    claims = signed_claims(token, keys, guest, now)
    check_request(claims, method, path, query)
    check_body(claims, body)
    return claims


def signed_claims(
    token: str, keys: Sequence[bytes], guest: str, now: Optional[float] = None
) -> Claims:
    """Returns the claims of a token that a holder of one of the keys signed
    and that is good now, whatever it is for.
    """
    keys = [key for key in keys if len(key) >= MIN_KEY]
    if not keys:
        raise InvalidToken(f"there is no key of {MIN_KEY} bytes or more to verify it with")
    if not token:
        raise InvalidToken("there is none")
    now = time.time() if now is None else now
    signed, _, signature = token.encode("utf-8", "surrogatepass").rpartition(b".")
    digests = [hmac.digest(key, signed, "sha256") for key in keys]
    # Nothing of the token is parsed, or believed, before this.
    if not any([hmac.compare_digest(base64url(digest), signature) for digest in digests]):
        raise InvalidToken("not signed with the key")
    with _MALFORMED:
        header, claimed = signed.split(b".")
        if header not in _HEADERS:
            _check_header(header)
        claims = _decoded(claimed)
        issued, expires = claims["iat"], claims["exp"]
        if not MOUNT.fullmatch(claims["mnt"]):
            raise InvalidToken("mnt is not a path")
        if not claims["aud"] or (guest and claims["aud"] != guest):
            raise InvalidToken("for another guest")
        if not 0 <= expires - issued <= MAX_TOKEN_AGE:
            raise InvalidToken("valid for too long")
        if not issued - LEEWAY <= now < expires + LEEWAY:
            raise InvalidToken("expired, or the clocks differ")
        return dict(claims)
    raise AssertionError  # for mypy: _MALFORMED raises what it catches as another


def check_request(claims: Claims, method: str, path: bytes, query: str) -> None:
    """Raises InvalidToken unless the claims are for this method, path and query."""
    with _MALFORMED:
        if claims["htm"] != method:
            raise InvalidToken("for another method")
        mount = unquote_to_bytes(claims["mnt"])
        sent_path, _, sent_query = claims["htu"].partition("?")
        if below(mount, unquote_to_bytes(sent_path)) != below(mount, path):
            raise InvalidToken("for another path")
        if sent_query != query:
            raise InvalidToken("for another query")


def check_body(claims: Claims, body: bytes) -> None:
    """Raises InvalidToken unless the claims are for this body."""
    with _MALFORMED:
        if claims["bsh"].encode() != base64url(hashlib.sha256(body).digest()):
            raise InvalidToken("for another body")


def below(mount: bytes, path: bytes) -> bytes:
    """Returns the path without the mount, if it begins with it."""
    if (path + b"/").startswith(mount + b"/"):
        path = path[len(mount):]
    return path or b"/"


def base64url(digest: bytes) -> bytes:
    return binascii.b2a_base64(digest, newline=False).translate(_TO_URL, b"=")


def _decoded(part: bytes) -> Any:
    return decode(binascii.a2b_base64(part.translate(_OF_URL) + b"=="))


def _check_header(part: bytes) -> None:
    header = _decoded(part)
    if header["alg"] != "HS256" or "crit" in header:
        raise InvalidToken("not HS256")
    if len(_HEADERS) < MAX_HEADERS:
        _HEADERS.add(part)


class _Malformed:
    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Optional[Type[BaseException]], *error: object) -> None:
        if kind is not None and issubclass(kind, _OF_WHAT_IS_MALFORMED):
            raise InvalidToken("malformed") from None


_OF_WHAT_IS_MALFORMED = (
    AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError,
)
_MALFORMED = _Malformed()  # which contextlib would make anew each time
