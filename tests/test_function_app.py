"""The app as the platform sees it: six timers, settings read late, packages that keep out of each other's way."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shared.sources.registry import SETTINGS, SOURCES
from tests.waits import LONG

ROOT = Path(__file__).resolve().parent.parent
HOST = json.loads((ROOT / "host.json").read_text(encoding="utf-8"))
DEFAULTS = {each.name: each.default for each in SETTINGS}
OURS = {"function_app", "functions", "shared", "local", "tests", "scripts"}

PROBE = """
import json, os, sys

class Watched(dict):
    read = set()
    def __getitem__(self, name):
        self.read.add(name)
        return super().__getitem__(name)
    def get(self, name, default=None):
        self.read.add(name)
        return super().get(name, default)
    def __contains__(self, name):
        self.read.add(name)
        return super().__contains__(name)

os.environ = Watched(FUNCTIONS_WORKER_RUNTIME="python")
os.getenv = os.environ.get
import function_app
from tests.waits import LONG
seen = {
    "read": sorted(Watched.read),
    "heavy": [name for name in ("azure.identity", "azure.eventhub") if name in sys.modules],
    "triggers": {
        each.get_function_name(): {
            name: str(value) for name, value in each.get_trigger().get_dict_repr().items()
        }
        for each in function_app.app.get_functions()
    },
}
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def app() -> dict[str, Any]:
    """What the app is and did when it was loaded, in a process without any environment."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=ROOT,
        env={},
        capture_output=True,
        text=True,
        timeout=5 * LONG,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# -- the timers


def test_the_app_has_exactly_the_six_timers_with_their_schedules_in_settings(
    app: dict[str, Any],
) -> None:
    assert {name: each["schedule"] for name, each in app["triggers"].items()} == {
        "audit_azure_active_directory": "%AUDIT_AZURE_ACTIVE_DIRECTORY_SCHEDULE%",
        "audit_exchange": "%AUDIT_EXCHANGE_SCHEDULE%",
        "audit_sharepoint": "%AUDIT_SHAREPOINT_SCHEDULE%",
        "audit_general": "%AUDIT_GENERAL_SCHEDULE%",
        "dlp_all": "%DLP_ALL_SCHEDULE%",
        "message_trace": "%MESSAGE_TRACE_SCHEDULE%",
    }


def test_every_trigger_is_a_timer_that_catches_up_and_does_not_run_at_startup(
    app: dict[str, Any],
) -> None:
    for each in app["triggers"].values():
        assert each["type"] == "timerTrigger"
        assert each["useMonitor"] == "True"
        assert each["runOnStartup"] == "False"


def field_values(text: str, low: int, high: int) -> set[int]:
    """The values of one field of an NCRONTAB expression."""
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\*|(\d+)(?:-(\d+))?)(?:/(\d+))?", part)
        assert match, f"not an NCRONTAB field: {text}"
        first = low if match[1] == "*" else int(match[2])
        last = high if match[1] == "*" else int(match[3] or match[2])
        assert low <= first <= last <= high
        found.update(range(first, last + 1, int(match[4] or 1)))
    return found


def test_every_schedule_is_a_valid_expression_of_six_fields_and_staggered_by_a_minute() -> None:
    ranges = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]
    for late, source in enumerate(SOURCES):
        fields = DEFAULTS[f"{source.setting}_SCHEDULE"].split()
        assert len(fields) == 6
        seconds, minutes, *rest = (
            field_values(each, *bounds) for each, bounds in zip(fields, ranges, strict=True)
        )
        assert seconds == {0}
        assert minutes == {late + 10 * tens for tens in range(6)}
        assert rest == [set(range(low, high + 1)) for low, high in ranges[2:]]


# -- host.json


def test_host_json_is_of_version_two_and_leaves_bundles_in_range() -> None:
    assert HOST["version"] == "2.0"
    assert HOST["extensionBundle"]["id"] == "Microsoft.Azure.Functions.ExtensionBundle"
    assert re.fullmatch(r"\[4\.\d+\.\d+, 5\.0\.0\)", HOST["extensionBundle"]["version"])


def test_a_run_takes_no_new_work_after_four_fifths_of_the_platforms_limit() -> None:
    hours, minutes, seconds = (int(part) for part in HOST["functionTimeout"].split(":"))
    limit = hours * 3600 + minutes * 60 + seconds

    assert limit * 0.8 == float(DEFAULTS["M365_RUN_SECONDS"])


def test_run_summaries_cannot_be_sampled_away() -> None:
    sampling = HOST["logging"]["applicationInsights"]["samplingSettings"]

    # A log line arrives as a Trace, and one of an error with an exception as an Exception.
    assert {"Trace", "Exception", "Request"} <= set(sampling["excludedTypes"].split(";"))
    assert HOST["logging"]["logLevel"]["Function"] == "Information"
    assert HOST["logging"]["logLevel"]["default"] == "Information"


# -- imports


def test_importing_the_app_reads_no_setting_and_loads_no_heavy_sdk(app: dict[str, Any]) -> None:
    ours = {name for name in app["read"] if name in DEFAULTS or name.startswith(("M365", "AZURE"))}

    assert ours == set()
    assert app["heavy"] == []


def imported(path: Path) -> set[str]:
    """The top-level packages that a module imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [
        pytest.param("shared", {"shared"}, id="shared-knows-nobody"),
        pytest.param("functions", {"functions", "shared"}, id="functions-know-shared"),
        pytest.param("local", {"local", "shared", "function_app"}, id="local-knows-shared"),
    ],
)
def test_dependencies_point_one_way(folder: str, allowed: set[str]) -> None:
    modules = sorted((ROOT / folder).rglob("*.py"))

    assert modules
    for path in modules:
        assert imported(path) & OURS <= allowed, path


def test_no_installed_package_has_the_name_of_one_of_ours() -> None:
    taken = importlib.metadata.packages_distributions()

    assert {name: taken[name] for name in OURS & set(taken)} == {}
