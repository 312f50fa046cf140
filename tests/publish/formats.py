"""What every format must pass: a test class inherits this and says which format it is.

That the suite refuses a format with a defect is proved in tests/publish/test_suites.py.
"""

from __future__ import annotations

from dataclasses import replace
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


def rows() -> Records:
    """Records with ids and a column that do not stand in them."""
    numbers = range(len(BODIES))
    return Records(
        bodies=list(BODIES),
        ids=[f"id-of-{number}" for number in numbers],
        columns={"content_id": [f"content-of-{number}" for number in numbers]},
    )


def everything(parcel: Parcel) -> list[tuple[bytes, bytes, dict[str, str]]]:
    """Record, body and properties of each event."""
    return [
        (record, bytes(body), parcel.properties(at))
        for at, (record, body) in enumerate(zip(parcel.records, parcel.bodies, strict=True))
    ]


def says(parcel: Parcel, at: int, value: str) -> bool:
    """Whether an event says something in its properties or in its body."""
    _, body, properties = everything(parcel)[at]
    return value in properties.values() or value.encode() in body


class FormatSuite:
    """The promises of ``Format``."""

    @pytest.fixture
    def format(self) -> Format:
        raise NotImplementedError

    def test_its_name_is_one_word_in_lower_case(self, format: Format) -> None:
        assert format.name
        assert format.name == "".join(format.name.lower().split())

    def test_the_same_records_give_the_same_parcel_every_time(self, format: Format) -> None:
        first, second = (format.parcel(records(), ABOUT) for _ in range(2))

        assert everything(first) == everything(second)

    def test_a_parcel_does_not_depend_on_the_ones_before(self, format: Format) -> None:
        alone = format.parcel(records(BODIES[:1]), ABOUT)
        format.parcel(records(), ABOUT)

        assert everything(format.parcel(records(BODIES[:1]), ABOUT)) == everything(alone)

    def test_every_record_is_an_event_or_counted_as_left_out(self, format: Format) -> None:
        for made in (records(), rows()):
            parcel = format.parcel(made, ABOUT)

            assert parcel.count == len(BODIES)
            assert 0 < len(parcel) <= len(BODIES)
            assert len(parcel.records) == len(parcel.ids) == len(parcel)
            assert all(len(values) == len(parcel) for values in parcel.columns.values())

    def test_every_event_knows_its_record_byte_for_byte_and_keeps_its_id(
        self, format: Format
    ) -> None:
        for made in (records(), rows()):
            ids = dict(zip(made.bodies, made.ids, strict=True))
            parcel = format.parcel(made, ABOUT)

            events = [parcel.event(at) for at in range(len(parcel))]
            assert [ids[event.record] for event in events] == [event.id for event in events]
            assert [each["event_id"] for _, _, each in everything(parcel)] == list(parcel.ids)

    def test_events_stand_in_the_order_of_their_records(self, format: Format) -> None:
        parcel = format.parcel(records(), ABOUT)

        assert list(parcel.records) == [each for each in BODIES if each in parcel.records]

    def test_every_event_says_where_it_comes_from(self, format: Format) -> None:
        parcel = format.parcel(records(), ABOUT)

        for at in range(len(parcel)):
            for value in (ABOUT.connection, ABOUT.tenant_id, ABOUT.source, ABOUT.content_id):
                assert says(parcel, at, value), value

    def test_every_event_says_what_its_own_columns_say(self, format: Format) -> None:
        made, about = rows(), replace(ABOUT, content_id="")
        parcel = format.parcel(made, about)

        for at, record in enumerate(parcel.records):
            number = made.bodies.index(record)
            for name, values in made.columns.items():
                assert says(parcel, at, values[number]), name

    def test_a_detail_is_told_from_a_record(self, format: Format) -> None:
        made = [
            everything(format.parcel(records(), about))
            for about in (ABOUT, replace(ABOUT, kind=DETAIL))
        ]

        for record, detail in zip(*made, strict=True):
            assert record[1:] != detail[1:]

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
