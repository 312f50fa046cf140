"""An API that answers as a test says, for what is asked of it through an ``Asker``."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from shared.network import origin, refuse_foreign
from shared.service.asking import Asker
from shared.service.budget import Allowance, Budget
from shared.service.http import HttpClient, Response
from shared.times import ServiceClock

if TYPE_CHECKING:
    from collections.abc import Callable

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Service:
    """Answers each request with the next of its answers, checking links as the real client does."""

    root: str
    answers: list[Response | Exception] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def check(self, url: str) -> None:
        refuse_foreign(url, origin(self.root))

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str],
        on_length: Callable[[int, bool], None] | None = None,
        on_chunk: Callable[[], None] = lambda: None,
    ) -> Response:
        self.check(url)
        self.asked.append((method, url))
        self.tokens.append(headers["Authorization"])
        self.headers.append(headers)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if on_length is not None:
            on_length(len(answer.body), False)
        return answer

    def say(self, body: bytes = b"[]", status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        self.answers.append(Response(status=status, headers=named, body=body))


class Tokens:
    """Tokens that are numbered, a new one after each refusal."""

    number = 1

    def token(self, stopping: object = None) -> str:
        return f"token{self.number}"

    def invalidate(self) -> None:
        self.number += 1


@dataclass
class Waits:
    """A clock that sleeping moves."""

    now: float = NOON.timestamp()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def asker(service: Service, waits: Waits, *, tokens: Tokens | None = None) -> Asker:
    """Asks the service in virtual time, with more budget than any test needs."""
    return Asker(
        http=cast("HttpClient", service),
        tokens=tokens or Tokens(),
        budget=Budget(None, "budget", Allowance(limit=10_000), now=waits, sleep=waits.sleep),
        clock=ServiceClock(lambda: NOON),
        sleep=waits.sleep,
    )
