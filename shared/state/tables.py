"""The rows of tables: what the SDK makes of them, and how many are deleted at a time."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from azure.data.tables import EdmType, EntityProperty, TableTransactionError

if TYPE_CHECKING:
    from azure.core.paging import ItemPaged
    from azure.data.tables import TableClient, TableEntity

ETAG = "etag"
"""What a row that was read was when it was read, beside its columns."""

MAX_TOGETHER, MAX_PAGES = 100, 40
"""Rows that one transaction of a table may hold, and how often so many are deleted at a time."""


def delete(client: TableClient, found: ItemPaged[TableEntity]) -> None:
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


def plain(row: TableEntity) -> dict[str, Any]:
    """A row with plain values, and its ETag as ``ETAG``."""
    found = {name: getattr(value, "value", value) for name, value in row.items()}
    return {**found, ETAG: str(row.metadata["etag"])}


def typed(value: Any) -> Any:
    """A value as it is stored."""
    # A plain int is stored as 32 bits, which a day's bytes exceed.
    if isinstance(value, int) and not isinstance(value, bool):
        return EntityProperty(value, EdmType.INT64)
    return value
