"""How long a call to the storage account may take."""

from __future__ import annotations

from typing import Any

from shared.network import Network

SILENCE = 10.0


def transport_options(silence: float = SILENCE, network: Network | None = None) -> dict[str, Any]:
    """Timeouts and retries of every storage client: a call ends within about half a minute, whatever happens.

    Args:
        silence: seconds after which it is asked for again, twice at most: without a byte of an answer, or of an answer
            that comes in drips (``shared.network.timed_http``).
        network: how the account is reached; a lease does not wait longer than ``silence`` whatever it says.
    """
    pause = min(1.0, silence / 4)
    network = network or Network(connect=5.0)
    return {
        **network.azure_options(),
        "connection_timeout": min(network.connect, silence),
        "read_timeout": min(network.read, silence),
        "retry_total": 2,
        # Tables take these,
        "retry_backoff_factor": 0.4,
        "retry_backoff_max": 3,
        # and blobs these: the jitter alone would otherwise be three seconds.
        "initial_backoff": pause,
        "increment_base": 0,
        "random_jitter_range": pause,
    }
