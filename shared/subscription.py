"""A feed's subscription: started when it is missing, never touched when it is on, reported when it was turned off.

Microsoft offers content only while a subscription is on, allows one start in 15 minutes, and takes a start with an
empty body for the removal of somebody's webhook (API reference, "Start a subscription"). So a start is asked for only
where there is nothing to lose, and the attempt is remembered before it is made.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

import msgspec

from shared.checkpoint import HeldCheckpoint, SubscriptionNote
from shared.clock import ServiceClock
from shared.errors import CollectorError, ConfigError, Throttled
from shared.gaps import Gaps
from shared.sources.management_api import ManagementApi
from shared.windows import Window

logger = logging.getLogger("m365.subscription")

START_COOL_DOWN = timedelta(minutes=15)


class SubscriptionKeeper:
    """Keeps one content type subscribed.

    Args:
        source: the content type.
        api: where subscriptions live.
        checkpoint: remembers what was seen and tried.
        gaps: records the time in which it was off.
        clock: the service's time.
    """

    def __init__(
        self,
        source: str,
        *,
        api: ManagementApi,
        checkpoint: HeldCheckpoint,
        gaps: Gaps,
        clock: ServiceClock,
    ) -> None:
        self._source = source
        self._api = api
        self._checkpoint = checkpoint
        self._gaps = gaps
        self._clock = clock

    def ensure(self) -> CollectorError | None:
        """Make sure that the content type is subscribed; returns why listing makes no sense yet."""
        note = self._checkpoint.value.subscription
        found = self._api.subscriptions().get(self._source)
        now = self._clock.now().replace(microsecond=0)
        if found is None:
            return self._start(note, now)
        if found.status != "disabled":
            # An entry without a status is unknown, not off; listing will tell.
            if note.disabled is not None and note.disabled < now:
                self._gaps.record(Window(note.disabled, now), "the subscription was off")
            self._checkpoint.move(
                subscription=msgspec.structs.replace(note, enabled=now, disabled=None)
            )
            return None
        if note.enabled is None:
            return self._start(note, now)
        # It was on and somebody turned it off: that is an administrator's word, so it is reported, not undone.
        since = note.disabled or note.enabled
        self._checkpoint.move(subscription=msgspec.structs.replace(note, disabled=since))
        return ConfigError(
            f"the subscription for {self._source} was disabled in the tenant after it had been on. If that was "
            "not intended, start it again (POST .../subscriptions/start) or delete this feed's checkpoint; nothing "
            "new is collected until then",
            code="subscription-disabled",
        )

    def _start(self, note: SubscriptionNote, now: datetime) -> CollectorError | None:
        """Start what is missing, once in 15 minutes at most; the attempt is remembered before it is made."""
        if note.attempt is not None and now - note.attempt < START_COOL_DOWN:
            return Throttled(
                f"the subscription for {self._source} was started less than 15 minutes ago and is not on yet",
                code="subscription-pending",
            )
        self._checkpoint.move(subscription=msgspec.structs.replace(note, attempt=now))
        self._api.start(self._source)
        logger.info("started the subscription for %s", self._source)
        if note.enabled is not None and note.enabled < now:
            self._gaps.record(Window(note.enabled, now), "the subscription was missing")
        self._checkpoint.move(
            subscription=msgspec.structs.replace(note, attempt=now, enabled=now, disabled=None)
        )
        return None
