"""The only way out of a closed network: an HTTP proxy on 127.0.0.1 that opens tunnels and remembers for whom.

`CONNECT host:port` opens a tunnel, as clients ask for `https://` and `wss://`; requests for `http://` URLs are passed
on, one a connection. It may demand a name and password, refuse hosts and take its time. Use `ConnectProxy` in a test;
`python -m local.connect_proxy` is a process that prints one JSON line with its `url`, then one for each host, port,
method and status that is new, and ends when its standard input does.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hmac
import json
import os
import sys
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote, urlsplit

ADDRESS: Final = "127.0.0.1"
_PATIENCE_S: Final = 10.0
_CHUNK: Final = 1 << 16
_MAX_HEAD: Final = 1 << 16
_REASONS: Final = {
    400: "Bad Request",
    403: "Forbidden",
    407: "Proxy Authentication Required",
    502: "Bad Gateway",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One request: which host and port it named, how, and what the proxy made of it (200: let through)."""

    host: str
    port: int
    method: str
    status: int


class ConnectProxy:
    """A proxy, running in a thread of its own while it is entered.

    Args:
        port: to listen on; 0 takes a free one.
        user: demanded from every client where it is not empty, with
        password: its password.
        refuse: hosts, or `host:port`, that are answered with 403.
        delay_s: seconds before each answer.
        on_asked: told of each request, on the proxy's thread.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        user: str = "",
        password: str = "",
        refuse: Collection[str] = (),
        delay_s: float = 0.0,
        on_asked: Callable[[Asked], None] = lambda _: None,
    ) -> None:
        self._port = port
        self._user = user
        self._password = password
        self._refuse = frozenset(refuse)
        self._delay_s = delay_s
        self._on_asked = on_asked
        self._asked: list[Asked] = []
        self._clients: set[asyncio.Task[None]] = set()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Start; the port is known from here on.

        Raises:
            OSError: the port is taken.
        """
        started: Future[int] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="connect-proxy", daemon=True
        )
        self._thread.start()
        self._port = started.result(_PATIENCE_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cut every tunnel and stop."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread is not None:
            self._thread.join(_PATIENCE_S)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def url(self) -> str:
        """What HTTPS_PROXY takes, with name and password where they are demanded."""
        who = (
            f"{quote(self._user, safe='')}:{quote(self._password, safe='')}@" if self._user else ""
        )
        return f"http://{who}{ADDRESS}:{self._port}"

    @property
    def asked(self) -> list[Asked]:
        """Every request so far."""
        return list(self._asked)

    def reached(self) -> set[tuple[str, int]]:
        """Host and port of everything that was let through."""
        return {(each.host, each.port) for each in self._asked if each.status == 200}

    def _run(self, started: Future[int]) -> None:
        try:
            asyncio.run(self._serve(started))
        except BaseException as problem:  # handed to the thread that waits in __enter__
            if started.done():
                raise
            started.set_exception(problem)

    async def _serve(self, started: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        server = await asyncio.start_server(self._client, ADDRESS, self._port, limit=_MAX_HEAD)
        started.set_result(server.sockets[0].getsockname()[1])
        await self._stopping.wait()
        server.close()
        for task in tuple(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - streams are served by tasks
        self._clients.add(task)
        try:
            await self._exchange(reader, writer)
        except (OSError, EOFError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # somebody hung up; here that is no error
        finally:
            self._clients.discard(task)
            _cut(writer)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, _, target = head.partition("\r\n")[0].partition(" ")
        target = target.rpartition(" ")[0]
        tunnel = method == "CONNECT"
        try:
            host, port = _address(
                target if tunnel else urlsplit(target).netloc, 0 if tunnel else 80
            )
        except ValueError:
            host, port = "", 0
        await asyncio.sleep(self._delay_s)
        status, upstream = await self._admit(head, host, port)
        asked = Asked(host=host, port=port, method=method, status=status)
        self._asked.append(asked)
        self._on_asked(asked)
        if upstream is None:
            writer.write(_refusal(status))
            await writer.drain()
            return
        try:
            if tunnel:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                upstream[1].write(_for_origin(head))
            await _join((reader, writer), upstream)
        finally:
            _cut(upstream[1])

    async def _admit(
        self, head: str, host: str, port: int
    ) -> tuple[int, tuple[asyncio.StreamReader, asyncio.StreamWriter] | None]:
        """The status of a request, and the connection to where it wants to go if it may."""
        if not host or not port:
            return 400, None
        if self._user and not self._knows(head):
            return 407, None
        if self._refuse & {host, f"{host}:{port}"}:
            return 403, None
        try:
            return 200, await asyncio.open_connection(host, port)
        except OSError:
            return 502, None

    def _knows(self, head: str) -> bool:
        expected = "Basic " + base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
        given = (_field(line, "proxy-authorization") for line in head.split("\r\n"))
        return any(hmac.compare_digest(value.encode(), expected.encode()) for value in given)


_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _join(one: _Streams, other: _Streams) -> None:
    """Carry bytes both ways until either side ends."""
    ways = [
        asyncio.ensure_future(_carry(one[0], other[1])),
        asyncio.ensure_future(_carry(other[0], one[1])),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()


def _cut(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, RuntimeError):
        writer.close()


def _address(text: str, default: int) -> tuple[str, int]:
    """Host and port of an authority.

    Raises:
        ValueError: the port is not a number.
    """
    parts = urlsplit(f"//{text}")
    return parts.hostname or "", parts.port or default


def _field(line: str, name: str) -> str:
    found, _, value = line.partition(":")
    return value.strip() if found.strip().lower() == name else ""


def _for_origin(head: str) -> bytes:
    """A request as its server expects it: the path alone, nothing for the proxy, and the last one of its connection."""
    request, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    method, target, version = request.split(" ")
    parts = urlsplit(target)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    hop = ("proxy-authorization", "proxy-connection", "connection", "keep-alive")
    kept = [line for line in lines if line.partition(":")[0].strip().lower() not in hop]
    return "\r\n".join([f"{method} {path} {version}", *kept, "Connection: close", "\r\n"]).encode(
        "latin-1"
    )


def _refusal(status: int) -> bytes:
    fields = ["Connection: close", "Content-Length: 0"]
    if status == 407:
        fields.append('Proxy-Authenticate: Basic realm="rig"')
    return "\r\n".join([f"HTTP/1.1 {status} {_REASONS[status]}", *fields, "\r\n"]).encode()


def main(arguments: list[str] | None = None) -> int:
    """Run until standard input ends; return the exit code."""
    options = _parser().parse_args(arguments)
    user, _, password = options.user.partition(":")
    proxy = ConnectProxy(
        port=options.port,
        user=user,
        password=password,
        refuse=options.refuse,
        delay_s=options.delay,
        on_asked=_Once(),
    )
    with proxy:
        _print({"url": proxy.url})
        with contextlib.suppress(KeyboardInterrupt):
            while os.read(sys.stdin.fileno(), _CHUNK):
                pass
    return 0


class _Once:
    """Prints each kind of request when it comes for the first time."""

    def __init__(self) -> None:
        self._seen: set[Asked] = set()

    def __call__(self, asked: Asked) -> None:
        if asked not in self._seen:
            self._seen.add(asked)
            _print(asdict(asked))


def _print(values: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local.connect_proxy", description="An HTTP CONNECT proxy on 127.0.0.1."
    )
    parser.add_argument("--port", type=int, default=0, help="port; 0 takes a free one")
    parser.add_argument("--user", default="", metavar="NAME:PASSWORD", help="what it demands")
    parser.add_argument(
        "--refuse", action="append", default=[], metavar="HOST[:PORT]", help="may be repeated"
    )
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    return parser


if __name__ == "__main__":
    sys.exit(main())
