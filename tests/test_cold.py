"""Timers of one process start together: whatever they use for the first time, they may all use at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.harness import ROOT
from tests.waits import LONG


@pytest.mark.parametrize("processes", [20, pytest.param(1000, marks=pytest.mark.soak)])
def test_cold_processes_survive_that_threads_decode_at_once(processes: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.cold", str(processes)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=10 * (LONG + processes),
    )

    assert (done.returncode, done.stdout.strip()) == (0, str(processes)), done.stderr
