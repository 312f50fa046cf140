"""What a replay does for a message trace: details are delivered, rows stay where they are and are named."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from shared.contents.replay import replay_feed
from shared.publish.format import DETAIL
from shared.run.replays import ReplaySummary
from shared.sources.message_trace.details import details_feed, ended_by
from shared.state.dead_letters import DeadLetters

if TYPE_CHECKING:
    from shared.run.context import Feed, Parts, Tuning

ROW = "is a row of message trace, which is not brought back: its bytes are in the dead letter"


def replay_trace(feed: Feed, parts: Parts, tuning: Tuning) -> list[ReplaySummary]:
    """Deliver the dead letters of a feed's details; see ``replay_feed``.

    Args:
        feed: of the rows.
        parts: what a run of it is made of.
        tuning: what it may use.

    Returns:
        What became of the rows' dead letters, and of those of details where there are any.

    Raises:
        CollectorError: those of rows cannot be counted.
    """
    details = replay_feed(
        details_feed(feed),
        parts,
        None,
        tuning,
        about=feed.about(kind=DETAIL),
        listed=ended_by(parts.clock.now()),
    )
    return [_keep_rows(feed, parts), *([details] if details.letters or details.error else [])]


def _keep_rows(feed: Feed, parts: Parts) -> ReplaySummary:
    found = DeadLetters(parts.storage.dead_letters, feed.state_key).all()
    return ReplaySummary(
        connection=feed.connection,
        source=feed.source,
        run=f"replay-{uuid.uuid4().hex[:16]}",
        letters=len(found),
        kept={ROW: len(found)} if found else {},
    )
