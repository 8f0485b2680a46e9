# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""A Flask application for tests, with what routes can have. Run by itself it is served as
by ``flask run`` on the port of its argument until its stdin ends.
"""

import logging
import sys
import threading

from flask import Blueprint, Flask, jsonify, url_for

from wsgi_party.flask import Party

logging.basicConfig(level=logging.INFO)
party = Party(missing_link="#")
admin = Blueprint("admin", __name__, url_prefix="/admin")


def create_app():
    app = Flask(__name__, static_folder=None)
    app.register_blueprint(admin)
    party.init_app(app)

    @app.get("/items/<int:id>")
    def item(id):
        return jsonify(id, url_for("item", id=id), url_for("blog:post", slug="x"), url_for("nobody:x"))

    @app.get("/files/<path:path>")
    def files(path):
        return jsonify(path)

    @app.get("/")
    @app.get("/page/<int:page>")
    def index(page=1):
        return jsonify(page)

    @app.get("/years/<int(fixed_digits=4):year>", endpoint="</script>")
    @app.get("/a/<b>", endpoint="a b")
    def strange(**kwargs):
        return jsonify(kwargs)

    return app


@admin.get("/<name>")
def user(name):
    return jsonify(name)


@party.service("name")
def name(payload):
    return "shop"


if __name__ == "__main__":
    from flask.cli import cli

    arguments = ["--app", "flask_shop", "run", "--port", sys.argv[1]]
    threading.Thread(target=cli, args=(arguments,), daemon=True).start()
    sys.stdin.read()
