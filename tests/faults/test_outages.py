"""Outages: of the service, of the token endpoint, of one type, one tenant or one account; each costs time only."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from local.tenant import Fault
from shared.app import App
from shared.sources.registry import load
from shared.state.ledger import State
from tests.harness import EXCHANGE, FAST, Rig
from tests.proxy import APPEND, CHECKPOINT_WRITE, Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.azurite import Azurite

pytestmark = pytest.mark.usefixtures("collected_before")

OLDEST = 166.0
GENERAL = "Audit.General"


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"action": "status", "status": 503}, id="unavailable"),
        pytest.param({"action": "status", "code": "AF50000"}, id="internal-error"),
        pytest.param({"action": "reset"}, id="connections-that-are-reset"),
        pytest.param({"action": "error_object"}, id="error-objects"),
        pytest.param({"action": "truncate_gzip"}, id="answers-cut-short"),
    ],
)
def test_a_run_in_which_every_fetch_fails_counts_no_attempt(
    rig: Rig, fault: dict[str, Any]
) -> None:
    contents = rig.offer_many(8)
    rig.tenant.faults.add(Fault(on="content", times=-1, **fault))

    summary = rig.run(tries=1)

    assert (summary.delivered, summary.failed, summary.pending) == (0, 8, 8)
    entries = rig.ledger()
    assert {entries[each.content_id].state for each in contents} == {State.LISTED}
    assert not any(entry.attempts for entry in entries.values())

    # Nothing has to be waited for once it is over.
    rig.tenant.faults.clear()
    assert rig.run().delivered == 8
    rig.assert_complete()
    assert rig.repeats() == 0


def test_tokens_that_expire_in_mid_run_are_renewed_and_nothing_fails_by_it(rig: Rig) -> None:
    # One expiry a run: a content that is refused with two tokens, one after the other, waits for the next run.
    app = rig.app()
    for _ in range(2):
        rig.offer_many(30)
        rig.tenant.faults.add(Fault(on="content", action="expire_tokens", after=7, times=1))

        summary = rig.run(app=app)

        assert (summary.status, summary.delivered, summary.failed) == ("succeeded", 30, 0)
    assert rig.tenant.faults.played() == {"expire_tokens": 2}
    assert any(note.status == 401 for note in rig.tenant.books.requests("content"))
    assert len(rig.tenant.books.requests("token")) > 2
    rig.assert_complete()
    assert rig.repeats() == 0


def test_a_token_endpoint_that_is_down_for_ten_minutes_costs_ten_minutes(rig: Rig) -> None:
    rig.offer_many(3)
    rig.tenant.faults.add(
        Fault(on="token", action="reset", times=-1),
        Fault(on="discovery", action="reset", times=-1),
    )

    down = rig.run()

    assert (down.status, down.error_code, down.caught_up) == ("failed", "no-token", False)
    assert rig.tenant.books.requests("subscriptions", "list", "content") == []

    rig.tenant.faults.clear()
    rig.tenant.advance(timedelta(minutes=10))
    rig.offer_many(2)
    assert rig.run().delivered == 5
    rig.assert_complete()


def test_a_token_in_hand_outlasts_an_outage_of_the_token_endpoint(rig: Rig) -> None:
    app = rig.app()
    rig.run(app=app)
    contents = rig.offer_many(3)
    rig.tenant.faults.add(Fault(on="token", action="reset", times=-1))

    assert rig.run(app=app).delivered == 3
    rig.assert_complete()

    # And one that is refused while no other can be had ends the run without a word about the contents.
    more = rig.offer_many(3)
    rig.tenant.tokens.expire()
    summary = rig.run(app=app)
    app.close()
    assert (summary.status, summary.error_code) == ("failed", "no-token")
    ledger = rig.ledger()
    assert {ledger[each.content_id].state for each in contents} == {State.DELIVERED}
    assert not any(entry.attempts for entry in ledger.values())

    rig.tenant.faults.clear()
    assert rig.run().delivered == len(more)
    rig.assert_complete()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"on": "list", "action": "status", "status": 500}, id="listing"),
        pytest.param({"on": "start", "action": "status", "code": "AF20020"}, id="subscribing"),
    ],
)
def test_a_content_type_that_fails_for_ever_leaves_the_others_alone(
    rig: Rig, fault: dict[str, Any]
) -> None:
    sources = (EXCHANGE, GENERAL)
    for source in sources:
        rig.offer_many(3, source)
    rig.tenant.faults.add(Fault(source=GENERAL, times=-1, **fault))
    app = rig.app(FAST, M365_SOURCES=",".join(sources))

    summaries = {source: rig.run(source, app=app) for source in sources}

    app.close()
    assert not summaries[GENERAL].caught_up
    assert (summaries[EXCHANGE].status, summaries[EXCHANGE].delivered) == ("succeeded", 3)
    rig.assert_complete(EXCHANGE)
    assert rig.events(GENERAL) == []

    rig.tenant.faults.clear()
    rig.tenant.advance(timedelta(minutes=16))
    assert rig.run(GENERAL, settings={"M365_SOURCES": ",".join(sources)}).caught_up
    rig.assert_complete()


def test_a_tenant_that_hangs_leaves_the_others_alone(make_rig: Callable[..., Rig]) -> None:
    good, bad = make_rig(), make_rig()
    good.offer_many(3)
    bad.offer_many(3)
    bad.tenant.faults.add(Fault(on="list", action="hang", delay_s=60, times=-1))
    app = App(
        load(both(good, bad)),
        tuning=replace(FAST, limits=replace(FAST.limits, read=0.6), tries=1),
    )

    summaries = {each.connection: each for each in app.run(EXCHANGE)}

    app.close()
    assert (summaries["good"].status, summaries["good"].delivered) == ("succeeded", 3)
    assert {event[0] for event in good.events()} == {each[0] for each in good.expected()}
    assert summaries["bad"].status == "failed"
    assert summaries["bad"].error_code == "no-answer"

    bad.tenant.faults.clear()
    assert bad.run().caught_up
    bad.assert_complete()


def both(good: Rig, bad: Rig) -> dict[str, str]:
    """Settings with two tenants, one hub and one storage account."""
    connections = [
        {
            "name": name,
            "tenant_id": rig.tenant.spec.tenant_id,
            "client_id": rig.tenant.spec.client_id,
            "client_secret_setting": "M365_CLIENT_SECRET",
            "login_endpoint": rig.server.endpoint,
            "management_endpoint": rig.server.endpoint,
        }
        for name, rig in (("bad", bad), ("good", good))
    ]
    values = good.values(M365_CONNECTIONS=json.dumps(connections))
    own = (
        "_TENANT_ID",
        "_CLIENT_ID",
        "LOGIN_ENDPOINT",
        "MANAGEMENT_ENDPOINT",
        "GRAPH_ENDPOINT",
        "REPORTING_ENDPOINT",
    )
    return {name: value for name, value in values.items() if not name.endswith(own)}


def test_storage_that_refuses_the_key_ends_the_run_before_anything_is_fetched(rig: Rig) -> None:
    rig.offer_many(3)
    settings = rig.values()["M365_STORAGE_CONNECTION_STRING"]
    key = next(part for part in settings.split(";") if part.startswith("AccountKey="))
    wrong = settings.replace(key, "AccountKey=" + "A" * 86 + "==")

    summary = rig.run(settings={"M365_STORAGE_CONNECTION_STRING": wrong})

    assert (summary.status, summary.delivered) == ("failed", 0)
    assert "Storage Blob Data Contributor" in summary.error
    assert rig.tenant.books.requests("list", "content") == []
    assert rig.run().caught_up
    rig.assert_complete()


@pytest.fixture
def proxy(azurite: Azurite) -> Iterator[Proxy]:
    """A proxy in front of the blob service; only the collector goes through it."""
    with Proxy(azurite.blob_endpoint) as running:
        yield running


@pytest.mark.first_run
@pytest.mark.parametrize(
    "what",
    [
        pytest.param(APPEND, id="the-ledger"),
        pytest.param(CHECKPOINT_WRITE, id="the-checkpoint"),
        pytest.param("comp=lease", id="the-lease"),
        pytest.param("m365-state", id="everything"),
    ],
)
def test_storage_that_refuses_from_some_moment_on_ends_the_run_and_nothing_is_claimed(
    rig: Rig, azurite: Azurite, proxy: Proxy, what: str
) -> None:
    rig.offer_many(6)
    through = azurite.connection_string.replace(azurite.blob_endpoint, proxy.endpoint)
    # Of the ledger the lines of what is listed are written, and then none.
    after = {"comp=lease": 0, APPEND: 1}.get(what, 2)
    rule = proxy.refuse(what, status=403, after=after)

    summary = rig.run(settings={"M365_STORAGE_CONNECTION_STRING": through}, close_seconds=2)

    assert rule.acted
    assert (summary.status, summary.caught_up) == ("failed", False)
    assert "Storage Blob Data Contributor" in summary.error
    rig.assert_nothing_claimed_early()
    proxy.clear()
    rig.run_until(lambda each: each.caught_up, most=3)
    rig.assert_complete()
