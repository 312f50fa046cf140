"""A source with contents is added by a row and a module: nothing else has to know it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from shared.config.declarations import settings_of
from shared.sources.registry import SOURCES
from shared.times import utc_now
from tests.adding.badges import Badges, source_of

if TYPE_CHECKING:
    from tests.adding.conftest import Desk

HOUR = timedelta(hours=1)


def test_it_is_collected_once_with_ledger_budget_and_day_rows(desk: Desk) -> None:
    api = Badges()
    for number in range(5):
        body = b'[{"Id":"%d-a"},{"Id":"%d-b"}]' % (number, number)
        api.bodies[f"badge-{number}"] = (utc_now() - (number + 1) * HOUR, body)
    source = source_of(api)

    first = desk.collect(source)

    assert (first.status, first.error) == ("succeeded", "")
    assert (first.listed, first.delivered, first.records) == (5, 5, 10)
    assert first.requests == api.requests >= 8
    assert desk.granted("badges") >= api.requests
    assert desk.ledger(source) == {name: "delivered" for name in api.bodies}
    assert sum(row["delivered"] for row in desk.days(source)) == 5

    api.bodies["late"] = (utc_now() - 30 * HOUR, b'[{"Id":"late"}]')
    api.bodies["broken"] = (utc_now() - HOUR, b"[")
    while "late" not in desk.ledger(source):
        last = desk.collect(source)

    assert last.pending == 1
    assert desk.ledger(source)["broken"] in ("listed", "attempt")
    expected = {b'{"Id":"%d-%c"}' % (n, letter) for n in range(5) for letter in b"ab"}
    assert desk.arrived() == dict.fromkeys({*expected, b'{"Id":"late"}'}, 1)


def test_its_settings_schedule_and_hub_follow_from_its_row() -> None:
    names = {each.name: each.default for each in settings_of((*SOURCES, source_of(Badges())))}

    assert names["M365_OUTPUT_BADGES"] == "badges"
    assert names["BADGES_SCHEDULE"]
    assert names["M365_SOURCES"].endswith(",Badges.All")
