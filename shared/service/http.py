"""One HTTP client for every API we collect from: pinned to its host, bounded in time, honest about bodies.

Guarantees:

- A request goes to the configured origin (scheme, host and port) or nowhere, and no redirect is followed, so a token
  cannot leave. This is the one place that checks an address.
- A server that hangs or drips cannot hold a run: every request has a connect and a read limit, every answer a total
  limit from its first header to its last byte, and every body a minimum rate.
- A body that is cut short, or whose gzip checksum is wrong, is an error and never a short answer.
"""

from __future__ import annotations

import re
import threading
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests
import urllib3

from shared import policy
from shared.network import origin, proxies_for, reason_of, refuse_foreign
from shared.network.timed_http import Deadline, TimedAdapter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shared.errors import CollectorError

_inflater: Any
try:
    from isal import isal_zlib as _inflater
except ImportError:  # pragma: no cover - isal has wheels for every platform of Azure Functions
    _inflater = zlib

_DIGITS = re.compile(r"[0-9]{1,15}")

CHUNK = 1 << 16
MAX_SIZE = 200_000_000
"""Bytes of a body, inflated: many times what Microsoft sends, and what a few of them leave of an instance's memory."""
GZIP_WINDOW = 31
_HEADERS = {
    "Accept": "*/*",
    "Accept-Encoding": "gzip",
    "User-Agent": requests.utils.default_user_agent(),
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a request may take, in seconds.

    Attributes:
        connect: to connect.
        read: between two reads.
        total: for the whole answer, headers included; it is noticed one read too late at most.
        min_rate: bytes a second that a body must reach on average once ``grace`` seconds have passed.
        size: bytes that a body may have, inflated.
    """

    connect: float = 10.0
    read: float = 30.0
    total: float = 300.0
    min_rate: float = 2048.0
    grace: float = 30.0
    size: int = MAX_SIZE


@dataclass(frozen=True, kw_only=True)
class Response:
    """A complete answer; the body is inflated and its length checked."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """Requests to one origin, one connection pool per thread.

    Args:
        endpoint: the base URL; its origin is the only one that is ever asked.
        verify: True, or the path of a file of certificate authorities.
        limits: time limits.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        verify: bool | str = True,
        limits: Limits | None = None,
    ) -> None:
        self.origin = origin(endpoint)
        self._verify = verify
        self._limits = limits or Limits()
        self._proxies = proxies_for(endpoint)
        self._local = threading.local()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        on_length: Callable[[int, bool], None] | None = None,
        on_chunk: Callable[[], None] = lambda: None,
    ) -> Response:
        """Send one request and read the whole answer.

        Args:
            method: GET or POST (without a body).
            url: an absolute URL of our origin.
            headers: sent as they are, with ``Accept-Encoding: gzip``.
            on_length: told the announced length (0: unknown) and whether it is compressed, before the body is read.
            on_chunk: called after each piece of the body; may raise to end the reading.

        Raises:
            Permanent: a URL of another origin (code ``foreign-url``), or a redirect.
            Transient: no answer, or not a whole one, in time.
        """
        refuse_foreign(url, self.origin)
        deadline = Deadline(self._limits.total)
        deadline.hold()
        answer = self._send(method, url, headers)
        try:
            status = answer.status_code
            if 300 <= status < 400:
                raise policy.error(
                    "redirect", at=self.origin[1], detail=f"HTTP {status}", status=status
                )
            encoding = answer.headers.get("Content-Encoding", "").strip().lower()
            if on_length is not None:
                on_length(_length(answer.headers.get("Content-Length")), bool(encoding))
                # Waiting for memory is our time, not the server's.
                deadline.restart()
            body = self._inflate(self._read(answer, deadline, on_chunk), encoding, status)
            return Response(status=status, headers=answer.headers, body=body)
        except BaseException:
            # What is left of the answer must not be taken for the next one.
            answer.raw.close()
            raise
        finally:
            answer.close()

    def _send(self, method: str, url: str, headers: Mapping[str, str]) -> requests.Response:
        request = requests.PreparedRequest()
        try:
            request.prepare(method, url, headers={**_HEADERS, **headers})
            # The adapter alone: a session would merge its settings for each request and keep cookies, and, unless told
            # otherwise, take authorities from the environment and the Authorization header from a netrc file.
            return self._adapter().send(
                request,
                stream=True,
                timeout=(self._limits.connect, self._limits.read),
                verify=self._verify,
                proxies=self._proxies,
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise policy.error(
                "no-answer", at=self.origin[1], detail=reason_of(error) or _names(error)
            ) from error

    def _inflate(self, body: bytes, encoding: str, status: int) -> bytes:
        if encoding in ("", "identity") or (not body and status != 200):
            # Some servers label the missing body of a refusal; its status is what counts.
            return body
        if encoding not in ("gzip", "x-gzip"):
            raise policy.error("bad-encoding", at=self.origin[1], detail=encoding[:40])
        return gunzip(body, self._limits.size)

    def _read(
        self, answer: requests.Response, deadline: Deadline, on_chunk: Callable[[], None]
    ) -> bytes:
        limits = self._limits
        chunks: list[bytes] = []
        size = 0
        # The wait for the headers is not the body's, whose rate is judged from here.
        begun = time.monotonic()
        try:
            # read1 hands over what has come; read would wait for a full chunk however slowly it drips.
            while chunk := answer.raw.read1(CHUNK, decode_content=False):
                on_chunk()
                chunks.append(chunk)
                size += len(chunk)
                if size > limits.size:
                    raise _too_large(limits.size)
                elapsed = time.monotonic() - begun
                if deadline.passed or (elapsed > limits.grace and size < limits.min_rate * elapsed):
                    raise self._too_slow(size, elapsed)
        except (urllib3.exceptions.HTTPError, requests.RequestException, OSError) as error:
            if deadline.passed:
                raise self._too_slow(size, time.monotonic() - begun) from error
            raise policy.error(
                "cut-short",
                at=self.origin[1],
                detail=f"broke off after {size} bytes, {_names(error)}",
            ) from error
        if not chunks and answer.status_code == 200 and not _announced(answer):
            # Headers that are cut short look like an answer that has none left, and an empty body.
            raise policy.error("cut-short", at=self.origin[1], detail="broke off before the body")
        return b"".join(chunks)

    def _too_slow(self, size: int, seconds: float) -> CollectorError:
        return policy.error(
            "too-slow",
            at=self.origin[1],
            detail=f"sent only {size} bytes of a body in {seconds:.0f} s",
        )

    def _adapter(self) -> TimedAdapter:
        adapter: TimedAdapter | None = getattr(self._local, "adapter", None)
        if adapter is None:
            adapter = self._local.adapter = TimedAdapter()
        return adapter


def _announced(answer: requests.Response) -> bool:
    return "Content-Length" in answer.headers or "Transfer-Encoding" in answer.headers


def _length(text: str | None) -> int:
    return int(text) if text and _DIGITS.fullmatch(text) else 0


def _names(error: BaseException) -> str:
    """Name an error without its text, which may quote URLs."""
    names = [type(error).__name__]
    cause = error.args[0] if error.args and isinstance(error.args[0], BaseException) else None
    while cause is not None and len(names) < 4:
        names.append(type(cause).__name__)
        inner = getattr(cause, "reason", None)
        cause = inner if isinstance(inner, BaseException) else None
    return " < ".join(names)


def _too_large(most: int) -> CollectorError:
    return policy.error("too-large", detail=f"more than {most} bytes")


def gunzip(data: bytes, most: int = MAX_SIZE) -> bytes:
    """Inflate a gzip body of one or more members; length and checksum must be right.

    Raises:
        Transient: it is cut short or damaged.
        Permanent: it inflates to more than ``most`` bytes (code ``too-large``).
    """
    left = most
    parts: list[bytes] = []
    rest = data
    try:
        while rest:
            inflate = _inflater.decompressobj(wbits=GZIP_WINDOW)
            # A body of a thousandth of that may inflate to it, so it ends there and not where memory does.
            parts.append(inflate.decompress(rest, left + 1))
            left -= len(parts[-1])
            if left < 0:
                raise _too_large(most)
            if not inflate.eof:
                raise policy.error("cut-short", detail="gzip without its end")
            rest = inflate.unused_data
    except (zlib.error, _inflater.error) as error:
        raise policy.error("cut-short", detail="gzip that is damaged") from error
    if not data:
        raise policy.error("cut-short", detail="gzip that is empty")
    return parts[0] if len(parts) == 1 else b"".join(parts)
