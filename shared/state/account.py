"""The customer's storage account: how a feed's state is read and written.

One place for every storage call, so that each has a timeout, bounded retries and one way to fail: ``Transient``
(unreachable, busy), ``ConfigError`` (refused, missing account) or a plain answer. Layout, per tenant id and source:

    state container         checkpoints/<tenant id>/<source>.json                      block blob, carries the lease
                            ledger/<tenant id>/<source>/<UTC day>/<nn>.jsonl           append blobs
                            digests/<tenant id>/<source>/<UTC hour>/<nn>.bin           append blobs
                            budgets/<tenant id>/<api>.json                             request budget
                            turns/<source>.json                                        last turn of each feed
    dead letter container   <tenant id>/<source>/<UTC day>/<digest>.<kind>             block blobs
    tables                  runs, days
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
    ServiceRequestError,
)
from azure.data.tables import TableServiceClient, UpdateMode
from azure.storage.blob import BlobServiceClient, ContainerClient

from shared import policy
from shared.errors import CollectorError
from shared.network import azure_transport, chain, identity_failed, reason_of
from shared.policy import Action
from shared.state import tables
from shared.state.transport import transport_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from azure.core.credentials import TokenCredential
    from azure.core.pipeline import PipelineResponse

STATE_CONTAINER = "m365-state"
DEAD_LETTER_CONTAINER = "m365-dead-letters"
RUNS_TABLE = "m365runs"
DAYS_TABLE = "m365days"

_CONTAINER_MISSING = "ContainerNotFound"


class Conflict(CollectorError):
    """Somebody else changed the blob, or holds its lease; expected, and always handled by the caller."""


@dataclass(frozen=True, kw_only=True)
class Versioned:
    """A blob's content with the ETag to replace it by."""

    data: bytes
    etag: str


@contextlib.contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Translate the SDK's errors into ours, naming what was being done."""
    try:
        yield
    except HttpResponseError as error:
        raise _answered(f"storage: {what}", error) from error
    except AzureError as error:
        why = reason_of(error) or type(error).__name__
        raise policy.error("storage-unreachable", at=f"storage: {what}", detail=why) from error
    except TypeError as error:
        # Of an answer without a message the blob SDK stumbles over the words that it wants to make of it.
        answer = next((each for each in chain(error) if isinstance(each, HttpResponseError)), None)
        if answer is None:
            raise
        raise _answered(f"storage: {what}", answer) from error


def _answered(at: str, error: HttpResponseError) -> CollectorError:
    """What an answer of the account means, or a credential's failure, which the SDK takes for one."""
    code, status = code_of(error), error.status_code or 0
    if error.response is None and isinstance(error, ClientAuthenticationError):
        # A credential that cannot reach Entra raises the same as one that nobody answers or whose endpoint fails.
        if failed := identity_failed(error):
            return policy.error("storage-identity-failed", at=at, detail=failed)
        why = reason_of(error)
        return policy.error("storage-no-token" if why else "storage-no-identity", at=at, detail=why)
    action = policy.rule_of(code, policy.Area.STORAGE).action
    detail = ", ".join(word for word in (code, f"HTTP {status}") if word)
    if status in (401, 403) and action is not Action.STOP_FEED:
        return policy.error("storage-refused", at=at, detail=detail, status=status)
    if status in (409, 412) and not (policy.is_known(code) and action is Action.RETRY):
        return Conflict(f"{at}: {code}", code=code, status=status)
    return policy.error(
        code or "storage-failed", area=policy.Area.STORAGE, at=at, detail=detail, status=status
    )


def in_the_way(conflict: Conflict) -> CollectorError:
    """What a conflict is where nobody competes: a failure as any other."""
    return policy.error(
        conflict.code or "storage-failed",
        area=policy.Area.STORAGE,
        at="storage",
        detail=str(conflict),
        status=conflict.status,
    )


def code_of(error: Exception) -> str:
    """The service's word for an error, "" where it said none."""
    code = getattr(error, "error_code", None) or ""
    # The SDKs give an enumeration for the codes that they know, and a text for others.
    return str(getattr(code, "value", code))


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
            for name in (STATE_CONTAINER, DEAD_LETTER_CONTAINER)
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

    def upsert(self, table: str, entity: dict[str, Any]) -> None:
        """Insert or replace one table row."""
        row = {name: tables.typed(value) for name, value in entity.items()}
        with storage_errors(f"write table {table}"):
            client = self._tables.get_table_client(table)
            try:
                client.upsert_entity(row, mode=UpdateMode.REPLACE)
            except ResourceNotFoundError:
                self._tables.create_table_if_not_exists(table)
                client.upsert_entity(row, mode=UpdateMode.REPLACE)

    def replace(self, table: str, entity: dict[str, Any], etag: str | None) -> str:
        """Write one table row if it still is what was read; ``etag=None`` means it must not exist yet.

        Returns:
            The new ETag.

        Raises:
            Conflict: somebody else wrote it.
        """
        row = {name: tables.typed(value) for name, value in entity.items()}
        with storage_errors(f"write table {table}"):
            client = self._tables.get_table_client(table)
            if etag is not None:
                unchanged = MatchConditions.IfNotModified
                answer = client.update_entity(
                    row, mode=UpdateMode.REPLACE, etag=etag, match_condition=unchanged
                )
            else:
                try:
                    answer = client.create_entity(row)
                except ResourceNotFoundError:
                    self._tables.create_table_if_not_exists(table)
                    answer = client.create_entity(row)
            return str(answer["etag"])

    def rows(
        self, table: str, partition: str, *, first: str = "", last: str = ""
    ) -> list[dict[str, Any]]:
        """The rows of one partition, in row key order: all, or those from one row key to another, both included.

        Each has its ETag as ``tables.ETAG``.
        """
        query = "PartitionKey eq @partition" + (
            " and RowKey ge @first and RowKey le @last" if last else ""
        )
        with storage_errors(f"read table {table}"):
            client = self._tables.get_table_client(table)
            try:
                return [
                    tables.plain(row)
                    for row in client.query_entities(
                        query, parameters={"partition": partition, "first": first, "last": last}
                    )
                ]
            except ResourceNotFoundError:
                return []

    def delete_rows(
        self, table: str, partition: str, *, after: str = "", before: str = "", more: str = ""
    ) -> None:
        """Delete the rows of a partition between two row keys, some thousands at most; ``more`` is a filter's rest."""
        bounds = ("RowKey gt @after" * bool(after), "RowKey lt @before" * bool(before), more)
        query = " and ".join(filter(None, ("PartitionKey eq @partition", *bounds)))
        # A table is made by its first row, so it may not be there yet.
        with (
            storage_errors(f"clean table {table}"),
            contextlib.suppress(ResourceNotFoundError),
        ):
            client = self._tables.get_table_client(table)
            found = client.query_entities(
                query,
                parameters={"partition": partition, "after": after, "before": before},
                select=["PartitionKey", "RowKey"],
                results_per_page=tables.MAX_TOGETHER,
            )
            tables.delete(client, found)

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
