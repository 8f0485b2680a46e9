# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""What an application is told of the party: by arguments, else by the environment."""

from __future__ import annotations

import os
import threading
import time
from typing import List, NamedTuple, Optional, Tuple, Union

from ._common import logger
from ._token import MIN_KEY

MAX_KEY_FILE = 1 << 16  # bytes
PAUSE = 1.0  # seconds between two looks at a file of keys

PathLike = Union[str, "os.PathLike[str]"]


class Keys:
    """The keys of a guest, the first of which signs and asks: given as they are,
    or kept in a file, which may come, and change, while the application runs.
    """

    def __init__(
        self, keys: Union[str, bytes] = "", path: Optional[PathLike] = None
    ) -> None:
        self._keys = parse_keys(keys, "a key (of WSGI_PARTY_KEY)")
        self._path = None if self._keys or not path else os.fspath(path)
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._version: Optional[Tuple[int, ...]] = None
        self._problem = ""

    def __bool__(self) -> bool:
        """Whether there are keys, or are to be."""
        return bool(self._keys) or self._path is not None

    def get(self) -> List[bytes]:
        """Returns the keys, none as long as their file is not there."""
        if not self._keys and self._path is not None:
            self.look_again()
        return self._keys

    def look_again(self) -> bool:
        """Reads the file, if there is one and it was not read just now; returns
        whether the keys are others than before.
        """
        if self._path is None or time.monotonic() < self._looked + PAUSE:
            return False
        with self._lock:
            if time.monotonic() < self._looked + PAUSE:
                return False
            self._looked = time.monotonic()
            before = self._keys
            try:
                keys = parse_keys(_read(self._path), f"a key in {self._path}")
                problem = "" if keys else f"{self._path} is empty"
            except (OSError, ValueError) as error:
                keys, problem = [], str(error)
            # One that cannot be read now is no reason to forget what was in it.
            self._keys = keys or before
            if problem and problem != self._problem:
                logger.warning(
                    "the file of keys (WSGI_PARTY_KEY_FILE) cannot be used: %s. It is read"
                    " again when it is needed%s", problem,
                    "; until then, its last keys count" if before else
                    "; until then, this application is not a guest",
                )
            elif self._problem and not problem:
                logger.info("the file of keys %s exists now", self._path)
            self._problem = problem
            return self._keys != before


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        content = file.read(MAX_KEY_FILE + 1)
    if len(content) > MAX_KEY_FILE:
        raise ValueError(f"{path} has more than {MAX_KEY_FILE} bytes")
    return content


def parse_keys(value: Union[str, bytes], what: str) -> List[bytes]:
    """Returns the keys in a text, which are separated by whitespace.

    :raises ValueError: if one is too short, naming it as ``what``, and not itself.
    """
    if isinstance(value, str):
        # Bytes of the environment that are not UTF-8 are surrogates in the text.
        value = " ".join(value.split()).encode("utf-8", "surrogateescape")
    keys = value.split()
    if any(len(key) < MIN_KEY for key in keys):
        raise ValueError(f"{what} is shorter than {MIN_KEY} bytes")
    return keys


class Settings(NamedTuple):
    """What an application is told of the party."""

    keys: Keys
    url: str  # where to ask; without it Caddy's word counts, the header Party-Ask
    name: str  # the guest's; without it tokens may be for any

    @classmethod
    def read(
        cls,
        key: Union[str, bytes, None] = None,
        key_file: Optional[PathLike] = None,
        url: Optional[str] = None,
        guest: Optional[str] = None,
    ) -> Settings:
        """Takes each argument that is not None, and else the environment's variable.
        An empty one is as good as a variable that is not set. Of a key and a file
        of keys, the key counts, an argument of either kind before both variables.

        :raises ValueError: if they are unusable.
        """
        if key is None and key_file is None:
            key, key_file = _variable("KEY"), _variable("KEY_FILE")
        keys = Keys(key or "", key_file)
        url = _variable("URL") if url is None else url
        if url and not keys:
            raise ValueError(
                "there is a url to ask at (WSGI_PARTY_URL), but no key (WSGI_PARTY_KEY)"
            )
        return cls(keys, url, _variable("GUEST") if guest is None else guest)


def _variable(name: str) -> str:
    return os.environ.get("WSGI_PARTY_" + name, "")
