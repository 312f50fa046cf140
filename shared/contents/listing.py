"""List what is due and write down what is new, before anything of it is fetched.

The watermark moves over a range only when all of it was listed and written down, or waits in the backlog. A range that
left the horizon unlisted becomes a gap record before it is passed over. Where nothing at all can be listed, everything
stays as it is.

Tests: tests/faults/test_listing.py, tests/faults/test_windows.py.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from shared import policy
from shared.contents.backlog import NARROWEST, Backlog, Due, narrowest
from shared.contents.windows import is_believable, plan
from shared.contents.work import SOON
from shared.errors import AuthError, CollectorError, ConfigError, Permanent, Throttled, Transient
from shared.policy import Action, Area
from shared.state.dead_letters import ENTRY, DeadLetters
from shared.state.ledger import Entry, Line, State
from shared.times import Window, iso, overlaps, whole_second

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.contents.content import Content, ContentApi, ContentPolicy
    from shared.days.days import Days
    from shared.days.gaps import Gaps
    from shared.run.context import RunContext
    from shared.state.feed_ledger import FeedLedger

logger = logging.getLogger("m365.listing")

RELISTS = 3
OUTAGE = 3
"""Windows in a row that could not be listed, after which it is the service's trouble and not theirs."""

MALFORMED = "a listing entry without a content id"
EVER = datetime.min.replace(tzinfo=UTC)


