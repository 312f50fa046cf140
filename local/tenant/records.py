"""Writes audit records after samples, each a pure function of (seed, content id, number).

The samples are records as tenants send them, anonymised, one a line and a file for each source. A
record is a sample with its own ids, time, people and addresses, brought to its size by a list at
its end. So contents are made only when somebody fetches them, and a record can be written again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from hashlib import blake2b
from pathlib import Path
from random import Random

UPNS = tuple(
    f"{first}.{last}{number}@lumenfield.example"
    for number in ("", "2", "3")
    for first in ("mira", "tomas", "zoe", "oystein", "lukasz", "aiko", "jose", "anna", "olga")
    for last in ("kovac", "berg", "mueller", "smordal", "nowak", "tanaka", "ibanez", "schmidt")
)
_NETWORKS = ("198.51.100", "203.0.113", "192.0.2")
SAMPLES = Path(__file__).with_name("samples")
_ORGANIZATION = "3c5158d0-5962-5090-9c19-b6852a206f1d"
# What differs from record to record; everything else stays as the sample has it.
_SLOT = re.compile(
    r"(?P<guid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"|(?P<hex>[0-9a-f]{40})"
    r"|(?P<upn>[\w.]+@lumenfield\.example)"
    r"|(?P<ip>(?:198\.51\.100|203\.0\.113|192\.0\.2)\.\d+)"
)


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
        forms = _forms(source, self._record_bytes)
        form, drawn = forms[digest[1] % len(forms)], digest.hex()
        slots = {name: make(drawn, number) for name, make, number in form.slots}
        slots["org"] = self._tenant_id
        slots["time"] = _creation_time(digest, created, shift_s)
        wanted = int(self._record_bytes * (0.6 + 0.9 * digest[0] / 255))
        slots["pads"] = _padding(digest[4], wanted - form.size)
        return Record(record_id=form.record_id % slots, raw=(form.text % slots).encode())


def _creation_time(digest: bytes, created: datetime, shift_s: int) -> str:
    # A quarter of an hour to about twenty hours before the content became available.
    lag = (digest[6] << 8 | digest[7]) + 900
    text = (created - timedelta(seconds=lag - shift_s)).replace(tzinfo=None)
    return text.isoformat(timespec="seconds") + ("Z" if digest[8] < 4 else "")


def _guid(drawn: str, number: int) -> str:
    at = (number * 11 + 2) % 96
    text = drawn[at : at + 32]
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-a{text[17:20]}-{text[20:]}"


def _ip(drawn: str, number: int) -> str:
    value = int(drawn[80:82], 16)
    if number == 0 and drawn[82] < "3":
        return f"2001:db8:51::{value:x}"
    return f"{_NETWORKS[value % 3]}.{value}"


_Maker = Callable[[str, int], str]
_MAKERS: dict[str, _Maker] = {
    "guid": _guid,
    "hex": lambda drawn, number: drawn[8 * number :][:40],
    "upn": lambda drawn, number: UPNS[int(drawn[40 + 6 * number :][:4], 16) % len(UPNS)],
    "ip": _ip,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Form:
    """A sample made ready: texts for ``%``, what to fill in, and the size of the record."""

    text: str
    record_id: str
    slots: tuple[tuple[str, _Maker, int], ...]
    size: int


def _form(sample: str) -> _Form:
    record = json.loads(sample)
    slots: dict[str, tuple[str, _Maker, int]] = {}

    def slot(found: re.Match[str]) -> str:
        if found[0] == _ORGANIZATION:
            return "%(org)s"
        if found[0] not in slots:
            kind = str(found.lastgroup)
            number = sum(name.startswith(kind) for name, _, _ in slots.values())
            slots[found[0]] = f"{kind}{number}", _MAKERS[kind], number
        return f"%({slots[found[0]][0]})s"

    def filled(text: str) -> str:
        return _SLOT.sub(slot, text.replace("%", "%%"))

    # The Id before the rest, so that its GUID is the first one, of which no two are the same.
    record_id = filled(record["Id"])
    text = filled(sample.removesuffix("}")) + "%(pads)s}"
    text = text.replace(f'"CreationTime":"{record["CreationTime"]}"', '"CreationTime":"%(time)s"')
    size = len(sample.encode())
    return _Form(text=text, record_id=record_id, slots=tuple(slots.values()), size=size)


@cache
def _forms(source: str, record_bytes: int) -> list[_Form]:
    """The samples of a source that fit the size of records, or else the smallest."""
    samples = (SAMPLES / f"{source}.jsonl").read_text("utf-8").splitlines()
    forms = sorted((_form(sample) for sample in samples), key=lambda form: form.size)
    return [form for form in forms if form.size < 1.3 * record_bytes] or forms[:1]


def _padding(start: int, size: int) -> str:
    """A list of about ``size`` bytes, whose elements begin with the one numbered ``start``."""
    rounds, rest = divmod(max(size - 17, 0) // _PAD_BYTES, len(_PADS))
    start %= len(_PADS)
    elements = _PADS * rounds + (_PADS * 2)[start : start + rest]
    return f',"PropertyBag":[{",".join(elements)}]' if elements else ""


def _pads() -> tuple[str, ...]:
    draw = Random("pads")
    names = ("AppDisplayName", "IsCompliant", "TrustType", "Policy", "Gr\u00f6\u00dfe")
    values = (
        f"{draw.getrandbits(4 * size):0{size}x}" for _ in range(16) for size in (8, 16, 24, 40)
    )
    return tuple(f'{{"Name":"{draw.choice(names)}","Value":"{value}"}}' for value in values)


_PADS = _pads()
_PAD_BYTES = sum(len(pad.encode()) + 1 for pad in _PADS) // len(_PADS)
