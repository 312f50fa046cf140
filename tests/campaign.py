"""What the fault tests share: freeing a dead worker's lease, long campaigns."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobLeaseClient

from local.eventhubs import Fault as HubFault
from local.tenant import PROFILES, SOURCES, Fault
from tests.harness import EXCHANGE, FAST, Nursery, Rig
from tests.waits import LONG, wait_for

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def broken_connections() -> Iterator[None]:
    """Around a rig whose hub connections are cut: the SDK does not close their sockets.

    They are collected here, once the senders that hang on them have ended, and not in another test.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed <s", ResourceWarning)
        yield
        for thread in threading.enumerate():
            if thread.name in ("sender", "closer"):
                thread.join(LONG)
        gc.collect()


TOP_UP = 60


def contents_at_hub(rig: Rig, source: str = EXCHANGE) -> set[str]:
    """The ids of the contents of which anything arrived."""
    return {content_id for content_id, _, _ in rig.events(source)}


def free_lease(rig: Rig, source: str = EXCHANGE) -> None:
    """Break the lease of a worker that is dead: it would keep the next one out until it ran out."""
    blob = rig.storage.state.get_blob_client(rig.checkpoint_name(source))
    # There may be no lease, or not even a blob yet.
    with contextlib.suppress(ResourceExistsError, ResourceNotFoundError):
        BlobLeaseClient(blob).break_lease(lease_break_period=0)


def assert_ledger_true(rig: Rig, source: str = EXCHANGE) -> set[str]:
    """Compare what the ledger calls delivered with what is at the hub; returns the ids of those contents.

    Raises:
        AssertionError: something is called delivered that has not arrived whole.
    """
    missing = {event[0] for event in rig.expected(source) - set(rig.events(source))}
    delivered = rig.delivered(source)
    assert not missing & delivered, f"called delivered and not at the hub: {missing & delivered}"
    return delivered


def kill(worker: subprocess.Popen[str]) -> None:
    """SIGKILL a worker that still runs, as the platform or a crash would.

    Raises:
        AssertionError: it had ended by itself.
    """
    running = worker.poll() is None
    worker.kill()
    output, errors = worker.communicate(timeout=LONG)
    assert running, f"the worker had ended by itself:\n{output}\n{errors[-2000:]}"


@dataclass(kw_only=True)
class Outcome:
    """What became of a campaign of kills.

    Attributes:
        kills: workers that were killed.
        busy: kills that hit a worker after it had begun to fetch and before it was done.
        begun: contents at the hub that the ledger did not call delivered, after each kill.
    """

    kills: int = 0
    busy: int = 0
    begun: list[int] = field(default_factory=list)

    @property
    def in_flight(self) -> int:
        """Kills after which something had arrived that was not written down."""
        return sum(1 for each in self.begun if each)


def kill_again_and_again(
    rig: Rig,
    *,
    kills: int,
    seed: int,
    in_flight: int,
    longest: float = 1.2,
    on_kill: Callable[[Outcome], None] = lambda _: None,
) -> Outcome:
    """Kill one worker after the other at random moments of its work, then let one finish.

    Args:
        rig: with a backlog, to which more is added before it is used up.
        kills: how many.
        seed: of the moments.
        in_flight: contents that a worker may have between fetch and ledger.
        longest: seconds from the first sign of a worker to its end.
        on_kill: told after each kill.

    Raises:
        AssertionError: something was called delivered that was not, or more than what was in flight is unaccounted.
    """
    random = Random(seed)
    outcome = Outcome()
    # Slow enough that a backlog lasts for all the kills, and that a kill finds work half done.
    rig.tenant.faults.add(Fault(on="content", action="slow", delay_s=0.08, times=-1))
    tuning = {"max_unsettled": in_flight, "fetch_threads": 2, "flush_every": 0.2}
    unaccounted = 0
    with Nursery(rig, EXCHANGE, tuning=tuning) as workers:
        while outcome.kills < kills:
            # Most of what can go wrong begins with delivering.
            sign = random.choices((_requests, _fetches, _deliveries), (1, 2, 3))[0]
            before, fetched = sign(rig), _fetches(rig)
            workers.begin()
            wait_for(partial(_shown, rig, sign, before, workers))
            time.sleep(random.uniform(0, longest))
            workers.kill()
            outcome.kills += 1
            delivered = assert_ledger_true(rig)
            begun = len(contents_at_hub(rig) - delivered)
            # What an earlier worker left may still wait for its second delivery.
            assert begun <= unaccounted + in_flight
            left = len(rig.tenant.shelf.offered(EXCHANGE)) - len(delivered)
            outcome.busy += _fetches(rig) > fetched and left > 0
            outcome.begun.append(begun)
            unaccounted = begun
            # A dead worker's lease would keep the next one out for its whole length.
            free_lease(rig)
            if left < TOP_UP // 2:
                rig.offer_many(TOP_UP)
            on_kill(outcome)
    rig.tenant.faults.clear()
    rig.run_until(lambda summary: summary.caught_up)
    return outcome


