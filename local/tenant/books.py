"""What happened to a simulated tenant: every request, and what became of every content.

Tests compare what a collector delivered with ``expected_events`` and judge its manners by the
rest: how often a content was listed and fetched, how many requests a minute it made, when it
started subscriptions. Notes are made before an answer leaves, so a client that has its answer
finds it in the books.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local.tenant.messages import API_KINDS
from local.tenant.spec import SOURCES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from local.tenant.bodies import Event
    from local.tenant.shelf import Shelf


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestNote:
    """One request: when (monotonic seconds), what kind, and how it ended.

    ``status`` is what was sent, 0 when the connection ended without an answer. ``fault`` is the
    action of the fault that was played, if any.
    """

    at: float
    kind: str
    status: int
    code: str | None
    source: str | None
    content_id: str | None
    authorization: bool
    publisher: str | None
    fault: str | None
    path: str


class Books:
    """The books of one tenant. Safe to use from several threads."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._lock = threading.Lock()
        self._requests: list[RequestNote] = []
        # How often a content was listed, served or refused.
        self._counts: Counter[tuple[str, str]] = Counter()
        self._starts: list[tuple[str, datetime]] = []

    def requests(self, *kinds: str) -> list[RequestNote]:
        """All requests so far, or those of some kinds, in the order of their answers."""
        with self._lock:
            return [note for note in self._requests if not kinds or note.kind in kinds]

    def max_requests_in(self, seconds: float, *kinds: str) -> int:
        """The most requests in any stretch of that length; of the Management API by default."""
        times = sorted(note.at for note in self.requests(*(kinds or API_KINDS)))
        most = first = 0
        for last, at in enumerate(times):
            while at - times[first] >= seconds:
                first += 1
            most = max(most, last - first + 1)
        return most

    def listed(self, content_id: str) -> int:
        """How often a content stood in a listing that was answered whole."""
        return self._counts["listed", content_id]

    def served(self, content_id: str) -> int:
        """How often a content's body was answered whole."""
        return self._counts["served", content_id]

    def refused(self, content_id: str) -> int:
        """How often a content was asked for and answered with an error, fault or not."""
        return self._counts["refused", content_id]

    def starts(self, source: str | None = None) -> list[tuple[str, datetime]]:
        """Requests to start a subscription: content type and tenant time, refused ones too."""
        with self._lock:
            return [start for start in self._starts if source in (None, start[0])]

    def visible(self) -> dict[str, int]:
        """How many contents of each source are visible by now."""
        counts = Counter(content.source for content in self._shelf.visible())
        return {source: counts[source] for source in SOURCES}

    def expected_events(
        self, source: str | None = None, *, content_ids: Iterable[str] | None = None
    ) -> set[Event]:
        """The events a collector has to have delivered by now: of all visible contents."""
        wanted = None if content_ids is None else set(content_ids)
        return {
            event
            for content in self._shelf.visible(source)
            if wanted is None or content.content_id in wanted
            for event in self._shelf.bodies.events(content)
        }

    def summary(self) -> dict[str, Any]:
        """Counts per source and per kind of request, ready for JSON."""
        notes = self.requests()
        columns = "offered visible listed listings served servings refused offered_events"
        sources = {source: dict.fromkeys(columns.split(), 0) for source in SOURCES}
        visible = {content.content_id for content in self._shelf.visible()}
        for content in self._shelf.offered():
            row, name = sources[content.source], content.content_id
            row["offered"] += 1
            row["visible"] += name in visible
            row["listed"] += self.listed(name) > 0
            row["listings"] += self.listed(name)
            row["served"] += self.served(name) > 0
            row["servings"] += self.served(name)
            row["refused"] += self.refused(name) > 0
            row["offered_events"] += self._shelf.bodies.record_count(content)
        statuses: dict[str, Counter[str]] = {}
        for note in notes:
            statuses.setdefault(note.kind, Counter())[str(note.status)] += 1
        return {
            "sources": sources,
            "requests": {kind: dict(sorted(found.items())) for kind, found in statuses.items()},
            "faults": dict(Counter(note.fault for note in notes if note.fault)),
            "max_requests_in_60_s": self.max_requests_in(60),
        }

    def note_request(self, note: RequestNote) -> None:
        """Write down one request and its end."""
        with self._lock:
            self._requests.append(note)
        if note.kind == "content" and note.content_id and note.status >= 400:
            self.note("refused", note.content_id)

    def note(self, what: str, *content_ids: str) -> None:
        """Write down that contents were ``listed``, ``served`` or ``refused``."""
        with self._lock:
            self._counts.update((what, content_id) for content_id in content_ids)

    def note_start(self, source: str, at: datetime) -> None:
        """Write down that somebody asked to start a subscription."""
        with self._lock:
            self._starts.append((source, at))
