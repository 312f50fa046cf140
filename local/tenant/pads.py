"""List elements that bring records to a wanted size, of the kinds that make real ones grow."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate
from random import Random

from local.tenant.words import NAMES, UPNS

# Runs of pads end after the wanted size; on average by half an element.
_HALF_ELEMENT = 60


class Pads:
    """List elements that bring a record to its size: any run of a fixed ring of them."""

    def __init__(self, elements: Sequence[str]) -> None:
        self._count = len(elements)
        # Twice around, so that a run from any start is one slice.
        self._ring = tuple("," + element for element in elements) * 2
        self._ends = tuple(accumulate((len(text.encode()) for text in self._ring), initial=0))
        self._round = self._ends[self._count]

    def text(self, start: int, size: int) -> str:
        """Elements of about ``size`` bytes, beginning with the one numbered ``start``."""
        size -= _HALF_ELEMENT
        if size <= 0:
            return ""
        start %= self._count
        rounds, rest = divmod(size, self._round)
        end = bisect_left(self._ends, self._ends[start] + rest)
        run = "".join(self._ring[start:end])
        return "".join(self._ring[: self._count]) * rounds + run if rounds else run


def pads_of(kind: str) -> Pads:
    """The pads of a kind, the same in every process."""
    return Pads(_elements(kind))


def compact(value: object) -> str:
    """JSON with nothing to spare, and not escaped where it need not be."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _elements(kind: str) -> list[str]:
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
            "DisplayName": draw.choice(NAMES),
            "Role": draw.randrange(3),
            "UPN": draw.choice(UPNS),
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
    return [compact(makers[kind]()) for _ in range(64)]
