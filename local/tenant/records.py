"""Writes audit records, each a pure function of (seed, content id, number).

Every record is addressable by itself, so contents are made only when somebody fetches them, two
tenants with one seed agree byte for byte, and a record can be written again for another content.
Shapes come from ``shapes``; filling one costs a hash, a few slices and a ``%``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b

from local.tenant.pads import Pads, compact, pads_of
from local.tenant.shapes import PADS, SHAPES, SLIM, Shape
from local.tenant.words import APPS, FILES, NAMES, SUBJECTS, UPNS


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
        slots["pads"] = form.pads.text(digest[4] << 8 | digest[5], target - form.base)
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
        make, number = _SLOT_MAKERS[name]
        self[name] = value = make(self, number)
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


_MAKERS: Mapping[str, Callable[[_Slots, int], str]] = {
    "id": lambda slots, number: _guid(slots, 0),
    "guid": _guid,
    "hex": lambda slots, number: slots.hex[8 * number : 8 * number + 40],
    "n": lambda slots, number: str(int.from_bytes(slots.digest[44 + 2 * number :][:2], "big") + 1),
    "port": lambda slots, number: str(1024 + int.from_bytes(slots.digest[42:44], "big") % 60000),
    "puid": lambda slots, number: f"1003{slots.hex[20:32].upper()}",
    "ip": _ip,
    "upn": _pick(UPNS, 20),
    "UPN": _pick(tuple(upn.upper() for upn in UPNS), 20),
    "name": _pick(NAMES, 24),
    "file": _pick(FILES, 30),
    "subject": _pick(SUBJECTS, 33),
    "app": _pick(APPS, 36),
}


# The makers of the slots that shapes really use, with their numbers: known when forms are made.
_SLOT_MAKERS: dict[str, tuple[Callable[[_Slots, int], str], int]] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Form:
    """A shape made ready: a ``%`` text, and its size without pads."""

    text: str
    base: int
    operations: tuple[str, ...]
    types: tuple[int, ...]
    pads: Pads


_SLOT = re.compile(r"<([a-zA-Z]+[0-9]?)>")


def _form(shape: Shape, pads: Pads) -> _Form:
    head = {
        "CreationTime": "<time>",
        "Id": "<id>",
        "Operation": "<op>",
        "OrganizationId": "<org>",
        "RecordType": "#type",
    }
    text = compact({**head, **shape.body}).replace("%", "%%")
    known = {*_MAKERS, "time", "id", "op", "org"}
    text = _SLOT.sub(
        lambda found: f"%({found[1]})s" if found[1].rstrip("0123456789") in known else found[0],
        text,
    )
    for name in re.findall(r"%\((\w+)\)s", text) + re.findall(r'"#(\w+)"', text):
        kind = name.rstrip("0123456789")
        if kind in _MAKERS:
            _SLOT_MAKERS[name] = _MAKERS[kind], int(name[len(kind) :] or 0)
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
    kind: pads_of(kind)
    for kind in sorted({shape.pads for shapes in SHAPES.values() for shape in shapes})
}
_FORMS = {
    source: tuple(_form(shape, _PADS[shape.pads]) for shape in shapes)
    for source, shapes in SHAPES.items()
}
_SLIM_FORM = _form(SLIM, _PADS["pairs"])
