"""Bytes that cannot be delivered, kept with the reason so that a person can look and a replay can bring them back.

A dead letter's name is made of what it holds and whose it is, so writing one twice changes nothing, and a replay knows
both again.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import ContentSettings

from shared import policy
from shared.state.failures import Conflict, code_of, in_the_way, storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from azure.storage.blob import ContainerClient

CONTENT = "content"
RECORD = "record"
ENTRY = "entry"

MAX_METADATA = 1024

_NAME = re.compile(rf"(\d{{4}}-\d\d-\d\d)/([0-9a-f]{{32}})\.({CONTENT}|{RECORD}|{ENTRY})")


@dataclass(frozen=True, kw_only=True)
class Letter:
    """One dead letter as it is stored, apart from its bytes.

    Attributes:
        name: the blob's.
        kind: ``content``, ``record`` or ``entry``.
        day: UTC day of the content's ``contentCreated``.
        size: bytes.
        content_id: the content it belongs to, in the form that metadata can hold.
        digest: of its bytes and the content's true id.
        recovered: whether it is a record that stood after a damage, kept by a version that dead-lettered for size.
    """

    name: str
    kind: str
    day: date
    size: int
    content_id: str
    digest: str
    recovered: bool = False

    def is_of(self, content_id: str, data: bytes) -> bool:
        """Whether it is of this content, and these are the bytes that were stored."""
        return self.digest == _digest(data, content_id)

    def may_be_of(self, content_id: str) -> bool:
        """Whether a content's id has the form that stands in the metadata."""
        return _ascii(content_id).strip() == self.content_id.strip()


class DeadLetters:
    """The dead letters of one feed.

    Args:
        container: the dead letter container.
        prefix: ``<tenant id>/<source>``.
    """

    def __init__(self, container: ContainerClient, prefix: str) -> None:
        self._container = container
        self._prefix = prefix

    def put(
        self,
        kind: str,
        day: date,
        data: bytes,
        *,
        content_id: str,
        reason: str,
    ) -> str:
        """Store bytes.

        Args:
            kind: ``content`` (a whole body), ``record`` (one record), ``entry`` (an entry of a listing).
            day: UTC day of the content's ``contentCreated``.
            data: exactly what came over the wire.
            content_id: the content they belong to.
            reason: why they could not be delivered.

        Returns:
            The blob's name.

        Raises:
            CollectorError: they are not known to be stored.
        """
        digest = _digest(data, content_id)
        name = f"{self._prefix}/{day.isoformat()}/{digest}.{kind}"
        metadata = {
            "content_id": _ascii(content_id),
            "reason": _ascii(reason),
            "kind": kind,
        }
        try:
            with storage_errors(f"write dead letter {name}"):
                self._upload(name, data, metadata)
        except Conflict as error:
            # Nobody competes for a dead letter, so what is in its way is not the same bytes.
            raise in_the_way(error) from error
        return name

    def days_among(self, days: Iterable[date]) -> set[date]:
        """Those of some days of which there are dead letters.

        Raises:
            CollectorError: storage does not answer.
        """
        with storage_errors(f"list {self._prefix}"):
            return {day for day in days if any(self._letters(f"{day.isoformat()}/", page=1))}

    def all(self) -> list[Letter]:
        """Every dead letter of the feed, in the order of their days.

        Raises:
            CollectorError: storage does not answer.
        """
        with storage_errors(f"list {self._prefix}"):
            return list(self._letters())

    def _letters(self, day: str = "", *, page: int | None = None) -> Iterator[Letter]:
        for blob in self._container.list_blobs(
            name_starts_with=f"{self._prefix}/{day}", include=["metadata"], results_per_page=page
        ):
            # An account with a hierarchical namespace lists folders among them.
            if match := _NAME.fullmatch(blob.name[len(self._prefix) + 1 :]):
                day, digest, kind = match.groups()
                metadata = blob.metadata or {}
                yield Letter(
                    name=blob.name,
                    kind=kind,
                    day=date.fromisoformat(day),
                    size=int(blob.size or 0),
                    content_id=metadata.get("content_id", ""),
                    digest=digest,
                    recovered=metadata.get("recovered") == "true",
                )

    def read(self, letter: Letter) -> bytes:
        """The bytes of a dead letter.

        Raises:
            CollectorError: storage does not answer, or it is gone.
        """
        with storage_errors(f"read dead letter {letter.name}"):
            return self._container.download_blob(letter.name).readall()

    def remove(self, letter: Letter) -> None:
        """Remove a dead letter whose bytes were delivered; one that is gone already is a success.

        Raises:
            CollectorError: it is not known to be removed.
        """
        with (
            storage_errors(f"delete dead letter {letter.name}"),
            contextlib.suppress(ResourceNotFoundError),
        ):
            self._container.delete_blob(letter.name)

    def _upload(self, name: str, data: bytes, metadata: dict[str, str]) -> None:
        try:
            self._container.upload_blob(
                name,
                data,
                length=len(data),
                overwrite=False,
                metadata=metadata,
                content_settings=ContentSettings(content_type="application/octet-stream"),
            )
        except ResourceExistsError as error:
            # The SDK calls every HTTP 409 so, that of a container which is being deleted too.
            if policy.rule_of(code_of(error)).action is not policy.Action.CARRY_ON:
                raise


def together(letters: list[Letter]) -> Iterator[list[Letter]]:
    """Letters that are delivered together: the records of one content, anything else alone."""
    records: dict[tuple[date, str], list[Letter]] = {}
    for letter in letters:
        if letter.kind == RECORD:
            records.setdefault((letter.day, letter.content_id), []).append(letter)
        else:
            yield [letter]
    yield from records.values()


def count_letters(container: ContainerClient, prefix: str = "") -> Counter[str]:
    """How many dead letters there are of each feed whose state key begins so.

    Raises:
        CollectorError: storage does not answer.
    """
    found: Counter[str] = Counter()
    with storage_errors(f"list {prefix or 'dead letters'}"):
        for name in container.list_blob_names(name_starts_with=prefix):
            feed, *rest = name.rsplit("/", 2)
            if _NAME.fullmatch("/".join(rest)):
                found[feed] += 1
    return found


def _digest(data: bytes, content_id: str) -> str:
    return hashlib.blake2b(data + content_id.encode(), digest_size=16).hexdigest()


def _ascii(text: str) -> str:
    """Blob metadata travels in HTTP headers, which hold printable ASCII alone."""
    return "".join(
        each if " " <= each <= "~" else each.encode("unicode_escape").decode()
        for each in text[:MAX_METADATA]
    )[:MAX_METADATA]
