"""A process that begins with a clock of its own goes by the one that an earlier process learnt."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from local.tenant import Fault
from local.tenant.messages import http_date
from shared.sources.message_trace.row import SOURCE
from shared.times import parse_wire
from tests.tracing import MANY
from tests.waits import LONG

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from local.tenant.messages import Answer, Request
    from tests.harness import Rig
    from tests.tracing import TraceRig

AHEAD = timedelta(hours=3)
DAY = timedelta(days=1)


def answer_with_dates_ahead(rig: Rig, ahead: timedelta, answers: int) -> None:
    """Let the next answers of the audit service have a wrong date."""
    left = iter(range(answers))

    def spoil(request: Request, answer: Answer) -> None:
        asked = request.kind in ("subscriptions", "list", "content")
        if asked and next(left, None) is not None:
            answer.headers["Date"] = http_date(rig.tenant.now() + ahead)

    rig.tenant.mangle = spoil


@pytest.mark.parametrize("answers", [2, 3])
@pytest.mark.parametrize("days", [8.0, 2.5])
def test_a_few_answers_with_a_date_days_ahead_put_nothing_on_record(
    rig: Rig, days: float, answers: int
) -> None:
    today = rig.at_noon()
    rig.has_collected(hours_ago=13)
    rig.run()
    rig.offer_many(3)
    answer_with_dates_ahead(rig, days * DAY, answers)

    summary = rig.run()

    assert (summary.status, summary.gap_seconds, summary.lost) == ("succeeded", 0, 0)
    assert max(rig.states()) <= today
    assert "final" not in rig.states().values()
    assert parse_wire(summary.watermark) <= rig.tenant.now()
    rig.assert_complete()


def ended(worker: subprocess.Popen[str]) -> str:
    """What a process said of its run."""
    said, log = worker.communicate(timeout=5 * LONG)
    assert worker.returncode == 0, log
    return said


def test_the_first_window_of_a_new_process_ends_by_the_services_clock(rig: Rig) -> None:
    rig.tenant.advance(AHEAD)
    rig.has_collected(hours_ago=1)
    rig.run()
    assert abs(rig.checkpoint().offset - AHEAD.total_seconds()) < 60
    before = len(rig.tenant.books.requests("list"))
    rig.offer_many(3, hours_ago=0.1)
    # Nothing tells it the time before it lists.
    rig.tenant.faults.add(Fault(on="subscriptions", action="reset", times=-1))

    ended(rig.spawn())

    note = rig.tenant.books.requests("list")[before]
    (end,) = parse_qs(urlsplit(note.path).query)["endTime"]
    assert abs(parse_wire(end) - rig.tenant.now()) < timedelta(minutes=10)
    rig.assert_complete()


def test_a_pause_until_a_time_is_as_long_in_a_new_process_as_the_service_means_it(
    mail: Callable[..., TraceRig],
) -> None:
    rig = mail()
    rig.pass_time(hours=3)
    rig.trace_until_caught_up()
    assert abs(rig.checkpoint(SOURCE).offset - AHEAD.total_seconds()) < 60
    rig.tenant.trace.offer(count=3, received=rig.ago(minutes=20))
    rig.tenant.faults.add(
        Fault(on="trace", action="throttle", retry_after=2, retry_after_date=True)
    )

    said = ended(rig.spawn(SOURCE, settings=MANY))

    # By its own clock it would be one of hours, which no run waits for.
    assert '"status":"succeeded"' in said
    assert '"throttled":1' in said
    rig.assert_trace_complete()
