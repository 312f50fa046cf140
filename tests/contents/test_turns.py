"""Whose turn it is among contents that wait: nothing expires for want of haste, and nothing new waits for a backlog."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.contents.work import BACKLOG, LAST, turn_of
from shared.times import iso

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def test_what_expires_soon_comes_first_then_what_is_new_then_the_rest_by_when_it_expires() -> None:
    names = {
        "leaves in a day less a second": (
            NOW - 6 * DAY,
            NOW + DAY - timedelta(seconds=1),
        ),
        "an hour old": (NOW - HOUR, NOW + 7 * DAY),
        "leaves in two days": (NOW - 5 * DAY, NOW + 2 * DAY),
        "leaves in six days": (NOW - DAY, NOW + 6 * DAY),
    }

    turns = {name: turn_of(iso(created), until, NOW) for name, (created, until) in names.items()}

    assert sorted(turns, key=lambda name: turns[name]) == list(names)
    assert max(turns.values()) < LAST
    assert turn_of(iso(NOW - HOUR), NOW + 7 * DAY, NOW) != turns["an hour old"]


@pytest.mark.parametrize("created", ["", "yesterday", "9999-99-99"])
def test_what_nobody_can_date_is_not_new(created: str) -> None:
    assert turn_of(created, NOW + 5 * DAY, NOW)[0] == BACKLOG
