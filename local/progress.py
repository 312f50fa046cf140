"""Shows how a run goes while it goes: bars on a terminal, now and then a line elsewhere.

All of it goes to standard error, so that standard output holds the report alone.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

if TYPE_CHECKING:
    from collections.abc import Mapping

LINE_EVERY_S = 5.0
ALL = "all"
_COUNTED = ("delivered", "records", "bytes", "listed")


class Display(ExitStack):
    """Where progress is shown. Adds up what the runs of each feed say: those that ended, and the one under way."""

    def __init__(self, console: Console, feeds: Mapping[str, int | None]) -> None:
        super().__init__()
        self._console = console
        self._feeds = feeds
        self._done: dict[str, Counter[str]] = defaultdict(Counter)
        self._running: dict[str, Counter[str]] = {}
        self._lag: dict[str, int] = {}
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        """Tell what is being done now."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def feed(self, summary: Mapping[str, Any]) -> None:
        """Show a feed's summary, growing or complete."""
        feed = f"{summary['connection']}/{summary['source']}"
        counted = Counter({name: int(summary[name]) for name in _COUNTED})
        self._done[feed] += Counter() if not summary["ended"] else counted
        self._running[feed] = Counter() if summary["ended"] else counted
        self._lag[feed] = int(summary["lag_seconds"])
        self._show(feed)

    def reading(self, done: int, total: int) -> None:
        """Show how far the read-back is."""
        raise NotImplementedError

    def _show(self, feed: str) -> None:
        raise NotImplementedError

    def _of(self, feed: str) -> Counter[str]:
        """What a feed, or ``ALL`` of them, has in all runs so far."""
        feeds = self._running if feed == ALL else (feed,)
        parts = (self._done[each] + self._running.get(each, Counter()) for each in feeds)
        return sum(parts, Counter())

    def _whole(self, feed: str) -> int:
        """What a feed, or ``ALL`` of them, has to deliver as far as that is known."""
        if feed == ALL:
            return sum(self._whole(each) for each in self._feeds)
        known = self._feeds.get(feed)
        return self._of(feed)["listed"] if known is None else known

    def _speed(self) -> str:
        """Events and megabytes a second so far, and the age of the oldest content that is waiting."""
        seconds, total = max(time.monotonic() - self._started, 0.001), self._of(ALL)
        lag = age(max(self._lag.values(), default=0))
        return f"{total['records'] / seconds:,.0f} events/s, {total['bytes'] / seconds / 1e6:.1f} MB/s, lag {lag}"


def make_display(feeds: Mapping[str, int | None], console: Console | None = None) -> Display:
    """Bars where standard error is a terminal, lines where not.

    `feeds` has `<connection>/<source>` of every feed with what it has to deliver; None where nobody knows, and what is
    listed is then the whole.
    """
    console = console or Console(stderr=True)
    return Bars(console, feeds) if console.is_terminal else Lines(console, feeds)


class Lines(Display):
    """A line at every start and end, and every few seconds between."""

    def __init__(self, console: Console, feeds: Mapping[str, int | None]) -> None:
        super().__init__(console, feeds)
        self._last = time.monotonic()

    def reading(self, done: int, total: int) -> None:
        """Print how far the read-back is."""
        self._say_now_and_then(f"  {done:,} of {total:,} events read back")

    def _show(self, feed: str) -> None:
        total = self._of(ALL)
        has = f"{total['delivered']:,} of {self._whole(ALL):,} contents and rows"
        self._say_now_and_then(f"  {has}, {total['records']:,} events, {self._speed()}")

    def _say_now_and_then(self, text: str) -> None:
        now = time.monotonic()
        if now - self._last >= LINE_EVERY_S:
            self._last = now
            self.say(text)


class Bars(Display):
    """A bar for each feed, with what it has and how fast it is."""

    def __init__(self, console: Console, feeds: Mapping[str, int | None]) -> None:
        super().__init__(console, feeds)
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            TextColumn("{task.completed:>6,.0f}/{task.total:,.0f}", justify="right"),
            TextColumn("{task.fields[detail]}", markup=False),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._several = len({feed.partition("/")[0] for feed in feeds}) > 1
        for feed in (*feeds, ALL):
            self._draw(feed, 0, max(1, self._whole(feed)), "")

    def __enter__(self) -> Self:
        self.enter_context(self._progress)
        return self

    def reading(self, done: int, total: int) -> None:
        """Draw the read-back."""
        self._draw("read back", done, total, "events")

    def _show(self, feed: str) -> None:
        has, total = self._of(feed), self._of(ALL)
        detail = f"{has['records']:,} events, {has['bytes'] / 1e6:.1f} MB"
        self._draw(feed, has["delivered"], self._whole(feed), detail)
        self._draw(ALL, total["delivered"], self._whole(ALL), self._speed())

    def _draw(self, feed: str, done: int, total: int, detail: str) -> None:
        if feed not in self._tasks:
            name = feed if self._several else feed.rpartition("/")[2]
            self._tasks[feed] = self._progress.add_task(name, detail="")
        self._progress.update(self._tasks[feed], completed=done, total=total, detail=detail)


def age(seconds: float) -> str:
    """A length of time in the unit that a person would use."""
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
