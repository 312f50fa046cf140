"""Where a cloud has no message trace, its feed says so in each run row, and no other feed is concerned."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.sources.message_trace.row import SOURCE
from tests.harness import Rig

MakeRig = Callable[..., Rig]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"M365_CLOUD": "gcc-high", "M365_GRAPH_ENDPOINT": ""}, id="gcc-high"),
        pytest.param({"M365_CLOUD": "dod", "M365_GRAPH_ENDPOINT": ""}, id="dod"),
        pytest.param(
            {"M365_GRAPH_ENDPOINT": "https://microsoftgraph.chinacloudapi.cn"}, id="21vianet"
        ),
    ],
)
def test_a_cloud_without_the_trace_says_so_once_a_run_and_what_to_do(
    make_rig: MakeRig, settings: dict[str, str]
) -> None:
    rig = make_rig()
    rig.offer()

    for _ in range(2):
        summary = rig.run(SOURCE, settings=settings)
        assert (summary.status, summary.error_code) == ("failed", "trace-not-in-cloud")
        assert (summary.requests, rig.tenant.trace.books.refused()) == (0, {})

    rows = rig.run_rows(SOURCE)
    assert len(rows) == 2
    for row in rows:
        assert row["error"].count("no message trace") == 1
        assert "Take MessageTrace out of M365_SOURCES" in row["error"]
    assert rig.run(settings=settings).status == "succeeded"
    rig.assert_complete()
