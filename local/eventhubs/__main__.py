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

from local.eventhubs.control import ControlPort, parse_faults
from local.eventhubs.faults import Fault
from local.eventhubs.server import DEFAULT_MAX_MESSAGE_BYTES, EventHubs
from local.tether import await_end, heed_signals


def main(arguments: list[str] | None = None) -> int:
    """Run until standard input ends; return the exit code."""
    options = _parser().parse_args(arguments)
    heed_signals()
    hubs = EventHubs(
        dict(options.hub),
        port=options.port,
        tls=(options.tls_cert, options.tls_key) if options.tls_cert else None,
        throughput_units=options.throughput_units,
        max_message_bytes=options.max_message_bytes,
        latency_s=options.latency,
        keep=not options.discard,
        seed=options.seed,
    )
    hubs.faults.add(*options.faults)
    with hubs, ControlPort(hubs, options.control_port) as control:
        about = {
            "port": hubs.port,
            "control": control.port,
            "connection_string": hubs.connection_string(),
            "endpoint": hubs.endpoint if options.tls_cert else None,
        }
        sys.stdout.write(json.dumps(about) + "\n")
        sys.stdout.flush()
        await_end()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local.eventhubs", description="An Event Hubs stand-in on 127.0.0.1."
    )
    parser.add_argument(
        "--hub",
        type=_hub,
        action="append",
        required=True,
        metavar="NAME:PARTITIONS",
        help="a hub; may be given several times",
    )
    parser.add_argument("--port", type=int, default=0, help="AMQP port; 0 takes a free one")
    parser.add_argument("--control-port", type=int, default=0, help="HTTP control port; 0 likewise")
    parser.add_argument("--tls-cert", metavar="FILE", help="certificate, PEM; needs --tls-key")
    parser.add_argument("--tls-key", metavar="FILE", help="private key, PEM")
    parser.add_argument("--throughput-units", type=float, default=0.0, help="quota; 0 is none")
    parser.add_argument("--max-message-bytes", type=int, default=DEFAULT_MAX_MESSAGE_BYTES)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds to acknowledge")
    parser.add_argument("--faults", type=_faults, default=[], metavar="FILE", help="JSON list")
    parser.add_argument("--seed", type=int, default=0, help="of faults with a rate")
    parser.add_argument("--discard", action="store_true", help="count events, keep none")
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
