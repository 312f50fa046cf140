"""Bring dead letters back: deliver what they hold, once a newer version or a larger hub can.

A person starts it, after a fix (``python -m local replay``). What is delivered carries the same properties as if a run
had delivered it, event ids included. The ledger says so only after Event Hubs acknowledged all of it, and a dead letter
is removed only after the ledger says so. Killed anywhere it is simply started again: what was acknowledged and not
written down is sent again, what was written down is not. Whatever still cannot be delivered stays as it is, and is
named with the reason. It needs no lease: the ledger is a merge, so a run at the same time costs repeats at worst.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING

from shared.days.counted import facts_of
from shared.errors import CollectorError, Permanent
from shared.records import ErrorBody, Records, read_letters, read_records
from shared.run.context import Feed, Parts, Tuning, days_of
from shared.run.replays import ReplaySummary
from shared.state.append_blobs import LedgerStore
from shared.state.checkpoint import CheckpointStore
from shared.state.dead_letters import ENTRY, RECORD, DeadLetters, Letter, together
from shared.state.feed_ledger import FeedLedger
from shared.state.ledger import Entry, Line, State
from shared.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.contents.content import Content
    from shared.days.days import Days
    from shared.days.states import Rules
    from shared.publish.format import About
    from shared.publish.outbox import Delivery

logger = logging.getLogger("m365.replay")

MAX_LETTERS = 200
NOT_STORED_SO = "is not what was stored, or of a content that nobody knows"
NOT_SPLIT = "still cannot be split"
LEFT_OUT = "is left out by the format, which makes no event of it"
NOT_UNDERSTOOD = "still cannot be understood"
NOT_SETTLED = "waits until the rest of its content is delivered by a run"
LISTED = "is understood: the next run fetches its content, and the next replay removes it"
NOT_DONE = "is not done; start the replay again"


@dataclass(eq=False)
class _Job:
    """What is delivered together: a content's body, or those of its records that were too large.

    Attributes:
        known: what the ledger knew of the content before.
        stays: names of letters that are not delivered with the others, and why.
        damaged: where bytes of the body are that are no record; they have a letter of their own.
        settled: whether all of it that can be delivered was acknowledged.
    """

    content_id: str
    day: date
    letters: list[Letter]
    known: Entry | None
    stays: dict[str, str] = field(default_factory=dict)
    damaged: str = ""
    settled: bool = False

    def names(self, record: bytes) -> list[str]:
        """The letters that hold these bytes."""
        return [each.name for each in self.letters if each.is_of(self.content_id, record)]


def replay_feed(
    feed: Feed,
    parts: Parts,
    tuning: Tuning,
    rules: Rules,
    *,
    looked_at: bool = True,
    read_entry: Callable[[bytes, datetime], Content] | None = None,
    about: About | None = None,
) -> ReplaySummary:
    """Deliver the dead letters of a feed. Never raises for what can go wrong on the way: the summary says it.

    Args:
        feed: whose.
        parts: what a run is made of.
        tuning: what it may use; a replay has no deadline.
        rules: of its days.
        looked_at: whether it is listed by the hour.
        read_entry: understands the bytes of a listing's entry, given the start of its day; None where none is kept.
        about: what every event has in common; what the feed says where None.
    """
    days = days_of(feed, parts.storage, rules, looked_at=looked_at)
    replay = _Replay(feed, parts, tuning, read_entry, about or feed.about(), days)
    summary = replay.summary
    try:
        replay.run()
    except CollectorError as error:
        summary.error = str(error)
    left = summary.letters - summary.delivered - sum(summary.kept.values())
    if left:
        summary.kept[NOT_DONE] = left
    logger.info(
        "replay of %s: %d of %d dead letters delivered (%d records); %s",
        feed.state_key,
        summary.delivered,
        summary.letters,
        summary.records,
        summary.error or summary.kept or "none is left",
    )
    return summary


class _Replay:
    def __init__(
        self,
        feed: Feed,
        parts: Parts,
        tuning: Tuning,
        read_entry: Callable[[bytes, datetime], Content] | None,
        about: About,
        days: Days,
    ) -> None:
        self._feed = feed
        self._about = about
        self._days = days
        self._parts = parts
        self._read_entry = read_entry
        self._tuning = tuning
        self._clock = parts.clock
        self._stop = Stop(float("inf"))
        self._lock = threading.Lock()
        self._jobs: list[_Job] = []
        self._kept: Counter[str] = Counter()
        self._letters = DeadLetters(parts.storage.dead_letters, feed.state_key)
        self._store = LedgerStore(parts.storage.state, f"ledger/{feed.state_key}")
        self._ledger = FeedLedger(
            self._store,
            on_error=self._stop.set,
            flush_every=tuning.flush_every,
        )
        self.summary = ReplaySummary(connection=feed.connection, source=feed.source)

    def run(self) -> None:
        """Send everything, a few letters at a time; then write it down; only then remove anything."""
        # First of all, since state that cannot be read stops a feed.
        checkpoint = CheckpointStore(
            self._parts.storage.state, f"checkpoints/{self._feed.state_key}.json"
        ).load()
        found = self._letters.all()
        self.summary.letters = len(found)
        if not found:
            return
        # Days are read when a letter of theirs is met.
        self._ledger.open({day: each.total for day, each in self._store.stored().items()})
        try:
            for jobs in self._chunks(found):
                self._deliver(jobs)
        finally:
            # Whatever ended it: what was acknowledged is written down, or nothing is removed.
            self._ledger.close(patience=self._tuning.close_seconds)
            self._remove()
            self.summary.kept = dict(self._kept)
        found_days = {day: facts_of(each) for day, each in self._ledger.loaded().items()}
        self._days.load(checkpoint, self._clock.now(), found_days)
        self._days.write(found_days, self._clock.now(), others=False)

    # -- what there is to deliver

    def _chunks(self, letters: list[Letter]) -> Iterator[list[tuple[_Job, Records]]]:
        """Jobs with their records, as many at a time as memory allows."""
        chunk: list[tuple[_Job, Records]] = []
        size = 0
        for group in together(letters):
            if (made := self._job(group)) is None:
                continue
            chunk.append(made)
            size += sum(letter.size for letter in group)
            if size >= self._tuning.bytes_in_flight or len(chunk) >= MAX_LETTERS:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk

    def _job(self, letters: list[Letter]) -> tuple[_Job, Records] | None:
        """What has to be sent for letters of one kind and content; None where they stay."""
        first = letters[0]
        bodies = [self._letters.read(letter) for letter in letters]
        content_id = self._content_id(first, bodies[0])
        if content_id is None or not all(
            letter.is_of(content_id, body) for letter, body in zip(letters, bodies, strict=True)
        ):
            self._keep(letters, NOT_STORED_SO)
            return None
        day, known = self._ledger.find(first.day, content_id) or (first.day, None)
        job = _Job(content_id, day, letters, known)
        if first.kind == ENTRY:
            return self._entry_job(job, bodies[0])
        if first.kind == RECORD:
            if known is None or not _is_out(known):
                # The run that delivers its siblings counts it, and it would be sent twice.
                self._keep(letters, NOT_SETTLED)
                return None
            after = [each.recovered for each in letters]
            records = read_letters(bodies, after) if known.dead else Records.of([])
        elif _is_out(known):
            records = Records.of([])
        else:
            return self._content_job(job, bodies[0])
        return job, records

    def _content_job(self, job: _Job, body: bytes) -> tuple[_Job, Records] | None:
        """A content's whole body; what is damaged of it is a letter of its own from now on."""
        try:
            records = read_records(body)
        except (Permanent, ErrorBody):
            self._keep(job.letters, NOT_SPLIT)
            return None
        damage = records.damage
        if damage is not None and damage.raw:
            self._letters.put(
                RECORD, job.day, damage.raw, content_id=job.content_id, reason=damage.place
            )
            job.damaged = damage.place
        return job, records

    def _entry_job(self, job: _Job, raw: bytes) -> tuple[_Job, Records] | None:
        """A listing entry is delivered once the content that it names is."""
        read, start = self._read_entry, datetime.combine(job.day, time(), UTC)
        content = read(raw, start) if read is not None else None
        if content is None or content.malformed:
            self._keep(job.letters, NOT_UNDERSTOOD)
            return None
        found = self._ledger.find(content.day, content.id, everywhere=not content.dated)
        if found is not None and found[1].state == State.DELIVERED:
            return job, Records.of([])
        if found is None:
            line = Line(
                id=content.id,
                state=State.LISTED.value,
                created=content.created,
                expires=content.expires,
                uri=content.uri,
                run=self.summary.run,
                time=int(self._clock.now().timestamp()),
            )
            self._ledger.write([(content.day, line)])
        self._keep(job.letters, LISTED)
        return None

    def _content_id(self, letter: Letter, data: bytes) -> str | None:
        """The true id of a letter's content: metadata holds printable ASCII alone, and no more than so much of it."""
        if letter.is_of(letter.content_id, data):
            return letter.content_id
        for known in self._ledger.day(letter.day).entries:
            if letter.may_be_of(known) and letter.is_of(known, data):
                return known
        return None

    def _keep(self, letters: list[Letter], reason: str) -> None:
        for letter in letters:
            logger.warning("dead letter %s %s", letter.name, reason)
        self._kept[reason] += len(letters)

    # -- delivering

    def _deliver(self, jobs: list[tuple[_Job, Records]]) -> None:
        """Send, and wait for the acknowledgements."""
        self._jobs.extend(job for job, _ in jobs)
        publisher = self._parts.publisher(self._about, self._tuning, self._settled, self._stop.set)
        try:
            for job, records in jobs:
                about = replace(self._about, content_id=job.content_id)
                parcel = self._parts.format.parcel(records, about)
                if job.letters[0].kind == RECORD and len(parcel) < parcel.count:
                    sent = {name for each in parcel.records for name in job.names(each)}
                    job.stays = {
                        each.name: LEFT_OUT for each in job.letters if each.name not in sent
                    }
                publisher.publish(job, parcel)
        finally:
            # Where nothing is acknowledged any more, the publisher gives up by itself.
            publisher.close(float("inf"))
        if self._stop.error is not None:
            raise self._stop.error

    def _settled(self, delivery: Delivery[_Job]) -> None:
        job, known = delivery.key, delivery.key.known
        if delivery.failed is not None:
            self._stop.set(delivery.failed)
            return
        records, size, dead = delivery.records, delivery.bytes, int(bool(job.damaged))
        claimed = delivery.claim_checks
        with self._lock:
            self.summary.records += records
        # Of two lines that say the same of a content the later one counts, whoever's clock is behind.
        when = max(int(self._clock.now().timestamp()), known.time + 1 if known is not None else 0)
        state = State.DEAD_LETTERED if job.damaged else State.DELIVERED
        if known is not None and _is_out(known):
            # A letter that is gone without having been delivered is still missing, one that stays is not delivered.
            dead = max(known.dead - records, dead)
            size = known.bytes + (size if dead < known.dead else 0)
            records = known.records + known.dead - dead
            claimed += known.claim_checks
            state = State(known.state) if dead else State.DELIVERED
        line = Line(
            id=job.content_id,
            state=state.value,
            run=self.summary.run,
            time=when,
            records=records,
            bytes=size,
            dead=dead,
            claim_checks=claimed,
            reason=job.damaged or (known.reason if known is not None and dead else ""),
        )
        self._ledger.settle(job.day, line)
        job.settled = True

    def _remove(self) -> None:
        for job in self._jobs:
            for letter in job.letters if job.settled else ():
                if letter.name in job.stays:
                    self._keep([letter], job.stays[letter.name])
                    continue
                self._letters.remove(letter)
                self.summary.delivered += 1


def _is_out(known: Entry | None) -> bool:
    """Whether its records are delivered, but for those that were dead-lettered one by one."""
    return known is not None and (known.state == State.DELIVERED or known.dead > 0)
