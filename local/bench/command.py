"""``python -m local bench``: its options, and what it prints."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from local.bench.figures import HEAD, Figures
from local.bench.measure import run
from local.bench.tenants import DEFAULT, QUICK, Sizes

ABOUT = """\
Measure the collector end to end on the local rig, beside the bare ceiling (fetch, split, send pre-encoded) and the
obvious loop (json, EventData, no state), in one go and in turns. Takes about four minutes; best with nothing else
running. Nothing passes or fails by its speed.\
"""
WIDTH = 110


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to a parser."""
    add = parser.add_argument
    add("--json", action="store_true", help="one JSON object instead of the table")
    add("--quick", action="store_true", help="a smoke test with next to no data; no figures")
    add("--repeats", type=_positive, metavar="N", help="measurements of each kind")
    add("--write", type=Path, metavar="FILE", help="put the table into a Markdown file, too")


def bench(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit status."""
    sizes = QUICK if options.quick else DEFAULT
    if options.repeats:
        sizes = replace(sizes, repeats=options.repeats)
    figures = _measure(sizes, Console(stderr=True))
    if options.json:
        print(json.dumps(figures.as_json(), indent=2))
    else:
        # What is not a terminal has no width to keep to.
        known = Console()
        print_table(figures, known if known.is_terminal else Console(width=WIDTH))
    if options.write is not None:
        figures.write_into(options.write)
    return 0


def _measure(sizes: Sizes, console: Console) -> Figures:
    """Measure, with a bar on a terminal and a line for each step elsewhere."""
    columns = ("{task.description}", BarColumn(28), MofNCompleteColumn(), TimeElapsedColumn())
    bars = console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not bars) as progress:
        task = progress.add_task("", total=1)

        def step(done: int, steps: int, what: str) -> None:
            progress.update(task, completed=done, total=steps, description=what)
            if not bars:
                console.print(f"{done}/{steps} {what}", highlight=False)

        return Figures(found=run(sizes, step), sizes=sizes)


def print_table(figures: Figures, console: Console) -> None:
    """Print the table."""
    table = Table(*HEAD, box=SIMPLE, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in figures.rows():
        table.add_row(*row)
    console.print(table)
    console.print("Rates are events per CPU-second of the collecting process; targets are targets.")
    console.print(figures.footnote(), markup=False, highlight=False)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number
