"""Entra in trouble: the run ends in time, asks no more than it may, and no content is given up for it."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from local.tenant import Fault
from shared.state.ledger import State
from tests.harness import EXCHANGE, Rig
from tests.waits import LONG

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("collected_before")


def token_requests(rig: Rig) -> int:
    return sum(note.kind == "token" for note in rig.tenant.books.requests())


@pytest.mark.parametrize(
    ("status", "as_a_date"), [pytest.param(429, False, id="429"), pytest.param(503, True, id="503")]
)
def test_a_token_endpoint_that_asks_to_wait_for_long_ends_the_run_at_once(
    rig: Rig, status: int, as_a_date: bool
) -> None:
    rig.offer_many(3)
    rig.tenant.faults.add(
        Fault(
            on="token",
            action="status",
            status=status,
            body="{}",
            retry_after=1800,
            retry_after_date=as_a_date,
            times=-1,
        )
    )
    with closing(rig.app()) as app:
        began = time.monotonic()
        (first,) = app.run(EXCHANGE)
        (second,) = app.run(EXCHANGE)
        assert time.monotonic() - began < 2 * LONG

    assert (first.status, first.error_code) == ("incomplete", "token-throttled")
    assert (second.status, second.error_code) == ("incomplete", "token-throttled")
    assert "asks to wait" in first.error
    assert token_requests(rig) == 1, "it was asked again before the time that it named"

    rig.tenant.faults.clear()
    assert rig.run().status == "succeeded", "a fresh process may ask"
    rig.assert_complete()


def test_a_token_endpoint_that_asks_to_wait_a_moment_is_waited_for(rig: Rig) -> None:
    rig.offer_many(3)
    rig.tenant.faults.add(
        Fault(on="token", action="status", status=503, body="{}", retry_after=1, times=1)
    )

    summary = rig.run()

    assert (summary.status, summary.delivered) == ("succeeded", 3)
    rig.assert_complete()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"action": "hang", "delay_s": 600}, id="hangs"),
        pytest.param({"action": "drip", "delay_s": 0.2, "pieces": 3000}, id="drips"),
    ],
)
def test_a_token_endpoint_that_comes_to_no_end_ends_the_run_in_time(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    monkeypatch.setattr("shared.service.credentials.LONGEST_ANSWER", 0.5)
    rig.offer_many(3)
    rig.tenant.faults.add(Fault(on="token", times=-1, **fault))
    began = time.monotonic()

    summary = rig.run(settings={"M365_READ_SECONDS": "0.5"})

    assert time.monotonic() - began < 2 * LONG
    assert (summary.status, summary.error_code) == ("failed", "no-token")
    rig.tenant.faults.clear()
    assert rig.run().status == "succeeded"
    rig.assert_complete()


def test_a_token_that_ends_and_an_endpoint_that_is_down_stop_a_run_and_the_next_goes_on(
    rig: Rig,
) -> None:
    rig.offer_many(3)
    with closing(rig.app()) as app:
        app.run(EXCHANGE)
        later = rig.offer_many(3)
        rig.tenant.tokens.expire()
        rig.tenant.faults.add(Fault(on="token", action="reset", times=-1))
        (down,) = app.run(EXCHANGE)
        rig.tenant.faults.clear()
        (up,) = app.run(EXCHANGE)

    assert (down.status, down.error_code) == ("failed", "no-token")
    assert (up.status, up.delivered) == ("succeeded", len(later))
    rig.assert_complete()
    assert rig.repeats() == 0


REFUSED = Fault(on="content", action="status", status=401, body="{}", times=-1)


@pytest.mark.parametrize(
    "faults",
    [
        # The first token is good, so that the run learns the time; the one that takes its place is not to be had.
        pytest.param(
            [REFUSED, Fault(on="token", action="status", code="AADSTS90033", after=1, times=-1)],
            id="entra",
        ),
        pytest.param([REFUSED], id="the-token"),
        pytest.param(
            [Fault(on="content", action="status", code="AF10001", times=-1)], id="the-consent"
        ),
        pytest.param(
            [Fault(on="content", action="status", status=503, body="", times=-1)],
            id="the-front-end",
        ),
    ],
)
def test_what_says_nothing_of_a_content_is_not_the_last_word_about_one_that_expired(
    make_rig: Callable[..., Rig], faults: list[Fault]
) -> None:
    rig = make_rig()
    content = rig.offer(hours_ago=100)
    rig.tenant.faults.add(Fault(on="content", action="status", code="AF50000", times=-1))
    rig.run()
    rig.tenant.advance(content.expires - rig.tenant.now() + timedelta(minutes=5))
    rig.tenant.faults.clear()
    rig.tenant.faults.add(*faults)
    rig.restart()

    during = rig.run()

    assert during.lost == 0
    assert rig.ledger()[content.content_id].state != State.LOST.value

    rig.tenant.faults.clear()
    rig.tenant.faults.add(Fault(on="content", action="status", code="AF20051", times=-1))
    rig.tenant.advance(timedelta(hours=7))
    # MSAL remembers for a minute that it got no token.
    rig.restart()
    after = rig.run()

    assert after.lost == 1, "the service's own word about it is the last one"
