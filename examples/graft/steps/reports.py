# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

from collections import Counter

from flask import render_template

import store
from app import app


@app.get("/reports", endpoint="reports_moved")  # nobody links to it yet
@app.get("/stats")
def reports():
    sums = Counter()
    for invoice in store.invoices().values():
        sums[invoice.date[:4]] += invoice.cents
    money = {year: f"{cents / 100:,.2f} €" for year, cents in sums.items()}
    return render_template("reports.html", sums=money)
