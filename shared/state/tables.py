"""One table of the customer's account: its rows are read, written and deleted by partition."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any

from azure.core import MatchConditions
from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables import EdmType, EntityProperty, TableTransactionError, UpdateMode

from shared.state.failures import Conflict, storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from azure.core.paging import ItemPaged
    from azure.data.tables import TableClient, TableEntity, TableServiceClient

RUNS_TABLE = "m365runs"
DAYS_TABLE = "m365days"

ETAG = "etag"
"""What a row that was read was when it was read, beside its columns."""

MAX_TOGETHER, MAX_PAGES = 100, 40
"""Rows that one transaction of a table may hold, and how often so many are deleted at a time."""


class Table:
    """One table; it is made with its first row.

    Args:
        service: the account's table service.
        name: of the table.
    """

    def __init__(self, service: TableServiceClient, name: str) -> None:
        self._service = service
        self._name = name
        self._client = service.get_table_client(name)

    def upsert(self, row: dict[str, Any]) -> None:
        """Insert or replace one row."""
        typed = _typed(row)
        self._write(lambda: self._client.upsert_entity(typed, mode=UpdateMode.REPLACE))

    def take_over(self, row: dict[str, Any], key: str) -> bool:
        """Insert or replace a row and delete another of its partition; False where that one is not there."""
        gone = {"PartitionKey": row["PartitionKey"], "RowKey": key}
        together: list[tuple[Any, ...]] = [
            ("upsert", _typed(row), {"mode": UpdateMode.REPLACE}),
            ("delete", gone),
        ]
        with storage_errors(f"write {self._name}"), contextlib.suppress(TableTransactionError):
            self._client.submit_transaction(together)
            return True
        return False

    def replace(self, rows: Sequence[tuple[dict[str, Any], str | None]]) -> list[str | None]:
        """Write rows of one partition that still are what was read.

        Args:
            rows: each with its ETag; None means that it must not exist yet.

        Returns:
            The new ETags; None for a row that somebody else has written.
        """
        found: list[str | None] = []
        for at in range(0, len(rows), MAX_TOGETHER):
            found += self._replace_together(rows[at : at + MAX_TOGETHER])
        return found

    def _replace_together(
        self, rows: Sequence[tuple[dict[str, Any], str | None]]
    ) -> list[str | None]:
        if len(rows) > 1:
            todo = [_replacement(row, etag) for row, etag in rows]
            # One that somebody else wrote, or a table that is not there, spoils it for all.
            with storage_errors(f"write {self._name}"), contextlib.suppress(TableTransactionError):
                return [str(each["etag"]) for each in self._client.submit_transaction(todo)]
        return [self._replace_one(row, etag) for row, etag in rows]

    def _replace_one(self, row: dict[str, Any], etag: str | None) -> str | None:
        _, typed, *options = _replacement(row, etag)
        with contextlib.suppress(Conflict), storage_errors(f"write table {self._name}"):
            for each in options:
                # One that is gone is made anew.
                with contextlib.suppress(ResourceNotFoundError):
                    return str(self._client.update_entity(typed, **each)["etag"])
            return str(self._write(lambda: self._client.create_entity(typed))["etag"])
        return None

    def _write(self, write: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        with storage_errors(f"write table {self._name}"):
            try:
                return write()
            except ResourceNotFoundError:
                self._service.create_table_if_not_exists(self._name)
                return write()

    def rows(self, partition: str, *, first: str = "", last: str = "") -> list[dict[str, Any]]:
        """The rows of one partition, in row key order: all, or those from one row key to another, both included.

        Each has its ETag as ``ETAG``.
        """
        query = "PartitionKey eq @partition" + (
            " and RowKey ge @first and RowKey le @last" if last else ""
        )
        parameters = {"partition": partition, "first": first, "last": last}
        with storage_errors(f"read table {self._name}"):
            try:
                found = list(self._client.query_entities(query, parameters=parameters))
            except ResourceNotFoundError:
                return []
        return [_plain(row) for row in found]

    def delete(self, partition: str, *, after: str = "", before: str = "", more: str = "") -> None:
        """Delete the rows of a partition between two row keys, some thousands at most; ``more`` is a filter's rest."""
        bounds = ("RowKey gt @after" * bool(after), "RowKey lt @before" * bool(before), more)
        query = " and ".join(filter(None, ("PartitionKey eq @partition", *bounds)))
        parameters = {"partition": partition, "after": after, "before": before}
        # A table is made by its first row, so it may not be there yet.
        with (
            storage_errors(f"clean table {self._name}"),
            contextlib.suppress(ResourceNotFoundError),
        ):
            found = self._client.query_entities(
                query,
                parameters=parameters,
                select=["PartitionKey", "RowKey"],
                results_per_page=MAX_TOGETHER,
            )
            _delete(self._client, found)


def _delete(client: TableClient, found: ItemPaged[TableEntity]) -> None:
    """Delete rows of one partition that were found, some thousands at most."""
    for page in itertools.islice(found.by_page(), MAX_PAGES):
        rows = list(page)
        try:
            # The SDK sends a transaction of nothing, too, which the service refuses.
            if rows:
                client.submit_transaction([("delete", row) for row in rows])
        except TableTransactionError:
            # Another worker was faster with one of them, which spoils it for all.
            for row in rows:
                client.delete_entity(row["PartitionKey"], row["RowKey"])


def _replacement(row: dict[str, Any], etag: str | None) -> tuple[Any, ...]:
    """An operation of a transaction, which is a method of the client as well, and its arguments."""
    if etag is None:
        return "create", _typed(row)
    options = {"mode": UpdateMode.REPLACE, "etag": etag}
    return "update", _typed(row), {**options, "match_condition": MatchConditions.IfNotModified}


def _plain(row: TableEntity) -> dict[str, Any]:
    """A row with plain values, and its ETag as ``ETAG``."""
    found = {name: getattr(value, "value", value) for name, value in row.items()}
    return {**found, ETAG: str(row.metadata["etag"])}


def _typed(row: dict[str, Any]) -> dict[str, Any]:
    """A row as it is stored: a plain int is stored as 32 bits, which a day's bytes exceed."""
    return {
        name: EntityProperty(value, EdmType.INT64)
        if isinstance(value, int) and not isinstance(value, bool)
        else value
        for name, value in row.items()
    }
