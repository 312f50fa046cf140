"""What a run did: the fields of its row and of its log line."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import msgspec


@dataclass(kw_only=True)
class RunSummary:
    """What one feed's run did; its field names are a contract with queries and alerts.

    Attributes:
        status: ``running``, ``succeeded``, ``incomplete`` (ended in an orderly way with work left), ``skipped``
            (another worker has the feed), or ``failed``.
        listed: contents that were new in this run.
        delivered: contents of which every event was acknowledged in this run.
        failed: contents that could not be fetched and stay pending.
        pending: contents of the feed that are neither delivered nor lost when the run ends.
        lost: contents given up in this run.
        claim_checks: of the records those that went out as pointers to their bytes, being over the hub's limit.
        gap_seconds: length of the ranges that this run was the first to record as never listed.
        lag_seconds: age of the oldest pending content, or of the watermark where the run did not list up to now,
            whichever is more; 0 where the feed is caught up.
        caught_up: whether the run listed up to now and left nothing pending.
        remark: what made it unusually slow, "" mostly.
        credential_expires: when the connection's secret or certificate ends, "" where that is not known.
    """

    connection: str
    tenant_id: str
    source: str
    run: str
    started: str
    ended: str = ""
    status: str = "running"
    listed: int = 0
    delivered: int = 0
    failed: int = 0
    pending: int = 0
    lost: int = 0
    dead_letters: int = 0
    claim_checks: int = 0
    records: int = 0
    bytes: int = 0
    requests: int = 0
    throttled: int = 0
    batches: int = 0
    sink_busy: int = 0
    gap_seconds: int = 0
    lag_seconds: int = 0
    watermark: str = ""
    caught_up: bool = False
    seconds: float = 0.0
    error: str = ""
    error_code: str = ""
    hub: str = ""
    remark: str = ""
    credential_expires: str = ""
    version: str = ""

    @property
    def quiet(self) -> bool:
        """Whether it found nothing, left nothing, and met nothing worth a word."""
        found = (self.listed, self.delivered, self.lost, self.dead_letters, self.gap_seconds)
        return self.caught_up and not any((*found, self.throttled, self.sink_busy, self.error))

    def fields(self) -> dict[str, str | int | float | bool]:
        """The flat fields, as logged and as written to the table."""
        return asdict(self)

    def log_line(self) -> str:
        """One line of JSON for the log."""
        return msgspec.json.encode(self.fields()).decode()
