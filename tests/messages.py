"""What holds for every run that ended because of something that a person has to mend."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from tests.harness import SECRET

if TYPE_CHECKING:
    from shared.state.run_summary import RunSummary


def assert_said_once(
    records: list[logging.LogRecord], failed: RunSummary, words: tuple[str, ...]
) -> None:
    """One line for the feed, no other at that level, and everything that leads to the fix in its text."""
    errors = [each for each in records if each.levelno >= logging.ERROR]
    about = [each.getMessage() for each in errors if failed.tenant_id in each.getMessage()]
    # A gap is a line of its own, for an alert of its own.
    (line,) = [each for each in about if not each.startswith("gap in ")]
    assert line.startswith("feed_run {")
    found = json.loads(line.removeprefix("feed_run "))
    assert (found["status"], found["error"]) == ("failed", failed.error)
    for word in words:
        assert word in failed.error
    assert SECRET not in failed.error
