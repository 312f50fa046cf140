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
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit


class ManagedIdentity:
    """The endpoint, for the length of a ``with`` block.

    Args:
        client_id: of the user-assigned identity that exists; others are refused.

    Attributes:
        asked: the resources that tokens were asked for.
    """

    def __init__(self, client_id: str) -> None:
        self.asked: list[str] = []
        self._header = secrets.token_hex(16)
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
                query = parse_qs(urlsplit(self.path).query)
                known = query.get("client_id", [""])[0] == client_id
                if self.headers.get("X-IDENTITY-HEADER") != outer._header or not known:
                    self._answer(400, {"message": "No User Assigned identity found"})
                    return
                outer.asked.append(query["resource"][0])
                expires = str(int(time.time()) + 86_400)
                token = {"access_token": secrets.token_hex(24), "expires_on": expires}
                self._answer(200, {**token, "token_type": "Bearer", "client_id": client_id})

            def _answer(self, status: int, value: dict[str, str]) -> None:
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing on standard error."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def environment(self) -> dict[str, str]:
        """What the platform puts into the app's environment."""
        return {
            "IDENTITY_ENDPOINT": f"http://127.0.0.1:{self._server.server_port}/msi/token",
            "IDENTITY_HEADER": self._header,
        }

    def __enter__(self) -> Self:
        """Begin to answer."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
