# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

from collections import Counter

from flask import render_template

import store
from app import app


@app.get("/customers")
def customers():
    counts = Counter(invoice.customer for invoice in store.invoices().values())
    return render_template("customers.html", customers=counts)
