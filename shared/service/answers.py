"""What an answer of a service means: from status, headers and body to the error that says what to do.

The codes and what they lead to stand in ``shared.policy``.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from shared import policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shared.errors import CollectorError
    from shared.policy import Area
    from shared.service.http import Response

MAX_PAUSE = 3600.0

_CODE = re.compile(rb"""['"]code['"]\s*:\s*['"]([A-Za-z0-9_.-]{1,64})['"]""")
_TOKEN = re.compile(
    r"\beyJ[A-Za-z0-9_.+/=-]{10,}|\bBearer\s+[A-Za-z0-9_~.+/=-]{10,}", re.IGNORECASE
)

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_scan = json.JSONDecoder(strict=False)

_TITLE = re.compile(rb"<title>([^<]{1,400})</title>", re.IGNORECASE)


def error_code(body: bytes) -> str:
    """The service's code in an error body, whether that is valid JSON or single-quoted; "" where none."""
    match = _CODE.search(_plain(body)) or _CODE.search(body[:65536])
    return match.group(1).decode() if match else ""


def error_text(body: bytes) -> str:
    """The service's message, cut to 200 characters; "" where the body has none of the shapes that services use.

    What checks tokens may quote the one that it refuses, and a message is logged and stored.
    """
    return _TOKEN.sub("(a token, not shown)", _said(_plain(body)))[:200]


def _plain(body: bytes) -> bytes:
    """The begin of a body as UTF-8, which some gateways make UTF-16 of."""
    start = body[:65536]
    if start.startswith(_UTF_16):
        return start.decode("utf-16", "replace").encode("utf-8", "replace")
    return start


def _said(body: bytes) -> str:
    # A byte order mark, blanks or a stray byte may stand before an object, and bytes that are not UTF-8 within it.
    plain = body[max(0, body.find(b"{")) :].decode("utf-8", "replace")
    found: Any
    try:
        found, _ = _scan.raw_decode(plain)
    except (ValueError, RecursionError):
        # The page of a web server or a gateway.
        title = _TITLE.search(body)
        return title.group(1).decode("utf-8", "replace").strip() if title else ""
    if not isinstance(found, dict):
        return ""
    error = found.get("error") or found.get("odata.error")
    text = error.get("message") if isinstance(error, dict) else found.get("Message")
    if isinstance(text, dict):
        text = text.get("value")
    return text if isinstance(text, str) else ""


def retry_after(headers: Mapping[str, str], now: Callable[[], datetime]) -> float | None:
    """Seconds from a ``Retry-After`` header, in either form; None where there is none that can be read.

    At most ``MAX_PAUSE``: a wrong value would silence a tenant's feeds for good, and asking once an hour hurts nobody.
    """
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    if text.isdecimal():
        return min(float(text), MAX_PAUSE)
    if (at := _date(text)) is None:
        return None
    # By the clock that named it; ours may be off, and learns of that from a second answer only.
    since = _date(headers.get("Date", "")) or now()
    return min(max(0.0, (at - since).total_seconds()), MAX_PAUSE)


def _date(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def error_for(
    answer: Response, now: Callable[[], datetime], *, area: Area, at: str = ""
) -> CollectorError:
    """Translate an answer that is not a success (a 200 may hold an error object too).

    Args:
        answer: the answer.
        now: the service's time, for a ``Retry-After`` that is a date.
        area: who answers; a code that only another service uses means nothing here.
        at: the host.
    """
    detail, seconds = _detail(answer), retry_after(answer.headers, now)
    return policy.error(
        error_code(answer.body),
        area=area,
        at=at,
        detail=detail,
        status=answer.status,
        retry_after=seconds,
        answered=True,
    )


def error_named(name: str, answer: Response, *, at: str = "") -> CollectorError:
    """The error of a code of ours, for an answer whose own code does not tell what it means.

    Args:
        name: ``trace-app-missing`` and the like.
        answer: the answer.
        at: the host.
    """
    return policy.error(name, at=at, detail=_detail(answer), status=answer.status)


def _detail(answer: Response) -> str:
    code, said = error_code(answer.body), error_text(answer.body)
    words = [f"HTTP {answer.status}", *([code] if code else [])]
    return ", ".join(words) + (f": {said}" if said else "")
