"""Faults on demand: what goes wrong, where, and how often.

A `Fault` says on which kind of request it acts (a publish, the attach of a link, a put-token),
which of them it matches, and what happens. `Faults` holds the rules of one stand-in; it may be
changed from any thread while clients are connected, and decides with a seeded generator, so a
run can be repeated. A rule that could never act as written is refused with `ValueError`.
"""

from __future__ import annotations

import json
import random
import threading
from dataclasses import asdict, dataclass, fields
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# Per kind of request: its selectors, then each action with the fields it takes.
_SELECTORS: Final[dict[str, tuple[str, ...]]] = {
    "publish": ("hub", "partition"),
    "attach": ("hub", "partition", "group"),
    "put_token": ("hub",),
}
_ERROR: Final = ("condition", "description")
_PLAIN: Final = ("release", "modify", "drop", "drop_mid", "ack_lost", "no_ack", "hold")
_ACTIONS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "publish": {
        **dict.fromkeys(("reject", "detach", "end", "close"), _ERROR),
        **dict.fromkeys(_PLAIN, ()),
        "delay": ("delay_s",),
    },
    "attach": {"refuse": _ERROR, "no_credit": (), "delay": ("delay_s",)},
    "put_token": {"status": ("status", "description")},
}
_ALWAYS: Final = ("after", "times", "rate")
_KINDS: Final[dict[str, tuple[str, tuple[type, ...]]]] = {
    **dict.fromkeys(("hub", "partition", "group", *_ERROR), ("a string", (str, NoneType))),
    **dict.fromkeys(("after", "times"), ("a whole number", (int,))),
    "status": ("a whole number", (int, NoneType)),
    **dict.fromkeys(("rate", "delay_s"), ("a number", (int, float, NoneType))),
}
_RANGES: Final[dict[str, tuple[str, Callable[[Any], bool]]]] = {
    "after": ("be 0 or more", lambda count: count >= 0),
    "times": ("be 1 or more, or -1 for always", lambda count: count >= 1 or count == -1),
    "rate": ("lie between 0 and 1", lambda rate: 0 <= rate <= 1),
    "delay_s": ("be 0 or more", lambda seconds: seconds >= 0),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One rule.

    On `publish`: `reject`, `release` and `modify` answer with that outcome. `detach`, `end` and
    `close` end the link, session or connection with an error. `drop` cuts the connection before
    anything is stored, `ack_lost` after storing, `drop_mid` after the first frame of a message of
    several, which none under 64 KiB is. `delay` stores and answers late, `no_ack` never, `hold`
    when the stand-in is told to release it.
    On `attach`: `refuse`; `no_credit` (the link opens, but a message sent over it ends it); `delay`.
    On `put_token`: `status` answers with that HTTP status code.
    """

    action: str
    on: str = "publish"
    hub: str | None = None  # act on this hub only
    partition: str | None = None  # on this one only (a publish names one only if its link does)
    group: str | None = None  # on this consumer group only
    after: int = 0  # let this many matching requests pass first
    times: int = 1  # how often the rule acts, -1 for always
    rate: float | None = None  # probability, 0 to 1, that a matching request is acted upon
    condition: str | None = None  # of the AMQP error, `amqp:internal-error` where None
    description: str | None = None  # text of the error
    delay_s: float | None = None  # seconds, one where None
    status: int | None = None  # of a put-token, 401 where None

    def __post_init__(self) -> None:
        """Refuse what could never act as written."""
        if self.on not in _ACTIONS:
            raise ValueError(f"unknown fault on={self.on!r}: use one of {_listed(_ACTIONS)}")
        actions = _ACTIONS[self.on]
        if self.action not in actions:
            raise ValueError(
                f"unknown action {self.action!r} on {self.on}: use one of {_listed(actions)}"
            )
        takes = {*_SELECTORS[self.on], *actions[self.action], *_ALWAYS}
        for name, (kind, types) in _KINDS.items():
            value = getattr(self, name)
            if value is not None and name not in takes:
                what = f"{name} does not fit {self.on} {self.action!r}"
                raise ValueError(f"{what}, which takes {_listed(takes)}")
            if not isinstance(value, types) or isinstance(value, bool):
                raise ValueError(f"{name} must be {kind}, not {value!r}")  # noqa: TRY004
        for name, (range_, is_in) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not is_in(value):
                raise ValueError(f"{name} must {range_}, not {value}")

    @property
    def error(self) -> tuple[str, str]:
        """Condition and description, with defaults."""
        return self.condition or "amqp:internal-error", self.description or ""

    @property
    def delay(self) -> float:
        """Seconds, with the default."""
        return 1.0 if self.delay_s is None else self.delay_s

    @classmethod
    def from_mapping(cls, rule: Mapping[str, object]) -> Fault:
        """Build a rule from a JSON object; ValueError where it does not make sense."""
        known = [field.name for field in fields(cls)]
        unknown = set(rule) - set(known)
        if unknown:
            raise ValueError(f"unknown fault fields {_listed(unknown)}: use {_listed(known)}")
        if "action" not in rule:
            raise ValueError(f"a fault needs an action; got {_listed(rule) or 'nothing'}")
        return cls(**rule)  # type: ignore[arg-type]  # __post_init__ checks every value

    def to_mapping(self) -> dict[str, object]:
        """Return what is set, as `from_mapping` reads it."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def parse_faults(text: str | bytes) -> list[Fault]:
    """Read a JSON list of fault rules; ValueError where it is none or a rule makes no sense."""
    rules = json.loads(text)
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise ValueError("faults are a JSON list of objects")
    return [Fault.from_mapping(rule) for rule in rules]


class Faults:
    """The rules of one stand-in, in order: the first that matches and is due acts; `acted` counts how often."""

    def __init__(self, seed: int = 0) -> None:
        self.acted = 0
        self._lock = threading.Lock()
        self._armed: list[_Armed] = []
        self._random = random.Random(seed)

    def add(self, *faults: Fault) -> None:
        """Arm rules, after those already there."""
        with self._lock:
            self._armed = [*self._armed, *map(_Armed, faults)]

    def clear(self) -> None:
        """Disarm every rule."""
        with self._lock:
            self._armed = []

    def armed(self) -> list[Fault]:
        """Return the rules that may still act."""
        with self._lock:
            return [armed.fault for armed in self._armed]

    def take(self, on: str, *, mid_message: bool = False, **where: str | None) -> Fault | None:
        """Return the rule that acts on this request, and count it; `where` are its selectors.

        `mid_message` asks at the first frame of a message of several: then only `drop_mid` acts,
        which in turn acts at no other time.
        """
        if not self._armed:
            return None
        selectors = _SELECTORS[on]
        with self._lock:
            for armed in self._armed:
                fault = armed.fault
                if (
                    fault.on == on
                    and (fault.action == "drop_mid") == mid_message
                    and all(getattr(fault, name) in (None, where.get(name)) for name in selectors)
                    and self._is_due(armed)
                ):
                    return fault
        return None

    def _is_due(self, armed: _Armed) -> bool:
        fault = armed.fault
        if armed.passed < fault.after:
            armed.passed += 1
            return False
        if fault.rate is not None and self._random.random() >= fault.rate:
            return False
        self.acted += 1
        armed.acted += 1
        if armed.acted == fault.times:
            self._armed = [other for other in self._armed if other is not armed]
        return True


@dataclass(slots=True, eq=False)
class _Armed:
    """A rule and how far it has got."""

    fault: Fault
    passed: int = 0
    acted: int = 0


def _listed(names: Iterable[str]) -> str:
    """Name things in an error message, in a fixed order."""
    return ", ".join(sorted(names))
