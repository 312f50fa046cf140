"""Bicep as data: every file of infra/bicep, parsed in a process of its own with a time limit.

The parser is a third party's and can hang on what it does not know, and it must not reach the environment that the
tests run in. What it found is kept by the file's content.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.infra.arm_models import shapes

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".cache" / "infra"
FOLDER = ROOT / "infra" / "bicep"
TIMEOUT = 300

# What the parser does not know: a condition that goes on in the next line, and the type of a map.
_CONTINUED = re.compile(r"\n *([?:] )")
_MAP = "{ *: string }"

_PROGRAM = """
import json, sys
from pycep import BicepParser
try:
    print(json.dumps(BicepParser().parse(text=sys.stdin.read()), default=str))
except Exception as error:
    sys.exit(str(error).partition("Expected one of")[0])
"""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource declaration.

    Attributes:
        where: file and symbol.
        type: without its version.
        version: API version.
        existing: only referred to, not made.
        config: the body, as the parser gives it; of a loop, that of one of its items.
    """

    where: str
    type: str
    version: str
    existing: bool
    config: dict[str, Any]


def files(folder: Path = FOLDER) -> list[Path]:
    """Every Bicep file."""
    return sorted(folder.rglob("*.bicep"))


def compiler() -> str | None:
    """Where Microsoft's compiler is: what BICEP names, or ``bicep`` on the PATH."""
    return os.environ.get("BICEP") or shutil.which("bicep")


def parse(path: Path) -> dict[str, Any]:
    """Parse a file.

    Raises:
        ValueError: it is not Bicep, with line and column.
    """
    text = _CONTINUED.sub(r" \1", path.read_text()).replace(_MAP, "object")
    kept = TOOLS / "bicep" / f"{sha256(text.encode()).hexdigest()[:24]}.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input=text,
        env={**os.environ, "PYTHONPATH": str(TOOLS / "site")},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise ValueError(f"{path.name}: {done.stderr.strip()}")
    kept.parent.mkdir(parents=True, exist_ok=True)
    draft = kept.with_suffix(f".{os.getpid()}")
    draft.write_text(done.stdout)
    draft.replace(kept)
    return dict(json.loads(done.stdout))


def resources(path: Path) -> Iterator[Resource]:
    """Every resource of a file."""
    for symbol, each in parse(path).get("resources", {}).items():
        yield Resource(
            where=f"{path.name}: {symbol}",
            type=each["type"],
            version=each["api_version"],
            existing=each["existing"],
            config=dict(next(shapes(each["config"]))),
        )
