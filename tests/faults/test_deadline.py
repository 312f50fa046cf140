"""The deadline of a run: it ends in time, and nothing in hand is lost by it."""

from __future__ import annotations

import time

from local.tenant import Fault
from shared.service.http import Limits
from tests.harness import Rig


def test_a_body_that_drips_past_the_end_of_a_run_is_left_to_the_next(rig: Rig) -> None:
    contents = rig.offer_many(4)
    rig.tenant.faults.add(
        Fault(
            on="content",
            action="drip",
            content_id=contents[0].content_id,
            delay_s=0.2,
            pieces=200,
            times=1,
        )
    )
    started = time.monotonic()

    first = rig.run(run_seconds=3, limits=Limits(connect=2, read=2, total=60, grace=60))

    assert time.monotonic() - started < 12
    assert (first.status, first.delivered, first.pending) == ("incomplete", 3, 1)
    assert rig.ledger()[contents[0].content_id].attempts == frozenset()

    assert rig.run().status == "succeeded"
    rig.assert_complete()


def test_a_backlog_that_takes_several_runs_goes_on_where_each_one_ended(rig: Rig) -> None:
    rig.offer_many(30)
    rig.tenant.faults.add(Fault(on="content", action="slow", delay_s=0.3, times=-1))

    runs = rig.run_until(lambda run: run.caught_up, run_seconds=2, fetch_threads=2)

    assert len(runs) > 1
    assert runs[0].status == "incomplete"
    assert sum(run.delivered for run in runs) == 30
    rig.assert_complete()
    assert rig.repeats() == 0
