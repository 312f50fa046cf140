"""A feed's subscription: started when it is missing, never touched when it is on, reported when it was turned off.

Microsoft offers content only while a subscription is on, allows one start in 15 minutes, and takes a start with an
empty body for the removal of somebody's webhook (API reference, "Start a subscription"). So a start is asked for only
where there is nothing to lose, and the attempt is remembered before it is made, together with since when the
subscription has been off: whichever run finds it on again writes the gap. While an administrator keeps it off, every
run extends the gap record, so that it does not depend on the checkpoint.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

import msgspec

from shared import policy
from shared.state.gaps import SUBSCRIPTION_OFF
from shared.times import ServiceClock, Window, whole_second

if TYPE_CHECKING:
    from shared.errors import CollectorError
    from shared.sources.management_api import ManagementApi
    from shared.state.checkpoint import HeldCheckpoint, SubscriptionNote
    from shared.state.gaps import Gaps

logger = logging.getLogger("m365.subscription")

START_COOL_DOWN = timedelta(minutes=15)
LONGEST_GAP = timedelta(days=30)
"""How far back a note is believed; more was written by a wrong clock, or is known from the watermark."""


class SubscriptionKeeper:
    """Keeps one content type subscribed.

    Args:
        source: the content type.
        api: where subscriptions live.
        checkpoint: remembers what was seen and tried.
        clock: the service's time.
    """

    def __init__(
        self,
        source: str,
        *,
        api: ManagementApi,
        checkpoint: HeldCheckpoint,
        clock: ServiceClock,
    ) -> None:
        self._source = source
        self._api = api
        self._checkpoint = checkpoint
        self._clock = clock

    def ensure(self, gaps: Gaps) -> CollectorError | None:
        """Make sure that the content type is subscribed; returns why listing makes no sense yet.

        Args:
            gaps: records the time in which it was off.
        """
        found = self._api.subscriptions().get(self._source)
        now = whole_second(self._clock.now())
        note = self._note(now)
        if found is None:
            return self._start(gaps, note, now)
        if found.status != "disabled":
            # An entry without a status is unknown, not off; listing will tell.
            self._found_on(gaps, note, now)
            return None
        if note.enabled is None:
            return self._start(gaps, note, now)
        # It was on and somebody turned it off: that is an administrator's word, so it is reported, not undone.
        self._found_off(gaps, note, note.disabled or note.enabled, now)
        return policy.error("subscription-disabled", at=self._source)

    def _note(self, now: datetime) -> SubscriptionNote:
        """What is remembered; a clock that ran ahead is not believed when something was, only that it was.

        What it dated is then taken to be as old as the watermark: until then the subscription was on.
        """
        known = self._checkpoint.value
        note, listed = known.subscription, min(known.watermark or now, now)
        return msgspec.structs.replace(
            note,
            enabled=listed if note.enabled is not None and note.enabled > now else note.enabled,
            disabled=listed if note.disabled is not None and note.disabled > now else note.disabled,
        )

    def _found_on(self, gaps: Gaps, note: SubscriptionNote, now: datetime) -> None:
        if note.disabled is not None:
            _record_gap(gaps, note.disabled, now)
        # What was seen for the first time has to be known even if the run dies now; the moment alone may wait.
        news = note.enabled is None or note.disabled is not None
        move = self._checkpoint.move if news else self._checkpoint.move_soon
        move(subscription=msgspec.structs.replace(note, enabled=now, disabled=None))

    def _found_off(
        self, gaps: Gaps, note: SubscriptionNote, since: datetime, now: datetime
    ) -> None:
        _record_gap(gaps, since, now)
        # The days before today are on record to their end; today's record is extended by the next run.
        today = datetime.combine(now.date(), time(), UTC)
        self._checkpoint.move(
            subscription=msgspec.structs.replace(note, disabled=max(since, today))
        )

    def _start(self, gaps: Gaps, note: SubscriptionNote, now: datetime) -> CollectorError | None:
        """Start what is missing, once in 15 minutes at most; the attempt is remembered before it is made."""
        # In both directions: an attempt further in the future was dated by a wrong clock and would keep the feed off.
        if note.attempt is not None and abs(now - note.attempt) < START_COOL_DOWN:
            return policy.error("subscription-pending", at=self._source)
        note = msgspec.structs.replace(note, attempt=now, disabled=note.disabled or note.enabled)
        self._checkpoint.move(subscription=note)
        self._api.start(self._source)
        logger.info("started the subscription for %s", self._source)
        self._found_on(gaps, note, now)
        return None


def _record_gap(gaps: Gaps, since: datetime, now: datetime) -> None:
    start = max(since, now - LONGEST_GAP)
    if start < now:
        gaps.record(Window(start, now), "the subscription was off", SUBSCRIPTION_OFF)
