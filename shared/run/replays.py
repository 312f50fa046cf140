"""What came of a replay of dead letters, whichever engine they are of."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class ReplaySummary:
    """What a replay did.

    Attributes:
        collected: whether the feed is one that these settings collect.
        letters: dead letters found.
        delivered: of them delivered and removed.
        records: events acknowledged.
        kept: why others stay: reason to number.
        error: what ended it early, "" where nothing did.
    """

    connection: str
    source: str
    run: str = field(default_factory=lambda: f"replay-{uuid.uuid4().hex[:16]}")
    collected: bool = True
    letters: int = 0
    delivered: int = 0
    records: int = 0
    kept: dict[str, int] = field(default_factory=dict)
    error: str = ""
