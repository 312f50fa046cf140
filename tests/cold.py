"""Cold processes of which five threads use every decoder at once, as timers do that start together.

``python -m tests.cold 20``: each process is forked off one that has imported the libraries and nothing of ours. Prints
how many ended well; the exit status is 1 where one did not.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

# The dear imports, made once.
import msgspec
import requests  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]
THREADS = 5
SWITCH_S = 1e-5
EXAMPLE = b'{"schema":1,"id":"a","state":"listed","watermark":"2026-11-27T00:00:00Z","trace":{},"subscription":{}}'


def uses() -> list[Callable[[bytes], object]]:
    """Every decoder that a module of ours holds, and what decodes the state that all feeds have."""
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "shared").rglob("*.py")
        if "Decoder(" in path.read_text()
    ]
    found = [value for name in names for value in vars(importlib.import_module(name)).values()]
    from shared.records import fields
    from shared.service import budget
    from shared.state import checkpoint

    return [
        *(each.decode for each in found if isinstance(each, msgspec.json.Decoder)),
        lambda data: checkpoint.decode(data, "checkpoint"),
        # Nothing else decodes what others wrote.
        lambda data: budget._decode(data),
        lambda data: fields(data, ("schema", "id")),
    ]


def use_all() -> None:
    """What one cold process does."""
    found = uses()
    assert len(found) >= 8
    sys.setswitchinterval(SWITCH_S)
    gate = threading.Barrier(THREADS)

    def use() -> None:
        gate.wait()
        for each in found:
            with contextlib.suppress(msgspec.MsgspecError):
                each(EXAMPLE)

    threads = [threading.Thread(target=use) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def ends_well() -> bool:
    """Whether a process that is forked now gets through."""
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(Exception):
            use_all()
            status = 0
        os._exit(status)
    return os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    wanted = int(sys.argv[1])
    well = sum(ends_well() for _ in range(wanted))
    print(well)
    sys.exit(well != wanted)
