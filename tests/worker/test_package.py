"""What azd and the workflow deploy: packed as each of them does, unpacked, and indexed by the worker alone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from shared.sources import registry
from tests.infra.test_values import packed
from tests.waits import LONG
from tests.worker.runtime import ROOT, result_of

if TYPE_CHECKING:
    from pathlib import Path

# The driver of the runtime is read by its place, so that nothing else of the project is to be found.
SCRIPT = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("driver", {str(ROOT / "local" / "worker.py")!r})
driver = importlib.util.module_from_spec(spec)
import sys
sys.modules["driver"] = driver
spec.loader.exec_module(driver)
import json
from pathlib import Path
worker = driver.Worker(Path(sys.argv[1]))
runs = {{}}
for function in worker.load():
    try:
        worker.run_timer(function)
        runs[function.name] = "ok"
    except driver.WorkerError as error:
        runs[function.name] = str(error)
worker.close()
print("RESULT " + json.dumps(runs))
"""


def tracked() -> list[str]:
    """Every file that git knows and that is there."""
    command = ["git", "ls-files", "-z"]
    done = subprocess.run(
        command, cwd=ROOT, check=True, timeout=LONG, capture_output=True, text=True
    )
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def zipped() -> set[str]:
    """What the workflow zips."""
    workflow = (ROOT / ".github" / "workflows" / "deploy.yml").read_text()
    (line,) = re.findall(r"zip -qr app\.zip (.*)", workflow)
    given = line.split()
    return {
        name
        for name in tracked()
        if any(name == each or name.startswith(f"{each}/") for each in given)
    }


def index(folder: Path, names: set[str]) -> Any:
    """The answers of the functions of a package that was put together from these files, each run once."""
    source, target = folder / "source", folder / "unpacked"
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    shutil.unpack_archive(shutil.make_archive(str(folder / "app"), "zip", source), target)
    host = json.loads((target / "host.json").read_text())
    assert host["version"] == "2.0"
    assert (target / "requirements.txt").read_text() == (ROOT / "requirements.txt").read_text()
    return result_of(SCRIPT, target, alone=True)


@pytest.mark.parametrize("way", ["azd", "workflow"])
def test_a_package_is_an_app_by_itself(way: str, tmp_path: Path) -> None:
    names = zipped() if way == "workflow" else packed(tmp_path / "listed", tracked())
    runs = index(tmp_path, names)
    assert set(runs) == {each.setting.lower() for each in registry.SOURCES}
    for message in runs.values():
        # It got as far as its settings, of which there are none.
        assert "M365_TENANT_ID" in message


def test_both_ways_pack_the_same(tmp_path: Path) -> None:
    assert packed(tmp_path, tracked()) == zipped()
