"""The stand-in as an object, running in a thread of its own.

It may be watched and steered from any other thread.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Final, Self, TypeVar

from local.eventhubs.faults import Faults
from local.eventhubs.hub import StoredEvent
from local.eventhubs.namespace import KEY, KEY_NAME, Namespace, Stats
from local.eventhubs.websocket import Entrance, WebSocket

ADDRESS: Final = "127.0.0.1"
TLS_HOST: Final = "localhost"
DEFAULT_MAX_MESSAGE_BYTES: Final = 1 << 20
_PATIENCE_S: Final = 10.0
_CLOSING_TURNS: Final = 10

T = TypeVar("T")


class EventHubs:
    """An Event Hubs namespace on 127.0.0.1, running while it is entered.

    It may be entered again after it was left, as after an outage: the port and what is stored stay.

    Without TLS the SDK reaches it by `connection_string(hub)`. With TLS it needs, besides a
    connection string or a fully qualified `namespace` and a credential,
    `custom_endpoint_address=endpoint`, a `transport_type` and `connection_verify` with the
    certificate's authority. Both transports are taken on the one port. What SDK 5.15.1 makes of
    these arguments: without a `transport_type`, an endpoint alone is reached over WebSockets, and
    together with `http_proxy` on port 443 whatever its own; an endpoint must not end in a slash,
    for a path is appended to it; `http_proxy` is obeyed over WebSockets only, less than NO_PROXY,
    and HTTPS_PROXY stands in for it; `connection_verify` replaces the public authorities.

    Args:
        hubs: names of hubs, each with its number of partitions.
        port: port to listen on; 0 takes a free one.
        tls: certificate and key files in PEM form; None is plain TCP.
        throughput_units: ingress quota; 0 is none.
        max_message_bytes: largest publication taken.
        latency_s: seconds from storing to acknowledging.
        check_token: refuse links without a valid token.
        keep: keep events; False only counts them.
        seed: of the generator behind `Fault.rate`.
    """

    def __init__(
        self,
        hubs: Mapping[str, int],
        *,
        port: int = 0,
        tls: tuple[str, str] | None = None,
        throughput_units: float = 0.0,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
        latency_s: float = 0.0,
        check_token: bool = True,
        keep: bool = True,
        seed: int = 0,
    ) -> None:
        self._namespace = Namespace(
            hubs,
            throughput_units=throughput_units,
            max_message_bytes=max_message_bytes,
            latency_s=latency_s,
            check_token=check_token,
            keep=keep,
            seed=seed,
        )
        self._port = port
        self._tls = tls
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Start; the port is known from here on.

        Raises:
            OSError: the port is taken, or a certificate file cannot be read.
        """
        started: Future[int] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="eventhubs", daemon=True
        )
        self._thread.start()
        self._port = started.result(_PATIENCE_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cut every connection and stop."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread is not None:
            self._thread.join(_PATIENCE_S)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def namespace(self) -> str:
        """The fully qualified namespace for clients over TLS."""
        return TLS_HOST

    @property
    def endpoint(self) -> str:
        """The `custom_endpoint_address` for clients over TLS."""
        return f"sb://{TLS_HOST}:{self._port}"

    @property
    def faults(self) -> Faults:
        """The fault rules; may be changed at any time."""
        return self._namespace.faults

    @property
    def stats(self) -> Stats:
        """A snapshot of the counts."""
        return self._namespace.snapshot()

    def take_up_to(self, max_message_bytes: int) -> None:
        """Take publications of another size from now on, as a hub of another tier; new links are told so."""
        self._namespace.max_message_bytes = max_message_bytes

    def connection_string(self, hub: str | None = None) -> str:
        """Return a connection string, for the namespace or for one hub."""
        if self._tls is None:
            address, emulator = f"{ADDRESS}:{self._port}", ";UseDevelopmentEmulator=true"
        else:
            address, emulator = TLS_HOST, ""
        entity = f";EntityPath={hub}" if hub else ""
        return (
            f"Endpoint=sb://{address};SharedAccessKeyName={KEY_NAME};SharedAccessKey={KEY}"
            f"{emulator}{entity}"
        )

    def events(self, hub: str) -> list[StoredEvent]:
        """Return the events of a hub, partition by partition, each in order.

        Raises:
            KeyError: there is no such hub.
        """
        return self._namespace.hubs[hub].events()

    def wait_held(self, count: int = 1, timeout_s: float = 5.0) -> bool:
        """Wait until `hold` faults withhold so many answers; False when time ran out first."""
        return self._namespace.held.wait(count, timeout_s)

    def release_held(self) -> int:
        """Give the answers that `hold` faults withheld, and return how many there were."""
        return self._on_loop(self._namespace.held.release)

    def reset(self) -> None:
        """Forget events, counts and faults. Clients stay connected."""
        self._on_loop(self._namespace.reset)

    def drop_connections(self) -> int:
        """Cut every connection, as a network failure would, and return how many there were."""
        return self._on_loop(self._drop_connections)

    def ping(self) -> int:
        """Ping every client that came over WebSockets, and return how many there are."""

        def ping_all() -> int:
            found = [each for each in self._namespace.connections if isinstance(each, WebSocket)]
            for websocket in found:
                websocket.ping()
            return len(found)

        return self._on_loop(ping_all)

    def _run(self, started: Future[int]) -> None:
        try:
            asyncio.run(self._serve(started))
        except BaseException as problem:  # handed to the thread that waits in __enter__
            if started.done():
                raise
            started.set_exception(problem)

    async def _serve(self, started: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        server = await self._loop.create_server(
            lambda: Entrance(self._namespace), ADDRESS, self._port, ssl=self._tls_context()
        )
        started.set_result(server.sockets[0].getsockname()[1])
        await self._stopping.wait()
        server.close()
        # Transports close their sockets in later turns of the loop; over TLS it takes a few, and one that had been
        # accepted may still turn up in them.
        for _ in range(_CLOSING_TURNS):
            self._drop_connections()
            await asyncio.sleep(0)
        self._namespace.connections.clear()

    def _tls_context(self) -> ssl.SSLContext | None:
        if self._tls is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self._tls)
        return context

    def _drop_connections(self) -> int:
        connections = tuple(self._namespace.connections)
        for connection in connections:
            connection.drop()
        return len(connections)

    def _on_loop(self, action: Callable[[], T]) -> T:
        """Call something on the server's thread and wait for it; here, while it does not run."""
        if self._thread is None or not self._thread.is_alive():
            return action()

        async def call() -> T:
            return action()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(_PATIENCE_S)
