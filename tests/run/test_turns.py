"""Feeds that take all of their time keep no other from having its turn, and no run beyond its own end."""

from __future__ import annotations

import functools
import heapq
import json
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from local.tenant import Fault
from shared import app as app_module
from shared.app import App
from shared.run.turns import Turns
from shared.sources.registry import load
from shared.state.run_summary import RunSummary
from tests.harness import EXCHANGE, FAST, Rig

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.run.context import Feed, Parts, Tuning

RUN, TIMEOUT, OVERRUN = 960.0, 1200.0, 150.0
"""Seconds: of a run, of ``functionTimeout``, and of a feed that hangs beyond its share."""


def played(taken: list[Callable[[float], float]], workers: int = 4) -> tuple[list[int], float]:
    """Feeds, each with what it makes of its share, through the turns of a run: which were begun, and the end."""
    now = [0.0]
    turns = Turns(RUN, len(taken), workers=workers, clock=lambda: now[0])
    free = [0.0] * workers
    begun: list[int] = []
    for number, takes in enumerate(taken):
        now[0] = heapq.heappop(free)
        share = turns.take()
        if share is not None:
            begun.append(number)
        heapq.heappush(free, now[0] + (0.0 if share is None else takes(share)))
    return begun, max(free)


def test_a_hundred_feeds_that_hang_end_within_the_time_of_the_function() -> None:
    begun, end = played([lambda share: share + OVERRUN] * 100)

    assert end <= TIMEOUT
    assert len(begun) >= 4 * 5


def test_those_that_take_their_share_leave_theirs_to_all_others() -> None:
    begun, end = played([lambda share: share] * 100)

    assert begun == list(range(100))
    assert end <= RUN + 1


@pytest.mark.parametrize("feeds", [1, 4])
def test_where_there_is_a_worker_for_each_feed_each_has_all_of_the_time(feeds: int) -> None:
    turns = Turns(RUN, feeds, workers=4, clock=lambda: 0.0)

    assert [turns.take() for _ in range(feeds)] == [RUN] * feeds


def test_what_nobody_needed_is_the_last_ones() -> None:
    shares: list[float] = []

    def quick(share: float) -> float:
        shares.append(share)
        return 1.0

    played([quick] * 8, workers=1)

    assert shares[0] == RUN / 8
    assert shares[-1] == RUN - 7


def test_a_feed_that_had_no_turn_is_first_in_the_next_run(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes twice its share; not even a new process forgets whose turn it was."""
    now, ran = [0.0], list[str]()

    def run_feed(feed: Feed, parts: Parts, tuning: Tuning) -> RunSummary:
        ran.append(feed.connection)
        now[0] += 2 * max(1.0, tuning.run_seconds)
        return RunSummary(
            connection=feed.connection,
            tenant_id=feed.tenant_id,
            source=feed.source,
            run="r",
            started="",
        )

    monkeypatch.setattr(app_module, "PARALLEL_FEEDS", 1)
    monkeypatch.setattr(app_module, "run_feed", run_feed)
    monkeypatch.setattr(app_module, "Turns", functools.partial(Turns, clock=lambda: now[0]))
    names = [f"t{number}" for number in range(6)]
    settings = load(several(rig, dict.fromkeys(names, rig), fresh=True))

    for _ in range(3):
        app = App(settings, tuning=replace(FAST, run_seconds=60.0))
        summaries = app.run(EXCHANGE)
        app.close()
        assert 0 < len(summaries) < 6

    rounds = [ran[start : start + 6] for start in range(0, len(ran), 6)]
    assert len(rounds) >= 2
    assert all(each == names[: len(each)] for each in rounds)


def test_tenants_that_hang_do_not_starve_those_that_answer(
    make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "PARALLEL_FEEDS", 2)
    rigs = {name: make_rig() for name in ("bad1", "bad2", "bad3", "good1", "good2")}
    for name, rig in rigs.items():
        rig.has_collected()
        if name.startswith("bad"):
            for kind in ("subscriptions", "list"):
                rig.tenant.faults.add(Fault(on=kind, action="hang", delay_s=60, times=-1))
        else:
            rig.offer_many(2)
            for kind in ("subscriptions", "list"):
                rig.tenant.faults.add(Fault(on=kind, action="slow", delay_s=0.5, times=-1))
    good = [rigs["good1"], rigs["good2"]]
    tuning = replace(FAST, run_seconds=15.0, limits=replace(FAST.limits, read=2.0))
    app = App(load(several(good[0], rigs)), tuning=tuning)

    for _ in range(3):
        app.run(EXCHANGE)
    app.close()

    arrived = set(good[0].events())
    assert all(set(rig.expected()) <= arrived for rig in good)


def several(first: Rig, rigs: dict[str, Rig], *, fresh: bool = False) -> dict[str, str]:
    """Settings with several tenants, one hub and one storage account; with ``fresh`` each has an id of its own."""
    connections = [
        {
            "name": name,
            "tenant_id": str(uuid.uuid4()) if fresh else rig.tenant.spec.tenant_id,
            "client_id": rig.tenant.spec.client_id,
            "client_secret_setting": "M365_CLIENT_SECRET",
            "login_endpoint": rig.server.endpoint,
            "management_endpoint": rig.server.endpoint,
            "sources": [EXCHANGE],
        }
        for name, rig in rigs.items()
    ]
    values = first.values(M365_CONNECTIONS=json.dumps(connections))
    own = (
        "_TENANT_ID",
        "_CLIENT_ID",
        "LOGIN_ENDPOINT",
        "MANAGEMENT_ENDPOINT",
        "GRAPH_ENDPOINT",
        "REPORTING_ENDPOINT",
    )
    return {name: value for name, value in values.items() if not name.endswith(own)}
