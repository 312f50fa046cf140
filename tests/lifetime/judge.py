"""What became of a life, held against the tenant's books: nothing that could be had is missing, and every day is true.

What could be had is what stood in the trace, or could be listed, for longer than the collector takes to come round
while nothing kept it from collecting. What a day is called has to be so whatever kept it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from local.tenant.trace.rows import moment
from shared.days.gaps import GAP, SUBSCRIPTION_OFF
from shared.days.states import BEFORE_BEGINNING, LOST, UNVERIFIED, State
from shared.sources.audit.management_api import AUDIT_POLICY
from shared.sources.message_trace.policy import REREAD
from shared.sources.message_trace.row import SOURCE as TRACE
from shared.times import HOUR, beginning_of, end_of, hour_of, parse_wire
from tests.harness import ROOT
from tests.lifetime.troubles import (
    DAY,
    HINDERS,
    HUB,
    NO_LOOKS,
    NO_TOKEN,
    OFF,
    OLDER,
    READ_ONLY,
    STOPPED,
    STUCK,
    calm,
)
from tests.tracing import digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from local.tenant import Content
    from local.tenant.trace.rows import Row
    from tests.lifetime.life import Lifetime

RULES = AUDIT_POLICY.days
ROUND = 10 * HOUR
"""In which whatever can be listed is listed once more, and what failed is fetched."""

LAST_ROUND = 30 * HOUR
"""The same at the end of what can be listed, where runs are up to a day apart: the last look."""

GIVEN_UP = 32 * DAY
"""After which no content waits any more."""

LOOKED_BACK = 7 * DAY
"""How far back message trace is read again after an outage."""

WAKES = {"credential-refused": NO_TOKEN, "hub-refusing": HUB, "subscription-off": OFF}
"""Alerts that one run is enough for, and what alone may cause them."""


@dataclass(frozen=True)
class Reason:
    """Why a day is flawed."""

    kind: str
    start: datetime
    end: datetime


class Judge:
    """Holds a life against the books.

    Args:
        life: as far as it has gone.

    Attributes:
        states: how many days are called what.
        faults: all that is not as it should be.
    """

    def __init__(self, life: Lifetime) -> None:
        self.life, self.rig, self.plan = life, life.rig, life.plan
        self.began = self.now = life.diary.began
        self.grew = self.began + timedelta(days=life.plan.days)
        self.states: Counter[str] = Counter()
        self.faults: list[str] = []
        self._found: set[bytes] = set()

    def judge(self) -> None:
        """Find everything that is not as it should be; it stands in ``faults`` from then on."""
        self.now, self.states = self.rig.tenant.now(), Counter()
        for source in self.life.audit:
            self._events(source)
        if TRACE in self.plan.sources:
            self._rows()
        for source in self.plan.sources:
            self._days(source)
        for source, day, kind in sorted(set(self.life.diary.woken)):
            whole = Reason(kind, beginning_of(day), end_of(day))
            if not self._has_cause(source, day, whole):
                self.faults.append(f"{source} {day}: said to be {kind}, for nothing")
        self._runs()
        self._state()
        self.faults = sorted(set(self.faults))

    # -- what arrived

    def _events(self, source: str) -> None:
        arrived = Counter(self.life.events(source))
        contents = self.life.offers.contents.get(source, [])
        expected = self.rig.tenant.expected_events(source)
        lacks = {event[0] for event in expected - arrived.keys()}
        for each in contents:
            if each.content_id in lacks and self._could_be_had(each):
                self.faults.append(f"{source} lacks {_said(each)}, which could be had")
        if strange := arrived.keys() - expected:
            self.faults.append(f"{source}: {len(strange)} events that nobody offered")
        repeats = arrived.total() - len(arrived)
        if repeats > max(50, len(arrived) // 50):
            self.faults.append(f"{source}: {repeats} repeats of {len(arrived)} events")

    def _could_be_had(self, content: Content) -> bool:
        if content.content_id in self.life.diary.stuck:
            return False
        return self._comes_round(content.source, content.visible_at, content.created + RULES.leaves)

    def _comes_round(self, source: str, since: datetime, until: datetime) -> bool:
        """Whether nothing kept a feed from collecting for long enough between these times."""
        spans = [each.span(self.began) for each in self.plan.troubles if each.hinders(source)]
        until = min(until, self.now)
        return any(
            min(each.end, self.grew) - each.start >= ROUND
            or (each.end == until and each.end - max(each.start, self.grew) >= LAST_ROUND)
            for each in calm(spans, since, until)
        )

    def _rows(self) -> None:
        arrived = self.life.arrived()
        found = {known for known, _ in arrived}
        bodies = {digest(at): body for at, body in self.rig.tenant.trace.books.bodies().items()}
        for row in self.life.offers.rows:
            for phase, begins, until in _phases(row):
                lacking = digest(row.triple(phase)) not in found
                if lacking and self._comes_round(TRACE, begins, until):
                    self.faults.append(
                        f"{TRACE} lacks phase {phase} since {begins}, received {moment(row.received)}"
                    )
        for known, body in arrived:
            if bodies.get(known) != body:
                self.faults.append(f"{TRACE}: a row that nobody offered: {body!r}")
        repeats = arrived.total() - len(arrived)
        if repeats > max(50, len(arrived) // 50):
            self.faults.append(f"{TRACE}: {repeats} repeats of {len(arrived)} rows")
        self._found = found

    # -- what days are called

    def _days(self, source: str) -> None:
        rows = {date.fromisoformat(row["RowKey"]): row for row in self.rig.day_rows(source)}
        lacks = self._lacks_of_rows() if source == TRACE else self._lacks(source)
        day = self.began.date()
        while day < self.now.date():
            if day not in rows:
                self.faults.append(f"{source} {day} has no row")
            day += DAY
        for day, row in sorted(rows.items()):
            if "state" not in row:
                self.faults.append(f"{source} {day} has no state")
                continue
            self._day(source, day, row, lacks.get(day, []))

    def _lacks(self, source: str) -> dict[date, list[Any]]:
        """The contents of each day that a final one has to have, and that are not at the hub."""
        ids = {
            event[0]
            for event in set(self.rig.tenant.expected_events(source))
            - set(self.life.events(source))
        }
        found: dict[date, list[Any]] = {}
        for each in self.life.offers.contents.get(source, ()):
            vouched = each.visible_at <= hour_of(each.created) + RULES.late_enough
            if vouched and each.content_id in ids:
                found.setdefault(each.created.date(), []).append(_said(each))
        return found

    def _lacks_of_rows(self) -> dict[date, list[Any]]:
        """The same of rows, as they are in the end."""
        found: dict[date, list[Any]] = {}
        for row in self.life.offers.rows:
            received, (begins, status) = moment(row.received), row.phases[-1]
            vouched = moment(begins) <= hour_of(received) + HOUR + REREAD
            if vouched and digest(row.triple(len(row.phases) - 1)) not in self._found:
                found.setdefault(received.date(), []).append((received, moment(begins), status))
        return found

    def _day(self, source: str, day: date, row: dict[str, Any], lacks: list[Any]) -> None:
        state = State(row["state"])
        self.states[str(state)] += 1
        if state is State.FINAL and lacks:
            self.faults.append(f"{source} {day} is final and lacks {lacks}")
        elif state is State.FLAWED:
            for each in json.loads(row["reasons"]):
                reason = Reason(each["kind"], parse_wire(each["start"]), parse_wire(each["end"]))
                if not self._has_cause(source, day, reason):
                    self.faults.append(f"{source} {day}: {each}, for nothing")
        elif state is State.UNKNOWN and not self._met(day, day, OLDER, after=400 * DAY):
            self.faults.append(f"{source} {day} is {state}")
        elif state in (State.OPEN, State.PROVISIONAL):
            old = self.now - end_of(day)
            if old > self.plan.settled and not self._may_wait(source, day, state, old):
                self.faults.append(f"{source} {day} is still {state}")

    def _may_wait(self, source: str, day: date, state: State, old: timedelta) -> bool:
        if state is State.OPEN:
            return self._is_stuck(source, day) and old < GIVEN_UP
        # An outage so long kept its hours from their last reading; the next is when they leave after 90 days.
        return source == TRACE and self._met(day, day, STOPPED, NO_LOOKS, OLDER, after=LOOKED_BACK)

    def _is_stuck(self, source: str, day: date) -> bool:
        contents = self.life.offers.contents.get(source, ())
        stuck = self.life.diary.stuck
        return any(each.content_id in stuck and each.created.date() == day for each in contents)

    def _met(self, first: date, last: date, *what: str, after: timedelta = timedelta(0)) -> bool:
        """Whether something happened on these days, or so long after them."""
        start, end = beginning_of(first), end_of(last) + after
        return self._overlaps(start, end, *what)

    def _overlaps(self, start: datetime, end: datetime, *what: str, source: str = "") -> bool:
        return any(
            span.start < end and start < span.end
            for each in self.plan.troubles
            if each.what in what and (not source or each.source == source)
            for span in [each.span(self.began)]
        )

    def _has_cause(self, source: str, day: date, reason: Reason) -> bool:
        kind, start, end = reason.kind, reason.start, reason.end
        if kind == "late":
            late = self._overlaps(start, end_of(day) + 3 * DAY, *HINDERS)
            off = self._overlaps(start, end_of(day) + 3 * DAY, OFF, source=source)
            return late or off or self._is_stuck(source, day)
        if kind == LOST:
            return self._is_lost(source, day, reason)
        if kind == SUBSCRIPTION_OFF:
            return self._overlaps(start, end, OFF, source=source)
        if kind == GAP:
            return self._overlaps(start, end, STOPPED)
        if kind == UNVERIFIED:
            # The last looks at an hour are those of its seventh day.
            return self._overlaps(
                start + 5 * DAY, end + 8 * DAY, *HINDERS, NO_LOOKS, OFF, OLDER
            ) or self._overlaps(start, end, OFF, OLDER, STOPPED)
        return kind == BEFORE_BEGINNING and day <= self.began.date()

    def _is_lost(self, source: str, day: date, reason: Reason) -> bool:
        if self._is_stuck(source, day):
            return True
        if source == TRACE:
            # What was seen and could not be sent, and has changed since.
            return any(
                digest(row.triple(phase)) not in self._found
                and (self.plan.share > 0 or self._overlaps(begins, until, HUB, READ_ONLY))
                for row in self.life.offers.rows
                if reason.start <= moment(row.received) < reason.end
                for phase, begins, until in _phases(row)
            )
        lost = [
            each
            for each in self.life.offers.contents.get(source, ())
            if reason.start <= each.created <= reason.end
        ]
        expected = self.rig.tenant.expected_events(
            source, content_ids=[each.content_id for each in lost]
        )
        return bool(expected - set(self.life.events(source)))

    # -- runs and state

    def _runs(self) -> None:
        """No run failed for nothing, and none in a way that would wake somebody for nothing."""
        rules = json.loads((ROOT / "infra" / "alerts.json").read_text("utf-8"))
        text = {rule["name"]: " ".join(rule["query"]) for rule in rules}
        codes = {name: set(re.findall(r"'([\w-]+)'", text[name])) for name in WAKES}
        for source, at, code in self.life.diary.failed:
            met = {
                each.what
                for each in self.plan.troubles
                for span in [each.span(self.began)]
                if span.start <= at <= span.end + HOUR or each.what == STUCK
            }
            if not self.plan.share and not met:
                self.faults.append(f"{source}: a run of {at} ended with {code}, for nothing")
            for name, what in WAKES.items():
                aadsts = name == "credential-refused" and code.startswith("AADSTS")
                if (code in codes[name] or aadsts) and what not in met:
                    if name == "hub-refusing" and self.plan.share:
                        continue
                    self.faults.append(f"{source}: alert {name} for {code} at {at}, for nothing")

    def _state(self) -> None:
        """What is stored does not grow."""
        sizes = [each for each in self.life.diary.sizes if each[0] > 12 * DAY]
        third = len(sizes) // 3
        if third < 5:
            return
        _, *of_blobs = zip(*sizes, strict=True)
        for name, found in zip(("blobs", "bytes"), of_blobs, strict=True):
            early, late = max(found[:third]), max(found[-third:])
            if late > 1.5 * early:
                self.faults.append(f"{late} {name} of state, and {early} before")

    # -- saying it

    def table(self) -> dict[str, int]:
        """What the life covered."""
        life, plan = self.life, self.plan
        contents = [each for of_source in life.offers.contents.values() for each in of_source]
        books, rows = self.rig.tenant.books, life.offers.rows
        events = [event for source in life.audit for event in life.events(source)]
        arrived = life.arrived()
        late = sum(1 for each in contents if each.visible_at - each.created > HOUR)
        return {
            "days": (self.now - self.began) // DAY,
            "contents offered": len(contents),
            "of them over an hour late": late,
            "of them listed again": sum(1 for each in contents if each.relisted_at),
            "of them shown once": sum(1 for each in contents if each.hidden_after_listings),
            "of them ever listed": sum(1 for each in contents if books.listed(each.content_id)),
            "events at the hub": len(events),
            "repeats of events": len(events) - len(set(events)),
            "rows offered": len(rows),
            "of them changing": sum(1 for each in rows if len(each.phases) > 1),
            "rows at the hub": arrived.total(),
            "repeats of rows": arrived.total() - len(arrived),
            "sends met by a fault": life.sends_met(),
            **{f"faults: {name}": count for name, count in sorted(life.faults().items())},
            **{f"trouble: {what}": count for what, count in _counted(plan.troubles)},
            **{f"runs: {how}": count for how, count in sorted(life.diary.runs.items())},
            **{f"days: {state}": count for state, count in sorted(self.states.items())},
            "said of days": len(life.diary.woken),
            "blobs of state": life.diary.sizes[-1][1],
            "most blobs of state": max(each[1] for each in life.diary.sizes),
            "bytes of state": life.diary.sizes[-1][2],
            "most bytes of state": max(each[2] for each in life.diary.sizes),
        }


def _phases(row: Row) -> Iterator[tuple[int, datetime, datetime]]:
    """Each status of a row: its number, since when it stood, and until when it could be had."""
    for phase, (begins, _) in enumerate(row.phases):
        until = moment(row.received) + REREAD
        if phase + 1 < len(row.phases):
            until = moment(row.phases[phase + 1][0])
        yield phase, moment(begins), until


def _counted(troubles: Any) -> list[tuple[str, int]]:
    return sorted(Counter(each.what for each in troubles).items())


def _said(content: Content) -> str:
    again = " shown once" if content.hidden_after_listings else ""
    return f"{content.content_id} of {content.created}, visible {content.visible_at}{again}"
