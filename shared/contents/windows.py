"""Which ranges of ``contentCreated`` a run asks for. Pure functions.

A service lists by ``start <= contentCreated < end``, so wide and so far back as the source's ``ContentPolicy`` says. It
promises no order, so a content can appear inside a range that was listed long ago. Guarantees, each a property test:

- Every instant between the horizon and now is covered by the ranges listed since the watermark, without a hole.
- What lay beyond the horizon before it was ever listed comes back as a gap, never silently.
- Every instant is listed again once per cycle of slices, and once more shortly before it leaves the horizon.
- Every hour is listed as a whole then, in one window.

Slices and last calls grow with the time between two runs. So this holds for any schedule, from minutes to the widest
window less a last call: 22 h where that is 23 h.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from shared.times import HOUR, Window, hour_of, whole_second

if TYPE_CHECKING:
    from shared.contents.content import ContentPolicy

SECOND = timedelta(seconds=1)
UNEVEN = timedelta(minutes=5)
"""A clock that tells its time and one that remembers it differ by less, as do the servers of one service."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one run lists, in this order, and the cursors that hold once it did.

    Attributes:
        gap: the range that left the horizon before it was ever listed.
        recent: from the watermark (less the overlap) to now, oldest first.
        last_call: the oldest part of the horizon, listed once more before it can no longer be.
        slice: the next piece of the rolling re-list.
        end: the watermark after ``recent``.
        tail: everything before it had its last call.
        cursor: where the next slice starts.
    """

    gap: Window | None
    recent: tuple[Window, ...]
    last_call: Window | None
    slice: Window | None
    end: datetime
    tail: datetime
    cursor: datetime


def is_believable(watermark: datetime, now: datetime) -> bool:
    """Whether a right clock wrote a watermark: between two runs one goes back by a second easily.

    Where it is more, a wrong one wrote it, and the whole horizon is listed again. That is cheap, since the ledger knows
    what was delivered.
    """
    return watermark <= now + UNEVEN


def split(start: datetime, end: datetime, width: timedelta) -> tuple[Window, ...]:
    """Cut a range into adjoining windows of at most ``width``, at whole hours where that is so wide.

    An hour counts as looked at where one window has all of it.
    """
    if width <= timedelta(0):
        raise ValueError(f"window width {width} is not positive")
    windows = []
    while start < end:
        stop = min(_whole(start, start + width), end)
        windows.append(Window(start, stop))
        start = stop
    return tuple(windows)


def plan(
    now: datetime,
    *,
    policy: ContentPolicy,
    watermark: datetime | None,
    cursor: datetime | None,
    tail: datetime | None,
) -> Plan:
    """Plan a run.

    Args:
        now: the service's clock.
        policy: the source's.
        watermark: everything before it has been listed once; None on a first run, which takes the whole horizon.
        cursor: where the rolling re-list goes on; None: at the horizon.
        tail: up to where the last call has been made; None: nothing yet.
    """
    end = whole_second(now)
    oldest = policy.oldest(now)
    watermark, cursor, tail = (
        whole_second(value) if value else None for value in (watermark, cursor, tail)
    )
    if watermark is not None:
        # One ahead of now would hide everything until then.
        watermark = min(watermark, end) if is_believable(watermark, end) else None
    gap = None
    if watermark is not None and watermark < oldest:
        gap = Window(watermark, oldest)
    start = oldest if watermark is None else max(hour_of(watermark - policy.overlap), oldest)
    recent = split(start, end, policy.slice)
    since = timedelta() if watermark is None else end - watermark
    last_call, reached = _last_call(policy, tail, oldest, start, since)
    piece, following = _next_slice(policy, cursor, oldest, start, since)
    return Plan(
        gap=gap,
        recent=recent,
        last_call=last_call,
        slice=piece,
        end=end,
        tail=reached,
        cursor=following,
    )


def _whole(start: datetime, end: datetime) -> datetime:
    """The last whole hour up to ``end``, where that is behind ``start``."""
    hour = hour_of(end)
    return hour if hour > start else end


def _last_call(
    policy: ContentPolicy,
    tail: datetime | None,
    oldest: datetime,
    recent_start: datetime,
    since: timedelta,
) -> tuple[Window | None, datetime]:
    """Return what may leave the horizon before the next run, once it is worth a request, and the tail after it.

    The next run is expected as long after this one as this one is after the last, and late by ``last_call`` at most.
    """
    # A tail further ahead than any run goes was written by a wrong clock, and would hide what is due.
    known = tail is not None and oldest <= tail <= oldest + policy.max_width
    reached = tail if tail is not None and known else oldest
    # To a whole hour: a late run cannot begin in front of one that was broken up here, since it may have left by then.
    whole = hour_of(oldest + since + policy.last_call + HOUR - SECOND)
    stop = min(max(oldest + policy.slice, whole), oldest + policy.max_width, recent_start)
    if reached + policy.last_call > stop:
        return None, reached
    # From a whole hour on, since one of which the last call had a part counts as looked at with all of it.
    return Window(max(oldest, hour_of(reached)), stop), stop


def _next_slice(
    policy: ContentPolicy,
    cursor: datetime | None,
    oldest: datetime,
    recent_start: datetime,
    since: timedelta,
) -> tuple[Window | None, datetime]:
    """Return the next piece of [oldest, recent_start) and the cursor after it; it wraps at the recent range."""
    if oldest >= recent_start:
        return None, oldest
    start = oldest if cursor is None or not oldest <= cursor < recent_start else cursor
    width = min(max(policy.slice, since * (policy.horizon / policy.cycle)), policy.max_width)
    stop = min(_whole(start, start + width), recent_start)
    return Window(start, stop), stop if stop < recent_start else oldest
