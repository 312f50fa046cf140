"""A stand-in and a connected producer, shared by the tests of this folder and reset after each."""

from __future__ import annotations

import gc
import threading
import warnings
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pytest
from azure.eventhub import EventHubProducerClient

from local.eventhubs import EventHubs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

PATIENCE_S = 60.0
"""How long a test waits for what has to come: far longer than it takes, for machines are busy."""


class Bounded(Protocol):
    """Runs a call that may hang for good."""

    def __call__(self, call: Callable[..., T], *args: Any, timeout_s: float = PATIENCE_S) -> T:
        """Return the call's result, or raise TimeoutError."""


# The SDK does not close the socket of a connection that broke. Where connections are broken on
# purpose, that must neither fail the test nor, collected late, somebody else's.
BREAKS_CONNECTIONS = pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning")


@pytest.fixture(scope="module", autouse=True)
def _collect_what_the_sdk_left_open() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(scope="session")
def bounded() -> Bounded:
    def run(call: Callable[..., T], *args: Any, timeout_s: float = PATIENCE_S) -> T:
        return in_background(call, *args).result(timeout_s)

    return run


def in_background(call: Callable[..., T], *args: Any) -> Future[T]:
    """Start a call on a daemon thread, so that one that hangs cannot keep the tests from ending."""
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(call(*args))
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


@pytest.fixture(scope="package")
def shared_server() -> Iterator[EventHubs]:
    with EventHubs({"audit": 4, "other": 1}) as server:
        yield server
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()


@pytest.fixture
def server(shared_server: EventHubs) -> Iterator[EventHubs]:
    shared_server.reset()
    yield shared_server
    shared_server.reset()


@pytest.fixture(scope="package")
def shared_producer(shared_server: EventHubs) -> Iterator[EventHubProducerClient]:
    client = producer_of(shared_server)
    yield client
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        client.close()


@pytest.fixture
def producer(server: EventHubs, shared_producer: EventHubProducerClient) -> EventHubProducerClient:
    """A producer that is most likely connected, to a server that has just been reset."""
    return shared_producer


def producer_of(server: EventHubs, hub: str = "audit", **options: Any) -> EventHubProducerClient:
    """Make a producer that retries at once."""
    return EventHubProducerClient.from_connection_string(
        server.connection_string(hub), **{"retry_backoff_factor": 0.02, **options}
    )
