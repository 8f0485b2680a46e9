# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""An application of Starlette or FastAPI, or any of ASGI, as a guest of a party::

    app = FastAPI()
    party = Party(app)

The server goes on running ``app``. With that, and the key in the environment as
``WSGI_PARTY_KEY``, other applications behind the same Caddy can link to every route by
its name, with those of the mounts it is in (``shop:cart``), and this one to theirs::

    await party.url_for("blog:post", slug="hello")

A route of one's own comes first, as the path that ``app.url_path_for`` gives, below the
mount, which Caddy says with each request: it becomes the ``root_path``. The first link to
another application asks for all that this endpoint had the last time.

It may answer for services, by functions of either kind, and ask for others'::

    @party.service("user")
    async def user(payload):
        if payload["id"] not in users:
            raise HighAndDry
        return {"name": users[payload["id"]]}

    await party.ask("user", {"id": 7})
    await party.ask_first("user", {"id": 7})

An endpoint that is not a coroutine calls the same of ``party.sync``, which wait. So does a
template that such an endpoint renders, ``{{ party.sync.url_for('blog:post', slug='hello')
}}``. That of a coroutine is given the links, or rendered by ``await
template.render_async(…)``, in an environment with ``enable_async``, where ``{{
party.url_for(…) }}`` is awaited by itself.

Of an application that has no routes as Starlette's the server runs ``party``, which has
no pages to tell but does all the rest. It takes asyncio.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import (
    Any, Callable, Dict, FrozenSet, Iterable, List, Mapping, Optional, Tuple, TypeVar, Union,
)
from urllib.parse import quote

from ._asgi import (
    Application, Page, Receive, Scope, Send, mounted, read, received_from, send_reply,
)
from ._batch import Outcome
from ._common import MAX_REQUEST, HighAndDry, within
from ._guest import NO_DEFAULT, Asked, Call, Guest, Question
from ._manifest import Pages
from ._request import Reply, current
from ._services import H, Services
from ._settings import PathLike, Settings

__all__ = ["HighAndDry", "Party"]

T = TypeVar("T")

#: Threads that wait for Caddy. There are others for what an application does itself, so
#: that one that waits for an answer does not keep it from being given.
MAX_WAITING = 32


