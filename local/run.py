"""`make run`: collect everything there is, watch it arrive, prove that it did.

With a simulated tenant, rounds of the timer functions are run until everything that the tenant offers has its end.
Where only time is missing (a content that appears late, a retry that is not due), the tenant's clock is moved instead
of waiting. Then the hub is read back and compared with the tenant's books. With a real tenant, rounds are run until
every feed has caught up. Whatever is left after that is shown as what it is: nothing is retried into looking better.
"""

from __future__ import annotations

import fcntl
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from local.azurite import Azurite
from local.host_process import HostProcess, Round
from local.localsettings import load_from, read_values, require_emulator
from local.outcome import FeedOutcome, Feeds, Outcome
from local.progress import Display, make_display
from local.readback import ReadbackError, read_back
from local.rig import CONNECTION, HUB, TRACE_HUB, LocalRig, TenantControl
from local.tether import ROOT
from shared.app import App
from shared.errors import ConfigError
from shared.sources.message_trace.row import SOURCE as MESSAGE_TRACE
from shared.sources.message_trace.settings import message_trace_of
from shared.sources.registry import BY_NAME, CONTENTS, load
from shared.state.account import Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from local.profiles import Profile
    from local.tenant import TenantSpec
    from shared.config.settings import Settings

STATE = ROOT / ".local" / "state"
# In a folder of their own, runs into a file: what a file got must not count as delivered to a hub.
FILE_STATE = "file"

_HUB = ("M365_EVENTHUB_NAMESPACE", "M365_EVENTHUB_CONNECTION_STRING")
_NO_HUB = "\nTo try it without an event hub, write the events into a file with --sink FILE."
_STORAGE = ("ACCOUNT", "CONNECTION_STRING", "BLOB_ENDPOINT", "TABLE_ENDPOINT")

# What the clock is moved by where nothing else says: one interval of the timers.
TIMER_S = 600.0
# What it is moved by in all: less than the oldest content has left before it expires.
MOST_S = 10 * 3600.0
# What it is moved by at most where only rows of the message trace are still to come.
TRACE_STEP_S = 5400.0
# After so long everything of the message trace's last 48 hours has been read again.
REREAD_S = 6 * 3600.0
RETRY_S = 5  # first wait of a failed content where failures are ordered
# Rounds without progress after which to stop: the re-list of all seven days takes 42 of them.
STUCK_PENDING, STUCK_UNLISTED = 4, 50

MOST_ROUNDS = 150
MOST_REAL_ROUNDS = 20
LEASE_WAIT_S = 5.0


def run_simulated(
    spec: TenantSpec, profile: Profile, *, proxy: bool = False, verbose: bool = False
) -> Outcome:
    """Collect from a simulated tenant and compare what arrived with its books."""
    with ExitStack() as stack:
        offered = {**spec.contents_by_source(), MESSAGE_TRACE: spec.trace.rows}
        display = make_display({f"{CONNECTION}/{name}": offered[name] for name in offered})
        display.say("Starting the simulated tenant, the Event Hubs stand-in and Azurite ...")
        rig = stack.enter_context(LocalRig(spec, profile, proxy=proxy))
        values = {**rig.settings(), "M365_SOURCES": ",".join((*spec.sources, MESSAGE_TRACE))}
        # Nobody counts requests here, but for those of the message trace, which has its quota here too.
        values["M365_REQUESTS_PER_MINUTE"] = "100000"
        if not profile.quiet:
            values["M365_RETRY_SECONDS"] = str(RETRY_S)
        settings = load(values)
        storage = Storage.from_connection_string(settings.storage_connection_string)
        stack.callback(storage.close)
        stack.enter_context(display)
        with HostProcess(values, verbose=verbose) as host:
            drain = _Drain(
                rig.tenant, host, display, Feeds(storage, settings), settings, settle_s(spec)
            )
            outcome = drain.run()
        display.say("Reading everything back from the hub ...")
        counted = int(rig.tenant.trace_books()["max_requests_in_5_minutes"])
        outcome = replace(
            outcome,
            expected=frozenset(rig.tenant.events() | rig.tenant.trace_events("expected")),
            possible=frozenset(rig.tenant.trace_events("ever_visible")),
            faults=rig.faults_played(),
            trace_requests=(counted, message_trace_of(settings.connections[0]).requests),
        )
        try:
            found, rows = (
                read_back(settings.eventhub_connection_string, hub, on_progress=display.reading)
                for hub in (HUB, TRACE_HUB)
            )
        except ReadbackError as error:
            return replace(outcome, unread=str(error))
        events, total = frozenset(found.events | rows.events), found.total + rows.total
        return replace(outcome, found=events, events=total, sample=found.sample)


