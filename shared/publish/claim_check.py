"""Claim-check: an event that no batch can carry goes to a blob, and a small pointer to it goes to the hub.

The pointer is not made before the blob is stored. Its properties are those of the event, with ``kind`` =
``claim-check`` and where the bytes are; its body says the same as JSON. A blob's name is made of what it holds and
whose it is, so that the same event has the same one however often it is sent.

Tests: tests/faults/test_claim_checks.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from shared.publish.format import Parcel

if TYPE_CHECKING:
    from shared.publish.format import About

CLAIM_CHECK = "claim-check"
"""Kind of a pointer."""

KIND, CLAIMED_KIND = "kind", "claim_kind"
ADDRESS, SIZE, SHA256 = "claim_address", "claim_size", "claim_sha256"

Keep = Callable[[str, bytes], str]
"""Stores bytes under a name, in place of what is there, and returns their address, which holds no secret.

It returns once they are known to be stored, and raises a ``CollectorError`` otherwise.
"""


class ClaimCheck:
    """Makes pointers for the events of one feed.

    Args:
        about: whose events.
        keep: where their bytes go.
    """

    def __init__(self, about: About, keep: Keep) -> None:
        self._prefix = f"{about.tenant_id}/{about.source}"
        self._keep = keep

    def __call__(self, parcel: Parcel, at: int) -> Parcel:
        """Store the body of one event; returns the one that is sent in its place.

        Raises:
            CollectorError: it is not known to be stored.
        """
        event, said = parcel.event(at), parcel.properties(at)
        digest = hashlib.sha256(event.body).hexdigest()
        whose = f"{said.get('content_id', '')}\n{event.id}\n{digest}"
        name = hashlib.blake2b(whose.encode(), digest_size=16).hexdigest()
        address = self._keep(f"{self._prefix}/{name}", event.body)
        if KIND in said:
            said[CLAIMED_KIND] = said[KIND]
        size = len(event.body)
        said |= {KIND: CLAIM_CHECK, ADDRESS: address, SIZE: str(size), SHA256: digest}
        body = msgspec.json.encode({**said, SIZE: size})
        del said["event_id"]
        return Parcel(
            bodies=[body],
            records=[event.body],
            ids=[event.id],
            shared=said,
            columns={},
            first=parcel.first + at,
            count=1,
            last=False,
        )
