"""One measured process: ``python -m local.bench.child``, steered by JSON lines on standard input.

The first line is a ``Task``. The process warms up and says so; every further line lets it do its work once, timed, and
answer with a ``Reading``, until the line is empty.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from local.bench.loops import BareLoop, Done, Loop, PlainLoop, producer_options
from local.host import peak_memory_mb
from local.tether import orders

COLLECTOR, BARE, PLAIN = "collector", "bare", "plain"


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is to measure.

    Attributes:
        kind: ``collector``, ``bare`` or ``plain``.
        settings: app settings that reach the tenant, storage and the hub.
        hub: see ``BenchRig.hub``.
        work: what is timed: the sources that the collector collects, at the same time, or a loop's addresses.
        warm: the same, before the clock starts.
        token: for the loops.
    """

    kind: str
    settings: dict[str, str]
    hub: dict[str, str]
    work: list[str]
    warm: list[str] = []
    token: str = ""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured.

    Attributes:
        cpu_s: CPU seconds of this process, all threads.
        wall_s: seconds.
        events: events published and, by the collector, acknowledged and written down.
        bytes: sum of the records' sizes.
        contents: contents delivered.
        idle_mb: resident memory before.
        peak_mb: the most memory that the process has had resident.
        problem: why this is no figure, "" where it is one.
    """

    cpu_s: float
    wall_s: float
    events: int
    bytes: int
    contents: int
    idle_mb: float
    peak_mb: float
    problem: str = ""


class Collector:
    """The collector itself, as a function app runs it: settings in, everything else by its own defaults."""

    def __init__(self, task: Task) -> None:
        from shared.app import App, tuning_of
        from shared.config.settings import load
        from shared.publish.event_hubs import EventHubSink

        settings = load(task.settings)
        # The app's own sink but for the address: the stand-in has a port of its own.
        self._sink = EventHubSink(
            task.hub["name"],
            connection_string=task.hub["connection_string"],
            send_timeout=tuning_of(settings).send_timeout,
            options=producer_options(task.hub, task.settings["M365_CA_FILE"]),
        )
        self._app = App(settings, sink=self._sink)

    def collect(self, sources: list[str]) -> Done:
        """Run the feeds once: from their leases to their closed run rows."""
        if len(sources) == 1:
            summaries = self._app.run(sources[0])
        else:
            with ThreadPoolExecutor(len(sources)) as pool:
                summaries = [one for found in pool.map(self._app.run, sources) for one in found]
        wrong = [f"{s.source}: {s.status} {s.error}" for s in summaries if s.status != "succeeded"]
        return Done(
            events=sum(each.records for each in summaries),
            bytes=sum(each.bytes for each in summaries),
            contents=sum(each.delivered for each in summaries),
            problem="; ".join(wrong),
        )

    def close(self) -> None:
        """Close the connections."""
        self._sink.close()
        self._app.close()


def main() -> int:
    """Warm up, measure as often as told; returns the exit status."""
    # Function apps log warnings and worse, and so does this.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    lines = orders()
    task = msgspec.json.decode(lines.get(), type=Task)
    subject = Collector(task) if task.kind == COLLECTOR else _loop(task)
    if task.warm:
        done = subject.collect(task.warm)
        if done.problem or not done.events:
            raise RuntimeError(f"the warm-up failed: {done}")
    _say({"warm": True})
    while lines.get():
        _say(_measure(subject, task.work))
    subject.close()
    return 0


def _loop(task: Task) -> Loop:
    return (BareLoop if task.kind == BARE else PlainLoop)(task.settings, task.hub, task.token)


def _measure(subject: Collector | Loop, work: list[str]) -> Reading:
    idle = resident_mb()
    wall, cpu = time.perf_counter(), time.process_time()
    done = subject.collect(work)
    cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
    peak = peak_memory_mb()
    return Reading(cpu_s=cpu_s, wall_s=wall_s, idle_mb=idle, peak_mb=peak, **done._asdict())


def resident_mb() -> float:
    """The memory that this process has resident, without what it has freed and only not yet given back."""
    gc.collect()
    if sys.platform == "linux":
        # Memory that the warm-up left behind would otherwise make the peak look lower; not every libc can trim.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
    status = Path("/proc/self/status")
    found = re.search(r"VmRSS:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return round(int(found[1]) / 1024, 1) if found else peak_memory_mb()


def _say(value: object) -> None:
    print(msgspec.json.encode(value).decode(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
