"""Faults a simulated tenant can play, on purpose and counted.

A fault says on which requests it acts (kind, source, content), how often, and what happens
instead of the right answer. They are data: a test builds them, the control port takes them as
JSON, profiles name mixtures of them. Which there are stands in ``faults.toml``.
"""

from __future__ import annotations

import dataclasses
import threading
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, TypeVar

from local.tenant.errors import GRAPH_ERRORS, REPORT_ERRORS
from local.tenant.messages import REPORT_KINDS, TRACE_KINDS
from local.tenant.spec import Checked

if TYPE_CHECKING:
    from collections.abc import Mapping

_KINDS = ("token", "discovery", "subscriptions", "start", "list", "content")
KINDS = (*_KINDS, *TRACE_KINDS, *REPORT_KINDS, "any")

_TABLES = tomllib.loads(Path(__file__).with_name("faults.toml").read_text("utf-8"))
ACTIONS: dict[str, list[str]] = _TABLES["actions"]
# Actions that change the answer to a listing, not its bytes; and to which kinds of listings.
PAGE_ACTIONS: dict[str, list[str]] = _TABLES["listings"]
_CHOOSING = ("on", "action", "source", "content_id", "after", "times", "rate")
# The client gets all the right bytes, in the end.
HARMLESS = PAGE_ACTIONS.keys() | {"slow", "drip", "bom", "expire_tokens"}


@dataclass(frozen=True, kw_only=True)
class Fault(Checked):
    """One fault: ``action`` happens to requests ``on`` one kind.

    ``after`` matching requests are let through first, then it acts ``times`` times (-1: always),
    with ``rate`` only on that fraction. ``source`` and ``content_id`` narrow it down. ``code``
    is an AF code or, for tokens, an ``AADSTS`` one, and brings status and body with it; for the
    message trace it is a name of ``trace.errors``.
    ``retry_after`` is in seconds, sent as an HTTP date with ``retry_after_date``. ``by`` is how
    much the announced length differs from the real one. ``hang`` ends the connection without an
    answer after ``delay_s``, ``slow`` answers then; ``drip`` waits that long before each piece.
    ``host`` may have a scheme before it, https otherwise. ``refuse_page_token`` refuses every page
    but the first of a chain.
    """

    on: str
    action: str
    source: str | None = None
    content_id: str | None = None
    after: int = 0
    times: int = 1
    rate: float | None = None
    status: int | None = None
    code: str | None = None
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    retry_after: float | None = None
    retry_after_date: bool = False
    delay_s: float = 0.0
    pieces: int = 20
    by: int = 64
    url: str | None = None
    host: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no server could play, by a ``ValueError`` that names what is accepted."""
        if self.on not in KINDS:
            raise ValueError(f"unknown kind {self.on!r}, accepted are {', '.join(KINDS)}")
        if self.action not in ACTIONS:
            raise ValueError(f"unknown action {self.action!r}, accepted are {', '.join(ACTIONS)}")
        accepted = {*ACTIONS[self.action], *_CHOOSING}
        for item in dataclasses.fields(self):
            default = {} if item.name == "headers" else item.default
            if item.name not in accepted and getattr(self, item.name) != default:
                raise ValueError(
                    f"{self.action} has no field {item.name!r}, it accepts "
                    f"{', '.join(sorted(accepted))}"
                )
        codes = GRAPH_ERRORS if self.on in TRACE_KINDS else REPORT_ERRORS
        if self.code and self.on in (*TRACE_KINDS, *REPORT_KINDS) and self.code not in codes:
            names = ", ".join(sorted(codes))
            raise ValueError(f"unknown code {self.code!r}, accepted are {names}")
        needed = _TABLES["needed"].get(self.action)
        if needed is not None and not getattr(self, needed):
            raise ValueError(f"{self.action} needs the field {needed!r}")
        listings = PAGE_ACTIONS.get(self.action)
        if listings is not None and self.on not in (*listings, "any"):
            names = ", ".join(sorted(listings))
            raise ValueError(f"{self.action} acts on {names}, not on {self.on}")

    @property
    def root(self) -> str | None:
        """Where the next page of a ``foreign_next_page`` leads to."""
        return self.host if self.host is None or "://" in self.host else f"https://{self.host}"


P = TypeVar("P")
T = TypeVar("T")


def turned(
    fault: Fault | None, page: list[P], following: T | None, *, here: T, asked: T | None
) -> tuple[list[P], T | None]:
    """A page and the token of the next one, as a fault of ``PAGE_ACTIONS`` turns them.

    ``asked`` is the token of this page, if it came by one; ``here`` is one that gives it again.
    """
    match None if fault is None else fault.action:
        case "empty_page_with_next":
            return [], here
        case "repeat_page_token":
            return page, here if asked is None else asked
        case "drop_page_link":
            return page, None
        case "foreign_next_page" if following is None:
            return page, here
    return page, following


class Faults:
    """The faults of one tenant, in the order in which they were added.

    Safe to use from several threads. The first that fits a request and is due acts on it; the
    others do not count that request.
    """

    def __init__(self, seed: int) -> None:
        self._lock = threading.Lock()
        self._draw = Random(f"{seed} faults")
        self._active: list[_Active] = []
        self._played: Counter[str] = Counter()

    def add(self, *faults: Fault) -> None:
        """Put faults behind those that are there."""
        with self._lock:
            self._active += [_Active(fault) for fault in faults]

    def clear(self) -> None:
        """Take all faults away; what was played stays counted."""
        with self._lock:
            self._active.clear()

    def played(self) -> dict[str, int]:
        """How often each action was played."""
        with self._lock:
            return dict(self._played)

    def pick(self, kind: str, source: str | None, content_id: str | None) -> Fault | None:
        """The fault to play on a request, which counts as played."""
        with self._lock:
            for active in self._active:
                if active.acts(kind, source, content_id, self._draw):
                    self._played[active.fault.action] += 1
                    return active.fault
        return None


class _Active:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._skip = fault.after
        self._left = fault.times

    def acts(self, kind: str, source: str | None, content_id: str | None, draw: Random) -> bool:
        """Whether it acts on a request, which counts for it where it fits."""
        fault = self.fault
        fits = (
            self._left != 0
            and fault.on in ("any", kind)
            and kind in PAGE_ACTIONS.get(fault.action, [kind])
            and fault.source in (None, source)
            and fault.content_id in (None, content_id)
        )
        if fits and self._skip:
            self._skip -= 1
        elif fits and (fault.rate is None or draw.random() < fault.rate):
            self._left -= self._left > 0
            return True
        return False


def _mixture(share: float) -> tuple[Fault, ...]:
    """Transient faults that together hit about ``share`` of the requests of each kind."""
    faults: list[Fault] = []
    for kind, groups in _TABLES["mixture"].items():
        chosen = [fault for group in groups for fault in _TABLES["groups"][group]]
        rate = share / len(chosen)
        faults += [Fault(on=kind, times=-1, rate=rate, **fault) for fault in chosen]
    return tuple(faults)


PROFILES: dict[str, tuple[Fault, ...]] = {
    "none": (),
    "mixed": _mixture(0.05),
    "harsh": _mixture(0.2),
}
