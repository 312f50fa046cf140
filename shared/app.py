"""From settings to runs: builds what a run is made of once per process and runs the feeds of a source.

Up to four feeds of one source run at the same time, the one whose last turn is longest ago first; one that fails or
hangs never fails another, and has no more than its share of the time.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.errors import CollectorError
from shared.publish.formats import DEFAULT
from shared.publish.pace import Abandoned, Pace
from shared.run.context import Feed, Parts, Tuning
from shared.run.kept import Kept, Room
from shared.run.lifecycle import run_feed
from shared.run.replays import ReplaySummary
from shared.run.sinks import sink_of
from shared.run.turns import LastTurns, Turns
from shared.service.http import Limits
from shared.service.in_time import TimedCredential
from shared.sources.clients import Apis
from shared.sources.registry import BY_NAME, Source, load
from shared.state.account import Storage
from shared.state.dead_letters import count_letters
from shared.state.transport import transport_options
from shared.threads import results
from shared.times import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from azure.core.credentials import TokenCredential

    from shared.config.connections import Connection
    from shared.config.settings import Settings
    from shared.publish.format import Format
    from shared.publish.sink import Sink
    from shared.run.context import JobMaker
    from shared.state.run_summary import RunSummary

logger = logging.getLogger("m365.run")

VERSION = "0.1.0"
PARALLEL_FEEDS = 4
EXPIRY_WARNING = timedelta(days=30)

NO_CONNECTION = "is of a tenant of which these settings have no connection"
NO_REPLAY = "is of a feed that this version does not replay"


class App:
    """The collector of one process.

    Args:
        settings: the configuration.
        tuning: what a run may use; from the settings where it is None.
        sink: takes the place of Event Hubs.
        format: makes events of records.
        on_progress: called now and then with each growing summary, and with each that is complete.
        sources: what may be collected, by name.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        tuning: Tuning | None = None,
        sink: Sink | None = None,
        format: Format = DEFAULT,
        on_progress: Callable[[RunSummary], None] = lambda _: None,
        sources: Mapping[str, Source] = BY_NAME,
    ) -> None:
        self.settings = settings
        self._sources = sources
        self._tuning = tuning or tuning_of(settings)
        self._on_progress = on_progress
        self._lock = threading.RLock()
        self._sinks: dict[tuple[str, str | None], Sink] = {}
        self._only_sink = sink
        self._format = format
        self._paces: dict[str, Pace] = {}
        self._abandoned = Abandoned()
        self._kept: dict[str, Kept] = {}
        self._room = Room()

    def run(self, source: str) -> list[RunSummary]:
        """Run every feed of a source once and log one line for each.

        Returns:
            A summary for each feed that was run, in the order in which they ended.
        """
        connections = list(self.settings.connections_for(source))
        turns = Turns(self._tuning.run_seconds, len(connections), workers=PARALLEL_FEEDS)
        last: LastTurns | None = None
        if len(connections) > PARALLEL_FEEDS:
            last = LastTurns(self.storage, source)
            connections = last.sort(connections)

        def have_turn(connection: Connection) -> RunSummary | None:
            return self._have_turn(connection, source, turns, last)

        ran: list[RunSummary] = []
        for summary in results(have_turn, connections, most=PARALLEL_FEEDS, name="feed"):
            if summary is not None:
                ran.append(summary)
                # Here alone: alerts count these lines, and this thread is the function's own.
                level = logging.ERROR if summary.status == "failed" else logging.INFO
                logger.log(level, "feed_run %s", summary.log_line())
        return ran

    def _have_turn(
        self, connection: Connection, source: str, turns: Turns, last: LastTurns | None
    ) -> RunSummary | None:
        seconds = turns.take()
        if seconds is None:
            logger.warning(
                "no time was left for connection '%s', source %s: it comes first in the next run",
                connection.name,
                source,
            )
            return None
        if last is not None:
            last.note(connection)
        return self._run_one(connection, source, seconds)

    def _run_one(self, connection: Connection, source: str, seconds: float) -> RunSummary:
        parts = self._parts(connection, source, self._jobs(connection, source))
        feed, tuning = self._feed(connection, source), _with_seconds(self._tuning, seconds)
        summary = run_feed(feed, parts, tuning)
        self._on_progress(summary)
        _warn_of_expiry(connection)
        return summary

    def replay(self, *sources: str) -> Iterator[ReplaySummary]:
        """Deliver the dead letters of some sources, feed by feed; see ``shared.contents.replay``.

        Without sources it is all that there are, and letters of no feed that can be replayed are named too.
        """
        named: set[str] = set()
        for source in sources or self._sources:
            for each in self._may_replay(source):
                for done in self._replay_one(each, source):
                    named.add(f"{each.tenant_id}/{done.source}")
                    yield done
        if not sources:
            yield from self._strays(named)

    def _may_replay(self, source: str) -> Iterable[Connection]:
        """One of each tenant: whoever collects a source, else the first, since it may have been collected before."""
        found: dict[str, Connection] = {}
        for each in (*self.settings.connections_for(source), *self.settings.connections):
            found.setdefault(each.tenant_id, each)
        return found.values()

    def _replay_one(self, connection: Connection, source: str) -> list[ReplaySummary]:
        feed, collected = self._feed(connection, source), source in connection.sources
        letters = self.storage.dead_letters
        try:
            if not collected and not count_letters(letters, feed.state_key):
                return []
            jobs = self._jobs(connection, source)
            done = jobs.replay(feed, self._parts(connection, source, jobs), self._tuning)
        except CollectorError as error:
            # What is wrong with one feed is no reason to leave the letters of the others.
            done = [ReplaySummary(connection=feed.connection, source=source, error=str(error))]
        return [replace(each, collected=collected) for each in done]

    def _strays(self, named: set[str]) -> Iterator[ReplaySummary]:
        tenants = {each.tenant_id for each in self.settings.connections}
        for key, number in sorted(count_letters(self.storage.dead_letters).items()):
            tenant, _, source = key.partition("/")
            if key not in named:
                yield ReplaySummary(
                    connection=tenant,
                    source=source,
                    collected=False,
                    letters=number,
                    kept={NO_REPLAY if tenant in tenants else NO_CONNECTION: number},
                )

    def _feed(self, connection: Connection, source: str) -> Feed:
        return Feed(connection=connection.name, tenant_id=connection.tenant_id, source=source)

    def _jobs(self, connection: Connection, source: str) -> JobMaker:
        with self._lock:
            # Feeds of one process share its budgets, so there is one of these, whoever comes first.
            apis = self._apis
        return self._sources[source].jobs(apis, connection)

    def _parts(self, connection: Connection, source: str, jobs: JobMaker) -> Parts:
        hub = self.settings.hubs[source]
        return Parts(
            job=jobs.make,
            sink=self._sink(hub, connection.tenant_id),
            storage=self.storage,
            clock=jobs.clock,
            pace=self._pace(hub),
            abandoned=self._abandoned,
            kept=self._keep(self._feed(connection, source)),
            on_progress=self._on_progress,
            credential_expires=connection.credential.expires,
            version=VERSION,
            format=self._format,
        )

    @functools.cached_property
    def _apis(self) -> Apis:
        return Apis(self.settings, self._tuning, self.storage)

    @functools.cached_property
    def storage(self) -> Storage:
        """The state account."""
        settings = self.settings
        options = transport_options(self._tuning.storage_silence, settings.network)
        if settings.storage_connection_string:
            return Storage.from_connection_string(settings.storage_connection_string, **options)
        return Storage.from_identity(
            settings.storage_blob_endpoint,
            settings.storage_table_endpoint,
            self._identity,
            **options,
        )

    @functools.cached_property
    def _identity(self) -> TokenCredential:
        from azure.identity import DefaultAzureCredential

        client_id = self.settings.identity_client_id
        options = self.settings.network.credential_options()
        if client_id:
            options["managed_identity_client_id"] = client_id
        return TimedCredential(DefaultAzureCredential(**options))

    def _sink(self, hub: str, tenant_id: str) -> Sink:
        if self._only_sink is not None:
            return self._only_sink
        key = tenant_id if self.settings.partition_key == "tenant" else None
        with self._lock:
            if (hub, key) not in self._sinks:
                self._sinks[hub, key] = sink_of(
                    self.settings,
                    hub,
                    partition_key=key,
                    identity=lambda: self._identity,
                    send_timeout=self._tuning.send_timeout,
                )
            return self._sinks[hub, key]

    def _pace(self, hub: str) -> Pace:
        with self._lock:
            return self._paces.setdefault(hub, Pace())

    def _keep(self, feed: Feed) -> Kept:
        with self._lock:
            return self._kept.setdefault(feed.state_key, Kept(room=self._room))

    def close(self) -> None:
        """Close what is kept between runs."""
        for sink in self._sinks.values():
            sink.close()


