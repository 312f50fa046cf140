"""What a replay does for a message trace: details are delivered, rows stay where they are and are named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.contents.replay import replay_feed
from shared.publish.format import DETAIL
from shared.rows.replay import keep_rows
from shared.sources.message_trace.details import DAYS, details_feed

if TYPE_CHECKING:
    from shared.run.context import Feed, Parts, Tuning
    from shared.run.replays import ReplaySummary

ROW = "is a row of message trace, which is not brought back: its bytes are in the dead letter"


def replay_trace(feed: Feed, parts: Parts, tuning: Tuning) -> list[ReplaySummary]:
    """Deliver the dead letters of a feed's details; see ``replay_feed``.

    Args:
        feed: of the rows.
        parts: what a run of it is made of.
        tuning: what it may use.

    Returns:
        What became of the rows' dead letters, and of those of details where there are any.
    """
    of_details = details_feed(feed)
    details = replay_feed(
        of_details,
        parts,
        tuning,
        DAYS,
        looked_at=False,
        about=feed.about(kind=DETAIL),
    )
    return [keep_rows(feed, parts, ROW), *([details] if details.letters or details.error else [])]
