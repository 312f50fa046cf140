from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from azure.data.tables import TableClient

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
    storage.table(table).delete("feed", before="2026")


@pytest.mark.parametrize(
    ("after", "before", "left"),
    [
        pytest.param("", "2", ["2", "3"], id="before"),
        pytest.param("2", "", ["1", "2"], id="after"),
    ],
)
def test_only_rows_beyond_the_bound_are_deleted(
    storage: Storage, table: str, after: str, before: str, left: list[str]
) -> None:
    for key in ("1", "2", "3"):
        storage.table(table).upsert({"PartitionKey": "feed", "RowKey": key})
    storage.table(table).delete("feed", after=after, before=before)
    assert [row["RowKey"] for row in storage.table(table).rows("feed")] == left


def _many(storage: Storage, table: str, count: int) -> None:
    storage.table(table).upsert({"PartitionKey": "feed", "RowKey": "9"})
    client = storage._tables.get_table_client(table)
    rows = [{"PartitionKey": "feed", "RowKey": f"1{n:04}"} for n in range(count)]
    for start in range(0, count, 100):
        client.submit_transaction([("upsert", row) for row in rows[start : start + 100]])


def test_a_cleaning_deletes_more_rows_than_come_in_a_day(storage: Storage, table: str) -> None:
    _many(storage, table, 288)

    storage.table(table).delete("feed", before="2")

    assert [row["RowKey"] for row in storage.table(table).rows("feed")] == ["9"]


def test_rows_that_another_worker_deletes_meanwhile_are_no_failure(
    storage: Storage, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _many(storage, table, 3)
    together = TableClient.submit_transaction

    def late(client: TableClient, operations: Any) -> Any:
        monkeypatch.setattr(TableClient, "submit_transaction", together)
        client.delete_entity("feed", "10001")
        return together(client, operations)

    monkeypatch.setattr(TableClient, "submit_transaction", late)

    storage.table(table).delete("feed", before="2")

    assert [row["RowKey"] for row in storage.table(table).rows("feed")] == ["9"]
