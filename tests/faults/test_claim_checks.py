"""An event over the hub's limit: its bytes go to a blob, and a pointer to them goes to the hub in its place."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.eventhub import EventData

from local.eventhubs import Fault as HubFault
from shared.state.ledger import State
from tests.campaign import free_lease, kill
from tests.harness import FAST, HUB, Rig, record
from tests.proxy import Proxy
from tests.waits import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.azurite import Azurite
    from local.eventhubs import StoredEvent
    from shared.run.context import Tuning
    from shared.state.run_summary import RunSummary

pytestmark = pytest.mark.usefixtures("collected_before")

OVER_THE_LIMIT = 1 << 20
WRITES = r"PUT \S*/m365-claim-checks/"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "reading-events.md"


@pytest.fixture
def proxy(azurite: Azurite) -> Iterator[Proxy]:
    """A proxy in front of the blob service."""
    with Proxy(azurite.blob_endpoint) as running:
        yield running


def run_through(rig: Rig, azurite: Azurite, proxy: Proxy, tuning: Tuning = FAST) -> RunSummary:
    """Run the feed with its storage behind a proxy."""
    through = azurite.connection_string.replace(azurite.blob_endpoint, proxy.endpoint)
    return rig.run(tuning=tuning, settings={"M365_STORAGE_CONNECTION_STRING": through})


def kept(rig: Rig) -> list[str]:
    """Names of the tenant's blobs in the container."""
    return list(
        rig.storage.claim_checks.list_blob_names(name_starts_with=rig.tenant.spec.tenant_id)
    )


def huge() -> bytes:
    """A record that no batch holds."""
    return record(Padding="x" * OVER_THE_LIMIT)


def test_a_pointer_is_sent_in_place_of_a_record_over_the_hubs_limit_and_its_siblings_flow(
    rig: Rig,
) -> None:
    large, small = huge(), [record(), record(), record()]
    content = rig.offer(records=[small[0], large, *small[1:]])
    rig.offer_many(3)

    first, second = rig.run(), rig.run()

    rig.assert_complete()
    assert rig.repeats() == 0
    assert (first.status, first.delivered, first.error) == ("succeeded", 4, "")
    assert (first.claim_checks, first.dead_letters, first.records) == (1, 0, 13)
    assert (second.delivered, second.claim_checks) == (0, 0)
    (pointer,) = rig.pointers()
    assert rig.body(pointer) == large
    entry = rig.ledger()[content.content_id]
    assert (entry.state, entry.records, entry.claim_checks) == (State.DELIVERED, 4, 1)
    assert entry.bytes == sum(map(len, content.records or ()))
    assert rig.dead_letters() == {}
    # It is no flaw of its day.
    assert [row["claim_checks"] for row in rig.day_rows() if row["listed"]] == [1]
    assert not any(json.loads(row["reasons"]) for row in rig.day_rows() if row["listed"])


def test_a_pointer_says_all_that_its_event_would_and_where_its_bytes_are(rig: Rig) -> None:
    large, small = huge(), record()
    content = rig.offer(records=[large, small])

    rig.run()

    (pointer,) = rig.pointers()
    (sibling,) = (each for each in rig.hubs.events(HUB) if each.body == small)
    said = dict(pointer.properties)
    address = str(said.pop("claim_address"))
    assert address == f"{rig.storage.claim_checks.url}/{kept(rig)[0]}"
    assert "?" not in address
    assert said.pop("kind") == "claim-check"
    assert said.pop("claim_size") == str(len(large))
    assert said.pop("claim_sha256") == hashlib.sha256(large).hexdigest()
    assert said == {**sibling.properties, "event_id": json.loads(large)["Id"]}
    assert said["content_id"] == content.content_id
    assert len(pointer.body) < 2_000
    assert json.loads(pointer.body) == {**pointer.properties, "claim_size": len(large)}


def test_a_content_of_nothing_but_a_record_over_the_limit_is_delivered(rig: Rig) -> None:
    content = rig.offer(records=[huge()])

    summary = rig.run()

    assert (summary.status, summary.records, summary.claim_checks) == ("succeeded", 1, 1)
    assert rig.delivered() == {content.content_id}
    rig.assert_complete()


def test_a_record_that_the_hub_refuses_for_its_size_though_its_link_allows_it_is_claim_checked(
    rig: Rig,
) -> None:
    rig.offer(records=[record()])
    condition = "amqp:link:message-size-exceeded"
    rig.hubs.faults.add(HubFault(action="detach", condition=condition, times=2))

    summary = rig.run()

    assert (summary.status, summary.delivered, summary.claim_checks) == ("succeeded", 1, 1)
    assert len(rig.pointers()) == 1
    rig.assert_complete()


def test_a_hub_that_refuses_even_the_pointer_keeps_its_content_waiting_and_no_other(
    rig: Rig,
) -> None:
    stuck = rig.offer(records=[record()])
    condition = "amqp:link:message-size-exceeded"
    rig.hubs.faults.add(HubFault(action="detach", condition=condition, times=4))

    summary = rig.run()

    assert (summary.delivered, summary.failed, summary.pending) == (0, 1, 1)
    assert summary.error_code == "claim-check-refused"
    assert rig.ledger()[stuck.content_id].reason == "claim-check-refused"
    rig.tenant.advance(timedelta(minutes=11))

    assert rig.run().delivered == 1
    rig.assert_complete()


