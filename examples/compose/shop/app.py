# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0
"""A shop in Flask, which links to what the magazine writes of its goods."""

from flask import Flask, abort, render_template_string
from wsgi_party.flask import Party

app = Flask(__name__)
party = Party(app, missing_link="")

GOODS = {"kettle": "A kettle", "lamp": "A lamp"}


@app.get("/")
def index():
    return render_template_string(
        """<!doctype html><title>Shop</title><h1>Shop</h1>
{% for name, title in goods.items() %}<p><a href="{{ url_for('item', name=name) }}">{{ title }}</a></p>
{% endfor %}""",
        goods=GOODS,
    )


@app.get("/items/<name>")
def item(name):
    if name not in GOODS:
        abort(404)
    return render_template_string(
        """<!doctype html><title>{{ title }}</title><h1>{{ title }}</h1>
{% with story = url_for('magazine:story', name=name) %}{% if story %}<p><a href="{{ story }}">Read about it</a></p>{% endif %}{% endwith %}""",
        title=GOODS[name],
        name=name,
    )


@party.service("price")
def price(payload):
    return {"euros": 10 * len(payload["name"])}
