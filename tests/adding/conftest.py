"""An app with one source that nobody knows, on real storage."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from shared.app import App
from shared.publish.file import FileSink
from shared.publish.formats import DEFAULT
from shared.sources.registry import SOURCES, Source, load
from shared.state.account import DAYS_TABLE, Storage, read_blob
from shared.state.append_blobs import LedgerStore
from shared.state.ledger_day import Day
from tests.harness import FAST, SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from local.azurite import Azurite
    from shared.publish.format import Format
    from shared.publish.sink import Sink
    from shared.run.context import Tuning
    from shared.run.replays import ReplaySummary
    from shared.state.run_tables import RunSummary


class Desk:
    """Collects one made-up source, and looks at what came of it."""

    def __init__(self, storage_connection: str, file: Path) -> None:
        self.tenant_id = str(uuid.uuid4())
        self.storage = Storage.from_connection_string(storage_connection)
        self._connection = storage_connection
        self._file = file

    def collect(
        self,
        source: Source,
        *,
        sink: Sink | None = None,
        format: Format = DEFAULT,
        tuning: Tuning = FAST,
    ) -> RunSummary:
        """One run of the source."""
        with self._app(source, sink, format, tuning) as app:
            (summary,) = app.run(source.name)
            return summary

    def replay(self, source: Source, *, sink: Sink | None = None) -> list[ReplaySummary]:
        """One replay of the source."""
        with self._app(source, sink, DEFAULT, FAST) as app:
            return list(app.replay(source.name))

    @contextmanager
    def _app(
        self, source: Source, sink: Sink | None, format: Format, tuning: Tuning
    ) -> Iterator[App]:
        """An app that has the source beside all others."""
        sources = (*SOURCES, source)
        values = {
            "M365_TENANT_ID": self.tenant_id,
            "M365_CLIENT_ID": str(uuid.uuid4()),
            "M365_CLIENT_SECRET": SECRET,
            "M365_SOURCES": source.name,
            "M365_STORAGE_CONNECTION_STRING": self._connection,
            "M365_EVENTHUB_NAMESPACE": "unused.servicebus.windows.net",
        }
        own = FileSink(self._file)
        app = App(
            load(values, sources),
            tuning=tuning,
            sink=sink or own,
            format=format,
            sources={each.name: each for each in sources},
        )
        try:
            yield app
        finally:
            app.close()
            own.close()

    def arrived(self) -> Counter[bytes]:
        """What is in the file."""
        return Counter(self._file.read_bytes().splitlines())

    def days(self, source: Source) -> list[dict[str, Any]]:
        """The source's day rows."""
        return self.storage.rows(DAYS_TABLE, f"{self.tenant_id}_{source.name}")

    def ledger(self, source: Source) -> dict[str, str]:
        """Content id to state."""
        store = LedgerStore(self.storage.state, f"ledger/{self.tenant_id}/{source.name}")
        states = {}
        for day, segments in store.stored().items():
            known = Day(day)
            for segment in sorted(segments.sizes):
                known.load(store.read(day, segment, 0))
            states.update({entry.id: entry.state for entry in known.entries.values()})
        return states

    def granted(self, api: str) -> int:
        """Requests that the shared budget of an API has granted."""
        stored = read_blob(self.storage.state, f"budgets/{self.tenant_id}/{api}.json")
        return sum(taken for _, taken in json.loads(stored.data)["grants"]) if stored else 0


@pytest.fixture
def desk(azurite: Azurite, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(azurite.connection_string, tmp_path / "events.jsonl")
    yield desk
    desk.storage.close()
