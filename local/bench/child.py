"""One measured process: ``python -m local.bench.child``, steered by JSON lines on standard input.

The first line is a ``Task``. Every further line is work: what to collect, timed, and answered with a ``Reading``.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import msgspec

from local.bench.loops import BareLoop, Loop, PlainLoop, Reading
from local.host import memory_mb
from local.tether import orders
from shared.app import App
from shared.sources.registry import load

COLLECTOR, BARE, PLAIN = "collector", "bare", "plain"


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is to measure."""

    kind: str
    settings: dict[str, str]  # that reach the tenant, storage and the hub
    token: str  # for the loops


class Collector:
    """The collector itself, as a function app runs it: settings in, everything else by its own defaults."""

    def __init__(self, settings: dict[str, str], _token: str) -> None:
        self._app = App(load(settings))

    def collect(self, sources: list[str]) -> Reading:
        """Run the feeds once, at the same time: from their leases to their closed run rows."""
        with ThreadPoolExecutor(len(sources)) as pool:
            summaries = list(chain.from_iterable(pool.map(self._app.run, sources)))
        wrong = [f"{s.source}: {s.status} {s.error}" for s in summaries if s.status != "succeeded"]
        if wrong:
            raise RuntimeError("; ".join(wrong))
        return Reading(
            events=sum(each.records for each in summaries),
            bytes=sum(each.bytes for each in summaries),
            contents=sum(each.delivered for each in summaries),
        )


_SUBJECTS: dict[str, type[Collector | Loop]] = {
    COLLECTOR: Collector,
    BARE: BareLoop,
    PLAIN: PlainLoop,
}


def main() -> None:
    """Measure as often as told, until standard input ends."""
    # Function apps log warnings and worse, and so does this.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    lines = orders()
    task = msgspec.json.decode(lines.get(), type=Task)
    subject = _SUBJECTS[task.kind](task.settings, task.token)
    while True:
        reading = _measure(subject, msgspec.json.decode(lines.get(), type=list[str]))
        print(msgspec.json.encode(reading).decode(), flush=True)


def _measure(subject: Collector | Loop, work: list[str]) -> Reading:
    gc.collect()
    # Memory that the warm-up left behind would otherwise make the peak look lower; not every libc can trim.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    idle, wall, cpu = memory_mb("VmRSS"), time.perf_counter(), time.process_time()
    done = subject.collect(work)
    return msgspec.structs.replace(
        done,
        cpu_s=time.process_time() - cpu,
        wall_s=time.perf_counter() - wall,
        idle_mb=idle,
        peak_mb=memory_mb("VmHWM"),
    )


if __name__ == "__main__":
    main()
