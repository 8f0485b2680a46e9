# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Two frontends of one site behind a dispatcher, as CKAN had them in 2016: a party
written for the original that does not call its __init__, and has its own way to
invite, and to serve. Run by itself it is a guest for tests, as guest.py is.
"""

from wsgiref.util import setup_testing_defaults

from wsgi_party import HighAndDry, WSGIParty


class Frontend:
    """An application with some pages."""

    connected = False

    def __init__(self, *paths):
        self.paths = paths

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/__invite__/" and not self.connected:
            self.name = environ["partyline_handling_app"]
            self.partyline = environ[WSGIParty.partyline_key]
            self.partyline.connect("can_handle_request", self.can_handle_request)
            self.connected = True
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"ok"]
        found = path in self.paths
        start_response("200 OK" if found else "404 Not Found", [("Content-Type", "text/plain")])
        return [f"{self.name} {'has' if found else 'lacks'} {path}".encode()]

    def can_handle_request(self, environ):
        if environ["PATH_INFO"] not in self.paths:
            raise HighAndDry()
        return (True, self.name)


class AskAppDispatcherMiddleware(WSGIParty):
    """Has each request served by the first application that says it can."""

    def __init__(self, apps=None, invites=(), ignore_missing_services=False):
        self.apps = apps or {}
        self.handlers = {}
        self.ignore_missing_services = ignore_missing_services
        self.send_invitations(apps)

    def send_invitations(self, apps):
        for name, app in apps.items():
            environ = {"PATH_INFO": "/__invite__/"}
            setup_testing_defaults(environ)
            environ[self.partyline_key] = self.operator_class(self)
            environ["partyline_handling_app"] = name
            list(app(environ, lambda status, headers: None))

    def __call__(self, environ, start_response):
        name = "old"
        for can_handle, asked in self.ask_around("can_handle_request", environ):
            if can_handle:
                name = asked
                break
        return self.apps[name](environ, start_response)


if __name__ == "__main__":
    import guest

    guest.run(AskAppDispatcherMiddleware({
        "old": Frontend("/dataset"), "new": Frontend("/about", "/dataset/new"),
    }))
