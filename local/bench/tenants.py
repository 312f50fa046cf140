"""The tenants of the benchmark: one for each question, with the contents that it needs and their times.

A tenant runs as a process of its own, ``python -m local.bench.tenants ORDER.json``: it serves exactly what it was
ordered. Its contents lie at equal distances on a grid of whole milliseconds, and ids follow from the time, so that the
tenant and the ledger's prefill agree, and any two stretches of one grid about what they share.

The clocks start at six in the evening (UTC), so that figures do not depend on when the benchmark is run. Three quarters
of the day are in its ledger, and no range that an idle run lists crosses a midnight.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from local.bench.state import TIMER, Placed
from local.certs import Certs
from local.rig import make_ids
from local.tenant import SOURCES, Tenant, TenantServer, TenantSpec, TraceSpec
from local.tenant.control import ControlServer
from local.tether import await_end
from shared.sources.management_api import AUDIT_POLICY

if TYPE_CHECKING:
    from collections.abc import Iterator

MEASURED, WARM = "Audit.Exchange", "DLP.All"
LARGE, SMALL, WHOLE_DAY, MAIL = "large", "small", "day", "mail"

SHARES = {
    "Audit.AzureActiveDirectory": 20,
    "Audit.Exchange": 33,
    "Audit.SharePoint": 25,
    "Audit.General": 17,
    "DLP.All": 5,
}
"""Per cent of a tenant's contents: tenants are dominated by mail and files."""

SETTLED = timedelta(minutes=3)  # no row of a tenant's past is younger
_SLACK = timedelta(minutes=30)  # what the benchmark may take while the tenants' clocks go on
_GZIP_LEVEL = 6  # as tight as servers commonly compress what they keep
_DAY, _MILLISECOND = timedelta(days=1), timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Range = tuple[datetime, datetime]


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
QUICK = Sizes(repeats=1, idle=(100,), day_runs=1, **_TRACE, **_FEW)


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of one source, on a grid: ``start``, then every ``every_ms``, as long as ``end`` is not reached."""

    source: str
    start: datetime
    end: datetime
    every_ms: int
    records: int = 1

    def placed(self) -> Iterator[Placed]:
        """Each content, oldest first."""
        name, created = self.source.replace(".", "_"), self.start
        while created < self.end:
            stamp = f"{created:%Y%m%d%H%M%S}{created.microsecond // 1000:03d}"
            content_id = f"{stamp}${stamp}${name.lower()}${name}$emea0001"
            yield Placed(source=self.source, content_id=content_id, created=created)
            created += self.every_ms * _MILLISECOND


class TenantOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant's process is told."""

    spec: dict[str, Any]  # fields of a ``TenantSpec``; it has no contents of its own
    now: datetime  # what the tenant's clock shows when it starts
    stretches: list[Stretch]  # its contents


@dataclass(frozen=True, kw_only=True)
class Steady:
    """Where a feed that runs every ten minutes stands, in an hour in which a last call is due."""

    now: datetime  # the tenant's clock
    cursor: datetime  # where the rolling re-list goes on: late morning, three days ago
    tail: datetime  # until where the end of the horizon had its last call; one more hour is due

    @classmethod
    def at(cls, now: datetime) -> Steady:
        """Where it stands at that time."""
        cursor = _midnight(now) - 3 * _DAY + timedelta(hours=10)
        tail = AUDIT_POLICY.oldest(now) + AUDIT_POLICY.slice - timedelta(hours=1, minutes=1)
        return cls(now=now, cursor=cursor, tail=tail)

    def ranges(self, runs: int) -> list[Range]:
        """Everything that so many runs, ten minutes apart, can list, in ranges that do not overlap."""
        last = self.now + runs * TIMER + _SLACK
        recent, slices = (
            (self.now - AUDIT_POLICY.overlap - TIMER, last),
            (self.cursor, self.cursor + runs * AUDIT_POLICY.slice),
        )
        called = self.tail, AUDIT_POLICY.oldest(last) + AUDIT_POLICY.slice
        merged: list[Range] = []
        for start, end in sorted((recent, slices, called)):
            if merged and start <= merged[-1][1]:
                start, end = merged[-1][0], max(end, merged.pop()[1])
            merged.append((start, end))
        return merged


