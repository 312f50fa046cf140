"""Asking: an answer is read once, and what its reader or the way there says decides whether it is asked again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shared import policy
from shared.errors import AuthError, CollectorError, ConfigError, NoToken, Permanent, Throttled
from shared.service.asking import Asker, TokenInDoubt
from tests.scripted import Service, Tokens, Waits, asker

if TYPE_CHECKING:
    from shared.service.http import Response

ROOT = "https://api.test"


@pytest.fixture
def service() -> Service:
    return Service(ROOT)


@pytest.fixture
def asks(service: Service) -> Asker:
    return asker(service, Waits())


def number(answer: Response) -> int:
    """Reads a number; what is none is a passing failure."""
    if not answer.body.isdigit():
        raise policy.error("not-a-list")
    return int(answer.body)


def test_what_was_read_of_an_answer_is_what_comes_back(asks: Asker, service: Service) -> None:
    service.say(b"17")

    assert asks.ask("GET", f"{ROOT}/x", read=number) == 17
    assert (asks.requests, asks.throttled) == (1, 0)


def test_each_answer_is_read_once_and_one_that_cannot_be_is_asked_for_again(
    asks: Asker, service: Service
) -> None:
    read: list[bytes] = []
    service.say(b"<html>")
    service.say(b"17")

    def noted(answer: Response) -> int:
        read.append(answer.body)
        return number(answer)

    assert asks.ask("GET", f"{ROOT}/x", read=noted) == 17
    assert read == [b"<html>", b"17"]
    assert asks.requests == 2


def test_what_a_reader_calls_definite_is_raised_as_it_is(asks: Asker, service: Service) -> None:
    service.say(b"", status=404)
    said = policy.error("http-404")

    def refuse(_: Response) -> int:
        raise said

    with pytest.raises(Permanent) as caught:
        asks.ask("GET", f"{ROOT}/x", read=refuse)

    assert caught.value is said
    assert len(service.asked) == 1


def in_doubt(answer: Response) -> int:
    if answer.status == 401:
        raise TokenInDoubt(policy.error("trace-app-missing", status=401))
    return number(answer)


def test_where_the_token_is_in_doubt_a_new_one_is_tried(asks: Asker, service: Service) -> None:
    service.say(b"", status=401)
    service.say(b"17")

    assert asks.ask("GET", f"{ROOT}/x", read=in_doubt) == 17
    assert service.tokens == ["Bearer token1", "Bearer token2"]


def test_where_a_new_token_is_answered_alike_it_was_not_the_token(service: Service) -> None:
    tokens = Tokens()
    service.say(b"", status=401)
    service.say(b"", status=401)

    with pytest.raises(ConfigError) as caught:
        asker(service, Waits(), tokens=tokens).ask("GET", f"{ROOT}/x", read=in_doubt)

    assert caught.value.code == "trace-app-missing"
    assert tokens.token() == "token3", "what is missing may be granted at any time"


class NoTokens(Tokens):
    """A token service that says the same each time."""

    def __init__(self, error: CollectorError) -> None:
        self.error = error
        self.times = 0

    def token(self, stopping: object = None) -> str:
        self.times += 1
        raise self.error


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        pytest.param("no-token", NoToken, id="no-answer"),
        pytest.param("token-throttled", Throttled, id="asked-to-wait"),
        pytest.param("AADSTS7000215", AuthError, id="refused"),
    ],
)
def test_a_failure_to_get_a_token_is_raised_at_once(
    service: Service, code: str, kind: type[CollectorError]
) -> None:
    """It has tried several times already, and would for every content and every window."""
    tokens, waits = NoTokens(policy.error(code, retry_after=1)), Waits()
    began = waits.now
    asks = asker(service, waits, tokens=tokens)

    with pytest.raises(kind):
        asks.ask("GET", f"{ROOT}/x", read=number)

    assert (tokens.times, tokens.number, service.asked) == (1, 1, [])
    assert asks.throttled == 0, "the pace of Entra is not that of the API"
    assert waits.now == began


def test_a_token_goes_to_no_other_host(asks: Asker, service: Service) -> None:
    with pytest.raises(Permanent) as caught:
        asks.ask("GET", "https://evil.test/x", read=number)

    assert caught.value.code == "foreign-url"
    assert service.tokens == []
