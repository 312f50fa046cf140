"""Dead letters as an older version left them, which kept a record over the hub's limit there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shared.app import App
from shared.publish.raw import Raw
from shared.sources.registry import load
from shared.state.append_blobs import LedgerStore
from shared.state.dead_letters import RECORD, DeadLetters
from shared.state.ledger import Line, encode
from tests.harness import EXCHANGE, FAST

if TYPE_CHECKING:
    from collections.abc import Collection

    from local.tenant import Content
    from shared.publish.format import About, Parcel
    from shared.records import Records
    from tests.harness import Rig

REASON = "over the hub's limit"


class LeavingOut(Raw):
    """Makes no event of some records.

    Args:
        bodies: theirs.
    """

    def __init__(self, bodies: Collection[bytes]) -> None:
        self._bodies = bodies

    def parcel(self, records: Records, about: About) -> Parcel:
        """The others as they are."""
        all_of = super().parcel(records, about)
        kept = [at for at, body in enumerate(all_of.bodies) if body not in self._bodies]
        return replace(
            all_of,
            bodies=[all_of.bodies[at] for at in kept],
            records=[all_of.records[at] for at in kept],
            ids=[all_of.ids[at] for at in kept],
            columns={name: [each[at] for at in kept] for name, each in all_of.columns.items()},
        )


def run_as_before(
    rig: Rig,
    content: Content,
    large: Collection[bytes],
    *,
    recovered: Collection[bytes] = (),
    content_id: str = "",
    runs: int = 1,
) -> None:
    """Run the feed, and leave a content's large records as letters.

    Args:
        rig: where.
        content: whose.
        large: the records.
        recovered: those of them that stand after a damage.
        content_id: under which it is listed, where that is not its own.
        runs: of the feed.
    """
    app = App(load(rig.values()), tuning=FAST, format=LeavingOut(large))
    for _ in range(runs):
        app.run(EXCHANGE)
    app.close()
    leave_letters(rig, EXCHANGE, content_id or content.content_id, large, recovered=recovered)


def leave_letters(
    rig: Rig,
    source: str,
    content_id: str,
    large: Collection[bytes],
    *,
    recovered: Collection[bytes] = (),
) -> None:
    """Write letters of records that were not sent, and the line of their content that says so."""
    key = f"{rig.tenant.spec.tenant_id}/{source}"
    letters = DeadLetters(rig.storage.dead_letters, key)
    store = LedgerStore(rig.storage.state, f"ledger/{key}")
    entry = rig.ledger(source)[content_id]
    (day,) = (day for day in store.stored() if content_id in rig.ledger_day(day, source).entries)
    for each in large:
        name = letters.put(RECORD, day, each, content_id=content_id, reason=REASON)
        if each in recovered:
            blob = rig.storage.dead_letters.get_blob_client(name)
            known = blob.get_blob_properties().metadata
            blob.set_blob_metadata({**known, "recovered": "true"})
    line = Line(
        id=content_id,
        state=entry.state,
        run="before",
        time=entry.time + 1,
        records=entry.records,
        bytes=entry.bytes,
        dead=entry.dead + len(large),
        reason=entry.reason,
    )
    store.append(day, encode([line]))
