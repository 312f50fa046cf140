"""A format is added by one module: it passes the suite, and both engines publish through it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from shared.publish.format import About, Format, Parcel
from tests.adding.badges import Badges, source_of
from tests.publish.formats import FormatSuite

if TYPE_CHECKING:
    from shared.records import Records
    from tests.adding.conftest import Desk


class Wrapped:
    """Each record in an object that says where it comes from; records that say ``noise`` are left out."""

    name = "wrapped"

    def parcel(self, records: Records, about: About) -> Parcel:
        """One line a record."""
        kept = [at for at, body in enumerate(records.bodies) if b"noise" not in body]
        start = json.dumps({"source": about.source, "content": about.content_id}).encode()[:-1]
        return Parcel(
            bodies=[start + b', "record": ' + records.bodies[at] + b"}" for at in kept],
            records=[records.bodies[at] for at in kept],
            ids=[records.ids[at] for at in kept],
            shared={
                "connection": about.connection,
                "tenant_id": about.tenant_id,
                "source": about.source,
                "kind": about.kind,
            },
            columns={name: [column[at] for at in kept] for name, column in records.columns.items()},
            first=records.first,
            count=len(records.bodies),
            last=records.last,
        )


class TestWrapped(FormatSuite):
    """It passes what every format must."""

    @pytest.fixture
    def format(self) -> Format:
        return Wrapped()


def test_what_is_collected_is_published_in_it(desk: Desk) -> None:
    api = Badges()
    api.offer("a", b'[{"Id":"1"},{"Id":"noise"},{"Id":"2"}]')
    api.offer("all-noise", b'[{"Id":"noise"}]')
    source = source_of(api)

    summary = desk.collect(source, format=Wrapped())

    assert (summary.status, summary.delivered, summary.records) == ("succeeded", 2, 2)
    assert desk.ledger(source) == {"a": "delivered", "all-noise": "delivered"}
    events = sorted((json.loads(line) for line in desk.arrived()), key=str)
    assert [event["record"]["Id"] for event in events] == ["1", "2"]
    assert {(event["source"], event["content"]) for event in events} == {("Badges.All", "a")}
