"""The rig of the benchmark, and the processes that are measured on it.

It differs from the rig of ``make run`` in what would falsify figures: there are several tenants, and Event Hubs speaks
TLS as the real one does, and counts events without keeping them. The tenants are in this process, which has nothing
else to do while another one is measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from local.azurite import Azurite
from local.bench.loops import Reading
from local.certs import make_certs
from local.rig import HUB, hub_options, hub_stats, rig_settings
from local.tenant import TenantServer
from local.tether import Servers, Tether, module
from shared.state.account import Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from local.bench.child import Task
    from local.tenant import Tenant

PATIENCE_S = 300.0
_GZIP_LEVEL = 6  # as tight as servers commonly compress what they keep


class BenchError(RuntimeError):
    """A measurement that gives no figure; the message says why."""


class BenchRig(Servers):
    """All servers, from entering the ``with`` block to leaving it; ``tenants`` by name."""

    def __init__(self, tenants: Mapping[str, Tenant]) -> None:
        super().__init__()
        self.tenants = tenants
        self.servers: dict[str, TenantServer] = {}
        self.azurite = Azurite()

    def begin(self) -> None:
        """Start everything."""
        folder = self.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        certs = make_certs(Path(folder))
        tls = ("--tls-cert", str(certs.cert_file), "--tls-key", str(certs.key_file))
        argv = module("local.eventhubs", *hub_options(), "--discard", *tls)
        hubs = Tether(argv, ready='"connection_string"')
        self.start_all(hubs, self.azurite)
        self._hubs: dict[str, Any] = json.loads(hubs.line)
        for name, tenant in self.tenants.items():
            server = TenantServer(tenant, certs=certs, gzip_level=_GZIP_LEVEL)
            self.servers[name] = self.enter_context(server)
        self.storage = Storage.from_connection_string(self.azurite.connection_string)
        self.callback(self.storage.close)

    def arrived(self) -> int:
        """Events that the hubs have taken so far."""
        return hub_stats(self._hubs)["events"]

    def settings(self, name: str) -> dict[str, str]:
        """App settings that point the collector at one of the tenants."""
        server, ids = self.servers[name], vars(self.tenants[name].spec)
        about = {"endpoint": server.endpoint, "ca_file": str(server.certs.ca_file)}
        return {
            **rig_settings("bench", ids, about, self._hubs, self.azurite),
            # The stand-in has a port of its own; with one hub for all, the warm-up opens the connection to it.
            "M365_EVENTHUB_ENDPOINT": self._hubs["endpoint"],
            "M365_OUTPUT_MESSAGE_TRACE": HUB,
            # Kept, but out of the way: at the service's own quota everything here would only wait.
            "M365_REQUESTS_PER_MINUTE": "100000",
            "M365_MESSAGE_TRACE_REQUESTS": "10000",
        }


@contextlib.contextmanager
def measured(task: Task) -> Iterator[Callable[[list[str]], Reading]]:
    """A process of its own; what is yielded lets it work once."""
    # Everything is on loopback, which a machine's proxy must not come between.
    proxies = dict.fromkeys(name for name in os.environ if name.lower().endswith("_proxy"))
    with Tether(module("local.bench.child"), env=proxies, steered=True) as child:
        child.say(msgspec.json.encode(task))

        def collect(work: list[str]) -> Reading:
            child.say(msgspec.json.encode(work))
            return msgspec.json.decode(child.hear(PATIENCE_S), type=Reading)

        yield collect
