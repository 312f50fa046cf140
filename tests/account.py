"""The storage account of the tests: one Azurite for all workers of a run, since a warm one is half as dear."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from local.azurite import Azurite

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Account:
    """Where it is."""

    blob_endpoint: str
    table_endpoint: str
    connection_string: str

    @classmethod
    def of(cls, running: Azurite) -> Account:
        """The account of an Azurite that runs."""
        return cls(running.blob_endpoint, running.table_endpoint, running.connection_string)

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[Account]:
        """An account that is there for the length of the block."""
        with Azurite() as running:
            yield cls.of(running)
