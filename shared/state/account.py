"""The customer's storage account: how a feed's state is read and written.

One place for every storage call, so that each has a timeout, bounded retries and one way to fail: ``Transient``
(unreachable, busy), ``ConfigError`` (refused, missing account) or a plain answer. Layout, per tenant id and source:

    state container         checkpoints/<tenant id>/<source>.json                      block blob, carries the lease
                            ledger/<tenant id>/<source>/<UTC day>/<nn>.jsonl           append blobs
                            digests/<tenant id>/<source>/<UTC hour>/<nn>.bin           append blobs
                            budgets/<tenant id>/<api>.json                             request budget
                            waiting/<tenant id>/<source>.json                          what waits in the ledger
                            turns/<source>.json                                        last turn of each feed

    dead letter container   <tenant id>/<source>/<UTC day>/<digest>.<kind>             block blobs
    claim check container   <tenant id>/<source>/<digest>                              block blobs
    tables                  runs, days
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from azure.core import MatchConditions
from azure.core.exceptions import (
    ResourceExistsError,
    ResourceNotFoundError,
    ServiceRequestError,
)
from azure.data.tables import TableServiceClient
from azure.storage.blob import BlobServiceClient, ContainerClient

from shared import policy
from shared.network import azure_transport
from shared.policy import Action
from shared.state.failures import code_of, storage_errors
from shared.state.tables import Table
from shared.state.transport import transport_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.core.credentials import TokenCredential
    from azure.core.pipeline import PipelineResponse

STATE_CONTAINER = "m365-state"
DEAD_LETTER_CONTAINER = "m365-dead-letters"
CLAIM_CHECK_CONTAINER = "m365-claim-checks"

_CONTAINER_MISSING = "ContainerNotFound"


@dataclass(frozen=True, kw_only=True)
class Versioned:
    """A blob's content with the ETag to replace it by."""

    data: bytes
    etag: str


class Storage:
    """Clients of one storage account; containers and tables are made when they are missing.

    Args:
        blobs: makes a client of the account's blob service, given more options.
        tables: the account's table service.
    """

    def __init__(self, blobs: Callable[..., BlobServiceClient], tables: TableServiceClient) -> None:
        self._blobs = blobs(raw_response_hook=self._make_missing)
        self._tables = tables
        self._containers = {
            name: self._blobs.get_container_client(name)
            for name in (STATE_CONTAINER, DEAD_LETTER_CONTAINER, CLAIM_CHECK_CONTAINER)
        }

    @classmethod
    def from_connection_string(cls, text: str, **options: Any) -> Storage:
        """Connect by a connection string (Azurite, or an account whose shared keys are on)."""
        options = {**transport_options(), **options}
        return cls(
            functools.partial(
                BlobServiceClient.from_connection_string,
                text,
                transport=azure_transport(options),
                **options,
            ),
            TableServiceClient.from_connection_string(
                text, transport=azure_transport(options), **options
            ),
        )

    @classmethod
    def from_identity(
        cls, blob_endpoint: str, table_endpoint: str, credential: TokenCredential, **options: Any
    ) -> Storage:
        """Connect by the function app's identity."""
        options = {**transport_options(), **options}
        return cls(
            functools.partial(
                BlobServiceClient,
                blob_endpoint,
                credential=credential,
                transport=azure_transport(options),
                **options,
            ),
            TableServiceClient(
                table_endpoint,
                credential=credential,
                transport=azure_transport(options),
                **options,
            ),
        )

    @property
    def state(self) -> ContainerClient:
        """The container of checkpoints, ledger and budgets; made when it is missing."""
        return self._containers[STATE_CONTAINER]

    @property
    def dead_letters(self) -> ContainerClient:
        """The container of dead letters; made when it is missing."""
        return self._containers[DEAD_LETTER_CONTAINER]

    @property
    def claim_checks(self) -> ContainerClient:
        """The container of events that no batch can carry; made when it is missing."""
        return self._containers[CLAIM_CHECK_CONTAINER]

    def table(self, name: str) -> Table:
        """One table; it is made with its first row."""
        return Table(self._tables, name)

    def _make(self, name: str) -> None:
        with storage_errors(f"make container {name}"):
            try:
                # Without the hook, which would call this again.
                self._blobs.create_container(name, raw_response_hook=lambda _: None)
            except ResourceExistsError as error:
                # The SDK calls every HTTP 409 so, that of a container which is being deleted too.
                if policy.rule_of(code_of(error)).action is not Action.CARRY_ON:
                    raise

    def _make_missing(self, response: PipelineResponse[Any, Any]) -> None:
        """Make a container that is not there, whenever that is noticed, and have the SDK ask once more.

        The SDK shows every answer of the blob service to this hook, inside its own retries, so no call needs to know.
        """
        answer = response.http_response
        if answer.headers.get("x-ms-error-code") != _CONTAINER_MISSING:
            return
        asked = urlsplit(response.http_request.url).path + "/"
        for name, container in self._containers.items():
            if asked.startswith(urlsplit(container.url).path + "/"):
                self._make(name)
                raise ServiceRequestError(f"container {name} was missing; it is made now")

    def close(self) -> None:
        """Close the connections."""
        self._blobs.close()
        self._tables.close()


def read_blob(container: ContainerClient, name: str) -> Versioned | None:
    """Read a whole small blob with its ETag; None where there is none."""
    with storage_errors(f"read {name}"):
        try:
            stream = container.download_blob(name)
        except ResourceNotFoundError:
            return None
        return Versioned(data=stream.readall(), etag=str(stream.properties.etag))


def write_blob(
    container: ContainerClient,
    name: str,
    data: bytes,
    *,
    etag: str | None,
    lease: str | None = None,
) -> str:
    """Write a whole small blob if it still is what was read; ``etag=None`` means it must not exist yet.

    Returns:
        The new ETag.

    Raises:
        Conflict: it changed, it exists already, or somebody else holds its lease.
    """
    condition: dict[str, Any] = {}
    if etag is not None:
        condition = {"match_condition": MatchConditions.IfNotModified, "etag": etag}
    if lease is not None:
        condition["lease"] = lease
    with storage_errors(f"write {name}"):
        answer = container.get_blob_client(name).upload_blob(
            data, overwrite=etag is not None, length=len(data), **condition
        )
        return str(answer["etag"])