def _warn_of_expiry(connection: Connection) -> None:
    expires = connection.credential.expires
    if expires is None or expires - utc_now() > EXPIRY_WARNING:
        return
    logger.warning(
        "the %s of connection '%s' %s %s: put a new one into the app registration and the setting, then remove the old "
        "one; 'federated' has nothing to renew",
        connection.credential.kind,
        connection.name,
        "expires on" if expires > utc_now() else "expired on",
        expires.date(),
    )


def tuning_of(settings: Settings) -> Tuning:
    """What the settings allow a run."""
    return Tuning(
        run_seconds=settings.run_seconds,
        retry_base=timedelta(seconds=settings.retry_seconds),
        fetch_threads=settings.fetch_threads,
        bytes_in_flight=settings.bytes_in_flight,
        limits=Limits(
            connect=settings.network.connect,
            read=settings.network.read,
            total=settings.network.total,
        ),
    )


def _with_seconds(tuning: Tuning, seconds: float) -> Tuning:
    return replace(tuning, run_seconds=min(tuning.run_seconds, seconds))


_of_process: App | None = None
_of_process_lock = threading.Lock()


def current() -> App:
    """The app of this process, made from the environment on the first call.

    Raises:
        ConfigError: naming every problem of the configuration; the next call looks again.
    """
    global _of_process
    with _of_process_lock:
        # Timers of one process run at the same time and have to share its budget and its hub connections.
        if _of_process is None:
            _of_process = App(load(os.environ))
        return _of_process


def use(app: App | None) -> None:
    """Make ``app`` the app of this process; None lets the next call make one from the environment."""
    global _of_process
    with _of_process_lock:
        _of_process = app


class RunFailed(Exception):
    """At least one feed of a source failed; its own log line says why."""


def run_source(source: str) -> list[RunSummary]:
    """Run every feed of a source with the process's app: what a timer calls.

    Raises:
        ConfigError: the configuration has problems.
        RunFailed: feeds failed; the others ran, and everything is written down.
    """
    summaries = current().run(source)
    failed = [each for each in summaries if each.status == "failed"]
    if failed:
        raise RunFailed(
            "; ".join(f"{each.connection}/{each.source}: {each.error}" for each in failed)
        )
    return summaries
