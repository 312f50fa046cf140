"""Time windows and page tokens of content listings.

What the service accepts as a window (management-activity-api, section 5) and the opaque token
that continues a listing (section 6). A token belongs to one content type and window and names the
last entry that was handed out, so pages stay right while new contents appear.
"""

from __future__ import annotations

import base64
import itertools
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from local.tenant.shelf import HORIZON
from local.tenant.subscriptions import Refused

DAY = timedelta(hours=24)
# The service has been seen to take about an hour more than it says.
GRACE = timedelta(hours=1)

_FORMS = re.compile(
    r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,7})?)?Z?)?",
    re.ASCII,
)


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of ``contentCreated``, start-inclusive and end-exclusive."""

    start: datetime
    end: datetime


def requested_window(
    start: str | None,
    end: str | None,
    now: datetime,
    *,
    reject_full_day: bool = False,
    reject_future: bool = False,
) -> Window:
    """The window a listing asks for; without bounds the last 24 hours.

    Raises:
        Refused: AF20002 for an unreadable time, AF20030 for one bound only, AF20055 for an empty
            or backward window, one over 24 hours (or of 24 hours, with ``reject_full_day``), one
            that starts too long ago, or (with ``reject_future``) one that ends after now.
    """
    if start is None and end is None:
        whole = now.replace(microsecond=0)
        return Window(start=whole - DAY, end=whole)
    if start is None or end is None:
        raise Refused("AF20030")
    window = Window(start=_moment("startTime", start), end=_moment("endTime", end))
    span = window.end - window.start
    too_wide = span > DAY or (reject_full_day and span == DAY)
    too_late = reject_future and window.end > now
    if span <= timedelta(0) or too_wide or too_late or window.start < now - HORIZON - GRACE:
        raise Refused("AF20055")
    return window


class PageTokens:
    """Makes page tokens and reads them back; no two are the same."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._numbers = itertools.count(1)

    def make(self, source: str, window: Window, position: tuple[datetime, int]) -> str:
        """A token that continues behind ``position`` (time of becoming visible, and serial)."""
        micros = (position[0] - _EPOCH) // timedelta(microseconds=1)
        text = f"{micros}.{position[1]}.{next(self._numbers)}"
        raw = self._mark(source, window, text) + text.encode()
        return f"{position[0]:%Y%m%d%H}R{base64.urlsafe_b64encode(raw).rstrip(b'=').decode()}"

    def read(self, source: str, window: Window, token: str) -> tuple[datetime, int]:
        """The position in a token.

        Raises:
            Refused: AF20031, the token is not one of ours or belongs to another listing.
        """
        _, _, rest = token.partition("R")
        try:
            raw = base64.urlsafe_b64decode(rest + "=" * (-len(rest) % 4))
            text = raw[_MARK:].decode("ascii")
            micros, serial, _ = (int(part) for part in text.split("."))
        except ValueError:
            raise Refused("AF20031", token) from None
        if raw[:_MARK] != self._mark(source, window, text):
            raise Refused("AF20031", token)
        return _EPOCH + timedelta(microseconds=micros), serial

    def _mark(self, source: str, window: Window, text: str) -> bytes:
        about = f"{source} {window.start.isoformat()} {window.end.isoformat()} {text}"
        return blake2b(about.encode(), key=self._key, digest_size=_MARK).digest()


_MARK = 12
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _moment(name: str, text: str) -> datetime:
    if not _FORMS.fullmatch(text):
        raise Refused("AF20002", f"{name}={text}")
    plain = text.removesuffix("Z")
    whole, dot, fraction = plain.partition(".")
    try:
        moment = datetime.fromisoformat(whole).replace(tzinfo=UTC)
    except ValueError:
        raise Refused("AF20002", f"{name}={text}") from None
    return moment + timedelta(microseconds=int(f"{fraction:0<6}"[:6]) if dot else 0)
