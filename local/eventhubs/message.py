"""Encoded messages, read only as far as needed.

A publisher sends either one message or a batch, whose data sections are complete messages of
their own. Publications are cut into messages by stepping over lengths; nothing inside is decoded
until a test asks for it (`StoredEvent.message`) or a reader is sent it (`as_delivered`). The batch
format is Event Hubs' own: message-format 0x80013700, one encoded message in each data section.
What is malformed raises `AmqpError`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from local.eventhubs.amqp import (
    AmqpError,
    Buffer,
    Described,
    Section,
    Symbol,
    Timestamp,
    decode,
    encode,
    sections,
    values,
)

BATCH_FORMAT: Final = 0x80013700
_PARTITION_KEY: Final = Symbol("x-opt-partition-key")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# How a data section begins, and how long its head is: with a size of one byte, or of four.
_DATA_HEADS: Final = {b"\x00\x53\x75\xa0": 5, b"\x00\x53\x75\xb0": 8}


@dataclass(frozen=True, kw_only=True, slots=True)
class Publication:
    """What one transfer brought: encoded messages, and the partition key they share."""

    messages: list[memoryview]
    partition_key: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A decoded message, in plain Python values."""

    body: bytes
    properties: dict[str, object] = field(default_factory=dict)
    message_id: object = None
    content_type: str | None = None


@dataclass(eq=False, slots=True)
class StoredEvent:
    """An event in a partition. Its message is decoded when first asked for."""

    partition: str
    sequence_number: int  # its place in the partition, from 0
    offset: int  # bytes stored in the partition before it
    enqueued_ms: int  # since 1970 UTC, when it was stored
    partition_key: str | None  # it was published with
    view: memoryview  # the whole message as the publisher encoded it
    _message: Message | None = None

    @property
    def message(self) -> Message:
        """The decoded message; AmqpError where the publisher sent something else."""
        if self._message is None:
            self._message = read_message(self.view)
        return self._message

    @property
    def body(self) -> bytes:
        """The body, byte for byte."""
        return self.message.body

    @property
    def properties(self) -> dict[str, object]:
        """The application properties."""
        return self.message.properties

    @property
    def enqueued_time(self) -> datetime:
        """When it was stored, UTC."""
        return _EPOCH + timedelta(milliseconds=self.enqueued_ms)

    @property
    def encoded(self) -> bytes:
        """The whole message as the publisher encoded it."""
        return bytes(self.view)

    def as_delivered(self) -> bytes:
        """Return the message as a reader gets it: with the service's annotations merged in."""
        raw = bytes(self.view)
        header, rest = b"", b""
        annotations: dict[Symbol, Any] = {}
        for span in sections(raw):
            if span.code == Section.HEADER:
                header = raw[span.start : span.end]
            elif span.code == Section.MESSAGE_ANNOTATIONS:
                sent = decode(raw, span.value)[0] or {}
                annotations = {Symbol(_text(name)): value for name, value in sent.items()}
            elif span.code != Section.DELIVERY_ANNOTATIONS:
                rest += raw[span.start : span.end]
        annotations[Symbol("x-opt-sequence-number")] = self.sequence_number
        annotations[Symbol("x-opt-offset")] = str(self.offset)
        annotations[Symbol("x-opt-enqueued-time")] = Timestamp(self.enqueued_ms)
        if self.partition_key is not None:
            annotations[_PARTITION_KEY] = self.partition_key
        return header + bytes(encode(Described(Section.MESSAGE_ANNOTATIONS, annotations))) + rest


def split_publication(payload: bytes, message_format: int) -> Publication:
    """Cut a transfer's payload into messages, without decoding or copying them."""
    if message_format == BATCH_FORMAT:
        return _split_batch(payload)
    keys = (
        _partition_key(decode(payload, span.value)[0])
        for span in sections(payload)
        if span.code == Section.MESSAGE_ANNOTATIONS
    )
    return Publication(messages=[memoryview(payload)], partition_key=next(keys, None))


def read_message(encoded: Buffer) -> Message:
    """Decode a stored message. Binary properties stay bytes; timestamps become UTC datetimes."""
    body = bytearray()
    properties: dict[str, object] = {}
    standard: list[Any] = [None] * 7
    for code, value in values(encoded):
        if code in (Section.DATA, Section.VALUE, Section.SEQUENCE):
            body += _body(value)
        elif code == Section.APPLICATION_PROPERTIES:
            properties = {_text(name): _plain(each) for name, each in (value or {}).items()}
        elif code == Section.PROPERTIES:
            standard = [*value, *standard]
    return Message(
        body=bytes(body),
        properties=properties,
        message_id=_plain(standard[0]),
        content_type=None if standard[6] is None else _text(standard[6]),
    )


def _split_batch(payload: bytes) -> Publication:
    # The hot path: a batch is a thousand data sections in a row, recognised by their first bytes.
    view = memoryview(payload)
    size = len(payload)
    messages: list[memoryview] = []
    key: str | None = None
    position = 0
    while position < size:
        head = _DATA_HEADS.get(payload[position : position + 4])
        if head and position + head <= size:
            start = position + head
            position = start + int.from_bytes(payload[position + 4 : start])
            messages.append(view[start:position])
        else:
            span = next(sections(payload, position))
            if span.code == Section.MESSAGE_ANNOTATIONS:
                key = _partition_key(decode(payload, span.value)[0])
            position = span.end
    if position > size:
        raise AmqpError("the batch's last message is cut short")
    return Publication(messages=messages, partition_key=key)


def _partition_key(annotations: Any) -> str | None:
    key = (annotations or {}).get(_PARTITION_KEY)
    return None if key is None else _text(key)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> object:
    """Take an AMQP type off a value."""
    if isinstance(value, Timestamp):
        return _EPOCH + timedelta(milliseconds=value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return str(value) if isinstance(value, str) else value


def _body(value: Any) -> bytes:
    if not isinstance(value, bytes | str):
        raise AmqpError(f"a body of type {type(value).__name__} has no bytes")
    return value.encode() if isinstance(value, str) else value
