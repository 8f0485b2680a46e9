# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""What Caddy asks in one request, and the response to it: one ask, or a list of several."""

from __future__ import annotations

import re
from typing import Any, List, NamedTuple

from ._common import HighAndDry, logger
from ._json import NoJSON, decode, encode
from ._request import Reply

MAX_ASKS = 64  # in one request

# What can be sent on as a header.
_SENDABLE = re.compile(r"[!-~]{1,8192}")

# Why something failed is the log's to say, and nobody else's.
_FAILED = b'{"error":"the handler failed: see its log"}'
_UNCARRIED = b'{"error":"the answer cannot be JSON: see its log"}'


class Ask(NamedTuple):
    """One ask of Caddy's. A token or traceparent that it does not have is ""."""

    payload: Any
    token: str = ""
    traceparent: str = ""


class Outcome(NamedTuple):
    """What became of an ask."""

    status: int  # as if it had come alone: 200, 204 or 500
    element: bytes  # of the list

    @classmethod
    def of(cls, service: str, answer: Any) -> Outcome:
        try:
            return cls(200, b'{"answer":%b}' % encode("answer", answer))
        except NoJSON as error:
            logger.error("a handler of the service %s failed: %s", service, error)
            return cls(500, _UNCARRIED)

    @classmethod
    def failed(cls, service: str, error: BaseException) -> Outcome:
        if isinstance(error, HighAndDry):
            return cls(204, b'{"declined":true}')
        logger.error("a handler of the service %s failed", service, exc_info=error)
        return cls(500, _FAILED)


def asks_in(body: bytes) -> List[Ask]:
    """Returns what a request asks.

    :raises ValueError: if it is no such list.
    """
    batch = decode(body)
    if not isinstance(batch, list) or not 1 <= len(batch) <= MAX_ASKS:
        raise ValueError(f"not a list of 1 to {MAX_ASKS} asks")
    return [_ask(element) for element in batch]


def ask_in(body: bytes, token: str) -> Ask:
    """Returns what a request asks for a service that is not asked in batches.

    :raises ValueError: if it is not JSON.
    """
    return Ask(decode(body), token)


def reply_to_batch(outcomes: List[Outcome]) -> Reply:
    body = b"[%b]" % b",".join([outcome.element for outcome in outcomes])
    return Reply.content(200, "application/json", body)


def reply_to_one(outcomes: List[Outcome]) -> Reply:
    outcome, = outcomes
    if outcome.status == 200:
        answer = outcome.element[len('{"answer":'):-1]
        return Reply.content(200, "application/json", answer)
    return Reply(204, []) if outcome.status == 204 else Reply.error(outcome.status)


def _ask(element: Any) -> Ask:
    if not isinstance(element, dict) or "payload" not in element:
        raise ValueError("an ask without a payload")
    token, traceparent = element.get("token", ""), element.get("traceparent", "")
    if not isinstance(token, str) or not isinstance(traceparent, str):
        raise ValueError("a token or traceparent that is not text")
    return Ask(element["payload"], _sendable(token), _sendable(traceparent))


def _sendable(value: str) -> str:
    return value if _SENDABLE.fullmatch(value) else ""
