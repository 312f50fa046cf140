"""Lives of a feed, lived at random: no day is called final that lacks what could be had, and each ends settled.

The windows are those of the product, the looks and the states too. The service is a list of contents that appear late,
the collector lists and delivers as it should, but stands still for hours or days, and loses what it remembers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random

import pytest

from shared.contents.windows import plan
from shared.days.gaps import GAP, SUBSCRIPTION_OFF
from shared.days.looks import Looks
from shared.days.states import LOST, Facts, Flaw, Known, State, state_of
from shared.sources.audit.management_api import AUDIT_POLICY
from shared.times import HOUR, Window, beginning_of, hour_of

START = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = 9
RULES = AUDIT_POLICY.days
Range = tuple[datetime, datetime]


@dataclass
class Content:
    """What the service lists from some moment on."""

    created: datetime
    visible: datetime
    state: str = ""


@dataclass
class Life:
    """One feed, its service, and what it has written down."""

    pick: Random
    contents: list[Content] = field(default_factory=list)
    standing: list[Range] = field(default_factory=list)
    off: list[Range] = field(default_factory=list)
    gaps: list[Range] = field(default_factory=list)
    rows: dict[date, Known] = field(default_factory=dict)
    watermark: datetime | None = None
    cursor: datetime | None = None
    tail: datetime | None = None

    def __post_init__(self) -> None:
        pick, end = self.pick, START + timedelta(days=DAYS)
        self.looks = Looks(made=START)
        self.every = pick.choice([timedelta(minutes=30), HOUR, 3 * HOUR, 12 * HOUR, 20 * HOUR])
        for _ in range(DAYS * 8):
            created = START + pick.random() * (end - START)
            late = pick.choice([0, 0, 0, 0, pick.uniform(0, 24), pick.uniform(0, 7 * 24)]) * HOUR
            self.contents.append(Content(created, created + timedelta(minutes=20) + late))
        for _ in range(pick.randint(0, 2)):
            begin = START + pick.uniform(1, DAYS) * timedelta(days=1)
            self.standing.append((begin, begin + pick.choice([5, 20, 60, 9 * 24]) * HOUR))
        if pick.random() < 0.2:
            begin = START + pick.uniform(1, DAYS) * timedelta(days=1)
            self.off.append((begin, begin + 5 * HOUR))
            self.contents = [c for c in self.contents if not begin <= c.created < begin + 5 * HOUR]
        self.lose = START + pick.uniform(0, DAYS) * timedelta(days=1)
        self.what = pick.choice(["nothing", "nothing", "looks", "checkpoint", "both"])

    def live(self) -> None:
        now, end = START + timedelta(minutes=13), START + timedelta(days=DAYS + 9)
        while now < end:
            if self.what != "nothing" and now >= self.lose:
                self._forget(now)
            if not any(begin <= now < over for begin, over in self.standing):
                self._run(now)
                for day in self._days(now):
                    self._judge(day, now)
            now += self.every * self.pick.uniform(0.9, 1.05)

    def _forget(self, now: datetime) -> None:
        if self.what in ("checkpoint", "both"):
            self.watermark = self.cursor = self.tail = None
        if self.what in ("looks", "both"):
            begun = self.looks.beginning
            self.looks = Looks(made=now, beginning=begun)
            if self.watermark is not None:
                self.looks.listed_once(self.watermark, now - RULES.leaves)
        self.what = "nothing"

    def _run(self, now: datetime) -> None:
        todo = plan(
            now, policy=AUDIT_POLICY, watermark=self.watermark, cursor=self.cursor, tail=self.tail
        )
        if todo.gap is not None:
            self.gaps.append((todo.gap.start, todo.gap.end))
        self.looks.begin(now)
        for window in (*todo.recent, todo.last_call, todo.slice):
            if window is not None:
                self._list(window, now)
        self.watermark, self.cursor, self.tail = todo.end, todo.cursor, todo.tail
        for content in self.contents:
            if content.state == "listed" and self.pick.random() < 0.8:
                content.state = "lost" if self.pick.random() < 0.001 else "delivered"

    def _list(self, window: Window, now: datetime) -> None:
        for content in self.contents:
            if window.start <= content.created < window.end and content.visible <= now:
                content.state = content.state or "listed"
        self.looks.note(window, now)

    def _days(self, now: datetime) -> list[date]:
        return [(START + timedelta(days=n)).date() for n in range((now - START).days + 1)]

    def _judge(self, day: date, now: datetime) -> None:
        inside = [c for c in self.contents if c.created.date() == day]
        begin, over = beginning_of(day), beginning_of(day) + timedelta(days=1)
        ranges = [(GAP, each) for each in self.gaps] + [
            (SUBSCRIPTION_OFF, each) for each in self.off
        ]
        flaws = [
            Flaw(max(start, begin), min(end, over), kind)
            for kind, (start, end) in ranges
            if start < over and end > begin and start < now
        ]
        flaws += [Flaw(c.created, c.created, LOST, 1) for c in inside if c.state == "lost"]
        facts = Facts(pending=sum(c.state == "listed" for c in inside), flaws=tuple(flaws))
        known = self.rows.get(day)
        verdict = state_of(day, now, rules=RULES, looks=self.looks, facts=facts, known=known)
        if verdict.state is State.FINAL:
            could_be_had = [
                c for c in inside if c.visible <= hour_of(c.created) + RULES.late_enough
            ]
            missing = [c for c in could_be_had if c.state != "delivered"]
            assert not missing, f"{day} is final at {now} and lacks {missing}"
        if known is not None and known.state is State.FINAL:
            assert verdict.state is not State.PROVISIONAL
        self.rows[day] = Known(
            state=verdict.state,
            sure=verdict.sure,
            flaws=verdict.flaws,
            looked_until=verdict.looked_until,
        )


@pytest.mark.parametrize("seed", range(16))
def test_no_day_of_a_life_is_final_that_lacks_what_could_be_had(seed: int) -> None:
    life = Life(Random(seed))

    life.live()

    after = [life.rows[day].state for day in sorted(life.rows)[:DAYS]]
    assert set(after) <= {State.FINAL, State.FLAWED}
    if not life.standing and not life.off and life.every <= 12 * HOUR:
        flawed = {flaw.kind for day in sorted(life.rows)[1:DAYS] for flaw in life.rows[day].flaws}
        assert flawed <= {LOST, "unverified"}
