"""From readings to figures: medians, with the least and the most beside them, as values that can be shown or stored."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from local.bench.child import Reading
from local.bench.measure import (
    BARE_CEILING,
    END_TO_END,
    PLAIN_LOOP,
    SMALL_BARE_CEILING,
    SMALL_END_TO_END,
    TRACE,
    Found,
)
from local.bench.sizes import Sizes
from local.bench.tenants import idle_name

PACKAGES = (
    "azure-eventhub",
    "azure-storage-blob",
    "azure-data-tables",
    "requests",
    "urllib3",
    "msgspec",
    "isal",
)
RATES = (END_TO_END, BARE_CEILING, PLAIN_LOOP, SMALL_END_TO_END, SMALL_BARE_CEILING, TRACE)


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


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Events a second: of CPU time of the collecting process, and of the clock on the wall."""

    cpu: Spread
    wall: Spread


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The benchmark's outcome.

    Attributes:
        rates: by kind of measurement.
        idle: CPU seconds of an idle run, by contents a day in the ledger.
        idle_wall: seconds of the same.
        memory: megabytes above idle at the peak, by kind of measurement; only of the collector.
        listing_requests_per_delivered: by the tenant's request log.
        about: sizes, versions and machine.
    """

    rates: dict[str, Rate]
    idle: dict[int, Spread]
    idle_wall: dict[int, Spread]
    memory: dict[str, Spread]
    listing_requests_per_delivered: float
    about: dict[str, Any]

    @property
    def of_ceiling(self) -> dict[str, float]:
        """End to end as a share of the bare ceiling."""
        return self._ratio(END_TO_END, BARE_CEILING)

    @property
    def small_of_ceiling(self) -> dict[str, float]:
        """The same with small contents."""
        return self._ratio(SMALL_END_TO_END, SMALL_BARE_CEILING)

    @property
    def times_plain_loop(self) -> dict[str, float]:
        """End to end as a multiple of the obvious loop."""
        return self._ratio(END_TO_END, PLAIN_LOOP)

    @property
    def peak_memory_mb_above_idle(self) -> float:
        """The greatest of all collecting processes: no kind of run is left out."""
        return max(spread.median for spread in self.memory.values())

    def _ratio(self, one: str, other: str) -> dict[str, float]:
        a, b = self.rates[one], self.rates[other]
        return {"cpu": a.cpu.median / b.cpu.median, "wall": a.wall.median / b.wall.median}

    def as_json(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        rates = {
            f"{kind}_events_per_s": {
                "cpu": round(rate.cpu.median),
                "wall": round(rate.wall.median),
            }
            for kind, rate in self.rates.items()
        }
        return {
            **rates,
            "idle_run_cpu_s": {str(n): round(each.median, 3) for n, each in self.idle.items()},
            "listing_requests_per_delivered": round(self.listing_requests_per_delivered, 3),
            "peak_memory_mb_above_idle": round(self.peak_memory_mb_above_idle, 1),
            "of_ceiling": _rounded(self.of_ceiling),
            "small_of_ceiling": _rounded(self.small_of_ceiling),
            "times_plain_loop": _rounded(self.times_plain_loop),
            "spread": self._spreads(),
            **self.about,
        }

    def _spreads(self) -> dict[str, Any]:
        return {
            **{
                kind: {"cpu": _pair(r.cpu), "wall": _pair(r.wall)} for kind, r in self.rates.items()
            },
            "idle_run_cpu_s": {str(n): _pair(each) for n, each in self.idle.items()},
            "idle_run_wall_s": {str(n): _pair(each) for n, each in self.idle_wall.items()},
            "peak_memory_mb_above_idle": {kind: _pair(m) for kind, m in self.memory.items()},
        }


def figures_of(found: Found, sizes: Sizes) -> Figures:
    """Work out the figures."""
    listing, readings = found.listing, found.readings
    names = {per_day: idle_name(per_day) for per_day in sizes.idle}
    collecting = (END_TO_END, SMALL_END_TO_END, TRACE, *names.values())
    return Figures(
        rates={
            kind: Rate(
                cpu=_spread(readings[kind], lambda each: each.events / each.cpu_s),
                wall=_spread(readings[kind], lambda each: each.events / each.wall_s),
            )
            for kind in RATES
        },
        idle={n: _spread(readings[name], lambda each: each.cpu_s) for n, name in names.items()},
        idle_wall={
            n: _spread(readings[name], lambda each: each.wall_s) for n, name in names.items()
        },
        memory={
            kind: _spread(readings[kind], lambda each: each.peak_mb - each.idle_mb)
            for kind in collecting
        },
        listing_requests_per_delivered=listing.requests / max(1, listing.delivered),
        about={
            "repeats": sizes.repeats,
            "sizes": asdict(sizes),
            "corpora": {
                name: {"events": c.events, "bytes": c.bytes, "wire_bytes": c.wire_bytes}
                for name, c in found.corpora.items()
            },
            "listing": asdict(listing),
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in PACKAGES},
            "machine": machine(),
        },
    )


def machine() -> dict[str, Any]:
    """What the figures were taken on, and how busy it was with everything, the benchmark included."""
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "load": [round(each, 2) for each in os.getloadavg()],
    }


def _cpu_model() -> str:
    known = Path("/proc/cpuinfo")
    if sys.platform == "linux" and known.exists():
        for line in known.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or "unknown"


def _spread(readings: list[Reading], figure: Callable[[Reading], float]) -> Spread:
    return Spread.of(figure(each) for each in readings)


def _pair(spread: Spread) -> list[float]:
    digits = 3 if spread.most < 100 else 1
    return [round(spread.least, digits), round(spread.most, digits)]


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in values.items()}
