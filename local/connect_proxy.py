"""The only way out of a closed network: an HTTP proxy on 127.0.0.1 that opens tunnels and remembers for whom.

`CONNECT host:port` opens a tunnel, as clients ask for `https://` and `wss://`; requests for `http://` URLs are passed
on, one a connection. It may demand a name and password, refuse hosts and take its time. Use `ConnectProxy` in a test;
`python -m local.connect_proxy` is a process that prints one JSON line with its `url`, then one for each host, port,
method and status that is new, and ends when its standard input does.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import json
import socket
import sys
import threading
import time
import weakref
from socketserver import StreamRequestHandler
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

from local.tether import ThreadedServer, await_end, heed_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

ADDRESS: Final = "127.0.0.1"
_CHUNK: Final = 1 << 16
_HOP: Final = {"proxy-authorization", "proxy-connection", "connection", "keep-alive"}


class Asked(NamedTuple):
    """One request: which host and port it named, how, and what the proxy made of it (200: let through)."""

    host: str
    port: int
    method: str
    status: int


class ConnectProxy(ThreadedServer):
    """A proxy, serving in threads of its own while it is entered; it remembers what it was `asked`."""

    def __init__(
        self,
        *,
        port: int = 0,  # 0 takes a free one
        user: str = "",  # demanded from every client where it is not empty
        password: str = "",
        refuse: Collection[str] = (),  # hosts, or `host:port`, that are answered with 403
        delay_s: float = 0.0,  # before each answer
        on_asked: Callable[[Asked], None] = lambda _: None,  # on a thread of the proxy
    ) -> None:
        super().__init__(_Exchange, port)
        # What HTTPS_PROXY takes.
        who = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user else ""
        self.url = f"http://{who}{ADDRESS}:{self.port}"
        self.asked: list[Asked] = []
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._demanded = f"Basic {token}" if user else None
        self._refuse = frozenset(refuse)
        self._delay_s = delay_s
        self._on_asked = on_asked
        self._clients = weakref.WeakSet[socket.socket]()

    def __exit__(self, *_: object) -> None:
        """Stop, and cut every tunnel."""
        super().__exit__()
        _cut(*self._clients)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a client on a thread of its own, and know its connection while it lasts."""
        self._clients.add(request)
        super().process_request(request, client_address)

    def admit(
        self, method: str, target: str, headers: http.client.HTTPMessage
    ) -> tuple[int, socket.socket | None]:
        """Judge a request; returns its status, and the connection to where it wants to go if it may."""
        host, port = _address(method, target)
        time.sleep(self._delay_s)
        status, upstream = 502, None
        if not host or not port:
            status = 400
        elif self._demanded not in (None, headers["Proxy-Authorization"]):
            status = 407
        elif self._refuse & {host, f"{host}:{port}"}:
            status = 403
        else:
            with contextlib.suppress(OSError):
                upstream = socket.create_connection((host, port))
                status = 200
        asked = Asked(host=host, port=port, method=method, status=status)
        self.asked.append(asked)
        self._on_asked(asked)
        return status, upstream


class _Exchange(StreamRequestHandler):
    """One connection of a client, with one request."""

    server: ConnectProxy
    # What follows the head is for somebody else, so nothing may be read ahead.
    rbufsize = 0

    def handle(self) -> None:
        # Whoever hangs up does so without an error.
        with contextlib.suppress(OSError, http.client.HTTPException):
            if line := self.rfile.readline(_CHUNK):
                self._answer(line.decode("latin-1"), http.client.parse_headers(self.rfile))

    def _answer(self, line: str, headers: http.client.HTTPMessage) -> None:
        method, target, version, *_ = [*line.split(), "", "", ""]
        status, upstream = self.server.admit(method, target, headers)
        if upstream is None:
            demand = 'Proxy-Authenticate: Basic realm="rig"\r\n' if status == 407 else ""
            head = f"HTTP/1.1 {status} {http.client.responses[status]}\r\n{demand}"
            self.wfile.write(f"{head}Connection: close\r\nContent-Length: 0\r\n\r\n".encode())
            return
        with upstream:
            if method == "CONNECT":
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                upstream.sendall(_for_origin(method, target, version, headers))
            back = threading.Thread(target=_carry, args=(upstream, self.connection), daemon=True)
            back.start()
            _carry(self.connection, upstream)
            back.join()


def _carry(source: socket.socket, target: socket.socket) -> None:
    """Carry bytes one way; either side's end is the end of both."""
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    _cut(source, target)


def _cut(*connections: socket.socket) -> None:
    for each in connections:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _address(method: str, target: str) -> tuple[str, int]:
    """Host and port that a request names, empty and 0 where it names none."""
    tunnel = method == "CONNECT"
    try:
        parts = urlsplit(f"//{target}" if tunnel else target)
        return parts.hostname or "", parts.port or (0 if tunnel else 80)
    except ValueError:
        return "", 0


def _for_origin(method: str, target: str, version: str, headers: http.client.HTTPMessage) -> bytes:
    """A request as its server expects it: the path alone, nothing for the proxy, and the last one of its connection."""
    parts = urlsplit(target)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    kept = [f"{name}: {value}" for name, value in headers.items() if name.lower() not in _HOP]
    lines = [f"{method} {path} {version}", *kept, "Connection: close", "\r\n"]
    return "\r\n".join(lines).encode("latin-1")


def main(arguments: list[str] | None = None) -> int:
    """Run until standard input ends; return the exit code."""
    options = vars(_parser().parse_args(arguments))
    heed_signals()
    user, _, password = options.pop("user").partition(":")
    seen: set[Asked] = set()

    def tell(asked: Asked) -> None:
        if asked not in seen:
            seen.add(asked)
            print(json.dumps(asked._asdict()), flush=True)

    with ConnectProxy(user=user, password=password, on_asked=tell, **options) as proxy:
        print(json.dumps({"url": proxy.url}), flush=True)
        await_end()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local.connect_proxy", description="An HTTP CONNECT proxy on 127.0.0.1."
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="port; 0 takes a free one")
    add("--user", default="", metavar="NAME:PASSWORD", help="what it demands")
    add("--refuse", action="append", default=[], metavar="HOST[:PORT]", help="may be repeated")
    add("--delay", dest="delay_s", type=float, default=0.0, help="seconds before each answer")
    return parser


if __name__ == "__main__":
    sys.exit(main())
