"""Bicep by its own compiler, where there is one: a program that BICEP names, or ``bicep`` on the PATH."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.infra import bicep

_DIAGNOSTIC = re.compile(r"^(.*?)\(\d+,\d+\) : (?:Warning|Error) .*$", re.M)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the compiler; skip where there is none."""
    program = bicep.compiler()
    if program is None:
        pytest.skip("there is no bicep in PATH, and BICEP names none")
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=bicep.TIMEOUT, check=False
    )


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Warnings and errors; what is only information, such as the age of a version, is none."""
    return [each[0] for each in _DIAGNOSTIC.finditer(done.stderr)]


def test_the_main_part_compiles_without_a_warning() -> None:
    """The linter's rules are those of bicepconfig.json; a build runs them too, in every module."""
    done = run("build", str(bicep.FOLDER / "main.bicep"), "--stdout")
    assert complaints(done) == []
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["resources"]


def test_the_compiler_sees_every_file() -> None:
    named = re.findall(r"^module \w+ '(.*)'", (bicep.FOLDER / "main.bicep").read_text(), re.M)
    parts = {"main.bicep", "identity/main.bicep"}
    assert {str(each.relative_to(bicep.FOLDER)) for each in bicep.files()} == {*named, *parts}


def test_the_identity_part_compiles_without_a_warning(tmp_path: Path) -> None:
    """With the Graph extension's types of the file that BICEP_GRAPH_TYPES names, else from Microsoft's registry."""
    folder = Path(shutil.copytree(bicep.FOLDER / "identity", tmp_path / "identity"))
    types = os.environ.get("BICEP_GRAPH_TYPES")
    if types:
        made = run("publish-extension", types, "--target", str(folder / "graph.tgz"))
        assert made.returncode == 0, made.stderr
        config = _config(folder)
        config["extensions"]["microsoftGraphV1"] = "./graph.tgz"
        (folder / "bicepconfig.json").write_text(json.dumps(config))
    done = run("build", str(folder / "main.bicep"), "--stdout")
    if "BCP192" in done.stderr:
        pytest.skip("the Graph extension is not to be had: no registry, and no BICEP_GRAPH_TYPES")
    assert complaints(done) == []
    assert done.returncode == 0, done.stderr


def test_every_file_is_formatted(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bicep.FOLDER, tmp_path / "bicep"))
    done = run("format", "--pattern", str(folder / "**" / "*.bicep"))
    assert done.returncode == 0, done.stderr
    for path in bicep.files():
        copy = folder / path.relative_to(bicep.FOLDER)
        assert copy.read_text() == path.read_text(), f"bicep format {path}"


def test_a_misspelt_property_is_a_warning(tmp_path: Path) -> None:
    """Only a version that the compiler has types for is checked at all."""
    folder = Path(shutil.copytree(bicep.FOLDER.parent, tmp_path / "infra")) / "bicep"
    app = folder / "modules" / "app.bicep"
    app.write_text(app.read_text().replace("scaleAndConcurrency:", "scaleAndConcurency:"))
    assert any("BCP" in each for each in complaints(run("build", str(app), "--stdout")))


def test_both_parts_are_held_to_the_same_rules() -> None:
    """The compiler takes the nearest file alone."""
    main, identity = (_config(folder) for folder in (bicep.FOLDER, bicep.FOLDER / "identity"))
    assert identity.pop("extensions")
    assert main == identity


def _config(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "bicepconfig.json").read_text()))
