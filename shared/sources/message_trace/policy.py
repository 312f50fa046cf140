"""How rows of the message trace are read.

Rows appear minutes late, some hours or days late, and change their status for hours; the services name no bound. So
every run reads the last hour again, and all of the last 48 h are read again every six hours.
"""

from __future__ import annotations

from datetime import timedelta

from shared.rows.source import RowPolicy

OVERLAP = timedelta(hours=1)
LONGEST_LIVE = timedelta(hours=3)
REREAD = timedelta(hours=48)
CYCLE = timedelta(hours=6)
FIRST_WIDTH = timedelta(hours=1)
TARGET_ROWS = 9_000
"""One to two pages of 5,000."""


def trace_policy(*, delay: timedelta, backfill: timedelta) -> RowPolicy:
    """The policy of a connection.

    Args:
        delay: how far windows trail the service's clock.
        backfill: how far back a first run reads.
    """
    return RowPolicy(
        delay=delay,
        backfill=backfill,
        overlap=OVERLAP,
        longest_live=LONGEST_LIVE,
        reread=REREAD,
        cycle=CYCLE,
        first_width=FIRST_WIDTH,
        target_rows=TARGET_ROWS,
    )
