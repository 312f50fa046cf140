"""Closing the publisher: what was acknowledged is reported before the caller goes on to write it down."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from shared.publish.file import FileSink
from shared.publish.publisher import Publisher
from tests.publish.parcels import parcel

if TYPE_CHECKING:
    from pathlib import Path

    from shared.publish.outbox import Delivery


def test_close_returns_only_after_every_acknowledged_content_was_reported(tmp_path: Path) -> None:
    reported: list[str] = []

    def slowly(delivery: Delivery[str]) -> None:
        # Whatever a sending thread meets between an acknowledgement and the note of it.
        time.sleep(0.2)
        reported.append(delivery.key)

    sink = FileSink(tmp_path / "events.jsonl")
    publisher = Publisher(sink, on_settled=slowly, claim_check=lambda parcel, _: parcel)
    publisher.publish("content", parcel(b"{}"))

    publisher.close(60)

    assert reported == ["content"]
    sink.close()
