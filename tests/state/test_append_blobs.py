"""Append blobs: what lies among them that is none, and what is gone when it is read."""

from __future__ import annotations

import uuid
from datetime import date
from typing import TYPE_CHECKING

import pytest

from shared.state.account import Storage
from shared.state.append_blobs import LedgerStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.azurite import Azurite

DAY = date(2026, 3, 1)


@pytest.fixture
def storage(azurite: Azurite) -> Iterator[Storage]:
    opened = Storage.from_connection_string(azurite.connection_string)
    yield opened
    opened.close()


def test_what_is_no_segment_of_a_day_is_left_out_of_the_list(storage: Storage) -> None:
    prefix = f"ledger/{uuid.uuid4()}/Audit.Exchange"
    store = LedgerStore(storage.state, prefix)
    store.append(DAY, b"{}\n")
    # A hierarchical namespace lists folders; the rest is what people put there.
    for name in (
        f"{DAY}",
        "notes.txt",
        f"{DAY}/00.jsonl.bak",
        f"{DAY}/copy/00.jsonl",
        "x/00.jsonl",
    ):
        storage.state.upload_blob(f"{prefix}/{name}", b"not ours")

    found = store.stored()

    assert {day: each.sizes for day, each in found.items()} == {DAY: {"00.jsonl": 3}}


@pytest.mark.parametrize(
    ("segment", "start"),
    [
        pytest.param("00.jsonl", 3, id="nothing-has-come-since"),
        pytest.param("07.jsonl", 0, id="somebody-removed-it"),
    ],
)
def test_what_is_not_there_reads_as_nothing(storage: Storage, segment: str, start: int) -> None:
    store = LedgerStore(storage.state, f"ledger/{uuid.uuid4()}/Audit.Exchange")
    store.append(DAY, b"{}\n")

    assert store.read(DAY, "00.jsonl", 0) == b"{}\n"
    assert store.read(DAY, segment, start) == b""
