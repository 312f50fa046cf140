"""Listing: nothing is missed between the first page and the last, however the pages come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from local.tenant import Fault
from tests.harness import EXCHANGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness import Rig

pytestmark = pytest.mark.usefixtures("collected_before")


def test_a_prime_number_of_contents_on_a_page_is_delivered_whole(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig(page_size=37)
    rig.offer_many(37, records=1)

    summary = rig.run()

    assert (summary.status, summary.delivered, summary.pending) == ("succeeded", 37, 0)
    rig.assert_complete()
    assert rig.repeats() == 0


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("NextPageUri", id="as-documented"),
        pytest.param("Nextpageuri", id="capitalised"),
        pytest.param("nextpageuri", id="lower-case"),
        pytest.param("NextPageUrl", id="as-the-troubleshooting-page-says"),
    ],
)
def test_a_chain_of_pages_is_followed_whatever_the_case_of_its_header(
    make_rig: Callable[..., Rig], name: str
) -> None:
    rig = make_rig(page_size=3)
    rig.offer_many(11, records=1)
    rig.tenant.faults.add(Fault(on="list", action="page_header_name", name=name, times=-1))

    rig.run()

    rig.assert_complete()


OLDEST = 166.0
"""Hours: contents of this age stand in the first window that a first run lists."""


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(0, id="first"),
        pytest.param(3, id="before-the-last"),
    ],
)
def test_an_empty_page_with_a_next_page_does_not_end_the_listing(
    make_rig: Callable[..., Rig], before: int
) -> None:
    rig = make_rig(page_size=3)
    rig.offer_many(11, records=1, hours_ago=OLDEST)
    rig.tenant.faults.add(Fault(on="list", action="empty_page_with_next", after=before))

    summary = rig.run()

    assert rig.tenant.faults.played() == {"empty_page_with_next": 1}
    assert (summary.status, summary.listed, summary.delivered) == ("succeeded", 11, 11)
    rig.assert_complete()


@pytest.mark.parametrize("times", [1, -1], ids=["once", "for-ever"])
def test_a_page_as_large_as_those_that_had_a_next_one_does_not_end_the_listing(
    make_rig: Callable[..., Rig], times: int
) -> None:
    rig = make_rig(page_size=3, subscribed=(EXCHANGE,))
    rig.offer_many(14, records=1, hours_ago=OLDEST)
    # The first page has its link, of which the run learns how many a page holds.
    rig.tenant.faults.add(Fault(on="list", action="drop_page_link", after=1, times=times))

    summary = rig.run()

    assert (summary.status, summary.listed, summary.caught_up) == ("succeeded", 14, True)
    rig.assert_complete()
    assert rig.repeats() == 0


def test_a_large_page_does_not_end_the_listing_where_no_page_has_a_link(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig(page_size=100)
    rig.offer_many(250, records=1, hours_ago=OLDEST)
    rig.tenant.faults.add(Fault(on="list", action="drop_page_link", times=-1))

    summary = rig.run()

    assert (summary.status, summary.listed, summary.caught_up) == ("succeeded", 250, True)
    rig.assert_complete()
    assert rig.repeats() == 0


def test_pages_with_nothing_new_that_never_end_keep_no_other_window_waiting(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig(page_size=3, subscribed=(EXCHANGE,))
    rig.offer_many(5, records=1, hours_ago=OLDEST)
    rig.offer_many(3, records=1)
    # Each has a link of its own, so none is repeated.
    rig.tenant.faults.add(Fault(on="list", action="empty_page_with_next", after=1, times=200))

    summary = rig.run()

    # The narrower windows that take its place are in order.
    assert (summary.status, summary.listed, summary.delivered) == ("succeeded", 8, 8)
    assert summary.caught_up
    assert summary.requests < 300

    rig.tenant.faults.clear()
    assert rig.run().caught_up
    rig.assert_complete()
    assert rig.repeats() == 0


def test_a_page_token_that_is_repeated_once_heals_within_the_run(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig(page_size=3)
    rig.offer_many(11, records=1, hours_ago=OLDEST)
    rig.tenant.faults.add(Fault(on="list", action="repeat_page_token", after=1))

    summary = rig.run()

    assert rig.tenant.faults.played() == {"repeat_page_token": 1}
    assert (summary.status, summary.error, summary.delivered) == ("succeeded", "", 11)
    rig.assert_complete()
    assert rig.repeats() == 0


def test_a_page_token_that_is_repeated_for_ever_ends_the_run_and_loses_nothing(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig(page_size=3, subscribed=(EXCHANGE,))
    rig.offer_many(11, records=1, hours_ago=OLDEST)
    rig.tenant.faults.add(Fault(on="list", action="repeat_page_token", after=1, times=-1))

    summary = rig.run()

    assert (summary.status, summary.error_code) == ("failed", "page-loop")
    assert "repeated a page token" in summary.error
    assert not summary.caught_up
    assert rig.checkpoint().watermark is None, "a range that was not listed was passed"
    # The first two pages came before the token was repeated.
    assert (summary.listed, summary.delivered) == (6, 6)
    assert rig.delivered() == {content_id for content_id, _, _ in rig.events()}
    assert len(rig.events()) == 6

    rig.tenant.faults.clear()
    after = rig.run()

    assert (after.status, after.caught_up, after.delivered) == ("succeeded", True, 5)
    rig.assert_complete()
    assert rig.repeats() == 0


def test_a_window_that_loops_does_not_keep_the_newer_ones_waiting(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig(page_size=3, subscribed=(EXCHANGE,))
    rig.offer_many(11, records=1, hours_ago=OLDEST)
    newer = rig.offer_many(4, records=1)
    # Six requests: three attempts at the first window, each of a page and the same page again.
    rig.tenant.faults.add(Fault(on="list", action="repeat_page_token", after=1, times=5))

    summary = rig.run()

    # It is listed in parts, after what is new.
    assert (summary.status, summary.caught_up) == ("succeeded", True)
    assert rig.tenant.faults.played()
    assert {content.content_id for content in newer} <= {event[0] for event in rig.events()}
    rig.assert_complete()
    assert rig.repeats() == 0
