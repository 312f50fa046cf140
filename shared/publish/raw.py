"""Raw: every event is the record exactly as the service sent it, byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.publish.format import RECORD, About, Parcel

if TYPE_CHECKING:
    from shared.records import Records


class Raw:
    """The default format."""

    name = "raw"

    def parcel(self, records: Records, about: About) -> Parcel:
        """The records' own bytes, with where they come from as properties."""
        shared = {
            "connection": about.connection,
            "tenant_id": about.tenant_id,
            "source": about.source,
        }
        if about.kind != RECORD:
            shared["kind"] = about.kind
        if about.content_id:
            shared["content_id"] = about.content_id
        return Parcel(
            bodies=records.bodies,
            records=records.bodies,
            ids=records.ids,
            shared=shared,
            columns=records.columns,
            first=records.first,
            count=len(records.bodies),
            last=records.last,
        )
