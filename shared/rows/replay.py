"""What a replay does for rows: they stay where they are, and are named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import CollectorError
from shared.run.replays import ReplaySummary
from shared.state.dead_letters import DeadLetters

if TYPE_CHECKING:
    from shared.run.context import Feed, Parts


def keep_rows(feed: Feed, parts: Parts, reason: str) -> ReplaySummary:
    """Count the dead letters of a feed of rows. Never raises for what can go wrong on the way: the summary says it.

    Args:
        feed: of the rows.
        parts: what a run of it is made of.
        reason: why they stay.
    """
    summary = ReplaySummary(connection=feed.connection, source=feed.source)
    try:
        summary.letters = len(DeadLetters(parts.storage.dead_letters, feed.state_key).all())
    except CollectorError as error:
        summary.error = str(error)
    if summary.letters:
        summary.kept = {reason: summary.letters}
    return summary
