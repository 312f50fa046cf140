"""``python -m local replay``: deliver dead letters after a fix, to the hub that the settings name."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from local.localsettings import load_from, read_values, require_emulator
from shared.app import App

if TYPE_CHECKING:
    import argparse

ABOUT = """\
Deliver what could not be delivered before: bodies that a newer version can split, records that a larger hub takes,
listing entries that are understood now. The settings name the storage account and the hub, as they do for the app;
with `az login`, your account needs the same roles on both. A dead letter is removed once Event Hubs has acknowledged
all of it and the ledger says so. Start it again whatever interrupted it. Ends with 1 where letters are left.\
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
    """Replay the dead letters of every feed and print a line for each; returns the exit status."""
    settings = load_from(options.settings, read_values(options.settings))
    require_emulator(options.settings, settings.eventhub_connection_string)
    known = sorted({source for each in settings.connections for source in each.sources})
    sources = options.source or known
    if unknown := sorted(set(sources) - set(known)):
        raise ValueError(
            f"--source {unknown[0]}: not collected by these settings, which have {known}"
        )
    with closing(App(settings)) as app:
        summaries = [each for source in sources for each in app.replay(source)]
    for each in summaries:
        delivered = (
            f"{each.delivered} of {each.letters} dead letters delivered, {each.records} records"
        )
        print(f"{each.connection}/{each.source}: {delivered}")
        for reason, number in each.kept.items():
            print(f"  {number} kept: {reason}")
        if each.error:
            print(f"  ended early: {each.error}")
    return 1 if any(each.kept or each.error for each in summaries) else 0
