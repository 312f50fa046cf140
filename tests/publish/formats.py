"""What every format must pass: a test class inherits this and says which format it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shared.publish.format import DETAIL, About, Format, Parcel
from shared.records import Records

if TYPE_CHECKING:
    from collections.abc import Sequence

ABOUT = About(
    connection="contoso",
    tenant_id="3c5158d0-5962-5090-9c19-b6852a206f1d",
    source="Audit.Exchange",
    content_id="20260301120000$content",
)
BODIES = (
    b'{"Id":"one","Operation":"Set-Mailbox"}',
    b'{"Id":"two",\r\n "Subject":"\\ud800 unpaired"}',
    '{"Id":"three","UserId":"zoë"}'.encode(),
    b'{"Id":"four","Bytes":"\xff\xfe"}',
    b"{}",
    b'"no object"',
)


def records(bodies: Sequence[bytes] = BODIES, *, first: int = 0, last: bool = True) -> Records:
    return Records.of(list(bodies), first=first, last=last)


def everything(parcel: Parcel) -> list[tuple[bytes, bytes, dict[str, str]]]:
    return [
        (parcel.records[at], bytes(parcel.bodies[at]), parcel.properties(at))
        for at in range(len(parcel))
    ]


class FormatSuite:
    """The promises of ``Format``."""

    @pytest.fixture
    def format(self) -> Format:
        raise NotImplementedError

    def test_it_has_the_name_that_settings_use(self, format: Format) -> None:
        assert format.name
        assert format.name == format.name.lower()

    def test_the_same_records_give_the_same_parcel_every_time(self, format: Format) -> None:
        first, second = (format.parcel(records(), ABOUT) for _ in range(2))

        assert everything(first) == everything(second)

    def test_a_parcel_does_not_depend_on_the_ones_before(self, format: Format) -> None:
        alone = format.parcel(records(BODIES[:1]), ABOUT)
        format.parcel(records(), ABOUT)

        assert everything(format.parcel(records(BODIES[:1]), ABOUT)) == everything(alone)

    def test_every_record_is_an_event_or_counted_as_left_out(self, format: Format) -> None:
        parcel = format.parcel(records(), ABOUT)

        assert parcel.count == len(BODIES)
        assert len(parcel) <= len(BODIES)
        assert len(parcel.records) == len(parcel.ids) == len(parcel)
        assert all(len(values) == len(parcel) for values in parcel.columns.values())

    def test_every_event_knows_its_record_byte_for_byte_and_keeps_its_id(
        self, format: Format
    ) -> None:
        made = records()
        ids = dict(zip(made.bodies, made.ids, strict=True))
        parcel = format.parcel(made, ABOUT)

        events = [parcel.event(at) for at in range(len(parcel))]
        assert [ids[event.record] for event in events] == [event.id for event in events]
        assert [parcel.properties(at)["event_id"] for at in range(len(parcel))] == parcel.ids

    def test_a_stretch_says_where_in_its_content_it_stands(self, format: Format) -> None:
        parcel = format.parcel(records(BODIES[2:4], first=2, last=False), ABOUT)

        assert (parcel.first, parcel.count, parcel.last) == (2, 2, False)

    def test_two_stretches_are_the_same_events_as_one(self, format: Format) -> None:
        whole = format.parcel(records(), ABOUT)
        parts = [
            format.parcel(records(BODIES[:3], last=False), ABOUT),
            format.parcel(records(BODIES[3:], first=3), ABOUT),
        ]

        assert [each for part in parts for each in everything(part)] == everything(whole)

    def test_a_content_without_records_is_a_parcel_without_events(self, format: Format) -> None:
        parcel = format.parcel(records(()), ABOUT)

        assert (len(parcel), parcel.count, parcel.last) == (0, 0, True)

    def test_ids_that_the_records_do_not_hold_are_taken_as_they_come(self, format: Format) -> None:
        own = Records(
            bodies=list(BODIES[:2]), ids=["a", "b"], columns={"content_id": ["row-1", "row-2"]}
        )
        parcel = format.parcel(own, About(connection="c", tenant_id="t", source="s", kind=DETAIL))

        assert list(parcel.ids) == ["a", "b"]
