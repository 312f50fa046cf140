"""An app with one source that nobody knows, on real storage."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from shared.app import App
from shared.publish.file import FileSink
from shared.sources.registry import SOURCES, Source, load
from shared.state.account import Storage, read_blob
from shared.state.tables import DAYS_TABLE
from tests.harness import FAST, SECRET, ledger_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from local.azurite import Azurite
    from shared.run.replays import ReplaySummary
    from shared.state.run_summary import RunSummary


class Desk:
    """Collects one made-up source, and looks at what came of it."""

    def __init__(self, storage_connection: str, file: Path) -> None:
        self.tenant_id = str(uuid.uuid4())
        self.storage = Storage.from_connection_string(storage_connection)
        self._connection = storage_connection
        self._file = file

    def collect(self, source: Source, **options: Any) -> RunSummary:
        """One run of the source; for options see ``App``."""
        with self._app(source, **options) as app:
            (summary,) = app.run(source.name)
            return summary

    def replay(self, source: Source, **options: Any) -> list[ReplaySummary]:
        """One replay of the source."""
        with self._app(source, **options) as app:
            return list(app.replay(source.name))

    @contextmanager
    def _app(self, source: Source, **options: Any) -> Iterator[App]:
        """An app that has the source beside all others, and writes into the file unless there is another sink."""
        sources = (*SOURCES, source)
        values = {
            "M365_TENANT_ID": self.tenant_id,
            "M365_CLIENT_ID": str(uuid.uuid4()),
            "M365_CLIENT_SECRET": SECRET,
            "M365_SOURCES": source.name,
            "M365_STORAGE_CONNECTION_STRING": self._connection,
            "M365_EVENTHUB_NAMESPACE": "unused.servicebus.windows.net",
        }
        known = {each.name: each for each in sources}
        with closing(FileSink(self._file)) as file:
            options = {"sink": file, "tuning": FAST, **options}
            with closing(App(load(values, sources), sources=known, **options)) as app:
                yield app

    def arrived(self) -> Counter[bytes]:
        """What is in the file."""
        return Counter(self._file.read_bytes().splitlines())

    def days(self, source: Source) -> list[dict[str, Any]]:
        """The source's day rows."""
        return self.storage.table(DAYS_TABLE).rows(f"{self.tenant_id}_{source.name}")

    def ledger(self, source: Source) -> dict[str, str]:
        """Content id to state."""
        entries = ledger_of(self.storage, f"{self.tenant_id}/{source.name}")
        return {name: entry.state for name, entry in entries.items()}

    def granted(self, api: str) -> int:
        """Requests that the shared budget of an API has granted."""
        stored = read_blob(self.storage.state, f"budgets/{self.tenant_id}/{api}.json")
        return sum(taken for _, taken in json.loads(stored.data)["grants"]) if stored else 0


@pytest.fixture
def desk(azurite: Azurite, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(azurite.connection_string, tmp_path / "events.jsonl")
    yield desk
    desk.storage.close()
