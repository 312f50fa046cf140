"""Time windows of content listings, and the positions in them that page tokens name.

What the service accepts as a window is management-activity-api, section 5; the opaque token that
continues a listing section 6. It names the last entry that was handed out, so pages stay right
while new contents appear.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from local.tenant.messages import Refused
from local.tenant.shelf import HORIZON
from local.tenant.tokens import PageSeal

DAY = timedelta(hours=24)
# The service has been seen to take about an hour more than it says.
GRACE = timedelta(hours=1)

_FORMS = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,7})?)?Z?)?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
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
        return Window(whole - DAY, whole)
    if start is None or end is None:
        raise Refused("AF20030")
    window = Window(_moment("startTime", start), _moment("endTime", end))
    span = window.end - window.start
    too_wide = span > DAY or (reject_full_day and span == DAY)
    too_late = reject_future and window.end > now
    if span <= timedelta(0) or too_wide or too_late or window.start < now - HORIZON - GRACE:
        raise Refused("AF20055")
    return window


class PageTokens:
    """Names positions in listings: when an entry became visible, and its serial."""

    def __init__(self, about: str) -> None:
        self._seal = PageSeal(about)

    def make(self, source: str, window: Window, position: tuple[datetime, int]) -> str:
        """A token that continues behind ``position``."""
        micros = (position[0] - _EPOCH) // timedelta(microseconds=1)
        sealed = self._seal.close(f"{source} {window}", f"{micros} {position[1]}")
        return f"{position[0]:%Y%m%d%H}R{sealed}"

    def read(self, source: str, window: Window, token: str | None) -> tuple[datetime, int]:
        """The position in a token, or the beginning.

        Raises:
            Refused: AF20031, the token is not one of ours or belongs to another listing.
        """
        if token is None:
            return _EPOCH, 0
        text = self._seal.open(f"{source} {window}", token.partition("R")[2])
        if text is None:
            raise Refused("AF20031", token)
        micros, serial = (int(part) for part in text.split())
        return _EPOCH + timedelta(microseconds=micros), serial


def _moment(name: str, text: str) -> datetime:
    whole, dot, fraction = text.removesuffix("Z").partition(".")
    try:
        moment = datetime.fromisoformat(whole if _FORMS.fullmatch(text) else "").replace(tzinfo=UTC)
    except ValueError:
        raise Refused("AF20002", f"{name}={text}") from None
    return moment + timedelta(microseconds=int(f"{fraction:0<6}"[:6]) if dot else 0)
