"""The tenants of the benchmark: one for each question, with the contents that it needs.

Their clocks start at six in the evening (UTC), so that figures do not depend on when the benchmark is run. Three
quarters of the day are in the ledger, and no range that an idle run lists crosses a midnight.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from local.rig import make_ids
from local.tenant import SOURCES, Tenant, TenantSpec, TraceSpec
from local.tenant.shelf import SETTLED
from shared.times import beginning_of

MEASURED, WARM = "Audit.Exchange", "DLP.All"
LARGE, SMALL, WHOLE_DAY, MAIL = "large", "small", "day", "mail"

_AHEAD = timedelta(minutes=90)  # how far the tenants' clocks go while the benchmark runs, at most
_DAY = timedelta(days=1)


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
    day_contents: int = 20_000  # of the tenant whose listing requests are counted, in all sources
    day_runs: int = 6  # ten minutes apart, over which they are counted
    trace_rows: int = 50_000  # of message trace that are collected
    trace_per_day: int = 1_000_000  # how densely they come; the hours before have their digests


DEFAULT = Sizes()
_FEW = {"contents": 6, "small_contents": 20, "warm_contents": 2, "day_contents": 500}
_TRACE = {"trace_rows": 300, "trace_per_day": 10_000}
QUICK = Sizes(repeats=1, idle=(100,), day_runs=1, **_TRACE, **_FEW)


def start_of_clocks(real: datetime) -> datetime:
    """The next six o'clock in the evening."""
    evening = real.astimezone(UTC).replace(hour=18, minute=0, second=0, microsecond=0)
    return evening if evening > real else evening + _DAY


def idle_name(per_day: int) -> str:
    """The name of the tenant whose ledger knows so many contents a day, and of its measurement."""
    return f"idle_{per_day}"


def first_name(per_day: int) -> str:
    """The name of the measurement of the first such run of a process, which has to read everything."""
    return f"first_{idle_name(per_day)}"


def make_tenants(sizes: Sizes, now: datetime) -> dict[str, Tenant]:
    """Every tenant, by name, with its clock at that time."""
    shift = now - datetime.now(UTC)
    week = now - timedelta(days=7, hours=-1), now - timedelta(minutes=5)
    warm, first = (WARM, *week, sizes.warm_contents, sizes.records), (WARM, *week, 2, 5)
    offers = {
        LARGE: [(MEASURED, *week, sizes.contents, sizes.records), warm],
        SMALL: [(MEASURED, *week, sizes.small_contents, sizes.small_records), warm],
        MAIL: [first],
        WHOLE_DAY: [
            each
            for name in SOURCES
            for each in _daily(name, sizes.day_contents // len(SOURCES), now)
        ],
        **{idle_name(n): [first, *_daily(MEASURED, n, now)] for n in sizes.idle},
    }
    trace_days = (mail_span(sizes) + SETTLED) / _DAY
    tenants = {}
    for name, stretches in offers.items():
        rows = sizes.trace_rows if name == MAIL else 0
        spec = TenantSpec(
            **make_ids(name, "bench "),
            contents=0,
            record_bytes=sizes.record_bytes,
            subscribed=SOURCES,
            trace=TraceSpec(rows=rows, days=trace_days, quota=None),
        )
        tenants[name] = Tenant(spec, clock=lambda: datetime.now(UTC) + shift)
        for source, start, end, contents, records in stretches:
            for n in range(contents):
                created = start + (end - start) * n / contents
                tenants[name].offer(source, created=created, visible_at=created, count=records)
    return tenants


def listed_days(now: datetime) -> list[tuple[datetime, datetime]]:
    """The days of which runs list a part: the last of the horizon, one in its middle, and this one as far as it gets.

    See ``state.up_to_date``.
    """
    today = beginning_of(now.date())
    return [*((today - n * _DAY, today - (n - 1) * _DAY) for n in (7, 3)), (today, now + _AHEAD)]


def mail_span(sizes: Sizes) -> timedelta:
    """How long the rows of message trace take to come."""
    return _DAY * (sizes.trace_rows / sizes.trace_per_day)


def _daily(
    source: str, per_day: int, now: datetime
) -> list[tuple[str, datetime, datetime, int, int]]:
    """What a source with so many contents a day has on these days."""
    return [
        (source, start, end, round(per_day * ((end - start) / _DAY)), 1)
        for start, end in listed_days(now)
    ]
