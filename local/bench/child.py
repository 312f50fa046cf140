"""One measured process: ``python -m local.bench.child``, steered by JSON lines on standard input.

The first line is a ``Task``. Every further line is work: what to collect, timed, and answered with a ``Reading``.
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import logging
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import msgspec
from azure.core.pipeline.transport import RequestsTransport

from local.bench.loops import BareLoop, FullLoop, Loop, PlainLoop, Reading
from local.host import memory_mb
from local.tether import orders
from shared.app import App
from shared.sources.registry import load

COLLECTOR, BARE, FULL, PLAIN = "collector", "bare", "full", "plain"


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is to measure."""

    kind: str
    settings: dict[str, str]  # that reach the tenant, storage and the hub
    token: str  # for the loops


class Collector:
    """The collector itself, as a function app runs it: settings in, everything else by its own defaults."""

    def __init__(self, settings: dict[str, str], _token: str) -> None:
        self._app = App(load(settings))
        self._operations, self._logged = _count_operations(), _LoggedBytes()
        # As function_app.py and host.json have it.
        logging.getLogger().addHandler(self._logged)
        logging.getLogger("m365").setLevel(logging.INFO)

    def collect(self, sources: list[str]) -> Reading:
        """Run the feeds once, at the same time: from their leases to their closed run rows."""
        operations, logged = next(self._operations), self._logged.bytes
        with ThreadPoolExecutor(len(sources)) as pool:
            summaries = list(chain.from_iterable(pool.map(self._app.run, sources)))
        wrong = [f"{s.source}: {s.status} {s.error}" for s in summaries if s.status != "succeeded"]
        if wrong:
            raise RuntimeError("; ".join(wrong))
        return Reading(
            events=sum(each.records for each in summaries),
            bytes=sum(each.bytes for each in summaries),
            contents=sum(each.delivered for each in summaries),
            requests=sum(each.requests for each in summaries),
            storage_operations=next(self._operations) - operations - 1,
            log_bytes=self._logged.bytes - logged,
        )


class _LoggedBytes(logging.Handler):
    """Counts what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count a line."""
        self.bytes += len(record.getMessage().encode())


def _count_operations() -> itertools.count[int]:
    """A count of requests to storage; whoever asks it counts as well."""
    counted, send = itertools.count(), RequestsTransport.send

    def counting(transport: RequestsTransport, request: Any, **options: Any) -> Any:
        if "core.windows.net" in request.url or "devstoreaccount1" in request.url:
            next(counted)
        return send(transport, request, **options)

    RequestsTransport.send = counting
    return counted


_SUBJECTS: dict[str, type[Collector | Loop]] = {
    COLLECTOR: Collector,
    BARE: BareLoop,
    FULL: FullLoop,
    PLAIN: PlainLoop,
}


def main() -> None:
    """Measure as often as told, until standard input ends."""
    # Function apps log warnings and worse, and so does this.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    logging.getLogger().handlers[0].setLevel(logging.WARNING)
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
