"""A quarter of a year of six feeds, with everything that can happen.

SOAK_SEED says which, SOAK_DAYS how long it is, SOAK_STATE in which folder it is kept: one that was interrupted goes on
where it was written down last.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from local.azurite import Azurite
from local.rig import make_ids
from local.tenant import SOURCES
from shared.sources.message_trace.row import SOURCE as TRACE
from tests.campaign import broken_connections
from tests.lifetime.judge import Judge
from tests.lifetime.kept import ACCOUNT, bring_back, go_on, keep
from tests.lifetime.life import Lifetime, Plan
from tests.lifetime.troubles import quarter
from tests.proxy import Proxy
from tests.soak.test_soak import print_table
from tests.tracing import TraceRig

if TYPE_CHECKING:
    from local.certs import Certs

pytestmark = pytest.mark.soak

SEED = int(os.environ.get("SOAK_SEED", "1"))
DAYS = float(os.environ.get("SOAK_DAYS", "90"))
STATE = os.environ.get("SOAK_STATE", "")
FEEDS = (*SOURCES, TRACE)


@pytest.mark.timeout(0)
def test_a_quarter_of_a_year_is_called_what_it_was(
    certs: Certs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Path(STATE or tmp_path) / f"life-{SEED}"
    begun, goes_on = time.monotonic(), bring_back(home)
    plan = Plan(
        sources=FEEDS,
        seed=SEED,
        days=DAYS,
        per_day=8,
        troubles=quarter(SEED, FEEDS, DAYS),
        share=0.01,
    )
    ids = {name: value for name, value in make_ids(f"life {SEED}").items() if name.endswith("_id")}
    with (
        broken_connections(),
        Azurite(location=home / ACCOUNT) as azurite,
        Proxy(azurite.blob_endpoint) as proxy,
        TraceRig(certs, azurite.connection_string, ids) as rig,
    ):
        through = azurite.connection_string.replace(azurite.blob_endpoint, proxy.endpoint)
        proxy.refuse(r"^(PUT|POST|DELETE|PATCH|MERGE) ", status=403)
        life = Lifetime(rig, plan, through)
        if goes_on:
            go_on(life, home)

        def between() -> None:
            Judge(life).judge()
            keep(life, azurite, home)
            with capsys.disabled():
                print(
                    f"\rday {life.age.days}, {time.monotonic() - begun:.0f} s ", end="", flush=True
                )

        life.live(between)
        judge = Judge(life)
        judge.judge()
        with capsys.disabled():
            print_table(f"A life of seed {SEED}", judge.table())
