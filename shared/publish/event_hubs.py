"""Event Hubs as a sink, through azure-eventhub."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

from shared import policy
from shared.network import chain, identity_failed, reason_of
from shared.publish.framing import PUBLIC_WAY, add, extend, frame_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.core.credentials import TokenCredential
    from azure.eventhub import EventDataBatch, EventHubProducerClient

    from shared.errors import CollectorError
    from shared.publish.format import Parcel
    from shared.publish.sink import Batch, Sender


class EventHubSink:
    """An event hub, through azure-eventhub.

    Args:
        hub: the hub's name.
        connection_string: by key (emulators, tests), or
        namespace: by identity, with
        credential: a token credential.
        partition_key: put on every batch; None spreads events over the partitions.
        send_timeout: seconds after which the SDK gives a send up.
        options: passed on to ``EventHubProducerClient``.
    """

    def __init__(
        self,
        hub: str,
        *,
        connection_string: str = "",
        namespace: str = "",
        credential: TokenCredential | None = None,
        partition_key: str | None = None,
        send_timeout: float = 30.0,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.name = hub
        self._connection_string = connection_string
        self._namespace = namespace
        self._credential = credential
        self._partition_key = partition_key
        self._send_timeout = send_timeout
        # A send that was abandoned must not begin anew on a connection of its own: the publisher repeats, nobody else.
        self._options = {"retry_total": 0, **(options or {})}
        self._idle = _Idle()
        self.remark = ""

    def borrow(self) -> Sender:
        """An idle sender, or a new one."""
        return self._idle.pop() or EventHubSender(
            self._client(), self.name, self._send_timeout, self._partition_key, self._frame
        )

    def give_back(self, sender: Sender) -> None:
        """Keep a healthy sender: its connection takes about a second to make."""
        self._idle.push(sender)

    def close(self) -> None:
        """Close idle senders."""
        for sender in self._idle.drain():
            sender.close()

    def _frame(self) -> bytes | None:
        found = frame_of(self._partition_key)
        self.remark = PUBLIC_WAY if found is None else ""
        return found

    def _client(self) -> EventHubProducerClient:
        from azure.eventhub import EventHubProducerClient

        if self._connection_string:
            return EventHubProducerClient.from_connection_string(
                self._connection_string, eventhub_name=self.name, **self._options
            )
        if self._credential is None:
            raise policy.error(
                "internal",
                area=policy.Area.HUB,
                detail="an Event Hubs namespace needs a credential",
            )
        return EventHubProducerClient(
            fully_qualified_namespace=self._namespace,
            eventhub_name=self.name,
            credential=self._credential,
            **self._options,
        )


class EventHubBatch:
    """A batch of the SDK.

    Args:
        batch: an empty one.
        frame: how its events begin; None where they are added by its public way.
    """

    def __init__(self, batch: EventDataBatch, frame: bytes | None) -> None:
        self.sdk = batch
        self._frame = frame

    def take(self, parcel: Parcel, start: int, stop: int) -> int:
        """Add events of a parcel; returns how many fit."""
        if self._frame is not None:
            return extend(self.sdk, self._frame, parcel, start, stop)
        for at in range(start, stop):
            if not add(self.sdk, parcel, at):
                return at - start
        return stop - start


class EventHubSender:
    """One producer client."""

    def __init__(
        self,
        client: EventHubProducerClient,
        hub: str,
        timeout: float,
        partition_key: str | None,
        frame: Callable[[], bytes | None],
    ) -> None:
        self._client = client
        self._hub = hub
        self._timeout = timeout
        self._key = partition_key
        self._frame = frame

    def new_batch(self) -> Batch:
        """An empty batch, as large as the link allows."""
        try:
            batch = self._client.create_batch(partition_key=self._key)
        except Exception as error:
            # The SDK lets plain exceptions of its transport through.
            raise sink_error(error, self._hub) from error
        return EventHubBatch(batch, self._frame())

    def send(self, batch: Batch) -> None:
        """Send a batch and wait for its acknowledgement."""
        assert isinstance(batch, EventHubBatch)  # noqa: S101 - this sender made it
        try:
            # Without the timeout a lost acknowledgement would hang the call for good.
            self._client.send_batch(batch.sdk, timeout=self._timeout)
        except Exception as error:
            # The SDK lets plain exceptions of its transport through.
            raise sink_error(error, self._hub) from error

    def cut(self) -> None:
        """Shut the socket down; a call that hangs holds the lock which closing the client would wait for.

        Nor may that call begin anew on another connection, as the SDK does after most errors: its events are repeated
        by others. The SDK offers no public way to either. Where a release moves them, the call hangs on and is counted.
        """
        with contextlib.suppress(Exception):
            self._client._start_producer = _refuse  # type: ignore[method-assign]
            for producer in filter(None, list(self._client._producers.values())):
                handler: Any = producer._handler
                producer._open = handler.open = _refuse  # type: ignore[method-assign]
                handler._connection._transport.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the client."""
        with contextlib.suppress(Exception):
            self._client.close()


