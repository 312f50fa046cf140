"""What the message trace of a simulated tenant is made of: the one value object that describes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_FRACTIONS = ("late", "changing", "recalled", "duplicates", "odd", "details_missing")
RETIRED = (None, 401, 403, 404)


@dataclass(frozen=True, kw_only=True)
class TraceSpec:
    """A tenant's mail flow and how its two APIs behave.

    ``rows`` are spread over the last ``days`` days; ``rate`` rows a minute appear while the tenant
    runs, each visible up to ``latency_s`` after it was received. A message has 1 to
    ``2 * recipients - 1`` recipients, one row each. Of the rows, ``late`` become visible one of
    ``late_after_s`` seconds after they were received, ``changing`` begin as ``pending`` (some as
    ``gettingStatus``) and get their final status up to ``changes_after_s`` later, ``recalled`` turn
    from ``delivered`` to ``recalled`` that much later again, ``duplicates`` stand there twice
    (within ``rows``), and ``odd`` have null and empty fields, quotes and ``#`` in addresses.
    ``burst`` rows more were all received in one second, an hour before the tenant was made.

    ``quota`` requests are taken in five minutes (None: any number); with ``retry_after`` an answer
    429 says when to come back. ``max_page`` caps a page below ``$top``.
    ``strict_tokens`` refuses a page token whose last recipient has odd characters, for ever.
    ``service_principal_after_s`` after its making the tenant knows the service principal of the
    trace (None: never). ``details_missing`` of the rows have no details.
    ``graph`` is False where the cloud has no trace in Graph. ``reporting_retired`` is what the
    Reporting Web Service answers to everything, ``directory_role`` whether the app may read it.
    ``verbose_next`` is whether the verbose shape names its next page, ``verbose_bare`` whether its
    ``d`` is a bare array.
    """

    rows: int = 0
    days: float = 2.0
    rate: float = 0.0
    latency_s: float = 60.0
    recipients: int = 2
    late: float = 0.0
    late_after_s: Sequence[float] = (600.0, 10_800.0, 144_000.0)
    changing: float = 0.0
    changes_after_s: float = 5400.0
    recalled: float = 0.0
    duplicates: float = 0.0
    odd: float = 0.0
    burst: int = 0
    quota: int | None = 100
    retry_after: bool = True
    max_page: int = 5000
    strict_tokens: bool = False
    service_principal_after_s: float | None = 0.0
    details_missing: float = 0.0
    graph: bool = True
    reporting_page: int = 2000
    reporting_retired: int | None = None
    directory_role: bool = True
    verbose_next: bool = True
    verbose_bare: bool = False

    def __post_init__(self) -> None:
        """Refuse values that no tenant can have.

        Raises:
            ValueError: naming the field and what it takes.
        """
        for name in _FRACTIONS:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a fraction from 0 to 1, not {getattr(self, name)!r}")
        for name in ("rows", "days", "rate", "latency_s", "changes_after_s", "burst"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)!r}")
        for name in ("recipients", "max_page", "reporting_page"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)!r}")
        if not self.late_after_s or min(self.late_after_s) < 0:
            raise ValueError("late_after_s takes one or more numbers of seconds")
        if self.reporting_retired not in RETIRED:
            raise ValueError("reporting_retired is 401, 403, 404 or null")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TraceSpec:
        """A spec from decoded JSON.

        Raises:
            ValueError: a field is unknown, or its value is refused.
        """
        fields = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(values) - set(fields))
        if unknown:
            raise ValueError(f"unknown field {unknown[0]!r}, accepted are {', '.join(fields)}")
        return cls(**values)
