"""The command line of the local rig: `python -m local run`, `rig`, `bench` and `replay`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console

from local import replay as replaying
from local.azurite import NotInstalledError
from local.bench.command import ABOUT, add_options, bench
from local.bench.rig import BenchError
from local.profiles import PROFILES, Profile, read_profile
from local.report import print_json, print_report
from local.rig import keep_up, make_spec
from local.run import STATE, run_real, run_simulated
from local.tenant import TenantSpec, TraceSpec
from local.tether import ChildError
from shared.errors import CollectorError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

OK, DIFFERS, USAGE, INTERRUPTED = 0, 1, 2, 130
SETTINGS_FILE = Path("local.settings.json")

MAIL: dict[str, Any] = {
    "changing": 0.1,
    "changes_after_s": 3600.0,
    "late": 0.03,
    "duplicates": 0.01,
    "odd": 0.02,
    "late_after_s": (600.0, 3600.0, 7200.0),
    "recalled": 0.0,
}
"""The simulated tenant's mail: some rows come hours late, and some change their status."""

_DESCRIPTION = """\
Run the collector on this machine, with no Azure.

  run     collect everything a simulated Microsoft 365 tenant has, show how it goes, and prove that it arrived;
          or, with a local settings file, collect from a real tenant
  rig     keep the simulated tenant, the Event Hubs stand-in and Azurite up, for `func start` or a debugger
  bench   measure how fast it is, beside the least that has to be done and what one would write first
  replay  deliver the dead letters of a deployment, after a fix
"""

_ABOUT_RUN = """\
Run the timer functions until everything is collected. Ends with exit code 0 only if everything that was
offered is listed and delivered, and what the hub holds equals the tenant's books; with 1 if not, saying
what differs; with 2 for a mistake in the configuration.\
"""
_ABOUT_RIG = "Keep the rig up until Ctrl-C and print the settings that reach it."


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    options = _parser().parse_args(argv)
    try:
        return int(options.do(options))
    except KeyboardInterrupt:
        print("\nInterrupted; everything that was started has ended.", file=sys.stderr)
        return INTERRUPTED
    except (ConfigError, ValueError) as error:
        print(f"{error}", file=sys.stderr)
        return USAGE
    except (ChildError, BenchError, NotInstalledError, CollectorError) as error:
        print(f"{error}", file=sys.stderr)
        return DIFFERS


def _run(options: argparse.Namespace) -> int:
    path = _settings_file(options)
    if path is not None:
        outcome = run_real(path, options.sink, options.state, verbose=options.verbose)
    else:
        spec, profile = _spec(options), _profile(options)
        outcome = run_simulated(spec, profile, proxy=options.proxy, verbose=options.verbose)
    # Where nobody looks, the width of a terminal is no reason to cut anything.
    console = Console() if sys.stdout.isatty() else Console(width=120)
    (print_json if options.json else print_report)(outcome, console)
    return DIFFERS if outcome.differences() else OK


def _rig(options: argparse.Namespace) -> int:
    keep_up(_spec(options), _profile(options), options.write, proxy=options.proxy)
    return OK


def _settings_file(options: argparse.Namespace) -> Path | None:
    """The local settings file to use; None for a simulated tenant."""
    if options.settings is not None:
        return Path(options.settings)
    if SETTINGS_FILE.exists() and not options.simulated:
        return SETTINGS_FILE
    if options.sink is not None:
        raise ValueError(
            f"--sink is for a real tenant: make {SETTINGS_FILE}, or name a settings file with --settings"
        )
    return None


def _spec(options: argparse.Namespace) -> TenantSpec:
    if options.contents < 1:
        raise ValueError(f"--contents must be 1 or more, not {options.contents}")
    return make_spec(
        options.seed,
        contents=options.contents,
        records=options.records,
        record_bytes=options.record_bytes,
        late=options.late,
        relisted=options.relisted,
        duplicate_ids=options.duplicates,
        extra_records=read_records(options.records_file) if options.records_file else (),
        trace=TraceSpec(rows=options.rows, **MAIL),
    )


def _profile(options: argparse.Namespace) -> Profile:
    return read_profile(options.faults_file) if options.faults_file else PROFILES[options.faults]


