"""A simulated Microsoft 365 tenant: login authority, Management Activity API, audit records, mail.

``Tenant(TenantSpec(...))`` decides what there is and keeps books on what happened; ``TenantServer``
serves it over TLS on localhost; ``Fault`` and ``PROFILES`` say what goes wrong on the way.
``python -m local.tenant`` runs one as a process.
"""

from __future__ import annotations

from local.tenant.bodies import Content, Event, event_id
from local.tenant.faults import PROFILES, Fault
from local.tenant.model import Tenant
from local.tenant.server import TenantServer
from local.tenant.spec import SOURCES, TenantSpec
from local.tenant.trace import TraceSpec, Triple

__all__ = [
    "PROFILES",
    "SOURCES",
    "Content",
    "Event",
    "Fault",
    "Tenant",
    "TenantServer",
    "TenantSpec",
    "TraceSpec",
    "Triple",
    "event_id",
]
