"""AMQP over WebSockets: the same stand-in, the same SDK, another way in."""

from __future__ import annotations

import asyncio
import base64
import os
import select
import socket
import struct
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest
from azure.eventhub import (
    EventData,
    EventHubConsumerClient,
    EventHubProducerClient,
    PartitionContext,
)
from azure.eventhub.exceptions import ConnectError, EventHubError
from hypothesis import given
from hypothesis import strategies as st
from wsproto.frame_protocol import CloseReason as Code
from wsproto.frame_protocol import Opcode

from local.eventhubs import EventHubs, Fault
from local.eventhubs.frames import KEEP_ALIVE
from local.eventhubs.namespace import Namespace
from local.eventhubs.websocket import (
    FRAGMENT_BYTES,
    MAX_MESSAGE_BYTES,
    PATH,
    SUBPROTOCOL,
    WebSocket,
)
from shared.network import AMQP, WEBSOCKET, Network
from tests.local.eventhubs.conftest import BREAKS_CONNECTIONS, PATIENCE_S, Bounded
from tests.waits import LONG, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from local.certs import Certs

pytestmark = BREAKS_CONNECTIONS
AMQP_HEADER = b"AMQP\x03\x01\x00\x00"
KEY = base64.b64encode(b"0123456789abcdef").decode()


@pytest.fixture(scope="module")
def secure(certs: Certs) -> Iterator[EventHubs]:
    with EventHubs({"audit": 2}, tls=(str(certs.cert_file), str(certs.key_file))) as server:
        yield server


@pytest.fixture
def tls(secure: EventHubs) -> Iterator[EventHubs]:
    secure.reset()
    yield secure
    secure.reset()


def _options(server: EventHubs, certs: Certs, transport: str = WEBSOCKET) -> dict[str, Any]:
    network = Network(ca_file=str(certs.ca_file))
    options = network.eventhub_options("localhost", transport=transport, endpoint=server.endpoint)
    return {**options, "retry_backoff_factor": 0.02, "socket_timeout": 3.0}


def _producer(server: EventHubs, certs: Certs, **more: Any) -> EventHubProducerClient:
    return EventHubProducerClient.from_connection_string(
        server.connection_string("audit"), **{**_options(server, certs), **more}
    )


# -- the unmodified SDK


def test_full_batches_over_websockets_are_stored_and_read_back(
    tls: EventHubs, certs: Certs, bounded: Bounded
) -> None:
    bodies = [b"%06d" % n + os.urandom(1500) for n in range(600)]
    # Larger than a fragment, so that the SDK has to put messages together.
    bodies[0] = os.urandom(5 * FRAGMENT_BYTES)
    with _producer(tls, certs) as producer:
        bounded(lambda: producer.send_batch([EventData(body) for body in bodies], partition_id="1"))
    assert [event.body for event in tls.events("audit")] == bodies
    assert tls.stats.websockets == tls.stats.connections > 0

    received: list[bytes] = []
    done = threading.Event()

    def take(_: PartitionContext, events: list[EventData]) -> None:
        received.extend(b"".join(cast("Iterable[bytes]", event.body)) for event in events)
        if len(received) >= len(bodies):
            done.set()

    consumer = EventHubConsumerClient.from_connection_string(
        tls.connection_string("audit"), "$Default", **_options(tls, certs)
    )
    reader = threading.Thread(
        target=consumer.receive_batch,
        args=(take,),
        kwargs={"partition_id": "1", "starting_position": "-1", "max_batch_size": 300},
        daemon=True,
    )
    reader.start()
    assert done.wait(PATIENCE_S)
    consumer.close()
    reader.join(PATIENCE_S)
    assert received == bodies


def test_one_port_takes_both_transports(tls: EventHubs, certs: Certs, bounded: Bounded) -> None:
    for transport in (AMQP, WEBSOCKET):
        with _producer(tls, certs, **_options(tls, certs, transport)) as producer:
            bounded(producer.send_event, EventData(transport))
    assert sorted(event.body for event in tls.events("audit")) == [b"amqp", b"websocket"]
    assert 0 < tls.stats.websockets < tls.stats.connections


