# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

from flask import redirect, render_template, request, url_for

import store
from app import app


@app.route("/new", methods=["GET", "POST"])
def new_invoice():
    if request.method == "GET":
        return render_template("new_invoice.html")
    cents = round(100 * request.form.get("amount", 0, type=float))
    id = store.add_invoice(request.form["customer"].strip(), cents, request.form["note"])
    return redirect(url_for("invoice", id=id), 303)
