"""Reads everything back that an event hub holds, with the SDK's own consumer.

What arrived is what a consumer gets, and not what a server says about itself: `EventHubConsumerClient` reads every
partition from its beginning to the last event that it had when the reading began.
"""

from __future__ import annotations

import functools
import hashlib
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from azure.eventhub import EventHubConsumerClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from azure.eventhub import EventData, PartitionContext

TIMEOUT_S = 300.0
SILENCE_S = 30.0

Event = tuple[str, str, str]
"""(content id, event id, blake2b-128 of the body): what one delivered event is known by."""


class ReadbackError(RuntimeError):
    """The hub holds more events than could be read."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One event as a consumer sees it."""

    body: bytes
    properties: Mapping[str, str]


@dataclass(kw_only=True)
class Readback:
    """What a hub holds: how many events, which, and one of them to look at."""

    total: int = 0
    events: set[Event] = field(default_factory=set)
    sample: Sample | None = None

    @property
    def repeats(self) -> int:
        """Events that are there more than once, counted by how much more."""
        return self.total - len(self.events)


def read_back(
    connection_string: str,
    hub: str,
    *,
    on_progress: Callable[[int, int], None] = lambda _read, _total: None,
    timeout_s: float = TIMEOUT_S,
) -> Readback:
    """Read all partitions of a hub; `on_progress` is told how many of how many events were read.

    A `ReadbackError` says that nothing came for half a minute, or that it took longer than `timeout_s`.
    """
    client = EventHubConsumerClient.from_connection_string(
        connection_string, consumer_group="$Default", eventhub_name=hub
    )
    options: dict[str, Any] = {"max_batch_size": 1000, "max_wait_time": 0.1, "prefetch": 3000}
    options["starting_position"] = "-1"
    with client:
        wanted = _last_numbers(client)
        reader, total = _Reader(wanted), sum(wanted.values())
        # One thread for all partitions: each call of the SDK spins until it has claimed what it reads.
        receive = functools.partial(client.receive_batch, reader.take, **options)
        thread = threading.Thread(target=receive, daemon=True)
        thread.start()
        deadline = time.monotonic() + timeout_s
        while total and not reader.done.wait(0.2):
            on_progress(reader.found.total, total)
            if time.monotonic() > min(deadline, reader.last + SILENCE_S):
                came = (
                    f"only {reader.found.total} of the {total} events that hub '{hub}' holds came"
                )
                raise ReadbackError(came)
        on_progress(reader.found.total, total)
    thread.join(10)
    return reader.found


def _last_numbers(client: EventHubConsumerClient) -> dict[str, int]:
    """How many events each partition holds; those that hold none are left out."""
    counts = {}
    for partition in client.get_partition_ids():
        about: dict[str, Any] = client.get_partition_properties(partition)
        if not about["is_empty"]:
            first, last = about["beginning_sequence_number"], about["last_enqueued_sequence_number"]
            counts[partition] = last - first + 1
    return counts


class _Reader:
    """Takes batches from the SDK's threads until every partition has given what it held."""

    def __init__(self, wanted: Mapping[str, int]) -> None:
        self.found = Readback()
        self.done = threading.Event()
        self.last = time.monotonic()
        self._lock = threading.Lock()
        self._missing = dict(wanted)

    def take(self, context: PartitionContext, events: list[EventData]) -> None:
        read = [_read(event) for event in events]
        if not read:
            return
        with self._lock:
            for sample, known_by in read:
                self.found.total += 1
                self.found.events.add(known_by)
                self.found.sample = _nicer(self.found.sample, sample)
            self._missing[context.partition_id] -= len(read)
            self.last = time.monotonic()
            if all(missing <= 0 for missing in self._missing.values()):
                self.done.set()


def _read(event: EventData) -> tuple[Sample, Event]:
    body = b"".join(cast("Iterable[bytes]", event.body))
    properties = {_text(key): _text(value) for key, value in (event.properties or {}).items()}
    digest = hashlib.blake2b(body, digest_size=16).hexdigest()
    known_by = (properties.get("content_id", ""), properties.get("event_id", ""), digest)
    return Sample(body=body, properties=properties), known_by


def _text(value: object) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def _nicer(old: Sample | None, new: Sample) -> Sample:
    """The one that fills a screen without filling two."""
    return new if old is None or abs(len(new.body) - 900) < abs(len(old.body) - 900) else old
