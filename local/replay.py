"""``python -m local replay``: deliver dead letters after a fix, to the hub that the settings name."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from local.localsettings import load_from, read_values, require_emulator
from shared.app import App
from shared.sources.registry import BY_NAME

if TYPE_CHECKING:
    import argparse

    from shared.run.replays import ReplaySummary

ABOUT = """\
Deliver what could not be delivered before: bodies that a newer version can split, records that a larger hub takes,
listing entries that are understood now. The settings name the storage account and the hub, as they do for the app;
with `az login`, your account needs the same roles on both. A dead letter is removed once Event Hubs has acknowledged
all of it and the ledger says so. Letters of a source that is no longer collected are delivered too. What stays is
named with the reason. Start it again whatever interrupted it. Ends with 1 where letters are left.\
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to a parser."""
    words = (
        "a local settings file of Azure Functions that names the app's own storage account and hub"
    )
    parser.add_argument("--settings", type=Path, required=True, metavar="FILE", help=words)
    words = "only this source; may be repeated"
    parser.add_argument("--source", action="append", metavar="NAME", help=words)


def replay(options: argparse.Namespace) -> int:
    """Replay the dead letters of every feed and print what came of each at once; returns the exit status."""
    settings = load_from(options.settings, read_values(options.settings))
    require_emulator(options.settings, settings.eventhub_connection_string)
    sources = options.source or ()
    if unknown := sorted(set(sources) - set(BY_NAME)):
        raise ValueError(f"--source {unknown[0]}: not one of {', '.join(BY_NAME)}")
    left = False
    with closing(App(settings)) as app:
        for each in app.replay(*sources):
            _show(each)
            left = left or bool(each.kept or each.error)
    return 1 if left else 0


def _show(summary: ReplaySummary) -> None:
    feed = f"{summary.connection}/{summary.source}"
    where = feed if summary.collected else f"{feed} (not collected by these settings)"
    delivered = f"{summary.delivered} of {summary.letters} dead letters delivered"
    lines = [f"{where}: {delivered}, {summary.records} records"]
    lines += [f"  {number} kept: {reason}" for reason, number in summary.kept.items()]
    if summary.error:
        lines.append(f"  ended early: {summary.error}")
    print("\n".join(lines), flush=True)
