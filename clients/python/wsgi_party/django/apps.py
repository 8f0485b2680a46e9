# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.utils.module_loading import autodiscover_modules

from . import _checks, _party

MIDDLEWARE = "wsgi_party.django.middleware.party"


class PartyConfig(AppConfig):  # type: ignore[misc]  # Django has no types
    name = "wsgi_party.django"
    label = "wsgi_party"
    verbose_name = "wsgi_party"

    def ready(self) -> None:
        checks.register(_checks.check_urlconf, checks.Tags.urls)
        if _party.guest().keys and MIDDLEWARE not in settings.MIDDLEWARE:
            # Before all others, for they use the path, which it gives the mount.
            settings.MIDDLEWARE = [MIDDLEWARE, *settings.MIDDLEWARE]
        autodiscover_modules("party")
