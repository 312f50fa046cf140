from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from shared.state.account import Storage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.azurite import Azurite


@pytest.fixture
def storage(azurite: Azurite) -> Iterator[Storage]:
    found = Storage.from_connection_string(azurite.connection_string)
    yield found
    found.close()


@pytest.fixture
def table() -> str:
    return f"t{uuid.uuid4().hex}"


def test_a_table_that_nobody_has_written_to_needs_no_cleaning(storage: Storage, table: str) -> None:
    storage.delete_rows(table, "feed", after=None, before="2026")


@pytest.mark.parametrize(
    ("after", "before", "left"),
    [
        pytest.param(None, "2", ["2", "3"], id="before"),
        pytest.param("2", None, ["1", "2"], id="after"),
    ],
)
def test_only_rows_beyond_the_bound_are_deleted(
    storage: Storage, table: str, after: str | None, before: str | None, left: list[str]
) -> None:
    for key in ("1", "2", "3"):
        storage.upsert(table, {"PartitionKey": "feed", "RowKey": key})
    storage.delete_rows(table, "feed", after=after, before=before)
    assert [row["RowKey"] for row in storage.rows(table, "feed")] == left
