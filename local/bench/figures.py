"""From readings to figures: medians, with the least and the most beside them, as a table and as JSON."""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from local.bench.sizes import Sizes

PACKAGES = (
    *("azure-eventhub", "azure-storage-blob", "azure-data-tables"),
    *("requests", "urllib3", "msgspec", "isal"),
)
RATES = (END_TO_END, BARE_CEILING, PLAIN_LOOP, SMALL_END_TO_END, SMALL_BARE_CEILING, TRACE)
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


@dataclass(frozen=True, kw_only=True)
class Spread:
    """What repeats of one measurement came to."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Sum up repeats."""
        known = sorted(values)
        return cls(median=statistics.median(known), least=known[0], most=known[-1])

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

    def ratio(self, one: str, other: str) -> dict[str, float]:
        """One rate as a multiple of another."""
        return {n: self.of(one, n).median / self.of(other, n).median for n in ("cpu", "wall")}

    def memory(self) -> dict[str, Spread]:
        """Of every kind of run of the collector."""
        kinds = (END_TO_END, SMALL_END_TO_END, TRACE, *map(idle_name, self.sizes.idle))
        return {kind: self.of(kind, "memory") for kind in kinds}

    @property
    def listing(self) -> float:
        """Listing requests a delivered content, by the tenant's request log."""
        return self.found.listing["requests"] / max(1, self.found.listing["delivered"])

    def as_json(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        rates = {kind: {n: self.of(kind, n) for n in ("cpu", "wall")} for kind in RATES}
        ratios = {
            "of_ceiling": (END_TO_END, BARE_CEILING),
            "small_of_ceiling": (SMALL_END_TO_END, SMALL_BARE_CEILING),
            "times_plain_loop": (END_TO_END, PLAIN_LOOP),
        }
        idle = {str(n): self.of(idle_name(n), "cpu_s") for n in self.sizes.idle}
        idle_wall = {str(n): self.of(idle_name(n), "wall_s") for n in self.sizes.idle}
        spreads = {
            **rates,
            "idle_run_cpu_s": idle,
            "idle_run_wall_s": idle_wall,
            "peak_memory_mb_above_idle": self.memory(),
        }
        return {
            **{
                f"{kind}_events_per_s": {n: round(each.median) for n, each in rate.items()}
                for kind, rate in rates.items()
            },
            "idle_run_cpu_s": {n: round(each.median, 3) for n, each in idle.items()},
            "listing_requests_per_delivered": round(self.listing, 3),
            "peak_memory_mb_above_idle": round(max(m.median for m in self.memory().values()), 1),
            **{
                name: {n: round(value, 3) for n, value in self.ratio(*kinds).items()}
                for name, kinds in ratios.items()
            },
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
        s, mail = self.sizes, f"{self.sizes.trace_per_day:,} rows a day"
        small = SMALL_END_TO_END, SMALL_BARE_CEILING
        peak, per_day = "peak memory above idle, end to end", f"{s.day_contents:,} contents a day"
        listing = f"listing requests a delivered content, {per_day}"
        idle_targets = {5_000: "≤ 1 s", 50_000: "≤ 1.5 s"}
        return [
            self._rate(f"end to end, {s.records} records a content", END_TO_END, "≥ 30,000"),
            self._rate("bare ceiling: fetch, split, send pre-encoded", BARE_CEILING),
            self._rate("obvious loop: json, EventData, no state", PLAIN_LOOP),
            self._ratio("end to end, of the ceiling", END_TO_END, BARE_CEILING, ".0%", "≥ 70 %"),
            self._ratio("end to end, times the obvious loop", END_TO_END, PLAIN_LOOP, ".1f", "≥ 6"),
            self._rate(f"end to end, {s.small_records} records a content", SMALL_END_TO_END),
            self._rate("bare ceiling with these", SMALL_BARE_CEILING),
            self._ratio("end to end, of that ceiling", *small, ".0%", ""),
            self._rate("message trace, rows", TRACE),
            *(
                self._row(f"idle run, {n:,} contents a day in the ledger", *_idle(n), target)
                for n in s.idle
                for target in [idle_targets.get(n, "")]
            ),
            (listing, f"{self.listing:.2f}", "", "", "≤ 0.5"),
            self._memory(peak, END_TO_END),
            *(self._memory(f"the same, idle run, {n:,}", idle_name(n)) for n in s.idle),
            self._memory(f"the same, message trace, {mail}", TRACE, "≤ 100 MB"),
        ]

    def footnote(self) -> str:
        """What the figures were taken with."""
        about = self.machine
        return (
            f"{self.sizes.repeats} repeats, taking turns. {about['cpus']} CPUs ({about['cpu']}), load "
            f"{about['load'][0]}; Python {platform.python_version()}, azure-eventhub {version('azure-eventhub')}."
        )

    def write_into(self, path: Path) -> None:
        """Put the table between the two marks of a Markdown file.

        Raises:
            ValueError: the file has no such marks.
        """
        text = path.read_text("utf-8")
        before, begin, rest = text.partition(BEGIN)
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise ValueError(f"{path}: has no lines {BEGIN} and {END}")
        lines = (HEAD, ("---", "--:", "--:", "--:", "--:"), *self.rows())
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        found = f"{BEGIN}\n{table}\n\n{self.footnote()}\n{END}"
        path.write_text(f"{before}{found}{after}", "utf-8")

    def _row(
        self, what: str, kind: str, figures: tuple[str, ...], form: str, unit: str, target: str
    ) -> tuple[str, ...]:
        """Median, least and most of the first figure, and the median of the second."""
        found = [self.of(kind, figure) for figure in figures]
        medians = [f"{each.median:{form}}{unit}" for each in found]
        spread = f"{found[0].least:{form}} to {found[0].most:{form}}"
        return what, medians[0], spread, "".join(medians[1:]), target

    def _rate(self, what: str, kind: str, target: str = "") -> tuple[str, ...]:
        return self._row(what, kind, ("cpu", "wall"), ",.0f", "", target)

    def _memory(self, what: str, kind: str, target: str = "≤ 200 MB") -> tuple[str, ...]:
        return self._row(what, kind, ("memory",), ".0f", " MB", target)

    def _ratio(self, what: str, one: str, other: str, form: str, target: str) -> tuple[str, ...]:
        texts = (f"{value:{form}}" for value in self.ratio(one, other).values())
        cpu, wall = (text.replace("%", " %") for text in texts)
        return what, cpu, "", wall, target


def _idle(per_day: int) -> tuple[str, tuple[str, ...], str, str]:
    return idle_name(per_day), ("cpu_s", "wall_s"), ".2f", " s"


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
