"""The lease of a feed: two workers on one feed would do everything twice.

It saves double work; correctness does not rest on it. A worker whose lease was taken away, could not be renewed twice
in a row, or has run out, takes no new work but still writes down what was acknowledged, which the ledger takes from
anybody.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING

from azure.storage.blob import BlobLeaseClient

from shared.errors import CollectorError
from shared.state.failures import Conflict, storage_errors
from shared.threads import start_thread

if TYPE_CHECKING:
    from types import TracebackType

    from azure.storage.blob import ContainerClient

logger = logging.getLogger("m365.lease")

MAX_FAILURES = 2
"""Failed renewals in a row after which the lease counts as lost."""


class Lease:
    """A blob lease that renews itself in its own thread.

    Args:
        container: the state container.
        name: the blob to lease; it must exist.
        seconds: how long a lease lasts without renewal (Azure allows 15 to 60).
        renew_every: seconds between renewals.
    """

    def __init__(
        self,
        container: ContainerClient,
        name: str,
        *,
        seconds: int = 30,
        renew_every: float = 10.0,
    ) -> None:
        self._client = BlobLeaseClient(container.get_blob_client(name))
        self._name = name
        self._seconds = seconds
        self._renew_every = renew_every
        self._ends = float("inf")
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def id(self) -> str:
        """The lease id to send with writes to the blob."""
        return str(self._client.id)

    @property
    def lost(self) -> bool:
        """Whether it was not renewed in time; no new work may be taken."""
        if time.monotonic() >= self._ends:
            self._lost.set()
        return self._lost.is_set()

    def acquire(self) -> bool:
        """Take the lease; False where somebody else holds it."""
        asked = time.monotonic()
        try:
            with storage_errors(f"lease {self._name}"):
                self._client.acquire(lease_duration=self._seconds)
        except Conflict:
            return False
        self._ends = asked + self._seconds
        self._thread = start_thread(self._keep, name="lease")
        return True

    def _keep(self) -> None:
        failures = 0
        while not self._stop.wait(self._renew_every):
            asked = time.monotonic()
            try:
                with storage_errors(f"renew lease of {self._name}"):
                    # The next renewal is the second try; retries inside this one would outlast the lease.
                    self._client.renew(retry_total=0, read_timeout=max(1.0, self._renew_every))
            except Conflict:
                failures = MAX_FAILURES
            except CollectorError:
                failures += 1
            else:
                failures = 0
                self._ends = asked + self._seconds
            if failures >= MAX_FAILURES:
                logger.warning("lease of %s is lost: no new work is taken", self._name)
                self._lost.set()
                return

    def release(self) -> None:
        """Give the lease back, so that the next run need not wait for it to end."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=30)
        with contextlib.suppress(CollectorError), storage_errors(f"release {self._name}"):
            # Once more, since a kept connection may have been closed meanwhile; who is silent keeps the lease.
            self._client.release(retry_total=1)

    def __enter__(self) -> Lease:
        """Enter a block at whose end the lease is given back."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the lease back."""
        self.release()