def read_records(path: Path) -> tuple[bytes, ...]:
    """Records from a file, one JSON object a line, byte for byte; a ``ValueError`` names the line that is wrong."""
    try:
        data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    records = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if raw := line.strip():
            where = f"{path}, line {number}"
            try:
                found = json.loads(raw.decode(), parse_constant=_refuse_constant)
            except UnicodeDecodeError as error:
                reason = f"{error.reason} at byte {error.start}"
                raise ValueError(f"{where}: not UTF-8 ({reason})") from error
            except ValueError as error:
                raise ValueError(f"{where}: not JSON ({error})") from error
            if not isinstance(found, dict):
                raise ValueError(f"{where}: not a JSON object")
            records.append(raw)
    if not records:
        raise ValueError(f"{path}: holds no record; expected one JSON object a line")
    return tuple(records)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m local", None, _DESCRIPTION, formatter_class=raw)
    commands = parser.add_subparsers(required=True, metavar="{run,rig,bench,replay}")

    def add(name: str, do: Callable[[argparse.Namespace], int], **words: Any) -> Any:
        command = commands.add_parser(name, **words)
        command.set_defaults(do=do)
        return command

    profiles = "\n".join(f"  {name:8}{each.help}" for name, each in PROFILES.items())
    shape: dict[str, Any] = {"formatter_class": raw, "epilog": f"fault profiles:\n{profiles}"}
    run = add("run", _run, help="collect, show, prove", description=_ABOUT_RUN, **shape)
    rig = add("rig", _rig, help="keep the rig up", description=_ABOUT_RIG, **shape)
    for command in (run, rig):
        _add_tenant_options(command)
    _add_run_options(run)
    words = "write the settings to a local settings file, which is removed when the rig ends"
    rig.add_argument("--write", type=Path, metavar="PATH", help=words)
    add_options(add("bench", bench, help="measure how fast it is", description=ABOUT))
    about = {"help": "deliver dead letters after a fix", "description": replaying.ABOUT}
    replaying.add_options(add("replay", replaying.replay, formatter_class=raw, **about))
    return parser


def _add_tenant_options(parser: argparse.ArgumentParser) -> None:
    tenant = parser.add_argument_group("the simulated tenant")
    for name, default, words in (
        ("--contents", 300, "contents in all (%(default)s)"),
        ("--records", 50, "mean records each (%(default)s)"),
        ("--record-bytes", 1500, "mean size (%(default)s)"),
        ("--rows", 3000, "rows of message trace of two days (%(default)s)"),
        ("--seed", 1, "same seed, same tenant (%(default)s)"),
    ):
        tenant.add_argument(name, type=int, metavar="N", default=default, help=words)
    for name, words in (
        ("--late", "share of contents that appear ten minutes late"),
        ("--relisted", "share of contents that are listed twice"),
        ("--duplicates", "share of records that repeat an Id"),
    ):
        tenant.add_argument(name, type=float, metavar="SHARE", default=0.0, help=words)
    words = "records of your own to mix in, one JSON object a line, byte for byte"
    tenant.add_argument("--records-file", type=Path, metavar="FILE", help=words)
    words = "a closed network: everything through a proxy, Event Hubs over WebSockets"
    tenant.add_argument("--proxy", action="store_true", help=words)
    faults = tenant.add_mutually_exclusive_group()
    known: dict[str, Any] = {"choices": PROFILES, "default": "none", "metavar": "PROFILE"}
    faults.add_argument("--faults", **known, help="what goes wrong; see below")
    words = '{"tenant": [...], "eventhubs": [...]}'
    faults.add_argument("--faults-file", type=Path, metavar="FILE", help=words)


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    real = parser.add_argument_group("a real tenant")
    words = f"a local settings file of Azure Functions; ./{SETTINGS_FILE} where there is one"
    real.add_argument("--settings", type=Path, metavar="FILE", help=words)
    words = "append events here, not to a hub, and keep state on this machine whatever the settings name"
    real.add_argument("--sink", type=Path, metavar="FILE", help=words)
    words = (
        "where state is kept with --sink, or if the file names no storage account (.local/state)"
    )
    real.add_argument("--state", type=Path, default=STATE, metavar="FOLDER", help=words)
    words = f"leave ./{SETTINGS_FILE} alone: simulated tenant"
    real.add_argument("--simulated", action="store_true", help=words)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    parser.add_argument("--verbose", action="store_true", help="show the collector's log")


if __name__ == "__main__":
    # So that a closed terminal and a polite kill, too, end everything in order.
    for _number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(_number, _leave)
    sys.exit(main())
