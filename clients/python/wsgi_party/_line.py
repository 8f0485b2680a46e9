# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""How an application and Caddy know each other: by a key, and where Caddy is asked."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, Optional, Tuple

from ._address import Address, Whereabouts
from ._caddy import Breaker, Caddy
from ._common import InvalidToken, Once
from ._request import Handled, Received
from ._settings import Settings
from ._token import Claims, signed_claims


MAX_CADDYS = 8  # that are in front of this, each with an address of its own


class Line:
    """One guest's. May be used from any thread."""

    #: Seconds that asking Caddy may take.
    timeout = 5.0

    def __init__(
        self, settings: Settings, make_breaker: Callable[[], Breaker] = Breaker
    ) -> None:
        self.keys = settings.keys
        self.name = settings.name
        self.whereabouts = Whereabouts(settings.keys, settings.url)
        self.once = Once()
        self._make_breaker = make_breaker
        self._caddy: Optional[Tuple[Address, Caddy]] = None
        self._caddys: Dict[Address, Caddy] = {}

    @property
    def caddy(self) -> Optional[Caddy]:
        """Whom to ask; None as long as nobody has said where."""
        address = self.whereabouts.address
        if address is None:
            return None
        if self._caddy is None or self._caddy[0] != address:
            caddy = self._caddys.get(address)
            if caddy is None:
                if len(self._caddys) >= MAX_CADDYS:
                    self._caddys = {}
                caddy = self._caddys[address] = Caddy(address, self._make_breaker())
            self._caddy = (address, caddy)
        return self._caddy[1]

    def claims(self, token: str) -> Claims:
        """Returns the claims of a token that one of the keys signed, whatever it is for.

        :raises InvalidToken: if none of them did, or it is not good now.
        """
        try:
            return signed_claims(token, self.keys.get(), self.name)
        except InvalidToken:
            if not self.keys.look_again():
                raise
            return signed_claims(token, self.keys.get(), self.name)

    def handled(self, received: Received, claims: Optional[Claims] = None) -> Handled:
        """Returns what is to be current while a request is handled.

        :param claims: of its token, if they are known.
        """
        if claims is None and received.token:
            try:
                claims = self.claims(received.token)
            except InvalidToken:
                pass  # it is the application's to verify, and not to be handed back
        return Handled(self, received, claims, line=self.whereabouts.hear(received.party_ask))

    def known(self, handled: Handled, timeout: float) -> Dict[Any, Any]:
        """Returns what needs not be asked for.

        :param handled: the request that is current.
        :param timeout: seconds that it may take to ask whether it is still so; with 0 nothing is
            asked.
        """
        is_mine = handled.guest is self
        if is_mine and handled.kept is not None:
            return handled.kept
        line, prefix = (handled.line, handled.prefix) if is_mine else ("", "")
        known: Optional[Dict[Any, Any]] = None
        caddy = self.caddy
        # In an ask it counts who was asked before, and Caddy has to know what is answered.
        if caddy is not None and not (is_mine and handled.token) and self.keys.get():
            if timeout:
                known = caddy.known(line, prefix, self.keys, timeout)
            else:
                known = caddy.kept.known(line, prefix)
                if known is None:
                    return {}
        if known is None:
            known = {}
        if is_mine:
            handled.kept = known
        return known

    def keep(self, handled: Handled, line: str, what: Any, answer: Any) -> None:
        """Keeps what was answered, if it is so until the line has another version."""
        caddy, is_mine = self.caddy, handled.guest is self
        if line and caddy is not None and not (is_mine and handled.token):
            caddy.kept.keep(line, handled.prefix if is_mine else "", what, answer)

    def say_unsigned(self, received: Received) -> None:
        """Says once that there is an invite, and a key on this side alone."""
        self.once.warn(
            "unsigned",
            "Caddy's invite to %s has no Party-Token and is left to the application:"
            " there is a key here (WSGI_PARTY_KEY), but none in the Caddyfile. Write it in"
            " wsgi_party_guest there, as in: key {env.%s_PARTY_KEY}",
            received.path.decode("latin-1"),
            re.sub(r"\W", "_", self.name, flags=re.ASCII).upper() or "MY",
        )
