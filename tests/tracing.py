"""What the tests of message trace share: a tenant with mail, runs of its feed, what arrived beside its books."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from local.tenant import TraceSpec, Triple
from shared.rows.digests import Hour, HourCounts
from shared.sources.message_trace.row import SOURCE, digest_of
from shared.state.account import read_blob, write_blob
from shared.state.append_blobs import DigestStore
from tests.harness import TRACE_HUB, Rig

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from local.certs import Certs
    from local.eventhubs import StoredEvent
    from shared.state.run_summary import RunSummary

MANY = {"M365_MESSAGE_TRACE_REQUESTS": "10000"}
"""A budget that no test uses up, unless that is what it is about."""

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


class TraceRig(Rig):
    """A rig whose tenant has mail; its trace has no quota unless it is given one; ``ids`` are fields of the tenant."""

    def __init__(
        self,
        certs: Certs,
        storage_connection: str,
        ids: Mapping[str, Any] | None = None,
        **trace: Any,
    ) -> None:
        spec = TraceSpec(**{"quota": None, "latency_s": 0.0, **trace})
        super().__init__(certs, storage_connection, trace=spec, **(ids or {}))
        self._asked_at: datetime | None = None

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def trace(self, *, settings: Mapping[str, str] | None = None, **options: Any) -> RunSummary:
        """Run the message-trace feed once."""
        self._asked_at = self.tenant.now()
        return self.run(SOURCE, settings={**MANY, **(settings or {})}, **options)

    def trace_until_caught_up(self, most: int = 12, **options: Any) -> list[RunSummary]:
        """Run it until nothing is left."""
        done: list[RunSummary] = []
        began = self.tenant.now()
        while len(done) < most:
            done.append(self.trace(**options))
            if done[-1].caught_up:
                # Where mail flows on, what came since stood in no range that was due.
                self._asked_at = began
                return done
        raise AssertionError(f"not done after {most} runs; the last: {done[-1]}")

    def pass_time(self, **time: float) -> None:
        """Move the tenant's clock."""
        self.tenant.advance(timedelta(**time))

    def change_note(self, **fields: Any) -> None:
        """Change what the checkpoint remembers of the trace."""
        stored = read_blob(self.storage.state, self.checkpoint_name(SOURCE))
        assert stored is not None
        value = json.loads(stored.data)
        value.setdefault("trace", {}).update(fields)
        data = json.dumps(value).encode()
        write_blob(self.storage.state, self.checkpoint_name(SOURCE), data, etag=stored.etag)

    def free_budget(self) -> None:
        """Forget the requests made so far, as after five minutes."""
        name = f"budgets/{self.tenant.spec.tenant_id}/trace.json"
        self.storage.state.delete_blob(name)
        self.restart()

    def ago(self, **time: float) -> datetime:
        """So long before the tenant's now."""
        return self.tenant.now() - timedelta(**time)

    def arrived(self) -> Counter[tuple[bytes, bytes]]:
        """Every row at the hub, by its digest and its bytes, and how often."""
        return Counter(
            (bytes.fromhex(str(event.properties["event_id"])), event.body)
            for event in self.hubs.events(TRACE_HUB)
            if "kind" not in event.properties
        )

    def details(self) -> list[StoredEvent]:
        """Every detail of a row at the hub."""
        events = self.hubs.events(TRACE_HUB)
        return [event for event in events if event.properties.get("kind") == "detail"]

    def statuses(self, trace_id: str) -> list[tuple[str, str]]:
        """(recipient, status) of a message's rows as they stand at the hub, sorted, repeats included."""
        return sorted(
            (row["recipientAddress"], row["status"])
            for row in self.bodies()
            if row["id"] == trace_id
        )

    def bodies(self) -> Iterator[dict[str, Any]]:
        """Every row at the hub."""
        return (
            json_of(event.body)
            for event in self.hubs.events(TRACE_HUB)
            if "kind" not in event.properties
        )

    def trace_repeats(self) -> int:
        """Rows that arrived more than once, counted by how much more."""
        return sum(count - 1 for count in self.arrived().values())

    def assert_trace_complete(self) -> None:
        """All that was shown, and all that stands in the trace up to the watermark, is at the hub; and nothing else.

        Byte for byte, and by the digests: each row is listed once and delivered.
        """
        books, watermark = self.tenant.trace.books, self.checkpoint(SOURCE).watermark
        bodies = {digest(triple): body for triple, body in books.bodies().items()}
        expected = digests(books.expected(None, watermark, since=self._asked_at) | books.served())
        ever = digests(books.ever_visible())
        arrived = {digest for digest, _ in self.arrived()}
        assert not expected - arrived, f"{len(expected - arrived)} of {len(expected)} are missing"
        assert not arrived - ever, f"{len(arrived - ever)} never stood in the trace"
        for found, body in self.arrived():
            assert body == bodies[found]

    def digests_by_hour(self) -> dict[datetime, HourCounts]:
        """What is written down of each hour, read anew from storage."""
        store = DigestStore(self.storage.state, f"digests/{self.tenant.spec.tenant_id}/{SOURCE}")
        found = {}
        for hour, segments in store.stored().items():
            held = Hour()
            for segment in sorted(segments.sizes):
                held.load(store.read(hour, segment, 0))
            found[hour] = held.counts()
        return found

    def days(self) -> dict[str, dict[str, Any]]:
        """The rows of the feed's days."""
        return {row["RowKey"]: row for row in self.day_rows(SOURCE)}


def digest(triple: Triple) -> bytes:
    """What a row is known by."""
    return digest_of(triple.id, triple.recipient, triple.status)


def digests(triples: Iterable[Triple]) -> set[bytes]:
    """What rows are known by."""
    return {digest(triple) for triple in triples}


def json_of(body: bytes) -> dict[str, Any]:
    """A row as it stands at the hub."""
    return dict(json.loads(body))
