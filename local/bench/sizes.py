"""How much is measured: the default, and the little that a smoke test takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Amounts of one benchmark.

    Attributes:
        repeats: measurements of each kind.
        contents: contents of a full-sized measurement.
        records: records in each of them.
        small_contents: contents of a measurement with small ones.
        small_records: records in each of those.
        record_bytes: what the tenant aims at; its records come out a little larger, at 1.5 KB on average.
        warm_contents: contents, of the same size, that are collected before the clock starts.
        idle: contents a day that the ledger knows in an idle run.
        day_contents: contents a day of the tenant whose listing requests are counted.
        day_runs: runs, ten minutes apart, over which they are counted.
        trace_rows: rows of message trace that are collected.
        trace_per_day: rows a day that come so densely, and whose digests are stored for the hours before.
    """

    repeats: int = 3
    contents: int = 100
    records: int = 500
    small_contents: int = 1000
    small_records: int = 5
    record_bytes: int = 1400
    warm_contents: int = 8
    idle: tuple[int, ...] = (5_000, 50_000)
    day_contents: int = 20_000
    day_runs: int = 6
    trace_rows: int = 50_000
    trace_per_day: int = 1_000_000


DEFAULT = Sizes()
QUICK = Sizes(
    repeats=1,
    contents=6,
    small_contents=20,
    warm_contents=2,
    idle=(100, 1_000),
    day_contents=500,
    day_runs=1,
    trace_rows=300,
    trace_per_day=10_000,
)
