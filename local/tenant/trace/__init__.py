"""The message trace of a simulated tenant, in Microsoft Graph and in the Reporting Web Service.

Everything goes by the tenant's clock, which is moved and not waited for::

    tenant = Tenant(TenantSpec(..., trace=TraceSpec(rows=2000, late=0.1, changing=0.2, odd=0.05)))
    row, *_ = tenant.trace.offer(recipients=["a@x.example", "b@x.example"], status="pending")
    tenant.trace.offer(visible_at=tenant.now() + timedelta(hours=40))   # a late row
    tenant.trace.change(row, "delivered")        # or offer(..., then=[(time, "delivered")])
    tenant.faults.add(Fault(on="trace_page", action="status", code="page-token", times=1))

Kinds of requests, for faults (``on``) and books: ``trace`` (a first page), ``trace_page`` (one by
``$skiptoken``), ``details``, ``report``, ``report_page``; codes of a ``status`` fault are the names
in ``errors.toml``. ``throttle`` has a ``Retry-After`` only when it is given one;
``break_page_token`` hands out a ``nextLink`` that is refused for ever.
"""

from __future__ import annotations

from local.tenant.spec import TraceSpec
from local.tenant.trace.books import TraceBooks
from local.tenant.trace.rows import Row, Triple
from local.tenant.trace.trace import MessageTrace

__all__ = ["MessageTrace", "Row", "TraceBooks", "TraceSpec", "Triple"]