def sink_error(error: Exception, hub: str) -> CollectorError:
    """Name what an error of azure-eventhub means; its text may hold addresses, so only its condition is kept."""
    from azure.core.exceptions import ClientAuthenticationError

    what = f"Event Hubs, hub '{hub}'"
    condition = _condition(error)
    if condition not in VAGUE and policy.is_known(condition):
        return policy.error(condition, at=what, detail=condition)
    if any(isinstance(each, ClientAuthenticationError) for each in chain(error)):
        # It is the credential that failed, before anything of the hub was asked.
        if failed := identity_failed(error):
            return policy.error("hub-identity-failed", at=what, detail=failed)
        why = reason_of(error)
        return policy.error("hub-no-token" if why else "hub-no-identity", at=what, detail=why)
    # Before what the SDK calls it: over WebSockets a host that does not resolve is an authentication error to it.
    if why := reason_of(error):
        return policy.error("unreachable", at=what, detail=why)
    name = type(error).__name__
    return policy.error(_code(error, condition), at=what, detail=condition or name)


VAGUE = frozenset({"", "unknown-error", "socket-error", "client-error"})
"""Conditions that azure-eventhub makes up itself, for whatever went wrong on the way."""


def _code(error: Exception, condition: str) -> str:
    """The code of a failure that no condition of the service names."""
    from azure.eventhub.exceptions import (
        AuthenticationError,
        ConnectError,
        ConnectionLostError,
        OperationTimeoutError,
    )

    if isinstance(error, AuthenticationError):
        return condition if policy.is_known(condition) else "unauthorized"
    if policy.is_known(condition):
        return condition
    unreachable = (ConnectError, ConnectionLostError, OperationTimeoutError)
    return "unreachable" if isinstance(error, unreachable) else "not-acknowledged"


def _condition(error: BaseException | None) -> str:
    """The AMQP condition of an SDK error: it stands in different places of its different exceptions."""
    seen = 0
    while error is not None and seen < 4:
        for holder in (error, getattr(error, "details", None)):
            for name in ("condition", "error"):
                value = getattr(holder, name, None)
                text = value.decode() if isinstance(value, bytes) else str(value or "")
                if text and len(text) < 100 and " " not in text:
                    # "amqp:link:message-size-exceeded": who says it stands before what.
                    return text.lower().rpartition(":")[2]
        error, seen = error.__cause__ or error.__context__, seen + 1
    return ""


def _refuse(*_: object, **__: object) -> Any:
    """What a sender that was cut does in place of connecting."""
    from azure.eventhub.exceptions import ConnectError

    raise ConnectError("this sender was given up")


class _Idle:
    """The senders that nobody uses just now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._senders: list[Sender] = []

    def pop(self) -> Sender | None:
        with self._lock:
            return self._senders.pop() if self._senders else None

    def push(self, sender: Sender) -> None:
        with self._lock:
            self._senders.append(sender)

    def drain(self) -> list[Sender]:
        with self._lock:
            senders, self._senders = self._senders, []
            return senders
