"""Append blobs, grouped by the time that their lines are about: how the ledger and the digests are stored.

Azure allows 50,000 appends a blob, so a group goes on in a new segment before that. An append is stored as a whole or
not at all; one whose answer was lost may be stored twice, which what is stored here must not mind.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from azure.core import MatchConditions
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)

from shared import policy
from shared.state.failures import Conflict, in_the_way, storage_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azure.storage.blob import BlobClient, ContainerClient

MAX_APPENDS = 40_000

_BLOCKS_USED_UP = "BlockCountExceedsLimit"
_HOUR = "%Y-%m-%dT%H"

K = TypeVar("K", date, datetime)


@dataclass
class Segments:
    """The append blobs of one group: name to committed length in bytes."""

    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Bytes of the whole group."""
        return sum(self.sizes.values())


class AppendStore(Generic[K]):
    """The append blobs of one feed, a group for each time.

    Args:
        container: the state container.
        prefix: of the names; a time and the number of a segment follow.
    """

    suffix = ""
    size = 1
    """Of one line in bytes, where all are equally long."""

    def __init__(self, container: ContainerClient, prefix: str) -> None:
        self._container = container
        self._prefix = prefix
        self._current: dict[K, int] = {}
        self._there: set[str] | None = None
        self._segment = re.compile(rf"[0-9]+{re.escape(self.suffix)}")

    @staticmethod
    def parse(text: str) -> K:
        """The time that a name stands for.

        Raises:
            ValueError: it stands for none.
        """
        raise NotImplementedError

    @staticmethod
    def format(key: K) -> str:
        """A time as it stands in a name."""
        raise NotImplementedError

    def stored(self) -> dict[K, Segments]:
        """Every stored group with the sizes of its segments.

        An account with a hierarchical namespace lists folders among them, which are neither.
        """
        found: dict[K, Segments] = {}
        with storage_errors(f"list {self._prefix}"):
            for blob in self._container.list_blobs(name_starts_with=self._prefix + "/"):
                text, _, segment = blob.name[len(self._prefix) + 1 :].partition("/")
                try:
                    key = self.parse(text)
                except ValueError:
                    continue
                if not self._segment.fullmatch(segment):
                    continue
                found.setdefault(key, Segments()).sizes[segment] = int(blob.size or 0)
        self._there = {self._name(key, each) for key, one in found.items() for each in one.sizes}
        return found

    def read(self, key: K, segment: str, start: int) -> bytes:
        """Read what a segment holds from byte ``start`` on."""
        name = self._name(key, segment)
        with storage_errors(f"read {name}"):
            try:
                return self._container.download_blob(name, offset=start or None).readall()
            except HttpResponseError as error:
                # 416: nothing has come since; 404: somebody cleaned up in between.
                if error.status_code in (404, 416):
                    return b""
                raise

    def append(self, key: K, data: bytes) -> tuple[str, int]:
        """Append one block, in a new segment where the current one is full.

        Returns:
            The segment and the offset at which the block begins.
        """
        for _ in range(1000):
            number = self._current.get(key, 0)
            segment = f"{number:02d}{self.suffix}"
            name = self._name(key, segment)
            blob = self._container.get_blob_client(name)
            try:
                with storage_errors(f"append to {name}"):
                    answer = self._append(blob, data)
            except Conflict as error:
                if error.code != _BLOCKS_USED_UP:
                    # Appends compete with nobody, so what is in their way is not another worker.
                    raise in_the_way(error) from error
                self._current[key] = number + 1
                continue
            if self._there is not None:
                self._there.add(name)
            if int(answer.get("blob_committed_block_count") or 0) >= MAX_APPENDS:
                self._current[key] = number + 1
            return segment, int(answer["blob_append_offset"])
        raise policy.error(
            "ledger-full", at=f"storage: append to {self._prefix}/{self.format(key)}"
        )

    def _append(self, blob: BlobClient, data: bytes) -> dict[str, Any]:
        """Append to a segment, which is made where it is missing; what no listing showed is mostly not there."""
        if self._there is None or blob.blob_name in self._there:
            with contextlib.suppress(ResourceNotFoundError):
                return dict(blob.append_block(data))
        with contextlib.suppress(ResourceExistsError):
            blob.create_append_blob(match_condition=MatchConditions.IfMissing)
        return dict(blob.append_block(data))

    def resume(self, stored: Mapping[K, Segments]) -> None:
        """Learn from a listing which segment of each group is the last."""
        for key, segments in stored.items():
            last = max((int(name.partition(".")[0]) for name in segments.sizes), default=0)
            if segments.sizes.get(f"{last:02d}{self.suffix}", 0) % self.size:
                # Something tore it; what is appended there would be read out of step.
                last += 1
            self._current[key] = max(last, self._current.get(key, 0))

    def delete(self, key: K, segments: Segments) -> None:
        """Remove a whole group."""
        for segment in segments.sizes:
            name = self._name(key, segment)
            with storage_errors(f"delete {name}"), contextlib.suppress(ResourceNotFoundError):
                self._container.delete_blob(name)

    def _name(self, key: K, segment: str) -> str:
        return f"{self._prefix}/{self.format(key)}/{segment}"


class LedgerStore(AppendStore[date]):
    """A feed's ledger: ``ledger/<tenant id>/<source>/<UTC day>/<nn>.jsonl``."""

    suffix = ".jsonl"

    @staticmethod
    def parse(text: str) -> date:
        """The day that a name stands for.

        Raises:
            ValueError: it stands for none.
        """
        return date.fromisoformat(text)

    @staticmethod
    def format(key: date) -> str:
        """A day as it stands in a name."""
        return key.isoformat()


class DigestStore(AppendStore[datetime]):
    """A feed's digests: ``digests/<tenant id>/<source>/<UTC hour>/<nn>.bin``, 17 bytes a line."""

    suffix = ".bin"
    size = 17

    @staticmethod
    def parse(text: str) -> datetime:
        """The hour that a name stands for.

        Raises:
            ValueError: it stands for none.
        """
        return datetime.strptime(text, _HOUR).replace(tzinfo=UTC)

    @staticmethod
    def format(key: datetime) -> str:
        """An hour as it stands in a name."""
        return key.strftime(_HOUR)
