"""Cut a content's body into its records without re-serialising them: every event is the record's own bytes.

The splitter of msgspec hands out slices of the body. It refuses an unpaired surrogate escape, which tenants do send;
then the standard library's decoder finds the record boundaries instead, an order of magnitude slower and just as
exact.
"""

from __future__ import annotations

import functools
import hashlib
import json
import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from shared import policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shared.errors import CollectorError

BOM = b"\xef\xbb\xbf"
WHITESPACE = " \t\r\n"


class ErrorBody(Exception):
    """A body that is an error object where records were expected; the caller decides what that means."""

    def __init__(self) -> None:
        super().__init__("an error object came in place of records")


class _Identified(msgspec.Struct):
    Id: str


_raws = msgspec.json.Decoder(list[msgspec.Raw])
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_identified = msgspec.json.Decoder(_Identified)
_scan = json.JSONDecoder()


def split(body: bytes) -> list[bytes]:
    """Return the bytes of each element of a JSON array, as they stand in the body.

    Raises:
        ErrorBody: the body is a JSON object.
        Permanent: it is not a JSON array (code ``not-records``).
    """
    if body.startswith(BOM):
        body = body[len(BOM) :]
    try:
        return [bytes(raw) for raw in _raws.decode(body)]
    except msgspec.ValidationError:
        if body.lstrip()[:1] == b"{":
            raise ErrorBody from None
        raise _not_records("the body is JSON, but not an array of records") from None
    except (msgspec.DecodeError, RecursionError):
        return _split_slowly(body)


def _not_records(detail: str) -> CollectorError:
    return policy.error("not-records", detail=detail)


def _split_slowly(body: bytes) -> list[bytes]:
    # surrogateescape carries bytes that are not UTF-8 through and back unchanged.
    text = body.decode("utf-8", "surrogateescape")
    position = _skip(text, 0)
    if text[position : position + 1] == "{":
        raise ErrorBody
    if text[position : position + 1] != "[":
        raise _not_records("the body is not a JSON array of records")
    records: list[bytes] = []
    position = _skip(text, position + 1)
    if text[position : position + 1] == "]":
        if _skip(text, position + 1) != len(text):
            raise _not_records("something follows the array of records")
        return records
    while True:
        try:
            _, end = _scan.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise _not_records(f"record {len(records) + 1} of the body is not JSON") from error
        records.append(text[position:end].encode("utf-8", "surrogateescape"))
        position = _skip(text, end)
        mark = text[position : position + 1]
        if mark == "]" and _skip(text, position + 1) == len(text):
            return records
        if mark != ",":
            raise _not_records(f"the body breaks off after record {len(records)}")
        position = _skip(text, position + 1)


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in WHITESPACE:
        position += 1
    return position


@dataclass(frozen=True, kw_only=True)
class Records:
    """A stretch of the records of one content, in the order in which they stand there.

    Attributes:
        bodies: their own bytes.
        ids: stable event ids, one a record.
        columns: properties that differ from record to record, one value a record.
        first: number of the first of them in the content, from 0.
        last: whether no record of the content comes after them.
    """

    bodies: Sequence[bytes]
    ids: Sequence[str]
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    first: int = 0
    last: bool = True

    @classmethod
    def of(cls, bodies: Sequence[bytes], *, first: int = 0, last: bool = True) -> Records:
        """Records whose id is their own ``Id``, or is made from their bytes."""
        return cls(bodies=bodies, ids=[event_id(each) for each in bodies], first=first, last=last)


def read_records(body: bytes) -> Records:
    """All records of a content's body.

    Raises:
        ErrorBody: the body is a JSON object.
        Permanent: it is not a JSON array (code ``not-records``).
    """
    return Records.of(split(body))


def members(body: bytes) -> dict[str, bytes]:
    """Return the bytes of each member of a JSON object, as they stand in the body.

    Raises:
        Permanent: it is not a JSON object (code ``not-records``).
    """
    if body.startswith(BOM):
        body = body[len(BOM) :]
    try:
        return {name: bytes(raw) for name, raw in _members.decode(body).items()}
    except msgspec.ValidationError:
        raise _not_records("the body is JSON, but not an object") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return _members_slowly(body)


def _members_slowly(body: bytes) -> dict[str, bytes]:
    text = body.decode("utf-8", "surrogateescape")
    found: dict[str, bytes] = {}
    position = _skip(text, 0)
    mark = text[position : position + 1]
    if mark != "{":
        raise _not_records("the body is not a JSON object")
    if text[(empty := _skip(text, position + 1)) :].rstrip(WHITESPACE) == "}":
        return found
    position = empty
    try:
        while mark != "}":
            name, position = _scan.raw_decode(text, position)
            position = _skip(text, position)
            if not isinstance(name, str) or text[position : position + 1] != ":":
                raise _not_records("the body is not a JSON object")
            start = _skip(text, position + 1)
            _, end = _scan.raw_decode(text, start)
            found[name] = text[start:end].encode("utf-8", "surrogateescape")
            position = _skip(text, end)
            mark = text[position : position + 1]
            if mark not in (",", "}"):
                raise _not_records("the body breaks off")
            position = _skip(text, position + 1)
    except (ValueError, RecursionError) as error:
        raise _not_records("the body is not a JSON object") from error
    if position != len(text):
        raise _not_records("something follows the object")
    return found


def array_in(body: bytes, name: str) -> tuple[list[bytes], dict[str, bytes]]:
    """The bytes of each element of the array that a JSON object has under a name, and those of every member.

    Raises:
        ErrorBody: it is an object there.
        Permanent: it is not a JSON object, or has no array there (code ``not-records``).
        KeyError: it has nothing of that name.
    """
    found = members(body)
    return split(found[name]), found


def event_id(record: bytes) -> str:
    """The stable id of an event: the record's ``Id``, else a blake2b-128 of its bytes."""
    found: Any = None
    try:
        found = _identified.decode(record).Id
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        if b"\\ud" in record.lower():
            found = _id_slowly(record)
    # Blanks, or zeros alone, tell no record from another.
    return (
        found
        if found and found.strip("0- \t\r\n{}")
        else hashlib.blake2b(record, digest_size=16).hexdigest()
    )


def _id_slowly(record: bytes) -> str | None:
    try:
        value = json.loads(record.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return None
    found = value.get("Id") if isinstance(value, dict) else None
    if not isinstance(found, str):
        return None
    try:
        found.encode()
    except UnicodeEncodeError:
        return None
    return found


def fields(record: bytes, names: tuple[str, ...]) -> tuple[Any, ...]:
    """The values of some fields of a record, two at least; None where it is no object or has none of that name."""
    decoder, values = _reader(names)
    try:
        return values(decoder.decode(record))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        pass
    try:
        found = json.loads(record.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        found = None
    found = found if isinstance(found, dict) else {}
    return tuple(found.get(name) for name in names)


@functools.cache
def _reader(
    names: tuple[str, ...],
) -> tuple[msgspec.json.Decoder[Any], Callable[[Any], tuple[Any, ...]]]:
    # A struct skips what was not asked for without making it.
    kind = msgspec.defstruct("Fields", [(name, Any, msgspec.field(default=None)) for name in names])
    return msgspec.json.Decoder(kind), operator.attrgetter(*names)
