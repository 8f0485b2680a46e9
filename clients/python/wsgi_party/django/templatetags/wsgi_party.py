# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""``{% load wsgi_party %}``: the tag ``party_url``."""

from __future__ import annotations

from typing import Any

from django import template
from django.template.defaulttags import URLNode, url as parse_url
from django.urls import NoReverseMatch
from django.utils.html import conditional_escape

from .._party import url

register = template.Library()


class PartyURLNode(URLNode):  # type: ignore[misc]  # Django has no types
    def render(self, context: Any) -> str:
        args = [each.resolve(context) for each in self.args]
        kwargs = {name: each.resolve(context) for name, each in self.kwargs.items()}
        request = getattr(context, "request", None)
        match = getattr(request, "resolver_match", None)
        current_app = getattr(request, "current_app", getattr(match, "namespace", None))
        try:
            link = url(self.view_name.resolve(context), args, kwargs, current_app)
        except NoReverseMatch:
            if self.asvar is None:
                raise
            link = ""
        if self.asvar is not None:
            context[self.asvar] = link
            return ""
        return str(conditional_escape(link)) if context.autoescape else link


@register.tag  # type: ignore[misc]
def party_url(parser: Any, token: Any) -> PartyURLNode:
    """As Django's own tag ``url``, which see, for the pages of all applications:
    ``{% party_url 'shop:item' slug=item.slug %}``, ``{% party_url 'shop:cart' as cart %}``.
    """
    node = parse_url(parser, token)
    return PartyURLNode(node.view_name, node.args, node.kwargs, node.asvar)
