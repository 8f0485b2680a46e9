# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""A Flask application for tests, which knows nothing of others but what it asks for."""

import logging
import os

from flask import (
    Flask, Response, g, jsonify, render_template_string, request, stream_with_context, url_for,
)
from werkzeug.routing import BuildError

from wsgi_party.flask import HighAndDry, Party

logging.basicConfig(level=logging.INFO)
app = Flask(__name__)
app.json.ensure_ascii = False
party = Party(app)


@app.get("/")
def index():
    return jsonify(
        own=url_for("post", slug="a b-ü"), item=url_for("shop:item", id=7),
        blueprint=url_for("shop:admin.user", name="ann"), static=url_for("static", filename="x.css"),
    )


@app.get("/posts/<slug>")
def post(slug):
    return jsonify(slug)


@app.get("/files/<path:path>")
def file(path):
    return jsonify(path)


@app.get("/links/<int:n>")
def links(n):
    """So many links to others; their number says whether some are new."""
    urls = [url_for("shop:item", id=i) for i in range(n)]
    return jsonify(len(set(urls)), urls[-1])


@app.get("/own/<int:n>")
def own(n):
    urls = [url_for("post", slug=i) for i in range(n)]
    return jsonify(len(set(urls)), urls[-1])


@app.get("/options")
def options():
    return jsonify([
        url_for("shop:item", id=1, _anchor="a b"), url_for("shop:item", id=1, _external=True),
        url_for("shop:item", id=1, _external=True, _scheme="https"), url_for("post", slug="x", _external=True),
        url_for("shop:files", path="css/a b.css"), url_for("shop:files", path=["css", "b"]),
        url_for("shop:item", id=1, unknown=None, _method="POST"),
    ])


@app.get("/template")
def template():
    return render_template_string("""{{ url_for('shop:item', id=7, _anchor='"') }}""")


@app.get("/stream")
def stream():
    def parts():
        yield '["'
        yield url_for("shop:item", id=1)
        yield '"]'

    return Response(stream_with_context(parts()), mimetype="application/json")


@app.get("/nobody/<name>")
def nobody(name):
    try:
        return jsonify(url_for(name))
    except BuildError as error:
        return jsonify(str(error).partition(".")[0])


@app.get("/ask/<service>")
def ask(service):
    return jsonify(party.ask(service, request.args.get("payload")))


@app.get("/first/<service>")
def first(service):
    try:
        return jsonify(party.ask_first(service, request.args.get("payload")))
    except HighAndDry:
        return jsonify("high and dry")


@app.get("/pid")
def pid():
    return jsonify(os.getpid())


@app.teardown_request
def teardown(error):
    if "said" in g:
        print(g.said, flush=True)


@party.service("name")
def name(payload):
    g.said = "name"
    return "blog"


@party.service("where")
def where(payload):
    """Says what a handler sees of the request that asks."""
    assert request.get_json() == payload
    return [url_for("post", slug=payload), url_for("shop:item", id=payload), party.ask("name")]


@party.service("fail")
def fail(payload):
    raise RuntimeError("on purpose")


@party.service("decline")
def decline(payload):
    raise HighAndDry
