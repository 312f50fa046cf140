"""What a failed fetch means for a content, and what many of them mean together."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Generic, TypeVar

from shared import policy

if TYPE_CHECKING:
    from shared.errors import CollectorError
    from shared.state.ledger import Entry

DEFINITE_PATIENCE = timedelta(hours=24)
EXPIRY_PATIENCE = timedelta(hours=24)

W = TypeVar("W")


@dataclass
class Failures(Generic[W]):
    """What could not be fetched in this run, and why."""

    lines: list[tuple[W, CollectorError]] = field(default_factory=list)
    fetched: int = 0

    @property
    def outage(self) -> bool:
        """Whether so much failed that it is the service's trouble and not the contents': no attempt counts then."""
        unanswered = sum(not policy.rule_of(error).one_content for _, error in self.lines)
        total = len(self.lines) + self.fetched
        return total > 1 and unanswered * 2 > total

    def counting(self) -> list[tuple[W, CollectorError]]:
        """Those that count as attempts: none where the run met an outage, but for what is never one."""
        outage = self.outage
        return [each for each in self.lines if not outage or policy.rule_of(each[1]).one_content]


def loss_of(error: CollectorError, entry: Entry, expires: datetime, now: datetime) -> str:
    """The reason for which a content is given up after this failure, "" while there is hope.

    Args:
        error: of the last fetch.
        entry: what is known of the content.
        expires: until when it can be fetched.
        now: the service's time.
    """
    rule = policy.rule_of(error)
    if rule.loss and entry.first_attempt:
        # A definite answer, and still only one answer: it has to stand for a day, however old the content is.
        stood = now.timestamp() - entry.first_attempt >= DEFINITE_PATIENCE.total_seconds()
        if stood and policy.rule_of(entry.reason).loss == rule.loss:
            return rule.loss
    # Past its expiry a content gets a last try; what says nothing of it is no answer to that, but only for a day.
    if now >= expires and (rule.answers or now >= expires + EXPIRY_PATIENCE):
        return "expired"
    return ""
