# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

from flask import redirect, request, session, url_for

from app import app


# Who has signed in at the legacy application stays so: see store.user.
@app.post("/session")
def sign_in():
    session["user"] = request.form["user"]
    return redirect(url_for("invoices"), 303)
