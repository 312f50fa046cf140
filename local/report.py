"""The end of a run on paper: a table, a sample event and the verdict; or all of it as one JSON object."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod

    from local.outcome import Outcome
    from local.readback import Sample
    from shared.state.ledger_day import Counts

_CAUGHT_UP = "Everything that was listed is delivered."
_PERFECT = "Everything that was offered is listed and delivered, and the hub holds exactly what the tenant's books say."
SAMPLE_LINES = 28
ROOMY = 100
_COLUMNS = ("feed", "offered", "listed", "delivered", "lost", "pending", "records", "bytes")


def print_json(outcome: Outcome, console: Console) -> None:
    """Print one JSON object."""
    console.file.write(json.dumps(outcome.as_json(), indent=2) + "\n")


def print_report(outcome: Outcome, console: Console) -> None:
    """Print the table, what the hub holds, one event, and whether all is as it should be."""
    console.print()
    console.print(_table(outcome, padding=1 if console.width >= ROOMY else 0))
    console.print()
    for line in _facts(outcome):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if outcome.sample is not None:
        console.print("\nOne of the events:", style="bold")
        console.print(_sample(outcome.sample), markup=False, highlight=False, soft_wrap=True)
    console.print()
    differences = outcome.differences()
    if not differences:
        praise = _CAUGHT_UP if outcome.expected is None else _PERFECT
        console.print(Text(praise, style="green"), soft_wrap=True)
    for difference in differences:
        console.print(Text(difference, style="red"), soft_wrap=True)


def _table(outcome: Outcome, *, padding: int) -> Table:
    # Nobody tells what a real tenant has.
    offered = [feed.offered for feed in outcome.feeds if feed.offered is not None]
    shown = [name for name in _COLUMNS if name != "offered" or offered]
    several, space = len(outcome.feeds) > 1, (0, padding)
    table = Table(box=SIMPLE, show_footer=several, show_edge=False, pad_edge=False, padding=space)
    total = _row("all", sum(offered), outcome.total)
    for name in shown:
        justify: JustifyMethod = "left" if name in ("feed", "lost") else "right"
        table.add_column(name, total[name], justify=justify, no_wrap=name != "lost")
    for feed in outcome.feeds:
        row = _row(outcome.name(feed), feed.offered or 0, feed.counts)
        table.add_row(*(row[name] for name in shown))
    return table


def _row(name: str, offered: int, counts: Counts) -> dict[str, str]:
    lost = ", ".join(f"{number} {reason}" for reason, number in sorted(counts.lost.items()))
    numbers = ("listed", "delivered", "pending", "records")
    return {
        **{each: f"{getattr(counts, each):,}" for each in numbers},
        "feed": name,
        "offered": f"{offered:,}",
        "lost": lost or "0",
        "bytes": size(counts.bytes),
    }


def size(number: int) -> str:
    """A number of bytes in the unit that a person would use."""
    for one, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if number >= one:
            return f"{number / one:.1f} {unit}"
    return f"{number} B"


def _facts(outcome: Outcome) -> list[str]:
    total = outcome.total
    facts = []
    if outcome.events is not None and outcome.found is not None:
        events, distinct = outcome.events, len(outcome.found)
        counted = f"{events:,} events, {distinct:,} distinct, {events - distinct:,} repeats"
        facts.append(f"At the hub, read back: {counted}.")
    elif not outcome.unread:
        facts.append(f"Acknowledged: {total.records:,} events.")
    facts.append(
        f"{outcome.events_per_s:,.0f} events/s in {outcome.seconds:.1f} s; "
        f"the timers ran {'once' if outcome.rounds == 1 else f'{outcome.rounds} times'}; "
        f"peak memory of the collector {outcome.peak_memory_mb:.0f} MB."
    )
    if outcome.faults:
        played = ", ".join(f"{number} {name}" for name, number in sorted(outcome.faults.items()))
        facts.append(f"Faults played: {played}.")
    return facts


def _sample(sample: Sample) -> str:
    try:
        body = json.dumps(json.loads(sample.body), indent=2, ensure_ascii=False)
    except ValueError:
        body = sample.body.decode(errors="replace")
    lines = body.splitlines()
    if len(lines) > SAMPLE_LINES:
        lines = [*lines[:SAMPLE_LINES], f"... and {len(lines) - SAMPLE_LINES} more lines"]
    properties = json.dumps(dict(sample.properties), indent=2)
    return textwrap.indent("\n".join(["application properties", properties, "body", *lines]), "  ")
