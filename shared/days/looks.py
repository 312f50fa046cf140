"""Looks: for each UTC hour that can still be listed, when it was last listed whole after it was over.

They stand in a blob beside the checkpoint, written once an hour at most; those of the runs in between travel in the
checkpoint. A blob that is deleted, or cannot be read, is made anew. Then less is known, and never more: what ended
before the new one was made is taken for looked at when it ended, as far as the watermark says that it was listed.

Looks of two workers merge: the later one of an hour counts.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from shared.state.account import read_blob, write_blob
from shared.state.failures import Conflict, in_the_way
from shared.times import (
    HOUR,
    Window,
    beginning_of,
    hour_of,
    overlaps,
    utc,
    whole_hours,
    whole_second,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from azure.storage.blob import ContainerClient

logger = logging.getLogger("m365.days")

WRITE_EVERY = timedelta(hours=1)
TRIES = 3


class _Stored(msgspec.Struct, kw_only=True):
    """The blob: for each day 24 times of looks, in minutes since the day's midnight; 0 for none."""

    made: datetime
    written: datetime
    beginning: datetime | None = None
    closed: date | None = None
    looks: dict[date, list[int]] = msgspec.field(default_factory=dict)


_decoder = msgspec.json.Decoder(_Stored)


@dataclass
class Looks:
    """What was looked at; see ``shared.days.states.Looked``.

    Attributes:
        made: when remembering began.
        beginning: when the feed was first seen to be listed; the earliest that is known.
        hours: each with the time of its last look.
        written: when the blob was last written; None where it never was.
        closed: every day before it has the row that it keeps, as far as looks go.
    """

    made: datetime
    beginning: datetime | None = None
    hours: dict[datetime, datetime] = field(default_factory=dict)
    written: datetime | None = None
    closed: date | None = None

    def at(self, hour: datetime) -> datetime | None:
        """When an hour was last looked at."""
        return self.hours.get(hour)

    def note(self, window: Window, at: datetime) -> None:
        """Note that a range was listed to its end, and that what was found is written down.

        Args:
            window: the range. Of an hour that it covers in part, or that was not over, it is no look.
            at: when its listing began.
        """
        for hour in whole_hours(window):
            if hour + HOUR <= at:
                self._merge(hour, at)

    def _merge(self, hour: datetime, at: datetime) -> None:
        known = self.hours.get(hour)
        self.hours[hour] = at if known is None else max(known, at)

    def begin(self, at: datetime | None) -> None:
        """Note a beginning; the earliest counts."""
        if at is not None:
            self.beginning = at if self.beginning is None else min(self.beginning, at)

    def listed_once(self, until: datetime, since: datetime, but: Iterable[Window] = ()) -> None:
        """Take everything before ``until`` for looked at when it ended: it was listed once, nobody knows when.

        Args:
            until: the watermark.
            since: before it nothing is asked for any more.
            but: ranges that never were listed.
        """
        never, hour = list(but), hour_of(since)
        while hour + HOUR <= until:
            if not overlaps(never, hour, hour + HOUR):
                self._merge(hour, hour + HOUR)
            hour += HOUR

    def merge(self, other: Looks) -> None:
        """Take over what somebody else knows."""
        self.made = min(self.made, other.made)
        self.begin(other.beginning)
        for hour, at in other.hours.items():
            self._merge(hour, at)

    def drop_later(self, now: datetime) -> None:
        """Drop looks that are dated later than now: a clock was wrong, and nobody knows when they were."""
        limit = now + HOUR
        self.hours = {hour: at for hour, at in self.hours.items() if at <= limit}

    def forget(self, before: datetime) -> None:
        """Drop hours that nobody asks for any more."""
        self.hours = {hour: at for hour, at in self.hours.items() if hour >= before}


class LookStore:
    """One feed's blob of looks.

    Args:
        container: the state container.
        name: ``looks/<tenant id>/<source>.json``.
    """

    def __init__(self, container: ContainerClient, name: str) -> None:
        self._container = container
        self.name = name
        self._etag: str | None = None

    def load(self, now: datetime) -> Looks:
        """Read the looks; where there are none that can be read, begin to remember now."""
        stored = read_blob(self._container, self.name)
        self._etag = None if stored is None else stored.etag
        if stored is not None:
            try:
                return _looks(_decoder.decode(stored.data))
            except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError) as error:
                logger.warning(
                    "%s cannot be read and is made anew; days may be less certain for it: %s",
                    self.name,
                    error,
                )
        return Looks(made=whole_second(now))

    def save(self, looks: Looks, now: datetime) -> None:
        """Write the looks, with what another worker wrote meanwhile.

        A run goes on by its own: it has not read what the other one found when it looked.

        Raises:
            CollectorError: they are not known to be stored.
        """
        looks.written = now
        merged, tries = looks, 0
        while True:
            try:
                self._etag = write_blob(
                    self._container, self.name, _encode(merged, now), etag=self._etag
                )
            except Conflict as conflict:
                tries += 1
                if tries == TRIES:
                    raise in_the_way(conflict) from conflict
                merged = self.load(now)
                merged.merge(looks)
            else:
                return


def _looks(stored: _Stored) -> Looks:
    looks = Looks(made=utc(stored.made), written=utc(stored.written), closed=stored.closed)
    looks.begin(None if stored.beginning is None else utc(stored.beginning))
    for day, times in stored.looks.items():
        midnight = beginning_of(day)
        for number, minutes in enumerate(times[:24]):
            if minutes > 0:
                looks.hours[midnight + number * HOUR] = midnight + timedelta(minutes=minutes)
    return looks


def _encode(looks: Looks, now: datetime) -> bytes:
    stored = _Stored(made=looks.made, written=now, beginning=looks.beginning, closed=looks.closed)
    for hour, at in sorted(looks.hours.items()):
        minutes = int((at - beginning_of(hour.date())) / timedelta(minutes=1))
        stored.looks.setdefault(hour.date(), [0] * 24)[hour.hour] = minutes
    return msgspec.json.encode(stored)
