"""What a simulated tenant is made of: the value objects that describe it and its message trace.

A ``TenantSpec`` together with a clock decides everything a tenant offers: the same two give the
same contents, byte for byte. It is checked when it is made, so that a typing error in a test or
in a JSON file is an error at once and not a tenant that behaves oddly.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Self
from uuid import UUID

SOURCES = (
    "Audit.AzureActiveDirectory",
    "Audit.Exchange",
    "Audit.SharePoint",
    "Audit.General",
    "DLP.All",
)
# How a number of contents is spread: real tenants are dominated by mail and files.
_WEIGHTS = dict(zip(SOURCES, (20, 33, 25, 17, 5), strict=True))
_APIS = tomllib.loads(Path(__file__).with_name("apis.toml").read_text("utf-8"))
AUDIENCES: dict[str, list[str]] = {name: api["audiences"] for name, api in _APIS.items()}
# App roles, and the API that each belongs to.
ROLE_APIS: dict[str, str] = {role: name for name, api in _APIS.items() for role in api["roles"]}
ROLES = tuple(ROLE_APIS)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A value object whose fields are checked when it is made."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """One from decoded JSON, or a ``ValueError`` that names what is accepted."""
        fields = {item.name: item for item in dataclasses.fields(cls)}
        unknown = sorted(set(values) - set(fields))
        if unknown:
            accepted = ", ".join(sorted(fields))
            raise ValueError(f"unknown field {unknown[0]!r}, accepted are {accepted}")
        # Without a default, both are the same marker.
        needed = [name for name, item in fields.items() if item.default is item.default_factory]
        if not set(needed) <= set(values):
            raise ValueError(f"a {cls.__name__} needs the fields {', '.join(map(repr, needed))}")
        return cls(**values)

    def _check(self, *, fractions: str, counts: str, amounts: str) -> None:
        """Refuse what no tenant can have, by a ``ValueError``; each argument names fields."""
        rules = (
            (fractions, 0, 1, "is a fraction from 0 to 1"),
            (counts, 1, inf, "must be 1 or more"),
            (amounts, 0, inf, "must not be negative"),
        )
        for names, least, most, text in rules:
            for name in names.split():
                if not least <= getattr(self, name) <= most:
                    raise ValueError(f"{name} {text}, not {getattr(self, name)!r}")


@dataclass(frozen=True, kw_only=True)
class TraceSpec(Checked):
    """A tenant's mail flow and how its two APIs behave.

    ``rows`` are spread over the last ``days`` days; ``rate`` rows a minute appear while the tenant
    runs, each visible up to ``latency_s`` after it was received. A message has 1 to
    ``2 * recipients - 1`` recipients, one row each. Of the rows, ``late`` become visible one of
    ``late_after_s`` seconds after they were received, ``changing`` begin as ``pending`` (some as
    ``gettingStatus``) and get their final status up to ``changes_after_s`` later. ``recalled`` turn
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
        """Refuse values that no tenant can have, with a ``ValueError`` that names the field."""
        self._check(
            fractions="late changing recalled duplicates odd details_missing",
            counts="recipients max_page reporting_page",
            amounts="rows days rate latency_s changes_after_s burst",
        )
        if not self.late_after_s or min(self.late_after_s) < 0:
            raise ValueError("late_after_s takes one or more numbers of seconds")
        if self.reporting_retired not in (None, 401, 403, 404):
            raise ValueError("reporting_retired is 401, 403, 404 or null")


@dataclass(frozen=True, kw_only=True)
class TenantSpec(Checked):
    """A tenant, its app registration and the audit contents it has.

    ``contents`` is a total that is spread unevenly over ``sources``, or a number per source.
    A content has 1 to ``2 * records - 1`` records of about ``record_bytes`` bytes. The history is
    spread over the last ``days`` days; ``rate`` contents a minute appear while the tenant runs.
    ``late`` of the contents become visible ``late_after_s`` seconds after they should have,
    ``relisted`` of them are listed again in a later window, under the same id and time.
    ``duplicate_ids`` of the records repeat the Id of a record in another content of that source.
    Each of ``extra_records`` is put, as it is, into exactly one content of the history.
    ``trace`` is the tenant's message trace, which has no rows by default.
    """

    tenant_id: str
    client_id: str
    client_secret: str
    seed: int = 1
    sources: Sequence[str] = SOURCES
    contents: int | Mapping[str, int] = 500
    records: int = 100
    record_bytes: int = 1500
    page_size: int = 100
    days: float = 6.5
    rate: float = 0.0
    late: float = 0.0
    late_after_s: float = 600.0
    relisted: float = 0.0
    duplicate_ids: float = 0.0
    extra_records: Sequence[bytes] = ()
    requests_per_minute: int | None = None
    subscribed: Sequence[str] = ()
    roles: Sequence[str] = ROLES
    secret_expired: bool = False
    accept_assertions: bool = False
    token_life_s: float = 3599.0
    auditing: bool = True
    reject_full_day: bool = False
    reject_future: bool = False
    next_page_version: str = "v1.0"
    trace: TraceSpec = field(default_factory=TraceSpec)

    def __post_init__(self) -> None:
        """Refuse values that no tenant can have, with a ``ValueError`` that names the field."""
        for name, value in (("tenant_id", self.tenant_id), ("client_id", self.client_id)):
            if not is_guid(value):
                raise ValueError(f"{name} must be a GUID, not {value!r}")
        self._check(
            fractions="late relisted duplicate_ids",
            counts="records record_bytes page_size",
            amounts="days rate late_after_s",
        )
        named = [*self.sources, *self.subscribed]
        if isinstance(self.contents, Mapping):
            named += self.contents
        for source in named:
            if source not in SOURCES:
                raise ValueError(f"unknown source {source!r}, known are {', '.join(SOURCES)}")
        if self.next_page_version not in ("v1.0", "v1"):
            raise ValueError(f"next_page_version is v1.0 or v1, not {self.next_page_version!r}")
        if self.extra_records and not sum(self.contents_by_source().values()):
            raise ValueError("extra_records need at least one content to go into")

    def contents_by_source(self) -> dict[str, int]:
        """How many contents of the history each enabled source has."""
        if isinstance(self.contents, Mapping):
            return dict(self.contents)
        total = sum(_WEIGHTS[source] for source in self.sources)
        shares = {source: self.contents * _WEIGHTS[source] // total for source in self.sources}
        for index in range(self.contents - sum(shares.values())):
            shares[self.sources[index % len(self.sources)]] += 1
        return shares

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """A spec from decoded JSON, where ``extra_records`` are strings."""
        extra = tuple(record.encode() for record in values.get("extra_records", ()))
        trace = TraceSpec.from_json(values.get("trace", {}))
        return super().from_json({**values, "extra_records": extra, "trace": trace})


def is_guid(text: str) -> bool:
    """Whether ``text`` is a GUID in the usual form with hyphens."""
    try:
        return len(text) == 36 and str(UUID(text)) == text.lower()
    except ValueError:
        return False
