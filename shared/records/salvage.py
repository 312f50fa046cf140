"""Cut an array of records that does not parse, and take of it only what was a record for certain.

One thing is taken to be damaged: a record that was cut, lost a bracket, or has one byte changed; or the comma before
it. What stands in the strings of a record is written by anybody, so that ``},{"Id":`` in a subject must never become a
record. Two observations keep it from that. Quotes in a string are escaped, so that the first quote after a place in a
string closes it, and a comma, a bracket or a blank follows. And from inside a string to the end of the array the number
of quotes is odd, so that this never parses.

Reading goes on after the damage where a record begins from which everything parses to the closing bracket. A record
that is cut inside a list looks as if the records after it were elements of that list. Nobody can tell them apart then,
and all of it is damaged.

Text is the body in Latin-1: JSON's own characters are ASCII, and positions are those of the bytes.

Tests: tests/ground/test_salvage.py.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CODE = "latin-1"
MAX_TRIES = 1000
"""Places that are tried to go on from; a body made for it would cost minutes."""

_BLANK = r"[ \t\r\n]*"
_HEAD = r'\{[ \t\r\n]*"[^ \t\r\n,:\]}"]'
_blanks = re.compile(_BLANK)
_next = re.compile(rf",{_BLANK}(?={_HEAD})")
_glued = re.compile(rf'{_BLANK}[^"\\:]?{_BLANK}(?={_HEAD})')
_outside = re.compile(rf'[^"\\]*(?:"(?:{_BLANK}:|[^ \t\r\n,:\]}}"])|\Z)')
_closing = re.compile(r"\]")
_quote = re.compile(r'["\\]')
_token = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


# Numbers are left as text: a long one would be refused.
_strict = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse)
_lenient = json.JSONDecoder(parse_int=str, parse_float=str, strict=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """The bytes of an array that are no record.

    Attributes:
        raw: themselves; none where only a comma is missing.
        before: records that stand before them.
        offset: of the first of them in the body.
    """

    raw: bytes
    before: int
    offset: int

    @property
    def place(self) -> str:
        """Where they stand, for a person."""
        return f"record {self.before + 1}, from byte {self.offset}, is not JSON"


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What an array was cut into.

    Attributes:
        records: their bytes.
        invalid: numbers of those that are no valid JSON, having control characters in their strings, or a NaN.
        damage: what is no record; None where all are.
        end: position after the closing bracket; -1 where there is none.
    """

    records: list[bytes]
    invalid: frozenset[int] = frozenset()
    damage: Damage | None = None
    end: int = -1

    def marks(self) -> list[Mark]:
        """What is said of each record."""
        first = len(self.records) if self.damage is None else self.damage.before
        return [
            Mark(recovered=at >= first, invalid=at in self.invalid)
            for at in range(len(self.records))
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What is said of a record of an array that is not as it should be.

    Attributes:
        recovered: it stands after a damage.
        invalid: it is no valid JSON.
        place: of bytes that are no record, where they stand.
    """

    recovered: bool = False
    invalid: bool = False
    place: str = ""


PLAIN = Mark()


def columns_of(marks: Sequence[Mark]) -> dict[str, list[str]]:
    """The properties that say so, as far as any record has them."""
    columns = {
        "recovered": ["true" if mark.recovered else "" for mark in marks],
        "json": ["invalid" if mark.invalid else "" for mark in marks],
    }
    return {name: values for name, values in columns.items() if any(values)}


def is_valid(record: bytes) -> bool:
    """Whether a record is JSON as the standard has it, but for its encoding."""
    text = record.decode(CODE)
    found = _scan(text, skip(text, 0))
    return found is not None and found[1] and skip(text, found[0]) == len(text)


def skip(text: str, position: int) -> int:
    """The next position where no blank stands."""
    found = _blanks.match(text, position)
    return found.end() if found else position


def salvage(text: str, begin: int, ends: Callable[[int], bool]) -> Cut:
    """Cut an array.

    Args:
        text: in which it stands.
        begin: position of its opening bracket.
        ends: told a position after a closing bracket, whether what follows is what has to follow.
    """
    read = _read(text, begin + 1, ends)
    if read.end >= 0:
        return _cut(text, read.spans, read.end)
    count, at = _trusted(text, read)
    rest, stop = _go_on(text, at, ends)
    raw = text[at:stop].strip(" \t\r\n").encode(CODE)
    damage = Damage(raw=raw, before=count, offset=at)
    return _cut(text, read.spans[:count] + rest.spans, rest.end, damage)


def _go_on(text: str, at: int, ends: Callable[[int], bool]) -> tuple[_Read, int]:
    """What can be read after a damage, and where the damaged bytes end."""
    seen: set[int] = set()
    tries = 0
    for comma, start in _beginnings(text, at):
        if start in seen:
            continue
        rest = _read(text, start, ends)
        if rest.end >= 0:
            # A record that is gone leaves nothing but its comma.
            return rest, comma if skip(text, at) < comma else start
        # From each of these it breaks off in the same place.
        seen.update(span[0] for span in rest.spans)
        tries += 1
        if tries == MAX_TRIES:
            break
    for closing in _closing.finditer(text, at):
        if ends(closing.end()):
            stop = closing.start() if skip(text, at) < closing.start() else closing.end()
            return _Read(end=closing.end()), stop
    return _Read(), len(text)


def _cut(text: str, spans: list[_Span], end: int, damage: Damage | None = None) -> Cut:
    return Cut(
        records=[text[start:stop].encode(CODE) for start, stop, _ in spans],
        invalid=frozenset(at for at, (_, _, valid) in enumerate(spans) if not valid),
        damage=damage,
        end=end,
    )


_Span = tuple[int, int, bool]
"""Where a record begins and ends, and whether it is valid JSON."""


@dataclass
class _Read:
    """What was read from one place on.

    Attributes:
        spans: of the records.
        end: position after the closing bracket; -1 where reading broke off.
        broke: where: what stands there is no record, or (``torn``) no comma.
    """

    spans: list[_Span] = field(default_factory=list)
    end: int = -1
    broke: int = 0
    torn: bool = False


def _read(text: str, position: int, ends: Callable[[int], bool]) -> _Read:
    read = _Read()
    position = skip(text, position)
    if text[position : position + 1] == "]":
        read.broke, read.end = position, position + 1 if ends(position + 1) else -1
        return read
    while True:
        read.broke = position
        found = _scan(text, position)
        if found is None:
            return read
        read.spans.append((position, *found))
        position = skip(text, found[0])
        mark = text[position : position + 1]
        if mark == "]" and ends(position + 1):
            read.end = position + 1
            return read
        if mark != ",":
            read.broke, read.torn = position, True
            return read
        position = skip(text, position + 1)


def _scan(text: str, position: int) -> tuple[int, bool] | None:
    """Where the value that begins here ends, and whether it is valid JSON; None where none is."""
    for decoder, valid in ((_strict, True), (_lenient, False)):
        try:
            return decoder.raw_decode(text, position)[1], valid
        except (ValueError, RecursionError):
            continue
    return None


def _trusted(text: str, read: _Read) -> tuple[int, int]:
    """How many of the records before the place where reading broke off are records, and where the damage begins.

    A damaged string may end where its author wanted it to, and what he wrote then passes for records. Whatever stands
    before a quote that closes a string is not trusted, nor is the record before it.
    """
    spans, count, at = read.spans, len(read.spans), read.broke
    if read.torn:
        if _glued.match(text, spans[-1][1]):
            # Another record follows: there is only no comma between them.
            return count, spans[-1][1]
        count -= 1
        at = spans[count][0]
    trusted = _outside.match(text, at) is not None
    if trusted and count:
        trusted = not _is_torn_from(text, at, spans[count - 1])
    while not trusted and count:
        count -= 1
        at, stop, _ = spans[count]
        # Without a quote of its own it stands before the same one.
        trusted = bool(_quote.search(text, at, stop) and _outside.match(text, at))
    return count, at


def _is_torn_from(text: str, at: int, span: _Span) -> bool:
    """Whether a key stands here, which the record before may have lost by a bracket too early.

    Where it has that key itself it is whole, and the next one has lost its opening bracket.
    """
    if text[at : at + 1] != '"' or (found := _scan(text, at)) is None:
        return False
    if text[(colon := skip(text, found[0])) : colon + 1] != ":":
        return False
    key: Any = _lenient.raw_decode(text, at)[0]
    before: Any = _lenient.raw_decode(text, span[0])[0]
    return isinstance(before, dict) and key not in before


def _beginnings(text: str, at: int) -> Iterator[tuple[int, int]]:
    """Where the next record may begin, and where the bytes before it end."""
    if found := _glued.match(text, at):
        yield found.end(), found.end()
    elements = _in_lists(text, at)
    for found in _next.finditer(text, at):
        if found.end() not in elements:
            yield found.start(), found.end()


def _in_lists(text: str, at: int) -> set[int]:
    """Where objects begin that are elements of a list inside the record that begins here."""
    opened: list[str] = []
    found: set[int] = set()
    for token in _token.finditer(text, at):
        mark = token[0]
        if mark in ("[", "{"):
            if mark == "{" and opened[-1:] == ["["]:
                found.add(token.start())
            opened.append(mark)
        elif mark in ("]", "}"):
            partner = "[" if mark == "]" else "{"
            while opened and opened.pop() != partner:
                pass
    return found


def read_members(text: str, position: int, until: str, found: dict[str, bytes]) -> int:
    """Read the members of an object from the key that stands here.

    Args:
        text: in which it stands.
        position: of the key.
        until: of a member with this key the value is not read.
        found: where the others go.

    Returns:
        The position of that value, or after the closing bracket.

    Raises:
        ValueError: no members stand here.
    """
    while True:
        name, stop = _lenient.raw_decode(text, position)
        position = skip(text, stop)
        if not isinstance(name, str) or text[position : position + 1] != ":":
            raise ValueError("no member")
        position = skip(text, position + 1)
        if name == until:
            return position
        _, stop = _lenient.raw_decode(text, position)
        found[name] = text[position:stop].encode(CODE)
        position = skip(text, stop)
        mark = text[position : position + 1]
        if mark == "}":
            return position + 1
        if mark != ",":
            raise ValueError("no comma")
        position = skip(text, position + 1)
