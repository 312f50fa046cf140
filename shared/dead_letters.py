"""Bytes that cannot be delivered, kept with the reason so that a person can look and a replay can bring them back.

A dead letter's name is made of what it holds, so writing one twice changes nothing.
"""

from __future__ import annotations

import hashlib
from datetime import date
from typing import TYPE_CHECKING

from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import ContentSettings

from shared import policy
from shared.storage import Conflict, code_of, in_the_way, storage_errors

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

CONTENT = "content"
RECORD = "record"
ENTRY = "entry"

MAX_METADATA = 1024


class DeadLetters:
    """The dead letters of one feed.

    Args:
        container: the dead letter container.
        prefix: ``<tenant id>/<source>``.
    """

    def __init__(self, container: ContainerClient, prefix: str) -> None:
        self._container = container
        self._prefix = prefix

    def put(self, kind: str, day: date, data: bytes, *, content_id: str, reason: str) -> str:
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
        digest = hashlib.blake2b(data + content_id.encode(), digest_size=16).hexdigest()
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


def _ascii(text: str) -> str:
    """Blob metadata travels in HTTP headers, which hold printable ASCII alone."""
    return "".join(
        each if " " <= each <= "~" else each.encode("unicode_escape").decode()
        for each in text[:MAX_METADATA]
    )[:MAX_METADATA]
