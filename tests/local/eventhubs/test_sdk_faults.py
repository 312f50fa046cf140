"""What the unmodified SDK makes of each fault: the facts the publisher's design rests on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from azure.eventhub import EventData, EventHubProducerClient
from azure.eventhub.exceptions import (
    AuthenticationError,
    ConnectError,
    EventDataSendError,
    EventHubError,
    OperationTimeoutError,
)

from local.eventhubs import SERVER_BUSY, EventHubs, Fault
from tests.local.eventhubs.conftest import (
    BREAKS_CONNECTIONS,
    PATIENCE_S,
    Bounded,
    in_background,
    producer_of,
)
from tests.waits import LONG, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = BREAKS_CONNECTIONS

# Larger than a frame, so that a message can be cut in its middle.
_BODIES = [b"q" * 1500] * 100


@pytest.fixture
def warm(server: EventHubs, producer: EventHubProducerClient) -> EventHubProducerClient:
    """A producer whose link to partition 0 is open, so that a fault meets nothing but the send."""
    producer.send_batch([EventData("warm")], partition_id="0")
    server.reset()
    return producer


def _send(producer: EventHubProducerClient, **options: Any) -> None:
    producer.send_batch([EventData(body) for body in _BODIES], partition_id="0", **options)


def _stored(server: EventHubs) -> int:
    """Count how many times the batch is stored."""
    bodies = [event.body for event in server.events("audit")]
    times, rest = divmod(len(bodies), len(_BODIES))
    assert bodies == _BODIES * times
    assert rest == 0
    return times


@pytest.mark.parametrize(
    "condition",
    [
        pytest.param(SERVER_BUSY, id="busy"),
        pytest.param("amqp:resource-limit-exceeded", id="limit"),
        pytest.param("amqp:internal-error", id="internal"),
    ],
)
def test_one_rejection_is_sent_again_at_once(
    server: EventHubs, warm: EventHubProducerClient, bounded: Bounded, condition: str
) -> None:
    server.faults.add(Fault(action="reject", condition=condition))
    began = time.monotonic()
    bounded(_send, warm)
    assert time.monotonic() - began < LONG / 2
    assert (server.stats.transfers, server.stats.rejected, _stored(server)) == (2, 1, 1)
    assert server.stats.connections == 0


def test_two_busy_answers_raise_whatever_the_retry_policy(
    server: EventHubs, warm: EventHubProducerClient, bounded: Bounded
) -> None:
    server.faults.add(Fault(action="reject", condition=SERVER_BUSY, description="slow", times=2))
    with pytest.raises(EventDataSendError) as caught:
        bounded(_send, warm)
    assert caught.value.error == "server-busy"
    assert (server.stats.transfers, _stored(server)) == (2, 0)


@pytest.mark.parametrize(
    ("fault", "sends", "stored"),
    [
        pytest.param(
            Fault(action="detach", condition="amqp:link:detach-forced"), 2, 1, id="detach"
        ),
        pytest.param(Fault(action="close", condition="amqp:connection:forced"), 2, 1, id="close"),
        pytest.param(Fault(action="drop"), 2, 1, id="drop"),
        pytest.param(Fault(action="drop_mid"), 1, 1, id="drop_mid"),
        pytest.param(Fault(action="ack_lost"), 2, 2, id="ack_lost"),
    ],
)
def test_a_broken_link_is_opened_again_and_the_batch_resent(
    server: EventHubs,
    warm: EventHubProducerClient,
    bounded: Bounded,
    fault: Fault,
    sends: int,
    stored: int,
) -> None:
    server.faults.add(fault)
    bounded(_send, warm)
    stats = server.stats
    assert (stats.transfers, _stored(server), stats.connections) == (sends, stored, 1)
    assert stats.faults == 1


def test_a_missing_acknowledgement_is_resent_after_the_timeout(
    server: EventHubs, warm: EventHubProducerClient, bounded: Bounded
) -> None:
    server.faults.add(Fault(action="no_ack"))

    def send() -> None:
        _send(warm, timeout=2)

    bounded(send)
    assert (server.stats.transfers, _stored(server)) == (2, 2)


def test_a_late_acknowledgement_is_waited_for(
    server: EventHubs, warm: EventHubProducerClient, bounded: Bounded
) -> None:
    server.faults.add(Fault(action="delay", delay_s=0.3))
    began = time.monotonic()
    bounded(_send, warm)
    assert time.monotonic() - began >= 0.3
    assert (server.stats.transfers, _stored(server)) == (1, 1)


def test_a_held_acknowledgement_leaves_the_send_in_flight(
    server: EventHubs, warm: EventHubProducerClient
) -> None:
    server.faults.add(Fault(action="hold"))
    send = in_background(_send, warm)
    assert server.wait_held(timeout_s=PATIENCE_S)
    assert not send.done()
    assert (_stored(server), server.stats.held, server.stats.accepted) == (1, 1, 0)
    assert server.release_held() == 1
    send.result(PATIENCE_S)
    assert (server.stats.transfers, server.stats.held, server.stats.accepted) == (1, 0, 1)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(action="release"), id="release"),
        pytest.param(Fault(action="modify"), id="modify"),
        pytest.param(Fault(action="end", condition="amqp:session:errant-link"), id="end"),
    ],
)
def test_a_send_hangs_in_spite_of_its_timeout_until_its_connection_goes(
    server: EventHubs, warm: EventHubProducerClient, fault: Fault
) -> None:
    server.faults.add(fault)
    send = in_background(lambda: _send(warm, timeout=0.1))
    wait_for(lambda: server.stats.transfers)
    with pytest.raises(TimeoutError):
        send.result(0.3)
    assert (server.stats.transfers, _stored(server)) == (1, 0)
    assert server.drop_connections() >= 1
    with pytest.raises(OperationTimeoutError):
        send.result(PATIENCE_S)


def test_a_refused_link_raises_with_the_condition(server: EventHubs, bounded: Bounded) -> None:
    server.faults.add(
        Fault(
            on="attach",
            action="refuse",
            hub="other",
            condition="com.microsoft:entity-disabled",
            description="The hub is switched off",
            times=-1,
        )
    )
    with (
        producer_of(server, "other", retry_total=0) as client,
        pytest.raises(EventHubError, match="switched off"),
    ):
        bounded(client.send_event, EventData("x"))
    assert server.stats.transfers == 0


def test_a_late_link_is_waited_for(server: EventHubs, bounded: Bounded) -> None:
    server.faults.add(Fault(on="attach", action="delay", hub="other", delay_s=0.3))
    with producer_of(server, "other") as client:
        bounded(client.send_event, EventData("x"))
    assert server.stats.hubs["other"] == [1]


def test_a_link_without_credit_stores_nothing(server: EventHubs, bounded: Bounded) -> None:
    server.faults.add(Fault(on="attach", action="no_credit", hub="other", times=-1))
    with (
        producer_of(server, "other", retry_total=0) as client,
        pytest.raises(EventHubError, match="has no credit"),
    ):
        bounded(client.send_event, EventData("x"))
    assert server.stats.events == 0


def test_a_refused_token_is_an_authentication_error(server: EventHubs, bounded: Bounded) -> None:
    server.faults.add(Fault(on="put_token", action="status", status=401, hub="other", times=-1))
    with producer_of(server, "other", retry_total=0) as client, pytest.raises(AuthenticationError):
        bounded(client.send_event, EventData("x"))
    assert server.stats.faults >= 1


def test_faults_of_another_hub_or_partition_do_not_act(
    server: EventHubs, warm: EventHubProducerClient, bounded: Bounded
) -> None:
    server.faults.add(
        Fault(action="drop", hub="other", times=-1), Fault(action="drop", partition="1", times=-1)
    )
    bounded(_send, warm)
    assert (server.stats.faults, _stored(server)) == (0, 1)


@pytest.fixture(scope="module")
def throttled() -> Iterator[EventHubs]:
    with EventHubs({"audit": 1}, throughput_units=0.1, max_message_bytes=200_000) as server:
        yield server


def test_the_quota_is_answered_with_server_busy(throttled: EventHubs, bounded: Bounded) -> None:
    def flood(client: EventHubProducerClient) -> None:
        for _ in range(5):
            _send(client)

    with (
        producer_of(throttled) as client,
        pytest.raises(EventDataSendError, match="50002") as caught,
    ):
        bounded(flood, client)
    assert caught.value.error == "server-busy"
    assert throttled.stats.throttled == 2
    assert 1 <= throttled.stats.accepted < 5


def test_a_message_over_the_limit_ends_the_link(throttled: EventHubs, bounded: Bounded) -> None:
    with (
        producer_of(throttled, retry_total=0) as client,
        pytest.raises((EventHubError, ValueError)),
    ):
        bounded(client.send_event, EventData(b"x" * 250_000))


def test_connections_refused_for_good_raise_a_connect_error(bounded: Bounded) -> None:
    with EventHubs({"audit": 1}) as stopped:
        pass
    with producer_of(stopped, retry_total=0) as client, pytest.raises(ConnectError):
        bounded(client.send_event, EventData("x"))