@pytest.mark.parametrize("status", [403, 0], ids=["refused", "cut"])
def test_a_record_whose_bytes_cannot_be_kept_leaves_its_content_pending_and_no_other(
    rig: Rig, azurite: Azurite, proxy: Proxy, status: int
) -> None:
    stuck = rig.offer(records=[record(), huge()])
    others = rig.offer_many(3)
    proxy.refuse(WRITES, status=status)

    summary = run_through(rig, azurite, proxy)

    assert rig.pointers() == []
    assert rig.delivered() == {each.content_id for each in others}
    assert (summary.delivered, summary.failed, summary.pending, summary.lost) == (3, 1, 1, 0)
    assert "write claim-checked event" in summary.error
    entry = rig.ledger()[stuck.content_id]
    assert (entry.state, entry.reason) == (State.ATTEMPT, summary.error_code)

    proxy.clear()
    rig.tenant.advance(timedelta(minutes=11))
    again = run_through(rig, azurite, proxy)

    assert (again.delivered, again.claim_checks, again.pending) == (1, 1, 0)
    rig.assert_complete()


def test_a_write_whose_answer_is_lost_is_done_again_to_the_same_blob(
    rig: Rig, azurite: Azurite, proxy: Proxy
) -> None:
    rig.offer(records=[huge()])
    rule = proxy.lose_answer(WRITES, times=1)

    summary = run_through(rig, azurite, proxy)

    assert (rule.acted, summary.status, summary.claim_checks) == (1, "succeeded", 1)
    assert (len(kept(rig)), len(rig.pointers())) == (1, 1)
    rig.assert_complete()


def test_killed_between_blob_and_pointer_sends_the_pointer_in_the_next_run(rig: Rig) -> None:
    content = rig.offer(records=[record(), huge()])
    rig.hubs.faults.add(HubFault(action="reject", condition="com.microsoft:server-busy", times=-1))
    worker = rig.spawn()
    wait_for(lambda: bool(kept(rig)))
    kill(worker)
    before = kept(rig)
    assert rig.events() == []
    assert rig.delivered() == set()
    rig.hubs.faults.clear()
    free_lease(rig)

    summary = rig.run()

    assert (summary.delivered, summary.claim_checks) == (1, 1)
    assert rig.delivered() == {content.content_id}
    assert kept(rig) == before
    rig.assert_complete()
    assert rig.repeats() == 0


def test_an_event_that_is_sent_again_has_the_same_blob_which_then_counts_its_days_anew(
    rig: Rig,
) -> None:
    rig.offer(records=[huge()])
    rig.run()
    (name,) = kept(rig)
    written = rig.storage.claim_checks.get_blob_client(name).get_blob_properties().etag
    for prefix in ("checkpoints/", "ledger/", "looks/", "waiting/"):
        own = f"{prefix}{rig.tenant.spec.tenant_id}"
        for blob in rig.storage.state.list_blobs(name_starts_with=own):
            rig.storage.state.delete_blob(blob.name)

    assert rig.run().claim_checks == 1

    assert kept(rig) == [name]
    again = rig.storage.claim_checks.get_blob_client(name).get_blob_properties().etag
    assert again != written
    addresses = {each.properties["claim_address"] for each in rig.pointers()}
    assert (len(rig.pointers()), len(addresses)) == (2, 1)


def test_two_records_of_one_content_and_one_id_have_a_blob_each(rig: Rig) -> None:
    twins = [record(Id="the-same-one", Padding=each * OVER_THE_LIMIT) for each in "xy"]
    rig.offer(records=twins)

    assert rig.run().claim_checks == 2

    assert len(kept(rig)) == 2
    rig.assert_complete()


def test_an_id_that_is_as_long_as_a_record_still_lets_a_pointer_fit(rig: Rig) -> None:
    raw = record(Id="i" * OVER_THE_LIMIT)
    rig.offer(records=[raw])

    summary = rig.run()

    assert (summary.delivered, summary.claim_checks) == (1, 1)
    (pointer,) = rig.pointers()
    assert pointer.properties["event_id"] == hashlib.blake2b(raw, digest_size=16).hexdigest()
    assert rig.body(pointer) == raw


# -- who reads them


def example() -> Callable[..., bytes]:
    """The function of the documents."""
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    (found,) = (each for each in code if "def body_of(" in each)
    space: dict[str, Any] = {}
    exec(compile(found, str(PAGE), "exec"), space)
    made: Callable[..., bytes] = space["body_of"]
    return made


def received(stored: StoredEvent, **more: str) -> EventData:
    """An event as the SDK's consumer hands it over: names and values of properties are bytes."""
    data = EventData(stored.body)
    said = {**stored.properties, **more}
    data.properties = {name.encode(): str(value).encode() for name, value in said.items()}
    return data


def test_the_example_of_the_documents_reads_pointers_and_records_alike(rig: Rig) -> None:
    large, small = huge(), record()
    rig.offer(records=[large, small])
    rig.run()
    named = dict(each.partition("=")[::2] for each in rig.storage_connection.split(";"))
    key = AzureNamedKeyCredential(named["AccountName"], named["AccountKey"])
    container = rig.storage.claim_checks.url
    body_of = example()

    events = [received(each) for each in rig.hubs.events(HUB)]

    assert {body_of(each, container, key) for each in events} == {large, small}


def test_the_example_follows_no_address_outside_its_container_and_takes_no_other_bytes(
    rig: Rig,
) -> None:
    rig.offer(records=[huge()])
    rig.run()
    (pointer,) = rig.pointers()
    container, body_of = rig.storage.claim_checks.url, example()
    away = received(pointer, claim_address="https://elsewhere.example/m365-claim-checks/x")

    with pytest.raises(ValueError, match="elsewhere"):
        body_of(away, container, None)

    named = dict(each.partition("=")[::2] for each in rig.storage_connection.split(";"))
    key = AzureNamedKeyCredential(named["AccountName"], named["AccountKey"])
    rig.storage.claim_checks.upload_blob(kept(rig)[0], b"changed", overwrite=True)
    with pytest.raises(ValueError, match="not what was sent"):
        body_of(received(pointer), container, key)