class Party:
    """One application's. May be used by any thread and task.

    :param key: what else ``WSGI_PARTY_KEY`` says; likewise key_file, url and guest: see
        :mod:`wsgi_party`.
    :param missing_link: what url_for returns if nobody can make a link, instead of raising.
    :raises ValueError: if these are unusable.
    """

    def __init__(
        self,
        app: Any,
        *,
        key: Union[str, bytes, None] = None,
        key_file: Optional[PathLike] = None,
        url: Optional[str] = None,
        guest: Optional[str] = None,
        missing_link: Optional[str] = None,
    ) -> None:
        self.app = app
        #: url_for, ask and ask_first for what is not a coroutine.
        self.sync = Sync(self)
        self._missing_link = missing_link
        self._pages: Dict[str, Optional[str]] = {}
        self._services = Services()
        settings = Settings.read(key, key_file, url, guest)
        self._guest = Guest(settings, self._tell, self._services, _name(app))
        self._threads = ThreadPoolExecutor(MAX_WAITING, "wsgi_party")
        self._own: Tuple[int, FrozenSet[str]] = (-1, frozenset())
        self._is_inside = bool(settings.keys) and self._enter()

    def _enter(self) -> bool:
        """Makes this the outermost middleware of the application, for the others use the
        path, too. Returns whether it has middlewares as Starlette's.
        """
        build: Optional[Callable[[], Application]]
        build = getattr(self.app, "build_middleware_stack", None)
        if build is None:
            return False
        if getattr(build, "__module__", "") == __name__:
            raise RuntimeError("the application already has a Party")
        if getattr(self.app, "middleware_stack", None) is not None:
            raise RuntimeError("the application has started: make its Party before")
        build_inner = build

        def build_all() -> Application:
            return functools.partial(self._handle, build_inner())

        self.app.build_middleware_stack = build_all
        return True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """For the server, if the application has no routes as Starlette's."""
        if self._is_inside or not self._guest.keys:
            await self.app(scope, receive, send)
        else:
            await self._handle(self.app, scope, receive, send)

    def service(self, name: str, batch: bool = True) -> Callable[[H], H]:
        """Decorates a function, of either kind, that answers for a service: it takes the
        payload and returns the answer, both values of JSON, or raises
        :exc:`HighAndDry` if it has none.

        :param batch: whether Caddy may ask for up to 64 answers with one request, in which
            they are made at the same time.
        """
        return self._services.service(name, batch)

    def page(self, name: str, template: Optional[str]) -> None:
        """Tells a page by its URL template (RFC 6570), relative to the application's root,
        ``party.page("search", "/search{?q,page}")``, or, with None, keeps it back. That
        counts before what the routes say under this name.
        """
        if template is not None and not template.startswith(("/", "{/")):
            raise ValueError(f"the template {template!r} does not begin with a slash")
        self._pages[name] = template

    async def url_for(self, name: str, /, **values: Any) -> str:
        """Returns the URL of a page: of this application, if it has one of that name,
        else what another one says.

        :raises starlette.routing.NoMatchFound: if nobody can make it, unless there is a
            ``missing_link``. (LookupError, for an application without routes as Starlette's.)
        """
        if self._is_own(name):
            return self._own_url(name, values)
        page: Optional[Page] = current.get().request
        if page is None:
            return await self._waiting(self.sync.url_for, name, **values)
        if not self._guest.knows_url(name, values):
            await self._fetch_with_others(page, name, values)
        return self.sync.url_for(name, **values)

    async def ask(
        self, service: str, payload: Any = None, *, guest: Optional[str] = None
    ) -> List[Any]:
        """Returns the answers of all other applications.

        :param guest: the only one to ask.
        """
        return await self._waiting(self._guest.ask, service, payload, guest=guest)

    async def ask_first(
        self, service: str, payload: Any = None, default: Any = NO_DEFAULT, *,
        guest: Optional[str] = None,
    ) -> Any:
        """Returns the first answer of another application.

        :param default: what to return if nobody has one.
        :param guest: the only one to ask.
        :raises HighAndDry: if nobody has one and there is no default.
        """
        return await self._waiting(
            self._guest.ask_first, service, payload, default, guest=guest
        )

    async def ask_many(
        self, questions: Iterable[Tuple[str, Any]], first: bool = False
    ) -> List[List[Any]]:
        """Asks several questions, pairs of service and payload, with one request.

        :param first: whether the first answer to each is enough.
        :returns: a list of answers for each question.
        """
        return await self._waiting(self._guest.ask_many, questions, first)

    async def fetch_links(self, links: Iterable[Tuple[str, Mapping[str, Any]]]) -> None:
        """Asks with one request for links, pairs of name and values, which this page is
        going to have. Without it each that the page did not have the last time is a request.
        """
        await self._waiting(self.sync.fetch_links, links)

    async def _fetch_with_others(self, page: Page, name: str, values: Mapping[str, Any]) -> None:
        """Fetches a link together with those that other tasks of this page want now, as
        those of a gather do.
        """
        if page.under_way is not None:  # which may bring this one
            await asyncio.shield(page.under_way)
            if self._guest.knows_url(name, values):
                return
        if page.next is None:
            page.next = asyncio.ensure_future(self._fetch_next(page))
        page.wanted.append((name, values))
        await asyncio.shield(page.next)

    async def _fetch_next(self, page: Page) -> None:
        await asyncio.sleep(0)  # for the others to come
        page.under_way, page.next = page.next, None
        wanted, page.wanted = page.wanted, []
        try:
            await self.fetch_links(wanted)
        finally:
            page.under_way = None

    async def _waiting(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: context.run(function, *args, **kwargs)
        )

    async def _handle(
        self, app: Application, scope: Scope, receive: Receive, send: Send
    ) -> None:
        guest = self._guest
        guest.start()
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
            return
        received = received_from(scope)
        if scope["type"] == "websocket":
            guest.whereabouts.hear(received.party_ask)
        else:
            call = guest.call(received)
            if call is not None:
                await send_reply(await self._reply(call, await read(receive)), send)
                return
        handled = guest.handled(received)
        if handled.prefix:
            scope = mounted(scope, handled.prefix)
        handled.request = Page(scope)
        try:
            with within(current, handled):
                await app(scope, receive, send)
        finally:
            guest.done(handled)

    async def _reply(self, call: Call, body: bytes) -> Reply:
        if len(body) > MAX_REQUEST:
            return Reply.error(413)
        asked = self._guest.asked(call, body)
        if not isinstance(asked, Asked):
            return asked
        return asked.reply(await asyncio.gather(*map(self._outcome, asked.questions)))

    async def _outcome(self, question: Question) -> Outcome:
        handled = self._guest.handled_for(question)
        try:
            with within(current, handled):
                return question.answered(await _answer(question))
        except Exception as error:
            return question.failed(error)
        finally:
            self._guest.done(handled)

    def _tell(self, pages: Pages) -> None:
        for name, template in self._pages.items():
            if template is not None:
                pages.add(name, pages.root + template)
        routes = getattr(self.app, "routes", None)
        if "starlette" in sys.modules and isinstance(routes, list):
            from . import _starlette

            _starlette.add(pages, routes)
        for name, template in self._pages.items():
            if template is None:
                pages.templates.pop(name, None)

    def _is_own(self, name: str) -> bool:
        """Whether the application has a page of this name, by what it was at the start, or
        when its routes were last another number.
        """
        routes = getattr(self.app, "routes", None) or ()
        if self._own[0] != len(routes):
            pages = Pages()
            self._tell(pages)
            self._own = (len(routes), frozenset(pages.templates).union(
                name for name, _ in pages.left_out
            ))
        return name in self._own[1]

    def _own_url(self, name: str, values: Any) -> str:
        if not hasattr(self.app, "url_path_for"):
            raise LookupError(f"nobody has a page {name!r} with {', '.join(values) or 'nothing'}")
        path = str(self.app.url_path_for(name, **values))
        page: Optional[Page] = current.get().request
        return quote(page.root if page else "", safe="/-._~!$&()*+,;=:@") + path


