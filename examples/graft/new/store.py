# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""What both applications know: the invoices, and who is signed in. The files are those of
the legacy application. With a database this would be the same tables.
"""

import csv
import datetime
import fcntl
import os
import re
from pathlib import Path
from typing import Dict, NamedTuple, Optional

from flask import request, session

DATA = Path(os.environ["DATA"])
SESSIONS = Path(os.environ["SESSIONS"])


class Invoice(NamedTuple):
    id: int
    date: str
    customer: str
    cents: int

    @property
    def money(self) -> str:
        return f"{self.cents / 100:,.2f} €"

    @property
    def note(self) -> str:
        try:
            return (DATA / f"note-{self.id}.txt").read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""


def invoices() -> Dict[int, Invoice]:
    with open(DATA / "invoices.csv", encoding="utf-8", newline="") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        rows = [Invoice(int(id), date, customer, int(cents)) for id, date, customer, cents in csv.reader(file)]
    return {invoice.id: invoice for invoice in rows}


def add_invoice(customer: str, cents: int, note: str) -> int:
    with open(DATA / "invoices.csv", "a+", encoding="utf-8", newline="") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as the legacy application does
        file.seek(0)
        id = sum(1 for _ in file) + 1
        (DATA / f"note-{id}.txt").write_text(note, encoding="utf-8", newline="")
        today = datetime.date.today().isoformat()
        csv.writer(file, lineterminator="\n").writerow([id, today, customer, cents])
    return id


def user() -> Optional[str]:
    """Returns who is signed in: here, or else at the legacy application. PHP keeps
    a session in a file, as in user|s:3:"Ann".
    """
    if "user" in session:
        return session["user"]
    id = request.cookies.get("PHPSESSID", "")
    if not re.fullmatch("[A-Za-z0-9,-]{22,256}", id):
        return None
    try:
        kept = (SESSIONS / f"sess_{id}").read_bytes()
    except FileNotFoundError:
        return None
    found = re.search(rb'(?:\A|;)user\|s:(\d+):"', kept)
    return found and kept[found.end():found.end() + int(found[1])].decode()
