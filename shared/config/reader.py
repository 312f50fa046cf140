"""Read app settings and gather every problem, so that all of them can be reported at once.

A problem names the place, what was found and what is expected. What looks like a secret is never shown.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING
from uuid import UUID

from shared.network import origin

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEYED = re.compile(
    r"(key|sig|signature|secret|password)\s*=|-----BEGIN|://[^/\s]*@", re.IGNORECASE
)
_PIECE = re.compile(r"[A-Za-z0-9+=_~.-]{20,}")
_MIXED = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])|[A-Za-z0-9]{32}")


class Reader:
    """App settings with their defaults.

    Args:
        values: the app settings.
        defaults: by name; a setting that is not among them does not exist.

    Attributes:
        problems: a sentence each.
    """

    def __init__(self, values: Mapping[str, str], defaults: Mapping[str, str]) -> None:
        self.values = values
        self._defaults = defaults
        self.problems: list[str] = []

    def text(self, name: str) -> str:
        """A setting's value without surrounding blanks, or its default."""
        return (self.values.get(name) or "").strip() or self._defaults[name]

    def differs(self, name: str) -> bool:
        """Whether a setting is set to anything but its default."""
        return self.text(name) != self._defaults[name]

    def problem(self, where: str, found: str, expected: str) -> None:
        """Note a problem."""
        self.problems.append(f"{where}: {found}; expected {expected}")

    def guid(self, where: str, text: str, expected: str) -> str:
        """A GUID in lower case; "" with a problem where it is none."""
        if not text:
            self.problem(where, "not set", expected)
            return ""
        try:
            return str(UUID(text))
        except ValueError:
            # Nothing of it: a secret that was pasted into the wrong place looks like anything.
            self.problem(where, f"found {len(text)} characters that are no GUID", expected)
            return ""

    def number(self, name: str, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number in a range; the default with a problem where it is none."""
        text = self.text(name)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and low <= value <= high):
            bounds = "" if math.isinf(low) else f" from {low:g} to {high:g}"
            self.problem(setting(name), f"found {shown(text)}", f"a number{bounds}")
            return float(self._defaults[name])
        return value

    def url(self, where: str, text: str) -> str:
        """An https URL without a trailing slash."""
        try:
            scheme = origin(text)[0]
        except ValueError:
            scheme = ""
        if scheme != "https":
            self.problem(where, f"found {shown(text)}", "an https:// URL")
        return text.rstrip("/")

    def choice(self, where: str, text: str, choices: Mapping[str, object] | tuple[str, ...]) -> str:
        """One of several words; the first with a problem where it is none."""
        if text.lower() in choices:
            return text.lower()
        self.problem(where, f"found {shown(text)}", f"one of {', '.join(choices)}")
        return next(iter(choices))

    def secret(self, name: str, expected: str) -> str:
        """A secret setting's value, which is never shown; "" with a problem where it is missing or unresolved."""
        value = (self.values.get(name) or "").strip()
        if not value:
            self.problem(setting(name), "not set", expected)
        elif value.startswith("@Microsoft.KeyVault("):
            self.problem(
                setting(name),
                "a Key Vault reference that the platform could not resolve",
                "the value; check the reference and the app identity's role 'Key Vault Secrets User'",
            )
            return ""
        return value


def setting(name: str) -> str:
    """How a place is called that is an app setting."""
    return f"app setting {name}"


def shown(text: str) -> str:
    """A value as it may be shown.

    Keys and secrets without a name beside them are known by their length and their mixture, which the names, hosts
    and numbers of settings hardly have.
    """
    if _KEYED.search(text) or any(map(_MIXED.search, _PIECE.findall(text))):
        return "what looks like a secret (not shown)"
    return repr(text if len(text) <= 80 else text[:77] + "...")
