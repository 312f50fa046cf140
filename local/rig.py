"""The rig: a simulated tenant, an Event Hubs stand-in and Azurite, each a process on a tether.

All listen on loopback, on ports that the kernel picks, so any number of rigs run side by side; none of their processes
outlives the one that started them, whatever ends it. `LocalRig` starts them together and gives the app settings that
point the collector at them. `keep_up` is `make rig`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import sys
import tempfile
import threading
import uuid
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from local.azurite import Azurite
from local.profiles import PROFILES, Profile
from local.tenant import TenantSpec
from local.tether import Servers, Tether, module
from shared.sources import registry
from shared.sources.message_trace.row import digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HUB, TRACE_HUB = registry.AUDIT_HUB, registry.TRACE_HUB
CONNECTION = "local"
PARTITIONS = 4
CONTROL_TIMEOUT_S = 120.0


class TenantControl:
    """The books and the clock of a simulated tenant, over its control port."""

    def __init__(self, url: str) -> None:
        self._url = url

    def books(self) -> dict[str, Any]:
        """What was offered, listed, served and refused, per source; and the faults that were played."""
        return dict(self._ask("/books").json())

    def events(self) -> set[tuple[str, str, str]]:
        """Every event that should have arrived by now: content id, event id, digest of the body."""
        rows = self._lines("/events")
        return {(row["content_id"], row["event_id"], row["digest"]) for row in rows}

    def trace_books(self) -> dict[str, Any]:
        """How much of the message trace was offered, visible, served and refused."""
        return dict(self._ask("/trace").json())

    def trace_rows(
        self, kind: str = "expected", **times: datetime
    ) -> set[tuple[str, str | None, str]]:
        """(id, recipient, status) of the message trace, see `local.tenant.trace.books`.

        `kind` is one of its `KINDS`; `start` and `end` narrow it down to rows received in between, both inclusive;
        with `since`, of what stands there only what has stood there since then.
        """
        more = "".join(
            f"&{name}={at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}" for name, at in times.items()
        )
        rows = self._lines(f"/trace/rows?kind={kind}{more}")
        return {(row["id"], row["recipient"], row["status"]) for row in rows}

    def trace_events(self, kind: str) -> set[tuple[str, str, str]]:
        """The same as events: the message's id, the event's id, digest of the body."""
        rows = self._lines(f"/trace/rows?kind={kind}")
        return {
            (r["id"], digest_of(r["id"], r["recipient"], r["status"]).hex(), r["digest"])
            for r in rows
        }

    def advance(self, seconds: float) -> datetime:
        """Move the tenant's clock; returns the time it then shows."""
        answer = self._ask("/advance", json={"seconds": seconds}).json()
        return datetime.fromisoformat(answer["now"])

    def add_faults(self, faults: list[Mapping[str, Any]]) -> None:
        """Add faults to those that are played."""
        self._ask("/faults", json=faults)

    def _lines(self, path: str) -> Iterator[dict[str, Any]]:
        return (json.loads(line) for line in self._ask(path).iter_lines() if line)

    def _ask(self, path: str, **body: Any) -> requests.Response:
        method, url = "POST" if body else "GET", self._url + path
        answer = requests.request(method, url, timeout=CONTROL_TIMEOUT_S, **body)
        answer.raise_for_status()
        return answer


class LocalRig(Servers):
    """All that the collector talks to, from entering the `with` block to leaving it."""

    def __init__(
        self, spec: TenantSpec, profile: Profile = PROFILES["none"], *, proxy: bool = False
    ) -> None:
        super().__init__()
        self.spec, self.profile = spec, profile
        self.azurite = Azurite()
        self._ready: dict[str, Any] = {}
        self._hubs: dict[str, Any] = {}
        self._proxy = Tether(module("local.connect_proxy"), ready='"url"') if proxy else None

    def begin(self) -> None:
        """Start everything."""
        # The files are read before the servers are ready, so that nothing is left of them should we be killed.
        with tempfile.TemporaryDirectory(prefix="rig-") as files:
            tenant, hubs = self._tenant(Path(files)), self._eventhubs(Path(files))
            proxy = [self._proxy] if self._proxy is not None else []
            self.start_all(tenant, hubs, self.azurite, *proxy)
        self._ready, self._hubs = json.loads(tenant.line), json.loads(hubs.line)
        if self.profile.tenant_faults:
            self.tenant.add_faults(list(self.profile.tenant_faults))

    @property
    def tenant(self) -> TenantControl:
        """The tenant's books and clock."""
        return TenantControl(self._ready["control"])

    def faults_played(self) -> dict[str, int]:
        """How often each fault of the tenant was played, and all those of the hub together."""
        played: dict[str, int] = dict(self.tenant.books()["faults"])
        faults = hub_stats(self._hubs)["faults"]
        return {**played, "eventhubs": faults} if faults else played

    def proxied(self) -> str:
        """What the proxy was asked for, each once, a JSON object a line."""
        return self._proxy.tail.partition("\n")[2] if self._proxy is not None else ""

    def settings(self) -> dict[str, str]:
        """App settings that point the collector at this rig."""
        ids = dataclasses.asdict(self.spec)
        found = rig_settings(CONNECTION, ids, self._ready, self._hubs, self.azurite)
        if self._proxy is None:
            return found
        # Everything goes through the proxy; storage is plain HTTP here.
        url = json.loads(self._proxy.line)["url"]
        return {
            **found,
            "M365_EVENTHUB_TRANSPORT": "websocket",
            "M365_EVENTHUB_ENDPOINT": f"sb://127.0.0.1:{self._hubs['port']}",
            "HTTPS_PROXY": url,
            "HTTP_PROXY": url,
            "NO_PROXY": "",
        }

    def _tenant(self, folder: Path) -> Tether:
        values = dataclasses.asdict(self.spec)
        values["extra_records"] = [record.decode() for record in self.spec.extra_records]
        spec = folder / "tenant.json"
        spec.write_text(json.dumps(values), "utf-8")
        argv = module("local.tenant", "--spec", str(spec), "--faults", self.profile.tenant)
        return Tether(argv, ready='"endpoint"')

    def _eventhubs(self, folder: Path) -> Tether:
        faults = folder / "eventhubs.json"
        faults.write_text(json.dumps(self.profile.hub_faults), "utf-8")
        options = (*hub_options(), "--faults", str(faults), "--seed", str(self.spec.seed))
        return Tether(module("local.eventhubs", *options), ready='"connection_string"')


