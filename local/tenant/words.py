"""Names, files and subjects that a simulated tenant's records are filled with; all invented."""

from __future__ import annotations

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
NAMES = tuple(f"{first} {last}" for first in _FIRST for last in _LAST)
UPNS = tuple(
    f"{first}.{last}{number}@lumenfield.example"
    for number in ("", "2", "3")
    for first in ("mira", "tomas", "zoe", "oystein", "lukasz", "aiko", "jose", "anna", "olga")
    for last in ("kovac", "berg", "mueller", "smordal", "nowak", "tanaka", "ibanez", "schmidt")
)
# These stand inside JSON strings, so what JSON escapes is escaped here, in the forms writers use.
FILES = (
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
SUBJECTS = (
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
APPS = (
    "00000002-0000-0ff1-ce00-000000000000",
    "d3590ed6-52b3-4102-aeff-aad2292ab01c",
    "00000003-0000-0ff1-ce00-000000000000",
    "1fec8e78-bce4-4aaf-ab1b-5451cc387264",
)
