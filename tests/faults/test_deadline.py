"""The deadline of a run: it ends in time, and nothing in hand is lost by it."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from local.tenant import Fault
from shared.service.http import Limits
from tests.waits import LONG, wait_for

if TYPE_CHECKING:
    from shared.state.run_summary import RunSummary
    from tests.harness import Rig
    from tests.runclock import RunClock


def test_a_body_that_drips_past_the_end_of_a_run_is_left_to_the_next(
    rig: Rig, run_clock: RunClock
) -> None:
    contents = rig.offer_many(4)
    rig.tenant.faults.add(
        Fault(
            on="content",
            action="drip",
            content_id=contents[0].content_id,
            delay_s=0.2,
            pieces=3000,
            times=1,
        )
    )

    limits = Limits(connect=LONG, read=LONG, total=20 * LONG, grace=20 * LONG)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(rig.run, limits=limits)
        wait_for(lambda: len(rig.delivered()) == 3)
        run_clock.pass_deadline()
        first = run.result(LONG)

    assert (first.status, first.delivered, first.pending) == ("incomplete", 3, 1)
    assert rig.ledger()[contents[0].content_id].attempts == frozenset()

    assert rig.run().status == "succeeded"
    rig.assert_complete()


def test_a_backlog_that_takes_several_runs_goes_on_where_each_one_ended(
    rig: Rig, run_clock: RunClock
) -> None:
    rig.offer_many(30)
    rig.tenant.faults.add(Fault(on="content", action="slow", delay_s=0.2, times=-1))

    runs: list[RunSummary] = []
    with ThreadPoolExecutor(1) as pool:
        while not (runs and runs[-1].caught_up):
            assert len(runs) < 10
            enough = len(rig.delivered()) + 8
            run = pool.submit(rig.run, fetch_threads=2)
            wait_for(partial(_far_enough, rig, run, enough))
            run_clock.pass_deadline()
            runs.append(run.result(LONG))

    assert len(runs) > 1
    assert runs[0].status == "incomplete"
    assert sum(run.delivered for run in runs) == 30
    rig.assert_complete()
    assert rig.repeats() == 0


def _far_enough(rig: Rig, run: Future[RunSummary], delivered: int) -> bool:
    return run.done() or len(rig.delivered()) >= delivered
