"""What all connections of one stand-in share: hubs, faults, counters, quota, access, held answers.

Belongs to the server's thread, but for what says otherwise. The ingress quota is that of
throughput units: 1 MB/s or 1,000 events/s each, whichever is reached first, with a second's
worth of burst. A shared access signature is checked as the service does; any JWT is taken, for
no one here can check it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import threading
import time
import urllib.parse
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypedDict, Unpack, cast

from local.eventhubs.faults import Faults
from local.eventhubs.hub import Hub

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

KEY_NAME: Final = "RootManageSharedAccessKey"
KEY: Final = "SAS_KEY_VALUE"
DEFAULT_MAX_MESSAGE_BYTES: Final = 1 << 20


@dataclass(kw_only=True, slots=True)
class Stats:
    """Counts since the start or the last reset."""

    connections: int = 0  # taken
    links: int = 0  # asked for
    put_tokens: int = 0  # presented
    transfers: int = 0  # publications received whole
    events: int = 0  # stored
    bytes: int = 0  # of the publications stored
    accepted: int = 0  # publications answered so
    rejected: int = 0  # publications that a fault rejected
    throttled: int = 0  # publications refused for the quota
    faults: int = 0  # times that one acted
    delivered: int = 0  # events sent to readers
    held: int = 0  # answers withheld at the moment
    websockets: int = 0  # connections that came as such
    pongs: int = 0  # answers of clients to pings
    hubs: dict[str, list[int]] = field(default_factory=dict)  # events stored in each partition


class Options(TypedDict, total=False):
    """What a `Namespace` may be told."""

    throughput_units: float  # ingress quota; 0 is none
    max_message_bytes: int  # largest publication taken
    latency_s: float  # seconds from storing to acknowledging
    keep: bool  # keep events; False only counts them
    seed: int  # of the generator behind `Fault.rate`


class Throughput:
    """The ingress quota, as two token buckets; 0 units is no quota."""

    def __init__(self, units: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._bytes_per_s = self._bytes_left = 1_000_000.0 * units
        self._events_per_s = self._events_left = 1_000.0 * units
        self._clock = clock
        self._then = clock()

    def admit(self, size: int, events: int) -> bool:
        """Take a publication from the quota; False when it is used up.

        A publication larger than what is left is admitted and owed, as a bucket smaller than one
        batch would otherwise never let any through.
        """
        if not self._bytes_per_s:
            return True
        now = self._clock()
        passed, self._then = now - self._then, now
        self._bytes_left = min(self._bytes_per_s, self._bytes_left + passed * self._bytes_per_s)
        self._events_left = min(self._events_per_s, self._events_left + passed * self._events_per_s)
        if self._bytes_left <= 0 or self._events_left <= 0:
            return False
        self._bytes_left -= size
        self._events_left -= events
        return True


class Held:
    """Answers withheld by `hold` faults. `wait` and `len` may be used from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._answers: list[Callable[[], None]] = []

    def add(self, answer: Callable[[], None]) -> None:
        """Withhold an answer."""
        with self._changed:
            self._answers.append(answer)
            self._changed.notify_all()

    def release(self) -> int:
        """Give every withheld answer and return how many there were."""
        with self._changed:
            answers, self._answers = self._answers, []
        for answer in answers:
            answer()
        return len(answers)

    def __len__(self) -> int:
        return len(self._answers)

    def wait(self, count: int, timeout_s: float) -> bool:
        """Wait until so many answers are withheld; False when time ran out first."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._answers) >= count, timeout_s)


class Peer(asyncio.Protocol):
    """The server's side of a connection, known to the namespace while it lasts."""

    transport: asyncio.Transport

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection."""
        self.transport = cast("asyncio.Transport", transport)
        self.namespace.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection that has ended."""
        self.namespace.connections.discard(self)

    def abort(self) -> None:
        """Cut the connection without a word."""
        self.transport.abort()


class Namespace:
    """Hubs, by name with their number of partitions, and all that is shared around them."""

    def __init__(self, hubs: Mapping[str, int], **told: Unpack[Options]) -> None:
        keep = told.get("keep", True)
        self.hubs = {name: Hub(name, count, keep=keep) for name, count in hubs.items()}
        self.max_message_bytes = told.get("max_message_bytes", DEFAULT_MAX_MESSAGE_BYTES)
        self.latency_s = told.get("latency_s", 0.0)
        self.faults = Faults(told.get("seed", 0))
        self.throughput = Throughput(told.get("throughput_units", 0.0))
        self.held = Held()
        self.stats = Stats()
        self.connections: set[Peer] = set()

    def snapshot(self) -> Stats:
        """Copy the counts; may be called from any thread."""
        stored = {
            hub.name: [partition.next_sequence_number for partition in hub.partitions]
            for hub in self.hubs.values()
        }
        return replace(self.stats, hubs=stored, held=len(self.held), faults=self.faults.acted)

    def reset(self) -> None:
        """Forget events, counts and faults; give what was held."""
        self.faults.clear()
        self.faults.acted = 0
        self.held.release()
        for hub in self.hubs.values():
            for partition in hub.partitions:
                partition.clear()
        self.stats = Stats()


def is_valid_token(kind: str, token: str) -> bool:
    """Judge a token: any JWT, or `SharedAccessSignature sr=..&sig=..&se=..&skn=..` by name, signature and expiry."""
    if kind == "jwt":
        return bool(token)
    scheme, _, rest = token.partition(" ")
    parts = dict(urllib.parse.parse_qsl(rest))
    expiry = parts.get("se", "")
    if scheme != "SharedAccessSignature" or not expiry.isdecimal():
        return False
    signed = f"{urllib.parse.quote_plus(parts.get('sr', ''))}\n{expiry}".encode()
    signature = base64.b64encode(hmac.digest(KEY.encode(), signed, hashlib.sha256))
    return (
        hmac.compare_digest(signature, parts.get("sig", "").encode())
        and parts.get("skn") == KEY_NAME
        and int(expiry) > time.time()
    )
