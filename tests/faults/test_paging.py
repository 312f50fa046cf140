"""Listing: nothing is missed between the first page and the last, however the pages come."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from local.tenant import Fault
from tests.harness import Rig


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
