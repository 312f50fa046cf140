"""Where the bytes of claim-checked events are kept."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from azure.storage.blob import ContentSettings

from shared.publish.claim_check import ClaimCheck
from shared.state.failures import Conflict, in_the_way, storage_errors

if TYPE_CHECKING:
    from shared.publish.format import About
    from shared.state.account import Storage

logger = logging.getLogger("m365.claims")


def claim_check(about: About, storage: Storage) -> ClaimCheck:
    """What makes pointers for the events of a feed; their bytes go to its container.

    Args:
        about: whose events.
        storage: the state account.
    """

    def keep(name: str, data: bytes) -> str:
        try:
            with storage_errors(f"write claim-checked event {name}"):
                # In place of what is there, though it is the same: a blob's days are counted from its last writing, and
                # they have to outlast the pointer that is sent now.
                blob = storage.claim_checks.upload_blob(
                    name,
                    data,
                    length=len(data),
                    overwrite=True,
                    content_settings=ContentSettings(content_type="application/json"),
                )
        except Conflict as error:
            # Nobody competes for it.
            raise in_the_way(error) from error
        # A connection string may hold a signature, which the SDK puts into addresses.
        address = urlsplit(blob.url)._replace(query="").geturl()
        logger.info("an event of %d bytes is over the hub's limit: %s", len(data), address)
        return address

    return ClaimCheck(about, keep)
