"""What a deployment costs a month: measured run times in, a table with every input beside it out.

Run times come from the table that ``make bench`` put into the README, and the time that a fresh process takes to start
from this machine. What is deployed is counted in the files that deploy it. Everything else is an assumption, named in
``INPUTS``, or a price of ``scripts/prices.toml``, which says of which day it is; ``--set`` replaces each.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = tomllib.loads((ROOT / "scripts" / "prices.toml").read_text())
BEGIN, END = "<!-- make cost: begin -->", "<!-- make cost: end -->"
SIZES = (50_000, 1_000_000, 20_000_000, 100_000_000)
DAYS, HOURS = 30, 730
# What a run imports, in the place where the functions import it.
STARTS = """
import function_app, azure.eventhub, azure.identity, azure.storage.blob, azure.data.tables, requests, msgspec, isal
"""

Inputs = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Input:
    """One number that the table rests on.

    Attributes:
        value: its default; None where it is measured or counted.
        where: where it is from, and for a price where to look it up.
    """

    name: str
    value: float | None = None
    where: str


INPUTS = (
    Input(name="large_rate", where="measured: events a second, 500 a content, on the wall"),
    Input(name="small_rate", where="measured: events a second, 5 a content, on the wall"),
    Input(name="idle_5000", where="measured: seconds of an idle run, 5,000 contents a day"),
    Input(name="idle_50000", where="measured: the same, 50,000 contents a day"),
    Input(
        name="start", where="measured: seconds of CPU in which a fresh process imports everything"
    ),
    Input(name="timers", value=6, where="timers of the app, one of them for message trace"),
    Input(name="runs_a_day", value=144, where="runs of a timer, every ten minutes"),
    Input(name="memory", value=2, where="GB of an instance, `instanceMemoryMb`"),
    Input(name="records", value=100, where="assumed: events in a content"),
    Input(name="event_kb", value=1.5, where="assumed: KB of an event"),
    Input(name="round_trip", value=0.25, where="assumed: seconds until Microsoft 365 answers"),
    Input(name="calls", value=6, where="assumed: such waits in an idle run"),
    Input(name="threads", value=4, where="contents fetched at a time, `M365_FETCH_THREADS`"),
    Input(name="peak", value=3, where="assumed: the busiest hour, in averages"),
    Input(name="retention_days", value=7, where="days in the hub, `retentionHours`"),
    Input(name="run_operations", value=50, where="assumed: storage operations of a run"),
    Input(name="content_operations", value=1, where="assumed: storage operations of a content"),
    Input(
        name="run_log_kb", value=40, where="assumed: KB that a run logs, the host's own included"
    ),
    Input(name="always_ready", value=0, where="always-ready instances, where you have set any"),
    Input(name="capture", value=0, where="1 with `capture`"),
    Input(name="private", value=0, where="1 with `privateNetwork`"),
    Input(name="vault", value=0, where="1 with `credential` certificate or secret"),
    Input(name="feeds", value=6, where="connections times sources: the time series of a rule"),
    Input(name="rules", where="counted: alert rules that query the log, `infra/alerts.json`"),
    Input(
        name="endpoints", where="counted: private endpoints of a private network, without a vault's"
    ),
    Input(name="zones", where="counted: private DNS zones of a private network, without a vault's"),
    *(
        Input(
            name=name, value=each["value"], where=f"{each['what']}: {LIST['pages'][each['page']]}"
        )
        for name, each in LIST["prices"].items()
    ),
)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A month, in US dollars, of a tenant with so many events a day."""

    events: int
    hours: float
    gb_seconds: float
    function: float
    units: int
    hubs: float
    storage: float
    logs: float
    network: float

    @property
    def together(self) -> float:
        """Everything."""
        return self.function + self.hubs + self.storage + self.logs + self.network


def cost(events: int, of: Inputs) -> Cost:
    """Work out a month; docs/cost.md says the same in words."""
    contents = events / of["records"]
    runs = DAYS * of["timers"] * of["runs_a_day"]
    # No run is billed less than its least, and what it fetches comes on top.
    idle = max(of["least_second"], _stepped(_idle(contents, of), of["step"]))
    seconds = runs * idle + DAYS * contents * _content(of)
    gb_seconds = seconds * of["memory"]
    units = max(1, math.ceil(events * of["peak"] / 86_400 / _unit_rate(of)))
    gb = events * of["event_kb"] / 1e6
    kept = gb * of["retention_days"] - units * of["unit_gb"]
    return Cost(
        events=events,
        hours=seconds / 3600,
        gb_seconds=gb_seconds,
        function=_function(runs, gb_seconds, of),
        units=units,
        hubs=units * HOURS * (of["unit_hour"] + of["capture"] * of["capture_hour"])
        + DAYS * events / 1e6 * of["million_events"]
        + max(0.0, kept) * of["kept_gb"],
        storage=(runs * of["run_operations"] + DAYS * contents * of["content_operations"])
        / 10_000
        * of["operations"],
        logs=runs * of["run_log_kb"] / 1e6 * of["log_gb"]
        + of["rules"] * (of["rule"] + (of["feeds"] - 1) * of["series"]),
        network=of["private"]
        * (
            (of["endpoints"] + of["vault"]) * of["endpoint"]
            + (of["zones"] + of["vault"]) * of["zone"]
            + DAYS * gb * of["endpoint_gb"]
        ),
    )


def _stepped(seconds: float, step: float) -> float:
    """Rounded up to a step; what is one already stays, whatever a float makes of it."""
    return math.ceil(round(seconds / step, 6)) * step


