"""Long campaigns: hundreds of kills, and a long backlog on which everything goes wrong now and then.

SOAK_KILLS, SOAK_CONTENTS and SOAK_SEED in the environment change their size and their chance.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from local.tenant import SOURCES
from tests.campaign import (
    Drained,
    Outcome,
    arm_mixed_faults,
    broken_connections,
    contents_at_hub,
    drain,
    kill_again_and_again,
)
from tests.harness import EXCHANGE, Rig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.azurite import Azurite
    from local.certs import Certs

pytestmark = pytest.mark.soak

KILLS = int(os.environ.get("SOAK_KILLS", "500"))
CONTENTS = int(os.environ.get("SOAK_CONTENTS", "3000"))
SEED = int(os.environ.get("SOAK_SEED", "1"))
RECORDS = 3
IN_FLIGHT = 4


def test_hundreds_of_kills_over_a_long_backlog_lose_nothing(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    rig.offer_many(120, records=RECORDS, hours_ago=160)
    began = time.monotonic()

    def progress(outcome: Outcome) -> None:
        if outcome.kills % 10 == 0 or outcome.kills == KILLS:
            at_hub = len(contents_at_hub(rig))
            with capsys.disabled():
                print(
                    f"\rkills {outcome.kills}/{KILLS}, at the hub {at_hub} contents, "
                    f"{time.monotonic() - began:.0f} s",
                    end="",
                    flush=True,
                )

    outcome = kill_again_and_again(
        rig, kills=KILLS, seed=SEED, in_flight=IN_FLIGHT, on_kill=progress
    )

    events = rig.events()
    bound = KILLS * IN_FLIGHT * RECORDS
    with capsys.disabled():
        print_table(
            "Kills",
            {
                "workers killed": outcome.kills,
                "killed while they fetched": outcome.busy,
                "killed with events not written down": outcome.in_flight,
                "contents offered": rig.tenant.visible()[EXCHANGE],
                "events offered": len(rig.expected()),
                "events at the hub": len(events),
                "distinct events at the hub": len(set(events)),
                "repeats": rig.repeats(),
                "repeats allowed": bound,
                "seconds": round(time.monotonic() - began),
            },
        )
    assert outcome.kills == KILLS
    assert outcome.busy >= KILLS // 2
    rig.assert_complete()
    assert rig.repeats() <= bound


def test_a_long_backlog_of_five_feeds_under_mixed_faults_drains_with_the_hub_equal_to_the_books(
    certs: Certs, azurite: Azurite, capsys: pytest.CaptureFixture[str]
) -> None:
    def progress(outcome: Drained) -> None:
        with capsys.disabled():
            print(
                f"\rround {outcome.rounds}, delivered {sum(outcome.delivered.values())}/{CONTENTS} "
                f"contents, {outcome.seconds:.0f} s",
                end="",
                flush=True,
            )

    spec = {"contents": CONTENTS, "records": 10, "record_bytes": 1000, "seed": SEED}
    fractions = {"relisted": 0.05, "duplicate_ids": 0.02}
    with broken_connections(), Rig(certs, azurite.connection_string, **spec, **fractions) as rig:
        arm_mixed_faults(rig)
        outcome = drain(rig, on_round=progress)
        rows = measured(rig, outcome)
        with capsys.disabled():
            print_table("Mixed faults", rows)
        rig.assert_complete()


def measured(rig: Rig, outcome: Drained) -> dict[str, int]:
    """What became of a backlog under faults."""
    events, requests, visible = rig.events(), rig.tenant.books.requests(), rig.tenant.visible()
    return {
        **{f"contents of {name}": visible[name] for name in SOURCES},
        "requests": len(requests),
        "requests met by a fault": sum(1 for note in requests if note.fault),
        "sends met by a fault": rig.hubs.stats.faults,
        "events offered": len(rig.expected()),
        "events at the hub": len(events),
        "distinct events at the hub": len(set(events)),
        "repeats": len(events) - len(set(events)),
        "rounds": outcome.rounds,
        **{f"runs: {how}": number for how, number in sorted(outcome.statuses.items())},
        "seconds": round(outcome.seconds),
    }


def print_table(title: str, rows: Mapping[str, int]) -> None:
    """Print what a campaign measured."""
    width = max(map(len, rows))
    print(f"\n\n{title}")
    for name, number in rows.items():
        print(f"  {name:<{width}}  {number:>9,}")
