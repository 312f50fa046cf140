"""Connections of requests on which a whole answer has a deadline, not just each read of it.

The limit of a read begins anew with every byte. The code that reads headers, the framing of chunks and trailers asks
for a line, and does not come back before the line has ended. So what drips could hold a thread for days. Here every
read from the socket first asks whether the answer's time is over. That holds for the answer of a proxy too.

The time is that of the thread that reads, where it holds a deadline. Storage has one for each answer by itself: as long
as one read may take, and longer the more of it has come.
"""

from __future__ import annotations

import http.client
import io
import threading
import time
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

MIN_RATE = 10_000
"""Bytes a second below which an answer with a deadline of its own is ended."""

_thread = threading.local()


class Deadline:
    """The end of the answer that a thread reads just now.

    Args:
        seconds: from now on.
        rate: bytes a second that make it a second longer; 0: none do.
    """

    def __init__(self, seconds: float, rate: float = 0.0) -> None:
        self._seconds = seconds
        self._rate = rate
        self._end = time.monotonic() + seconds

    def hold(self) -> None:
        """Let it end every answer that this thread reads from now on, until another one does."""
        _thread.deadline = self

    def restart(self) -> None:
        """Count from now again."""
        self._end = time.monotonic() + self._seconds

    def came(self, count: int) -> None:
        """So many bytes of the answer have come."""
        if self._rate:
            self._end += count / self._rate

    @property
    def passed(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self._end


class _Timed(io.RawIOBase):
    """What comes from a socket, as long as the deadline has not passed: its own, or that of the thread."""

    def __init__(self, raw: io.RawIOBase, own: Deadline | None) -> None:
        self._raw = raw
        self._own = own

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        deadline: Deadline | None = self._own or getattr(_thread, "deadline", None)
        if deadline is not None and deadline.passed:
            raise TimeoutError("the whole answer took too long")
        count = self._raw.readinto(buffer)
        if deadline is not None and count:
            deadline.came(count)
        return count

    def close(self) -> None:
        try:
            self._raw.close()
        finally:
            super().close()


class _TimedSocket:
    """All that an answer wants of a socket."""

    def __init__(self, sock: Any, own: Deadline | None) -> None:
        self._sock = sock
        self._own = own

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        return io.BufferedReader(_Timed(self._sock.makefile("rb", buffering=0), self._own))


class _Answer(http.client.HTTPResponse):
    has_own = False

    def __init__(self, sock: Any, *args: Any, **options: Any) -> None:
        # It is made once the request is sent, when the limit of a read is on the socket.
        silence = sock.gettimeout() if self.has_own else None
        own = None if silence is None else Deadline(silence, MIN_RATE)
        super().__init__(_TimedSocket(sock, own), *args, **options)  # type: ignore[arg-type]


class _OwnAnswer(_Answer):
    """An answer with a deadline of its own, whichever thread reads it."""

    has_own = True


def _pools(answer: type[_Answer]) -> dict[str, type[HTTPConnectionPool]]:
    """Pools of connections that make such answers, by scheme."""

    class Plain(HTTPConnection):
        response_class = answer

    class Secure(HTTPSConnection):
        response_class = answer

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


class TimedAdapter(HTTPAdapter):
    """Sends requests over such connections, through a proxy too (not one of SOCKS)."""

    _POOLS = _pools(_Answer)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the connection pools."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self._POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Make the connection pools through a proxy."""
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = self._POOLS
        return manager


class OwnTimeAdapter(TimedAdapter):
    """Gives each answer a deadline of its own."""

    _POOLS = _pools(_OwnAnswer)