class Sync:
    """What a :class:`Party` does, for what is not a coroutine and may wait."""

    def __init__(self, party: Party) -> None:
        self._party = party

    def url_for(self, name: str, /, **values: Any) -> str:
        """See :meth:`Party.url_for`."""
        party = self._party
        if party._is_own(name):
            return party._own_url(name, values)
        url = party._guest.url(name, values, _endpoint())
        if url is None:
            url = party._missing_link
        return party._own_url(name, values) if url is None else url

    def ask(
        self, service: str, payload: Any = None, *, guest: Optional[str] = None
    ) -> List[Any]:
        """See :meth:`Party.ask`."""
        return self._party._guest.ask(service, payload, guest=guest)

    def ask_first(
        self, service: str, payload: Any = None, default: Any = NO_DEFAULT, *,
        guest: Optional[str] = None,
    ) -> Any:
        """See :meth:`Party.ask_first`."""
        return self._party._guest.ask_first(service, payload, default, guest=guest)

    def ask_many(
        self, questions: Iterable[Tuple[str, Any]], first: bool = False
    ) -> List[List[Any]]:
        """See :meth:`Party.ask_many`."""
        return self._party._guest.ask_many(questions, first)

    def fetch_links(self, links: Iterable[Tuple[str, Mapping[str, Any]]]) -> None:
        """See :meth:`Party.fetch_links`."""
        self._party._guest.fetch_links(links, _endpoint())


def _name(app: Any) -> str:
    return f"the application {getattr(app, 'title', '') or type(app).__name__}"


async def _answer(question: Question) -> Any:
    if inspect.iscoroutinefunction(question.handler):
        return await question.handler(question.payload)
    answer = await asyncio.get_running_loop().run_in_executor(
        None, contextvars.copy_context().run, question.handler, question.payload
    )
    return await answer if inspect.isawaitable(answer) else answer


def _endpoint() -> str:
    page: Optional[Page] = current.get().request
    return page.endpoint if page else ""
