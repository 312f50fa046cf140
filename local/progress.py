"""Shows how a run goes while it goes: bars on a terminal, now and then a line elsewhere.

All of it goes to standard error, so that standard output holds the report alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

LINE_EVERY_S = 5.0
ALL = "all"


class Meter:
    """Adds up the summaries of a run's feeds: finished runs, and the one that is under way."""

    def __init__(self, feeds: Mapping[str, int | None]) -> None:
        self._feeds = feeds
        self._done: dict[str, dict[str, int]] = {}
        self._running: dict[str, dict[str, int]] = {}
        self._lag: dict[str, int] = {}
        self._started = time.monotonic()

    def take(self, summary: Mapping[str, Any]) -> str:
        """Note a summary, growing or complete; returns its feed."""
        feed = f"{summary['connection']}/{summary['source']}"
        counted = {name: int(summary[name]) for name in ("delivered", "records", "bytes", "listed")}
        if summary["ended"]:
            self._running.pop(feed, None)
            done = self._done.setdefault(feed, dict.fromkeys(counted, 0))
            for name, number in counted.items():
                done[name] += number
        else:
            self._running[feed] = counted
        self._lag[feed] = int(summary["lag_seconds"])
        return feed

    def of(self, feed: str, name: str) -> int:
        """What a feed has in all runs so far: `delivered`, `records`, `bytes` or `listed`."""
        return sum(part.get(feed, {}).get(name, 0) for part in (self._done, self._running))

    def total(self, name: str) -> int:
        """The same of all feeds."""
        return sum(self.of(feed, name) for feed in {*self._done, *self._running})

    def whole(self, feed: str | None = None) -> int:
        """What a feed, or all of them, have to deliver as far as that is known."""
        if feed is None:
            return sum(self.whole(each) for each in self._feeds)
        known = self._feeds.get(feed)
        return self.of(feed, "listed") if known is None else known

    def speed(self) -> str:
        """Events and megabytes a second so far, and the age of the oldest content that is waiting."""
        seconds = max(time.monotonic() - self._started, 0.001)
        events, size = self.total("records") / seconds, self.total("bytes") / seconds / 1e6
        lag = max(self._lag.values(), default=0)
        return f"{events:,.0f} events/s, {size:.1f} MB/s, lag {age(lag)}"


class Display(Protocol):
    """Where progress is shown."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def say(self, text: str) -> None:
        """Tell what is being done now."""
        ...

    def feed(self, summary: Mapping[str, Any]) -> None:
        """Show a feed's summary."""
        ...

    def reading(self, done: int, total: int) -> None:
        """Show how far the read-back is."""
        ...


def make_display(feeds: Mapping[str, int | None], console: Console | None = None) -> Display:
    """Bars where standard error is a terminal, lines where not.

    Args:
        feeds: `<connection>/<source>` of every feed to what it has to deliver; None where nobody knows, and what is
            listed is then the whole.
        console: takes the place of standard error.
    """
    console = console or Console(stderr=True)
    return Bars(console, feeds) if console.is_terminal else Lines(console, feeds)


class Lines:
    """A line at every start and end, and every few seconds between."""

    def __init__(self, console: Console, feeds: Mapping[str, int | None]) -> None:
        self._console = console
        self._meter = Meter(feeds)
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        """Nothing to begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to end."""

    def say(self, text: str) -> None:
        """Tell what is being done now."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def feed(self, summary: Mapping[str, Any]) -> None:
        """Print where all feeds are, unless that was done a moment ago."""
        self._meter.take(summary)
        if self._due():
            meter = self._meter
            self.say(
                f"  {meter.total('delivered'):,} of {meter.whole():,} contents and rows, "
                f"{meter.total('records'):,} events, {meter.speed()}"
            )

    def reading(self, done: int, total: int) -> None:
        """Print how far the read-back is."""
        if self._due():
            self.say(f"  {done:,} of {total:,} events read back")

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._last < LINE_EVERY_S:
            return False
        self._last = now
        return True


class Bars:
    """A bar for each feed, with what it has and how fast it is."""

    def __init__(self, console: Console, feeds: Mapping[str, int | None]) -> None:
        self._meter = Meter(feeds)
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            TextColumn("{task.completed:>6,.0f}/{task.total:,.0f}", justify="right"),
            TextColumn("{task.fields[detail]}", markup=False),
            console=console,
            transient=True,
        )
        several = len({feed.partition("/")[0] for feed in feeds}) > 1
        for feed in (*feeds, ALL):
            name = feed if several else feed.rpartition("/")[2]
            self._tasks[feed] = self._progress.add_task(
                name, total=max(1, self._meter.whole(None if feed == ALL else feed)), detail=""
            )

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was."""
        self._progress.stop()

    def say(self, text: str) -> None:
        """Tell what is being done now, above the bars."""
        self._progress.console.print(text, markup=False, highlight=False)

    def feed(self, summary: Mapping[str, Any]) -> None:
        """Draw a feed, and all of them together."""
        meter = self._meter
        feed = meter.take(summary)
        detail = f"{meter.of(feed, 'records'):,} events, {meter.of(feed, 'bytes') / 1e6:.1f} MB"
        self._draw(feed, meter.of(feed, "delivered"), meter.whole(feed), detail)
        self._draw(ALL, meter.total("delivered"), meter.whole(), meter.speed())

    def reading(self, done: int, total: int) -> None:
        """Draw the read-back."""
        self._draw("read back", done, total, "events")

    def _draw(self, name: str, done: int, total: int, detail: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, detail=detail)
        self._progress.update(self._tasks[name], completed=done, total=total, detail=detail)


def age(seconds: float) -> str:
    """A length of time in the unit that a person would use."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
