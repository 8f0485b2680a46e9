# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""The new application. Each page is a file in the folder pages: whoever adds one, and has
the server reload, has moved the page here. No other place lists who serves what.
"""

from importlib import import_module
from pathlib import Path

from flask import Flask

import store
from wsgi_party.flask import Party

# Flask's own route for static files, /static/..., would be claimed, too.
app = Flask(__name__, static_folder=None)
app.config.from_prefixed_env()  # FLASK_SECRET_KEY
app.context_processor(lambda: {"user": store.user()})
party = Party(app)

for page in sorted(Path(__file__).with_name("pages").glob("*.py")):
    import_module(f"pages.{page.stem}")
