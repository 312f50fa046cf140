"""Print through which modules of shared/ a value goes: a contentUri, a record, a trace row and an HTTP 403.

One feed runs against the local rig, with one content or row in it, under ``sys.setprofile`` in every thread. A function
has the value in hand when it is called with it, or gets it back from a function that it called. Each time its module is
written down, and before a call the module of its caller. An exception on its way up counts where it is handled next.

What carries the value: itself; text or bytes with it inside; a container of such; a dataclass, struct or exception with
such an attribute. *Rooms* are the distinct modules, *moves* the changes from one to another, thread after thread.

    .venv/bin/python -m scripts.walk [--list]
"""

from __future__ import annotations

import inspect
import logging
import sys
import tempfile
import threading
from dataclasses import fields, is_dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec

from local.azurite import Azurite
from local.certs import make_certs
from local.tenant import Fault
from tests.harness import EXCHANGE, ROOT, Rig, record
from tests.tracing import TraceRig, digest

if TYPE_CHECKING:
    from types import FrameType

SHARED = f"{ROOT / 'shared'}/"
Marks = list[Any]


def way_of(rig: Rig, source: str, marks: Marks) -> list[str]:
    """The modules that have one of the marks in hand while a feed runs, thread after thread."""
    marks = [*marks, *(mark.encode() for mark in marks if isinstance(mark, str))]
    ways: dict[int, list[str]] = {}

    def note(frame: FrameType, event: str, result: object) -> None:
        if event not in ("call", "return") or not frame.f_code.co_filename.startswith(SHARED):
            return
        if _carries(_arguments(frame) if event == "call" else result, marks):
            way = ways.setdefault(threading.get_ident(), [])
            way += _modules(frame.f_back, frame if event == "call" else None)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        rig.run(source)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return [name for name, _ in groupby(name for way in ways.values() for name in way)]


def _arguments(frame: FrameType) -> list[object]:
    names, varargs, keywords, found = inspect.getargvalues(frame)
    return [found[name] for name in (*names, varargs, keywords) if name in found]


def _modules(*frames: FrameType | None) -> list[str]:
    paths = [frame.f_code.co_filename for frame in frames if frame is not None]
    return [path[len(SHARED) : -len(".py")] for path in paths if path.startswith(SHARED)]


def _carries(value: Any, marks: Marks, levels: int = 1) -> bool:
    if isinstance(value, memoryview) and not value.readonly:
        # A buffer that is to be filled: what it holds was left there by something else.
        return False
    if isinstance(value, (bytes, bytearray, memoryview, msgspec.Raw)):
        return any(mark in bytes(value) for mark in marks if isinstance(mark, bytes))
    if isinstance(value, str):
        return any(mark in value for mark in marks if isinstance(mark, str))
    if isinstance(value, (list, tuple, set, frozenset, dict)):
        value = value.items() if isinstance(value, dict) else value
        return any(_carries(each, marks, levels) for each in value)
    if not isinstance(value, (BaseException, msgspec.Struct)) and not is_dataclass(value):
        return isinstance(value, int) and value in marks
    names = [each.name for each in fields(value)] if is_dataclass(value) else dir(value)
    held = [getattr(value, name, None) for name in names if not name.startswith("_")]
    return levels > 0 and _carries(held, marks, levels - 1)


def _content(rig: Rig) -> Marks:
    content = rig.offer(records=[record()])
    return [f"/audit/{content.content_id}", *(content.records or ())]


def _row(rig: Any) -> Marks:
    (row,) = rig.tenant.trace.offer(received=rig.ago(minutes=20))
    return [row.trace_id, known := digest(row.triple(0)), known.hex()]


def _refusal(rig: Rig) -> Marks:
    # Alone it would be asked for again with a new token; after a 401 it is the last word.
    rig.tenant.faults.add(Fault(on="subscriptions", action="status", status=401, times=1))
    rig.tenant.faults.add(Fault(on="subscriptions", action="status", code="AF10001", times=-1))
    return ["AF10001", 403]


def main() -> None:
    """Let each of them run once, and print where it went."""
    logging.disable()
    with tempfile.TemporaryDirectory() as folder, Azurite() as storage:
        at = make_certs(folder), storage.connection_string
        for name, rig, source, marks_of, which in (
            ("contentUri", Rig(*at), EXCHANGE, _content, slice(1)),
            ("record", Rig(*at), EXCHANGE, _content, slice(1, 2)),
            ("trace row", TraceRig(*at), "MessageTrace", _row, slice(3)),
            ("403", Rig(*at), EXCHANGE, _refusal, slice(2)),
        ):
            with rig:
                way = way_of(rig, source, marks_of(rig)[which])
            listed = ": " + " > ".join(way) if "--list" in sys.argv else ""
            print(f"{name}: {len(set(way))} rooms, {len(way) - 1} moves{listed}")


if __name__ == "__main__":
    main()
