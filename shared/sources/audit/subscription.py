"""Whether a content type is listed: its subscription is started where there is none, and left alone otherwise.

The listing of contents alone is believed. A list of subscriptions may be empty, refused, or spell a name otherwise, and
a start with an empty body removes somebody's webhook (API reference, "Start a subscription"). So where the list does
not say that it is on, one second of contents is listed:

- It answers: the subscription is on. Nothing is started.
- AF20022, there is none: it is started.
- AF20023, it is disabled: started once where it was never seen on. From then on, or where it was, that is an
  administrator's word: it is reported and not undone (docs/adr/0008 says why, and what clears it).
- The tenant does not exist, or auditing is off: nothing is recorded there, and nothing will come back.

Whatever of these is said has to be said twice, in a row, before it counts. Of one that a listing broke off with the
run says that it did; it is remembered only where the question after it is answered so too.

While it is off, every run extends the record of that range, from the last listing that answered. A start that is
answered with "already on" (AF20024) makes no record that was not written yet. The attempt is remembered before it is
made, together with since when it was off: whichever run finds it on again writes the record.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from shared import policy
from shared.contents.content import Gate
from shared.days.gaps import AUDITING_OFF, SUBSCRIPTION_OFF
from shared.errors import AuthError, CollectorError, ConfigError, Permanent
from shared.policy import Action, Area
from shared.times import HOUR, ServiceClock, Window, beginning_of, whole_second

if TYPE_CHECKING:
    from datetime import datetime

    from shared.days.gaps import Gaps
    from shared.sources.audit.auditing import Switches
    from shared.sources.audit.management_api import ManagementApi
    from shared.state.checkpoint import HeldCheckpoint, SubscriptionNote

logger = logging.getLogger("m365.subscription")

START_COOL_DOWN = timedelta(minutes=15)
LONGEST_GAP = timedelta(days=30)
"""How far back a note is believed; more was written by a wrong clock, or is known from the watermark."""

MOMENT = timedelta(seconds=1)

AUDITING = "auditing-off"
"""Code of the answer that nothing is recorded in the tenant."""

DISABLED = "AF20023"
"""Code of the answer that somebody turned the subscription off."""

_SAID = {
    SUBSCRIPTION_OFF: "the subscription was off",
    AUDITING_OFF: "auditing was off in the tenant",
}


class SubscriptionKeeper(Gate):
    """Keeps one content type listed.

    Args:
        source: the content type.
        api: lists it.
        checkpoint: remembers what was seen and tried.
        clock: the service's time.
        switches: of auditing, as far as they were collected.
    """

    def __init__(
        self,
        source: str,
        *,
        api: ManagementApi,
        checkpoint: HeldCheckpoint,
        clock: ServiceClock,
        switches: Switches,
    ) -> None:
        self._switches = switches
        self._source = source
        self._api = api
        self._checkpoint = checkpoint
        self._clock = clock
        self._said: str | None = None

    def ensure(self, gaps: Gaps) -> CollectorError | None:
        """Make sure that the content type is listed; returns why it is not.

        Args:
            gaps: records the time in which it was off.
        """
        self._record_switches(gaps)
        try:
            on = self._source.lower() in self._enabled()
        except (AuthError, ConfigError) as error:
            if error.code == AUDITING:
                return self._auditing_off(error, gaps)
            if policy.area_of(error.code) is not Area.API:
                raise
            # Whether it is the list alone that is refused, the listing of contents will tell.
            on, self.doubt = False, error
        now = whole_second(self._clock.now())
        note = self._note(now)
        if on and note.disabled is None:
            self._is_on(note, now)
            return None
        # One wrong answer starts nothing, and records nothing.
        first = self._refusal()
        refusal = first and self._refusal()
        if first is None or refusal is None:
            self._found_on(gaps, note, now)
            return None
        if refusal.code != first.code:
            raise refusal
        if refusal.code == AUDITING:
            return self._auditing_off(refusal, gaps)
        if policy.rule_of(refusal).action is not Action.START_SUBSCRIPTION:
            raise refusal
        if refusal.code == DISABLED and note.enabled is not None:
            self._found_off(gaps, note, now, SUBSCRIPTION_OFF)
            return policy.error("subscription-disabled", at=self._source)
        return self._start(gaps, note, now)

    def refused(self, error: CollectorError, gaps: Gaps) -> None:
        """The listing broke off: remember it where that is about the subscription or about auditing, and is said again.

        Raises:
            CollectorError: auditing is off, and that cannot be written down.
        """
        now = whole_second(self._clock.now())
        note = self._note(now)
        if error.code == AUDITING:
            if self._is_repeated(error):
                self._found_off(gaps, note, now, AUDITING_OFF)
        elif (
            policy.rule_of(error).action is Action.START_SUBSCRIPTION
            and note.disabled is None
            and self._is_repeated(error)
        ):
            # The next run asks, whatever the list of subscriptions says then.
            off = msgspec.structs.replace(note, disabled=self._since(note))
            self._checkpoint.move_soon(subscription=off)

    def _enabled(self) -> set[str]:
        """What is on, by the list of subscriptions; that nothing is recorded has to be said twice."""
        try:
            return self._api.enabled()
        except CollectorError as error:
            if error.code != AUDITING:
                raise
            return self._api.enabled()

    def _is_repeated(self, error: CollectorError) -> bool:
        """Whether another question is answered alike; asked once a run, after all that was listed."""
        if self._said is None:
            try:
                again = self._refusal()
            except CollectorError:
                # Nobody knows. While it is off, the next run meets it again.
                again = None
            self._said = again.code if again else ""
        return self._said == error.code

    def _record_switches(self, gaps: Gaps) -> None:
        """Put on record when auditing was switched off, by the records of it; only what is not on record yet."""
        now = whole_second(self._clock.now())
        known = dict(self._checkpoint.value.subscription.switched)
        found: dict[datetime, datetime] = {}
        for start, end in self._switches.off():
            until = min(end or now, now)
            recorded = known.get(start)
            if recorded is None or recorded < until:
                since = start if recorded is None else max(start, beginning_of(recorded.date()))
                _record(gaps, since, until, AUDITING_OFF)
            found[start] = until
        if found != known:
            note = self._checkpoint.value.subscription
            switched = tuple(sorted(found.items()))
            self._checkpoint.move_soon(
                subscription=msgspec.structs.replace(note, switched=switched)
            )

    def _auditing_off(self, error: CollectorError, gaps: Gaps) -> CollectorError:
        now = whole_second(self._clock.now())
        self._found_off(gaps, self._note(now), now, AUDITING_OFF)
        return error

    def _refusal(self) -> CollectorError | None:
        """Why nothing is listed; None where it is, or where the question was at fault."""
        at = whole_second(self._clock.now()) - HOUR
        try:
            next(self._api.pages(Window(at, at + MOMENT)), None)
        except (Permanent, ConfigError) as error:
            clamp = policy.rule_of(error).action is Action.CLAMP_WINDOW
            return None if clamp else error
        return None

    def _since(self, note: SubscriptionNote) -> datetime | None:
        """Since when it is off, as far as anybody knows: since the last listing that answered."""
        if note.disabled is not None:
            return note.disabled
        watermark = self._checkpoint.value.watermark
        return (
            note.enabled
            if watermark is None or note.enabled is None
            else min(watermark, note.enabled)
        )

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
            _record(gaps, note.disabled, now, note.why)
        self._is_on(note, now)

    def _is_on(self, note: SubscriptionNote, now: datetime) -> None:
        # What was seen for the first time has to be known even if the run dies now; the moment alone may wait.
        news = note.enabled is None or note.disabled is not None
        move = self._checkpoint.move if news else self._checkpoint.move_soon
        move(
            subscription=msgspec.structs.replace(
                note, enabled=now, disabled=None, why=SUBSCRIPTION_OFF
            )
        )

    def _found_off(self, gaps: Gaps, note: SubscriptionNote, now: datetime, why: str) -> None:
        since = self._since(note)
        if since is None:
            # It was never on as far as anybody knows: that is before the beginning.
            return
        if note.disabled is not None and note.why != why:
            _record(gaps, since, now, note.why)
        _record(gaps, since, now, why)
        # The days before today are on record to their end; today's record is extended by the next run.
        today = beginning_of(now.date())
        self._checkpoint.move(
            subscription=msgspec.structs.replace(note, disabled=max(since, today), why=why)
        )

    def _start(self, gaps: Gaps, note: SubscriptionNote, now: datetime) -> CollectorError | None:
        """Start what is missing, once in 15 minutes at most; the attempt is remembered before it is made."""
        # In both directions: an attempt further in the future was dated by a wrong clock and would keep the feed off.
        if note.attempt is not None and abs(now - note.attempt) < START_COOL_DOWN:
            return policy.error("subscription-pending", at=self._source)
        note = msgspec.structs.replace(note, attempt=now, disabled=self._since(note))
        self._checkpoint.move(subscription=note)
        if self._api.start():
            logger.info("started the subscription for %s", self._source)
            self._found_on(gaps, note, now)
        else:
            # It was on all along.
            self._is_on(note, now)
        return None


def _record(gaps: Gaps, since: datetime, now: datetime, why: str) -> None:
    start = max(since, now - LONGEST_GAP)
    if start < now:
        gaps.record(Window(start, now), _SAID[why], why)
