"""Writes audit records, each a pure function of (seed, content id, number).

Every record is addressable by itself, so contents are made only when somebody fetches them, two
tenants with one seed agree byte for byte, and a record can be written again for another content.
Shapes come from ``shapes``; filling one costs a hash, a few slices and a ``%``.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import accumulate
from random import Random

from local.tenant.shapes import PADS, SHAPES, SLIM, Shape

# Runs of pads end after the wanted size; on average by half an element.
_HALF_PAD = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One record as the tenant sends it, and its Id when it has one."""

    record_id: str | None
    raw: bytes


class RecordWriter:
    """Writes the records of one tenant."""

    def __init__(self, *, seed: int, tenant_id: str, record_bytes: int) -> None:
        self._seed = seed.to_bytes(8, "big", signed=True)
        self._tenant_id = tenant_id
        self._record_bytes = record_bytes

    def key(self, content_id: str) -> bytes:
        """What ``write`` needs to know about a content; takes a microsecond, so keep it."""
        return blake2b(content_id.encode(), key=self._seed, digest_size=32).digest()

    def write(
        self, source: str, key: bytes, number: int, created: datetime, *, shift_s: int = 0
    ) -> Record:
        """Record ``number`` of the content with ``key``; ``shift_s`` moves its CreationTime."""
        digest = blake2b(number.to_bytes(4, "big"), key=key, digest_size=64).digest()
        target = int(self._record_bytes * (0.6 + 0.9 * digest[0] / 255))
        forms = _FORMS[source]
        form = forms[digest[1] % len(forms)]
        if form.base > 1.6 * self._record_bytes:
            form = _SLIM_FORM
        slots = _Slots(digest)
        slots["org"] = self._tenant_id
        slots["op"] = form.operations[digest[2] % len(form.operations)]
        slots["type"] = str(form.types[digest[3] % len(form.types)])
        slots["time"] = _creation_time(digest, created, shift_s)
        slots["pads"] = form.pads.text(digest[4] << 8 | digest[5], target - form.base - _HALF_PAD)
        return Record(record_id=slots["id"], raw=(form.text % slots).encode())


def _creation_time(digest: bytes, created: datetime, shift_s: int) -> str:
    # A quarter of an hour to about twenty hours before the content became available.
    lag = (digest[6] << 8 | digest[7]) + 900
    text = (created - timedelta(seconds=lag - shift_s)).replace(tzinfo=None)
    return text.isoformat(timespec="seconds") + ("Z" if digest[8] < 4 else "")


class _Slots(dict[str, str]):
    """Values of one record, made when the shape asks for them."""

    __slots__ = ("digest", "hex")

    def __init__(self, digest: bytes) -> None:
        super().__init__()
        self.digest = digest
        self.hex = digest.hex()

    def __missing__(self, name: str) -> str:
        kind = name.rstrip("0123456789")
        value = _MAKERS[kind](self, int(name[len(kind) :] or 0))
        self[name] = value
        return value


def _guid(slots: _Slots, number: int) -> str:
    at = (number * 11 + 2) % 96
    text = slots.hex[at : at + 32]
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-a{text[17:20]}-{text[20:]}"


def _pick(values: Sequence[str], at: int) -> Callable[[_Slots, int], str]:
    count = len(values)

    def pick(slots: _Slots, number: int) -> str:
        start = at + 3 * number
        return values[int.from_bytes(slots.digest[start : start + 2], "big") % count]

    return pick


def _ip(slots: _Slots, number: int) -> str:
    value = slots.digest[40]
    if slots.digest[41] < 40:
        return f"2001:db8:51::{value:x}"
    return f"{('198.51.100', '203.0.113', '192.0.2')[value % 3]}.{value}"


