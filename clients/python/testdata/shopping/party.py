# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""What the shop answers for: found as an admin.py is."""

import os

from asgiref.sync import sync_to_async
from django.urls import reverse

from wsgi_party.django import HighAndDry, ask, service

NAME = os.environ["GUEST"]


@service("name")
def name(payload):
    return NAME


@service("echo")
async def echo(payload):
    await sync_to_async(str)(payload)
    return payload


@service("pid")
def pid(payload):
    return os.getpid()


@service("nest")
def nest(payload):
    return [NAME, *ask("nest", payload)]


@service("own")
def own(payload):
    return reverse("shop:item", kwargs={"slug": "a"})


@service("decline")
def decline(payload):
    raise HighAndDry


@service("fail")
def fail(payload):
    raise RuntimeError("on purpose")
