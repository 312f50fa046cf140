"""One measured process: ``python -m local.bench.child``, steered by JSON lines on standard input.

The first line is a ``Task``. The process warms up and says ``{"warm": true}``; every further line lets it do its work
once, timed, and answer with a ``Reading``. It ends with its standard input, in the middle of its work too.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import queue
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import msgspec

from local.bench.loops import Access, BareLoop, Loop, PlainLoop, producer_options
from local.host import peak_memory_mb

COLLECTOR, BARE, PLAIN = "collector", "bare", "plain"


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is to measure.

    Attributes:
        kind: ``collector``, ``bare`` or ``plain``.
        settings: app settings that reach the tenant, storage and the hub.
        hub: see ``BenchRig.hub``.
        sources: what the collector collects, at the same time.
        warm_sources: what it collects before the clock starts.
        token: for the loops.
        uris: contents that a loop collects.
        warm_uris: contents that it collects before the clock starts.
    """

    kind: str
    settings: dict[str, str]
    hub: dict[str, str]
    sources: list[str] = []
    warm_sources: list[str] = []
    token: str = ""
    uris: list[str] = []
    warm_uris: list[str] = []


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


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What a subject says of its work."""

    events: int
    bytes: int
    contents: int
    problem: str = ""


class Subject(Protocol):
    """What is measured."""

    def warm_up(self) -> None:
        """Import, connect, collect first contents."""
        ...

    def work(self) -> Done:
        """Do what is timed."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class Collector:
    """The collector itself, as a function app runs it: settings in, everything else by its own defaults."""

    def __init__(self, task: Task) -> None:
        from shared.app import App, tuning_of
        from shared.publish.event_hubs import EventHubSink
        from shared.sources.registry import load

        settings = load(task.settings)
        self._task = task
        # The app's own sink but for the address: the stand-in has a port of its own.
        self._sink = EventHubSink(
            task.hub["name"],
            connection_string=task.hub["connection_string"],
            send_timeout=tuning_of(settings).send_timeout,
            options=producer_options(task.hub, task.settings["M365_CA_FILE"]),
        )
        self._app = App(settings, sink=self._sink)

    def warm_up(self) -> None:
        """Run the feeds whose contents are for that."""
        if self._task.warm_sources:
            done = self._run(self._task.warm_sources)
            if done.problem or not done.events:
                raise RuntimeError(f"the warm-up failed: {done}")

    def work(self) -> Done:
        """Run the feeds once: from their leases to their closed run rows."""
        return self._run(self._task.sources)

    def close(self) -> None:
        """Close the connections."""
        self._sink.close()
        self._app.close()

    def _run(self, sources: list[str]) -> Done:
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


class Loops:
    """A loop beside the collector."""

    def __init__(self, task: Task) -> None:
        access = Access(
            token=task.token,
            ca_file=task.settings["M365_CA_FILE"],
            hub=task.hub,
            tenant_id=task.settings["M365_TENANT_ID"],
            source="Audit.Exchange",
        )
        self._task = task
        self._loop: Loop = BareLoop(access) if task.kind == BARE else PlainLoop(access)

    def warm_up(self) -> None:
        """Collect the contents that are for that."""
        self._loop.collect(self._task.warm_uris)

    def work(self) -> Done:
        """Collect the others."""
        events, size = self._loop.collect(self._task.uris)
        return Done(events=events, bytes=size, contents=len(self._task.uris))

    def close(self) -> None:
        """Close the connections."""
        self._loop.close()


def main() -> int:
    """Warm up, measure as often as told; returns the exit status."""
    # Function apps log warnings and worse, and so does this.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    task = msgspec.json.decode(lines.get(), type=Task)
    subject: Subject = Collector(task) if task.kind == COLLECTOR else Loops(task)
    subject.warm_up()
    _say({"warm": True})
    while lines.get() != b"end\n":
        _say(_measure(subject))
    subject.close()
    return 0


def _measure(subject: Subject) -> Reading:
    idle = resident_mb()
    wall, cpu = time.perf_counter(), time.process_time()
    done = subject.work()
    cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
    return Reading(
        cpu_s=cpu_s,
        wall_s=wall_s,
        events=done.events,
        bytes=done.bytes,
        contents=done.contents,
        idle_mb=idle,
        peak_mb=peak_memory_mb(),
        problem=done.problem,
    )


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


def _read(lines: queue.SimpleQueue[bytes]) -> None:
    # Not sys.stdin: its lock would be held while the interpreter ends.
    with open(0, "rb", closefd=False) as given:
        for line in given:
            lines.put(line)
    # Nobody is left to measure for.
    os._exit(0)


def _say(value: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
