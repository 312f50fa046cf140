"""How the Management Activity API of a connection is asked: where, as whom, and how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.config.declarations import Section
from shared.config.keys import Key, Setting, Values

if TYPE_CHECKING:
    from shared.config.clouds import Cloud
    from shared.config.connections import Connection

KEYS = (
    Key(
        name="publisher_id",
        help="GUID sent as `PublisherIdentifier`, which selects the quota; the tenant id if empty.",
    ),
    Key(
        name="management_endpoint",
        help="Root of the Management Activity API, where it is not the cloud's.",
    ),
    Key(
        name="management_scope",
        help="Token scope, where it is not the cloud's management host followed by `/.default`.",
    ),
)
"""What a connection may say of that API."""

REQUESTS = Setting(
    name="M365_REQUESTS_PER_MINUTE",
    default="1600",
    bounds=(5, 100_000),
    help="Request budget per tenant; Microsoft's baseline quota is 2,000.",
)


@dataclass(frozen=True, kw_only=True)
class Audit:
    """How the Management Activity API of a connection is asked.

    Attributes:
        endpoint: root of that API.
        scope: token scope.
        publisher_id: lower-case GUID for ``PublisherIdentifier``; "" stands for the tenant's id.
        requests: of the tenant in a minute.
    """

    endpoint: str
    scope: str
    publisher_id: str
    requests: int


def audit_of(connection: Connection) -> Audit:
    """How the Management Activity API of a connection is asked."""
    found: Audit = connection.own[AUDIT.name]
    return found


def read_audit(values: Values, cloud: Cloud, login: str, wanted: bool) -> Audit:
    """Read what concerns the audit sources of one connection; problems are noted, whether or not it is collected.

    Args:
        values: what the connection says.
        cloud: the connection's.
        login: its Entra authority.
        wanted: whether an audit source is collected from it.
    """
    del login, wanted
    endpoint = values.read.url(*values.at("management_endpoint", cloud.management))
    where, publisher = values.at("publisher_id")
    if publisher:
        publisher = values.read.guid(where, publisher, "a GUID, or nothing")
    return Audit(
        endpoint=endpoint,
        scope=values.text("management_scope", f"{endpoint}/.default"),
        publisher_id=publisher,
        requests=int(values.numbers[REQUESTS.name]),
    )


AUDIT = Section(name="Audit", keys=KEYS, settings=(REQUESTS,), read=read_audit)
"""What is configured for all audit sources at once."""
