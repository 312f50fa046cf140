"""Connections of requests on which a whole answer has a deadline, not just each read of it.

The limit of a read begins anew with every byte. The code that reads headers, the framing of chunks and trailers asks
for a line, and does not come back before the line has ended. So what drips could hold a thread for days. Here every
read from the socket first asks whether the answer's time is over. That holds for the answer of a proxy too.
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

_thread = threading.local()


class Deadline:
    """The end of the answer that a thread reads just now.

    Args:
        seconds: from now on.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def hold(self) -> None:
        """Let it end every answer that this thread reads from now on, until another one does."""
        _thread.deadline = self

    def restart(self) -> None:
        """Count from now again."""
        self._end = time.monotonic() + self._seconds

    @property
    def passed(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self._end


class _Timed(io.RawIOBase):
    """What comes from a socket, as long as the deadline has not passed."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        deadline: Deadline | None = getattr(_thread, "deadline", None)
        if deadline is not None and deadline.passed:
            raise TimeoutError("the whole answer took too long")
        return self._raw.readinto(buffer)

    def close(self) -> None:
        try:
            self._raw.close()
        finally:
            super().close()


class _TimedSocket:
    """All that an answer wants of a socket."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        return io.BufferedReader(_Timed(self._sock.makefile("rb", buffering=0)))


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(_TimedSocket(sock), *args, **options)  # type: ignore[arg-type]


class _Plain(HTTPConnection):
    response_class = _Answer


class _Secure(HTTPSConnection):
    response_class = _Answer


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


class TimedAdapter(HTTPAdapter):
    """Sends requests over such connections, through a proxy too (not one of SOCKS)."""

    _POOLS = {"http": _PlainPool, "https": _SecurePool}

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
