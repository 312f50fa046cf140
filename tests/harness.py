"""The rig of a test: a simulated tenant, an event hub, storage, and the collector between them.

Everything is real but Microsoft: the collector's own code, the Azure SDKs, Azurite. Time belongs to
the tenant (``rig.tenant.advance``): the collector follows its ``Date`` header. Waits are shortened
by ``FAST``; nothing else differs from production.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import signal
import subprocess
import sys
import uuid
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.eventhubs import EventHubs, StoredEvent
from local.tenant import Content, Tenant, TenantServer, TenantSpec
from shared.app import App
from shared.publish.claim_check import CLAIM_CHECK
from shared.publish.pace import Patience
from shared.run.context import Tuning
from shared.service.http import Limits
from shared.sources.registry import load
from shared.state.account import CLAIM_CHECK_CONTAINER, Storage, read_blob
from shared.state.append_blobs import LedgerStore
from shared.state.checkpoint import Checkpoint, CheckpointStore, SubscriptionNote
from shared.state.checkpoint import decode as decode_checkpoint
from shared.state.ledger import Entry, State
from shared.state.ledger_day import Day
from shared.state.tables import DAYS_TABLE, RUNS_TABLE
from shared.times import parse_wire, whole_second
from tests.waits import LONG

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from local.certs import Certs
    from shared.state.run_summary import RunSummary

EXCHANGE = "Audit.Exchange"
HUB = "m365-audit"
TRACE_HUB = "m365-message-trace"
SECRET = "canary~secret~of~the~rig"
ROOT = Path(__file__).resolve().parent.parent

FAST = Tuning(
    run_seconds=300,
    close_seconds=100,
    retry_base=timedelta(minutes=10),
    patience=Patience(watchdog=20.0, no_acknowledgement=40.0, linger=0.02, busy=0.1, error=0.05),
    lease_seconds=60,
    lease_renewal=5.0,
    flush_every=0.05,
    limits=Limits(connect=20, read=20, total=100, min_rate=100, grace=30),
    backoff=0.02,
    throttle_backoff=0.2,
    send_timeout=15.0,
)
"""Pauses are short; what is waited for may take its time, so that nothing is given up on a busy machine.

