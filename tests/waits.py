"""Waiting for what has to happen: until it does, and not for as long as it usually takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LONG = 60.0
"""Seconds within which everything happens that happens at all: over ten times of what a busy machine needs.

Only a test that fails waits so long.
"""


def wait_for(what: Callable[[], object], seconds: float = LONG) -> None:
    """Wait until something is so.

    Raises:
        AssertionError: it was not in time.
    """
    assert comes(what, seconds), "what the test waits for did not happen"


def comes(what: Callable[[], object], seconds: float = LONG) -> bool:
    """Whether something is so within some seconds; it is asked once more when they are over."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True
