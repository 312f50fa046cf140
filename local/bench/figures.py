"""From readings to figures: medians, with the least and the most beside them, as a table and as JSON."""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from local.bench.measure import (
    BARE_CEILING,
    END_TO_END,
    PLAIN_LOOP,
    SMALL_BARE_CEILING,
    SMALL_END_TO_END,
    TRACE,
    Found,
)
from local.bench.tenants import idle_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from local.bench.loops import Reading
    from local.bench.tenants import Sizes

PACKAGES = (
    *("azure-eventhub", "azure-storage-blob", "azure-data-tables"),
    *("requests", "urllib3", "msgspec", "isal"),
)
RATES = (END_TO_END, BARE_CEILING, PLAIN_LOOP, SMALL_END_TO_END, SMALL_BARE_CEILING, TRACE)
RATIOS = {
    "of_ceiling": (END_TO_END, BARE_CEILING),
    "small_of_ceiling": (SMALL_END_TO_END, SMALL_BARE_CEILING),
    "times_plain_loop": (END_TO_END, PLAIN_LOOP),
}
HEAD = ("measured", "median", "min to max", "on the wall", "target")
BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"

_FIGURES: dict[str, Callable[[Reading], float]] = {
    "cpu": lambda each: each.events / each.cpu_s,
    "wall": lambda each: each.events / each.wall_s,
    "cpu_s": lambda each: each.cpu_s,
    "wall_s": lambda each: each.wall_s,
    "memory": lambda each: each.peak_mb - each.idle_mb,
}
"""Events a second of CPU time and of the clock, seconds of both, and megabytes above idle at the peak."""

_RATE = (("cpu", "wall"), ",.0f", "")
_IDLE = (("cpu_s", "wall_s"), ".2f", " s")
_MEMORY = (("memory",), ".0f", " MB")
"""Lines of the table: the figures, how they are written, and their unit."""


