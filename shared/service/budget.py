"""The request budget of a tenant, shared by every feed, function and instance through one small blob.

Microsoft counts requests per tenant and publisher (baseline 2,000 a minute), while every timer runs on an instance of
its own. The blob remembers how many requests were granted in each of the last seconds; grants are taken in blocks
with ``If-Match``. Guarantee: the requests made in any 60 seconds never exceed the budget, as long as storage
answers. A block is used within ``HOLD`` seconds or forfeited, and grants are counted that much longer, which is what
makes the guarantee hold for the requests and not just for the grants. Where storage fails, each feed goes on with an
equal share of the budget of its own.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from shared import policy
from shared.errors import CollectorError
from shared.service.answers import MAX_PAUSE
from shared.state.account import read_blob, write_blob
from shared.state.failures import Conflict
from shared.times import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.state.account import Storage

HOLD = 5.0
FIRST_BLOCK, MAX_BLOCK = 16, 50
"""Requests taken at a time: a run that finds nothing needs a few, one write of the blob."""
SHARERS = 5
LOOK_EVERY = 3.0


class BudgetState(msgspec.Struct, kw_only=True):
    """What the blob holds.

    Attributes:
        grants: [second since 1970, requests granted in it], oldest first, no older than the window.
        paused_until: seconds since 1970 until which nobody may ask, after the service throttled.
    """

    grants: list[tuple[int, int]] = msgspec.field(default_factory=list)
    paused_until: float = 0.0


_state = msgspec.json.Decoder(BudgetState)


def grant(
    state: BudgetState, now: float, wanted: int, *, limit: int, window: float
) -> tuple[int, float]:
    """Take up to ``wanted`` requests from a state, in place. Pure but for that.

    Returns:
        How many were granted; and, where none was, in how many seconds to ask again.
    """
    if now < state.paused_until <= now + MAX_PAUSE:
        return 0, state.paused_until - now
    # A grant from the future (another instance's clock) stays counted: that errs on the safe side. One from further
    # ahead than a window, like a pause longer than any, was written by a wrong clock and would block everybody.
    state.grants = [
        (second, taken)
        for second, taken in state.grants
        if now - window - 1 < second < now + window
    ]
    taken = sum(count for _, count in state.grants)
    free = limit - taken
    if free <= 0:
        return 0, max(0.05, state.grants[0][0] + window + 1 - now)
    granted = min(wanted, free)
    second = math.floor(now)
    if state.grants and state.grants[-1][0] == second:
        state.grants[-1] = (second, state.grants[-1][1] + granted)
    else:
        state.grants.append((second, granted))
        state.grants.sort()
    return granted, 0.0


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """How much a budget allows, and how it is shared out.

    Attributes:
        limit: requests allowed in any ``window``.
        window: seconds.
        hold: seconds within which a block of requests is used or forfeited.
        first_block: requests taken at first. Where a request takes seconds, most of a block would be forfeited.
        max_block: most requests taken at a time, once blocks are used up in time.
        patience: longest pause in seconds that the service may ask for; beyond it the run had better end and leave
            the rest to the next one.
    """

    limit: int = 1600
    window: float = 60.0
    hold: float = HOLD
    first_block: int = FIRST_BLOCK
    max_block: int = MAX_BLOCK
    patience: float = 60.0

    @property
    def span(self) -> float:
        """For how long a grant counts: it may be used as late as it is held."""
        return self.window + self.hold

    @property
    def share(self) -> int:
        """Requests in any window for one who cannot share."""
        return max(1, self.limit // SHARERS)


class Budget:
    """The budget as one process uses it; thread-safe.

    Args:
        storage: the state account; None: no sharing, an equal share of the budget.
        name: ``budgets/<tenant id>/<api>.json``.
        allowance: how much it allows.
        now: seconds since 1970.
        sleep: waits, cut short by the caller where a run ends.
    """

    def __init__(
        self,
        storage: Storage | None,
        name: str,
        allowance: Allowance | None = None,
        *,
        now: Callable[[], float] = lambda: utc_now().timestamp(),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._storage = storage
        self._name = name
        self._allowance = allowance or Allowance()
        self._now = now
        self._sleep = sleep
        self._lock = threading.Lock()
        self._block = self._allowance.first_block
        self._left = 0
        self._until = 0.0
        self._known: tuple[BudgetState, str | None] | None = None
        self._paused_until = 0.0
        self._alone: deque[float] = deque()
        self._used = 0.0
        self._looked = -math.inf

    @property
    def limit(self) -> int:
        """Requests allowed in any window."""
        return self._allowance.limit

    def take(self, deadline: Callable[[], bool] = lambda: False) -> None:
        """Wait for leave to make one request.

        Args:
            deadline: says whether the run should end; asked while waiting.

        Raises:
            Throttled: the run should end while there is still no leave.
        """
        while True:
            with self._lock:
                wait = self._try()
            if wait <= 0:
                return
            if deadline():
                raise policy.error("budget", detail="the run had to end meanwhile")
            if self._pause_left(self._now()) > self._allowance.patience:
                raise policy.error(
                    "budget",
                    detail=f"the service asked for a pause of which {wait:.0f} s are left",
                    retry_after=wait,
                )
            self._sleep(min(wait, 1.0) * random.uniform(0.8, 1.2))  # noqa: S311

    def used(self) -> float:
        """The share of the window's requests that is taken, by anybody: 0 to 1, and 1 during a pause.

        What others take is looked up every few seconds at most: good for deciding what can wait, not for keeping
        within the limit.
        """
        now = self._now()
        with self._lock:
            if self._pause_left(now):
                return 1.0
            if not 0 <= now - self._looked < LOOK_EVERY:
                self._used = self._look(now)
                self._looked = now
            return self._used

    def _look(self, now: float) -> float:
        try:
            state, _ = self._read(self._storage) if self._storage else (BudgetState(), None)
        except CollectorError:
            state = BudgetState()
        if now < state.paused_until <= now + MAX_PAUSE:
            return 1.0
        span = self._allowance.span
        taken = sum(count for second, count in state.grants if now - span - 1 < second < now + span)
        alone = sum(1 for moment in self._alone if moment > now - self._allowance.window)
        return min(1.0, max(taken / self.limit, alone / self._allowance.share))

    def _pause_left(self, now: float) -> float:
        """Seconds of a pause that are left; 0 for one longer than any, since the clock was set back meanwhile."""
        until = self._paused_until
        return until - now if now < until <= now + MAX_PAUSE else 0.0

    def _try(self) -> float:
        """One attempt; 0 where leave is given, else seconds to wait."""
        now = self._now()
        if left := self._pause_left(now):
            return left
        if self._left > 0 and now < self._until:
            self._left -= 1
            return 0.0
        if self._left > 0 and now > self._until + self._allowance.hold:
            # Nobody asked for long, which says nothing of our pace.
            self._block = self._allowance.first_block
        elif self._left > 0:
            # The block was too large for our pace: what is left is forfeited, so ask for less.
            self._block = max(1, self._block // 2)
        elif now < self._until - self._allowance.hold / 2:
            # At this pace twice as many are used in time.
            self._block = min(self._allowance.max_block, self._block * 2)
        self._left = 0
        try:
            granted, wait = self._take_block(now)
        except Conflict:
            return random.uniform(0.005, 0.05)  # noqa: S311
        except CollectorError:
            return self._take_alone(now)
        if granted == 0:
            return wait
        self._until = now + self._allowance.hold
        self._used = min(1.0, self._used + granted / self.limit)
        if self._now() >= self._until:
            # Storage took so long that the block is no longer ours to use.
            return 0.01
        self._left = granted - 1
        return 0.0

    def _take_block(self, now: float) -> tuple[int, float]:
        if self._storage is None:
            return (1, 0.0) if (wait := self._take_alone(now)) == 0 else (0, wait)
        # What this process wrote last is most often still there; where it is not, the write says so.
        state, etag = self._known or self._read(self._storage)
        self._known = None
        granted, wait = grant(
            state,
            now,
            min(self._block, max(1, self.limit // (4 * SHARERS))),
            limit=self.limit,
            window=self._allowance.span,
        )
        if granted:
            data = msgspec.json.encode(state)
            self._known = state, write_blob(self._storage.state, self._name, data, etag=etag)
        elif now < state.paused_until <= now + MAX_PAUSE:
            self._paused_until = state.paused_until
        return granted, wait

    def _read(self, storage: Storage) -> tuple[BudgetState, str | None]:
        """What the blob holds, and the ETag to replace it by."""
        stored = read_blob(storage.state, self._name)
        return (_decode(stored.data), stored.etag) if stored else (BudgetState(), None)

    def _take_alone(self, now: float) -> float:
        window = self._allowance.window
        # One that lies ahead was counted before the clock was set back, and would keep us waiting until it comes again.
        while self._alone and not now - window < self._alone[0] <= now:
            self._alone.popleft()
        if len(self._alone) >= self._allowance.share:
            return self._alone[0] + window - now
        self._alone.append(now)
        return 0.0

    def pause(self, seconds: float) -> None:
        """Keep everybody from asking for a while, an hour at most, because the service said so."""
        now = self._now()
        until = now + min(seconds, MAX_PAUSE)
        with self._lock:
            if seconds >= self._allowance.hold:
                self._left = 0
            if until <= now + self._pause_left(now):
                return
            self._paused_until = until
        if self._storage is None:
            return
        for _ in range(5):
            try:
                state, etag = self._read(self._storage)
                if until <= state.paused_until <= now + MAX_PAUSE:
                    return
                state.paused_until = until
                data = msgspec.json.encode(state)
                write_blob(self._storage.state, self._name, data, etag=etag)
            except Conflict:
                continue
            except CollectorError:
                return
            return


class Payer:
    """Pays from a budget for what one run asks, and counts it; thread-safe.

    Args:
        budget: of the API that is asked.

    Attributes:
        requests: made so far, each paid for.
        throttled: how many of them the service throttled.
    """

    def __init__(self, budget: Budget) -> None:
        self.requests = 0
        self.throttled = 0
        self._budget = budget
        self._count_lock = threading.Lock()

    def pay(self, deadline: Callable[[], bool] = lambda: False) -> None:
        """Wait for leave to make one request; see ``Budget.take``."""
        self._budget.take(deadline)
        with self._count_lock:
            self.requests += 1

    def used(self) -> float:
        """The share of the budget that is taken, by anybody; see ``Budget.used``."""
        return self._budget.used()


def _decode(data: bytes) -> BudgetState:
    try:
        return _state.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # Unlike a checkpoint this guards nothing that could be lost: start counting anew.
        return BudgetState()
