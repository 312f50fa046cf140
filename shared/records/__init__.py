"""Cut a content's body into its records without re-serialising them: every event is the record's own bytes.

The splitter of msgspec hands out slices of the body. It refuses an unpaired surrogate escape, which tenants do send,
and whatever is damaged; then ``shared.records.salvage`` finds the record boundaries instead, an order of magnitude
slower and just as exact.
"""

from __future__ import annotations

import functools
import hashlib
import json
import operator
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from shared import policy
from shared.errors import CollectorError
from shared.records.salvage import (
    CODE,
    Cut,
    Damage,
    Mark,
    columns_of,
    is_valid,
    read_members,
    salvage,
    skip,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

BOM = b"\xef\xbb\xbf"
WHITESPACE = " \t\r\n"
LONGEST_ID = 1024


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
_control = re.compile(rb"[\x00-\x1f]")


def split(body: bytes) -> list[bytes]:
    """Return the bytes of each element of a JSON array, as they stand in the body.

    Raises:
        ErrorBody: the body is a JSON object.
        Permanent: it is not a JSON array (code ``not-records``).
    """
    found = _cut(body)
    if found.damage is not None:
        raise damaged(found.damage)
    if found.invalid:
        raise _not_records(f"record {min(found.invalid) + 1} is no valid JSON")
    return found.records


def _cut(body: bytes) -> Cut:
    """The elements of a JSON array, one of which may be damaged.

    Raises:
        ErrorBody: the body is a JSON object.
        Permanent: it does not begin as an array (code ``not-records``).
    """
    bare = body.removeprefix(BOM)
    try:
        return Cut(records=[bytes(raw) for raw in _raws.decode(bare)])
    except msgspec.ValidationError:
        if bare.lstrip()[:1] == b"{":
            raise ErrorBody from None
        raise _not_records("the body is JSON, but not an array of records") from None
    except (msgspec.DecodeError, RecursionError):
        pass
    text = body.decode(CODE)
    begin = skip(text, len(body) - len(bare))
    mark = text[begin : begin + 1]
    if mark == "{":
        raise ErrorBody
    if mark != "[":
        raise _not_records("the body is not a JSON array of records")
    return salvage(text, begin, lambda position: skip(text, position) == len(text))


def damaged(damage: Damage) -> CollectorError:
    """A damage as an error (code ``not-records``), for whoever takes nothing of what is damaged."""
    return _not_records(damage.place)


def _not_records(detail: str) -> CollectorError:
    return policy.error("not-records", detail=detail)


@dataclass(frozen=True, kw_only=True)
class Records:
    """A stretch of the records of one content, in the order in which they stand there.

    Attributes:
        bodies: their own bytes.
        ids: stable event ids, one a record.
        columns: properties that differ from record to record, one value a record.
        first: number of the first of them in the content, from 0.
        last: whether no record of the content comes after them.
        damage: bytes of the content that are no record; None where there are none.
    """

    bodies: Sequence[bytes]
    ids: Sequence[str]
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    first: int = 0
    last: bool = True
    damage: Damage | None = None

    @classmethod
    def of(cls, bodies: Sequence[bytes], *, first: int = 0, last: bool = True) -> Records:
        """Records whose id is their own ``Id``, or is made from their bytes."""
        return cls(bodies=bodies, ids=[event_id(each) for each in bodies], first=first, last=last)


def read_records(body: bytes) -> Records:
    """All records of a content's body, and the damage where one of them is no JSON.

    Raises:
        ErrorBody: the body is a JSON object.
        Permanent: it is not a JSON array, or no record of it can be read (code ``not-records``).
    """
    found = _cut(body)
    if found.damage is None and not found.invalid:
        return Records.of(found.records)
    if not found.records and found.damage is not None:
        raise damaged(found.damage)
    return Records(
        bodies=found.records,
        ids=[event_id(each) for each in found.records],
        columns=columns_of(found.marks()),
        damage=found.damage,
    )


def read_letters(bodies: Sequence[bytes], recovered: Sequence[bool] = ()) -> Records:
    """The records that dead letters hold, or what is damaged of them, one each.

    Args:
        bodies: of the letters.
        recovered: which of them stood after a damage; where empty, none.
    """
    said = zip(bodies, recovered or [False] * len(bodies), strict=True)
    columns = columns_of(
        [Mark(recovered=after, invalid=not is_valid(each)) for each, after in said]
    )
    return Records(bodies=bodies, ids=[event_id(each) for each in bodies], columns=columns)


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
    position = skip(text, 0)
    mark = text[position : position + 1]
    if mark != "{":
        raise _not_records("the body is not a JSON object")
    if text[(empty := skip(text, position + 1)) :].rstrip(WHITESPACE) == "}":
        return found
    position = empty
    try:
        while mark != "}":
            name, position = _scan.raw_decode(text, position)
            position = skip(text, position)
            if not isinstance(name, str) or text[position : position + 1] != ":":
                raise _not_records("the body is not a JSON object")
            start = skip(text, position + 1)
            _, end = _scan.raw_decode(text, start)
            found[name] = text[start:end].encode("utf-8", "surrogateescape")
            position = skip(text, end)
            mark = text[position : position + 1]
            if mark not in (",", "}"):
                raise _not_records("the body breaks off")
            position = skip(text, position + 1)
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


def cut_in(body: bytes, *path: str) -> tuple[Cut, dict[str, bytes]]:
    """The same of an array of which an element may be damaged; of the other members, their bytes.

    Args:
        body: the object.
        path: names of objects inside one another, and last the array's; the members are those of the innermost.

    Raises:
        ErrorBody: it is an object there.
        Permanent: it is not a JSON object otherwise, or has no array there (code ``not-records``).
        KeyError: it has nothing of that name.
    """
    *outer, name = path
    try:
        inner = body
        for each in outer:
            inner = members(inner)[each]
        records, found = array_in(inner, name)
        del found[name]
        return Cut(records=records), found
    except CollectorError:
        pass
    text = body.decode(CODE)
    position = skip(text, len(body) - len(body.removeprefix(BOM)))
    inside: list[tuple[str, dict[str, bytes]]] = []
    try:
        for each in path:
            inside.insert(0, (each, {}))
            position = read_members(text, skip(text, position + 1), *inside[0])
    except (ValueError, RecursionError):
        raise _not_records("the body is not a JSON object") from None
    if text[position : position + 1] != "[":
        raise _not_records("no array of records is in the body")
    cut = salvage(text, position, lambda end: _follows(text, end, inside))
    if cut.end < 0:
        raise _not_records("the body breaks off")
    return cut, inside[0][1]


def _follows(text: str, position: int, inside: list[tuple[str, dict[str, bytes]]]) -> bool:
    """Whether the other members of the objects that an array stands in follow, innermost first, and nothing else."""
    all_of = []
    for name, found in inside:
        after: dict[str, bytes] = {}
        all_of.append((found, after))
        position = skip(text, position) + 1
        try:
            if text[position - 1 : position] == ",":
                position = read_members(text, skip(text, position), name, after)
        except (ValueError, RecursionError):
            return False
        if text[position - 1 : position] != "}":
            return False
    if skip(text, position) != len(text):
        return False
    for found, after in all_of:
        found.update(after)
    return True


def event_id(record: bytes) -> str:
    """The stable id of an event: the record's ``Id``, else a blake2b-128 of its bytes.

    An ``Id`` that is longer than any service makes one is none: as a property it might not fit into an event.
    """
    found: Any = None
    try:
        found = _identified.decode(record).Id
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        if b"\\ud" in record.lower() or _control.search(record):
            found = _id_slowly(record)
    # Blanks, or zeros alone, tell no record from another.
    return (
        found
        if found and len(found) <= LONGEST_ID and found.strip("0- \t\r\n{}")
        else hashlib.blake2b(record, digest_size=16).hexdigest()
    )


def _id_slowly(record: bytes) -> str | None:
    try:
        value = json.loads(record.decode("utf-8", "surrogateescape"), strict=False)
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
        found = json.loads(record.decode("utf-8", "surrogateescape"), strict=False)
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
