"""A source with contents is added by a row and a module: nothing else has to know it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from shared.config.declarations import settings_of
from shared.sources.registry import SOURCES
from shared.times import utc_now
from tests.adding.badges import Badges, source_of

if TYPE_CHECKING:
    import pytest

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
    assert api.refused == []
    assert desk.ledger(source)["broken"] in ("listed", "attempt")
    expected = {b'{"Id":"%d-%c"}' % (n, letter) for n in range(5) for letter in b"ab"}
    assert desk.arrived() == dict.fromkeys({*expected, b'{"Id":"late"}'}, 1)


def test_it_is_asked_within_its_own_horizon_and_what_left_that_is_a_gap(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    api = Badges()
    source, begin = source_of(api), utc_now()

    first = desk.collect(source)

    oldest = min(window.start for window in api.asked)
    assert timedelta(0) <= oldest - (begin - timedelta(days=3)) < timedelta(minutes=15)
    assert first.gap_seconds == 0

    api.ahead = timedelta(days=4)
    api.bodies["later"] = (utc_now() + timedelta(days=2), b'[{"Id":"later"}]')
    last = desk.collect(source)

    assert api.refused == []
    assert (last.delivered, last.pending) == (1, 0)
    assert 0 <= last.gap_seconds - timedelta(days=1).total_seconds() < 900
    assert "not listed for more than 3 days" in caplog.text
    assert sum(row["gap_seconds"] for row in desk.days(source)) == last.gap_seconds


def test_a_content_whose_end_nobody_says_is_given_up_at_the_sources_horizon(desk: Desk) -> None:
    api = Badges()
    api.bodies["page"] = (utc_now() - HOUR, b"<html>")
    source = source_of(api)

    for api.ahead in (timedelta(0), timedelta(days=2)):
        assert desk.collect(source).pending == 1

    api.ahead = timedelta(days=3)
    assert desk.collect(source).pending == 0
    assert desk.ledger(source) == {"page": "dead-lettered"}
    assert api.refused == []


def test_its_settings_schedule_and_hub_follow_from_its_row() -> None:
    names = {each.name: each.default for each in settings_of((*SOURCES, source_of(Badges())))}

    assert names["M365_OUTPUT_BADGES"] == "badges"
    assert names["BADGES_SCHEDULE"]
    assert names["M365_SOURCES"].endswith(",Badges.All")