class Listing:
    """The listing of one run.

    Args:
        run: the run.
        api: what lists.
        policy: what the source decides of it.
        ledger: what is known.
        gaps: records what was never listed.
        days: told what was looked at.
        on_new: given the contents of a page that are new, once they are written down.
        on_pending: given a content that is listed again and still wanted, and what is known of it.

    Attributes:
        reached_now: whether everything up to now was listed, or waits in the backlog.
        refused: every failure of a window, also of those that could be listed in parts; not where it says something of
            all windows that is true of this one alone.
        dead: entries that were dead-lettered.
    """

    def __init__(
        self,
        run: RunContext,
        *,
        api: ContentApi,
        policy: ContentPolicy,
        ledger: FeedLedger,
        gaps: Gaps,
        days: Days,
        on_new: Callable[[list[Content]], None],
        on_pending: Callable[[Content, Entry], None],
    ) -> None:
        self._run = run.summary.run
        self._checkpoint = run.checkpoint
        self._clock = run.parts.clock
        self._stop = run.stop
        self._api = api
        self._policy = policy
        self._horizon = f"{policy.horizon / timedelta(days=1):g}"
        self._ledger = ledger
        self._gaps = gaps
        self._days = days
        self._dead_letters = DeadLetters(run.parts.storage.dead_letters, run.feed.state_key)
        self._on_new = on_new
        self._on_pending = on_pending
        self._backlog = Backlog(run.checkpoint, policy)
        self._waiting: list[Due] = []
        self._failed: dict[Window, CollectorError] = {}
        self._in_a_row = 0
        self._works = False
        self.refused: list[CollectorError] = []
        self.dead = 0
        self.reached_now = False

    def list_all(self) -> None:
        """List what is due, moving the checkpoint along; the last moves may not be written yet.

        What leaves the horizon soon comes first, then what is new, then what was missed.
        """
        now, known = self._clock.now(), self._checkpoint.value
        if known.watermark is not None and not is_believable(known.watermark, now):
            self._checkpoint.move_soon(watermark=None)
            known = self._checkpoint.value
        todo = plan(
            now,
            policy=self._policy,
            watermark=known.watermark,
            cursor=known.cursor,
            tail=known.tail,
        )
        if todo.gap is not None:
            self._gaps.record(todo.gap, f"not listed for more than {self._horizon} days")
        self._forget()
        if todo.last_call is not None:
            self._try_around(Due(todo.last_call, new=False, moves={"tail": todo.tail}))
        self._work_off(self._policy.oldest(now) + SOON)
        for window in todo.recent:
            due = Due(window, new=True, moves={"watermark": window.end})
            if self._in_a_row >= OUTAGE and window not in todo.recent[-2:]:
                # Enough failed to call it an outage; the newest (the last may be a second wide) are worth a try.
                self._waiting.append(due)
                continue
            self._try_around(due)
        if todo.slice is not None:
            self._try_around(Due(todo.slice, new=False, moves={"cursor": todo.cursor}))
        if self._in_a_row < OUTAGE or self._lists():
            self._put_off()
            self._work_off()
        self.reached_now = not self._waiting

    def _try_around(self, due: Due) -> None:
        """List what is due but for what waits in the backlog, which would only fail again."""
        pieces = self._backlog.around(due)
        for piece in pieces:
            self._try(piece)
        if not pieces and self._waiting:
            self._waiting.append(due)
        elif not pieces:
            self._backlog.move_past(due)

    def _try(self, due: Due) -> None:
        """List what is due and move past it; where it cannot be listed it waits until something else could be."""
        if not self._is_listed(due.window):
            self._waiting.append(due)
            return
        self._put_off()
        self._backlog.move_past(due)
        self._backlog.done(due.window)

    def _put_off(self) -> None:
        """Where the service lists at all, what cannot be listed waits in the backlog and keeps nothing else waiting."""
        if self._works:
            for due in self._waiting:
                self._backlog.put(due)
            self._waiting = []

    def _work_off(self, until: datetime | None = None) -> None:
        """List what waits, or what was created before a time."""
        self._backlog.work_off(
            lambda window: window not in self._failed and self._is_listed(window),
            # Where anything could be listed it is no outage.
            lambda: not self._works and self._in_a_row >= OUTAGE,
            until,
        )

    def _forget(self) -> None:
        """What left the horizon before it could be listed becomes a gap record, and is dropped then."""
        oldest = self._policy.oldest(self._clock.now())
        for each in self._backlog.unlisted:
            if each.start < oldest:
                gone = Window(each.start, min(each.end, oldest))
                self._gaps.record(gone, f"left the {self._horizon}-day horizon unlisted")
        self._backlog.done(Window(EVER, oldest))

    def _is_listed(self, window: Window) -> bool:
        """List a window; False where it could not be.

        Raises:
            CollectorError: what was refused concerns all windows.
        """
        try:
            self._list_window(window)
        except (Transient, Permanent) as error:
            self._in_a_row += 1
            self.refused.append(error)
            self._fails(window, error)
            return False
        except (AuthError, ConfigError, Throttled) as error:
            # Of the token, the permission or the pace; but not where another window is listed.
            if policy.area_of(error.code) is not Area.API or self._stop() or not self._lists():
                raise
            self._fails(window, error)
            return False
        self._in_a_row, self._works = 0, True
        return True

    def _fails(self, window: Window, error: CollectorError) -> None:
        start, end = iso(window.start), iso(window.end)
        self._failed[window] = error.about(f"window {start} to {end}")
        logger.warning("window %s to %s is not listed: %s", start, end, error.log)
        if self._stop():
            raise error

    def _lists(self) -> bool:
        """Whether the newest second is listed: then it is a window that is refused, and not all that is asked."""
        now = whole_second(self._clock.now())
        try:
            self._list_window(Window(now - NARROWEST, now))
        except (Transient, Permanent, AuthError, ConfigError, Throttled):
            return False
        self._in_a_row, self._works = 0, True
        return True

    @property
    def problems(self) -> list[CollectorError]:
        """Why what is left is not listed, of each range the narrowest window that was tried."""
        backlog = self._backlog
        left = [*backlog.unlisted, *backlog.relist, *(due.window for due in self._waiting)]
        failed = [each for each in self._failed if overlaps(left, each.start, each.end)]
        return [self._failed[each] for each in narrowest(failed)]

    @property
    def waits_since(self) -> datetime | None:
        """The oldest instant that was never listed although it could be."""
        return min((each.start for each in self._backlog.unlisted), default=None)

    def _list_window(self, window: Window) -> None:
        """List a window to its end; again from its start where the service lost the thread."""
        for attempt in range(RELISTS):
            began = self._clock.now()
            try:
                if not self._list_pages(window) and self._ledger.knows_any(window):
                    # A service that shows nothing where something was is asked once more.
                    self._list_pages(window)
            except Permanent as error:
                action = policy.rule_of(error).action
                if action is Action.LIST_AGAIN and attempt < RELISTS - 1:
                    logger.info("%s", error.log)
                    continue
                if action is not Action.CLAMP_WINDOW or attempt:
                    raise
                shorter = self._clamp(window)
                if shorter is None:
                    return
                window = shorter
            else:
                self._days.begin(began)
                self._days.look(window, began)
                return

    def _clamp(self, window: Window) -> Window | None:
        """Cut off what left the horizon meanwhile, or lies in the service's future, and record what is lost by it."""
        now = whole_second(self._clock.now())
        oldest = self._policy.oldest(now)
        never_listed = self._checkpoint.value.watermark or window.start
        if window.start < oldest and never_listed < oldest:
            start = max(window.start, never_listed)
            if start < min(oldest, window.end):
                gap = Window(start, min(oldest, window.end))
                self._gaps.record(gap, f"left the {self._horizon}-day horizon unlisted")
        self._forget()
        start, end = max(window.start, oldest), min(window.end, now)
        return Window(start, end) if start < end else None

    def _list_pages(self, window: Window) -> int:
        """List a window; returns how many contents it showed, all of which are written down."""
        found = 0
        for page in self._api.pages(window):
            self._stop.raise_if_set()
            try:
                fresh = self._write_down_new(page)
            except CollectorError as error:
                # Nothing may be fetched without the ledger, so there is no point in listing on.
                self._stop.set(error)
                raise
            self._on_new(fresh)
            found += len(page)
        return found

    def _write_down_new(self, page: list[Content]) -> list[Content]:
        """Write ``listed`` for what the ledger does not know, or knows otherwise; return what is new."""
        known = {content.id: self._known(content) for content in page}
        fresh = [content for content, entry in known.values() if entry is None]
        pending = [
            (content, entry)
            for content, entry in known.values()
            # What is shown again is not gone, whatever was said when it was given up.
            if entry is not None and (not entry.terminal or entry.state == State.LOST)
        ]
        changed = [content for content, entry in pending if self._differs(content, entry)]
        malformed = [content for content in (*fresh, *(c for c, _ in pending)) if content.malformed]
        for content in malformed:
            # Its bytes stand nowhere else, so they are safe before it is known.
            self._dead_letters.put(
                ENTRY, content.day, content.malformed, content_id=content.id, reason=MALFORMED
            )
        self._ledger.write(
            [(c.day, self._listed_line(c)) for c in (*fresh, *changed)]
            + [(c.day, self._dead_line(c)) for c in malformed]
        )
        self.dead += len(malformed)
        for content, entry in pending:
            if not content.malformed:
                self._on_pending(content, entry)
        return fresh

    def _known(self, content: Content) -> tuple[Content, Entry | None]:
        """A content and what is known of it; it stays on the day under which that was written down."""
        found = self._ledger.find(content.day, content.id, everywhere=not content.dated)
        if found is None:
            return content, None
        day, entry = found
        return (content if content.day == day else replace(content, day=day)), entry

    def _differs(self, content: Content, entry: Entry) -> bool:
        """Whether the service now names another place or another end of a content that we still want."""
        uri = entry.uri or self._api.content_uri(entry.id)
        return content.uri != uri or bool(content.expires and content.expires != entry.expires)

    def _dead_line(self, content: Content) -> Line:
        return Line(
            id=content.id,
            state=State.DEAD_LETTERED.value,
            run=self._run,
            time=int(self._clock.now().timestamp()),
            bytes=len(content.malformed),
            reason=MALFORMED,
        )

    def _listed_line(self, content: Content) -> Line:
        return Line(
            id=content.id,
            state=State.LISTED.value,
            created=content.created,
            expires=content.expires,
            uri="" if content.uri == self._api.content_uri(content.id) else content.uri,
            run=self._run,
            time=int(self._clock.now().timestamp()),
        )
