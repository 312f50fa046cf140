"""The seam between engines and publishing: records go in, a parcel comes out.

An engine hands over the records of a content, or a stretch of them, and says what they are about. A format makes a
parcel of them: everything that will be sent, with what all of it has in common said once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shared.records import Records

RECORD, DETAIL = "record", "detail"
"""Kinds of events."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What is the same for every event of a parcel.

    Attributes:
        connection: display name.
        tenant_id: of the connection.
        source: where the records come from.
        content_id: of the content; "" where each record brings one of its own.
        kind: ``RECORD`` or ``DETAIL``.
    """

    connection: str
    tenant_id: str
    source: str
    content_id: str = ""
    kind: str = RECORD


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event by itself: what is said of one that cannot be sent.

    Attributes:
        record: the bytes it was made from; they are what a dead letter keeps.
        body: what would have been sent.
        id: stable event id.
    """

    record: bytes
    body: bytes
    id: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parcel:
    """The events of a stretch. They share everything but what stands in the sequences, which are of one length.

    Attributes:
        bodies: what is sent.
        records: the bytes that each body was made from; in the raw format the same objects.
        ids: stable event ids; each travels as the property ``event_id``.
        shared: properties of all events.
        columns: further properties, which differ from event to event; one whose value is empty has none.
        first: number of the stretch's first record in its content.
        count: records of the stretch; more than there are bodies where some were left out.
        last: whether no record of the content comes after it.
    """

    bodies: Sequence[bytes]
    records: Sequence[bytes]
    ids: Sequence[str]
    shared: Mapping[str, str]
    columns: Mapping[str, Sequence[str]]
    first: int
    count: int
    last: bool

    def __len__(self) -> int:
        """How many events it has."""
        return len(self.bodies)

    def event(self, at: int) -> Event:
        """One of its events by itself."""
        return Event(record=self.records[at], body=self.bodies[at], id=self.ids[at])

    def properties(self, at: int) -> dict[str, str]:
        """What one of its events travels with beside its body."""
        own = {name: values[at] for name, values in self.columns.items() if values[at]}
        return {**self.shared, **own, "event_id": self.ids[at]}


class Format(Protocol):
    """Makes what is sent of what was collected.

    It is a pure function: the same records give the same bytes and ids, on every instance and in a replay too. It does
    not know where the events go, nor what became of the last ones. It leaves no record out without counting it.

    Each event says, in its properties or in its body, all that ``About`` and the columns of ``Records`` say of it.
    """

    @property
    def name(self) -> str:
        """Its key in ``shared.publish.formats``: one word in lower case."""
        ...

    def parcel(self, records: Records, about: About) -> Parcel:
        """The events of a stretch; number, count and end of the stretch are those of ``records``."""
        ...
