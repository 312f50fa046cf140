"""The formats by name: a format is one module and one line here."""

from __future__ import annotations

from shared.publish.format import Format
from shared.publish.raw import Raw

FORMATS: dict[str, Format] = {each.name: each for each in (Raw(),)}
DEFAULT = FORMATS["raw"]
