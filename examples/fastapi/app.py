# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""FastAPI: party.url_for makes links to pages of applications that this one knows nothing
of, and these to its own.
"""

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates

from wsgi_party.asgi import Party

app = FastAPI()
party = Party(app, missing_link="")  # not each of the others has to run
templates = Jinja2Templates("templates")
LINKS = ["index", "about"] + [
    f"{application}:{page}"
    for application in ("flask", "django", "express", "node", "php", "gopher")
    for page in ("index", "about")
]


@party.service("ping")
async def ping(payload):
    return "pong"


@app.get("/", name="index", response_class=HTMLResponse)
@app.get("/about-fastapi", name="about", response_class=HTMLResponse)
async def page(request: Request):
    return templates.TemplateResponse("page.html", {
        "request": request,
        "links": {name: await party.url_for(name) for name in LINKS},
        "back": await party.url_for("legacy:index"),
        "pongs": await party.ask("ping"),
    })
