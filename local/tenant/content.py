"""One content (blob) of a simulated tenant, and the events its records become."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """One content (blob) of the tenant.

    ``records`` or ``body`` are given for contents that a test placed; otherwise ``count`` records
    are written from the seed, and ``extras`` mixed in. ``ordinal`` numbers the written contents
    of a source, from 0; it is -1 for placed ones.
    """

    source: str
    content_id: str
    created: datetime
    visible_at: datetime
    expires: datetime
    serial: int
    count: int = 0
    ordinal: int = -1
    relisted_at: datetime | None = None
    uri: str | None = None
    hidden_after_listings: int | None = None
    records: tuple[bytes, ...] | None = None
    body: bytes | None = None
    extras: tuple[bytes, ...] = ()


class Event(NamedTuple):
    """One record as a collector has to deliver it; ``digest`` is the blake2b-128 of its bytes."""

    content_id: str
    event_id: str
    digest: str


def event_id(raw: bytes) -> str:
    """The id of the event a record becomes: its Id, else the blake2b-128 of its bytes."""
    return record_id(raw) or blake2b(raw, digest_size=16).hexdigest()


def record_id(raw: bytes) -> str | None:
    """The Id in a record's bytes, when it is a string with something in it."""
    try:
        record = json.loads(raw)
    except ValueError:
        return None
    found = record.get("Id") if isinstance(record, dict) else None
    return found if isinstance(found, str) and found else None


def split_records(body: bytes) -> list[bytes]:
    """The records of an array, as they stand in it; none when it is not a JSON array."""
    decoder = json.JSONDecoder()
    try:
        text = body.removeprefix(b"\xef\xbb\xbf").decode()
        whole = json.loads(text)
    except ValueError:
        return []
    if not isinstance(whole, list):
        return []
    raws, at = [], text.index("[") + 1
    for _ in whole:
        while text[at] in " \t\r\n,":
            at += 1
        _, end = decoder.raw_decode(text, at)
        raws.append(text[at:end].encode())
        at = end
    return raws
