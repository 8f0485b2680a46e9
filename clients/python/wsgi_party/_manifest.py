# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""The manifest: what Caddy is told of an application's pages and services."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Callable, Container, Dict, Iterable, List, NamedTuple, Tuple

from ._common import MANIFEST_TYPE, is_name, logger
from ._request import Reply
from ._template import Template, Unsayable

MAX_MANIFEST = 1 << 16  # bytes
MAX_PAGES = 4096
MAX_SERVICES = 256
MAX_AGE = 60  # seconds after which Caddy asks for it again
MAX_SAID = 20  # names in the log


class Pages:
    """What a framework's adapter collects from its routes.

    :param root: escaped, what comes between the mount and the routes, where an
        application is one of several in its process.
    """

    def __init__(self, root: str = "") -> None:
        self.root = root
        #: Names to templates, in the order in which they were added.
        self.templates: Dict[str, str] = {}
        #: Names of pages that are not told, and why not.
        self.left_out: List[Tuple[str, str]] = []

    def add(self, name: str, template: str) -> None:
        """Tells a page. Of several with one name the first one counts.

        :param template: relative to the mount.
        """
        if not is_name(name):
            self.leave_out(name, "a name has 1 to 64 of A-Z a-z 0-9 . _ : -")
        elif name not in self.templates:
            self.templates[name] = template

    def route(self, name: str, build: Callable[[Template], None]) -> bool:
        """Tells a page whose template is built by a function, or leaves it out, and says
        why, where that raises :exc:`Unsayable`. Returns whether it is told.
        """
        template = Template(self.root)
        try:
            build(template)
            self.add(name, template.finish())
        except Unsayable as error:
            self.leave_out(name, str(error))
        return name in self.templates

    def leave_out(self, name: str, why: str) -> None:
        self.left_out.append((name, why))


class Manifest(NamedTuple):
    body: bytes
    etag: str
    pages: int
    services: List[str]
    left_out: List[Tuple[str, str]]

    @classmethod
    def build(
        cls, invite_path: str, pages: Pages, services: Iterable[str],
        asked_alone: Container[str] = (),
    ) -> Manifest:
        """Makes a manifest of no more than Caddy takes.

        :param invite_path: escaped, without a slash at its end.
        :param asked_alone: services whose asks are not to come in lists.
        """
        left_out = pages.left_out[:]
        size = len('{"urls":{},"services":{}}')
        hrefs: Dict[str, Dict[str, Any]] = {}
        for service in services:
            href: Dict[str, Any] = {"href": f"{invite_path}/partyline/{service}"}
            if service not in asked_alone:
                href["batch"] = True
            size += len(_dumps({service: href})) - 1
            if len(hrefs) == MAX_SERVICES or size > MAX_MANIFEST:
                left_out.append((f"the service {service}", "there are too many"))
            else:
                hrefs[service] = href
        urls: Dict[str, str] = {}
        for name, template in pages.templates.items():
            length = len(_dumps({name: template})) - 1
            if len(urls) == MAX_PAGES or size + length > MAX_MANIFEST:
                left_out.append((
                    name, f"a manifest has at most {MAX_PAGES} pages and {MAX_MANIFEST} bytes",
                ))
            else:
                urls[name] = template
                size += length
        body = _dumps({"urls": urls, "services": hrefs}).encode()
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        return cls(body, etag, len(urls), list(hrefs), left_out)

    def reply(self, if_none_match: str) -> Reply:
        headers = [("ETag", self.etag), ("Cache-Control", f"max-age={MAX_AGE}")]
        if self.etag in if_none_match:
            return Reply(304, headers)
        return Reply.content(200, MANIFEST_TYPE, self.body, *headers)

    def say(self, application: str) -> None:
        """Logs what is told, and what is left out and why."""
        logger.info(
            "%s tells the party of pages: %d, and services: %d%s", application, self.pages,
            len(self.services), _names(sorted(self.services), " ({})"),
        )
        if self.left_out:
            told = _names([f"{_said(name)} ({why})" for name, why in self.left_out], "{}", "; ")
            logger.info("%s leaves out %s", application, told)


def _names(names: List[str], form: str, separator: str = ", ") -> str:
    if not names:
        return ""
    more = f" and {len(names) - MAX_SAID} more" if len(names) > MAX_SAID else ""
    return form.format(separator.join(names[:MAX_SAID]) + more)


def _said(name: str) -> str:
    return name[:80] if name and name.isprintable() else ascii(name[:80])


def _dumps(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
