"""Puts a simulated tenant on the wire: login authority and Management API under one TLS endpoint.

A threading HTTP/1.1 server with keep-alive on 127.0.0.1, written close enough to the socket that
it can also break every promise HTTP makes, when a fault says so. Leaving the ``with`` block ends
all its threads and connections.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import socket
import ssl
import struct
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from local.tenant.faults import Fault
from local.tenant.messages import Answer, Request, http_date
from local.tenant.site import Site
from local.tether import ThreadedServer

if TYPE_CHECKING:
    from local.certs import Certs
    from local.tenant.model import Tenant

_IDLE_S = 120.0
_HANDSHAKE_S = 10.0


class PlainHandler(http.server.BaseHTTPRequestHandler):
    """Answers plain HTTP, and keeps quiet: standard output is for the caller."""

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on standard error."""

    def body(self) -> bytes:
        """The body of the request."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(self, status: int, found: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> None:
        """Send an object as JSON, or rows as JSON lines."""
        kind, text = "application/json", json.dumps(found) if isinstance(found, Mapping) else None
        if text is None:
            kind, text = "application/x-ndjson", "".join(json.dumps(row) + "\n" for row in found)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())


class TenantServer(ThreadedServer):
    """Serves one tenant until the ``with`` block is left.

    ``gzip_level`` 1 to 6 is used for clients that accept gzip; 0 never compresses.
    """

    def __init__(self, tenant: Tenant, *, certs: Certs, port: int = 0, gzip_level: int = 1) -> None:
        super().__init__(_Handler, port)
        self.tenant = tenant
        self.certs = certs
        self.endpoint = f"https://localhost:{self.server_address[1]}"
        self.site = Site(tenant, self.endpoint, gzip_level)
        self.stopping = threading.Event()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certs.cert_file, certs.key_file)
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}

    def __exit__(self, *exc: object) -> None:
        self.stopping.set()
        super().__exit__()
        with self._lock:
            open_now = list(self._open.items())
        for connection, _ in open_now:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for _, thread in open_now:
            thread.join(5)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection, on its own thread."""
        # The handshake happens here, on the connection's thread, and not where connections are
        # accepted: a client that stalls in it holds up nobody.
        request.settimeout(_HANDSHAKE_S)
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = self._context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._open[tls] = threading.current_thread()
        # An OSError: the client left, or does not trust our authority. Its business.
        with contextlib.suppress(OSError), tls:
            if not self.stopping.is_set():
                self._shake_hands(tls)
                _Handler(tls, client_address, self)
        with self._lock:
            self._open.pop(tls, None)

    def _shake_hands(self, tls: ssl.SSLSocket) -> None:
        try:
            tls.do_handshake()
        except ssl.SSLError as error:
            # Whatever it asked for, somebody may have read it on the way.
            if error.reason == "HTTP_REQUEST":
                self.site.note(Request("", "plain HTTP"), None, None)
            raise


class _Handler(PlainHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S
    server: TenantServer

    def _serve(self) -> None:
        site, stopping = self.server.site, self.server.stopping
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, self.body())
        fault = site.fault_for(request)
        if fault is not None and fault.action in ("reset", "hang"):
            site.note(request, None, fault)
            stopping.wait(fault.delay_s)
            self._reset()
            return
        if fault is not None and fault.action == "slow":
            stopping.wait(fault.delay_s)
        answer = site.answer(request, fault)
        body = site.encode(request, answer, fault)
        site.note(request, answer, fault)
        self._send(answer, body, fault)

    do_GET = do_POST = _serve

    def _send(self, answer: Answer, body: bytes, fault: Fault | None) -> None:
        match fault:
            case Fault(action="reset_mid_body"):
                self._write(self._head(answer, len(body)) + body[: len(body) // 2])
                self._reset()
            case Fault(action="wrong_length"):
                length = max(len(body) + fault.by, 0)
                self._write(self._head(answer, length, close=True) + body)
            case Fault(action="drip"):
                self._drip(answer, body, fault)
            case Fault(action="never_ends"):
                self._never_end(answer, fault.delay_s)
            case _:
                self._write(self._head(answer, len(body)) + body)

    def _head(self, answer: Answer, length: int | None, *, close: bool = False) -> bytes:
        phrase = http.client.responses.get(answer.status, "Unknown")
        headers = {
            "Date": http_date(self.server.tenant.now()),
            "Server": "Microsoft-IIS/10.0",
            **answer.headers,
        }
        if length is None:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(length)
        if close:
            self.close_connection = True
            headers["Connection"] = "close"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {answer.status} {phrase}\r\n{lines}\r\n".encode("latin-1")

    def _write(self, raw: bytes) -> None:
        try:
            self.connection.sendall(raw)
        except OSError:
            self.close_connection = True

    def _drip(self, answer: Answer, body: bytes, fault: Fault) -> None:
        self._write(self._head(answer, len(body)))
        size = max(1, -(-len(body) // max(fault.pieces, 1)))
        for at in range(0, len(body), size):
            if self.server.stopping.wait(fault.delay_s) or self.close_connection:
                self.close_connection = True
                return
            self._write(body[at : at + size])

    def _never_end(self, answer: Answer, delay_s: float) -> None:
        # Blanks behind the array are still good JSON, so only a deadline can end this.
        answer.headers.pop("Content-Encoding", None)
        self._write(self._head(answer, None, close=True) + _chunk(answer.whole()))
        self.close_connection = False
        while not self.close_connection and not self.server.stopping.wait(max(delay_s, 0.01)):
            self._write(_chunk(b" " * 1024))
        self.close_connection = True

    def _reset(self) -> None:
        """End the connection with a RST instead of a FIN."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _chunk(raw: bytes) -> bytes:
    return f"{len(raw):x}\r\n".encode() + raw + b"\r\n"
