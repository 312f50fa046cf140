"""The rig of the benchmark: several tenants, one Event Hubs stand-in over TLS that keeps nothing, and Azurite.

It differs from the rig of ``make run`` in what would falsify figures: Event Hubs speaks TLS as the real one does, and
counts events without keeping them.
"""

from __future__ import annotations

import json
import sys
import tempfile
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from local.azurite import Azurite
from local.bench.contents import TenantOrder
from local.certs import make_certs
from local.rig import HUB, PARTITIONS, ROOT, TenantControl
from local.tether import Tether

START_S = 120.0


class BenchRig:
    """All servers, from entering the ``with`` block to leaving it.

    Args:
        orders: the tenants, by name; their ``certs`` are filled in here.
    """

    def __init__(self, orders: Mapping[str, TenantOrder]) -> None:
        self.orders = dict(orders)
        self.azurite = Azurite()
        self.ca_file = ""
        self._stack = ExitStack()
        self._hubs: dict[str, Any] = {}
        self._tenants: dict[str, dict[str, str]] = {}

    def __enter__(self) -> Self:
        """Start everything.

        Raises:
            ChildError: one of the servers did not come up; none is left running.
        """
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            certs = make_certs(folder)
            self.ca_file = str(certs.ca_file)
            hubs = _module(
                *("local.eventhubs", "--hub", f"{HUB}:{PARTITIONS}", "--discard"),
                *("--tls-cert", str(certs.cert_file), "--tls-key", str(certs.key_file)),
                ready='"connection_string"',
            )
            tenants = {name: self._tenant(name, folder) for name in self.orders}
            children: list[Tether | Azurite] = [*tenants.values(), hubs, self.azurite]
            for child in children:
                stack.callback(child.stop)
            with ThreadPoolExecutor(len(children)) as pool:
                list(pool.map(lambda child: child.start(), children))
            self._hubs = json.loads(hubs.line)
            self._tenants = {name: json.loads(child.line) for name, child in tenants.items()}
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything."""
        self._stack.close()

    def endpoint(self, tenant: str) -> str:
        """A tenant's login authority and Management API."""
        return self._tenants[tenant]["endpoint"]

    def control(self, tenant: str) -> TenantControl:
        """A tenant's books and clock."""
        return TenantControl(self._tenants[tenant]["control"])

    def hub(self) -> dict[str, str]:
        """What it takes to reach the hub: ``connection_string``, ``endpoint``, ``name``."""
        return {
            "connection_string": self._hubs["connection_string"],
            "endpoint": self._hubs["endpoint"],
            "name": HUB,
        }

    def arrived(self) -> int:
        """Events that the hub has taken so far."""
        # Loopback, and a port that we were told by the process itself.
        url = f"http://127.0.0.1:{self._hubs['control']}/stats"
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310
            return int(json.load(answer)["events"])

    def settings(self, tenant: str) -> dict[str, str]:
        """App settings that point the collector at one of the tenants."""
        spec = self.orders[tenant].spec
        return {
            "M365_CONNECTION_NAME": "bench",
            "M365_TENANT_ID": spec["tenant_id"],
            "M365_CLIENT_ID": spec["client_id"],
            "M365_CLIENT_SECRET": spec["client_secret"],
            "M365_LOGIN_ENDPOINT": self.endpoint(tenant),
            "M365_MANAGEMENT_ENDPOINT": self.endpoint(tenant),
            "M365_GRAPH_ENDPOINT": self.endpoint(tenant),
            "M365_CA_FILE": self.ca_file,
            "M365_EVENTHUB_CONNECTION_STRING": self._hubs["connection_string"],
            "M365_STORAGE_CONNECTION_STRING": self.azurite.connection_string,
            # Kept, but out of the way: at the service's own quota everything here would only wait.
            "M365_REQUESTS_PER_MINUTE": "100000",
            "M365_MESSAGE_TRACE_REQUESTS": "10000",
        }

    def _tenant(self, name: str, folder: Path) -> Tether:
        order = msgspec.structs.replace(self.orders[name], certs=str(folder))
        path = folder / f"{name}.json"
        path.write_bytes(msgspec.json.encode(order))
        return _module("local.bench.tenant", str(path), ready='"endpoint"')


def _module(name: str, *arguments: str, ready: str) -> Tether:
    argv = [sys.executable, "-m", name, *arguments]
    return Tether(argv, cwd=ROOT, ready=ready, timeout_s=START_S)
