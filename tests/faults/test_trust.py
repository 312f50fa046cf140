"""A token goes to the configured hosts and to nobody else, whatever the service's links say."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from local.tenant import Fault, Tenant, TenantServer, TenantSpec
from shared.state.ledger import State
from tests.harness import EXCHANGE, Rig

if TYPE_CHECKING:
    from local.certs import Certs

pytestmark = pytest.mark.usefixtures("collected_before")

Links = Callable[[Rig, TenantServer], str]
OLDEST = 166.0


@pytest.fixture
def foreign(certs: Certs) -> Iterator[TenantServer]:
    """A server that the collector trusts by its certificate and has no business with."""
    spec = TenantSpec(
        tenant_id=str(uuid.uuid4()), client_id=str(uuid.uuid4()), client_secret="none", contents=0
    )
    with TenantServer(Tenant(spec), certs=certs) as server:
        yield server


def port(url: str) -> int:
    """The port in a URL."""
    found = urlsplit(url).port
    assert found is not None
    return found


LINKS = [
    pytest.param(
        lambda rig, foreign: f"https://127.0.0.1:{port(foreign.endpoint)}", id="another-host"
    ),
    pytest.param(lambda rig, foreign: foreign.endpoint, id="another-port"),
    pytest.param(
        lambda rig, foreign: rig.server.endpoint.replace("https:", "http:"), id="another-scheme"
    ),
    pytest.param(
        lambda rig, foreign: f"{rig.server.endpoint}@127.0.0.1:{port(foreign.endpoint)}",
        id="our-host-as-a-user-name",
    ),
    pytest.param(
        lambda rig, foreign: (
            f"https://127.0.0.1:{port(foreign.endpoint)}\\@"
            f"{rig.server.endpoint.removeprefix('https://')}"
        ),
        id="a-backslash",
    ),
]


def assert_no_token_left(rig: Rig, foreign: TenantServer) -> None:
    """Nobody else was asked for anything, and nothing was said in the clear."""
    assert foreign.tenant.books.requests() == []
    assert [note for note in rig.tenant.books.requests("other") if note.path == "plain HTTP"] == []


@pytest.mark.parametrize("link", LINKS)
def test_a_content_elsewhere_is_asked_of_our_own_host_and_of_no_other(
    rig: Rig, foreign: TenantServer, link: Links, caplog: pytest.LogCaptureFixture
) -> None:
    path = f"/api/v1.0/{rig.tenant.spec.tenant_id}/activity/feed/audit/x$y$z"
    for _ in range(2):
        rig.offer(content_uri=link(rig, foreign) + path)
    rig.offer_many(3)

    with caplog.at_level(logging.WARNING, "m365.management"):
        summary = rig.run()

    assert_no_token_left(rig, foreign)
    assert (summary.status, summary.delivered) == ("succeeded", 5)
    rig.assert_complete()
    said = [each for each in caplog.messages if "contents are listed elsewhere" in each]
    assert len(said) == 1, "once a run"


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("name", ["a%2Fb", "..", "a/../b", "a?b", "a#b", "a\\b", "a\n"])
def test_a_content_elsewhere_of_no_plain_id_is_refused_and_recorded_and_its_siblings_flow(
    rig: Rig, foreign: TenantServer, link: Links, name: str
) -> None:
    rig.tenant.subscriptions.set(EXCHANGE, "enabled")
    sibling = rig.offer()
    created = sibling.created.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    uris = {name: f"{link(rig, foreign)}/x", sibling.content_id: ""}
    listed = [
        {"contentId": each, "contentUri": uri, "contentCreated": created}
        for each, uri in uris.items()
    ]
    rig.tenant.faults.add(
        Fault(on="list", action="status", status=200, body=json.dumps(listed), times=-1)
    )

    summary = rig.run()

    assert_no_token_left(rig, foreign)
    assert (summary.status, summary.delivered, summary.pending) == ("incomplete", 1, 1)
    entry = rig.ledger()[name]
    assert (entry.state, entry.reason) == (State.ATTEMPT, "foreign-url")
    assert rig.delivered() == {sibling.content_id}


@pytest.mark.parametrize("link", LINKS)
def test_a_next_page_elsewhere_is_refused_and_what_its_page_held_is_delivered(
    make_rig: Callable[..., Rig],
    foreign: TenantServer,
    link: Links,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = make_rig(page_size=2, subscribed=(EXCHANGE,))
    rig.offer_many(5, records=1, hours_ago=OLDEST)
    rig.tenant.faults.add(
        Fault(on="list", action="foreign_next_page", host=link(rig, foreign), times=1)
    )

    summary = rig.run()

    assert_no_token_left(rig, foreign)
    # The rest is listed in parts by our own host.
    assert (summary.status, summary.delivered) == ("succeeded", 5)
    assert "is not listed: " in caplog.text
    rig.assert_complete()
    assert rig.repeats() == 0


@pytest.mark.first_run
@pytest.mark.parametrize(
    ("kind", "status"),
    [("subscriptions", 302), ("start", 307), ("list", 308), ("content", 302), ("token", 307)],
)
def test_a_redirect_is_followed_by_no_token_and_costs_nothing(
    rig: Rig, foreign: TenantServer, kind: str, status: int
) -> None:
    rig.offer_many(2, hours_ago=OLDEST)
    rig.tenant.faults.add(
        Fault(on=kind, action="redirect", url=f"{foreign.endpoint}/x", status=status, times=-1)
    )

    summary = rig.run(tries=1)

    notes = foreign.tenant.books.requests()
    assert not any(note.authorization for note in notes)
    if kind != "token":
        assert notes == []
    assert summary.error_code != "internal"
    assert not summary.caught_up
    rig.assert_nothing_claimed_early()

    rig.tenant.faults.clear()
    rig.tenant.advance(timedelta(minutes=16))
    assert rig.run().caught_up
    rig.assert_complete()
    assert rig.repeats() == 0
