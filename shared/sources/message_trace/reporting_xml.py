"""The three shapes in which the Reporting Web Service answers: OData JSON, verbose JSON, Atom.

Which one comes depends on the request and on the server that answers it, so each answer is read by what it is. A row of
JSON is its own bytes; a row of Atom becomes a JSON object of its properties, with numbers and nulls as their types say.

A damaged row of JSON costs itself alone. A damaged feed of Atom is no page: nothing tells the text of a row from its
end once a tag is gone. Its window is listed again, and in parts, until the second that cannot be read is left.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urljoin
from xml.parsers import expat

import msgspec

from shared import policy
from shared.errors import CollectorError
from shared.records import BOM, ErrorBody, cut_in
from shared.records.salvage import Cut
from shared.rows.paging import Page, fills
from shared.sources.message_trace.links import next_link
from shared.times import parse_wire

PAGE_ROWS = 2000
"""Rows of a full page."""

ODATA = ("value",)
SHAPES = (ODATA, ("d", "results"), ("d",))
"""Where the rows stand in JSON."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_ATOM = "http://www.w3.org/2005/Atom"
_DATA = "http://schemas.microsoft.com/ado/2007/08/dataservices"
_METADATA = f"{_DATA}/metadata"
_DATE = re.compile(r"/Date\((-?[0-9]{1,15})([+-][0-9]{4})?\)/")
_TOKEN = re.compile(r"&?\$skiptoken=([0-9]*)")
_NUMBERS = frozenset({"Edm.Byte", "Edm.Int16", "Edm.Int32", "Edm.Int64"})


def read_page(body: bytes, url: str) -> Page:
    """Read an answer of any shape.

    Args:
        body: the answer.
        url: that was asked; a link is relative to it.

    Raises:
        Transient: it is no page of rows (code ``not-a-list``).
    """
    try:
        if body.removeprefix(BOM).lstrip()[:1] == b"<":
            cut, link, told = _read_atom(body)
        else:
            cut, link, told = _read_json(body)
    except (ValueError, expat.ExpatError) as error:
        raise policy.error("not-a-list", detail=type(error).__name__) from error
    if link is not None:
        link = urljoin(url, link)
    elif fills(cut, PAGE_ROWS) and not told:
        # The shapes that need not name a next page go by the index of the last row that came.
        link = _next(url, len(cut.records))
    return Page.of(cut, link, PAGE_ROWS)


def read_time(text: object) -> datetime | None:
    """A time as any of the shapes writes it: ``/Date(ms)/``, or ISO without a zone; None where it is none."""
    if not isinstance(text, str):
        return None
    try:
        if match := _DATE.fullmatch(text):
            return EPOCH + timedelta(milliseconds=int(match.group(1)))
        return parse_wire(text)
    except (ValueError, OverflowError):
        return None


def _next(url: str, count: int) -> str:
    found = _TOKEN.search(url)
    index = (int(found.group(1)) if found and found.group(1) else -1) + count
    return f"{_TOKEN.sub('', url)}&$skiptoken={index}"


def _read_json(body: bytes) -> tuple[Cut, str | None, bool]:
    """The rows, the link, and whether this shape names a next page where there is one."""
    for path in SHAPES:
        try:
            cut, found = cut_in(body, *path)
        except (CollectorError, ErrorBody, KeyError):
            continue
        return cut, next_link(found), path == ODATA
    raise ValueError("no rows")


def _read_atom(body: bytes) -> tuple[Cut, str | None, bool]:
    atom = _Atom()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = atom.start
    parser.EndElementHandler = atom.end
    parser.CharacterDataHandler = atom.text
    # Entities, which can make a small document large or read files, need one.
    parser.StartDoctypeDeclHandler = atom.doctype
    parser.Parse(body, True)
    return Cut(records=[msgspec.json.encode(row) for row in atom.rows]), atom.link, False


class _Atom:
    """What the parser of a feed finds."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.link: str | None = None
        self._depth = 0
        self._row: dict[str, Any] | None = None
        self._property = ""
        self._kind = ""
        self._null = False
        self._parts: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 1 and name != f"{_ATOM} feed":
            raise ValueError("no feed")
        if self._depth == 2 and name == f"{_ATOM} link" and attributes.get("rel") == "next":
            self.link = attributes.get("href") or None
        elif name == f"{_METADATA} properties":
            self._row = {}
            self.rows.append(self._row)
        elif self._row is not None and name.startswith(f"{_DATA} "):
            self._property = name.partition(" ")[2]
            self._kind = attributes.get(f"{_METADATA} type", "")
            self._null = attributes.get(f"{_METADATA} null") == "true"
            self._parts = []

    def text(self, data: str) -> None:
        if self._property:
            self._parts.append(data)

    def end(self, name: str) -> None:
        self._depth -= 1
        if name == f"{_METADATA} properties":
            self._row = None
        elif self._row is not None and name == f"{_DATA} {self._property}":
            self._row[self._property] = self._value("".join(self._parts))
            self._property = ""

    def doctype(self, *_: object) -> None:
        raise ValueError("a document type, which no feed has")

    def _value(self, text: str) -> object:
        if self._null:
            return None
        if self._kind in _NUMBERS and re.fullmatch(r"-?[0-9]{1,18}", text):
            return int(text)
        if self._kind == "Edm.Boolean" and text in ("true", "false"):
            return text == "true"
        return text
