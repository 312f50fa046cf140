"""From readings to figures: medians, with the least and the most beside them, as a table and as JSON."""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from local.bench.measure import (
    BARE_CEILING,
    CEILING,
    END_TO_END,
    PLAIN_LOOP,
    SMALL_BARE_CEILING,
    SMALL_CEILING,
    SMALL_END_TO_END,
    TRACE,
    Found,
)
from local.bench.tenants import first_name, idle_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from local.bench.loops import Reading
    from local.bench.tenants import Sizes

PACKAGES = (
    *("azure-eventhub", "azure-storage-blob", "azure-data-tables"),
    *("requests", "urllib3", "msgspec", "isal"),
)
HEAD = ("measured", "median", "min to max", "on the wall", "target")
BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"

RATIOS = {
    "of_ceiling": (END_TO_END, BARE_CEILING),
    "of_ceiling_with_properties": (END_TO_END, CEILING),
    "small_of_ceiling": (SMALL_END_TO_END, SMALL_BARE_CEILING),
    "small_of_ceiling_with_properties": (SMALL_END_TO_END, SMALL_CEILING),
    "times_plain_loop": (END_TO_END, PLAIN_LOOP),
}
FIGURES: dict[str, Callable[[Reading], float]] = {
    "events_per_cpu_s": lambda each: each.events / each.cpu_s,
    "events_per_wall_s": lambda each: each.events / each.wall_s,
    "cpu_s": lambda each: each.cpu_s,
    "wall_s": lambda each: each.wall_s,
    "memory_mb": lambda each: each.peak_mb - each.idle_mb,
    "requests": lambda each: each.requests,
    "storage_operations": lambda each: each.storage_operations,
    "log_bytes": lambda each: each.log_bytes,
}
"""Events a second of CPU time and of the clock, seconds of both, megabytes above idle at the peak, and counts."""


class _Shape(NamedTuple):
    """A line of the table: its figure, that on the wall, how they are written, and their unit."""

    figure: str
    wall: str
    form: str
    unit: str = ""


_RATE = _Shape("events_per_cpu_s", "events_per_wall_s", ",.0f")
_IDLE = _Shape("cpu_s", "wall_s", ".2f", " s")
_MEMORY = _Shape("memory_mb", "", ".0f", " MB")
_OPERATIONS, _LOGGED = (
    _Shape("storage_operations", "", ".0f"),
    _Shape("log_bytes", "", ",.0f", " B"),
)


def spread(values: Iterable[float]) -> dict[str, float]:
    """What repeats of one measurement came to."""
    known = sorted(values)
    return {"median": statistics.median(known), "min": known[0], "max": known[-1]}


