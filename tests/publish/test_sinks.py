"""Sinks: a line in the file is on disk, and an error of Event Hubs says what to do."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.eventhub.exceptions import (
    AuthenticationError,
    ConnectError,
    EventDataSendError,
    EventHubError,
    OperationTimeoutError,
)
from azure.identity import CredentialUnavailableError

from local.eventhubs import EventHubs, Fault
from shared.errors import EventTooLarge, SinkBusy, SinkError, SinkRefused
from shared.policy import TABLE, Area
from shared.publish.event_hubs import EventHubSink, sink_error
from shared.publish.file import MAX_BATCH_BYTES, FileSink
from shared.publish.pace import Sending
from shared.publish.publisher import Publisher
from tests.publish.parcels import parcel
from tests.publish.sinks import Break, SinkSuite, Stored

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.publish.sink import Sink


class Detached(Exception):
    """What the AMQP layer raises: a condition and a description."""

    def __init__(self, condition: bytes) -> None:
        super().__init__("private.servicebus.windows.net TrackingId:17")
        self.condition = condition
        self.description = "private.servicebus.windows.net TrackingId:17"


@pytest.mark.parametrize(
    ("condition", "kind"),
    [
        pytest.param(b"com.microsoft:server-busy", SinkBusy, id="busy"),
        pytest.param(b"amqp:resource-limit-exceeded", SinkBusy, id="resource-limit"),
        pytest.param(b"amqp:link:message-size-exceeded", EventTooLarge, id="too-large"),
        pytest.param(b"amqp:unauthorized-access", SinkRefused, id="unauthorized"),
        pytest.param(b"amqp:not-found", SinkRefused, id="no-hub"),
        pytest.param(b"amqp:internal-error", SinkError, id="internal"),
        pytest.param(b"com.microsoft:timeout", SinkError, id="timeout"),
    ],
)
@pytest.mark.parametrize("place", ["details", "itself", "cause"])
def test_the_condition_decides_wherever_the_sdk_puts_it(
    condition: bytes, kind: type[SinkError], place: str
) -> None:
    inner = Detached(condition)
    error: Exception
    if place == "details":
        error = EventDataSendError("private", inner)  # type: ignore[arg-type]
    elif place == "itself":
        error = inner
    else:
        error = EventHubError("private")
        error.__cause__ = inner

    found = sink_error(error, "m365-audit")

    assert type(found) is kind
    assert found.code
    assert found.code in condition.decode()
    assert "'m365-audit'" in str(found)
    assert "private" not in str(found)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        pytest.param(AuthenticationError("token sig=abc"), SinkRefused, id="authentication"),
        pytest.param(ConnectError("private"), SinkError, id="connect"),
        pytest.param(OperationTimeoutError("private"), SinkError, id="timeout"),
        pytest.param(TimeoutError(110, "private"), SinkError, id="socket"),
        pytest.param(ValueError("private"), SinkError, id="anything"),
    ],
)
def test_an_error_without_a_condition_is_known_by_its_kind(
    error: Exception, kind: type[SinkError]
) -> None:
    found = sink_error(error, "m365-audit")

    assert type(found) is kind
    assert "private" not in str(found)
    assert "abc" not in str(found)


def test_a_failure_of_the_apps_identity_is_told_from_one_of_the_hub() -> None:
    """The SDK raises what its credential raised, as it is or as the cause of its own."""
    missing, wrapped = CredentialUnavailableError("private"), AuthenticationError("private")
    wrapped.__cause__ = missing
    unreachable = ClientAuthenticationError("private NameResolutionError")
    failing = ClientAuthenticationError("private\n\tX: Token request error: (x) 500, private")

    for error, code, words in (
        (missing, "hub-no-identity", "M365_IDENTITY_CLIENT_ID"),
        (wrapped, "hub-no-identity", "M365_EVENTHUB_CONNECTION_STRING"),
        (unreachable, "hub-no-token", "its host name is not known here"),
        (failing, "hub-identity-failed", "the managed identity's endpoint answered HTTP 500"),
    ):
        found = sink_error(error, "h")
        assert found.code == code
        assert words in str(found)
        assert "private" not in str(found)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        pytest.param(ConnectError("x Connection refused"), "unreachable", "port", id="refused"),
        pytest.param(ConnectError("x"), "unreachable", "5671", id="somehow"),
        pytest.param(
            AuthenticationError("CONNECT via proxy status: 407"),
            "unreachable",
            "HTTPS_PROXY",
            id="proxy",
        ),
        pytest.param(AuthenticationError("x"), "unauthorized", "Data Sender", id="refusal"),
        pytest.param(ValueError("x"), "not-acknowledged", "does not know", id="unknown"),
        pytest.param(Detached(b"com.microsoft:new"), "not-acknowledged", "(new)", id="condition"),
    ],
)
def test_every_error_of_the_hub_has_a_code_of_the_table(
    error: Exception, code: str, words: str
) -> None:
    found = sink_error(error, "h")

    assert found.code == code
    assert code in {rule.code for rule in TABLE[Area.HUB]}
    assert words in str(found)


def test_a_missing_role_is_named() -> None:
    assert "Azure Event Hubs Data Sender" in str(sink_error(AuthenticationError("x"), "h"))


def test_a_hub_by_identity_needs_a_credential() -> None:
    with pytest.raises(SinkError, match="needs a credential"):
        EventHubSink("h", namespace="n.servicebus.windows.net").borrow()


# -- what every sink must pass


class TestFile(SinkSuite):
    """The file passes what every sink must; it is for trying out, and keeps the records alone."""

    holds = None
    keeps_properties = False

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "out.jsonl"

    @pytest.fixture
    def sink(self, path: Path) -> Iterator[Sink]:
        sink = FileSink(path)
        yield sink
        # One that was broken still holds what it could not write.
        with contextlib.suppress(OSError):
            sink.close()

    @pytest.fixture
    def stored(self, path: Path) -> Stored:
        return lambda: [(line, {}) for line in path.read_bytes().splitlines()]

    @pytest.fixture
    def broken(self, sink: Sink) -> Break:
        assert isinstance(sink, FileSink)
        file = sink._file

        def fill_the_disk() -> None:
            with Path("/dev/full").open("ab") as full:
                os.dup2(full.fileno(), file.fileno())

        return fill_the_disk


@pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning")
class TestEventHubs(SinkSuite):
    """Event Hubs passes what every sink must, through the real SDK."""

    @pytest.fixture
    def hubs(self) -> Iterator[EventHubs]:
        with EventHubs({"audit": 2}) as hubs:
            yield hubs

    @pytest.fixture
    def sink(self, hubs: EventHubs) -> Iterator[Sink]:
        sink = EventHubSink("audit", connection_string=hubs.connection_string("audit"))
        yield sink
        sink.close()

    @pytest.fixture
    def stored(self, hubs: EventHubs) -> Stored:
        return lambda: [
            (event.body, {str(name): str(value) for name, value in event.properties.items()})
            for event in hubs.events("audit")
        ]

    @pytest.fixture
    def broken(self, hubs: EventHubs) -> Break:
        return lambda: hubs.faults.add(
            Fault(action="detach", condition="amqp:unauthorized-access", times=-1)
        )


# -- the file


def test_a_file_holds_each_record_on_one_line_and_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b'{"Id":"0"}\n')
    sink = FileSink(path)
    settled: list[str] = []
    publisher: Publisher[str] = Publisher(
        sink,
        on_settled=lambda delivery: settled.append(delivery.key),
        claim_check=lambda parcel, _: parcel,
        sending=Sending(senders=1),
    )
    bodies = [b'{"Id":"1"}', b'{\r\n  "Id": "2"\n}', '{"Id":"ä\\n"}'.encode()]
    publisher.publish("a", parcel(*bodies))
    publisher.close(5)
    sink.close()

    lines = path.read_bytes().splitlines()
    assert [json.loads(line)["Id"] for line in lines] == ["0", "1", "2", "ä\n"]
    assert lines[1] == bodies[0]
    assert settled == ["a"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(b"", b'{"Id":"1"}\n', id="empty"),
        pytest.param(b'{"Id":"0"}\n', b'{"Id":"0"}\n{"Id":"1"}\n', id="whole"),
        pytest.param(b'{"Id":"0"}\n{"torn', b'{"Id":"0"}\n{"torn\n{"Id":"1"}\n', id="torn"),
    ],
)
def test_a_record_begins_a_line_of_its_own_after_one_that_was_torn(
    tmp_path: Path, before: bytes, after: bytes
) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(before)
    sink = FileSink(path)
    sender = sink.borrow()
    batch = sender.new_batch()
    assert batch.take(parcel(b'{"Id":"1"}'), 0, 1) == 1

    sender.send(batch)
    sink.close()

    assert path.read_bytes() == after


def test_a_batch_of_the_file_is_as_large_as_one_of_the_hub_and_holds_any_one_event(
    tmp_path: Path,
) -> None:
    sink = FileSink(tmp_path / "out.jsonl")
    batch = sink.borrow().new_batch()

    assert batch.take(parcel(b"x" * (MAX_BATCH_BYTES + 1), b"y"), 0, 2) == 1
    assert batch.take(parcel(b"y"), 0, 1) == 0
    sink.close()


def test_a_full_disk_is_a_sink_error() -> None:
    sink = FileSink(Path("/dev/full"))
    sender = sink.borrow()
    batch = sender.new_batch()
    assert batch.take(parcel(b"1"), 0, 1) == 1

    with pytest.raises(SinkError, match="cannot be written"):
        sender.send(batch)

    with contextlib.suppress(OSError):
        sink.close()
