"""The sink that the settings name: the one place where a sink is made from settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.publish.event_hubs import EventHubSink

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.core.credentials import TokenCredential

    from shared.config.settings import Settings
    from shared.publish.sink import Sink


def sink_of(
    settings: Settings,
    hub: str,
    *,
    partition_key: str | None,
    identity: Callable[[], TokenCredential],
    send_timeout: float,
) -> Sink:
    """The sink of an event hub as the settings name it: by key where they have one, else by identity.

    Args:
        settings: the configuration.
        hub: the hub's name.
        partition_key: put on every batch; None spreads events over the partitions.
        identity: gives the app's own credential.
        send_timeout: seconds after which the SDK gives a send up and repeats it on a new connection.
    """
    by_key = bool(settings.eventhub_connection_string)
    return EventHubSink(
        hub,
        connection_string=settings.eventhub_connection_string,
        namespace=settings.eventhub_namespace,
        credential=None if by_key else identity(),
        partition_key=partition_key,
        send_timeout=send_timeout,
        options=settings.network.eventhub_options(
            settings.eventhub_host,
            transport=settings.eventhub_transport,
            endpoint=settings.eventhub_endpoint,
        ),
    )
