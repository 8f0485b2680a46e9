# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

from collections import Counter

from flask import redirect, render_template, url_for

import store
from app import app


@app.get("/reports")
def reports():
    sums = Counter()
    for invoice in store.invoices().values():
        sums[invoice.date[:4]] += invoice.cents
    money = {year: f"{cents / 100:,.2f} €" for year, cents in sums.items()}
    return render_template("reports.html", sums=money)


# Where the page was: for what the legacy application links to, and for bookmarks.
@app.get("/stats")
def stats():
    return redirect(url_for("reports"), 301)