@pytest.mark.parametrize(
    "action",
    [
        pytest.param("close", id="closed-in-order"),
        pytest.param("drop", id="cut"),
        pytest.param("drop_mid", id="cut-inside-a-message"),
        pytest.param("ack_lost", id="cut-after-storing"),
        pytest.param("detach", id="link-detached"),
    ],
)
def test_the_sdk_connects_again_after_a_websocket_broke(
    tls: EventHubs, certs: Certs, bounded: Bounded, action: str
) -> None:
    with _producer(tls, certs) as producer:
        bounded(producer.send_event, EventData("before"))
        tls.faults.add(Fault(action=action, times=1))
        bounded(producer.send_event, EventData("after"))
    bodies = {event.body for event in tls.events("audit")}
    assert bodies == {b"before", b"after"}


def test_the_sdk_answers_a_ping(tls: EventHubs, certs: Certs, bounded: Bounded) -> None:
    # What an earlier client left may still be there.
    wait_for(lambda: tls.drop_connections() == 0)
    with _producer(tls, certs) as producer:
        bounded(producer.send_event, EventData("before"))
        assert tls.ping() == 1
        bounded(producer.send_event, EventData("after"))
        deadline = time.monotonic() + PATIENCE_S
        while tls.stats.pongs < 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert tls.stats.pongs == 1


def test_a_handshake_that_hangs_ends_after_the_socket_timeout(certs: Certs) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        options = Network(connect=0.2).eventhub_options(
            "localhost",
            transport=WEBSOCKET,
            endpoint=f"sb://127.0.0.1:{silent.getsockname()[1]}",
        )
        producer = EventHubProducerClient.from_connection_string(
            "Endpoint=sb://localhost/;SharedAccessKeyName=a;SharedAccessKey=b;EntityPath=audit",
            **{**options, "retry_total": 0, "retry_backoff_factor": 0.02},
        )
        began = time.monotonic()
        with producer, pytest.raises(ConnectError, match="timed out"):
            producer.send_event(EventData("x"))
        assert time.monotonic() - began < LONG / 2


@pytest.mark.parametrize(
    ("endpoint", "options"),
    [
        pytest.param("{0}/", {}, id="a-slash-at-the-end"),
        pytest.param("{0}", {"transport_type": None, "http_proxy": ...}, id="no-transport-type"),
    ],
)
def test_what_the_sdk_needs_said_is_said_by_the_network(
    tls: EventHubs, certs: Certs, bounded: Bounded, endpoint: str, options: dict[str, Any]
) -> None:
    """Facts of 5.15.1 behind ``Network.eventhub_options``: without them the way leads elsewhere."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    proxy = {"proxy_hostname": "127.0.0.1", "proxy_port": port}
    given = {key: proxy if value is ... else value for key, value in options.items()}
    address = endpoint.format(tls.endpoint)
    with (
        _producer(tls, certs, **given, custom_endpoint_address=address, retry_total=0) as producer,
        pytest.raises(EventHubError),
    ):
        bounded(producer.send_event, EventData("x"))
    assert tls.events("audit") == []


# -- the protocol, without an SDK


class _Client:
    """A WebSocket client that may also break the rules."""

    def __init__(self, server: EventHubs) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)
        self._file = self.socket.makefile("rb")

    def upgrade(self, *, path: str = PATH, **fields: str) -> str:
        """Ask for a WebSocket; returns the status line."""
        self.socket.sendall(_request(path, **fields))
        return self.status()

    def status(self) -> str:
        """The status line of an answer, whose fields are noted."""
        status = self._file.readline().decode().strip()
        self.fields = {}
        while line := self._file.readline().decode().strip():
            name, _, value = line.partition(": ")
            self.fields[name] = value
        return status

    def read(self) -> tuple[int, bytes, bool]:
        """Opcode, payload and whether it ends its message, of the next frame."""
        first, size = self._file.read(2)
        if size == 126:
            (size,) = struct.unpack(">H", self._file.read(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", self._file.read(8))
        return first & 0x0F, self._file.read(size), bool(first & 0x80)

    def at_end(self) -> bool:
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self._file.close()
        self.socket.close()


def _request(path: str = PATH, **fields: str) -> bytes:
    lines = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "keep-alive, Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Protocol": SUBPROTOCOL,
        **{name.replace("_", "-"): value for name, value in fields.items()},
    }
    head = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items())]
    return ("\r\n".join(head) + "\r\n\r\n").encode()


@contextmanager
def _client(server: EventHubs) -> Iterator[_Client]:
    client = _Client(server)
    try:
        yield client
    finally:
        client.close()


def _masked(opcode: int, payload: bytes, *, final: bool = True, mask: bytes = b"\1\2\3\4") -> bytes:
    """A client's frame, also one that wsproto would not make."""
    first, size = opcode | (0x80 if final else 0), len(payload)
    if size < 126:
        head = struct.pack(">BB", first, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack(">BBH", first, 0xFE, size)
    else:
        head = struct.pack(">BBQ", first, 0xFF, size)
    pattern = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload) ^ int.from_bytes(pattern)
    return head + mask + masked.to_bytes(size)


