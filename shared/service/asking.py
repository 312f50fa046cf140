"""One request to a Microsoft 365 API with everything around it: budget, token, retries, the meaning of the answer.

Guarantees, the same for every API: each request is paid for from the tenant's shared budget before it is made; a
token goes only to the configured host; a refused token is renewed once, and not kept for the next run where the new one
is refused too; a throttled answer pauses everybody who shares the budget; a passing failure is tried again a few times,
with full jitter; no wait outlasts the run.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping

from shared import policy
from shared.errors import (
    AuthError,
    CollectorError,
    ConfigError,
    NoToken,
    Throttled,
    Transient,
)
from shared.policy import Action
from shared.service.budget import Budget
from shared.service.credentials import TokenSource
from shared.service.http import HttpClient, Response
from shared.stop import RunStopped
from shared.times import ServiceClock

logger = logging.getLogger("m365.asking")

MAX_THROTTLES = 6


class Asker:
    """Asks one API of one tenant during one run; thread-safe.

    Args:
        http: a client pinned to the API's host.
        tokens: bearer tokens for it.
        budget: the tenant's request budget for this API.
        clock: learns the service's time from every answer.
        stopping: says whether the run should end; waits are cut short by it.
        tries: attempts at a request before its failure is reported.
        backoff: seconds before the second attempt; doubles, with full jitter.
        throttle_backoff: seconds to pause everybody where a throttled answer names none.
        sleep: waits.
    """

    def __init__(
        self,
        *,
        http: HttpClient,
        tokens: TokenSource,
        budget: Budget,
        clock: ServiceClock,
        stopping: Callable[[], bool] = lambda: False,
        tries: int = 4,
        backoff: float = 1.0,
        throttle_backoff: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.clock = clock
        self._http = http
        self._tokens = tokens
        self._budget = budget
        self._stopping = stopping
        self._tries = tries
        self._backoff = backoff
        self._throttle_backoff = throttle_backoff
        self._sleep = sleep
        self._count_lock = threading.Lock()
        self.requests = 0
        self.throttled = 0

    def check(self, url: str) -> None:
        """Refuse a URL that is not of the API's host.

        Raises:
            Permanent: with code ``foreign-url``.
        """
        self._http.check(url)

    def ask(
        self,
        method: str,
        url: str,
        *,
        judge: Callable[[Response], CollectorError | None],
        headers: Mapping[str, str] | None = None,
        reserve: Callable[[int, bool], None] | None = None,
    ) -> Response:
        """Ask until there is an answer, or asking again would not help.

        Args:
            method: GET or POST; a POST that is throttled is not repeated.
            url: of the API's host.
            judge: what is wrong with an answer, None where it is good.
            headers: sent beside the token.
            reserve: told the announced length and whether it is compressed, before the body is read.

        Raises:
            CollectorError: what ``judge`` said at last, or what ``HttpClient``, ``Budget`` and ``TokenSource`` raise.
        """
        refused = failures = throttles = 0
        while True:
            self._budget.take(self._stopping)
            try:
                return self._once(method, url, judge, headers or {}, reserve)
            except AuthError as error:
                refreshes = policy.rule_of(error).action is Action.REFRESH_TOKEN
                if error.status != 401 and not refreshes:
                    raise
                # The second, too: what it lacks may be granted at any time, and the next run must not meet it again.
                self._tokens.invalidate()
                refused += 1
                if refused > 1:
                    raise
            except ConfigError:
                # A permission that is granted now shows in a new token only.
                self._tokens.invalidate()
                raise
            except Throttled as error:
                if _of_the_token(error):
                    # The pace of Entra is not that of the API, which others may go on to ask with tokens they have.
                    raise
                with self._count_lock:
                    self.throttled += 1
                throttles += 1
                if method == "POST" or self._stopping() or throttles >= MAX_THROTTLES:
                    # A start that comes too soon says so with the same status; waiting here would not help.
                    raise
                seconds = error.retry_after
                if seconds is None:
                    seconds = self._throttle_backoff * random.uniform(0.5, 1.5)  # noqa: S311
                logger.info("throttled by the service: everybody pauses for %.0f s", seconds)
                self._budget.pause(seconds)
            except NoToken:
                # The credential has asked several times, and would again for every content and every window.
                raise
            except Transient:
                failures += 1
                if failures >= self._tries or self._stopping():
                    raise
                self._sleep(random.uniform(0, self._backoff * 2 ** (failures - 1)))  # noqa: S311

    def _once(
        self,
        method: str,
        url: str,
        judge: Callable[[Response], CollectorError | None],
        headers: Mapping[str, str],
        reserve: Callable[[int, bool], None] | None,
    ) -> Response:
        self._http.check(url)
        with self._count_lock:
            self.requests += 1
        answer = self._http.request(
            method,
            url,
            headers={**headers, "Authorization": f"Bearer {self._token()}"},
            on_length=reserve,
            on_chunk=self._end_if_stopping,
        )
        if answer.status < 500:
            # What fails in front of the service may not have its clock.
            self.clock.observe(answer.headers.get("Date"))
        error = judge(answer)
        if error is not None:
            raise error
        return answer

    def _token(self) -> str:
        try:
            return self._tokens.token()
        except Transient as error:
            raise NoToken(
                str(error), code=error.code, status=error.status, log=error.log
            ) from error

    def _end_if_stopping(self) -> None:
        if self._stopping():
            # A body may drip for minutes; the next run asks for it again.
            raise RunStopped("the run ended while a body was read", code="stopped")


class AskedApi:
    """The client of one API, as far as it is the same for all: it asks through an ``Asker``, which counts.

    Args:
        asker: asks that API, and nobody else.
    """

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    @property
    def requests(self) -> int:
        """Requests made so far."""
        return self._asker.requests

    @property
    def throttled(self) -> int:
        """How many of them the service throttled."""
        return self._asker.throttled


def _of_the_token(error: CollectorError) -> bool:
    return policy.area_of(error.code) is policy.Area.ENTRA
