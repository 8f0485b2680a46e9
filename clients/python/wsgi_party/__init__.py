# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Partyline middleware: lets the WSGI applications of one process, and all
applications behind one Caddy, answer each other's questions.

Wrap the WSGI application that dispatches to the others, and name a path of
each application that is to take part::

    application = WSGIParty(dispatcher, invites=("/__invite__/", "/blog/__invite__/"))

Each path is requested once, inside the process, with an *operator* in the
WSGI environ. The application connects handlers and keeps the operator, to ask
around later::

    operator = environ.get("partyline")
    operator.connect("ping", lambda payload: "pong")
    ...
    operator.ask_around("ping", None)

A handler is called with the payload and returns its answer; if it has none it
raises :exc:`HighAndDry`. An application that answers no plain request to
localhost, and so cannot be invited, is given a ``PartylineOperator(application)``.

That is all, unless the process runs behind Caddy's module ``wsgi_party`` and
the :class:`WSGIParty` is told so, by its arguments or by the environment when it
is made:

``key``, else ``WSGI_PARTY_KEY``
    The secret of this guest, as in Caddy's ``wsgi_party_guest { key … }``: 32
    bytes or more, without whitespace. Of several keys separated by whitespace
    the first one is used to ask, and all are accepted. With it the
    applications' handlers answer whoever asks through Caddy.
``key_file``, else ``WSGI_PARTY_KEY_FILE``
    A file that holds the same, if there is no key. It may come after the start,
    and change: it is read when it is needed.
``url``, else ``WSGI_PARTY_URL``
    Where Caddy's ``wsgi_party_ask`` listens: ``http://host:port/path``, https
    likewise, or ``unix//run/party.sock``. There ask_around also asks
    everybody else behind that Caddy. It needs the key. Without it Caddy says where,
    in a header ``Party-Ask`` signed with the key, if the Caddyfile has ``ask_on``.
``guest``, else ``WSGI_PARTY_GUEST``
    The guest name that Party-Tokens have to be for. Without it any name will
    do: what counts is the key.

By the arguments one process can be several guests, each with a key of its own.
They are also what mod_wsgi needs, whose ``SetEnv`` does not set the environment
of the process.

What leaves the process is JSON. A payload that JSON cannot carry, such as a WSGI
environ, is asked about in this process only, and the log says so once: ask with
the few texts and numbers that matter, ``{"path": environ["PATH_INFO"]}``.

The package is quiet about what goes well, and logs the rest under its own name.

An ask may come back to where it began while the request that led to it still
waits. So run two worker processes or threads at least.
"""

from ._common import HighAndDry, InvalidToken, NoSuchServiceName, PartylineException
from ._party import PartylineOperator, WSGIParty
from ._process import URLPayload
from ._token import verify_token

__all__ = [
    "HighAndDry",
    "InvalidToken",
    "NoSuchServiceName",
    "PartylineException",
    "PartylineOperator",
    "URLPayload",
    "WSGIParty",
    "verify_token",
]

__version__ = "0.1.0"
