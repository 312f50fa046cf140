"""A tenant of the benchmark as a process: ``python -m local.bench.tenant ORDER.json``.

Serves exactly the contents it was ordered, with a clock that starts at the ordered time. Prints one JSON line when it
listens, and ends with its standard input.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from local.bench.contents import TenantOrder
from local.certs import Certs
from local.tenant import SOURCES, Tenant, TenantServer, TenantSpec, TraceSpec
from local.tenant.control import ControlServer

GZIP_LEVEL = 6
"""As tight as servers commonly compress what they keep."""


def main(arguments: list[str]) -> int:
    """Serve until standard input ends; returns the exit status."""
    order = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=TenantOrder)
    shift = order.now - datetime.now(UTC)
    fields = dict(order.spec)
    trace = TraceSpec.from_json(fields.pop("trace", {}))
    tenant = Tenant(
        TenantSpec(contents=0, subscribed=SOURCES, trace=trace, **fields),
        clock=lambda: datetime.now(UTC) + shift,
    )
    for stretch in order.stretches:
        for each in stretch.placed():
            tenant.offer(
                each.source,
                created=each.created,
                visible_at=each.created,
                content_id=each.content_id,
                count=stretch.records,
            )
    server = TenantServer(tenant, certs=_certs(Path(order.certs)), gzip_level=GZIP_LEVEL)
    with server, ControlServer(tenant) as control:
        print(json.dumps({"endpoint": server.endpoint, "control": control.url}), flush=True)
        while os.read(0, 4096):
            pass
    return 0


def _certs(folder: Path) -> Certs:
    return Certs(
        ca_file=folder / "ca.pem", cert_file=folder / "server.pem", key_file=folder / "server.key"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
