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


def _rows(*keys: str, n: int = 0) -> list[dict[str, Any]]:
    return [{"PartitionKey": "feed", "RowKey": key, "n": n} for key in keys]


def test_rows_are_replaced_together_by_their_etags(
    storage: Storage, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = storage.table(table)
    first = one.replace([(row, None) for row in _rows("1", "2", "3")])
    monkeypatch.delattr(TableClient, "update_entity")
    monkeypatch.delattr(TableClient, "create_entity")

    again = one.replace(list(zip(_rows("1", "2", "3", n=1), first, strict=True)))

    stored = {row["RowKey"]: (row["n"], row["etag"]) for row in one.rows("feed")}
    assert stored == {key: (1, etag) for key, etag in zip("123", again, strict=True)}


def test_a_row_that_somebody_else_wrote_is_left_and_spoils_no_other(
    storage: Storage, table: str
) -> None:
    one = storage.table(table)
    (etag,) = one.replace([(row, None) for row in _rows("1")])
    one.upsert(_rows("1", n=7)[0])
    one.upsert(_rows("2", n=7)[0])

    found = one.replace([*zip(_rows("1", "2", "3", n=1), (etag, None, None), strict=True)])

    assert [each is None for each in found] == [True, True, False]
    assert {row["RowKey"]: row["n"] for row in one.rows("feed")} == {"1": 7, "2": 7, "3": 1}


def test_more_rows_than_one_transaction_holds_are_replaced(storage: Storage, table: str) -> None:
    rows = _rows(*(f"{n:03}" for n in range(205)))

    found = storage.table(table).replace([(row, None) for row in rows])

    assert [row["etag"] for row in storage.table(table).rows("feed")] == found
    assert len(found) == 205
