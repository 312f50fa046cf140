"""Answers that are waited for no longer than they are wanted, whatever gives them: what hangs is left behind.

A credential library keeps to no time of ours. The endpoint of a managed identity is asked four times with five minutes
for each, and an answer that drips begins its limit anew with every byte.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, cast

from shared.threads import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from azure.core.credentials import AccessToken, AccessTokenInfo, TokenCredential

LONGEST = 60.0
"""Seconds for which anybody waits for a token, whatever time the run has left."""

STEP = 0.1


class NoAnswer(Exception):
    """Nothing answered for as long as it was waited for."""


class _Asked:
    """A question, and what became of it."""

    def __init__(self, ask: Callable[[], Any], began: float) -> None:
        self._ask = ask
        self.began = began
        self.ended = threading.Event()
        self.answer: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Ask, in a thread of its own."""
        try:
            self.answer = self._ask()
        except BaseException as error:  # noqa: BLE001 - whoever waits raises it
            self.error = error
        self.ended.set()


class InTime:
    """Asks in threads of their own; thread-safe. Who asks the same at the same time waits for one answer.

    Args:
        longest: seconds for which an answer is waited for; after that, whoever asks asks anew.
        clock: monotonic seconds.
    """

    def __init__(
        self, longest: float = LONGEST, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._longest = longest
        self._clock = clock
        self._lock = threading.Lock()
        self._asked: dict[Hashable, _Asked] = {}

    def get(
        self,
        what: Hashable,
        ask: Callable[[], Any],
        stopping: Callable[[], bool] = lambda: False,
    ) -> Any:
        """The answer.

        Args:
            what: is asked; the same for those who may share an answer.
            ask: asks.
            stopping: whether it is not wanted any more.

        Raises:
            NoAnswer: it did not come in time.
        """
        asked = self._ask(what, ask)
        while not asked.ended.wait(STEP):
            if stopping() or self._clock() > asked.began + self._longest:
                raise NoAnswer
        with self._lock:
            if self._asked.get(what) is asked:
                del self._asked[what]
        if asked.error is not None:
            raise asked.error
        return asked.answer

    def _ask(self, what: Hashable, ask: Callable[[], Any]) -> _Asked:
        with self._lock:
            now, known = self._clock(), self._asked.get(what)
            if (
                known is not None
                and not known.ended.is_set()
                and now <= known.began + self._longest
            ):
                return known
            asked = self._asked[what] = _Asked(ask, now)
        start_thread(asked.run, name="token")
        return asked


class TimedCredential:
    """A credential of the Azure SDKs that answers in time, or fails as one whose service does not answer.

    Args:
        credential: that may hang.
        longest: seconds for which it is waited for.
    """

    def __init__(self, credential: TokenCredential, longest: float = LONGEST) -> None:
        self._credential = credential
        self._in_time = InTime(longest)

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """A token."""
        return cast("AccessToken", self._get("get_token", scopes, options))

    def get_token_info(self, *scopes: str, **options: Any) -> AccessTokenInfo:
        """A token, with the time from which on the library would renew it."""
        return cast("AccessTokenInfo", self._get("get_token_info", scopes, options))

    def _get(self, name: str, scopes: tuple[str, ...], options: dict[str, Any]) -> Any:
        from azure.core.exceptions import ClientAuthenticationError

        ask = getattr(self._credential, name)
        try:
            return self._in_time.get((name, scopes, repr(options)), lambda: ask(*scopes, **options))
        except NoAnswer as error:
            # Of this kind the SDKs make no further attempt.
            raise ClientAuthenticationError("Read timed out") from error

    def close(self) -> None:
        """Close the credential."""
        getattr(self._credential, "close", lambda: None)()
