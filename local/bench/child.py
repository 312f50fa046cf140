"""One measured process: ``python -m local.bench.child``, steered by JSON lines on standard input.

The first line is a ``Task``. The process warms up and says so; every further line lets it do its work once, timed, and
answer with a ``Reading``, until the line is empty.
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

from local.bench.loops import BareLoop, Loop, PlainLoop, Reading, producer_options
from local.host import memory_mb
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


class Collector:
    """The collector itself, as a function app runs it: settings in, everything else by its own defaults."""

    def __init__(self, task: Task) -> None:
        from shared.app import App, tuning_of
        from shared.publish.event_hubs import EventHubSink
        from shared.sources.registry import load

        settings = load(task.settings)
        # The app's own sink but for the address: the stand-in has a port of its own.
        self._sink = EventHubSink(
            task.hub["name"],
            connection_string=task.hub["connection_string"],
            send_timeout=tuning_of(settings).send_timeout,
            options=producer_options(task.hub, task.settings["M365_CA_FILE"]),
        )
        self._app = App(settings, sink=self._sink)

    def collect(self, sources: list[str]) -> Reading:
        """Run the feeds once: from their leases to their closed run rows."""
        if len(sources) == 1:
            summaries = self._app.run(sources[0])
        else:
            with ThreadPoolExecutor(len(sources)) as pool:
                summaries = list(chain.from_iterable(pool.map(self._app.run, sources)))
        wrong = [f"{s.source}: {s.status} {s.error}" for s in summaries if s.status != "succeeded"]
        return Reading(
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
    subject: Collector | Loop
    if task.kind == COLLECTOR:
        subject = Collector(task)
    else:
        loop = BareLoop if task.kind == BARE else PlainLoop
        subject = loop(task.settings, task.hub, task.token)
    if task.warm:
        done = subject.collect(task.warm)
        if done.problem or not done.events:
            raise RuntimeError(f"the warm-up failed: {done}")
    _say({"warm": True})
    while lines.get():
        _say(_measure(subject, task.work))
    subject.close()
    return 0


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


def _say(value: object) -> None:
    print(msgspec.json.encode(value).decode(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