def test_a_websocket_is_opened_with_the_key_answered(server: EventHubs) -> None:
    with _client(server) as client:
        assert client.upgrade() == "HTTP/1.1 101 Switching Protocols"
        # RFC 6455, 1.3, computed for this key.
        assert client.fields["Sec-WebSocket-Accept"] == "BACScCJPNqyz+UBoqMH89VmURoA="
        assert client.fields["Sec-WebSocket-Protocol"] == SUBPROTOCOL


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        pytest.param("/", {}, 404, id="path"),
        pytest.param(PATH, {"Sec_WebSocket_Protocol": "mqtt"}, 400, id="subprotocol"),
        pytest.param(PATH, {"Sec_WebSocket_Version": "8"}, 426, id="version"),
        pytest.param(PATH, {"Sec_WebSocket_Key": ""}, 400, id="key"),
        pytest.param(PATH, {"Upgrade": "h2c"}, 400, id="upgrade"),
    ],
)
def test_a_request_that_is_no_websocket_is_refused(
    server: EventHubs, path: str, fields: dict[str, str], status: int
) -> None:
    with _client(server) as client:
        assert client.upgrade(path=path, **fields).split()[:2] == ["HTTP/1.1", str(status)]
        assert client.at_end()
    assert server.stats.websockets == 0


def test_a_request_that_does_not_end_is_refused(server: EventHubs) -> None:
    with _client(server) as client:
        client.socket.sendall(_request().removesuffix(b"\r\n") + b"X: " + b"y" * 20_000)
        assert client.status().split()[:2] == ["HTTP/1.1", "400"]
        assert client.at_end()
    assert server.stats.websockets == 0


def test_fragments_and_odd_cuts_carry_the_same_bytes(server: EventHubs) -> None:
    with _client(server) as client:
        client.upgrade()
        client.socket.sendall(_masked(Opcode.BINARY, AMQP_HEADER[:3], final=False))
        client.socket.sendall(_masked(Opcode.PING, b"in between"))
        client.socket.sendall(_masked(Opcode.CONTINUATION, b"", final=False))
        client.socket.sendall(_masked(Opcode.CONTINUATION, AMQP_HEADER[3:]))
        assert client.read() == (Opcode.PONG, b"in between", True)
        assert client.read() == (Opcode.BINARY, AMQP_HEADER, True)


def test_closing_is_answered_and_ends_the_connection(server: EventHubs) -> None:
    with _client(server) as client:
        client.upgrade()
        client.socket.sendall(_masked(Opcode.CLOSE, struct.pack(">H", Code.NORMAL_CLOSURE)))
        assert client.read() == (Opcode.CLOSE, struct.pack(">H", Code.NORMAL_CLOSURE), True)
        assert client.at_end()