def settle_s(spec: TenantSpec) -> float:
    """Seconds after which the tenant's message trace has nothing new to show, and all of it was read again."""
    trace = spec.trace
    if not trace.rows or not (trace.late or trace.changing or trace.recalled):
        return 0.0
    late = max(trace.late_after_s) if trace.late else trace.latency_s
    changes = (trace.changing > 0) + (trace.recalled > 0)
    return late + changes * trace.changes_after_s + REREAD_S


def run_real(
    path: Path, sink: Path | None, state: Path = STATE, *, verbose: bool = False
) -> Outcome:
    """Collect from the tenant of a local settings file, to the hub that it names or into a file.

    What a `sink`, the file in the place of a hub, got is noted in a local storage account of its own, whatever the
    settings name: no hub has got it. `state` is the folder of a local storage account, used where the settings name
    none.
    """
    values = read_values(path)
    where, why = "the storage account that they name", "since they name no storage account"
    if sink is not None:
        values, state = _into_file(values, sink), state / FILE_STATE
        why = "whatever storage account they name, since no event hub gets these events"
    on_this_machine = not _names_storage(values)
    if on_this_machine:
        values["M365_STORAGE_CONNECTION_STRING"] = "UseDevelopmentStorage=true"
        where = f"{state}, {why}"
    hint = "" if _names(values, *_HUB) else _NO_HUB
    # Everything is checked before anything is started.
    load_from(path, values, hint)
    require_emulator(path, values.get("M365_EVENTHUB_CONNECTION_STRING", ""))
    with ExitStack() as stack:
        if on_this_machine:
            stack.enter_context(_alone(state))
            azurite = stack.enter_context(Azurite(location=state))
            values["M365_STORAGE_CONNECTION_STRING"] = azurite.connection_string
        settings = load_from(path, values, hint)
        feeds = [f"{each.name}/{name}" for each in settings.connections for name in each.sources]
        display = stack.enter_context(make_display(dict.fromkeys(feeds)))
        display.say(f"Collecting with the settings of {path}; state is in {where} ...")
        app = App(settings)
        host = stack.enter_context(HostProcess(values, sink=sink, verbose=verbose))
        return _catch_up(host, display, lambda: Feeds(app.storage, settings).read(None))


