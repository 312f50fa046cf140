"""When auditing was switched off in a tenant, by the records of the switch itself.

While it is off nothing is recorded, and an attacker's first move is to switch it off. The cmdlet that does it,
``Set-AdminAuditLogConfig -UnifiedAuditLogIngestionEnabled $false``, is recorded as every other one of Exchange's
administrators (Office 365 Management Activity API schema, "Exchange Admin schema": ``Operation``, ``Parameters``). So
whatever feed sees such a record writes it down for all feeds of the tenant, before the content is published.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from shared.errors import CollectorError
from shared.records import ErrorBody, fields, read_records
from shared.state.account import read_blob, write_blob
from shared.state.failures import Conflict
from shared.times import parse_wire, utc

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

logger = logging.getLogger("m365.auditing")

SWITCH = "UnifiedAuditLogIngestionEnabled"
KEEP = timedelta(days=30)
TRIES = 5

MENTION = SWITCH.encode()
"""What a body holds that may say that it was switched."""

_READ = ("Operation", "CreationTime", "Parameters", "ResultStatus")
# Its decoder is made by the thread that imports this.
fields(b"{}", _READ)

Off = tuple[datetime, datetime | None]
"""From when to when it was off; None where nobody switched it on again."""


class _Stored(msgspec.Struct):
    """The blob: when it was switched, and whether on."""

    switches: dict[datetime, bool]


_decoder = msgspec.json.Decoder(_Stored)


class Switches:
    """The switches of one tenant, shared by its feeds.

    Args:
        container: the state container.
        tenant_id: of the tenant.
    """

    def __init__(self, container: ContainerClient, tenant_id: str) -> None:
        self._container = container
        self._name = f"auditing/{tenant_id}.json"

    def watch(self, body: bytes) -> None:
        """Write down the switches in a content's body.

        Raises:
            CollectorError: they are not known to be stored; the content has to be fetched again.
        """
        found = dict(filter(None, map(_switch, _records(body))))
        if found:
            self._add(found)

    def off(self) -> list[Off]:
        """The ranges in which it was off, oldest first."""
        ranges: list[Off] = []
        since: datetime | None = None
        for at, on in sorted(self._load()[0].items()):
            if on and since is not None:
                ranges.append((since, at))
            since = None if on else since or at
        return ranges if since is None else [*ranges, (since, None)]

    def _load(self) -> tuple[dict[datetime, bool], str | None]:
        stored = read_blob(self._container, self._name)
        if stored is None:
            return {}, None
        try:
            known = _decoder.decode(stored.data).switches
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            logger.warning("%s cannot be read and is made anew: %s", self._name, error)
            known = {}
        return {utc(at): on for at, on in known.items()}, stored.etag

    def _add(self, found: dict[datetime, bool]) -> None:
        for at, on in sorted(found.items()):
            logger.warning(
                "auditing was switched %s in the tenant at %s", "on" if on else "off", at
            )
        for attempt in range(TRIES):
            known, etag = self._load()
            if found.items() <= known.items():
                return
            newest = max(found | known)
            kept = {at: on for at, on in (known | found).items() if at > newest - KEEP}
            try:
                write_blob(
                    self._container, self._name, msgspec.json.encode(_Stored(kept)), etag=etag
                )
            except Conflict:
                if attempt == TRIES - 1:
                    raise
            else:
                return


def _records(body: bytes) -> list[bytes]:
    try:
        return list(read_records(body).bodies)
    except (CollectorError, ErrorBody):
        # Whoever fetched it finds out.
        return []


def _switch(raw: bytes) -> tuple[datetime, bool] | None:
    """When a record says that it was switched, and whether on."""
    operation, created, parameters, status = fields(raw, _READ)
    if str(operation).lower() != "set-adminauditlogconfig" or not isinstance(parameters, list):
        return None
    if str(status).lower() in ("false", "failed"):
        return None
    for each in parameters:
        if isinstance(each, dict) and str(each.get("Name")).lower() == SWITCH.lower():
            try:
                at = parse_wire(str(created))
            except ValueError:
                return None
            return at.replace(microsecond=0), str(each.get("Value")).lstrip("$").lower() == "true"
    return None
