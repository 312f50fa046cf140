"""What a simulated tenant is made of: the one value object that describes it.

A ``TenantSpec`` together with a clock decides everything a tenant offers: the same two give the
same contents, byte for byte. It is checked when it is made, so that a typing error in a test or
in a JSON file is an error at once and not a tenant that behaves oddly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from local.tenant.trace.spec import TraceSpec

SOURCES = (
    "Audit.AzureActiveDirectory",
    "Audit.Exchange",
    "Audit.SharePoint",
    "Audit.General",
    "DLP.All",
)
# App roles, and the API that each belongs to.
ROLE_APIS = {
    "ActivityFeed.Read": "management",
    "ActivityFeed.ReadDlp": "management",
    "ExchangeMessageTrace.Read.All": "graph",
    "ReportingWebService.Read.All": "reporting",
}
ROLES = tuple(ROLE_APIS)
AUDIENCES = {
    "management": frozenset(
        {
            "https://manage.office.com",
            "https://manage-gcc.office.com",
            "https://manage.office365.us",
            "https://manage.protection.apps.mil",
            "c5393580-f805-4401-95e8-94b7a6ef2fc2",
        }
    ),
    "graph": frozenset({"https://graph.microsoft.com", "00000003-0000-0000-c000-000000000000"}),
    "reporting": frozenset(
        {
            "https://outlook.office365.com",
            "https://outlook.office365.us",
            "00000002-0000-0ff1-ce00-000000000000",
        }
    ),
}

# How a number of contents is spread: real tenants are dominated by mail and files.
_WEIGHTS = {
    "Audit.AzureActiveDirectory": 20,
    "Audit.Exchange": 33,
    "Audit.SharePoint": 25,
    "Audit.General": 17,
    "DLP.All": 5,
}


@dataclass(frozen=True, kw_only=True)
class TenantSpec:
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
    expires_days: float = 7.0
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
        """Refuse values that no tenant can have.

        Raises:
            ValueError: naming the field and what it takes.
        """
        for name in ("tenant_id", "client_id"):
            value = getattr(self, name)
            if not is_guid(value):
                raise ValueError(f"{name} must be a GUID, not {value!r}")
        for name in ("late", "relisted", "duplicate_ids"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a fraction from 0 to 1, not {getattr(self, name)!r}")
        for name in ("records", "record_bytes", "page_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)!r}")
        for name in ("days", "rate", "late_after_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)!r}")
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
    def from_json(cls, values: Mapping[str, Any]) -> TenantSpec:
        """A spec from decoded JSON, where ``extra_records`` are strings.

        Raises:
            ValueError: a field is unknown or missing, or its value is refused.
        """
        fields = {known.name for known in dataclasses.fields(cls)}
        unknown = sorted(set(values) - set(fields))
        if unknown:
            raise ValueError(
                f"unknown field {unknown[0]!r}, accepted are {', '.join(sorted(fields))}"
            )
        missing = {"tenant_id", "client_id", "client_secret"} - set(values)
        if missing:
            raise ValueError(f"missing field {', '.join(sorted(missing))}")
        given = dict(values)
        given["extra_records"] = tuple(record.encode() for record in given.get("extra_records", ()))
        given["trace"] = TraceSpec.from_json(given.get("trace", {}))
        return cls(**given)


def is_guid(text: str) -> bool:
    """Whether ``text`` is a GUID in the usual form with hyphens."""
    try:
        return len(text) == 36 and str(UUID(text)) == text.lower()
    except ValueError:
        return False