def rig_settings(
    connection: str, ids: Mapping[str, Any], tenant: Any, hubs: Any, azurite: Azurite
) -> dict[str, str]:
    """App settings that lead to a tenant of these ids, by what the servers said of themselves."""
    apis = ("LOGIN", "MANAGEMENT", "GRAPH")
    return {
        "M365_CONNECTION_NAME": connection,
        **{f"M365_{n.upper()}": ids[n] for n in ("tenant_id", "client_id", "client_secret")},
        **{f"M365_{name}_ENDPOINT": tenant["endpoint"] for name in apis},
        "M365_CA_FILE": tenant["ca_file"],
        "M365_EVENTHUB_CONNECTION_STRING": hubs["connection_string"],
        "M365_STORAGE_CONNECTION_STRING": azurite.connection_string,
    }


def hub_options() -> list[str]:
    """Options of the stand-in: both hubs."""
    return [word for hub in (HUB, TRACE_HUB) for word in ("--hub", f"{hub}:{PARTITIONS}")]


def hub_stats(hubs: Mapping[str, Any]) -> dict[str, int]:
    """What the stand-in that said this of itself has counted so far."""
    url = f"http://127.0.0.1:{hubs['control']}/stats"
    return dict(requests.get(url, timeout=CONTROL_TIMEOUT_S).json())


def make_ids(name: str, prefix: str = "") -> dict[str, Any]:
    """Ids of a tenant that follow from a name."""
    return {
        "tenant_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{prefix}tenant {name}")),
        "client_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{prefix}client {name}")),
        "client_secret": hashlib.sha256(f"{prefix}secret {name}".encode()).hexdigest()[:40],
    }


def make_spec(seed: int, **fields: Any) -> TenantSpec:
    """A tenant whose ids, too, follow from the seed; a ``ValueError`` says that no tenant can have these fields."""
    return TenantSpec(**make_ids(str(seed)), seed=seed, **fields)


def keep_up(spec: TenantSpec, profile: Profile, write: Path | None, *, proxy: bool = False) -> None:
    """Keep a rig up until Ctrl-C, with its settings on standard output or in a file that is new or a rig's."""
    if write is not None and write.exists() and not _points_at_a_rig(write):
        raise ValueError(f"{write}: is there and does not belong to a rig; move it away first")
    with LocalRig(spec, profile, proxy=proxy) as rig, ExitStack() as stack:
        text = json.dumps(local_settings(rig.settings()), indent=2)
        if write is None:
            print(text, flush=True)
        else:
            write.write_text(text + "\n", "utf-8")
            stack.callback(write.unlink, missing_ok=True)
        where = "above" if write is None else f"in {write}, as long as the rig is up"
        print(f"The rig is up; its settings are {where}. Ctrl-C ends it.", file=sys.stderr)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    print("\nThe rig is down.", file=sys.stderr)


def local_settings(settings: Mapping[str, str]) -> dict[str, Any]:
    """A local settings file of Azure Functions, for `func start`, whose timers fire every half minute."""
    host = {
        "FUNCTIONS_WORKER_RUNTIME": "python",
        "AzureWebJobsStorage": settings["M365_STORAGE_CONNECTION_STRING"],
    }
    schedules = {f"{each.setting}_SCHEDULE": "*/30 * * * * *" for each in registry.SOURCES}
    return {"IsEncrypted": False, "Values": {**host, **settings, **schedules}}


def _points_at_a_rig(path: Path) -> bool:
    try:
        values = json.loads(path.read_text("utf-8"))["Values"]
        return str(values["M365_LOGIN_ENDPOINT"]).startswith("https://localhost:")
    except (OSError, ValueError, KeyError, TypeError):
        return False