_FIRST = (
    "Mira",
    "Tomas",
    "Zo\u00eb",
    "\u00d8ystein",
    "\u0141ukasz",
    "Aiko",
    "Jos\u00e9",
    "Anna",
    "\u041e\u043b\u044c\u0433\u0430",
    "\u6e21\u8fba",
    "Fatma",
    "Liam",
)
_LAST = (
    "Kovac",
    "Berg",
    "M\u00fcller",
    "Sm\u00f8rdal",
    "Nowak",
    "Tanaka",
    "Ib\u00e1\u00f1ez",
    "\u9234\u6728",
    "O\u2019Neill",
    "Schmidt",
)
_NAMES = tuple(f"{first} {last}" for first in _FIRST for last in _LAST)
_UPNS = tuple(
    f"{first}.{last}{number}@lumenfield.example"
    for number in ("", "2", "3")
    for first in ("mira", "tomas", "zoe", "oystein", "lukasz", "aiko", "jose", "anna", "olga")
    for last in ("kovac", "berg", "mueller", "smordal", "nowak", "tanaka", "ibanez", "schmidt")
)
# These stand inside JSON strings, so what JSON escapes is escaped here, in the forms writers use.
_FILES = (
    "Budget 2027.xlsx",
    "offer.docx",
    "\u00e9t\u00e9 \u2013 plan.docx",
    "\u898b\u7a4d\u66f8.pdf",
    "R\\u0026D.pptx",
    "\U0001f389 party.pptx",
    "notes.txt",
    "cards.csv",
    "caf\\u00e9.md",
    "\u0633\u062c\u0644.xlsx",
    'a \\"quoted\\" name.docx',
)
_SUBJECTS = (
    "Lunch on Friday",
    "Invoices",
    "Monthly close",
    "Stra\u00dfe \u0026 Stadt",
    "Re: \u4f1a\u8b70",
    "Fwd: \\u003curgent\\u003e",
    "Finance close",
    "\\ud83d\\ude00 hi",
    "Kvart\u00e1l 3\\/4",
    "tab\\there",
    "Rapport d\u2019\u00e9t\u00e9",
)
_APPS = (
    "00000002-0000-0ff1-ce00-000000000000",
    "d3590ed6-52b3-4102-aeff-aad2292ab01c",
    "00000003-0000-0ff1-ce00-000000000000",
    "1fec8e78-bce4-4aaf-ab1b-5451cc387264",
)

_MAKERS: Mapping[str, Callable[[_Slots, int], str]] = {
    "id": lambda slots, number: _guid(slots, 0),
    "guid": _guid,
    "hex": lambda slots, number: slots.hex[8 * number : 8 * number + 40],
    "n": lambda slots, number: str(int.from_bytes(slots.digest[44 + 2 * number :][:2], "big") + 1),
    "port": lambda slots, number: str(1024 + int.from_bytes(slots.digest[42:44], "big") % 60000),
    "puid": lambda slots, number: f"1003{slots.hex[20:32].upper()}",
    "ip": _ip,
    "upn": _pick(_UPNS, 20),
    "UPN": _pick(tuple(upn.upper() for upn in _UPNS), 20),
    "name": _pick(_NAMES, 24),
    "file": _pick(_FILES, 30),
    "subject": _pick(_SUBJECTS, 33),
    "app": _pick(_APPS, 36),
}


class _Pads:
    """List elements that bring a record to its size: any run of a fixed ring of them."""

    def __init__(self, elements: Sequence[str]) -> None:
        self._count = len(elements)
        # Twice around, so that a run from any start is one slice.
        self._ring = tuple("," + element for element in elements) * 2
        self._ends = tuple(accumulate((len(text.encode()) for text in self._ring), initial=0))
        self._round = self._ends[self._count]

    def text(self, start: int, size: int) -> str:
        """Elements of about ``size`` bytes, beginning with the one numbered ``start``."""
        if size <= 0:
            return ""
        start %= self._count
        rounds, rest = divmod(size, self._round)
        end = bisect_left(self._ends, self._ends[start] + rest)
        run = "".join(self._ring[start:end])
        return "".join(self._ring[: self._count]) * rounds + run if rounds else run


@dataclass(frozen=True, kw_only=True, slots=True)
class _Form:
    """A shape made ready: a ``%`` text, and its size without pads."""

    text: str
    base: int
    operations: tuple[str, ...]
    types: tuple[int, ...]
    pads: _Pads