class Spread(NamedTuple):
    """What repeats of one measurement came to."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Sum up repeats."""
        known = sorted(values)
        return cls(statistics.median(known), known[0], known[-1])

    def pair(self) -> list[float]:
        """The least and the most, rounded."""
        digits = 3 if self.most < 100 else 1
        return [round(self.least, digits), round(self.most, digits)]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The benchmark's outcome, and what it was taken on."""

    found: Found
    sizes: Sizes
    machine: dict[str, Any] = field(default_factory=lambda: machine())

    def of(self, kind: str, figure: str) -> Spread:
        """One of ``_FIGURES`` of a kind of measurement."""
        return Spread.of(map(_FIGURES[figure], self.found.readings[kind]))

    def ratio(self, name: str) -> dict[str, float]:
        """One rate as a multiple of another."""
        one, other = RATIOS[name]
        return {n: self.of(one, n).median / self.of(other, n).median for n in ("cpu", "wall")}

    @property
    def listing(self) -> float:
        """Listing requests a delivered content, by the tenant's request log."""
        return self.found.listing["requests"] / max(1, self.found.listing["delivered"])

    def as_json(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        idle = {str(n): idle_name(n) for n in self.sizes.idle}
        rates = {kind: {n: self.of(kind, n) for n in ("cpu", "wall")} for kind in RATES}
        idle_cpu = {n: self.of(kind, "cpu_s") for n, kind in idle.items()}
        runs = (END_TO_END, SMALL_END_TO_END, TRACE, *idle.values())
        memory = {kind: self.of(kind, "memory") for kind in runs}
        spreads = {
            **rates,
            "idle_run_cpu_s": idle_cpu,
            "idle_run_wall_s": {n: self.of(kind, "wall_s") for n, kind in idle.items()},
            "peak_memory_mb_above_idle": memory,
        }
        return {
            **{
                f"{kind}_events_per_s": {n: round(each.median) for n, each in rate.items()}
                for kind, rate in rates.items()
            },
            "idle_run_cpu_s": {n: round(each.median, 3) for n, each in idle_cpu.items()},
            "listing_requests_per_delivered": round(self.listing, 3),
            "peak_memory_mb_above_idle": round(max(each.median for each in memory.values()), 1),
            **{name: {n: round(v, 3) for n, v in self.ratio(name).items()} for name in RATIOS},
            "spread": {
                name: {n: each.pair() for n, each in group.items()}
                for name, group in spreads.items()
            },
            "repeats": self.sizes.repeats,
            "sizes": asdict(self.sizes),
            "corpora": {
                name: {"events": c.events, "bytes": c.bytes, "wire_bytes": c.wire_bytes}
                for name, c in self.found.corpora.items()
            },
            "listing": self.found.listing,
            "versions": {"python": platform.python_version()} | {n: version(n) for n in PACKAGES},
            "machine": self.machine,
        }

    def rows(self) -> list[tuple[str, ...]]:
        """The table, line by line."""
        s, row, ratio, most = self.sizes, self._row, self._ratio, "≤ 200 MB"
        listing = f"listing requests a delivered content, {s.day_contents:,} contents a day"
        mail = f"the same, message trace, {s.trace_per_day:,} rows a day"
        idle, known = {n: idle_name(n) for n in s.idle}, "contents a day in the ledger"
        targets = {5_000: "≤ 1 s", 50_000: "≤ 1.5 s"}
        return [
            row(f"end to end, {s.records} records a content", END_TO_END, _RATE, "≥ 30,000"),
            row("bare ceiling: fetch, split, send pre-encoded", BARE_CEILING, _RATE),
            row("obvious loop: json, EventData, no state", PLAIN_LOOP, _RATE),
            ratio("end to end, of the ceiling", "of_ceiling", ".0%", "≥ 70 %"),
            ratio("end to end, times the obvious loop", "times_plain_loop", ".1f", "≥ 6"),
            row(f"end to end, {s.small_records} records a content", SMALL_END_TO_END, _RATE),
            row("bare ceiling with these", SMALL_BARE_CEILING, _RATE),
            ratio("end to end, of that ceiling", "small_of_ceiling", ".0%", ""),
            row("message trace, rows", TRACE, _RATE),
            *(
                row(f"idle run, {n:,} {known}", kind, _IDLE, targets.get(n, ""))
                for n, kind in idle.items()
            ),
            (listing, f"{self.listing:.2f}", "", "", "≤ 0.5"),
            row("peak memory above idle, end to end", END_TO_END, _MEMORY, most),
            *(row(f"the same, idle run, {n:,}", kind, _MEMORY, most) for n, kind in idle.items()),
            row(mail, TRACE, _MEMORY, "≤ 100 MB"),
        ]

    def footnote(self) -> str:
        """What the figures were taken with."""
        about = self.machine
        return (
            f"{self.sizes.repeats} repeats, taking turns. {about['cpus']} CPUs ({about['cpu']}), load "
            f"{about['load'][0]}; Python {platform.python_version()}, azure-eventhub {version('azure-eventhub')}."
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

    def _row(
        self, what: str, kind: str, shape: tuple[tuple[str, ...], str, str], target: str = ""
    ) -> tuple[str, ...]:
        """Median, least and most of the first figure, and the median of the second."""
        figures, form, unit = shape
        first, *more = (self.of(kind, figure) for figure in figures)
        median, *wall = (f"{each.median:{form}}{unit}" for each in (first, *more))
        return what, median, f"{first.least:{form}} to {first.most:{form}}", "".join(wall), target

    def _ratio(self, what: str, name: str, form: str, target: str) -> tuple[str, ...]:
        cpu, wall = (f"{v:{form}}".replace("%", " %") for v in self.ratio(name).values())
        return what, cpu, "", wall, target


def machine() -> dict[str, Any]:
    """What the figures were taken on, and how busy it was with everything, the benchmark included."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor() or "unknown",
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "load": [round(each, 2) for each in os.getloadavg()],
    }
