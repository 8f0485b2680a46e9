# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""As much of RFC 6570 as manifests from routes have."""

import re
from urllib.parse import quote


def expand(template, values):
    def value(match):
        name = match.group(2)
        if not match.group(1):
            return quote(str(values[name]), safe="")
        segments = values[name] if isinstance(values[name], list) else [values[name]]
        return "".join("/" + quote(str(segment), safe="") for segment in segments)

    return re.sub(r"\{(/?)(\w+)\*?\}", value, template)
