"""A sink is added by one module: it passes the suite, and what is collected arrives in it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.adding.badges import Badges, source_of
from tests.adding.drawer import Drawer
from tests.harness import FAST
from tests.publish.sinks import Break, SinkSuite, Stored

if TYPE_CHECKING:
    from tests.adding.conftest import Desk


class TestDrawer(SinkSuite):
    """It passes what every sink must."""

    @pytest.fixture
    def sink(self) -> Drawer:
        return Drawer()

    @pytest.fixture
    def stored(self, sink: Drawer) -> Stored:
        return lambda: list(sink.kept)

    @pytest.fixture
    def broken(self, sink: Drawer) -> Break:
        return lambda: setattr(sink, "refusals", 1_000_000)


def test_what_is_collected_arrives_in_it_and_nothing_is_claimed_before(desk: Desk) -> None:
    api, drawer = Badges(), Drawer(refusals=2)
    api.offer("a", b'[{"Id":"1"},{"Id":"2"}]')

    summary = desk.collect(source_of(api), sink=drawer)

    assert (summary.status, summary.delivered) == ("succeeded", 1)
    assert [body for body, _ in drawer.kept] == [b'{"Id":"1"}', b'{"Id":"2"}']
    assert drawer.kept[0][1] == {
        "connection": "default",
        "tenant_id": desk.tenant_id,
        "source": "Badges.All",
        "content_id": "a",
        "event_id": "1",
    }


def test_what_it_never_takes_stays_pending(desk: Desk) -> None:
    api, drawer = Badges(), Drawer()
    api.offer("a", b'[{"Id":"1"}]')
    source = source_of(api)
    hasty = replace(FAST, patience=replace(FAST.patience, no_acknowledgement=1.0))

    summary = desk.collect(source, sink=Drawer(refusals=1_000_000), tuning=hasty)

    assert (summary.delivered, summary.pending) == (0, 1)
    assert desk.ledger(source) == {"a": "listed"}
    assert desk.collect(source, sink=drawer).delivered == 1
    assert [body for body, _ in drawer.kept] == [b'{"Id":"1"}']
