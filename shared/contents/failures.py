"""What a failed fetch means for a content, and what many of them mean together."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from shared import policy
from shared.state.ledger import EMPTY, VOID, Line, State

if TYPE_CHECKING:
    from shared.errors import CollectorError
    from shared.state.feed_ledger import FeedLedger
    from shared.state.ledger import Entry

DEFINITE_PATIENCE = timedelta(hours=24)
GONE = ("expired", "not-found")
"""Losses that are the service's word that a content is not there."""
CONFIRMED_EMPTY = "confirmed-empty"
MANY_EMPTY = 3
"""Contents of a run that, where they are half of all, are hardly empty by themselves."""


class Failures:
    """The attempts in vain of a run, as lines of the ledger: which of them count, and when that is known.

    An error itself is not kept: its traceback would keep the body that it is about.

    Args:
        run: the id of the run.

    Attributes:
        fetched: contents that did not fail.
        ids: contents that failed, or were empty.
        confirmed: of those the ones that count as empty, once the run is over.
        witnessed: whether a content that is known to have records still came with them: then the empty ones have none.
        reasons: of failures, counted.
        texts: what the first error of each reason says.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._certain: list[tuple[date, Line]] = []
        self._waiting: list[tuple[date, Line]] = []
        self._empty: list[tuple[date, Line]] = []
        self._again: set[str] = set()
        self._taken: set[tuple[date, str]] = set()
        self._unanswered = 0
        self._closed = False
        self.fetched = 0
        self.ids: set[str] = set()
        self.confirmed = 0
        self.witnessed = False
        self.reasons: Counter[str] = Counter()
        self.texts: dict[str, str] = {}

    @property
    def outage(self) -> bool:
        """Whether so much failed that it is the service's trouble and not the contents': no attempt counts then."""
        total = len(self.ids) + self.fetched
        return total > 1 and self._unanswered * 2 > total

    @property
    def emptied(self) -> bool:
        """Whether so many contents are empty that it is an outage that nobody calls one: no attempt of them counts."""
        count = len(self._empty)
        many = count >= MANY_EMPTY and count * 2 >= len(self.ids) + self.fetched
        return many and not self.witnessed

    @property
    def failed(self) -> int:
        """How many contents have to be asked for again."""
        return len(self.ids) - self.confirmed

    @property
    def problem(self) -> CollectorError | None:
        """Why most contents failed, or many were empty; None where that is not so."""
        if self.emptied:
            total = len(self.ids) + self.fetched
            text = (
                f"{len(self._empty)} of {total} contents came without records, twice each: taken for an outage of the "
                "service, so that none of them counts as empty; later runs ask again"
            )
        elif self.failed > self.fetched:
            reason, count = self.reasons.most_common(1)[0]
            many = "1 content" if self.failed == 1 else f"{self.failed} contents"
            text = f"{many} failed, mostly ({count}): {self.texts[reason]}"
        else:
            return None
        return policy.error("contents-failed", text=text)

    def add(
        self, day: date, line: Line, text: str, *, again: bool = False, certain: bool = False
    ) -> None:
        """Note an attempt in vain, and what its error says.

        Args:
            day: of the content.
            line: of the attempt.
            text: what its error says.
            again: of an empty content, whether it was empty to the run before too.
            certain: whether it is known to be the content's own, whatever becomes of others.
        """
        self.ids.add(line.id)
        self.reasons[line.reason] += 1
        self.texts.setdefault(line.reason, text)
        if line.reason == EMPTY:
            # What it is shows when the run is over.
            self._empty.append((day, line))
            self._again.update([line.id] if again else [])
        elif certain or policy.rule_of(line.reason).one_content:
            self._certain.append((day, line))
        else:
            self._unanswered += 1
            self._waiting.append((day, line))

    def take(self) -> list[tuple[date, Line]]:
        """The attempts to write down, each once: all of them, but in what looks like an outage only what is never one.

        So those of a run that is killed count, and a long outage does not fill the ledger with what is then taken back.
        """
        if self._closed:
            return []
        taken, self._certain = self._certain, []
        if not self.outage:
            self._taken.update((day, line.reason) for day, line in self._waiting)
            taken += self._waiting
            self._waiting = []
        return taken

    def close(self, time: int) -> list[tuple[date, Line]]:
        """The last lines to write down: attempts that count, and where it was an outage that the others do not.

        What is empty again, in a run in which that says something, counts as empty.

        Args:
            time: of those lines.
        """
        lines = self.take()
        if self.outage:
            name, run = f"void:{self._run}", self._run
            lines += [
                (day, Line(id=name, state=VOID, run=run, time=time, reason=reason))
                for day, reason in sorted(self._taken)
            ]
        if not self.emptied:
            lines += [(day, self._confirmed(line)) for day, line in self._empty]
            self.confirmed = len(self._again)
        # What a thread that was left behind brings now is too late to count.
        self._closed = True
        return lines

    def _confirmed(self, line: Line) -> Line:
        if line.id not in self._again:
            return line
        return msgspec.structs.replace(line, state=State.DELIVERED.value, reason=CONFIRMED_EMPTY)


def loss_of(error: CollectorError, entry: Entry, ledger: FeedLedger, now: datetime) -> str:
    """The reason for which a content is given up after this failure, "" while there is hope.

    Args:
        error: of the last fetch.
        entry: what is known of the content.
        ledger: says until when it can be fetched.
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
    if now >= ledger.expires_at(entry) and rule.loss in GONE:
        return "expired"
    # But not for ever: it would be asked for four times a day, and its day would never be settled. No content was seen
    # to live for so long, so whatever is said of it by then, there is nothing left to wait for.
    return "expired" if now >= ledger.hopeless_at(entry) else ""
