"""The rig of the benchmark, and the processes that are measured on it.

It differs from the rig of ``make run`` in what would falsify figures: there are several tenants, and Event Hubs speaks
TLS as the real one does, and counts events without keeping them.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import requests

from local.azurite import Azurite
from local.bench.loops import Reading
from local.certs import make_certs
from local.rig import HUB, TenantControl, hub_options, hub_stats, rig_settings
from local.tether import ChildError, Servers, Tether, module
from shared.state.account import Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from local.bench.child import Task
    from local.bench.tenants import TenantOrder

START_S = 120.0
PATIENCE_S = 300.0
REQUEST_S = 60.0


class BenchError(RuntimeError):
    """A measurement that gives no figure; the message says why."""


class BenchRig(Servers):
    """All servers, from entering the ``with`` block to leaving it; ``orders`` are the tenants, by name."""

    def __init__(self, orders: Mapping[str, TenantOrder]) -> None:
        super().__init__()
        self.orders = orders
        self.azurite = Azurite()
        self._hubs: dict[str, Any] = {}
        self._tenants: dict[str, dict[str, str]] = {}

    def begin(self) -> None:
        """Start everything."""
        folder = Path(self.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        certs = make_certs(folder)
        tls = ("--tls-cert", str(certs.cert_file), "--tls-key", str(certs.key_file))
        options = (*hub_options(), "--discard", *tls)
        hubs = Tether(module("local.eventhubs", *options), ready='"connection_string"')
        tenants = {}
        for name, order in self.orders.items():
            path = folder / f"{name}.json"
            path.write_bytes(msgspec.json.encode(order))
            argv = module("local.bench.tenants", str(path))
            tenants[name] = Tether(argv, ready='"endpoint"', timeout_s=START_S)
        self.start_all(*tenants.values(), hubs, self.azurite)
        self._hubs = json.loads(hubs.line)
        self._tenants = {name: json.loads(child.line) for name, child in tenants.items()}

    def control(self, tenant: str) -> TenantControl:
        """A tenant's books and clock."""
        return TenantControl(self._tenants[tenant]["control"])

    def arrived(self) -> int:
        """Events that the hubs have taken so far."""
        return hub_stats(self._hubs)["events"]

    def storage(self) -> Storage:
        """The state account of all of them."""
        return Storage.from_connection_string(self.azurite.connection_string)

    def tenant_id(self, tenant: str) -> str:
        """The id of one of the tenants."""
        return str(self.orders[tenant].spec["tenant_id"])

    def settings(self, tenant: str) -> dict[str, str]:
        """App settings that point the collector at one of the tenants."""
        ids, about = self.orders[tenant].spec, self._tenants[tenant]
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
def measured(task: Task) -> Iterator[Callable[[], Reading]]:
    """A process that is warmed up; what is yielded lets it work once. It is ended in order."""
    # Everything is on loopback, which a machine's proxy must not come between.
    proxies = dict.fromkeys(name for name in os.environ if name.lower().endswith("_proxy"))

    def ask(line: bytes) -> bytes:
        try:
            child.say(line)
            return child.hear(PATIENCE_S)
        except ChildError as error:
            raise BenchError(f"the measured process ({task.kind}): {error}") from None

    def measure() -> Reading:
        reading = msgspec.json.decode(ask(b"go"), type=Reading)
        if reading.problem:
            raise BenchError(f"{task.kind}: {reading.problem}")
        return reading

    with Tether(module("local.bench.child"), env=proxies, grace_s=20.0, steered=True) as child:
        ask(msgspec.json.encode(task))
        yield measure
        with contextlib.suppress(BenchError):
            ask(b"")


def token(settings: dict[str, str]) -> str:
    """A bearer token for the Management API of the tenant that these settings reach."""
    form = {"grant_type": "client_credentials", "scope": "https://manage.office.com/.default"}
    form |= {name: settings[f"M365_{name.upper()}"] for name in ("client_id", "client_secret")}
    url = f"{settings['M365_LOGIN_ENDPOINT']}/{settings['M365_TENANT_ID']}/oauth2/v2.0/token"
    answer = requests.post(url, form, verify=settings["M365_CA_FILE"], timeout=REQUEST_S)
    answer.raise_for_status()
    return str(answer.json()["access_token"])


def fetch_all(settings: dict[str, str], uris: Iterable[str]) -> tuple[int, int, int]:
    """Fetch contents once, so that the tenant has them ready; returns records, their bytes, and those on the wire."""

    def count(uri: str) -> tuple[int, int, int]:
        with session.get(uri, timeout=REQUEST_S, stream=True) as answer:
            answer.raise_for_status()
            raw = answer.raw.read(decode_content=False)
        body = gzip.decompress(raw)
        records = len(json.loads(body))
        # Compact arrays: two brackets, and a comma between two records.
        return records, len(body) - records - 1, len(raw)

    with requests.Session() as session, ThreadPoolExecutor(4) as pool:
        session.verify, session.trust_env = settings["M365_CA_FILE"], False
        session.headers["Authorization"] = f"Bearer {token(settings)}"
        session.headers["Accept-Encoding"] = "gzip"
        records, size, wire = zip(*pool.map(count, uris), strict=True)
    return sum(records), sum(size), sum(wire)
