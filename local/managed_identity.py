"""A stand-in for the endpoint at which Azure hands a managed identity its tokens.

It answers as App Service and Functions do (``IDENTITY_ENDPOINT`` with ``X-IDENTITY-HEADER``), on loopback only, with
tokens that mean nothing to anybody but the simulated tenant.
"""

from __future__ import annotations

import http.server
import json
import secrets
import threading
import time
from typing import Self
from urllib.parse import parse_qs, urlsplit


class ManagedIdentity(http.server.ThreadingHTTPServer):
    """The endpoint, for the length of a ``with`` block.

    Args:
        client_id: of the user-assigned identity that exists; others are refused.

    Attributes:
        asked: the resources that tokens were asked for.
    """

    def __init__(self, client_id: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.client_id = client_id
        self.environment = {
            "IDENTITY_ENDPOINT": f"http://127.0.0.1:{self.server_port}/msi/token",
            "IDENTITY_HEADER": secrets.token_hex(16),
        }
        """What the platform puts into the app's environment."""

    def __enter__(self) -> Self:
        """Begin to answer."""
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: ManagedIdentity

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        status, value = self._answer(parse_qs(urlsplit(self.path).query))
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self, query: dict[str, list[str]]) -> tuple[int, dict[str, str]]:
        ours, secret = self.server.client_id, self.server.environment["IDENTITY_HEADER"]
        if self.headers.get("X-IDENTITY-HEADER") != secret or query.get("client_id") != [ours]:
            return 400, {"message": "No User Assigned identity found"}
        self.server.asked.append(query["resource"][0])
        token = {"access_token": secrets.token_hex(24), "token_type": "Bearer", "client_id": ours}
        return 200, {**token, "expires_on": str(int(time.time()) + 86_400)}

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on standard error."""
