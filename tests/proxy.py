"""A loopback HTTP proxy in front of the storage account that loses answers, on purpose and counted.

What a client cannot tell apart has to be tested apart: a request that never arrived, and one that
was carried out while only its answer got lost. Rules match the head of a request (its first line
and its headers), so that a lease's renewal, say, can be told from its release.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any, Self
from urllib.parse import urlsplit

from tests.waits import LONG

APPEND = r"PUT \S*/ledger/\S*comp=appendblock"
CHECKPOINT_WRITE = r"PUT \S*/checkpoints/[^\s?]* "
BUDGET_WRITE = r"PUT \S*/budgets/[^\s?]* "
LEASE_RENEWAL = r"(?s)PUT \S*comp=lease.*x-ms-lease-action: renew"

IDLE = 2.0
"""Seconds after which a connection is not used again."""

_PER_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


@dataclass(kw_only=True)
class Rule:
    """What happens to some requests.

    Attributes:
        pattern: looked for in the head, letter case aside.
        forward: whether the request reaches the other side before its connection is cut.
        after: matching requests let through first.
        times: how often it acts, -1 for always.
        rate: on which fraction of what is left.
        body: only requests whose body holds this.
        status: answered in place of a cut connection, as an account does that refuses; 0 for a cut.
        drip: seconds between two pieces of the answer, from its body on or from its head.
        piece: bytes of each.
        head: whether its head drips too.
        acted: how often it did.
    """

    pattern: str
    forward: bool
    after: int = 0
    times: int = 1
    rate: float = 1.0
    body: bytes = b""
    status: int = 0
    drip: float = 0.0
    piece: int = 1
    head: bool = False
    acted: int = 0


class Proxy:
    """A proxy in front of one HTTP server, while it is entered.

    Args:
        target: the server's base URL.
        seed: of the generator behind ``Rule.rate``.
    """

    def __init__(self, target: str, *, seed: int = 0) -> None:
        self._target = urlsplit(target)
        self._random = Random(seed)
        self._lock = threading.Lock()
        self._rules: list[Rule] = []

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="proxy", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._thread.join(LONG)
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        """The target's URL, by way of the proxy."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{self._target.path}"

    def lose_answer(self, pattern: str, **options: Any) -> Rule:
        """Carry out the next matching request and cut the connection instead of answering."""
        return self._add(Rule(pattern=pattern, forward=True, **options))

    def refuse(self, pattern: str, **options: Any) -> Rule:
        """Cut the connection of matching requests, or answer ``status``, before anything of them is carried out."""
        return self._add(Rule(pattern=pattern, forward=False, **{"times": -1, **options}))

    def drip(self, pattern: str, **options: Any) -> Rule:
        """Carry out matching requests, and answer a byte at a time, or a few."""
        return self._add(
            Rule(pattern=pattern, forward=True, **{"times": -1, "drip": 0.2, **options})
        )

    def clear(self) -> None:
        """Forget every rule."""
        with self._lock:
            self._rules = []

    def _add(self, rule: Rule) -> Rule:
        with self._lock:
            self._rules.append(rule)
        return rule

    def pick(self, head: str, body: bytes) -> Rule | None:
        """The rule that acts on a request, which is counted."""
        with self._lock:
            for rule in self._rules:
                if (
                    rule.acted == rule.times
                    or not re.search(rule.pattern, head, re.IGNORECASE)
                    or rule.body not in body
                ):
                    continue
                if rule.after:
                    rule.after -= 1
                    continue
                if self._random.random() < rule.rate:
                    rule.acted += 1
                    return rule
        return None

    def connect(self) -> http.client.HTTPConnection:
        """A new connection to the target."""
        return http.client.HTTPConnection(
            self._target.hostname or "", self._target.port, timeout=60
        )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    proxy: Proxy


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self._upstream, self._used = self.server.proxy.connect(), time.monotonic()

    def finish(self) -> None:
        self._upstream.close()
        super().finish()

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        rule = self.server.proxy.pick(f"{self.requestline}\n{self.headers}", body)
        if rule is not None and not rule.forward:
            if rule.status:
                self._refuse(rule.status)
            self.close_connection = True
            return
        answer, data = self._forward(body)
        if rule is not None and not rule.drip:
            self.close_connection = True
            return
        if rule is not None:
            self._drip(rule, answer, data)
            return
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _PER_HOP:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        if answer.status not in (204, 304):
            self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(data)

    def _drip(self, rule: Rule, answer: http.client.HTTPResponse, data: bytes) -> None:
        """Answer piece by piece, until whoever asked has had enough."""
        self.close_connection = True
        head = f"HTTP/1.1 {answer.status} {answer.reason}\r\n".encode()
        for name, value in answer.getheaders():
            if name.lower() not in _PER_HOP:
                head += f"{name}: {value}\r\n".encode()
        head += f"Content-Length: {len(data)}\r\n\r\n".encode()
        whole = head + data
        begin = 0 if rule.head else len(head)
        with contextlib.suppress(OSError):
            self.wfile.write(whole[:begin])
            for at in range(begin, len(whole), rule.piece):
                self.wfile.write(whole[at : at + rule.piece])
                time.sleep(rule.drip)

    def _refuse(self, status: int) -> None:
        self.send_response_only(status)
        self.send_header("x-ms-error-code", "AuthorizationPermissionMismatch")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _forward(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        upstream = self._upstream
        if time.monotonic() - self._used > IDLE:
            # The other side may have closed it meanwhile; it opens anew by itself.
            upstream.close()
        self._used = time.monotonic()
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            upstream.putheader(name, value)
        upstream.endheaders(body)
        answer = upstream.getresponse()
        return answer, answer.read()

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _handle

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