def spread(source: str, start: datetime, end: datetime, contents: int, records: int) -> Stretch:
    """Exactly so many contents, spread evenly over a range."""
    every_ms = int((end - start) / _MILLISECOND) // contents
    end = start + contents * every_ms * _MILLISECOND
    return Stretch(source=source, start=start, end=end, every_ms=every_ms, records=records)


def daily(source: str, start: datetime, end: datetime, per_day: int) -> Stretch:
    """What a source with so many contents a day has in a range; its grid is the same for every range."""
    every_ms = _DAY // per_day // _MILLISECOND
    step = every_ms * _MILLISECOND
    first = _EPOCH - (_EPOCH - start) // step * step
    return Stretch(source=source, start=first, end=end, every_ms=every_ms)


def start_of_clocks(real: datetime) -> datetime:
    """The next six o'clock in the evening."""
    evening = real.astimezone(UTC).replace(hour=18, minute=0, second=0, microsecond=0)
    return evening if evening > real else evening + _DAY


def idle_name(per_day: int) -> str:
    """The name of the tenant whose ledger knows so many contents a day."""
    return f"idle-{per_day}"


def orders(sizes: Sizes, now: datetime) -> dict[str, TenantOrder]:
    """Every tenant, by name."""
    week = now - AUDIT_POLICY.horizon + timedelta(hours=1), now - timedelta(minutes=5)
    warm = spread(WARM, *week, sizes.warm_contents, sizes.records)
    first = spread(WARM, *week, 2, 5)
    at = Steady.at(now)
    stretches = {
        LARGE: [spread(MEASURED, *week, sizes.contents, sizes.records), warm],
        SMALL: [spread(MEASURED, *week, sizes.small_contents, sizes.small_records), warm],
        # What all sources together have, as far as the runs of the listing measurement can see it.
        WHOLE_DAY: [
            daily(source, *each, max(1, sizes.day_contents * share // 100))
            for source, share in SHARES.items()
            for each in at.ranges(sizes.day_runs)
        ],
        MAIL: [first],
        **{
            idle_name(n): [*(daily(MEASURED, *each, n) for each in at.ranges(1)), first]
            for n in sizes.idle
        },
    }
    found = {}
    for name, each in stretches.items():
        spec = {**make_ids(name, "bench "), "record_bytes": sizes.record_bytes}
        found[name] = TenantOrder(spec=spec, now=now, stretches=each)
    days = (mail_span(sizes) + SETTLED) / _DAY
    found[MAIL].spec["trace"] = {"rows": sizes.trace_rows, "days": days, "quota": None}
    return found


def mail_span(sizes: Sizes) -> timedelta:
    """How long the rows of message trace take to come."""
    return _DAY * (sizes.trace_rows / sizes.trace_per_day)


def ledger_of(per_day: int, now: datetime) -> list[Placed]:
    """What the ledger of an idle feed knows: everything of each day in which the run lists anything."""
    ranges = Steady.at(now).ranges(1)
    until = max(end for _, end in ranges)
    return [
        each
        for day in sorted({_midnight(moment) for moment, _ in ranges})
        for each in daily(MEASURED, day, min(day + _DAY, until), per_day).placed()
    ]


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def main(arguments: list[str]) -> int:
    """Serve a tenant, with the certificates beside its order, until standard input ends; returns the exit status."""
    path, folder = Path(arguments[0]), Path(arguments[0]).parent
    order = msgspec.json.decode(path.read_bytes(), type=TenantOrder)
    shift = order.now - datetime.now(UTC)
    trace = TraceSpec.from_json(order.spec.pop("trace", {}))
    spec = TenantSpec(contents=0, subscribed=SOURCES, trace=trace, **order.spec)
    tenant = Tenant(spec, clock=lambda: datetime.now(UTC) + shift)
    for stretch in order.stretches:
        for each in stretch.placed():
            when: dict[str, Any] = {"created": each.created, "visible_at": each.created}
            tenant.offer(each.source, content_id=each.content_id, count=stretch.records, **when)
    ca, cert, key = (folder / name for name in ("ca.pem", "server.pem", "server.key"))
    certs = Certs(ca_file=ca, cert_file=cert, key_file=key)
    server = TenantServer(tenant, certs=certs, gzip_level=_GZIP_LEVEL)
    with server, ControlServer(tenant) as control:
        about = {"endpoint": server.endpoint, "control": control.url, "ca_file": str(ca)}
        print(json.dumps(about), flush=True)
        await_end()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
