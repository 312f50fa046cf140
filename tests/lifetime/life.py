"""Weeks of a tenant's life on the rig, in fast motion.

Content comes by day and night, late, is listed again, or shown once only. Rows come late, or change. Meanwhile happens
what can happen. Runs are an hour apart where nothing does, and ten minutes for a day around it. All feeds run at once.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

from local.eventhubs import SERVER_BUSY
from local.eventhubs import Fault as HubFault
from local.tenant import PROFILES, Fault
from shared.days.states import State
from shared.sources.message_trace.row import SOURCE as TRACE
from shared.state.account import read_blob, write_blob
from shared.state.tables import DAYS_TABLE
from shared.times import HOUR
from tests.harness import FAST, Event
from tests.lifetime import troubles
from tests.lifetime.offers import Offers
from tests.lifetime.troubles import CLOCK, DOUBLE, OFF, READ_ONLY, STOPPED, Trouble
from tests.tracing import MANY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from shared.app import App
    from shared.state.run_summary import RunSummary
    from tests.tracing import TraceRig

DAY, TEN_MINUTES = timedelta(days=1), timedelta(minutes=10)
JUMP = 3 * HOUR
LAST_PACE = 3 * HOUR
"""Runs are so far apart when nothing new comes into being; listing allows for so much at once."""

BEFORE, AFTER = 2 * HOUR, 22 * HOUR
"""For so long around what happens runs are ten minutes apart."""

STRETCH = 6 * DAY
"""For so long a life goes on without a break."""

CALM = replace(FAST, tries=2)
HASTY = replace(
    CALM,
    patience=replace(FAST.patience, no_acknowledgement=1.0, busy=0.05),
    close_seconds=5.0,
)
"""For a hub that is down; one that is not may take its time on a busy machine."""
PLENTY = {**MANY, "M365_REQUESTS_PER_MINUTE": "100000"}
"""The budget goes by this machine's clock, on which a week is a minute."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a life goes.

    Attributes:
        sources: what is collected.
        seed: of everything that is left to chance.
        days: how long anything comes into being.
        per_day: contents of a source, and messages.
        troubles: what happens.
        share: of all requests and sends that go wrong at any time.
        slows: how much later each run comes after the last day, until every day has settled.
        settled: how long that takes.
        seldom: sources that are collected every sixth hour.
        quick: whether runs come ten minutes apart around what happens.
    """

    sources: tuple[str, ...]
    seed: int
    days: float
    per_day: float
    troubles: Sequence[Trouble]
    share: float = 0.0
    slows: timedelta = timedelta(0)
    settled: timedelta = 9 * DAY
    seldom: tuple[str, ...] = ()
    quick: bool = True


@dataclass
class Diary:
    """What is known of a life beside what the rig holds; it is all that is kept when a life is interrupted."""

    now: datetime
    began: datetime
    runs: Counter[str] = field(default_factory=Counter)
    events: dict[str, list[Event]] = field(default_factory=dict)
    rows: Counter[tuple[bytes, bytes]] = field(default_factory=Counter)
    woken: list[tuple[str, date, str]] = field(default_factory=list)
    failed: list[tuple[str, datetime, str]] = field(default_factory=list)
    sizes: list[tuple[timedelta, int, int]] = field(default_factory=list)
    stuck: set[str] = field(default_factory=set)
    done: set[Trouble] = field(default_factory=set)
    sends_met: int = 0
    played: Counter[str] = field(default_factory=Counter)


class Lifetime:
    """The life of a tenant whose feeds are collected.

    Args:
        rig: the tenant; its clock is moved.
        plan: how it goes.
        refusing: a connection string to its storage that takes no writes.
    """

    def __init__(self, rig: TraceRig, plan: Plan, refusing: str = "") -> None:
        self.rig, self.plan = rig, plan
        self._refusing = refusing or rig.storage_connection
        now = rig.tenant.now()
        self.offers = Offers(rig, plan.sources, plan.per_day, Random(f"{plan.seed} offers"))
        self.diary = Diary(now=now, began=now)
        self.on: set[Trouble] = set()
        self._turn = 0

    # -- living

    def live(self, between: Callable[[], None] = lambda: None) -> None:
        """Live, and then go on until every day has settled.

        Args:
            between: called every few days, when nothing happens and no run is on its way; the app is a new one then.
        """
        end = timedelta(days=self.plan.days) + self.plan.settled
        self._arm()
        while self.age < end:
            self._live_on(min(self.age + STRETCH, end))
            between()

    def _live_on(self, until: timedelta) -> None:
        days = timedelta(days=self.plan.days)
        with ExitStack() as stack:
            stack.enter_context(self._alerts())
            pool = stack.enter_context(ThreadPoolExecutor(len(self.plan.sources)))
            refusing = {"M365_STORAGE_CONNECTION_STRING": self._refusing}
            app, refused, hasty = (
                stack.enter_context(closing(self.rig.app(tuning, **PLENTY, **more)))
                for tuning, more in ((CALM, {}), (CALM, refusing), (HASTY, {}))
            )
            step = self._step()
            while self.age < until or self.on:
                young = self.age < days
                step = self._step() if young else self._slower(step)
                if young and not self._is_on(CLOCK):
                    off = {each.source for each in self.on if each.what == OFF}
                    self.offers.bring(step, volume=1 + self._is_on(DOUBLE), off=off)
                self.rig.tenant.advance(step)
                self._change()
                if self._is_on(STOPPED):
                    continue
                able = refused if self._is_on(READ_ONLY) else app
                self._run(hasty if self._is_on(troubles.HUB) else able, pool)

    @property
    def age(self) -> timedelta:
        """How long it is since the beginning."""
        return self.rig.tenant.now() - self.diary.began

    def _step(self) -> timedelta:
        age = self.age
        around = any(
            each.begins - BEFORE <= age < each.begins + AFTER
            or each.ends - BEFORE <= age < each.ends + AFTER
            for each in self.plan.troubles
        )
        return TEN_MINUTES if self.plan.quick and around and not self._is_on(STOPPED) else HOUR

    def _slower(self, step: timedelta) -> timedelta:
        return LAST_PACE if step < LAST_PACE else min(step + self.plan.slows, DAY)

    def _is_on(self, what: str) -> bool:
        return any(each.what == what for each in self.on)

    def _run(self, app: App, pool: ThreadPoolExecutor) -> None:
        self._turn += 1
        young = timedelta(days=self.plan.days)
        sources = [
            each
            for each in self.plan.sources
            if each not in self.plan.seldom or self._turn % 6 == 0 or self.age > young
        ]
        for summary in pool.map(lambda each: self.rig.run(each, app=app), sources):
            self._note(summary)
        if not self.diary.sizes or self.age - self.diary.sizes[-1][0] >= DAY:
            self.diary.sizes.append((self.age, *self._size()))

    def _note(self, summary: RunSummary) -> None:
        self.diary.runs[" ".join(filter(None, (summary.status, summary.error_code)))] += 1
        if summary.error_code:
            now = self.rig.tenant.now()
            self.diary.failed.append((summary.source, now, summary.error_code))

    def _size(self) -> tuple[int, int]:
        """How many blobs of state there are, and how many bytes they hold."""
        tenant = self.rig.tenant.spec.tenant_id
        blobs = [each for each in self.rig.storage.state.list_blobs() if tenant in each.name]
        return len(blobs), sum(each.size for each in blobs)

    # -- trouble

    def _change(self) -> None:
        age = self.age
        for each in sorted(self.on, key=lambda each: each.begins):
            if age >= each.ends:
                self.on.discard(each)
                self._end(each)
        for each in self.plan.troubles:
            if each.begins <= age and each not in self.diary.done:
                self.diary.done.add(each)
                self._begin(each)
                if each.lasts:
                    self.on.add(each)

    def _begin(self, trouble: Trouble) -> None:
        tenant = self.rig.tenant
        match trouble.what:
            case troubles.OFF:
                tenant.subscriptions.set(trouble.source, "disabled")
            case troubles.NO_TOKEN:
                tenant.tokens.expire()
            case troubles.CLOCK:
                tenant.advance(JUMP)
            case troubles.STUCK:
                self.diary.stuck.add(self.offers.never_comes(trouble.source).content_id)
            case troubles.OLDER | troubles.NO_CHECKPOINT | troubles.NO_LOOKS:
                for source in self.plan.sources:
                    self._forget(source, trouble.what)
        self._arm(*self._faults_of(trouble.what))

    def _faults_of(self, what: str) -> list[Fault | HubFault]:
        match what:
            case troubles.HUB:
                return [HubFault(action="reject", condition=SERVER_BUSY, times=-1)]
            case troubles.THROTTLED:
                return [Fault(on="any", action="throttle", rate=0.3, retry_after=0.02, times=-1)]
            case troubles.NO_TOKEN:
                return [Fault(on="token", action="status", status=503, times=-1)]
            case troubles.CLOCK:
                # And one answer more names a time that is far off.
                far = (self.rig.tenant.now() + 400 * DAY).strftime("%a, %d %b %Y %H:%M:%S GMT")
                headers = {"Date": far}
                return [Fault(on="subscriptions", action="status", status=503, headers=headers)]
        return []

    def _end(self, trouble: Trouble) -> None:
        if trouble.what == OFF:
            self.rig.tenant.subscriptions.set(trouble.source, "enabled")
        elif trouble.what == CLOCK:
            self.rig.tenant.advance(-JUMP)
        self._arm()

    def _arm(self, *faults: Fault | HubFault) -> None:
        """Let go wrong what is to go wrong at any time, and these before it."""
        tenant, hubs, share = self.rig.tenant.faults, self.rig.hubs.faults, self.plan.share
        tenant.clear()
        hubs.clear()
        tenant.add(*(each for each in faults if isinstance(each, Fault)))
        hubs.add(*(each for each in faults if isinstance(each, HubFault)))
        for name in self.diary.stuck:
            tenant.add(Fault(on="content", action="status", content_id=name, status=500, times=-1))
        if share:
            mixed = PROFILES["mixed"]
            tenant.add(*(replace(each, rate=(each.rate or 0) * share / 0.05) for each in mixed))
            sends = ("reject", "detach", "end", "close", "drop", "ack_lost", "delay")
            hubs.add(*(HubFault(action=each, times=-1, rate=share / len(sends)) for each in sends))

    def _forget(self, source: str, what: str) -> None:
        name = self.rig.checkpoint_name(source)
        if what == troubles.OLDER:
            self._make_older(source)
        if what != troubles.NO_CHECKPOINT:
            name = name.replace("checkpoints/", "looks/")
        self.rig.storage.state.delete_blob(name)

    def _make_older(self, source: str) -> None:
        """State as a version wrote it that knew neither looks nor states of days."""
        state, name = self.rig.storage.state, self.rig.checkpoint_name(source)
        stored = read_blob(state, name)
        assert stored is not None
        old = json.loads(stored.data)
        for key in ("beginning", "days_closed", "looks"):
            old.pop(key, None)
        data = json.dumps({**old, "schema": 1}).encode()
        write_blob(state, name, data, etag=stored.etag)
        keep = ("PartitionKey", "RowKey", "listed", "delivered", "complete")
        table = self.rig.storage.table(DAYS_TABLE)
        for row in self.rig.day_rows(source):
            table.replace([({name: row[name] for name in keep}, row["etag"])])

    @contextmanager
    def _alerts(self) -> Iterator[None]:
        """What would wake somebody, by the rules of the alerts day-flawed and day-open."""
        logger, lines, lock = logging.getLogger("m365.days"), self.diary.woken, threading.Lock()

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                head, _, rest = record.getMessage().partition(" ")
                if head != "day_state":
                    return
                said = json.loads(rest)
                kinds = {each["kind"] for each in said["reasons"]}
                day, late = date.fromisoformat(said["day"]), said["late"]
                kinds = kinds if said["state"] == State.FLAWED else {"late"} if late else set()
                with lock:
                    lines.extend((said["source"], day, kind) for kind in sorted(kinds))

        handler, level = Handler(), logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)

    # -- what arrived

    def events(self, source: str) -> list[Event]:
        """Every event of a source at the hub, of before an interruption too."""
        return [*self.diary.events.get(source, ()), *self.rig.events(source)]

    def arrived(self) -> Counter[tuple[bytes, bytes]]:
        """Every row at the hub, by its digest and its bytes."""
        return self.diary.rows + self.rig.arrived()

    def sends_met(self) -> int:
        """Sends met by a fault."""
        return self.diary.sends_met + self.rig.hubs.stats.faults

    def faults(self) -> Counter[str]:
        """Faults that the tenant played."""
        return self.diary.played + Counter(self.rig.tenant.faults.played())

    def diary_to_keep(self) -> Diary:
        """The diary, with what the rig holds of what arrived."""
        return replace(
            self.diary,
            now=self.rig.tenant.now(),
            events={each: self.events(each) for each in self.audit},
            rows=self.arrived(),
            sends_met=self.sends_met(),
            played=self.faults(),
        )

    @property
    def audit(self) -> list[str]:
        """The sources but message trace."""
        return [each for each in self.plan.sources if each != TRACE]
