"""The formats by name: a format is one module and one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.publish.raw import Raw

if TYPE_CHECKING:
    from shared.publish.format import Format

FORMATS: dict[str, Format] = {each.name: each for each in (Raw(),)}
DEFAULT = FORMATS["raw"]
