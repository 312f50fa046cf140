"""Fetch a content and read its records. What may have been spoilt on its way is asked for again.

Once more at once, and again by the next run. Only what is still the same then, or can hardly be asked for again, is
taken as the content's own: no records at all (``shared.contents.failures`` says when), a damaged one, a body that is
no list of records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared import policy
from shared.errors import Permanent
from shared.policy import Action
from shared.records import BOM, ErrorBody, Records, damaged, read_records
from shared.state.ledger import EMPTY

if TYPE_CHECKING:
    from shared.contents.memory import Reservation
    from shared.contents.work import Fetches, Work
    from shared.state.feed_ledger import FeedLedger
    from shared.times import ServiceClock


class Unreadable(Exception):
    """A content's own bytes are no list of records, and to ask again does not help.

    Attributes:
        body: those bytes.
        reason: what is wrong with them.
    """

    def __init__(self, body: bytes, reason: str) -> None:
        super().__init__(reason)
        self.body = body
        self.reason = reason


class ContentReader:
    """Fetches contents.

    Args:
        api: where.
        ledger: says until when a content can be had.
        clock: of the service.
    """

    def __init__(self, api: Fetches, ledger: FeedLedger, clock: ServiceClock) -> None:
        self._api = api
        self._ledger = ledger
        self._clock = clock

    def records(self, work: Work, held: Reservation) -> Records:
        """The records of a content, one or a damaged one at least.

        No content is listed that has no records, so an empty one is hardly the whole answer.

        Args:
            work: the content.
            held: of the memory; told of each body.

        Raises:
            CollectorError: it has to be asked for again, by another run; code ``EMPTY`` where it was empty twice.
            Unreadable: it need not.
        """
        for _ in range(2):
            records = self._fetch(work, held)
            if records.ids or records.damage:
                return records
        raise policy.error(EMPTY)

    def _fetch(self, work: Work, held: Reservation) -> Records:
        """What a content holds.

        What does not even begin as records is hardly the content's own: a gateway's page, nothing at all. It is asked
        for until the content expires.
        """
        for last in (False, True):
            body = self._api.fetch(work.content, held.announce)
            held.actual(len(body))
            try:
                return self._read(work, body, last=last)
            except ErrorBody as error:
                if last:
                    raise policy.error("error-object") from error
            except Permanent as error:
                if last and self._is_hopeless(work, body):
                    raise Unreadable(body, error.log) from error
                if last:
                    raise
        raise AssertionError("unreachable")

    def _read(self, work: Work, body: bytes, *, last: bool) -> Records:
        records = read_records(body)
        if records.damage is None or (last and self._is_hopeless(work, body)):
            return records
        raise damaged(records.damage)

    def _is_hopeless(self, work: Work, body: bytes) -> bool:
        known = work.known(self._clock.now())
        own = body.removeprefix(BOM).lstrip().startswith(b"[")
        again = policy.rule_of(known.reason).action is Action.DEAD_LETTER
        return (own and again) or self._clock.now() >= self._ledger.expires_at(known)
