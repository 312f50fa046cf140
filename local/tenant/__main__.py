"""Runs a simulated tenant as a process: ``python -m local.tenant --spec FILE.json``.

Prints one JSON line when it listens (endpoint, control, ca_file, ids) and ends by itself when its
standard input does, or on SIGTERM: it cannot outlive who started it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from local.certs import Certs, make_certs
from local.tenant.control import ControlServer, profile
from local.tenant.model import Tenant
from local.tenant.server import TenantServer
from local.tenant.spec import TenantSpec
from local.tether import await_end, heed_signals

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Serve a tenant until told to end; returns the exit status."""
    options = _options(argv)
    try:
        spec = TenantSpec.from_json(json.loads(Path(options.spec).read_text("utf-8")))
        faults = profile(options.faults)
    except (OSError, ValueError, TypeError) as error:
        print(f"python -m local.tenant: {error}", file=sys.stderr)
        return 2
    heed_signals()
    tenant = Tenant(spec)
    tenant.faults.add(*faults)
    with tempfile.TemporaryDirectory() as folder:
        certs = _certs(Path(options.certs or folder))
        server = TenantServer(tenant, certs=certs, port=options.port, gzip_level=options.gzip_level)
        with server, ControlServer(tenant, port=options.control_port) as control:
            ready = {
                "endpoint": server.endpoint,
                "control": control.url,
                "ca_file": str(certs.ca_file),
                "tenant_id": spec.tenant_id,
                "client_id": spec.client_id,
                "pid": os.getpid(),
            }
            print(json.dumps(ready), flush=True)
            await_end()
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.tenant")
    parser.add_argument("--spec", required=True, help="a TenantSpec as JSON")
    parser.add_argument("--faults", default="none", help="a profile: none, mixed, harsh")
    parser.add_argument("--certs", help="directory with the rig's certificates, or to make them")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--gzip-level", type=int, default=1, choices=range(7))
    return parser.parse_args(argv)


def _certs(folder: Path) -> Certs:
    certs = Certs.within(folder)
    there = all(file.exists() for file in vars(certs).values())
    return certs if there else make_certs(folder)


if __name__ == "__main__":
    sys.exit(main())
