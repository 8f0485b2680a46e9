# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""What an application answers for."""

from __future__ import annotations

import threading
from typing import Any, Callable, Dict, FrozenSet, List, Optional, TypeVar

from ._common import is_name

#: Takes the payload, a value of JSON, and returns one, or raises HighAndDry.
Handler = Callable[[Any], Any]
H = TypeVar("H", bound=Handler)


class Services:
    """Handlers by the names of their services. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handlers: Dict[str, Handler] = {}
        #: Those whose asks do not come in lists.
        self.asked_alone: FrozenSet[str] = frozenset()

    def service(self, name: str, batch: bool = True) -> Callable[[H], H]:
        """Decorates a function that answers for a service: it takes the payload and
        returns the answer, both values of JSON, or raises :exc:`HighAndDry` if it has
        none.

        :param batch: whether Caddy may ask for several answers with one request.
        :raises ValueError: if the name is none, or is taken.
        """
        if not is_name(name):
            raise ValueError(f"{name!r} is not a service name: write 1 to 64 of A-Z a-z 0-9 . _ : -")

        def decorate(handler: H) -> H:
            with self._lock:
                if self._handlers.get(name, handler) is not handler:
                    raise ValueError(f"the service {name!r} already has a handler")
                self._handlers[name] = handler
                if not batch:
                    self.asked_alone |= {name}
            return handler

        return decorate

    def get(self, name: str) -> Optional[Handler]:
        return self._handlers.get(name)

    def names(self) -> List[str]:
        return list(self._handlers.copy())
