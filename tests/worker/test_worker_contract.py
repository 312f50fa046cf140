"""The app under Microsoft's own Functions runtime: indexed, loaded and invoked as in Azure.

The runtime keeps one app per process, so each case is a process of its own.
"""

from __future__ import annotations

import textwrap
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from local.tenant import SOURCES
from shared.sources import registry
from tests.harness import TRACE_HUB, Rig
from tests.worker.runtime import ROOT, result_of

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import json, sys
from pathlib import Path
from local.worker import Worker, WorkerError

worker = Worker(Path(sys.argv[1]))
out = {"functions": {}, "runs": {}}
try:
    functions = worker.load()
except WorkerError as error:
    out["error"] = str(error)
    functions = []
for function in functions:
    out["functions"][function.name] = list(function.bindings)
    if len(sys.argv) > 2:
        try:
            worker.run_timer(function)
            out["runs"][function.name] = "ok"
        except WorkerError as error:
            out["runs"][function.name] = str(error)
worker.close()
print("RESULT " + json.dumps(out))
"""


def drive(directory: Path, *, run: bool = False, settings: dict[str, str] | None = None) -> Any:
    """Load an app with the runtime, and run each of its timers where asked to."""
    return result_of(SCRIPT, directory, *(["run"] if run else []), settings=settings)


def test_the_runtime_finds_one_timer_a_source_without_any_setting() -> None:
    found = drive(ROOT)

    assert "error" not in found
    assert set(found["functions"]) == {each.setting.lower() for each in registry.SOURCES}
    for name, (binding,) in found["functions"].items():
        assert binding["type"] == "timerTrigger"
        assert binding["schedule"] == f"%{name.upper()}_SCHEDULE%"
        assert binding["runOnStartup"] is False


def test_each_timer_runs_and_delivers(rig: Rig) -> None:
    for source in SOURCES:
        rig.offer(source)
    (row,) = rig.tenant.trace.offer(received=rig.tenant.now() - timedelta(minutes=30))

    found = drive(ROOT, run=True, settings=rig.values())

    assert found["runs"] == {each.setting.lower(): "ok" for each in registry.SOURCES}
    rig.assert_complete()
    assert rig.repeats() == 0
    assert [each.properties["content_id"] for each in rig.hubs.events(TRACE_HUB)] == [row.trace_id]


def test_a_missing_setting_fails_the_run_with_every_problem_named_and_not_the_app() -> None:
    found = drive(ROOT, run=True)

    assert len(found["functions"]) == len(registry.SOURCES)
    for message in found["runs"].values():
        for setting in ("M365_TENANT_ID", "M365_EVENTHUB_NAMESPACE", "M365_STORAGE_ACCOUNT"):
            assert setting in message


@pytest.mark.parametrize(
    "mistake",
    [
        pytest.param("import os\nos.environ['NOT_SET']", id="settings-read-at-import"),
        pytest.param(
            "def twin(timer: func.TimerRequest) -> None: ...\n"
            "for _ in range(2):\n"
            "    app.timer_trigger(arg_name='timer', schedule='0 * * * * *')(twin)",
            id="two-functions-of-one-name",
        ),
        pytest.param(
            "@app.timer_trigger(arg_name='other', schedule='0 * * * * *')\n"
            "def odd(timer: func.TimerRequest) -> None: ...",
            id="a-parameter-that-is-not-bound",
        ),
    ],
)
def test_the_contract_notices_what_would_take_every_function_down(
    tmp_path: Path, mistake: str
) -> None:
    app = f"import azure.functions as func\napp = func.FunctionApp()\n{mistake}\n"
    (tmp_path / "function_app.py").write_text(textwrap.dedent(app))
    (tmp_path / "host.json").write_text('{"version": "2.0"}')

    assert drive(tmp_path).get("error")
