"""Bicep: its files, and the compiler that judges and evaluates them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "infra" / "bicep"
TIMEOUT = 300


def files(folder: Path = FOLDER) -> list[Path]:
    """Every Bicep file."""
    return sorted(folder.rglob("*.bicep"))


def compiler() -> str | None:
    """Where Microsoft's compiler is: what BICEP names, or ``bicep`` on the PATH."""
    return os.environ.get("BICEP") or shutil.which("bicep")
