"""The link to the next page of rows, however a service writes its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = frozenset({"nextlink", "__next"})
"""What is left of each name without letter case, ``@`` and ``odata.``, which differ between versions of OData."""

_text = msgspec.json.Decoder(str | None)


def next_link(found: Mapping[str, bytes]) -> str | None:
    """The link among the members of a page; None where there is none, or an empty one.

    Raises:
        ValueError: it is no text.
    """
    for name, raw in found.items():
        if name.lower().removeprefix("@").removeprefix("odata.") not in NAMES:
            continue
        try:
            link: str | None = _text.decode(raw)
        except msgspec.MsgspecError as error:
            raise ValueError("a link that is none") from error
        if link:
            return link
    return None
