# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""What asking in one process is in wsgi_party 0.1b1, as far as its cost goes. bench/run takes
the original itself where pip gets it.
"""


class HighAndDry(Exception):
    pass


class NoSuchServiceName(Exception):
    pass


class PartylineOperator:
    def __init__(self, partyline):
        self.partyline = partyline
        self.handlers = set()

    def connect(self, service_name, handler):
        self.handlers.add(handler)
        self.partyline.connect(service_name, handler)

    def ask_around(self, service_name, payload):
        return self.partyline.ask_around(service_name, payload, self)


class WSGIParty:
    partyline_key = "partyline"
    operator_class = PartylineOperator

    def __init__(self, application, invites=(), ignore_missing_services=False):
        self.application = application
        self.ignore_missing_services = ignore_missing_services
        self.handlers = {}
        self.send_invitations(invites)

    def __call__(self, environ, start_response):
        return self.application(environ, start_response)

    def send_invitations(self, invites):
        for path in invites:
            environ = {
                "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": path,
                self.partyline_key: self.operator_class(self),
            }
            for _ in self(environ, lambda status, headers, exc_info=None: None):
                pass

    def connect(self, service_name, handler):
        self.handlers.setdefault(service_name, []).append(handler)

    def ask_around(self, service_name, payload, operator=None):
        try:
            handlers = self.handlers[service_name]
        except KeyError:
            if self.ignore_missing_services:
                return []
            raise NoSuchServiceName(service_name)
        answers = []
        for handler in handlers:
            if operator is not None and handler in operator.handlers:
                continue
            try:
                answers.append(handler(payload))
            except HighAndDry:
                continue
        return answers