@dataclass(kw_only=True)
class Drained:
    """What it took to drain a backlog.

    Attributes:
        rounds: how often every feed was run.
        seconds: of wall time.
        statuses: how runs ended, by status and error code.
        delivered: contents, by source.
    """

    rounds: int = 0
    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    delivered: Counter[str] = field(default_factory=Counter)


def arm_mixed_faults(rig: Rig, share: float = 0.05) -> None:
    """About this share of all requests of every kind and of all sends goes wrong."""
    rig.tenant.faults.add(*PROFILES["mixed"])
    # Faults after which the SDK never answers are dear, so they are rarer than those it reports.
    reported = ("reject", "detach", "end", "close", "drop", "ack_lost", "delay")
    silent = ("no_ack", "release")
    rig.hubs.faults.add(
        *(HubFault(action=each, times=-1, rate=share * 0.8 / len(reported)) for each in reported),
        *(HubFault(action=each, times=-1, rate=share * 0.2 / len(silent)) for each in silent),
    )


def drain(
    rig: Rig,
    *,
    most: int = 30,
    on_round: Callable[[Drained], None] = lambda _: None,
    **changes: Any,
) -> Drained:
    """Run the five feeds at once, again and again, until all that the tenant offers is delivered.

    Args:
        rig: with its faults armed.
        most: rounds before it is given up.
        on_round: told after each round.
        changes: fields of the tuning.

    Raises:
        AssertionError: something was called delivered that was not, or the backlog is not drained after that many.
    """
    outcome, began = Drained(), time.monotonic()
    app = rig.app(replace(FAST, **changes))
    try:
        with ThreadPoolExecutor(len(SOURCES)) as pool:
            while outcome.rounds < most:
                summaries = [run for runs in pool.map(app.run, SOURCES) for run in runs]
                outcome.rounds += 1
                outcome.seconds = time.monotonic() - began
                for each in summaries:
                    outcome.statuses[" ".join(filter(None, (each.status, each.error_code)))] += 1
                    outcome.delivered[each.source] += each.delivered
                for source in SOURCES:
                    assert_ledger_true(rig, source)
                on_round(outcome)
                if all(each.caught_up for each in summaries):
                    return outcome
                # Contents that failed wait for ten minutes of the tenant's time, then for twenty.
                rig.tenant.advance(timedelta(minutes=11 * outcome.rounds))
    finally:
        app.close()
    raise AssertionError(f"not drained after {most} rounds: {dict(outcome.statuses)}")


def _requests(rig: Rig) -> int:
    return len(rig.tenant.books.requests())


def _fetches(rig: Rig) -> int:
    return len(rig.tenant.books.requests("content"))


def _deliveries(rig: Rig) -> int:
    return rig.hubs.stats.events


def _shown(rig: Rig, sign: Callable[[Rig], int], before: int, workers: Nursery) -> bool:
    return sign(rig) > before or workers.ended()