def _function(runs: float, gb_seconds: float, of: Inputs) -> float:
    """Execution, on demand or on always-ready instances: as many timers as there are such instances run on these."""
    ready = min(1.0, of["always_ready"] / of["timers"])
    on_demand = 1 - ready
    return (
        max(0.0, on_demand * gb_seconds - of["gb_seconds_free"]) * of["gb_second"]
        + max(0.0, on_demand * runs - of["runs_free"]) / 1e6 * of["million_runs"]
        + ready * (gb_seconds * of["ready_second"] + runs / 1e6 * of["million_runs"])
        + of["always_ready"] * of["memory"] * HOURS * 3600 * of["ready_idle"]
    )


def _idle(contents: float, of: Inputs) -> float:
    """Seconds of a run beside its contents: the start, the waiting, and reading a ledger of this size."""
    slope = (of["idle_50000"] - of["idle_5000"]) / 45_000
    # The contents of a day are those of five feeds; a run reads the ledger of one.
    ledger = of["idle_5000"] + slope * max(0.0, contents / 5 - 5_000)
    return of["start"] + of["calls"] * of["round_trip"] + ledger


def _content(of: Inputs) -> float:
    """Seconds of one content: what it takes by itself and for each event, or the waiting, whichever is more."""
    large, small = 500 / of["large_rate"], 5 / of["small_rate"]
    event = (large - small) / 495
    return max(small + event * (of["records"] - 5), of["round_trip"] / of["threads"])


def _unit_rate(of: Inputs) -> float:
    """Events a second that a throughput unit takes: 1,000, or 1 MiB with what each event carries beside its body."""
    return min(1_000.0, 691 * 1.5 / of["event_kb"])


def measured(readme: str, start: Callable[[], float]) -> dict[str, float]:
    """Read what ``make bench`` put into the README, measure the start, and count what is deployed.

    Raises:
        ValueError: there is no such table.
    """
    rows = {
        "large_rate": "end to end, 500 records a content",
        "small_rate": "end to end, 5 records a content",
        "idle_5000": "idle run, 5,000 contents a day in the ledger",
        "idle_50000": "idle run, 50,000 contents a day in the ledger",
    }
    found = {}
    for name, row in rows.items():
        cells = re.search(rf"^\| {re.escape(row)} \|(?:[^|]*\|){{2}} ([\d,.]+)", readme, re.M)
        if cells is None:
            raise ValueError(f"README.md: no row {row!r}; make bench ARGS='--write README.md'")
        found[name] = float(cells[1].replace(",", ""))
    rules = json.loads((ROOT / "infra" / "alerts.json").read_text())
    text = (ROOT / "infra" / "bicep" / "modules" / "endpoints.bicep").read_text()
    parts = re.findall(r"\{ key: '[\w-]+', resource: \w+, part: '(\w+)' \}", text)
    private = [each for each in parts if each != "vault"]
    return {
        **found,
        "start": start(),
        "rules": float(len(rules)),
        "endpoints": float(len(private)),
        "zones": float(len(set(private))),
    }


def measured_start() -> float:
    """Seconds of CPU in which a fresh process imports everything; the least of three, one core being all there is."""
    command = [sys.executable, "-c", STARTS]
    taken = []
    for _ in range(3):
        before = os.times()
        subprocess.run(command, cwd=ROOT, check=True)  # noqa: S603
        after = os.times()
        taken.append(
            after.children_user
            - before.children_user
            + after.children_system
            - before.children_system
        )
    return round(min(taken), 1)


def markdown(of: Inputs, sizes: Iterable[int] = SIZES) -> str:
    """The table, and every number that it rests on."""
    head = (
        "events a day, run time, GB-seconds, function, units, Event Hubs, storage, logs and alerts"
    )
    lines = [f"| {head.replace(', ', ' | ')} | private network | a month |", "|--:" * 10 + "|"]
    for events in sizes:
        one = cost(events, of)
        lines.append(
            f"| {events:,} | {one.hours:,.0f} h | {one.gb_seconds:,.0f} | ${one.function:,.0f} | {one.units} "
            f"| ${one.hubs:,.0f} | ${one.storage:,.0f} | ${one.logs:,.0f} "
            f"| ${one.network:,.0f} | **${one.together:,.0f}** |"
        )
    day = f"{LIST['date']:%d %B %Y}".lstrip("0")
    lines += ["", f"Prices of {day}, {LIST['region']}, {LIST['currency']}: {LIST['source']}."]
    lines += ["", "| input | value | what |", "|---|--:|---|"]
    lines += [f"| `{each.name}` | {_number(of[each.name])} | {each.where} |" for each in INPUTS]
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def with_block(text: str, table: str) -> str:
    """Put a table between the two marks of a Markdown file.

    Raises:
        ValueError: the file has no such marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def _setting(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    if name not in {each.name for each in INPUTS}:
        raise argparse.ArgumentTypeError(f"there is no input {name!r}")
    return name, float(value)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, or put it into a file."""
    parser = argparse.ArgumentParser(description="What a deployment costs a month.")
    parser.add_argument(
        "--set", type=_setting, action="append", default=[], metavar="INPUT=VALUE", dest="given"
    )
    parser.add_argument("--events-a-day", type=int, action="append", metavar="N")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put it into a Markdown file")
    options = parser.parse_args(arguments)
    defaults = {each.name: each.value for each in INPUTS if each.value is not None}
    found = measured((ROOT / "README.md").read_text(), measured_start)
    table = markdown({**defaults, **found, **dict(options.given)}, options.events_a_day or SIZES)
    if options.write is None:
        print(table)
    else:
        options.write.write_text(with_block(options.write.read_text(), table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