def test_what_is_not_amqp_is_told_so_and_closed(server: EventHubs) -> None:
    with _client(server) as client:
        client.upgrade()
        client.socket.sendall(_masked(Opcode.BINARY, b"\xff" * 8))
        opcode, payload, _ = client.read()
        assert opcode == Opcode.BINARY
        assert b"amqp:decode-error" in payload
        assert client.read()[0] == Opcode.CLOSE


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"\x82\x00", Code.PROTOCOL_ERROR, id="no-mask"),
        pytest.param(b"\xc2\x80\0\0\0\0", Code.PROTOCOL_ERROR, id="reserved-bits"),
        pytest.param(_masked(Opcode.TEXT, b"{}"), Code.UNSUPPORTED_DATA, id="text"),
        pytest.param(_masked(Opcode.CONTINUATION, b""), Code.PROTOCOL_ERROR, id="nothing-to-go-on"),
        pytest.param(
            _masked(Opcode.PING, b"", final=False), Code.PROTOCOL_ERROR, id="ping-in-parts"
        ),
        pytest.param(_masked(Opcode.PING, b"x" * 126), Code.PROTOCOL_ERROR, id="long-ping"),
        pytest.param(_masked(11, b""), Code.PROTOCOL_ERROR, id="unknown-control"),
        pytest.param(_masked(3, b""), Code.PROTOCOL_ERROR, id="unknown-data"),
        pytest.param(
            _masked(Opcode.BINARY, KEEP_ALIVE * (MAX_MESSAGE_BYTES // 8), final=False)
            + _masked(Opcode.CONTINUATION, b"x"),
            Code.MESSAGE_TOO_BIG,
            id="too-big",
        ),
        pytest.param(
            _masked(Opcode.BINARY, b"", final=False) + _masked(Opcode.BINARY, b""),
            Code.PROTOCOL_ERROR,
            id="message-in-message",
        ),
    ],
)
def test_a_broken_rule_is_answered_with_its_code(
    server: EventHubs, data: bytes, code: Code
) -> None:
    with _client(server) as client:
        client.upgrade()
        client.socket.sendall(data)
        opcode, payload, _ = client.read()
        assert (opcode, payload[:2]) == (Opcode.CLOSE, struct.pack(">H", code))
        assert client.at_end()


def test_a_connection_that_says_nothing_can_be_cut(server: EventHubs) -> None:
    with _client(server) as client:
        client.socket.sendall(b"GE")
        deadline = time.monotonic() + PATIENCE_S
        # What is cut may first be what an earlier client left: only an end of our own counts.
        while not select.select([client.socket], [], [], 0.01)[0]:
            assert time.monotonic() < deadline
            server.drop_connections()
        assert client.at_end()


# -- the WebSocket alone


class _Socket(asyncio.Transport):
    """The socket below a WebSocket, which notes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


class _Carried(asyncio.Protocol):
    """What a WebSocket carries, which notes what it is given."""

    def __init__(self) -> None:
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data


def _opened() -> tuple[WebSocket, _Socket, _Carried]:
    beneath, carried = _Socket(), _Carried()
    websocket = WebSocket(Namespace({}), carried)
    websocket.connection_made(beneath)
    websocket.data_received(_request())
    assert beneath.written.pop().startswith(b"HTTP/1.1 101 ")
    return websocket, beneath, carried


@given(
    payloads=st.lists(st.binary(max_size=70_000), max_size=4),
    cuts=st.lists(st.integers(1, 70_000), max_size=6),
    mask=st.binary(min_size=4, max_size=4),
)
def test_frames_are_the_same_however_their_bytes_arrive(
    payloads: list[bytes], cuts: list[int], mask: bytes
) -> None:
    data = b"".join(_masked(Opcode.BINARY, payload, mask=mask) for payload in payloads)
    websocket, beneath, carried = _opened()
    start = 0
    for end in sorted({min(cut, len(data)) for cut in cuts} | {len(data)}):
        websocket.data_received(data[start:end])
        start = end
    assert carried.received == b"".join(payloads)
    assert (beneath.written, beneath.closed) == ([], False)


@given(st.binary(max_size=400))
def test_any_bytes_are_carried_answered_or_closed_with_a_code(data: bytes) -> None:
    websocket, beneath, carried = _opened()
    websocket.data_received(data)
    assert len(carried.received) <= len(data)
    answers = [Opcode(answer[0] & 0x0F) for answer in beneath.written]
    assert set(answers[:-1]) <= {Opcode.PONG}
    assert set(answers[-1:]) <= {Opcode.PONG, Opcode.CLOSE}
    assert beneath.closed == (answers[-1:] == [Opcode.CLOSE])


@given(st.binary(max_size=3 * FRAGMENT_BYTES))
def test_a_message_is_cut_into_fragments_and_nothing_is_lost(payload: bytes) -> None:
    websocket, beneath, _ = _opened()
    websocket.write(payload)
    frames = beneath.written
    assert [bool(frame[0] & 0x80) for frame in frames] == [False] * (len(frames) - 1) + [True]
    opcodes = [frame[0] & 0x0F for frame in frames]
    assert opcodes == [Opcode.BINARY] + [Opcode.CONTINUATION] * (len(frames) - 1)
    # The head of a server's frame is 2 bytes, or 4 from 126 bytes on.
    parts = [frame[4 if frame[1] == 126 else 2 :] for frame in frames]
    assert b"".join(parts) == payload
    assert max(map(len, parts)) <= FRAGMENT_BYTES
