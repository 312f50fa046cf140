"""A source with contents is added by a row and a module: nothing else has to know it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.contents.replay import NOT_SPLIT
from shared.times import HOUR
from tests.adding.badges import Badges, source_of

if TYPE_CHECKING:
    import pytest

    from tests.adding.conftest import Desk


def test_it_is_collected_once_with_ledger_budget_and_day_rows(desk: Desk) -> None:
    api = Badges()
    # The oldest is one that the service lists for a few minutes more.
    for n in range(5):
        api.offer(f"badge-{n}", b'[{"Id":"%d-a"},{"Id":"%d-b"}]' % (n, n), hours_ago=71.8 / (n + 1))
    expected = {b'{"Id":"%d-%c"}' % (n, letter) for n in range(5) for letter in b"ab"}
    source = source_of(api)

    first = desk.collect(source)

    assert (first.status, first.error, first.gap_seconds) == ("succeeded", "", 0)
    assert (first.listed, first.delivered, first.records) == (5, 5, 10)
    assert desk.granted("badges") >= api.asker.requests == first.requests >= 8
    assert desk.ledger(source) == dict.fromkeys(api.bodies, "delivered")
    assert sum(row["delivered"] for row in desk.days(source)) == 5

    api.offer("late", b'[{"Id":"late"}]', hours_ago=30)
    while "late" not in desk.ledger(source):
        assert desk.collect(source).error == ""

    assert desk.arrived() == dict.fromkeys({*expected, b'{"Id":"late"}'}, 1)


def test_what_fails_is_tried_again_and_given_up_at_the_sources_horizon(desk: Desk) -> None:
    api = Badges()
    api.offer("mended", b"[")
    api.offer("page", b"<html>")
    source = source_of(api)

    assert desk.collect(source).pending == 2
    api.ahead, api.bodies["mended"] = 48 * HOUR, b'[{"Id":"mended"}]'
    assert desk.collect(source).pending == 1
    assert desk.arrived() == {b'{"Id":"mended"}': 1}

    api.ahead = 72 * HOUR
    assert desk.collect(source).pending == 0
    assert desk.ledger(source) == {"mended": "delivered", "page": "dead-lettered"}
    (summary,) = desk.replay(source)
    assert summary.kept == {NOT_SPLIT: 1}


def test_what_left_its_horizon_is_a_gap(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    api = Badges()
    source = source_of(api)
    desk.collect(source)

    api.ahead = 96 * HOUR
    api.offer("later", b'[{"Id":"later"}]', hours_ago=48)
    last = desk.collect(source)

    assert (last.error, last.delivered, last.pending) == ("", 1, 0)
    assert 0 <= last.gap_seconds - 24 * 3600 < 900
    assert "not listed for more than 3 days" in caplog.text
    assert sum(row["gap_seconds"] for row in desk.days(source)) == last.gap_seconds
