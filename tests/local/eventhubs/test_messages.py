from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.eventhubs.amqp import AmqpError, Described, Section, Symbol, Timestamp, encode
from local.eventhubs.frames import Frame, FrameReader, Header, Performative, build_frame
from local.eventhubs.message import (
    BATCH_FORMAT,
    StoredEvent,
    read_message,
    split_publication,
)


def _batch(messages: list[bytes], key: str | None = None) -> bytes:
    out = bytearray()
    if key is not None:
        annotations = {Symbol("x-opt-partition-key"): key}
        out += encode(Described(Section.MESSAGE_ANNOTATIONS, annotations))
    for message in messages:
        out += encode(Described(Section.DATA, message))
    return bytes(out)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=600), max_size=8), st.none() | st.text(max_size=10))
def test_a_batch_is_cut_into_its_messages(messages: list[bytes], key: str | None) -> None:
    publication = split_publication(_batch(messages, key), BATCH_FORMAT)
    assert [bytes(message) for message in publication.messages] == messages
    assert publication.partition_key == key


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=3), st.data())
def test_a_batch_cut_short_is_refused(messages: list[bytes], data: st.DataObject) -> None:
    batch = _batch(messages)
    last = len(encode(Described(Section.DATA, messages[-1])))
    cut = data.draw(st.integers(len(batch) - last + 1, len(batch) - 1))
    with pytest.raises(AmqpError):
        split_publication(batch[:cut], BATCH_FORMAT)


def test_a_single_message_is_kept_whole() -> None:
    message = _batch([b"body"], "tenant")
    publication = split_publication(message, 0)
    assert [bytes(part) for part in publication.messages] == [message]
    assert publication.partition_key == "tenant"


def test_a_message_is_read_in_plain_values() -> None:
    identity = uuid.uuid4()
    encoded = (
        encode(Described(Section.PROPERTIES, [identity, *[None] * 5, Symbol("text/json")]))
        + encode(
            Described(
                Section.APPLICATION_PROPERTIES,
                {"n": 1, "when": Timestamp(1500), "raw": b"\xff", "s": "x", "f": False},
            )
        )
        + encode(Described(Section.DATA, b"one "))
        + encode(Described(Section.DATA, b"two"))
    )
    message = read_message(encoded)
    assert message.body == b"one two"
    assert message.message_id == identity
    assert message.content_type == "text/json"
    assert message.properties == {
        "n": 1,
        "when": datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC),
        "raw": b"\xff",
        "s": "x",
        "f": False,
    }
    assert type(message.content_type) is str


def test_the_service_s_annotations_join_the_publisher_s() -> None:
    sent = encode(Described(Section.MESSAGE_ANNOTATIONS, {Symbol("x-mine"): 7}))
    body = encode(Described(Section.DATA, b"body"))
    delivered = StoredEvent("0", 3, 40, 5, "k", memoryview(sent + body)).as_delivered()
    annotations = {
        Symbol("x-mine"): 7,
        Symbol("x-opt-sequence-number"): 3,
        Symbol("x-opt-offset"): "40",
        Symbol("x-opt-enqueued-time"): Timestamp(5),
        Symbol("x-opt-partition-key"): "k",
    }
    assert delivered == encode(Described(Section.MESSAGE_ANNOTATIONS, annotations)) + body


@settings(deadline=None)
@given(st.integers(1, 40))
def test_frames_are_read_however_the_stream_is_cut(piece: int) -> None:
    stream = (
        b"AMQP\x03\x01\x00\x00"
        + build_frame(1, Performative.BEGIN, [None, 1])
        + b"\x00\x00\x00\x08\x02\x00\x00\x00"
        + build_frame(2, Performative.TRANSFER, [0], b"payload")
    )
    reader = FrameReader()
    items = [
        item
        for start in range(0, len(stream), piece)
        for item in reader.feed(bytes(stream[start : start + piece]))
    ]
    assert items[0] == Header(3)
    begin, transfer = items[1:]
    assert isinstance(begin, Frame)
    assert isinstance(transfer, Frame)
    assert (begin.channel, begin.performative, begin.fields[1]) == (1, Performative.BEGIN, 1)
    assert bytes(transfer.payload) == b"payload"


def test_performatives_are_padded_to_full_length() -> None:
    frame = next(FrameReader().feed(bytes(build_frame(0, Performative.OPEN, ["me"]))))
    assert isinstance(frame, Frame)
    assert frame.fields == ["me", *[None] * 9]


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="HTTP"),
        pytest.param(b"\x00\x00\x00\x04\x02\x00\x00\x00", id="frame smaller than its header"),
        pytest.param(b"\x00\x00\x00\x09\x02\x00\x00\x00\x41", id="frame without a performative"),
    ],
)
def test_what_is_not_amqp_is_refused(stream: bytes) -> None:
    with pytest.raises(AmqpError):
        list(FrameReader().feed(stream))
