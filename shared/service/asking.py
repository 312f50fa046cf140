"""One request to a Microsoft 365 API with everything around it: budget, token, retries, the meaning of the answer.

Guarantees, the same for every API:

- Each request is paid for from the tenant's shared budget before it is made.
- A refused token is renewed once, and not kept for the next run where the new one is refused too.
- A throttled answer pauses everybody who shares the budget.
- A passing failure is tried again a few times, with full jitter.
- No wait outlasts the run.

That a token goes only to the configured host is kept where it is sent, in ``shared.service.http``.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from shared import policy
from shared.errors import AuthError, CollectorError, ConfigError, Throttled, Transient
from shared.service.budget import Payer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shared.service.budget import Budget
    from shared.service.credentials import TokenSource
    from shared.service.http import HttpClient, Response
    from shared.times import ServiceClock

logger = logging.getLogger("m365.asking")

MAX_THROTTLES = 6

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How often a request is made again, and after what pauses.

    Attributes:
        tries: attempts at a request before its failure is reported.
        backoff: seconds before the second attempt; doubles, with full jitter.
        throttle_backoff: seconds to pause everybody where a throttled answer names none.
    """

    tries: int = 4
    backoff: float = 1.0
    throttle_backoff: float = 30.0


class TokenInDoubt(Exception):
    """An answer that may be about the token alone: a new one is tried.

    Attributes:
        meaning: of the answer where a new token is answered alike.
    """

    def __init__(self, meaning: CollectorError) -> None:
        super().__init__(str(meaning))
        self.meaning = meaning


class Asker(Payer):
    """Asks one API of one tenant during one run; thread-safe.

    Args:
        http: a client pinned to the API's host.
        tokens: bearer tokens for it.
        budget: the tenant's request budget for this API.
        clock: learns the service's time from every answer.
        stopping: says whether the run should end; waits are cut short by it.
        retries: how often a request is made again.
        sleep: waits.

    Attributes:
        clock: the service's.
    """

    def __init__(
        self,
        *,
        http: HttpClient,
        tokens: TokenSource,
        budget: Budget,
        clock: ServiceClock,
        stopping: Callable[[], bool] = lambda: False,
        retries: Retries | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(budget)
        self.clock = clock
        self._http = http
        self._tokens = tokens
        self._stopping = stopping
        self._retries = retries or Retries()
        self._sleep = sleep

    def ask(
        self,
        method: str,
        url: str,
        *,
        read: Callable[[Response], T],
        headers: Mapping[str, str] | None = None,
        reserve: Callable[[int, bool], None] | None = None,
    ) -> T:
        """Ask until an answer can be read, or asking again would not help.

        Args:
            method: GET or POST; a POST that is throttled is not repeated.
            url: of the API's host.
            read: makes a value of an answer, or raises what the answer means.
            headers: sent beside the token.
            reserve: told the announced length and whether it is compressed, before the body is read.

        Raises:
            CollectorError: what ``read`` raised at last, or what ``HttpClient``, ``Budget`` and ``TokenSource`` raise.
        """
        attempts = _Attempts(again=method != "POST")
        while True:
            self.pay(self._stopping)
            # No failure to get one concerns this request alone, so none is retried for its sake.
            token = self._tokens.token(self._stopping)
            try:
                return read(self._request(method, url, token, headers or {}, reserve))
            except TokenInDoubt as doubt:
                self._renew(attempts, doubt.meaning)
            except AuthError as error:
                self._renew(attempts, error)
            except ConfigError:
                # A permission that is granted now shows in a new token only.
                self._tokens.invalidate()
                raise
            except Throttled as error:
                self._pause(attempts, error)
            except Transient as error:
                self._back_off(attempts, error)

    def _request(
        self,
        method: str,
        url: str,
        token: str,
        headers: Mapping[str, str],
        reserve: Callable[[int, bool], None] | None,
    ) -> Response:
        answer = self._http.request(
            method,
            url,
            headers={**headers, "Authorization": f"Bearer {token}"},
            on_length=reserve,
            on_chunk=self._end_if_stopping,
        )
        if answer.status < 500:
            # What fails in front of the service may not have its clock.
            self.clock.observe(answer.headers.get("Date"))
        return answer

    def _end_if_stopping(self) -> None:
        if self._stopping():
            # A body may drip for minutes; the next run asks for it again.
            raise policy.error("stopped", detail="a body was being read")

    def _renew(self, attempts: _Attempts, error: CollectorError) -> None:
        # The second, too: what it lacks may be granted at any time, and the next run must not meet it again.
        self._tokens.invalidate()
        attempts.refused += 1
        if attempts.refused > 1:
            raise error

    def _pause(self, attempts: _Attempts, error: Throttled) -> None:
        with self._count_lock:
            self.throttled += 1
        attempts.throttled += 1
        if not attempts.again or self._stopping() or attempts.throttled >= MAX_THROTTLES:
            # A start that comes too soon says so with the same status; waiting here would not help.
            raise error
        seconds = error.retry_after
        if seconds is None:
            seconds = self._retries.throttle_backoff * random.uniform(0.5, 1.5)  # noqa: S311
        logger.info("throttled by the service: everybody pauses for %.0f s", seconds)
        self._budget.pause(seconds)

    def _back_off(self, attempts: _Attempts, error: Transient) -> None:
        attempts.failed += 1
        if attempts.failed >= self._retries.tries or self._stopping():
            raise error
        longest = self._retries.backoff * 2 ** (attempts.failed - 1)
        self._sleep(random.uniform(0, longest))  # noqa: S311


@dataclass(kw_only=True)
class _Attempts:
    """What became of the attempts at one request; ``again`` is whether it may be repeated when throttled."""

    again: bool
    refused: int = 0
    throttled: int = 0
    failed: int = 0