A test whose fault never answers shortens what it waits out by itself.
"""

Event = tuple[str, str, str]
"""(content id, event id, blake2b-128 of the body): what one delivered event is known by."""


def event_of(stored: StoredEvent, body: bytes | None = None) -> Event:
    """What an event at the hub is known by; ``body`` is what a pointer points to."""
    return (
        str(stored.properties["content_id"]),
        str(stored.properties["event_id"]),
        hashlib.blake2b(stored.body if body is None else body, digest_size=16).hexdigest(),
    )


class Rig:
    """One tenant, one hub namespace, one storage account; a context manager."""

    def __init__(self, certs: Certs, storage_connection: str, **spec: Any) -> None:
        # A tenant id of its own keeps tests apart that share one storage account.
        values: dict[str, Any] = {
            "tenant_id": str(uuid.uuid4()),
            "client_id": str(uuid.uuid4()),
            "client_secret": SECRET,
            "contents": 0,
            "records": 5,
        }
        self.tenant = Tenant(TenantSpec(**{**values, **spec}))
        self.server = TenantServer(self.tenant, certs=certs)
        self.hubs = EventHubs({HUB: 2, TRACE_HUB: 2})
        self.certs = certs
        self.storage_connection = storage_connection
        self.storage = Storage.from_connection_string(storage_connection)
        self._running: tuple[tuple[Tuning, dict[str, str]], App] | None = None

    def __enter__(self) -> Rig:
        self.server.__enter__()
        self.hubs.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.restart()
        self.hubs.__exit__(None, None, None)
        self.server.__exit__(None, None, None)
        self.storage.close()

    # -- what there is to collect

    def offer(self, source: str = EXCHANGE, *, hours_ago: float = 1.0, **options: Any) -> Content:
        """Put one content into the tenant, created some hours ago."""
        created = self.tenant.now() - timedelta(hours=hours_ago)
        return self.tenant.offer(source, **{"created": created, **options})

    def offer_many(
        self, count: int, source: str = EXCHANGE, *, records: int = 3, hours_ago: float = 1.0
    ) -> list[Content]:
        """Put several contents into the tenant, a second apart."""
        start = self.tenant.now() - timedelta(hours=hours_ago)
        return [
            self.tenant.offer(
                source,
                created=start + timedelta(seconds=n),
                records=[record() for _ in range(records)],
            )
            for n in range(count)
        ]

    def at_noon(self) -> date:
        """Let it become noon of tomorrow, where what is due hangs on the time of day; returns that day."""
        noon = datetime.combine(self.tenant.now().date() + timedelta(days=1), time(12), UTC)
        self.tenant.advance(noon - self.tenant.now())
        return noon.date()

    def has_collected(self, source: str = EXCHANGE, *, hours_ago: float = 3.0) -> None:
        """Leave the state of a run some hours ago that found nothing: the next one lists hours instead of a week.

        It is said to have begun a month ago.
        """
        then = self.tenant.now() - timedelta(hours=hours_ago)
        self.tenant.subscriptions.set(source, "enabled")
        store = CheckpointStore(self.storage.state, self.checkpoint_name(source))
        note = SubscriptionNote(enabled=then)
        begun = whole_second(then) - timedelta(days=30)
        known = Checkpoint(
            watermark=then,
            subscription=note,
            beginning=begun,
            days_closed=(self.tenant.now() - timedelta(days=7)).date(),
            hub=HUB,
        )
        store.save(known, lease=None)

    # -- the collector

    def values(self, **more: str) -> dict[str, str]:
        """App settings that point the collector at this rig."""
        spec = self.tenant.spec
        return {
            "M365_TENANT_ID": spec.tenant_id,
            "M365_CLIENT_ID": spec.client_id,
            "M365_CLIENT_SECRET": SECRET,
            "M365_LOGIN_ENDPOINT": self.server.endpoint,
            "M365_MANAGEMENT_ENDPOINT": self.server.endpoint,
            "M365_GRAPH_ENDPOINT": self.server.endpoint,
            "M365_REPORTING_ENDPOINT": self.server.endpoint,
            "M365_CA_FILE": str(self.certs.ca_file),
            "M365_EVENTHUB_CONNECTION_STRING": self.hubs.connection_string(),
            "M365_STORAGE_CONNECTION_STRING": self.storage_connection,
            **more,
        }

    def app(self, tuning: Tuning = FAST, **settings: str) -> App:
        """A fresh collector process, as it were."""
        return App(load(self.values(**settings)), tuning=tuning)

    def run(
        self,
        source: str = EXCHANGE,
        *,
        tuning: Tuning = FAST,
        app: App | None = None,
        settings: Mapping[str, str] | None = None,
        **changes: Any,
    ) -> RunSummary:
        """Run one feed once; ``changes`` replace fields of the tuning.

        As in Azure, a process has many runs: it is a fresh one where tuning or settings change, or after ``restart``.
        """
        if app is None:
            wanted = replace(tuning, **changes), dict(settings or {})
            if self._running is None or self._running[0] != wanted:
                self.restart()
                self._running = wanted, self.app(wanted[0], **wanted[1])
            app = self._running[1]
        (summary,) = app.run(source)
        return summary

    def restart(self) -> None:
        """End the process that ``run`` uses; what it kept in memory is gone."""
        if self._running is not None:
            self._running[1].close()
            self._running = None

    def run_until(
        self, done: Callable[[RunSummary], bool], *, most: int = 10, **options: Any
    ) -> list[RunSummary]:
        """Run one feed again and again until a run satisfies ``done``."""
        summaries: list[RunSummary] = []
        for _ in range(most):
            summaries.append(self.run(**options))
            if done(summaries[-1]):
                return summaries
        raise AssertionError(f"not done after {most} runs; the last: {summaries[-1]}")

    def spawn(
        self,
        source: str = EXCHANGE,
        *,
        runs: int = 1,
        tuning: Mapping[str, float] | None = None,
        settings: Mapping[str, str] | None = None,
        nursery: bool = False,
    ) -> subprocess.Popen[str]:
        """Run one feed in a process of its own, which can then be killed; for a nursery see there."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HARNESS": json.dumps(
                {
                    "source": source,
                    "runs": runs,
                    "tuning": dict(tuning or {}),
                    "nursery": nursery,
                }
            ),
            **self.values(**(settings or {})),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "tests.harness"],
            cwd=ROOT,
            env=environment,
            text=True,
            stdin=subprocess.PIPE if nursery else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # Nobody reads along with a nursery: what its workers log is the test's output.
            stderr=None if nursery else subprocess.PIPE,
        )

    # -- what arrived

    def events(self, source: str | None = None) -> list[Event]:
        """Every event at the hub, repeats included."""
        return [
            event_of(stored, self.body(stored))
            for stored in self.hubs.events(HUB)
            if source in (None, stored.properties["source"])
        ]

    def body(self, stored: StoredEvent) -> bytes:
        """The body of an event, or what it points to."""
        address = str(stored.properties.get("claim_address", ""))
        if not address:
            return stored.body
        # Behind a proxy the account has another host.
        name = address.partition(f"/{CLAIM_CHECK_CONTAINER}/")[2]
        return self.storage.claim_checks.download_blob(name).readall()

    def pointers(self, hub: str = HUB) -> list[StoredEvent]:
        """The events that stand for larger ones."""
        return [
            each for each in self.hubs.events(hub) if each.properties.get("kind") == CLAIM_CHECK
        ]

    def repeats(self) -> int:
        """How many events arrived more than once, counted by how much more."""
        return sum(count - 1 for count in Counter(self.events()).values())

    def expected(self, source: str | None = None) -> set[Event]:
        """What the tenant's books say should have arrived."""
        return set(self.tenant.expected_events(source))

    def assert_complete(self, source: str | None = None) -> None:
        """The set of events at the hub is the set that the tenant offered."""
        arrived, expected = set(self.events(source)), self.expected(source)
        assert arrived == expected, (
            f"{len(expected - arrived)} of {len(expected)} events missing, "
            f"{len(arrived - expected)} that nobody offered"
        )

    # -- what was written down

    def ledger(self, source: str = EXCHANGE) -> dict[str, Entry]:
        """The merged ledger of a feed, read anew from storage."""
        return ledger_of(self.storage, f"{self.tenant.spec.tenant_id}/{source}")

    def ledger_day(self, day: date, source: str = EXCHANGE) -> Day:
        """One day of a feed's ledger, gap records included, read anew from storage."""
        store = LedgerStore(self.storage.state, f"ledger/{self.tenant.spec.tenant_id}/{source}")
        found = Day(day)
        for segment in sorted(store.stored()[day].sizes):
            found.load(store.read(day, segment, 0))
        return found

    def delivered(self, source: str = EXCHANGE) -> set[str]:
        """The ids of the contents that the ledger calls delivered."""
        return {e.id for e in self.ledger(source).values() if e.state == State.DELIVERED}

    def assert_nothing_claimed_early(self, source: str = EXCHANGE) -> None:
        """Every content that the ledger calls delivered has all of its events at the hub."""
        arrived = set(self.events(source))
        for content_id in self.delivered(source):
            wanted = {event for event in self.expected(source) if event[0] == content_id}
            assert wanted <= arrived, f"{content_id} is called delivered and is not"

    def checkpoint_name(self, source: str = EXCHANGE) -> str:
        """The feed's checkpoint blob."""
        return f"checkpoints/{self.tenant.spec.tenant_id}/{source}.json"

    def checkpoint(self, source: str = EXCHANGE) -> Checkpoint:
        """The stored checkpoint."""
        stored = read_blob(self.storage.state, self.checkpoint_name(source))
        assert stored is not None
        return decode_checkpoint(stored.data, "test")

    def run_rows(self, source: str = EXCHANGE) -> list[dict[str, Any]]:
        """The rows of the table of runs, newest first."""
        return self.storage.table(RUNS_TABLE).rows(f"{self.tenant.spec.tenant_id}_{source}")

    def day_rows(self, source: str = EXCHANGE) -> list[dict[str, Any]]:
        """The rows of the table of days."""
        return self.storage.table(DAYS_TABLE).rows(f"{self.tenant.spec.tenant_id}_{source}")

    def states(self, source: str = EXCHANGE) -> dict[date, str]:
        """What the table calls each day."""
        return {date.fromisoformat(row["RowKey"]): row["state"] for row in self.day_rows(source)}

    def reasons(self, day: date, source: str = EXCHANGE) -> list[tuple[str, datetime, datetime]]:
        """Why a day is flawed, and for which part of it."""
        (row,) = (each for each in self.day_rows(source) if each["RowKey"] == day.isoformat())
        return [
            (each["kind"], parse_wire(each["start"]), parse_wire(each["end"]))
            for each in json.loads(row["reasons"])
        ]

    def dead_letters(self, source: str = EXCHANGE) -> dict[str, bytes]:
        """Every dead letter of a feed: name to bytes."""
        container = self.storage.dead_letters
        prefix = f"{self.tenant.spec.tenant_id}/{source}/"
        return {
            blob.name: container.download_blob(blob.name).readall()
            for blob in container.list_blobs(name_starts_with=prefix)
        }


