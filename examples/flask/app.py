# Copyright 2026 The wsgi_party Authors. SPDX-License-Identifier: Apache-2.0

"""A Flask application that links to pages of applications it knows nothing of.

Its own pages' URLs are built by Flask's url_for as ever, and all others' too: where
Flask has no such endpoint, the party is asked. See the file run for how it starts.
"""

from flask import Flask, abort, render_template_string, request, url_for
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import BuildError

from wsgi_party import HighAndDry, WSGIParty

LINKS = [
    f"{application}:{page}"
    for application in ("flask", "django", "php", "node", "legacy", "gopher")
    for page in ("index", "about")
]

app = Flask(__name__)
# Caddy takes the mount off the path, and says what it took in X-Forwarded-Prefix.
# No visitor can: wsgi_party_guest deletes what came in.
app.wsgi_app = ProxyFix(app.wsgi_app, x_prefix=1)
operator = None


@app.route("/__invite__/")
def join():
    """Takes the invite, which comes from WSGIParty, below, in every worker process."""
    global operator
    if operator is not None or "partyline" not in request.environ:
        abort(404)
    operator = request.environ["partyline"]
    operator.connect("ping", lambda payload: "pong")
    operator.connect("url", answer_url)
    return "joined"


def answer_url(payload):
    """Is asked by the others where a page is. The mount is not for us to say."""
    endpoint, values = payload
    try:
        return app.url_map.bind("localhost").build(endpoint, values)
    except BuildError:
        raise HighAndDry()  # somebody else may know


def ask_for_url(error, endpoint, values):
    """Is called by Flask's url_for for an endpoint this application lacks."""
    # What begins with an underscore is for Flask: _anchor, _external and so on.
    values = {key: value for key, value in values.items() if key[0] != "_"}
    try:
        return operator.ask_first("url", (endpoint, values))
    except HighAndDry:
        raise error from None


app.url_build_error_handlers.append(ask_for_url)


@app.route("/", endpoint="flask:index")
@app.route("/about-flask", endpoint="flask:about")
def page():
    links = {}
    for name in LINKS:
        try:
            links[name] = url_for(name)
        except BuildError:
            links[name] = None  # its application is not there, or not yet
    pongs = operator.ask_around("ping", None)
    return render_template_string(PAGE, name=request.endpoint, links=links, pongs=pongs)


PAGE = """<!doctype html>
<title>{{ name }}</title>
<h1>{{ name }}</h1>
{% for link, url in links.items() %}
<p>{% if url %}<a href="{{ url }}">{{ link }}</a> is at {{ url }}
{%- else %}Where {{ link }} is, nobody knows.{% endif %}</p>
{% endfor %}
<p>Others who answer: {{ pongs | length }}</p>
"""

# With WSGI_PARTY_KEY and WSGI_PARTY_URL in the environment this joins the party in
# Caddy. Without them it does nothing, and the application is alone.
application = WSGIParty(app, invites=["/__invite__/"])
