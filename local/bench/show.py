"""Shows figures: a table on the terminal, the same table for the README, and what is under way."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from local.bench.figures import Figures, Spread
from local.bench.measure import (
    BARE_CEILING,
    END_TO_END,
    PLAIN_LOOP,
    SMALL_BARE_CEILING,
    SMALL_END_TO_END,
    TRACE,
)
from local.bench.tenants import idle_name

BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"
_HEAD = ("measured", "median", "min to max", "on the wall", "target")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    what: str
    figure: str
    spread: str = ""
    wall: str = ""
    target: str = ""

    def cells(self) -> tuple[str, str, str, str, str]:
        """The line's columns."""
        return self.what, self.figure, self.spread, self.wall, self.target


def rows(figures: Figures) -> list[Row]:
    """The table, line by line."""
    sizes = figures.about["sizes"]
    records, small = sizes["records"], sizes["small_records"]
    return [
        _rate(figures, END_TO_END, f"end to end, {records} records a content", "≥ 30,000"),
        _rate(figures, BARE_CEILING, "bare ceiling: fetch, split, send pre-encoded"),
        _rate(figures, PLAIN_LOOP, "obvious loop: json, EventData, no state"),
        _ratio(figures.of_ceiling, "end to end, of the ceiling", "≥ 70 %", percent=True),
        _ratio(figures.times_plain_loop, "end to end, times the obvious loop", "≥ 6"),
        _rate(figures, SMALL_END_TO_END, f"end to end, {small} records a content"),
        _rate(figures, SMALL_BARE_CEILING, "bare ceiling with these"),
        _ratio(figures.small_of_ceiling, "end to end, of that ceiling", percent=True),
        _rate(figures, TRACE, "message trace, rows"),
        *(_idle(figures, per_day) for per_day in figures.idle),
        Row(
            what=f"listing requests a delivered content, {sizes['day_contents']:,} contents a day",
            figure=f"{figures.listing_requests_per_delivered:.2f}",
            target="≤ 0.5",
        ),
        _memory(figures, END_TO_END, "peak memory above idle, end to end"),
        *(_memory(figures, idle_name(n), f"the same, idle run, {n:,}") for n in figures.idle),
        _memory(
            figures,
            TRACE,
            f"the same, message trace, {sizes['trace_per_day']:,} rows a day",
            "≤ 100 MB",
        ),
    ]


def footnote(figures: Figures) -> str:
    """What the figures were taken with."""
    machine, versions = figures.about["machine"], figures.about["versions"]
    return (
        f"{figures.about['repeats']} repeats, taking turns. {machine['cpus']} CPUs ({machine['cpu']}), load "
        f"{machine['load'][0]}; Python {versions['python']}, azure-eventhub {versions['azure-eventhub']}."
    )


def print_table(figures: Figures, console: Console) -> None:
    """Print the table."""
    table = Table(box=SIMPLE, pad_edge=False)
    for number, name in enumerate(_HEAD):
        table.add_column(name, justify="left" if number == 0 else "right")
    for row in rows(figures):
        table.add_row(*row.cells())
    console.print(table)
    console.print("Rates are events per CPU-second of the collecting process; targets are targets.")
    console.print(footnote(figures), markup=False, highlight=False)


def write_into(path: Path, figures: Figures) -> None:
    """Put the table between the two marks of a Markdown file.

    Raises:
        ValueError: the file has no such marks.
    """
    text = path.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path}: has no lines {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n{markdown(figures)}\n{END}{after}", "utf-8")


def markdown(figures: Figures) -> str:
    """The table and its footnote as Markdown."""
    lines = [_HEAD, ("---", "--:", "--:", "--:", "--:"), *(row.cells() for row in rows(figures))]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{table}\n\n{footnote(figures)}"


class Steps:
    """What is under way: a bar on a terminal, a line for each step elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stack = ExitStack()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=1)

    def __enter__(self) -> Self:
        """Begin to draw."""
        if self._console.is_terminal:
            self._stack.enter_context(self._progress)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was."""
        self._stack.close()

    def __call__(self, done: int, steps: int, what: str) -> None:
        """Show a step."""
        if self._console.is_terminal:
            self._progress.update(self._task, completed=done, total=steps, description=what)
        else:
            self._console.print(f"{done}/{steps} {what}", markup=False, highlight=False)


def _rate(figures: Figures, kind: str, what: str, target: str = "") -> Row:
    rate = figures.rates[kind]
    return Row(
        what=what,
        figure=f"{rate.cpu.median:,.0f}",
        spread=f"{rate.cpu.least:,.0f} to {rate.cpu.most:,.0f}",
        wall=f"{rate.wall.median:,.0f}",
        target=target,
    )


def _ratio(values: dict[str, float], what: str, target: str = "", *, percent: bool = False) -> Row:
    def text(value: float) -> str:
        return f"{100 * value:.0f} %" if percent else f"{value:.1f}"

    return Row(what=what, figure=text(values["cpu"]), wall=text(values["wall"]), target=target)


def _idle(figures: Figures, per_day: int) -> Row:
    return Row(
        what=f"idle run, {per_day:,} contents a day in the ledger",
        figure=f"{figures.idle[per_day].median:.2f} s",
        spread=_seconds(figures.idle[per_day]),
        wall=f"{figures.idle_wall[per_day].median:.2f} s",
        target={5_000: "≤ 1 s", 50_000: "≤ 1.5 s"}.get(per_day, ""),
    )


def _memory(figures: Figures, kind: str, what: str, target: str = "≤ 200 MB") -> Row:
    spread = figures.memory[kind]
    return Row(
        what=what,
        figure=f"{spread.median:.0f} MB",
        spread=f"{spread.least:.0f} to {spread.most:.0f}",
        target=target,
    )


def _seconds(spread: Spread) -> str:
    return f"{spread.least:.2f} to {spread.most:.2f}"
