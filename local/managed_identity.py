"""A stand-in for the endpoint at which Azure hands a managed identity its tokens.

It answers as App Service and Functions do (``IDENTITY_ENDPOINT`` with ``X-IDENTITY-HEADER``), on loopback only, with
tokens that mean nothing to anybody but the simulated tenant.
"""

from __future__ import annotations

import secrets
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

from local.tenant.server import PlainHandler
from local.tether import ThreadedServer


class ManagedIdentity(ThreadedServer):
    """The endpoint, for the length of a ``with`` block.

    ``client_id`` is the user-assigned identity that exists; others are refused. ``asked`` are the resources that
    tokens were asked for, ``environment`` is what the platform puts into the app's environment. ``failure`` is a status
    and a body to answer with in place of a token.
    """

    def __init__(self, client_id: str) -> None:
        super().__init__(_Handler)
        self.asked: list[str] = []
        self.client_id = client_id
        self.failure: tuple[int, dict[str, Any] | list[dict[str, Any]]] | None = None
        self.environment = {
            "IDENTITY_ENDPOINT": f"http://127.0.0.1:{self.server_address[1]}/msi/token",
            "IDENTITY_HEADER": secrets.token_hex(16),
        }


class _Handler(PlainHandler):
    server: ManagedIdentity

    def do_GET(self) -> None:
        if self.server.failure is not None:
            return self.reply(*self.server.failure)
        query = parse_qs(urlsplit(self.path).query)
        ours, secret = self.server.client_id, self.server.environment["IDENTITY_HEADER"]
        if self.headers.get("X-IDENTITY-HEADER") != secret or query.get("client_id") != [ours]:
            return self.reply(400, {"message": "No User Assigned identity found"})
        self.server.asked.append(query["resource"][0])
        token = {"access_token": secrets.token_hex(24), "token_type": "Bearer", "client_id": ours}
        return self.reply(200, {**token, "expires_on": str(int(time.time()) + 86_400)})
