"""The tenants of the benchmark: one for each question, with the contents that it needs and their times.

Their clocks start at six in the evening (UTC), so that figures do not depend on when the benchmark is run: three
quarters of the day are in its ledger, and no range that an idle run lists crosses a midnight.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from local.bench.contents import DAY, Placed, Stretch, TenantOrder, daily, spread, union
from local.bench.sizes import Sizes
from local.bench.state import TIMER
from shared.contents.windows import HORIZON, OVERLAP, SLICE, horizon

MEASURED = "Audit.Exchange"
WARM = "DLP.All"
LARGE, SMALL, WHOLE_DAY, MAIL = "large", "small", "day", "mail"

SHARES = {
    "Audit.AzureActiveDirectory": 20,
    "Audit.Exchange": 33,
    "Audit.SharePoint": 25,
    "Audit.General": 17,
    "DLP.All": 5,
}
"""Per cent of a tenant's contents: tenants are dominated by mail and files."""

SETTLED = timedelta(minutes=3)
"""No row of a tenant's past is younger."""

_SLACK = timedelta(minutes=30)
"""What the benchmark may take while the tenants' clocks go on."""

Range = tuple[datetime, datetime]


@dataclass(frozen=True, kw_only=True)
class Steady:
    """Where a feed that runs every ten minutes stands, in an hour in which a last call is due.

    Attributes:
        now: the tenant's clock.
        cursor: where the rolling re-list goes on: late morning, three days ago.
        tail: what was last listed before it leaves the horizon; one more hour of it is due.
    """

    now: datetime
    cursor: datetime
    tail: datetime

    @classmethod
    def at(cls, now: datetime) -> Steady:
        """Where it stands at that time."""
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return cls(
            now=now,
            cursor=midnight - 3 * DAY + timedelta(hours=10),
            tail=horizon(now) + SLICE - timedelta(hours=1, minutes=1),
        )

    def ranges(self, runs: int) -> list[Range]:
        """Everything that so many runs, ten minutes apart, can list."""
        last = self.now + runs * TIMER + _SLACK
        return union(
            [
                (self.now - OVERLAP - TIMER, last),
                (self.cursor, self.cursor + runs * SLICE),
                (self.tail, horizon(last) + SLICE),
            ]
        )


def start_of_clocks(real: datetime) -> datetime:
    """The next six o'clock in the evening."""
    evening = real.astimezone(UTC).replace(hour=18, minute=0, second=0, microsecond=0)
    return evening if evening > real else evening + DAY


def idle_name(per_day: int) -> str:
    """The name of the tenant whose ledger knows so many contents a day."""
    return f"idle-{per_day}"


def orders(sizes: Sizes, now: datetime) -> dict[str, TenantOrder]:
    """Every tenant, by name."""
    week = now - HORIZON + timedelta(hours=1), now - timedelta(minutes=5)
    large = spread(MEASURED, *week, sizes.contents, sizes.records)
    small = spread(MEASURED, *week, sizes.small_contents, sizes.small_records)
    warm = spread(WARM, *week, sizes.warm_contents, sizes.records)
    first = spread(WARM, *week, 2, 5)
    found = {
        LARGE: _order(LARGE, sizes, now, [large, warm]),
        SMALL: _order(SMALL, sizes, now, [small, warm]),
        WHOLE_DAY: _order(WHOLE_DAY, sizes, now, day_stretches(sizes, now)),
    }
    found[MAIL] = _order(MAIL, sizes, now, [first])
    found[MAIL].spec["trace"] = {
        "rows": sizes.trace_rows,
        "days": (mail_span(sizes) + SETTLED) / DAY,
        "quota": None,
    }
    for per_day in sizes.idle:
        known = [daily(MEASURED, *each, per_day) for each in Steady.at(now).ranges(1)]
        name = idle_name(per_day)
        found[name] = _order(name, sizes, now, [*known, first])
    return found


def mail_span(sizes: Sizes) -> timedelta:
    """How long the rows of message trace take to come."""
    return DAY * (sizes.trace_rows / sizes.trace_per_day)


def day_stretches(sizes: Sizes, now: datetime) -> list[Stretch]:
    """What all sources together have, as far as the runs of the listing measurement can see it."""
    ranges = Steady.at(now).ranges(sizes.day_runs)
    return [
        daily(source, *each, max(1, sizes.day_contents * share // 100))
        for source, share in SHARES.items()
        for each in ranges
    ]


def ledger_of(per_day: int, now: datetime) -> list[Placed]:
    """What the ledger of an idle feed knows: everything of each day in which the run lists anything."""
    ranges = Steady.at(now).ranges(1)
    days = {moment.replace(hour=0, minute=0, second=0, microsecond=0) for moment, _ in ranges}
    until = max(end for _, end in ranges)
    return [
        each
        for day in sorted(days)
        for each in daily(MEASURED, day, min(day + DAY, until), per_day).placed()
    ]


def _order(name: str, sizes: Sizes, now: datetime, stretches: list[Stretch]) -> TenantOrder:
    return TenantOrder(
        spec={
            "tenant_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"bench tenant {name}")),
            "client_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"bench client {name}")),
            "client_secret": hashlib.sha256(f"bench secret {name}".encode()).hexdigest()[:40],
            "record_bytes": sizes.record_bytes,
        },
        now=now,
        stretches=stretches,
        certs="",
    )
