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
GONE = ("expired", "not-found")
"""Losses that are the service's word that a content is not there."""

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


def loss_of(
    error: CollectorError, entry: Entry, *, expires: datetime, hopeless: datetime, now: datetime
) -> str:
    """The reason for which a content is given up after this failure, "" while there is hope.

    Args:
        error: of the last fetch.
        entry: what is known of the content.
        expires: until when it can be fetched, as far as that is known.
        hopeless: when nothing can be hoped for any more.
        now: the service's time.
    """
    rule = policy.rule_of(error)
    if rule.loss:
        # A definite answer, and still only one answer: it has to stand for a day, however old the content is. Any other
        # answer in between says that it did not.
        since = entry.since(lambda reason: policy.rule_of(reason).loss == rule.loss, now)
        if now - since >= DEFINITE_PATIENCE:
            return rule.loss
    # An expiration is what a listing said once. Past it a content is given up for the service's word that it is gone,
    # and not for a failure: one that goes on answering with failures may be there for weeks.
    if now >= expires and rule.loss in GONE:
        return "expired"
    # But not for ever: it would be asked for four times a day, and its day would never be settled. No content was seen
    # to live for so long, so whatever is said of it by then, there is nothing left to wait for.
    return "expired" if now >= hopeless else ""
