"""The stand-in as a process: `python -m local.eventhubs --hub name:partitions`.

Prints one JSON line (`port`, `control`, `connection_string`, and `endpoint` for TLS) once it
listens. It ends when its standard input does, so that it never outlives the program that
started it, or on SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from local.eventhubs.control import ControlPort
from local.eventhubs.faults import Fault, parse_faults
from local.eventhubs.namespace import DEFAULT_MAX_MESSAGE_BYTES
from local.eventhubs.server import EventHubs
from local.tether import await_end, heed_signals


def main(arguments: list[str] | None = None) -> int:
    """Run until standard input ends; return the exit code."""
    options = vars(_parser().parse_args(arguments))
    heed_signals()
    certificate, key = options.pop("tls_cert"), options.pop("tls_key")
    control_port, faults = options.pop("control_port"), options.pop("faults")
    tls = (certificate, key) if certificate else None
    hubs = EventHubs(dict(options.pop("hub")), tls=tls, **options)
    hubs.faults.add(*faults)
    with hubs, ControlPort(hubs, control_port) as control:
        about = {
            "port": hubs.port,
            "control": control.port,
            "connection_string": hubs.connection_string(),
            "endpoint": hubs.endpoint if tls else None,
        }
        print(json.dumps(about), flush=True)
        await_end()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local.eventhubs", description="An Event Hubs stand-in on 127.0.0.1."
    )
    add = parser.add_argument
    add("--hub", type=_hub, action="append", required=True, metavar="NAME:PARTITIONS")
    add("--port", type=int, default=0, help="AMQP port; 0 takes a free one")
    add("--control-port", type=int, default=0, help="HTTP control port; 0 likewise")
    add("--tls-cert", metavar="FILE", help="certificate, PEM; needs --tls-key")
    add("--tls-key", metavar="FILE", help="private key, PEM")
    add("--throughput-units", type=float, default=0.0, help="quota; 0 is none")
    add("--max-message-bytes", type=int, default=DEFAULT_MAX_MESSAGE_BYTES)
    add("--latency", dest="latency_s", type=float, default=0.0, help="seconds to acknowledge")
    add("--faults", type=_faults, default=[], metavar="FILE", help="JSON list")
    add("--seed", type=int, default=0, help="of faults with a rate")
    add("--discard", dest="keep", action="store_false", help="count events, keep none")
    return parser


def _hub(text: str) -> tuple[str, int]:
    name, _, partitions = text.rpartition(":")
    if not name or not partitions.isdecimal() or int(partitions) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:PARTITIONS")
    return name, int(partitions)


def _faults(path: str) -> list[Fault]:
    try:
        return parse_faults(Path(path).read_bytes())
    except (OSError, ValueError) as problem:
        raise argparse.ArgumentTypeError(f"{path}: {problem}") from problem


if __name__ == "__main__":
    sys.exit(main())
