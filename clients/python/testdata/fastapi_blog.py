# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""An application of FastAPI for tests."""

import asyncio
import contextvars
import json
import logging
import os

import jinja2
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, StreamingResponse
from starlette.routing import Mount, NoMatchFound, Route

from wsgi_party import HighAndDry
from wsgi_party.asgi import Party

logging.basicConfig(level=os.environ.get("LEVEL", "INFO"))

app = FastAPI(title="blog")
party = Party(app)
events = []
variable = contextvars.ContextVar("variable", default="unset")

jinja = jinja2.Environment(autoescape=True)
asynchronous = jinja2.Environment(autoescape=True, enable_async=True)
jinja.globals["party"] = asynchronous.globals["party"] = party


@app.on_event("startup")
async def started():
    events.append("startup")


@app.get("/", name="home")
async def home(request: Request):
    return [request.url.path, str(request.url_for("post", slug="a")), request.scope["root_path"]]


@app.get("/posts/{slug}", name="post")
async def post(request: Request, slug: str):
    return [request.url.path, slug]


@app.get("/contents", name="contents")
async def contents():
    return HTMLResponse(f'<a href="{await party.url_for("post", slug="a")}">a</a>')


@app.get("/slash/", name="slash")
async def slash():
    return "slash"


@app.get("/blog/again", name="again")
async def again(request: Request):
    return request.url.path


@app.get("/files/{file:path}", name="file")
async def file(file: str):
    return file


LINKS = """
{{ %(party)s.url_for('post', slug='b') }}
{{ %(party)s.url_for('shop:item', slug='a&b') }}
{{ %(party)s.url_for('shop:file', file=['x', 'y z']) }}
"""


@app.get("/links")
async def links():
    template = asynchronous.from_string(LINKS % {"party": "party"})
    return HTMLResponse(await template.render_async())


@app.get("/sync/links")
def sync_links():
    return HTMLResponse(jinja.from_string(LINKS % {"party": "party.sync"}).render())


@app.get("/fifty")
async def fifty():
    return [await party.url_for("shop:item", slug=str(n)) for n in range(50)]


@app.get("/own-fifty")
async def own_fifty():
    return [app.url_path_for("post", slug=str(n)) for n in range(50)]


@app.get("/ask/{service}")
async def ask(service: str, payload: str = "null"):
    return await party.ask(service, json.loads(payload))


@app.get("/sync/ask/{service}")
def sync_ask(service: str):
    return party.sync.ask(service)


@app.get("/first/{service}")
async def first(service: str):
    try:
        return await party.ask_first(service)
    except HighAndDry:
        return "HighAndDry"


@app.get("/missing")
async def missing():
    try:
        return await party.url_for("nobody:knows")
    except NoMatchFound as error:
        return str(error)


@app.get("/stream")
async def stream():
    async def parts():
        for slug in "ab":
            yield json.dumps(await party.url_for("shop:item", slug=slug)) + "\n"

    return StreamingResponse(parts())


@app.get("/slow-stream")
async def slow_stream():
    async def parts():
        yield "first\n"
        await released.wait()
        yield "second\n"

    released = asyncio.Event()
    app.state.released = released
    return StreamingResponse(parts())


@app.get("/release")
async def release():
    app.state.released.set()
    return "released"


@app.get("/fail")
async def fail_page():
    raise RuntimeError("of the page")


@app.websocket("/ws")
async def websocket(socket: WebSocket):
    await socket.accept()
    await socket.send_text(await socket.receive_text() + str(socket.url_for("socket")))
    await socket.close()


app.router.routes[-1].name = "socket"


@app.get("/events")
async def told():
    return events


async def inside(request):
    return JSONResponse([
        request.url.path, request.scope["root_path"], await party.url_for("admin:user", id=7),
        await party.url_for("post", slug="b"), await party.url_for("shop:cart"),
    ])


app.router.routes.append(
    Mount("/admin", routes=[Route("/users/{id:int}", inside, name="user")], name="admin")
)


@party.service("name")
async def name(payload):
    await asyncio.sleep(0)
    return "blog"


@party.service("echo")
def echo(payload):
    return payload


@party.service("nest")
async def nest(payload):
    return ["blog", *await party.ask("nest", payload)]


@party.service("fail")
async def fail(payload):
    raise RuntimeError("on purpose")


@party.service("decline")
def decline(payload):
    raise HighAndDry
