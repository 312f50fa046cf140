"""The stand-in as an object, running in a thread of its own.

It may be watched and steered from any other thread.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from typing import TYPE_CHECKING, Final, Self, TypeVar, Unpack

from local.eventhubs.namespace import KEY, KEY_NAME, Namespace, Options, Stats
from local.eventhubs.websocket import Entrance, WebSocket

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from local.eventhubs.message import StoredEvent

ADDRESS: Final = "127.0.0.1"
TLS_HOST: Final = "localhost"
_PATIENCE_S: Final = 10.0

T = TypeVar("T")


class EventHubs:
    """An Event Hubs namespace on 127.0.0.1, running while it is entered.

    It may be entered again after it was left, as after an outage: the port and what is stored stay.

    Without TLS the SDK reaches it by `connection_string(hub)`. With TLS it needs, besides a
    connection string or a fully qualified `namespace` and a credential,
    `custom_endpoint_address=endpoint`, a `transport_type` and `connection_verify` with the
    certificate's authority. Both transports are taken on the one port.

    What SDK 5.15.1 makes of these arguments: without a `transport_type`, an endpoint alone is
    reached over WebSockets, and together with `http_proxy` on port 443 whatever its own. An
    endpoint must not end in a slash, for a path is appended to it. `http_proxy` is obeyed over
    WebSockets only, less than NO_PROXY, and HTTPS_PROXY stands in for it. `connection_verify`
    replaces the public authorities.

    `hubs` are names, each with its number of partitions. `port` 0 takes a free one, known once it
    was entered. `tls` is a certificate and a key file in PEM form. `faults` may change any time.
    """

    namespace: Final = TLS_HOST  # fully qualified, for clients over TLS

    def __init__(
        self,
        hubs: Mapping[str, int],
        *,
        port: int = 0,
        tls: tuple[str, str] | None = None,
        **options: Unpack[Options],
    ) -> None:
        self._shared = Namespace(hubs, **options)
        self.faults = self._shared.faults
        self.port = port
        self._tls = tls
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Start; OSError where the port is taken or a certificate file cannot be read."""
        self._loop = asyncio.new_event_loop()
        try:
            self._server = self._loop.run_until_complete(self._listen())
        except BaseException:
            self._loop.close()
            raise
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, name="hubs", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Cut every connection and stop."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(_PATIENCE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        if self._thread is not None:
            self._thread.join(_PATIENCE_S)
        self._loop.close()

    @property
    def endpoint(self) -> str:
        """The `custom_endpoint_address` for clients over TLS."""
        return f"sb://{TLS_HOST}:{self.port}"

    @property
    def stats(self) -> Stats:
        """A snapshot of the counts."""
        return self._shared.snapshot()

    def take_up_to(self, max_message_bytes: int) -> None:
        """Take publications of another size from now on, as a hub of another tier; new links are told so."""
        self._shared.max_message_bytes = max_message_bytes

    def connection_string(self, hub: str | None = None) -> str:
        """Return a connection string, for the namespace or for one hub."""
        plain = self._tls is None
        address = f"{ADDRESS}:{self.port}" if plain else TLS_HOST
        emulator = ";UseDevelopmentEmulator=true" if plain else ""
        entity = f";EntityPath={hub}" if hub else ""
        access = f"SharedAccessKeyName={KEY_NAME};SharedAccessKey={KEY}"
        return f"Endpoint=sb://{address};{access}{emulator}{entity}"

    def events(self, hub: str) -> list[StoredEvent]:
        """Return a hub's events, partition by partition, each in order; KeyError if there is none."""
        return self._shared.hubs[hub].events()

    def wait_held(self, count: int = 1, timeout_s: float = 5.0) -> bool:
        """Wait until `hold` faults withhold so many answers; False when time ran out first."""
        return self._shared.held.wait(count, timeout_s)

    def release_held(self) -> int:
        """Give the answers that `hold` faults withheld, and return how many there were."""
        return self._on_loop(self._shared.held.release)

    def reset(self) -> None:
        """Forget events, counts and faults. Clients stay connected."""
        self._on_loop(self._shared.reset)

    def drop_connections(self) -> int:
        """Cut every connection, as a network failure would, and return how many there were."""
        return self._on_loop(self._drop_connections)

    def ping(self) -> int:
        """Ping every client that came over WebSockets, and return how many there are."""
        peers = self._shared.connections
        return self._on_loop(
            lambda: sum(each.ping() for each in peers if isinstance(each, WebSocket))
        )

    async def _listen(self) -> asyncio.Server:
        context = None
        if self._tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._tls)
        return await asyncio.get_running_loop().create_server(
            lambda: Entrance(self._shared), ADDRESS, self.port, ssl=context
        )

    async def _stop(self) -> None:
        # What was accepted just now still has to join the server, and cannot once that is closed.
        for listening in self._server.sockets:
            self._loop.remove_reader(listening.fileno())
        for _ in range(3):
            await asyncio.sleep(0)
        self._server.close()
        # One whose handshake is not done is known to the loop alone.
        known: Mapping[int, asyncio.Transport] = getattr(self._loop, "_transports", {})
        # Transports close their sockets in later turns of the loop; over TLS it takes a few, and one that had been
        # accepted may still turn up in them: each is a task of the loop until then.
        for turn in range(1000):
            self._drop_connections()
            for transport in tuple(known.values()):
                transport.abort()
            await asyncio.sleep(0 if turn < 10 else 0.001)
            if turn > 10 and len(asyncio.all_tasks()) == 1:
                break
        self._shared.connections.clear()

    def _drop_connections(self) -> int:
        connections = tuple(self._shared.connections)
        for connection in connections:
            connection.abort()
        return len(connections)

    def _on_loop(self, action: Callable[[], T]) -> T:
        """Call something on the server's thread and wait for it; here, while it does not run."""
        if self._thread is None or not self._thread.is_alive():
            return action()

        async def call() -> T:
            return action()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(_PATIENCE_S)
