from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from azure.core.credentials import AccessToken
from azure.eventhub import (
    EventData,
    EventHubConsumerClient,
    EventHubProducerClient,
    PartitionContext,
    TransportType,
)
from azure.eventhub.exceptions import AuthenticationError, ConnectError

from local.eventhubs import EventHubs
from tests.local.eventhubs.conftest import BREAKS_CONNECTIONS, PATIENCE_S, Bounded, producer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = BREAKS_CONNECTIONS
Received = list[tuple[str, EventData]]


@contextmanager
def _consuming(server: EventHubs, **options: Any) -> Iterator[Received]:
    received: Received = []

    def note(context: PartitionContext, event: EventData | None) -> None:
        if event is not None:
            received.append((context.partition_id, event))

    client = EventHubConsumerClient.from_connection_string(
        server.connection_string("audit"), "$Default", retry_backoff_factor=0.02
    )
    reader = threading.Thread(
        target=client.receive, args=(note,), kwargs={"starting_position": "-1", **options}
    )
    reader.daemon = True
    reader.start()
    try:
        yield received
    finally:
        client.close()
        reader.join(PATIENCE_S)
        assert not reader.is_alive()


def _until(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "nothing came in time"
        time.sleep(0.01)


def _full_batch(producer: EventHubProducerClient, **options: Any) -> list[bytes]:
    """Send a batch with as many events as fit, and return their bodies."""
    batch = producer.create_batch(**options)
    bodies: list[bytes] = []
    while True:
        body = b'{"n": %d, "fill": "%s"}' % (len(bodies), b"x" * 1500)
        try:
            batch.add(EventData(body))
        except ValueError:
            producer.send_batch(batch)
            return bodies
        bodies.append(body)


def test_what_is_published_is_stored_and_read_back(
    server: EventHubs, producer: EventHubProducerClient
) -> None:
    event = EventData(b'{"a": 1}')
    event.content_type = "application/json"
    event.message_id = "id-1"
    event.properties = {"n": 1, "kind": "x" * 300, "raw": b"\xff", "flag": True}
    batch = producer.create_batch(partition_id="2")
    batch.add(event)
    batch.add(EventData("z" * 2000))
    producer.send_batch(batch)

    first, second = server.events("audit")
    assert (first.partition, first.sequence_number, first.offset) == ("2", 0, 0)
    assert (second.sequence_number, second.offset) == (1, len(first.encoded))
    assert first.body == b'{"a": 1}'
    assert first.message.content_type == "application/json"
    assert first.message.message_id == "id-1"
    assert first.properties == {"n": 1, "kind": "x" * 300, "raw": b"\xff", "flag": True}
    assert first.partition_key is None
    assert abs(first.enqueued_time - datetime.now(UTC)) < timedelta(seconds=10)
    assert second.body == b"z" * 2000
    assert second.properties == {}

    with _consuming(server, partition_id="2") as received:
        _until(lambda: len(received) >= 2)
    partitions, events = zip(*received, strict=True)
    assert partitions == ("2", "2")
    assert events[0].body_as_json() == {"a": 1}
    assert events[0].properties == {b"n": 1, b"kind": b"x" * 300, b"raw": b"\xff", b"flag": True}
    assert events[0].content_type == "application/json"
    assert [event.sequence_number for event in events] == [0, 1]
    assert [event.offset for event in events] == ["0", str(second.offset)]
    assert events[0].enqueued_time == first.enqueued_time
    assert server.stats.delivered == 2


def test_a_full_batch_arrives_whole_and_in_order(
    server: EventHubs, producer: EventHubProducerClient
) -> None:
    bodies = _full_batch(producer, partition_id="1")
    assert len(bodies) > 600
    assert [event.body for event in server.events("audit")] == bodies
    assert server.stats.hubs == {"audit": [0, len(bodies), 0, 0], "other": [0]}
    assert server.stats.events == len(bodies)
    assert server.stats.bytes > 1_000_000


def test_events_of_one_key_share_a_partition_and_keep_the_key(
    server: EventHubs, producer: EventHubProducerClient
) -> None:
    for size in (1, 3):
        producer.send_batch([EventData(f"{n}") for n in range(size)], partition_key="tenant-1")
    producer.send_event(EventData("single"), partition_key="tenant-1")
    events = server.events("audit")
    assert [event.partition_key for event in events] == ["tenant-1"] * 5
    assert len({event.partition for event in events}) == 1
    assert [event.body for event in events] == [b"0", b"0", b"1", b"2", b"single"]


def test_batches_without_a_key_go_to_each_partition_in_turn(
    server: EventHubs, producer: EventHubProducerClient
) -> None:
    for _ in range(4):
        producer.send_batch([EventData("x")])
    assert server.stats.hubs["audit"] == [1, 1, 1, 1]


def test_a_reader_starts_where_it_asks_and_follows_what_comes(
    server: EventHubs, producer: EventHubProducerClient
) -> None:
    producer.send_batch([EventData(str(n)) for n in range(5)], partition_id="3")
    with _consuming(server, partition_id="3", starting_position=2) as received:
        _until(lambda: len(received) >= 2)
        producer.send_batch([EventData("later")], partition_id="3")
        _until(lambda: len(received) >= 3)
    assert [event.body_as_str() for _, event in received] == ["3", "4", "later"]


def test_a_reader_of_a_higher_owner_level_takes_the_partition_over(
    server: EventHubs, producer: EventHubProducerClient
) -> None:
    errors: list[Exception] = []
    options: dict[str, Any] = {"partition_id": "0", "on_error": lambda _, e: errors.append(e)}
    producer.send_batch([EventData("first")], partition_id="0")
    with _consuming(server, owner_level=1, **options) as low:
        _until(lambda: len(low) == 1)
        with _consuming(server, owner_level=2, **options) as high:
            _until(lambda: len(high) == 1)
            _until(lambda: bool(errors))
            producer.send_batch([EventData("second")], partition_id="0")
            _until(lambda: len(high) == 2)
    assert len(low) == 1


def test_hub_and_partition_properties_are_told(
    server: EventHubs, producer: EventHubProducerClient
) -> None:
    producer.send_batch([EventData("abc"), EventData("def")], partition_id="1")
    hub = producer.get_eventhub_properties()
    assert hub["eventhub_name"] == "audit"
    assert hub["partition_ids"] == ["0", "1", "2", "3"]
    partition = producer.get_partition_properties("1")
    assert partition["last_enqueued_sequence_number"] == 1
    assert partition["last_enqueued_offset"] == str(server.events("audit")[1].offset)
    assert partition["is_empty"] is False


def test_a_hub_that_does_not_exist_is_not_found(server: EventHubs, bounded: Bounded) -> None:
    with (
        producer_of(server, "nohub", retry_total=0) as client,
        pytest.raises(ConnectError, match="NotFound"),
    ):
        bounded(client.send_event, EventData("x"))
    assert server.stats.events == 0


def test_a_wrong_key_is_refused(server: EventHubs, bounded: Bounded) -> None:
    wrong = server.connection_string("audit").replace("SAS_KEY_VALUE", "WRONG")
    with (
        EventHubProducerClient.from_connection_string(
            wrong, retry_total=0, retry_backoff_factor=0.02
        ) as client,
        pytest.raises(AuthenticationError),
    ):
        bounded(client.send_event, EventData("x"))
    assert server.stats.put_tokens >= 1
    assert server.stats.transfers == 0


def test_a_client_reconnects_after_its_connections_are_cut(
    server: EventHubs, producer: EventHubProducerClient
) -> None:
    producer.send_batch([EventData("before")])
    assert server.drop_connections() >= 1
    producer.send_batch([EventData("after")])
    assert [event.body for event in server.events("audit")] == [b"before", b"after"]


class _Credential:
    """Hands out what looks like a token."""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        assert scopes == ("https://eventhubs.azure.net//.default",)
        return AccessToken("header.claims.signature", int(time.time()) + 3600)


def test_a_credential_is_taken_over_tls(tmp_path: Path, bounded: Bounded) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    certificate, key, trusted = (str(tmp_path / name) for name in ("c.pem", "k.pem", "ca.pem"))
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(trusted)
    with EventHubs({"audit": 1}, tls=(certificate, key)) as server:
        client = EventHubProducerClient(
            server.namespace,
            "audit",
            _Credential(),
            custom_endpoint_address=server.endpoint,
            transport_type=TransportType.Amqp,
            connection_verify=trusted,
        )
        with client:
            bounded(client.send_event, EventData("x"))
        assert [event.body for event in server.events("audit")] == [b"x"]


def test_events_that_are_not_kept_are_still_counted(bounded: Bounded) -> None:
    with EventHubs({"audit": 1}, keep=False) as server, producer_of(server) as client:
        bounded(client.send_batch, [EventData("x"), EventData("y")])
        assert server.events("audit") == []
        assert server.stats.hubs == {"audit": [2]}


def test_a_port_in_use_is_an_error_where_the_server_is_started(server: EventHubs) -> None:
    with pytest.raises(OSError, match="in use"), EventHubs({"audit": 1}, port=server.port):
        pass


def test_a_stopped_server_starts_again_on_its_port_with_its_events(bounded: Bounded) -> None:
    server = EventHubs({"audit": 1})
    with server:
        port = server.port
        with producer_of(server) as client:
            bounded(client.send_event, EventData("x"))
    with server:
        assert server.port == port
        assert len(server.events("audit")) == 1
    server.reset()
    assert server.events("audit") == []
