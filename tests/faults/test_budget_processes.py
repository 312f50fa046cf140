"""Five feeds in five processes share one tenant's request budget."""

from __future__ import annotations

import threading
from itertools import count
from typing import TYPE_CHECKING, Any

from local.tenant import SOURCES
from local.tenant.subscriptions import Quota
from tests.waits import LONG

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from tests.harness import Rig

BUDGET = 40


def test_five_processes_never_ask_more_often_than_the_one_budget_allows(
    make_rig: Callable[..., Rig],
) -> None:
    # The tenant itself refuses what goes beyond the budget.
    rig = make_rig(requests_per_minute=BUDGET)
    two, asked_so_far = threading.Barrier(2), count()

    def wait_for_a_second(*_: Any) -> None:
        # The one that starts first must not have used up all of it before another one has started.
        if next(asked_so_far) < two.parties:
            two.wait(LONG)

    rig.tenant.mangle = wait_for_a_second
    for source in SOURCES:
        rig.offer_many(30, source, records=2, hours_ago=150)

    workers = [
        rig.spawn(
            source,
            tuning={"run_seconds": 5},
            settings={"M365_REQUESTS_PER_MINUTE": str(BUDGET)},
        )
        for source in SOURCES
    ]
    for worker in workers:
        finish(worker)

    books = rig.tenant.books
    # There was work for several times the budget, and it was used up.
    assert len(books.requests("subscriptions", "start", "list", "content")) >= BUDGET * 0.6
    assert books.max_requests_in(60) <= BUDGET
    assert not [note for note in books.requests() if note.status in (403, 429)]
    asked = []
    for source in SOURCES:
        rig.assert_nothing_claimed_early(source)
        (row,) = rig.run_rows(source)
        assert row["throttled"] == 0
        assert row["status"] in ("incomplete", "succeeded")
        asked.append(row["requests"])
    # Whoever starts last may find it used up, but it was shared.
    assert sum(number > 0 for number in asked) > 1

    rig.tenant.quota = Quota(None, rig.tenant.now)
    for source in SOURCES:
        assert rig.run(source, settings={"M365_REQUESTS_PER_MINUTE": "100000"}).caught_up
    rig.assert_complete()
    assert rig.repeats() == 0


def finish(worker: subprocess.Popen[str]) -> None:
    output, errors = worker.communicate(timeout=5 * LONG)
    assert worker.returncode == 0, f"{output}\n{errors[-2000:]}"
