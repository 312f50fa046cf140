"""How much is measured: the default, and the little that a smoke test takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Amounts of one benchmark."""

    repeats: int = 3  # measurements of each kind
    contents: int = 100  # of a full-sized measurement, with so many records in each
    records: int = 500
    small_contents: int = 1000  # of a measurement with small ones
    small_records: int = 5
    record_bytes: int = 1400  # what the tenant aims at; its records are a little larger, 1.5 KB
    warm_contents: int = 8  # of the same size, that are collected before the clock starts
    idle: tuple[int, ...] = (5_000, 50_000)  # contents a day that the ledger knows in an idle run
    day_contents: int = 20_000  # of the tenant whose listing requests are counted
    day_runs: int = 6  # ten minutes apart, over which they are counted
    trace_rows: int = 50_000  # of message trace that are collected
    trace_per_day: int = 1_000_000  # how densely they come; the hours before have their digests


DEFAULT = Sizes()
_FEW = {"contents": 6, "small_contents": 20, "warm_contents": 2, "day_contents": 500}
_TRACE = {"trace_rows": 300, "trace_per_day": 10_000}
QUICK = Sizes(repeats=1, idle=(100, 1_000), day_runs=1, **_TRACE, **_FEW)
