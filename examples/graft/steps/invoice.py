# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

from flask import abort, render_template

import store
from app import app


@app.get("/invoices/<int:id>")
def invoice(id):
    found = store.invoices().get(id) or abort(404)
    return render_template("invoice.html", invoice=found)