class Figures:
    """The benchmark's outcome, and what it was taken on."""

    def __init__(self, found: Found, sizes: Sizes) -> None:
        self.sizes, self.corpora, self.machine = sizes, found.corpora, _machine()
        self.measured = {
            kind: {name: spread(map(figure, readings)) for name, figure in FIGURES.items()}
            for kind, readings in found.readings.items()
        }
        self.ratios = {
            name: {
                rate: self.measured[one][rate]["median"] / self.measured[other][rate]["median"]
                for rate in (_RATE.figure, _RATE.wall)
            }
            for name, (one, other) in RATIOS.items()
        }
        self.idle = {n: self.measured[idle_name(n)] for n in sizes.idle}
        requests_each = found.listing["requests"] / max(1, found.listing["delivered"])
        self.listing = {**found.listing, "requests_a_content": requests_each}

    def as_json(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        corpora = {
            name: {"events": each.events, "bytes": each.bytes, "wire_bytes": each.wire_bytes}
            for name, each in self.corpora.items()
        }
        return {
            "measured": self.measured,
            "ratios": self.ratios,
            "listing": self.listing,
            "ceiling_with_properties_events_per_s": self._rate(CEILING),
            "small_ceiling_with_properties_events_per_s": self._rate(SMALL_CEILING),
            "idle_storage_operations": self._of_idle("storage_operations"),
            "idle_log_bytes": self._of_idle("log_bytes"),
            "corpora": corpora,
            "sizes": asdict(self.sizes),
            "machine": self.machine,
        }

    def _rate(self, kind: str) -> float:
        return self.measured[kind][_RATE.figure]["median"]

    def _of_idle(self, figure: str) -> dict[str, float]:
        return {str(n): each[figure]["median"] for n, each in self.idle.items()}

    def rows(self) -> list[tuple[str, ...]]:
        """The table, line by line."""
        s, row, ratio, most = self.sizes, self._row, self._ratio, "≤ 100 MB"
        listing = f"listing requests a delivered content, {s.day_contents:,} contents a day"
        mail = f"the same, message trace, {s.trace_per_day:,} rows a day"
        idle, known = {n: idle_name(n) for n in s.idle}, "contents a day in the ledger"
        targets = {5_000: "≤ 0.1 s", 50_000: "≤ 0.5 s"}
        firsts = {n: first_name(n) for n in s.idle}
        return [
            row(f"end to end, {s.records} records a content", END_TO_END, _RATE, "≥ 40,000"),
            row("bare ceiling: fetch, split, send pre-encoded", BARE_CEILING, _RATE),
            row("ceiling with properties: the same, and five properties", CEILING, _RATE),
            row("obvious loop: json, EventData, no state", PLAIN_LOOP, _RATE),
            ratio("end to end, of the bare ceiling", "of_ceiling", ".0%", ""),
            ratio("of the ceiling with properties", "of_ceiling_with_properties", ".0%", "≥ 60 %"),
            ratio("end to end, times the obvious loop", "times_plain_loop", ".1f", "≥ 4.5"),
            row(f"end to end, {s.small_records} records a content", SMALL_END_TO_END, _RATE),
            row("bare ceiling with these", SMALL_BARE_CEILING, _RATE),
            row("their ceiling with properties", SMALL_CEILING, _RATE),
            ratio("end to end, of that", "small_of_ceiling_with_properties", ".0%", "≥ 60 %"),
            row("message trace, rows", TRACE, _RATE, "≥ 40,000"),
            *(
                row(f"idle run, {n:,} {known}", kind, _IDLE, targets.get(n, ""))
                for n, kind in idle.items()
            ),
            *(
                row(f"first run of a process, {n:,} {known}", kind, _IDLE)
                for n, kind in firsts.items()
            ),
            *(
                row(f"idle run, {n:,}: storage operations", kind, _OPERATIONS, "≤ 10")
                for n, kind in idle.items()
            ),
            *(row(f"idle run, {n:,}: logged", kind, _LOGGED, "≤ 4 KB") for n, kind in idle.items()),
            (listing, f"{self.listing['requests_a_content']:.2f}", "", "", "≤ 0.4"),
            row("peak memory above idle, end to end", END_TO_END, _MEMORY, most),
            *(row(f"the same, idle run, {n:,}", kind, _MEMORY, most) for n, kind in idle.items()),
            row(mail, TRACE, _MEMORY, "≤ 100 MB"),
        ]

    def footnote(self) -> str:
        """What the figures were taken with."""
        about, versions = self.machine, self.machine["versions"]
        return (
            f"{self.sizes.repeats} repeats, taking turns. {about['cpus']} CPUs ({about['cpu']}), load "
            f"{about['load'][0]:.2f}; Python {versions['python']}, azure-eventhub {versions['azure-eventhub']}."
        )

    def write_into(self, path: Path) -> None:
        """Put the table between the two marks of a Markdown file; one without them is a ``ValueError``."""
        before, begin, rest = path.read_text("utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise ValueError(f"{path}: has no lines {BEGIN} and {END}")
        lines = (HEAD, ("---", "--:", "--:", "--:", "--:"), *self.rows())
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        found = f"{BEGIN}\n{table}\n\n{self.footnote()}\n{END}"
        path.write_text(f"{before}{found}{after}", "utf-8")

    def _row(self, what: str, kind: str, shape: _Shape, target: str = "") -> tuple[str, ...]:
        known, form, unit = self.measured[kind], shape.form, shape.unit
        median, least, most = (f"{each:{form}}" for each in known[shape.figure].values())
        wall = f"{known[shape.wall]['median']:{form}}{unit}" if shape.wall else ""
        return what, median + unit, f"{least} to {most}", wall, target

    def _ratio(self, what: str, name: str, form: str, target: str) -> tuple[str, ...]:
        cpu, wall = (f"{each:{form}}".replace("%", " %") for each in self.ratios[name].values())
        return what, cpu, "", wall, target


def _machine() -> dict[str, Any]:
    """What the figures were taken on, and how busy it was with everything, the benchmark included."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor() or "unknown",
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "load": os.getloadavg(),
        "versions": {"python": platform.python_version()} | {n: version(n) for n in PACKAGES},
    }
