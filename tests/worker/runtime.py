"""Runs a script under Microsoft's runtime in a process of its own, since the runtime keeps one app per process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.waits import LONG

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]


def result_of(
    script: str,
    directory: Path,
    *more: str,
    settings: Mapping[str, str] | None = None,
    alone: bool = False,
) -> Any:
    """What a script prints after ``RESULT``, as JSON; it is given the directory of an app, and more.

    With ``alone`` nothing of the project is there beside the directory.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("M365_", "AUDIT_"))}
    places = [str(directory)] if alone else [str(directory), str(ROOT)]
    done = subprocess.run(
        [sys.executable, "-c", script, str(directory), *more],
        cwd="/",
        env={**environment, "PYTHONPATH": os.pathsep.join(places), **(settings or {})},
        capture_output=True,
        text=True,
        timeout=10 * LONG,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stderr
    return json.loads(lines[0].removeprefix("RESULT "))
