# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""How an application and Caddy know each other: by a key, and where Caddy is asked."""

from __future__ import annotations

import re
from typing import Callable, Optional, Tuple

from ._address import Address, Whereabouts
from ._caddy import Breaker, Caddy
from ._common import InvalidToken, Once
from ._request import Handled, Received
from ._settings import Settings
from ._token import Claims, signed_claims


class Line:
    """One guest's. May be used from any thread."""

    def __init__(
        self, settings: Settings, make_breaker: Callable[[], Breaker] = Breaker
    ) -> None:
        self.keys = settings.keys
        self.name = settings.name
        self.whereabouts = Whereabouts(settings.keys, settings.url)
        self.once = Once()
        self._make_breaker = make_breaker
        self._caddy: Optional[Tuple[Address, Caddy]] = None

    @property
    def caddy(self) -> Optional[Caddy]:
        """Whom to ask; None as long as nobody has said where."""
        address = self.whereabouts.address
        if address is None:
            return None
        if self._caddy is None or self._caddy[0] != address:
            self._caddy = (address, Caddy(address, self._make_breaker()))
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
        return Handled(self, received, claims)

    def say_unsigned(self, received: Received) -> None:
        """Says once that there is an invite, and a key on this side alone."""
        self.once.warn(
            "unsigned",
            "the invite of Caddy's to %s has no Party-Token and is left to the application:"
            " there is a key here (WSGI_PARTY_KEY), and none in the Caddyfile. Write it into"
            " wsgi_party_guest there, as in: key {env.%s_PARTY_KEY}",
            received.path.decode("latin-1"),
            re.sub(r"\W", "_", self.name, flags=re.ASCII).upper() or "MY",
        )
