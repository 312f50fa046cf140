from __future__ import annotations

import json
from datetime import timedelta

import pytest

from tests.local.tenant.conftest import EXCHANGE, NOW, Serve, code_of, make_tenant

HOOK = {"address": "https://hooks.lumenfield.example/o365", "authId": "me", "expiration": ""}
HOUR = timedelta(hours=1)


def hook(**changed: str) -> str:
    return json.dumps({"webhook": {**HOOK, **changed}})


def test_a_new_tenant_has_no_subscription(serve: Serve) -> None:
    client = serve(subscribed=())
    assert client.get("subscriptions/list").json() == []
    assert code_of(client.page()) == "AF20022"


def test_a_start_makes_the_history_listable_at_once(serve: Serve) -> None:
    client = serve(subscribed=(), contents={EXCHANGE: 5}, days=0.5)
    answer = client.start()
    enabled = {"contentType": EXCHANGE, "status": "enabled", "webhook": None}
    assert answer.json() == enabled
    assert client.get("subscriptions/list").json() == [enabled]
    assert len(client.listed()) == 5
    assert client.tenant.books.starts() == [(EXCHANGE, NOW)]


def test_starting_what_is_enabled_changes_nothing(serve: Serve) -> None:
    answer = serve().start()
    assert (answer.status_code, code_of(answer)) == (400, "AF20024")


def test_a_second_start_within_the_cool_down_is_refused_and_names_the_wait(serve: Serve) -> None:
    client = serve(subscribed=())
    client.start()
    client.tenant.advance(timedelta(seconds=4))
    answer = client.start()
    assert (answer.status_code, code_of(answer)) == (429, "AF429")
    assert "retry after 14m 56s" in answer.text
    assert client.start("Audit.General").status_code == 200
    client.tenant.advance(timedelta(minutes=15))
    assert code_of(client.start()) == "AF20024"
    assert len(client.tenant.books.starts(EXCHANGE)) == 3


def test_a_disabled_subscription_is_listed_and_refuses_listings(serve: Serve) -> None:
    client = serve()
    client.tenant.subscriptions.set(EXCHANGE, "disabled")
    assert client.get("subscriptions/list").json()[0]["status"] == "disabled"
    assert code_of(client.page()) == "AF20023"
    assert client.start().status_code == 200
    assert client.page().status_code == 200


def test_a_webhook_is_kept_changed_and_removed_by_starts(serve: Serve) -> None:
    client = serve()
    assert client.start(body=hook()).json()["webhook"] == {
        "status": "enabled",
        "address": HOOK["address"],
        "authId": "me",
        "expiration": None,
    }
    client.tenant.advance(HOUR)
    assert code_of(client.start(body=hook())) == "AF20024"
    client.tenant.advance(HOUR)
    assert client.start().json()["webhook"] is None


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param("{", "AF20002", id="no json"),
        pytest.param('{"webhook":{}}', "AF20001", id="no address"),
        pytest.param(hook(address="http://hooks.example"), "AF20021", id="not https"),
        pytest.param(hook(expiration="2026-01-01T00:00:00Z"), "AF20003", id="expired"),
        pytest.param(hook(expiration="soon"), "AF20002", id="no time"),
    ],
)
def test_a_webhook_that_cannot_be_is_refused(serve: Serve, body: str, code: str) -> None:
    client = serve(subscribed=())
    assert code_of(client.start(body=body)) == code
    assert client.get("subscriptions/list").json() == []


def test_what_became_visible_between_stop_and_start_is_lost(serve: Serve) -> None:
    tenant = make_tenant()
    client = serve(tenant)
    before = tenant.offer(EXCHANGE)
    tenant.advance(HOUR)
    stopped = client.stop()
    assert (stopped.status_code, stopped.content) == (200, b"")
    assert code_of(client.stop()) == "AF20022"
    tenant.advance(HOUR)
    missed = tenant.offer(EXCHANGE)
    tenant.advance(HOUR)
    assert client.start().status_code == 200
    after = tenant.offer(EXCHANGE)
    tenant.advance(HOUR)
    assert client.listed() == [before.content_id, after.content_id]
    assert client.content(missed.content_id).status_code == 404
