"""A source whose listing is the data is added by a row and a module: nothing else has to know it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from shared.rows.job import RowJob
from shared.rows.replay import keep_rows
from shared.rows.row import Row, digest_of_bytes
from shared.rows.source import RowPolicy
from shared.run.context import JobMaker
from shared.service.budget import Allowance, Payer
from shared.sources.registry import ROWS, Source
from shared.state.append_blobs import DigestStore
from shared.state.dead_letters import RECORD, DeadLetters
from shared.times import HOUR, ServiceClock, Window, utc_now, whole_second

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.config.connections import Connection
    from shared.sources.clients import Apis
    from tests.adding.conftest import Desk

STAYS = "is a door that is no JSON"
MINUTE = timedelta(minutes=1)
POLICY = RowPolicy(
    delay=MINUTE,
    backfill=timedelta(days=1),
    overlap=2 * HOUR,
    longest_live=4 * HOUR,
    reread=12 * HOUR,
    cycle=HOUR,
    first_width=HOUR,
    target_rows=10,
)


@dataclass
class Doors:
    """Who went through which door; see ``RowApi``."""

    asker: Payer = field(init=False)
    rows: list[tuple[datetime, bytes]] = field(default_factory=list)
    max_width: timedelta = 6 * HOUR
    horizon: timedelta = timedelta(days=4)

    def pages(self, window: Window) -> Iterator[list[Row]]:
        """Two rows a page, newest first."""
        found = sorted((x for x in self.rows if window.start <= x[0] < window.end), reverse=True)
        for start in range(0, max(1, len(found)), 2):
            self.asker.pay()
            yield [
                Row(raw=raw, id="door", received=at, digest=digest_of_bytes(raw), lasting=("door",))
                for at, raw in found[start : start + 2]
            ]

    def open(self, hours_ago: float, **more: str) -> bytes:
        """Somebody went through a door."""
        at = whole_second(utc_now() - hours_ago * HOUR)
        row = {"at": at.isoformat(), "n": len(self.rows), **more}
        self.rows.append((at, json.dumps(row).encode()))
        return self.rows[-1][1]


def source_of(api: Doors) -> Source:
    """The registry row."""

    def jobs(apis: Apis, connection: Connection) -> JobMaker:
        api.asker = Payer(apis.budget(connection, "doors", Allowance(limit=600)))
        return JobMaker(
            make=lambda run: RowJob(run, api, POLICY),
            replay=lambda feed, parts, _: [keep_rows(feed, parts, STAYS)],
            clock=ServiceClock(),
        )

    return Source(name="Doors", setting="DOORS", hub="doors", engine=ROWS, jobs=jobs)


def test_it_is_collected_once_with_digests_budget_and_day_rows(desk: Desk) -> None:
    api = Doors()
    opened = {api.open(hours) for hours in range(1, 21)}
    source = source_of(api)

    first = desk.collect(source)

    assert (first.status, first.error, first.caught_up) == ("succeeded", "", True)
    assert first.delivered == len(opened)
    assert desk.granted("doors") >= api.asker.requests == first.requests > 0
    assert desk.arrived() == dict.fromkeys(opened, 1)
    assert sum(row["delivered"] for row in desk.days(source)) == len(opened)
    assert DigestStore(desk.storage.state, f"digests/{desk.tenant_id}/Doors").stored()

    # What comes late inside the overlap; nothing else a second time.
    opened.add(api.open(1.5))
    second = desk.collect(source)

    assert second.delivered == 1
    assert desk.arrived() == dict.fromkeys(opened, 1)


def test_its_dead_letters_are_named_by_a_replay(desk: Desk) -> None:
    letters = DeadLetters(desk.storage.dead_letters, f"{desk.tenant_id}/Doors")
    letters.put(RECORD, utc_now().date(), b"{", content_id="1", reason="no JSON")

    (summary,) = desk.replay(source_of(Doors()))

    assert (summary.letters, summary.delivered, summary.kept) == (1, 0, {STAYS: 1})
