"""The formats by name: a format is one module and one line here.

An app publishes in ``DEFAULT`` unless it is given another one, ``App(format=FORMATS[name])``; no setting chooses one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.publish.raw import Raw

if TYPE_CHECKING:
    from shared.publish.format import Format

FORMATS: dict[str, Format] = {each.name: each for each in (Raw(),)}
DEFAULT = FORMATS["raw"]
