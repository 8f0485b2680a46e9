# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""What ``manage.py check`` says of a project that cannot be a guest."""

from __future__ import annotations

from typing import Any, Iterable, List

from django.conf import settings
from django.core.checks import Warning
from django.urls import get_resolver

from . import _party


def check_urlconf(**kwargs: Any) -> List[Any]:
    # As Django's own checks of it do, which say so.
    if not getattr(settings, "ROOT_URLCONF", None) or not _party.guest().keys:
        return []
    if _has_invite(get_resolver().url_patterns):
        return []
    return [Warning(
        f"{settings.ROOT_URLCONF} has no path for invites, so this project is not a guest.",
        hint='Write path("__invite__/", include("wsgi_party.django.urls")) into urlpatterns.',
        id="wsgi_party.W001",
    )]


def _has_invite(patterns: Iterable[Any]) -> bool:
    from . import urls

    return any(
        _has_invite(each.url_patterns) if hasattr(each, "url_patterns")
        else each.callback is urls.invite
        for each in patterns
    )
