# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

from flask import redirect, render_template, url_for

import store
from app import app


@app.get("/invoices")
def invoices():
    latest = sorted(store.invoices().values(), reverse=True)[:50]
    return render_template("invoices.html", invoices=latest)


@app.get("/")
def home():
    return redirect(url_for("invoices"), 303)
