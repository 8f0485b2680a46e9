# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Flask: url_for, in templates/page.html, makes links to pages of applications that this
one knows nothing of, and these to its own.
"""

from flask import Flask, render_template

from wsgi_party.flask import Party

app = Flask(__name__)
party = Party(app, missing_link="")  # not each of the others has to run
party.service("ping")(lambda payload: "pong")


@app.get("/")
@app.get("/about-flask", endpoint="about")
def index():
    return render_template("page.html", pongs=party.ask("ping"))