def ledger_of(storage: Storage, feed: str) -> dict[str, Entry]:
    """The merged ledger of a feed (``<tenant id>/<source>``), read anew from storage."""
    store = LedgerStore(storage.state, f"ledger/{feed}")
    entries: dict[str, Entry] = {}
    for day, segments in store.stored().items():
        ledger = Day(day)
        for segment in sorted(segments.sizes):
            ledger.load(store.read(day, segment, 0))
        entries.update(ledger.entries)
    return entries


class Nursery:
    """Workers that are forked off a process that has imported everything: starting one costs nothing; killable.

    A context manager, for one feed of a rig; options as of ``Rig.spawn``.
    """

    def __init__(self, rig: Rig, source: str, **options: Any) -> None:
        self._process = rig.spawn(source, nursery=True, **options)

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.communicate(timeout=LONG)

    def begin(self) -> None:
        """Let a worker run the feed once."""
        assert self._say("begin") == "begun"

    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._say("ended") == "True"

    def kill(self) -> None:
        """SIGKILL it, as the platform or a crash would.

        Raises:
            AssertionError: it had ended by itself.
        """
        assert not self.ended(), "the worker had ended by itself"
        assert self._say("kill") == "killed", "the worker ended by itself"

    def _say(self, word: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


def record(**fields: Any) -> bytes:
    """A small audit record with an id of its own, as compact bytes; None removes a field."""
    values = {
        "CreationTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        "Id": str(uuid.uuid4()),
        "Operation": "Send",
        "RecordType": 2,
        "Workload": "Exchange",
        **fields,
    }
    kept = {name: value for name, value in values.items() if value is not None}
    return json.dumps(kept, separators=(",", ":")).encode()


def main(argv: Sequence[str] = ()) -> None:
    """Run a feed with the settings of the environment: the process that ``Rig.spawn`` starts."""
    del argv
    order = json.loads(os.environ["HARNESS"])
    tuning = replace(FAST, **order["tuning"])
    app = App(load(os.environ), tuning=tuning)
    if order["nursery"]:
        _fork_workers(app, order["source"])
        return
    for _ in range(order["runs"]):
        (summary,) = app.run(order["source"])
        print(summary.log_line(), flush=True)
    app.close()


def _fork_workers(app: App, source: str) -> None:
    """Do what a ``Nursery`` says: nothing of this process has a thread or a connection that a fork would break."""
    for name in ("eventhub", "identity", "storage.blob", "data.tables"):
        importlib.import_module(f"azure.{name}")
    worker = 0
    for line in sys.stdin:
        if line == "begin\n":
            worker = os.fork()
            if not worker:
                # What it logs is nobody's answer.
                os.dup2(2, 1)
                app.run(source)
                os._exit(0)
            answer = "begun"
        elif line == "ended\n":
            if worker and os.waitpid(worker, os.WNOHANG)[0]:
                worker = 0
            answer = str(not worker)
        else:
            os.kill(worker, signal.SIGKILL)
            _, status = os.waitpid(worker, 0)
            worker, answer = 0, "killed" if os.WIFSIGNALED(status) else "ended"
        print(answer, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
