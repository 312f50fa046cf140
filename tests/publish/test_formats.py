"""The formats that there are, each against what every format promises."""

from __future__ import annotations

import pytest

from shared.publish.format import DETAIL, About, Format
from shared.publish.formats import DEFAULT, FORMATS
from shared.publish.raw import Raw
from shared.records import Records
from tests.publish.formats import ABOUT, BODIES, FormatSuite, everything, records


class TestRaw(FormatSuite):
    """Raw passes what every format must."""

    @pytest.fixture
    def format(self) -> Format:
        return Raw()

    def test_a_body_is_the_record_itself(self) -> None:
        made = records()
        parcel = Raw().parcel(made, ABOUT)

        assert all(body is record for body, record in zip(parcel.bodies, made.bodies, strict=True))

    def test_the_properties_say_where_an_event_comes_from(self) -> None:
        assert everything(Raw().parcel(records(BODIES[:1]), ABOUT))[0][2] == {
            "connection": "contoso",
            "tenant_id": ABOUT.tenant_id,
            "source": "Audit.Exchange",
            "content_id": "20260301120000$content",
            "event_id": "one",
        }

    def test_what_is_no_plain_record_says_so_and_rows_bring_a_content_id_of_their_own(self) -> None:
        rows = Records(bodies=[b"{}"], ids=["7"], columns={"content_id": ["row"]})
        about = About(connection="c", tenant_id="t", source="MessageTrace", kind=DETAIL)

        ((_, _, properties),) = everything(Raw().parcel(rows, about))

        assert (properties["kind"], properties["content_id"]) == ("detail", "row")


def test_the_default_is_raw_and_every_format_stands_under_its_name() -> None:
    assert DEFAULT.name == "raw"
    assert all(format.name == name for name, format in FORMATS.items())
