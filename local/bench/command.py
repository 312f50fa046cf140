"""``python -m local bench``: its options, and what it prints."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from local.bench.figures import HEAD, Figures
from local.bench.measure import run
from local.bench.tenants import DEFAULT, QUICK

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
    figures = Figures(run(sizes, partial(print, file=sys.stderr)), sizes)
    if options.json:
        print(json.dumps(figures.as_json(), indent=2))
    else:
        print_table(figures)
    if options.write is not None:
        figures.write_into(options.write)
    return 0


def print_table(figures: Figures) -> None:
    """Print the table."""
    console = Console()
    if not console.is_terminal:
        # It has no width to keep to.
        console = Console(width=WIDTH)
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