def _pad_elements(kind: str) -> list[str]:
    # Fixed for all tenants: what differs between records are their slots.
    draw = Random(f"pads {kind}")

    def word(size: int) -> str:
        return f"{draw.getrandbits(4 * size):0{size}x}"

    def guid() -> str:
        return f"{word(8)}-{word(4)}-5{word(3)}-a{word(3)}-{word(12)}"

    makers: dict[str, Callable[[], object]] = {
        "pairs": lambda: {
            "Name": draw.choice(("AppDisplayName", "IsCompliant", "TrustType", "Policy", "Id")),
            "Value": draw.choice((guid(), "True", word(24), "Gr\u00f6\u00dfe " + word(6))),
        },
        "changes": lambda: {
            "Name": draw.choice(("Member", "KeyDescription", "StrongAuthenticationMethod")),
            "NewValue": f'[\r\n  "{guid()}"\r\n]',
            "OldValue": draw.choice(("[]", "", f'[\r\n  "{word(12)}"\r\n]')),
        },
        "mails": lambda: {
            "Id": f"RgAAAAC2{word(24)}",
            "InternetMessageId": f"<{guid()}@lumenfield.example>",
            "ParentFolder": {"Id": f"LgAAAAC2{word(16)}", "Path": "\\Inbox"},
            "Subject": draw.choice(("Lunch", "R\u00e9union", "Invoice " + word(6))),
        },
        "folder_items": lambda: {
            "InternetMessageId": f"<{guid()}@lumenfield.example>",
            "Id": f"RgAAAAC2{word(24)}",
            "SizeInBytes": draw.randrange(1000, 90000),
        },
        "guids": guid,
        "members": lambda: {
            "DisplayName": draw.choice(_NAMES),
            "Role": draw.randrange(3),
            "UPN": draw.choice(_UPNS),
        },
        "links": lambda: {"AlertLinkHref": f"https://security.microsoft.com/alerts/{guid()}"},
        "resources": lambda: {
            "Action": "Read",
            "Id": guid(),
            "Name": f"plan {word(6)}.docx",
            "SiteUrl": f"https://lumenfield.sharepoint.com/sites/{word(8)}/plan.docx",
            "listItemUniqueId": guid(),
        },
        "matches": lambda: {
            "Confidence": draw.choice((65, 75, 85)),
            "Count": draw.randrange(1, 9),
            "Location": "Message Body",
            "SensitiveInformationTypeName": draw.choice(("IBAN", "Passport", "Card Number")),
            "SensitiveType": guid(),
        },
    }
    return [_compact(makers[kind]()) for _ in range(64)]


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


_SLOT = re.compile(r"<([a-zA-Z]+[0-9]?)>")


def _form(shape: Shape, pads: _Pads) -> _Form:
    head = {
        "CreationTime": "<time>",
        "Id": "<id>",
        "Operation": "<op>",
        "OrganizationId": "<org>",
        "RecordType": "#type",
    }
    text = _compact({**head, **shape.body}).replace("%", "%%")
    known = {*_MAKERS, "time", "id", "op", "org"}
    text = _SLOT.sub(
        lambda found: f"%({found[1]})s" if found[1].rstrip("0123456789") in known else found[0],
        text,
    )
    text = re.sub(r'"#(\w+)"', r"%(\1)s", text).replace(f',"{PADS}"', "%(pads)s")
    sample = _Slots(bytes(range(64)))
    sample.update(time="2026-11-20T08:14:52", org=_guid(sample, 1), op=shape.operations[0])
    sample.update(type=str(shape.types[0]), pads="")
    return _Form(
        text=text,
        base=len((text % sample).encode()),
        operations=shape.operations,
        types=shape.types,
        pads=pads,
    )


_PADS = {
    kind: _Pads(_pad_elements(kind))
    for kind in sorted({shape.pads for shapes in SHAPES.values() for shape in shapes})
}
_FORMS = {
    source: tuple(_form(shape, _PADS[shape.pads]) for shape in shapes)
    for source, shapes in SHAPES.items()
}
_SLIM_FORM = _form(SLIM, _PADS["pairs"])