@dataclass
class _Drain:
    """Runs rounds until everything that a simulated tenant offers has its end."""

    tenant: TenantControl
    host: HostProcess
    display: Display
    feeds: Feeds
    settings: Settings
    settle_s: float
    moved_s: float = 0.0
    said: tuple[int, int] = (0, 0)

    def run(self) -> Outcome:
        """Run rounds; returns what they came to, drained or stuck."""
        number, stuck, seconds, before = 0, 0, 0.0, (0, 0)
        while True:
            began = time.monotonic()
            done = self.host.round(self.display.feed)
            number += 1
            feeds = self._feeds()
            after = sum(f.counts.listed for f in feeds), sum(f.counts.pending for f in feeds)
            if after != before:
                seconds += time.monotonic() - began
            settled = self._to_settle_s <= 0
            waits_for_rows = not settled and _drained(feeds, rows=False)
            stuck = 0 if after != before or waits_for_rows else stuck + 1
            before = after
            unlisted = any(feed.counts.listed < (feed.offered or 0) for feed in feeds)
            if (
                (settled and _drained(feeds))
                or number >= MOST_ROUNDS
                or stuck > (STUCK_UNLISTED if unlisted else STUCK_PENDING)
            ):
                return _outcome(feeds, done, number, seconds)
            self._pass_time(feeds, waiting=stuck > 0)

    @property
    def _to_settle_s(self) -> float:
        return min(self.settle_s, MOST_S) - self.moved_s

    def _feeds(self) -> list[FeedOutcome]:
        sources = self.tenant.books()["sources"]
        offered = {source: int(row["offered"]) for source, row in sources.items()}
        offered[MESSAGE_TRACE] = len(self.tenant.trace_rows("expected"))
        return self.feeds.read(offered)

    def _pass_time(self, feeds: list[FeedOutcome], *, waiting: bool) -> None:
        """Move the clock to where the collector can do something again."""
        left = sum(feed.counts.pending for feed in feeds)
        missing = sum(max(0, (feed.offered or 0) - feed.counts.listed) for feed in feeds)
        contents_drained, rest = _drained(feeds, rows=False), self._to_settle_s
        if missing and not waiting and not contents_drained:
            return
        seconds = TIMER_S
        if contents_drained and rest > 0:
            seconds = rest if rest <= REREAD_S else min(TRACE_STEP_S, rest - REREAD_S)
        elif not missing:
            base = timedelta(seconds=self.settings.retry_seconds)
            due = [when for feed in feeds if (when := feed.next_due(base)) is not None]
            now = self.tenant.advance(0)
            seconds = max((max(due, default=now) - now).total_seconds() + 1.0, 0.0)
        seconds = min(seconds, MOST_S - self.moved_s)
        if seconds <= 0:
            return
        self.moved_s += seconds
        self.tenant.advance(seconds)
        if (left, missing) != self.said:
            self.said = left, missing
            waits = f"{left} contents wait for their next try, {missing} contents and rows are not listed yet"
            self.display.say(f"{waits}; instead of waiting, the tenant's clock is moved")


def _drained(feeds: list[FeedOutcome], *, rows: bool = True) -> bool:
    return all(feed.drained for feed in feeds if rows or BY_NAME[feed.source].engine == CONTENTS)


def _catch_up(
    host: HostProcess, display: Display, read: Callable[[], list[FeedOutcome]]
) -> Outcome:
    """Run rounds until every feed has caught up, or a round brings nothing."""
    number, seconds, moved, caught_up = 0, 0.0, True, False
    while moved and not caught_up and number < MOST_REAL_ROUNDS:
        began = time.monotonic()
        done = host.round(display.feed)
        seconds += time.monotonic() - began
        number += 1
        moved = any(each["delivered"] or each["listed"] or each["lost"] for each in done.summaries)
        if done.skipped:
            # A run that was killed leaves its leases behind, which Azure ends within half a minute.
            display.say("Another process has a feed's lease; trying again ...")
            time.sleep(LEASE_WAIT_S)
            moved = True
        caught_up = all(each["caught_up"] for each in done.summaries)
    return _outcome(read(), done, number, seconds)


def _outcome(feeds: list[FeedOutcome], last: Round, number: int, seconds: float) -> Outcome:
    took = Outcome(feeds=feeds, errors=last.errors, rounds=number, seconds=seconds)
    return replace(took, peak_memory_mb=last.peak_memory_mb)


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Hold the folder of a local storage account, which two instances would ruin for each other."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            mend = "Wait for it, or name another folder with --state"
            raise ConfigError(f"{state}: another run keeps its state there. {mend}") from None
        yield


def _names(values: Mapping[str, str], *names: str) -> bool:
    return any(values.get(name, "").strip() for name in names)


def _names_storage(values: Mapping[str, str]) -> bool:
    text = values.get("M365_STORAGE_CONNECTION_STRING", "").strip()
    if text.rstrip(";").lower() == "usedevelopmentstorage=true":
        return False
    return _names(values, "M365_STORAGE_CONNECTION_STRING", "M365_STORAGE_ACCOUNT")


def _into_file(values: Mapping[str, str], sink: Path) -> dict[str, str]:
    """The settings of a run that writes into a file: without a hub, and without the storage that belongs to it."""
    try:
        sink.open("ab").close()
    except OSError as error:
        raise ConfigError(f"--sink {sink}: {error.strerror}") from error
    left_out = (*_HUB, *(f"M365_STORAGE_{name}" for name in _STORAGE))
    kept = {name: value for name, value in values.items() if name not in left_out}
    # Some hub has to be named; with a sink in its place nobody ever looks for it.
    return {**kept, "M365_EVENTHUB_NAMESPACE": "file.invalid"}
