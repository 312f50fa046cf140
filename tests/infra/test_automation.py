"""azure.yaml, its parameters and the workflows: well-formed, and about files and names that exist."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.infra import bicep
from tests.infra.terraform import TOOLS
from tests.waits import LONG

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
_READ = "import json, sys, yaml; print(json.dumps(yaml.load(sys.stdin, yaml.BaseLoader)))"


def read(path: Path) -> dict[str, Any]:
    """Read YAML, every scalar as text."""
    done = subprocess.run(
        [sys.executable, "-c", _READ],
        input=path.read_text(),
        env={**os.environ, "PYTHONPATH": str(TOOLS / "site")},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=True,
    )
    return dict(json.loads(done.stdout))


def scripts(document: Any) -> list[str]:
    """Every ``run`` in a document."""
    if isinstance(document, dict):
        own = [document["run"]] if isinstance(document.get("run"), str) else []
        return own + [each for value in document.values() for each in scripts(value)]
    if isinstance(document, list):
        return [each for value in document for each in scripts(value)]
    return []


def test_azd_finds_the_template_and_the_service() -> None:
    document = read(ROOT / "azure.yaml")
    infra = document["infra"]
    assert (ROOT / infra["path"] / f"{infra['module']}.bicep").is_file()
    service = document["services"]["collector"]
    assert service == {"project": ".", "language": "python", "host": "function"}
    app = (bicep.FOLDER / "modules" / "app.bicep").read_text()
    assert "'azd-service-name': 'collector'" in app


def test_an_azd_whose_down_removes_too_much_is_refused() -> None:
    """Before 1.24.1 it deletes the group of a namespace that was there before, before 1.31.2 others' deployments."""
    assert read(ROOT / "azure.yaml")["requiredVersions"] == {"azd": ">= 1.31.2"}


def test_the_parameters_of_azd_are_the_templates_own() -> None:
    given = json.loads((bicep.FOLDER / "main.parameters.json").read_text())["parameters"]
    text = (bicep.FOLDER / "main.bicep").read_text()
    assert set(given) <= set(re.findall(r"^param (\w+)", text, re.M))
    # azd finds the resource group by it.
    assert given["tags"]["value"]["azd-env-name"] == "${AZURE_ENV_NAME}"


@pytest.mark.parametrize("path", [ROOT / "azure.yaml", *WORKFLOWS], ids=lambda path: path.name)
def test_scripts_are_shell_and_name_files_that_exist(path: Path) -> None:
    for script in scripts(read(path)):
        shell = re.sub(r"\$\{\{.*?\}\}", "x", script)
        done = subprocess.run(
            ["bash", "-n"], input=shell, capture_output=True, text=True, timeout=LONG, check=False
        )
        assert done.returncode == 0, done.stderr
        for named in re.findall(r"(?<![\w/.$])(?:infra|\.ci)/[\w./-]+(?!\$)", script):
            assert (ROOT / named.rstrip("/")).exists(), named


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_trusts_nobody_more_than_it_must(path: Path) -> None:
    document = read(path)
    assert document["permissions"]["contents"] in ("read", "write")
    for script in scripts(document):
        # Text from outside reaches a script through the environment, never as part of it.
        assert "${{" not in script
    for job in document["jobs"].values():
        assert int(job["timeout-minutes"]) <= 60
    assert "secrets." not in path.read_text()


def test_a_fork_plans_what_it_deploys_and_edits_nothing() -> None:
    jobs = read(ROOT / ".github" / "workflows" / "deploy.yml")["jobs"]
    steps = [
        step
        for name in ("plan", "deploy")
        for step in jobs[name]["steps"]
        if "az deployment sub" in step.get("run", "")
    ]
    assert len(steps) == 2
    assert steps[0]["env"] == steps[1]["env"]
    assert {"M365_CLIENT_ID", "M365_PARAMETERS"} <= set(steps[0]["env"])
    for step in steps:
        assert "python3 scripts/parameters.py > parameters.json" in step["run"]
        assert "--parameters @parameters.json" in step["run"]


def test_what_is_zipped_is_what_the_app_needs() -> None:
    (script,) = (each for each in scripts(read(WORKFLOWS[0])) if "zip -qr" in each)
    zipped = re.search(r"zip -qr app\.zip (.*)", script)
    assert zipped is not None
    assert all((ROOT / each).exists() for each in zipped[1].split())
